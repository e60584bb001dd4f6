//! The configuration of a container's resolver.

use serde::Serialize;

use super::json::{KeyError, Node, Object};

/// The object `dns` of results and configurations (CNI spec, sections 1 and 5).
///
/// The plugin passes it to the runtime, which writes the container's `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Addresses of name servers, most wanted first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains to search, most wanted first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the object.
    pub fn read(dns: &Object<'_>) -> Result<Self, KeyError> {
        let domain = dns.get("domain").map(|node| node.string("a domain such as \"svc.local\""));
        Ok(Self {
            nameservers: texts(dns, "nameservers")?,
            domain: domain.transpose()?.filter(|text| !text.is_empty()).map(str::to_owned),
            search: texts(dns, "search")?,
            options: texts(dns, "options")?,
        })
    }
}

/// The list of texts that a key holds.
pub(crate) fn texts(object: &Object<'_>, key: &str) -> Result<Vec<String>, KeyError> {
    let text = |node: Node<'_>| Ok(node.string("a string")?.to_owned());
    object
        .get(key)
        .map_or(Ok(Vec::new()), |node| node.items("a list of strings")?.map(text).collect())
}
