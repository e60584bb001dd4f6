//! Functions as policies see them.

use serde::{Deserialize, Serialize};

use crate::object::{Labels, Protocol};

/// Label of every function: its name.
pub const FUNCTION: &str = "repoint.dev/function";
/// Label of every function and container: the name of its network.
pub const NETWORK: &str = "repoint.dev/network";
/// Label of every namespace: its name.
pub const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// A port that a function declares by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

/// What an operator declares of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its named ports.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
}

impl Declared {
    /// Adds labels that a start gave. What the operator declares counts first.
    pub fn give(&mut self, given: Labels) {
        for (key, value) in given {
            self.labels.entry(key).or_insert(value);
        }
    }
}

/// A function, or a container without one, as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Its namespace, which is its tenant; none: it is in a namespace without name and labels.
    pub tenant: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// The labels of its namespace.
    pub namespace_labels: Labels,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

impl Party {
    /// A function of a network, or a container without a function, with what is declared of it and its tenant.
    ///
    /// Labels that every function has cannot be declared to be others.
    #[must_use]
    pub fn new(
        network: &str,
        tenant: Option<&str>,
        function: Option<&str>,
        declared: Declared,
        mut namespace_labels: Labels,
    ) -> Self {
        let Declared { mut labels, ports } = declared;
        labels.remove(FUNCTION);
        let own = [(NETWORK, Some(network)), (FUNCTION, function)];
        let own = own.into_iter().filter_map(|(key, value)| Some((key, value?)));
        labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        match tenant {
            Some(tenant) => drop(namespace_labels.insert(NAMESPACE.to_owned(), tenant.to_owned())),
            None => namespace_labels.clear(),
        }
        Self { tenant: tenant.map(str::to_owned), labels, namespace_labels, ports }
    }
}
