//! Why a flow is allowed or denied: `repoint policy explain`.

use std::{fmt, net::IpAddr, str::FromStr};

use nix::ifaddrs::getifaddrs;
use repoint_policy::{Compiled, Direction, End, Party, PolicySet, Traffic, Verdict, judge};

use super::{Node, NodeError};
use crate::{
    model::{FunctionKey, InvalidValue, Isolation, NetworkName, Tenant},
    store::{Access, PartyNames, Slot, SlotState, StoreError, Transaction},
};

/// One end of a flow, as people name it: `host`, an address, `TENANT/FUNCTION` or `FUNCTION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndName {
    /// The node itself.
    Host,
    /// An address: a slot's, or one outside.
    Address(IpAddr),
    /// A function, which need not have run yet.
    Function(Option<Tenant>, FunctionKey),
}

impl FromStr for EndName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text == "host" {
            return Ok(Self::Host);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.split_once('/') {
            Some((tenant, function)) => {
                Ok(Self::Function(Some(tenant.parse()?), function.parse()?))
            }
            None => Ok(Self::Function(None, text.parse()?)),
        }
    }
}

impl fmt::Display for EndName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Address(address) => address.fmt(f),
            Self::Function(Some(tenant), function) => write!(f, "{tenant}/{function}"),
            Self::Function(None, function) => function.fmt(f),
        }
    }
}

/// What becomes of a flow, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allows: bool,
    /// What isolation says, if it keeps the two apart.
    pub isolation: Option<String>,
    /// What the rules of its opener say.
    pub egress: Option<String>,
    /// What the rules of the other end say.
    pub ingress: Option<String>,
    /// The way of the flow's packets.
    pub path: &'static str,
    /// Functions at its ends that have no container.
    pub unknown: Vec<EndName>,
}

/// One end with all that policies know of it.
struct Known {
    party: Option<Party>,
    compiled: Option<Compiled>,
    address: Option<IpAddr>,
    is_host: bool,
    /// A slot of this node that a container has.
    slot: Option<Slot>,
}

impl Node {
    /// Explains what becomes of a flow, with the rules that fill the maps. `network` says which network a function is
    /// of that runs in several, or has not run.
    ///
    /// # Errors
    /// [`NodeError::WhichNetwork`] where `network` is needed, [`NodeError::WhichAddress`] for a flow to
    /// [`EndName::Host`].
    pub fn explain(
        &self,
        from: &EndName,
        to: &EndName,
        traffic: Traffic,
        network: Option<&NetworkName>,
    ) -> Result<Explanation, NodeError> {
        if *to == EndName::Host {
            return Err(NodeError::WhichAddress);
        }
        self.store.read(|transaction| {
            let set = transaction.policy_set()?;
            let names = [from, to];
            let from = known(transaction, &set, from, network)?;
            let to = known(transaction, &set, to, network)?;
            let verdict = judge(&set.groups, &end(&from), &end(&to), traffic);
            let unknown = names.into_iter().zip([&from, &to]);
            let unknown = unknown.filter(|(_, it)| it.party.is_some() && it.slot.is_none());
            let unknown = unknown.map(|(name, _)| name.clone()).collect();
            Ok(Explanation { unknown, ..explanation(&set, &from, &to, verdict) })
        })
    }
}

fn known<T: Access>(
    transaction: &Transaction<'_, T>,
    set: &PolicySet,
    name: &EndName,
    network: Option<&NetworkName>,
) -> Result<Known, NodeError> {
    let nobody = Known { party: None, compiled: None, address: None, is_host: false, slot: None };
    match name {
        EndName::Host => Ok(Known { is_host: true, ..nobody }),
        EndName::Address(address) => {
            let owner = transaction.address_owner(*address)?;
            let slot = owner.map(|owner| transaction.slot(owner)).transpose()?.flatten();
            let slot = slot.filter(|slot| slot.state() == SlotState::Active);
            let Some(slot) = slot else {
                let is_host = is_own(*address)?;
                return Ok(Known { address: Some(*address), is_host, ..nobody });
            };
            let address = Some(*address);
            let names = PartyNames::of_slot(&slot);
            let party = transaction.party(&names)?;
            let compiled = set.compile(&party, &names.in_words()).map_err(StoreError::from)?;
            let (party, compiled) = (Some(party), Some(compiled));
            Ok(Known { party, compiled, address, is_host: false, slot: Some(slot) })
        }
        EndName::Function(tenant, function) => {
            of_function(transaction, set, (tenant.as_ref(), function), network)
        }
    }
}

