//! The recipes of `docs/examples/policies`, as real traffic between containers, and with the node and the outside.

mod flows;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use repoint_policy::{
    Traffic,
    cases::{Case, CaseEnd, CaseFile, Function},
    read::read_cases,
};
use repoint_tests::{
    Container, Node, cli, command, dist,
    networks::network,
    node::{NODE, OUTSIDE, UPLINK, has_ipv6},
    plugin::Network,
    sctp,
    share::Share,
    traffic::{Host, unspecified},
};
use serde_json::json;

use super::add;
use flows::{Flow, SCTP, judge};

/// In how many parts CI plays the recipes.
const PARTS: u64 = 2;

/// The files of recipes, in the order of their names.
fn recipes() -> Result<Vec<PathBuf>> {
    let folder = dist::workspace().join("docs/examples/policies");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut paths: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    paths.sort_unstable();
    Ok(paths)
}

fn read(path: &Path) -> Result<CaseFile> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(read_cases(&text, &path.to_string_lossy())?)
}

/// `repoint policy test` finds each case as it is wanted, and needs no node.
#[test]
fn recipes_are_judged_as_they_say() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let recipes = recipes()?;
        ensure!(recipes.len() >= 24, "{} recipes", recipes.len());
        let files = recipes.iter().flat_map(|path| ["-f", path.to_str().unwrap_or_default()]);
        let arguments: Vec<_> = ["policy", "test"].into_iter().chain(files).collect();
        let said = cli::repoint(&node, &arguments)?;
        println!("{said}");
        ensure!(!node.dirs().run.exists(), "a node was made");
        Ok(())
    })
}

/// What they say of a flow becomes of real packets.
#[test]
fn recipes_hold_under_real_traffic() -> Result<()> {
    let share = Share::drawn(PARTS)?;
    if !sctp::is_supported() {
        println!("the kernel has no SCTP: its cases are left out");
    }
    play_all(|name, _| share.has(name))
}

/// The same of those with cases of SCTP.
#[test]
fn recipes_hold_under_real_sctp() -> Result<()> {
    if !sctp::is_supported() {
        println!("skipped: the kernel has no SCTP");
        return Ok(());
    }
    play_all(|_, file| file.cases.iter().any(is_sctp))
}

/// Whether a case is of SCTP.
fn is_sctp(case: &Case) -> bool {
    Traffic::from(case.traffic).protocol == SCTP
}

/// Plays the recipes that are chosen by name and content.
fn play_all(chosen: impl Fn(&str, &CaseFile) -> bool) -> Result<()> {
    let (mut allowed, mut denied, mut recipes_played, mut wrong) = (0, 0, 0, Vec::new());
    for path in recipes()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = read(&path)?;
        if !chosen(&name, &file) {
            continue;
        }
        match play(&file, &path) {
            Ok(played) => (allowed, denied) = (allowed + played.0, denied + played.1),
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
        recipes_played += 1;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{recipes_played} recipes, {allowed} flows were allowed, {denied} denied");
    ensure!(allowed > 0 && denied > 0);
    Ok(())
}

fn play(file: &CaseFile, path: &Path) -> Result<(usize, usize)> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            configuration["ipMasq"] = json!(false);
            configuration["linkLocal"] = json!("allow");
            configuration["pool"] = json!({ "warm": 1, "maxSlots": 16 });
        })?;
        let outside = Outside::new(&node, file)?;
        // Half of the functions run before the policies are there.
        let (before, after) = file.functions.split_at(file.functions.len() / 2);
        let mut containers = BTreeMap::new();
        run_functions(&network, before, &mut containers)?;
        declare(&node, file)?;
        cli::repoint(&node, &["policy", "apply", "-f", path.to_str().context("path")?])?;
        run_functions(&network, after, &mut containers)?;
        let ends =
            Ends { file, containers: &containers, outside: &outside, node: Host::here("node")? };
        let flows = ends.flows()?;
        let played =
            judge(&flows).with_context(|| cli::repoint(&node, &["events"]).unwrap_or_default())?;
        super::ensure_clean(&node)?;
        containers.into_values().try_for_each(Container::remove)?;
        Ok(played)
    })
}

fn run_functions<'a>(
    network: &'a Network,
    functions: &[Function],
    containers: &mut BTreeMap<String, Container<'a>>,
) -> Result<()> {
    for function in functions {
        let (tenant, name) = function.name.split_once('/').unwrap_or(("", &function.name));
        let container = add(network, &function.name.replace('/', "-"), (tenant, name))?;
        containers.insert(function.name.clone(), container);
    }
    Ok(())
}

/// Declares the labels and ports of functions and tenants.
fn declare(node: &Node, file: &CaseFile) -> Result<()> {
    for function in &file.functions {
        let given = ["repoint.dev/function", "repoint.dev/network", "kubernetes.io/metadata.name"];
        let declared = |labels: &BTreeMap<String, String>| -> Vec<String> {
            let own = labels.iter().filter(|(key, _)| !given.contains(&key.as_str()));
            own.map(|(key, value)| format!("{key}={value}")).collect()
        };
        let (tenant, name) = match function.name.split_once('/') {
            Some((tenant, name)) => (Some(tenant), name),
            None => (None, &*function.name),
        };
        let of_tenant = tenant.map(|tenant| vec!["--tenant".to_owned(), tenant.to_owned()]);
        let of_tenant = of_tenant.unwrap_or_default();
        let ports = function.party.ports.iter().flat_map(|port| {
            let protocol = format!("{:?}", port.protocol).to_uppercase();
            ["--port".to_owned(), format!("{}={}/{protocol}", port.name, port.number)]
        });
        let labels = declared(&function.party.labels);
        if !labels.is_empty() || !function.party.ports.is_empty() {
            let name = vec!["--function".to_owned(), name.to_owned()];
            let arguments: Vec<_> =
                [&of_tenant, &name, &labels].into_iter().flatten().cloned().chain(ports).collect();
            label(node, &arguments)?;
        }
        let labels = declared(&function.party.namespace_labels);
        if !labels.is_empty() {
            label(node, &[of_tenant, labels].concat())?;
        }
    }
    Ok(())
}

