//! `repoint label`.

use repoint::{
    conf::Directories,
    model::{FunctionKey, Tenant},
    node::Node,
    store::Target,
};
use repoint_policy::{
    Declared, NamedPort, Protocol,
    party::{FUNCTION, NAMESPACE, NETWORK},
    read::{check_label, check_port_name},
};
use serde::Serialize;

use crate::{
    output::{CommandError, json, said},
    policy,
};

/// The arguments of `repoint label`.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// The function; none: the tenant itself
    #[arg(long, value_name = "NAME", required_unless_present_any = ["tenant", "list"])]
    function: Option<FunctionKey>,
    /// The tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// KEY=VALUE to declare a label, KEY- to remove it
    #[arg(value_name = "LABEL")]
    labels: Vec<String>,
    /// NAME=NUMBER/PROTOCOL to declare a port of the function, NAME- to remove it
    #[arg(long = "port", value_name = "PORT", requires = "function")]
    ports: Vec<String>,
    /// List what is declared
    #[arg(long, conflicts_with_all = ["labels", "ports"])]
    list: bool,
}

/// What is declared, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    tenant: Option<String>,
    function: Option<String>,
    #[serde(flatten)]
    declared: Declared,
}

/// Declares labels and ports, or lists them as JSON.
pub(crate) fn run(directories: &Directories, wanted: Wanted) -> Result<(), CommandError> {
    if wanted.list || wanted.labels.is_empty() && wanted.ports.is_empty() {
        return list(directories, &wanted);
    }
    let Wanted { function, tenant, labels, ports, .. } = wanted;
    let target = match (tenant, function) {
        (tenant, Some(function)) => Target::Function(tenant, function),
        (Some(tenant), None) => Target::Tenant(tenant),
        (None, None) => return Ok(()),
    };
    let wanted = labels.iter().map(|text| change(text)).collect::<Result<Vec<_>, _>>()?;
    let ports = ports.iter().map(|text| port_change(text)).collect::<Result<Vec<_>, _>>()?;
    let node = Node::open(directories)?;
    let changed = node.change_policies(|stored| {
        let former = stored.declared.get(&target).cloned().unwrap_or_default();
        let mut declared = former.clone();
        for (key, value) in &wanted {
            match value {
                Some(value) => drop(declared.labels.insert(key.clone(), value.clone())),
                None => drop(declared.labels.remove(key)),
            }
        }
        for (name, port) in &ports {
            declared.ports.retain(|known| known.name != *name);
            declared.ports.extend(port.clone());
        }
        declared.ports.sort_unstable();
        if declared == former {
            return Ok(None);
        }
        if declared == Declared::default() {
            stored.declared.remove(&target);
        } else {
            stored.declared.insert(target.clone(), declared);
        }
        Ok(Some(()))
    })?;
    said(&format!("{target} {}", if changed.is_some() { "changed" } else { "unchanged" }))
}

fn list(directories: &Directories, wanted: &Wanted) -> Result<(), CommandError> {
    let stored = policy::stored(directories)?;
    let rows = stored.declared.into_iter().map(|(target, declared)| match target {
        Target::Tenant(tenant) => {
            Row { tenant: Some(tenant.to_string()), function: None, declared }
        }
        Target::Function(tenant, function) => Row {
            tenant: tenant.map(|tenant| tenant.to_string()),
            function: Some(function.to_string()),
            declared,
        },
    });
    let of = |wanted: Option<String>, found: &Option<String>| wanted.is_none() || wanted == *found;
    let rows: Vec<_> = rows
        .filter(|row| of(wanted.tenant.as_ref().map(ToString::to_string), &row.tenant))
        .filter(|row| of(wanted.function.as_ref().map(ToString::to_string), &row.function))
        .collect();
    json(&rows)
}

/// Key, and value or none to remove it.
fn change(text: &str) -> Result<(String, Option<String>), CommandError> {
    let wrong = || CommandError::NotLabel { text: text.to_owned() };
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text.strip_suffix('-').ok_or_else(wrong)?, None),
    };
    if let Some(key) = [FUNCTION, NETWORK, NAMESPACE].into_iter().find(|given| *given == key) {
        return Err(CommandError::GivenLabel { key });
    }
    check_label(key, value.unwrap_or_default()).map_err(CommandError::Label)?;
    Ok((key.to_owned(), value.map(str::to_owned)))
}

fn port_change(text: &str) -> Result<(String, Option<NamedPort>), CommandError> {
    let wrong = || CommandError::NotLabel { text: text.to_owned() };
    let Some((name, port)) = text.split_once('=') else {
        return Ok((text.strip_suffix('-').ok_or_else(wrong)?.to_owned(), None));
    };
    check_port_name(name).map_err(CommandError::Label)?;
    let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
    let protocol = match protocol.to_ascii_uppercase().as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => return Err(wrong()),
    };
    let number = number.parse().ok().filter(|number| *number != 0).ok_or_else(wrong)?;
    let name = name.to_owned();
    Ok((name.clone(), Some(NamedPort { name, protocol, number })))
}
