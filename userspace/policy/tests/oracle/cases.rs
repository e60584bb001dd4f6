//! Random sets of objects and functions, with flows, in the form of `oracle.py`.

use std::{collections::BTreeSet, net::IpAddr};

use repoint_policy::{
    CompileError, Declared, End, Groups, Labels, NamedPort, Numbered, Object, Party, PolicySet,
    Traffic, judge, party::NAMESPACE, read::read, write::to_json,
};
use serde_json::{Value, json};

use crate::{
    draw::Draw,
    objects::{self, PORT_NAMES, PORTS},
    world::{self, Flow, Function, MAX_FUNCTIONS, NETWORKS, Place, TENANTS, World},
};

/// Objects of a set.
const POLICIES: usize = 4;
/// Flows of a set.
pub const QUERIES: u64 = 60;

/// Objects and functions, with flows between them.
pub struct Case {
    id: u64,
    namespaces: Vec<Labels>,
    world: World,
    flows: Vec<Flow>,
}

impl Case {
    /// A random set.
    pub fn draw(draw: &mut Draw, id: u64) -> Self {
        let namespaces: Vec<_> = TENANTS.iter().map(|tenant| namespace(draw, tenant)).collect();
        let functions = (0..MAX_FUNCTIONS).map(|number| function(draw, number, &namespaces));
        let functions = functions.collect();
        let objects = (0..POLICIES).map(|number| policy(draw, number)).collect();
        let world = World { objects, functions };
        let flows = (0..QUERIES).map(|_| flow(draw, &world)).collect();
        Self { id, namespaces, world, flows }
    }

    /// Its objects.
    pub fn objects(&self) -> &[Object] {
        &self.world.objects
    }

    /// The set as text: JSON in one line.
    pub fn text(&self) -> String {
        let namespaces = TENANTS.iter().zip(&self.namespaces);
        let namespaces = namespaces.map(|(name, labels)| json!({ "name": name, "labels": labels }));
        let parties = self.world.functions.iter().map(|function| &function.party).enumerate();
        let pods = parties.map(|(number, Party { tenant, labels, ports, .. })| {
            let port = |port: &NamedPort| json!({ "name": port.name, "port": port.number, "protocol": port.protocol });
            let ports: Vec<_> = ports.iter().map(port).collect();
            json!({ "namespace": tenant, "name": name(number), "labels": labels, "ports": ports })
        });
        json!({
            "id": self.id,
            "namespaces": namespaces.collect::<Vec<_>>(),
            "pods": pods.collect::<Vec<_>>(),
            "policies": self.objects().iter().map(to_json).collect::<Vec<_>>(),
            "queries": (0..self.flows.len()).map(|place| self.query(place)).collect::<Vec<_>>(),
        })
        .to_string()
    }

    /// The flow at a place.
    pub fn query(&self, place: usize) -> Value {
        let Flow { from, to, protocol, port, .. } = self.flows[place];
        let end = |place| match place {
            Place::Function(number) => {
                let tenant = self.world.functions[number].party.tenant.as_deref();
                format!("{}/{}", tenant.unwrap(), name(number))
            }
            Place::Node(address) | Place::Outside(address) => address.to_string(),
        };
        let protocol = match protocol {
            6 => "TCP",
            17 => "UDP",
            _ => "SCTP",
        };
        json!({ "from": end(from), "to": end(to), "protocol": protocol, "port": port })
    }

    /// Which flows are allowed by the rules of the objects, as they are read from their JSON.
    pub fn judge(&self) -> Result<Vec<bool>, CompileError> {
        let set = self.policy_set()?;
        let functions = &self.world.functions;
        let compile = |function: &Function| set.compile(&function.party, "function");
        let compiled = functions.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let judge = |flow: &Flow| {
            let end = |place| {
                let number = match place {
                    Place::Function(number) => Some(number),
                    Place::Node(_) | Place::Outside(_) => None,
                };
                End {
                    function: number.map(|number| &compiled[number]),
                    tenant: number.and_then(|number| functions[number].party.tenant.as_deref()),
                    address: Some(self.world.address(place, flow.is_v6)),
                    is_host: false,
                }
            };
            let traffic = Traffic { protocol: flow.protocol, port: flow.port };
            judge(&set.groups, &end(flow.from), &end(flow.to), traffic).allows()
        };
        Ok(self.flows.iter().map(judge).collect())
    }

    fn policy_set(&self) -> Result<PolicySet, CompileError> {
        let texts = self.objects().iter().map(|object| to_json(object).to_string());
        let objects: Vec<_> =
            texts.flat_map(|text| read(text.as_bytes(), "policies").unwrap()).collect();
        let ports = self.world.functions.iter().flat_map(|function| function.party.ports.clone());
        let ports: BTreeSet<_> = ports.collect();
        let groups = Groups::default().renew(&objects, &ports)?;
        let objects = (1..).zip(objects).map(|(number, object)| Numbered { number, object });
        Ok(PolicySet { objects: objects.collect(), groups, ports })
    }
}

fn name(number: usize) -> String {
    format!("f{number}")
}

fn namespace(draw: &mut Draw, tenant: &str) -> Labels {
    let mut labels = world::namespace_labels(draw);
    labels.insert(NAMESPACE.to_owned(), tenant.to_owned());
    labels
}

/// A function with a tenant, whose ports have different names.
fn function(draw: &mut Draw, number: usize, namespaces: &[Labels]) -> Function {
    let tenant = draw.below(TENANTS.len());
    let names = PORT_NAMES.iter().filter(|_| draw.chance(60)).collect::<Vec<_>>();
    let port = |name: &&str| NamedPort {
        name: (*name).to_owned(),
        protocol: world::protocol(draw),
        number: *draw.one(&PORTS),
    };
    let ports = names.into_iter().map(port).collect();
    let declared = Declared { labels: world::pod_labels(draw), ports };
    let party = Party::new(
        &draw.text(&NETWORKS),
        Some(TENANTS[tenant]),
        Some(&name(number)),
        declared,
        namespaces[tenant].clone(),
    );
    let last = u8::try_from(number + 1).unwrap();
    let addresses: [IpAddr; 2] = [false, true].map(|is_v6| world::prefixed(draw, is_v6, last));
    Function { party, addresses }
}

/// An object of a namespace that is enforced.
fn policy(draw: &mut Draw, number: usize) -> Object {
    let mut object = Object { audit: false, ..objects::network_object(draw) };
    object.id.name = format!("policy-{number}");
    object
}

/// A flow of a protocol with ports, and not to or from the node, which the analyzer does not know.
fn flow(draw: &mut Draw, world: &World) -> Flow {
    loop {
        let flow = world.flow(draw);
        let is_of_node = [flow.from, flow.to].iter().any(|end| matches!(end, Place::Node(_)));
        if !is_of_node && [6, 17, 132].contains(&flow.protocol) {
            return flow;
        }
    }
}