fn label(node: &Node, arguments: &[String]) -> Result<()> {
    let arguments: Vec<_> = ["label"].into_iter().chain(arguments.iter().map(|it| &**it)).collect();
    cli::repoint(node, &arguments).map(drop)
}

/// The host outside, with the addresses that a recipe names.
struct Outside {
    host: Host,
}

impl Outside {
    fn new(node: &Node, file: &CaseFile) -> Result<Self> {
        let addresses = file.cases.iter().flat_map(|case| [&case.from, &case.to]);
        let mut addresses: Vec<_> = addresses
            .filter_map(|end| match end {
                CaseEnd::Address(address) => Some(*address),
                CaseEnd::Function(_) | CaseEnd::Host => None,
            })
            .filter(|address| !OUTSIDE.contains(address))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let bits = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
        for address in &addresses {
            let via = OUTSIDE.into_iter().find(|it| it.is_ipv4() == address.is_ipv4());
            let (prefix, via) = (format!("{address}/{}", bits(address)), via.context("no way")?);
            command::run("ip", ["route", "replace", &prefix, "via", &via.to_string()])?;
        }
        node.outside(|| {
            for address in &addresses {
                let prefix = format!("{address}/{}", bits(address));
                command::run("ip", ["address", "replace", &prefix, "dev", UPLINK, "nodad"])?;
            }
            for (prefix, via) in ["10.217.0.0/16", "fd00:217::/32"].into_iter().zip(NODE) {
                command::run("ip", ["route", "replace", prefix, "via", &via.to_string()])?;
            }
            Ok(())
        })?;
        // The node asks for the gateway of packets that it forwards by its link-local address, which the outside
        // host does not answer: it has none.
        let link = node.outside(|| command::run("ip", ["-br", "link", "show", UPLINK]))?;
        let mac = link.split_whitespace().nth(2).context("no MAC address")?;
        for gateway in OUTSIDE.into_iter().filter(|it| it.is_ipv6() && has_ipv6()) {
            let gateway = gateway.to_string();
            command::run("ip", ["neigh", "replace", &gateway, "lladdr", mac, "dev", UPLINK])?;
        }
        Ok(Self { host: node.outside_host()? })
    }
}

/// The ends of a recipe's flows.
struct Ends<'a> {
    file: &'a CaseFile,
    containers: &'a BTreeMap<String, Container<'a>>,
    outside: &'a Outside,
    node: Host,
}

impl Ends<'_> {
    fn flows(&self) -> Result<Vec<Flow>> {
        let (mut flows, has_sctp) = (Vec::new(), sctp::is_supported());
        for case in self.file.cases.iter().filter(|case| has_sctp || !is_sctp(case)) {
            let traffic = Traffic::from(case.traffic);
            let before = flows.len();
            for is_v4 in [true, false] {
                if (is_v4 || has_ipv6())
                    && let Some(flow) = self.flow(case, traffic, is_v4)?
                {
                    flows.push(flow);
                }
            }
            ensure!(flows.len() > before, "line {}: no family", case.line);
        }
        Ok(flows)
    }

    fn flow(&self, case: &Case, traffic: Traffic, is_v4: bool) -> Result<Option<Flow>> {
        let (Some((from, source)), Some((to, target))) =
            (self.end(&case.from, is_v4)?, self.end(&case.to, is_v4)?)
        else {
            return Ok(None);
        };
        let source = match case.from {
            CaseEnd::Address(_) => SocketAddr::new(source, 0),
            CaseEnd::Function(_) | CaseEnd::Host => unspecified(source),
        };
        let target = SocketAddr::new(target, traffic.port);
        let (line, allow) = (case.line, case.allow);
        Ok(Some(Flow { line, from, source, to, target, traffic, allow }))
    }

    fn end(&self, end: &CaseEnd, is_v4: bool) -> Result<Option<(Host, IpAddr)>> {
        let of_family = |address: &IpAddr| address.is_ipv4() == is_v4;
        Ok(match end {
            CaseEnd::Host => {
                let address = NODE.into_iter().find(of_family);
                Some((self.node.again()?, address.context("no address of the node")?))
            }
            CaseEnd::Address(address) if of_family(address) => {
                Some((self.outside.host.again()?, *address))
            }
            CaseEnd::Address(_) => None,
            CaseEnd::Function(place) => {
                let function = self.file.functions.get(*place).context("no function")?;
                let container = self.containers.get(&function.name).context("no container")?;
                let address = container.addresses()?.into_iter().find(of_family);
                address
                    .map(|address| Ok::<_, anyhow::Error>((container.host()?, address)))
                    .transpose()?
            }
        })
    }
}
