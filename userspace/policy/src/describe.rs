//! Decisions in words.

use crate::{
    compile::{Direction, Numbered, PolicySet, object_of_rule},
    evaluate::Decision,
    object::Spec,
    party::Party,
};

impl PolicySet {
    /// What decided: `denied: no rule of NetworkPolicy shop/web allows it`.
    #[must_use]
    pub fn describe(&self, decision: Decision, party: &Party, direction: Direction) -> String {
        let word = if decision.allows { "allowed" } else { "denied" };
        let by = match self.rule_in_words(decision.rule, direction) {
            Some(rule) => format!("{word} by {rule}"),
            None if decision.allows => format!("{word}: no rule matches"),
            None => match self.enforced(party, direction) {
                objects if objects.is_empty() => {
                    format!("{word}: the policies about it cannot be enforced")
                }
                objects => format!("{word}: no rule of {objects} allows it"),
            },
        };
        match decision.audited.and_then(|rule| self.rule_in_words(rule, direction)) {
            Some(rule) => format!("{by}; {rule}, which only reports, would deny it"),
            None => by,
        }
    }

    /// A rule by its number: `egress rule 2 of NetworkPolicy shop/web`.
    #[must_use]
    pub fn rule_in_words(&self, rule: u32, direction: Direction) -> Option<String> {
        let (number, place) = object_of_rule(rule)?;
        let object = &self.objects.iter().find(|known| known.number == number)?.object;
        if place == Numbered::REST {
            return Some(object.id.to_string());
        }
        let name = match &object.spec {
            Spec::Network(_) => None,
            Spec::Cluster(policy) => {
                let rules = match direction {
                    Direction::Egress => &policy.egress,
                    Direction::Ingress => &policy.ingress,
                };
                let rule = rules.get(usize::try_from(place).ok()?);
                rule.map(|rule| rule.name.as_str()).filter(|name| !name.is_empty())
            }
        };
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        Some(format!("{} rule {}{name} of {}", direction.name(), place + 1, object.id))
    }

    /// The objects about a function that deny what none of them allows: `NetworkPolicy shop/web, …`.
    #[must_use]
    pub fn enforced(&self, party: &Party, direction: Direction) -> String {
        let about = self.objects_about(party, direction).into_iter();
        let is_enforced = |numbered: &&Numbered| {
            matches!(numbered.object.spec, Spec::Network(_)) && !numbered.object.audit
        };
        let names: Vec<_> =
            about.filter(is_enforced).map(|numbered| numbered.object.id.to_string()).collect();
        names.join(", ")
    }
}