/// Whether an address is the node's.
fn is_own(address: IpAddr) -> Result<bool, NodeError> {
    let all = getifaddrs().map_err(|errno| NodeError::OwnAddresses(errno.into()))?;
    let mut own = all.filter_map(|interface| {
        let found = interface.address?;
        let v4 = found.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| found.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(own.any(|found| found == address))
}

fn of_function<T: Access>(
    transaction: &Transaction<'_, T>,
    set: &PolicySet,
    (tenant, function): (Option<&Tenant>, &FunctionKey),
    network: Option<&NetworkName>,
) -> Result<Known, NodeError> {
    let is_it = |slot: &Slot| {
        slot.function.as_ref() == Some(function)
            && slot.tenant.as_ref() == tenant
            && slot.container.is_some()
            && network.is_none_or(|network| slot.network == *network)
    };
    let mut slots = transaction.slots()?;
    slots.retain(is_it);
    let mut networks: Vec<_> = slots.iter().map(|slot| slot.network.clone()).collect();
    networks.extend(network.cloned());
    networks.sort_unstable();
    networks.dedup();
    let [network] = &*networks else {
        let end = EndName::Function(tenant.cloned(), function.clone()).to_string();
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        return Err(NodeError::WhichNetwork { end, networks: networks.join(", ") });
    };
    let identity = transaction.function_identity(network, tenant, function)?;
    let names = PartyNames { identity, network, tenant, function: Some(function) };
    let party = transaction.party(&names)?;
    let compiled = set.compile(&party, &names.in_words()).map_err(StoreError::from)?;
    let slot = slots.into_iter().next();
    let address = slot.as_ref().and_then(|slot| slot.addresses.first()).map(ipnet::IpNet::addr);
    Ok(Known { party: Some(party), compiled: Some(compiled), address, is_host: false, slot })
}

fn end(known: &Known) -> End<'_> {
    End {
        function: known.compiled.as_ref(),
        tenant: known.party.as_ref().and_then(|party| party.tenant.as_deref()),
        address: known.address,
        is_host: known.is_host,
    }
}

fn explanation(set: &PolicySet, from: &Known, to: &Known, verdict: Verdict) -> Explanation {
    let describe = |decision, known: &Known, direction| {
        let decision: repoint_policy::Decision = decision?;
        known.party.as_ref().map(|party| set.describe(decision, party, direction))
    };
    let isolation = isolation(from, to);
    Explanation {
        allows: verdict.allows() && isolation.is_none(),
        isolation,
        egress: describe(verdict.egress, from, Direction::Egress),
        ingress: match verdict.egress {
            Some(egress) if !egress.allows => Some("not asked".to_owned()),
            _ => describe(verdict.ingress, to, Direction::Ingress),
        },
        path: path(from, to),
        unknown: Vec::new(),
    }
}

/// Why isolation keeps two slots apart, if it does.
fn isolation(from: &Known, to: &Known) -> Option<String> {
    let (from, to) = (from.slot.as_ref()?, to.slot.as_ref()?);
    if from.identity == to.identity {
        return None;
    }
    let is_one_tenant = from.tenant_number == to.tenant_number && from.tenant_number.0 != 0;
    [from, to].into_iter().find_map(|slot| match slot.isolation {
        Isolation::None => None,
        Isolation::Tenant if is_one_tenant => None,
        Isolation::Tenant => {
            Some(format!("network {} keeps tenants apart (key isolation)", slot.network))
        }
        Isolation::Function => {
            Some(format!("network {} keeps functions apart (key isolation)", slot.network))
        }
    })
}

fn path(from: &Known, to: &Known) -> &'static str {
    match (from.party.is_some(), to.party.is_some()) {
        (true, true) => {
            "program from_container of the opener's interface judges both; the packet is redirected to the \
             other's"
        }
        (true, false) => "program from_container of the opener's interface, then the host's stack",
        (false, true) => "the host's stack, then program to_container of the other's interface",
        (false, false) => "no slot of this node: repoint sees nothing of it",
    }
}
