//! Files of cases: a document of kind `PolicyTest` beside policies.

use std::net::IpAddr;

use super::{
    ReadError,
    cursor::Cursor,
    document::Collection,
    names::{A_PORT_NAME, is_port_name},
    selector::{label_key, label_value},
    tree,
};
use crate::{
    cases::{Case, CaseEnd, CaseFile, Function},
    object::{Labels, Protocol},
    party::{Declared, NamedPort, Party},
};

const KIND: &str = "PolicyTest";
const VERSION: &str = "repoint.dev/v1";
const FIELDS: [&str; 5] = ["apiVersion", "kind", "namespaces", "functions", "cases"];
const NAMESPACE: [&str; 2] = ["name", "labels"];
const FUNCTION: [&str; 5] = ["name", "network", "labels", "ports", "addresses"];
const PORT: [&str; 3] = ["name", "protocol", "port"];
const CASE: [&str; 4] = ["from", "to", "traffic", "allow"];
const A_PROTOCOL: &str = "a protocol: TCP, UDP or SCTP";
const AN_ADDRESS: &str = "an address, such as 10.0.0.1 or fd00::1";
const AN_END: &str = "an end: the name of a function of this file, host, or an address";
const A_FUNCTION: &str = "the name of a function: FUNCTION or TENANT/FUNCTION, not host, an address, or the name of \
                          another one";
const A_TRAFFIC: &str = "what a flow carries: 80/TCP, 53/UDP, 9/SCTP or ICMP";
/// The network of functions that name none.
const NETWORK: &str = "net";

/// Reads a file of cases.
///
/// It has policies, and documents of kind `PolicyTest` with `namespaces`, `functions` and `cases`. Errors name
/// `source`.
pub fn read_cases(text: &[u8], source: &str) -> Result<CaseFile, ReadError> {
    let read = || {
        let documents = tree::parse(text)?;
        let roots: Vec<_> = documents.iter().map(Cursor::root).collect();
        let mut file = Reader::default();
        // Functions have the labels of namespaces that a later document describes, and cases name its functions.
        for root in &roots {
            file.add_namespaces(*root)?;
        }
        for root in &roots {
            file.add_functions(*root)?;
        }
        for root in &roots {
            file.add_cases(*root)?;
        }
        Ok(file.finish())
    };
    read().map_err(|error: ReadError| error.in_file(source))
}

#[derive(Default)]
struct Reader {
    policies: Collection,
    namespaces: Vec<(String, Labels)>,
    functions: Vec<Function>,
    cases: Vec<Case>,
}

impl Reader {
    /// Adds the namespaces of a document of cases, or the policies of another.
    fn add_namespaces(&mut self, root: Cursor<'_>) -> Result<(), ReadError> {
        if !is_test(root) {
            return self.policies.add_document(root);
        }
        let found = root.object(&FIELDS)?.optional("namespaces", |list| list.items(namespace))?;
        self.namespaces.extend(found.unwrap_or_default());
        Ok(())
    }

    fn add_functions(&mut self, root: Cursor<'_>) -> Result<(), ReadError> {
        if !is_test(root) {
            return Ok(());
        }
        root.object(&FIELDS)?.optional("functions", |list| {
            list.items(|item| {
                let function = self.function(item)?;
                self.functions.push(function);
                Ok(())
            })
        })?;
        Ok(())
    }

    fn add_cases(&mut self, root: Cursor<'_>) -> Result<(), ReadError> {
        if !is_test(root) {
            return Ok(());
        }
        let cases =
            root.object(&FIELDS)?.optional("cases", |list| list.items(|item| self.case(item)))?;
        self.cases.extend(cases.unwrap_or_default());
        Ok(())
    }

    fn finish(self) -> CaseFile {
        let Self { policies, functions, cases, .. } = self;
        CaseFile { objects: policies.into_objects(), functions, cases }
    }

    fn function(&self, item: Cursor<'_>) -> Result<Function, ReadError> {
        let fields = item.object(&FUNCTION)?;
        let owned = |field: Cursor<'_>| field.text().map(str::to_owned);
        let name = fields.required("name", |field| {
            field.parse(A_FUNCTION, |text| self.end(text).is_none().then(|| text.to_owned()))
        })?;
        let network = fields.optional("network", owned)?;
        let labels = fields.optional("labels", labels)?.unwrap_or_default();
        let ports = fields.optional("ports", |list| list.items(port))?.unwrap_or_default();
        let addresses = fields.optional("addresses", |list| list.items(address))?;
        let (tenant, function) = match name.split_once('/') {
            Some((tenant, function)) => (Some(tenant), function),
            None => (None, &*name),
        };
        let of_namespace = self.namespaces.iter().find(|(known, _)| Some(&**known) == tenant);
        let of_namespace = of_namespace.map(|(_, labels)| labels.clone()).unwrap_or_default();
        let network = network.as_deref().unwrap_or(NETWORK);
        let declared = Declared { labels, ports };
        let party = Party::new(network, tenant, Some(function), declared, of_namespace);
        Ok(Function { name, party, addresses: addresses.unwrap_or_default() })
    }

    fn case(&self, item: Cursor<'_>) -> Result<Case, ReadError> {
        let fields = item.object(&CASE)?;
        let end = |field: Cursor<'_>| field.parse(AN_END, |text| self.end(text));
        Ok(Case {
            line: item.position().line,
            from: fields.required("from", end)?,
            to: fields.required("to", end)?,
            traffic: fields
                .required("traffic", |field| field.parse(A_TRAFFIC, |text| text.parse().ok()))?,
            allow: fields.required("allow", |field| field.boolean())?,
        })
    }

    fn end(&self, text: &str) -> Option<CaseEnd> {
        if text == "host" {
            return Some(CaseEnd::Host);
        }
        if let Ok(address) = text.parse() {
            return Some(CaseEnd::Address(address));
        }
        self.functions.iter().position(|function| function.name == text).map(CaseEnd::Function)
    }
}

/// Whether a document has cases. Readers of policies pass over it.
pub(super) fn is_test(root: Cursor<'_>) -> bool {
    let has = |key, wanted: &str| {
        let fields = root.map().ok();
        fields.is_some_and(|map| {
            map.get(key).is_some_and(|field| field.text().is_ok_and(|text| text == wanted))
        })
    };
    has("kind", KIND) && has("apiVersion", VERSION)
}

fn namespace(item: Cursor<'_>) -> Result<(String, Labels), ReadError> {
    let fields = item.object(&NAMESPACE)?;
    let name = fields.required("name", |field| field.text().map(str::to_owned))?;
    Ok((name, fields.optional("labels", labels)?.unwrap_or_default()))
}

fn labels(field: Cursor<'_>) -> Result<Labels, ReadError> {
    let pairs = field.map()?.pairs(|key, value| Ok((label_key(key)?, label_value(value)?)))?;
    Ok(pairs.into_iter().collect())
}

fn port(item: Cursor<'_>) -> Result<NamedPort, ReadError> {
    let fields = item.object(&PORT)?;
    let name = |text: &str| is_port_name(text).then(|| text.to_owned());
    let protocol = fields.optional("protocol", |field| field.parse(A_PROTOCOL, protocol))?;
    Ok(NamedPort {
        name: fields.required("name", |field| field.parse(A_PORT_NAME, name))?,
        protocol: protocol.unwrap_or(Protocol::Tcp),
        number: fields.required("port", |field| field.integer(1..=u16::MAX))?,
    })
}

fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

fn address(field: Cursor<'_>) -> Result<IpAddr, ReadError> {
    field.parse(AN_ADDRESS, |text| text.parse().ok())
}
