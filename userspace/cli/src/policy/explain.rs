//! `repoint policy explain` and `repoint policy test`.

use std::{path::PathBuf, process::ExitCode};

use repoint::{
    conf::Directories,
    model::NetworkName,
    node::{EndName, Explanation},
};
use repoint_policy::{NamedTraffic, read::read_cases};

use super::text_of;
use crate::{
    exit, node,
    output::{CommandError, said},
};

/// The arguments of `repoint policy explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Who opens the flow: TENANT/FUNCTION, FUNCTION, an address, or host
    #[arg(long, value_name = "END")]
    from: EndName,
    /// To whom: as --from, with a port and protocol, such as shop/web:80/TCP or an IPv6 address in brackets; without, ICMP
    #[arg(long, value_name = "END[:PORT/PROTOCOL]")]
    to: Target,
    /// The network of the functions, where they run in several or have not run
    #[arg(long, value_name = "NETWORK")]
    network: Option<NetworkName>,
}

/// An end, and what is sent to it.
#[derive(Debug, Clone)]
struct Target {
    end: EndName,
    traffic: NamedTraffic,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (end, traffic) = split(text);
        let end = end.parse().map_err(|error: repoint::InvalidValue| error.to_string())?;
        let traffic = traffic.unwrap_or("ICMP").parse();
        Ok(Self { end, traffic: traffic.map_err(|error| format!("{error}"))? })
    }
}

/// An end apart from its traffic. An IPv6 address with traffic has brackets.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((end, traffic)) => (end, traffic.strip_prefix(':')),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((end, traffic)) if !traffic.contains(':') => (end, Some(traffic)),
        _ => (text, None),
    }
}

/// Explains a flow.
pub(super) fn run(directories: &Directories, wanted: &Wanted) -> Result<(), CommandError> {
    let Wanted { from, to: Target { end: to, traffic }, network } = wanted;
    let node = node::open(directories)?;
    let explained = node.explain(from, to, (*traffic).into(), network.as_ref())?;
    let Explanation { allows, isolation, egress, ingress, path, unknown } = explained;
    let word = if allows { "allowed" } else { "denied" };
    said(&format!("{from} to {to}, {traffic}: {word}"))?;
    if let Some(isolation) = isolation {
        said(&format!("  isolation: denied: {isolation}"))?;
    }
    let unasked = || "no policy is asked".to_owned();
    said(&format!("  egress of {from}: {}", egress.unwrap_or_else(unasked)))?;
    said(&format!("  ingress of {to}: {}", ingress.unwrap_or_else(unasked)))?;
    for end in unknown {
        said(&format!("  {end} has no container: judged as one that starts now"))?;
    }
    said(&format!("  path: {path}"))
}

/// Judges the cases of files.
pub(super) fn test(files: &[PathBuf]) -> Result<ExitCode, CommandError> {
    let (mut count, mut wrong) = (0, 0);
    for file in files {
        let name = file.to_string_lossy();
        let cases = read_cases(&text_of(file)?, &name)?;
        // A test that cannot fail.
        if cases.cases.is_empty() {
            return Err(CommandError::NoCase { file: file.clone() });
        }
        for outcome in cases.judge().map_err(repoint::store::StoreError::from)? {
            count += 1;
            if !outcome.is_as_wanted() {
                wrong += 1;
                said(&format!("{name}: {outcome}"))?;
            }
        }
    }
    said(&format!("{} of {count} cases are as wanted", count - wrong))?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}
