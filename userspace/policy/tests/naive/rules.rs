//! What the crate's rules say of a flow, in a form that the naive evaluator's verdict compares with.

use std::collections::BTreeSet;

use repoint_policy::{
    CompileError, Compiled, Decision, End, Groups, Numbered, ObjectId, PolicySet, Traffic, judge,
    object_of_rule,
};

use super::{
    draw::Draw,
    evaluate::{Match, Side, Verdict},
    objects,
    world::{Flow, Function, Place, World},
};

/// Place of the rule that stands for all that an object does not allow.
const REST: u32 = 0xfe;

/// The rules of a world.
pub struct RulesOf {
    /// The objects with their numbers and groups.
    pub set: PolicySet,
    /// What each function is.
    pub functions: Vec<Compiled>,
}

impl RulesOf {
    /// The rules of a world. Their groups sometimes follow upon those of other objects.
    pub fn new(world: &World, draw: &mut Draw) -> Result<Self, CompileError> {
        let ports: BTreeSet<_> =
            world.functions.iter().flat_map(|function| function.party.ports.clone()).collect();
        let mut before = Groups::default();
        if draw.chance(30) {
            before = before.renew(&objects::draw_all(draw), &ports)?;
        }
        let groups = before.renew(&world.objects, &ports)?;
        let numbers = (1..=Numbered::LAST).rev();
        let objects = numbers.zip(world.objects.iter().cloned());
        let objects = objects.map(|(number, object)| Numbered { number, object }).collect();
        let set = PolicySet { objects, groups, ports };
        let compile = |function: &Function| set.compile(&function.party, "function");
        let functions = world.functions.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { set, functions })
    }

    /// What the rules say of a flow.
    pub fn judge(&self, world: &World, flow: Flow) -> Compared {
        let end = |place| {
            let number = match place {
                Place::Function(number) => Some(number),
                Place::Node(_) | Place::Outside(_) => None,
            };
            End {
                function: number.map(|number| &self.functions[number]),
                tenant: number.and_then(|number| world.functions[number].party.tenant.as_deref()),
                address: Some(world.address(place, flow.is_v6)),
                is_host: matches!(place, Place::Node(_)),
            }
        };
        let traffic = Traffic { protocol: flow.protocol, port: flow.port };
        let verdict = judge(&self.set.groups, &end(flow.from), &end(flow.to), traffic);
        let egress = self.side(verdict.egress);
        let ingress = egress.allows.then(|| self.side(verdict.ingress));
        Compared { allows: verdict.allows(), egress, ingress }
    }

    fn side(&self, decision: Option<Decision>) -> ComparedSide {
        let Some(Decision { allows, rule, audited }) = decision else {
            return ComparedSide { allows: true, by: None, audited: None };
        };
        let by = (rule != 0).then(|| self.rule(rule));
        ComparedSide { allows, by, audited: audited.map(|rule| self.rule(rule)) }
    }

    /// The object's rule that has a number.
    pub fn rule(&self, rule: u32) -> ComparedRule {
        let (number, place) = object_of_rule(rule).unwrap();
        let object = self.set.objects.iter().find(|numbered| numbered.number == number).unwrap();
        let place = (place != REST).then(|| usize::try_from(place).unwrap());
        ComparedRule { object: object.object.id.clone(), place }
    }
}

/// A verdict, without what only one of both evaluators knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    allows: bool,
    egress: ComparedSide,
    /// None: the opener's rules deny the flow.
    ingress: Option<ComparedSide>,
}

#[derive(Debug, PartialEq, Eq)]
struct ComparedSide {
    allows: bool,
    by: Option<ComparedRule>,
    audited: Option<ComparedRule>,
}

/// A rule of an object.
#[derive(Debug, PartialEq, Eq)]
pub struct ComparedRule {
    object: ObjectId,
    place: Option<usize>,
}

impl From<&Verdict<'_>> for Compared {
    fn from(verdict: &Verdict<'_>) -> Self {
        let ingress = verdict.ingress.as_ref().map(ComparedSide::from);
        Self { allows: verdict.allows(), egress: (&verdict.egress).into(), ingress }
    }
}

impl From<&Side<'_>> for ComparedSide {
    fn from(Side { allows, by, audited, .. }: &Side<'_>) -> Self {
        let [by, audited] = [by, audited].map(|found| found.as_ref().map(ComparedRule::from));
        Self { allows: *allows, by, audited }
    }
}

impl From<&Match<'_>> for ComparedRule {
    fn from(Match { object, place, .. }: &Match<'_>) -> Self {
        Self { object: object.id.clone(), place: *place }
    }
}
