//! Files of cases: what policies make of flows between functions, judged without a node.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use crate::{
    compile::{CompileError, Compiled, Direction, Numbered, PolicySet},
    evaluate::{End, Verdict, judge},
    object::Object,
    party::Party,
    sets::Groups,
    traffic::NamedTraffic,
};

/// A file of cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFile {
    /// The policies.
    pub objects: Vec<Object>,
    /// The functions.
    pub functions: Vec<Function>,
    /// What is to become of flows.
    pub cases: Vec<Case>,
}

/// A function of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Tenant and name, as cases name it: `shop/web`, or `web` without a tenant.
    pub name: String,
    /// What policies see of it.
    pub party: Party,
    /// Its addresses, for policies that name networks.
    pub addresses: Vec<IpAddr>,
}

/// An end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseEnd {
    /// The function at this place of the file.
    Function(usize),
    /// The node.
    Host,
    /// An address outside.
    Address(IpAddr),
}

/// What is to become of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Line of the file.
    pub line: u64,
    /// Who opens it.
    pub from: CaseEnd,
    /// To whom.
    pub to: CaseEnd,
    /// What it carries.
    pub traffic: NamedTraffic,
    /// Whether it is to be allowed.
    pub allow: bool,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Line of the file.
    line: u64,
    /// The flow in words.
    flow: String,
    wanted: bool,
    /// Whether the flow is allowed.
    pub allows: bool,
    why: String,
}

impl Outcome {
    /// Whether the flow is allowed where it is to be, and only there.
    #[must_use]
    pub const fn is_as_wanted(&self) -> bool {
        self.wanted == self.allows
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |allows| if allows { "allowed" } else { "denied" };
        let Self { line, flow, wanted, allows, why } = self;
        write!(f, "line {line}: {flow} is {}, wanted {}: {why}", word(*allows), word(*wanted))
    }
}

impl CaseFile {
    /// The policies of the file, with the sets of peers that they name.
    pub fn policy_set(&self) -> Result<PolicySet, CompileError> {
        let ports: BTreeSet<_> =
            self.functions.iter().flat_map(|function| function.party.ports.clone()).collect();
        let groups = Groups::default().renew(&self.objects, &ports)?;
        let numbered = (1..).zip(&self.objects);
        let objects =
            numbered.map(|(number, object)| Numbered { number, object: object.clone() }).collect();
        Ok(PolicySet { objects, groups, ports })
    }

    /// Judges all cases.
    ///
    /// # Errors
    /// Where the policies cannot be enforced for one of the functions.
    pub fn judge(&self) -> Result<Vec<Outcome>, CompileError> {
        let set = self.policy_set()?;
        let compile = |function: &Function| set.compile(&function.party, &function.name);
        let compiled = self.functions.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(self.cases.iter().map(|case| self.outcome(&set, &compiled, case)).collect())
    }

    fn outcome(&self, set: &PolicySet, compiled: &[Compiled], case: &Case) -> Outcome {
        let end = |end: &CaseEnd, other: &CaseEnd| self.end(compiled, end, other);
        let (from, to) = (end(&case.from, &case.to), end(&case.to, &case.from));
        let verdict = judge(&set.groups, &from, &to, case.traffic.into());
        Outcome {
            line: case.line,
            flow: format!("{} to {}, {}", self.name(&case.from), self.name(&case.to), case.traffic),
            wanted: case.allow,
            allows: verdict.allows(),
            why: self.why(set, case, verdict),
        }
    }

    fn end<'a>(&'a self, compiled: &'a [Compiled], end: &CaseEnd, other: &CaseEnd) -> End<'a> {
        let outside = End { function: None, tenant: None, address: None, is_host: false };
        match end {
            CaseEnd::Host => End { is_host: true, ..outside },
            CaseEnd::Address(address) => End { address: Some(*address), ..outside },
            CaseEnd::Function(place) => {
                let function = self.functions.get(*place);
                // Of the family of the other end, if that has one.
                let is_v6 = match other {
                    CaseEnd::Address(address) => address.is_ipv6(),
                    CaseEnd::Function(_) | CaseEnd::Host => false,
                };
                let addresses = function.map(|function| &function.addresses);
                let same = |address: &&IpAddr| address.is_ipv6() == is_v6;
                let address = addresses.and_then(|all| all.iter().find(same).or(all.first()));
                End {
                    function: compiled.get(*place),
                    tenant: function.and_then(|function| function.party.tenant.as_deref()),
                    address: address.copied(),
                    is_host: false,
                }
            }
        }
    }

    fn name(&self, end: &CaseEnd) -> String {
        match end {
            CaseEnd::Host => "host".to_owned(),
            CaseEnd::Address(address) => address.to_string(),
            CaseEnd::Function(place) => {
                self.functions.get(*place).map(|function| function.name.clone()).unwrap_or_default()
            }
        }
    }

    fn why(&self, set: &PolicySet, case: &Case, verdict: Verdict) -> String {
        let describe = |decision, end: &CaseEnd, direction: Direction| {
            let CaseEnd::Function(place) = end else { return None };
            let party = &self.functions.get(*place)?.party;
            Some(format!("{}: {}", direction.name(), set.describe(decision?, party, direction)))
        };
        let egress = describe(verdict.egress, &case.from, Direction::Egress);
        let ingress = describe(verdict.ingress, &case.to, Direction::Ingress);
        let why: Vec<_> = egress.into_iter().chain(ingress).collect();
        if why.is_empty() { "no policy is asked".to_owned() } else { why.join("; ") }
    }
}
