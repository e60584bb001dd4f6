//! `repoint status`.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use futures_util::TryStreamExt as _;
use repoint::{
    conf::Directories,
    datapath::Maps,
    slot::{GROUP, GROUP_MASQUERADED},
    store::Slot,
};
use rtnetlink::packet_route::link::LinkAttribute;

use crate::{node, output::CommandError};

/// Prints the node's state in a few lines.
pub(crate) fn run(directories: &Directories) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let mut out = io::stdout().lock();
    match Maps::open_existing(&directories.bpf)? {
        Some(maps) => {
            let dropped = dropped(&maps)?;
            writeln!(out, "data plane: loaded in {}", directories.bpf.display())?;
            writeln!(out, "endpoints:  {}", maps.endpoints()?.len())?;
            writeln!(out, "dropped:    {dropped} packets (see `repoint counters`)")?;
        }
        None => {
            writeln!(out, "data plane: not loaded (the first ADD loads it, or `repoint load`)")?;
        }
    }
    let slots = node.slots()?;
    writeln!(out, "interfaces: {}", interfaces()?)?;
    writeln!(out, "slots:      {}", slots.len())?;
    for (network, states) in by_network(&slots) {
        let states: Vec<_> =
            states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(out, "  network {network}: {}", states.join(", "))?;
    }
    Ok(())
}

/// How many interfaces of slots the kernel has; more or fewer than slots are on record shows that
/// something else made or removed some.
#[tokio::main(flavor = "current_thread")]
async fn interfaces() -> Result<usize, CommandError> {
    let (connection, netlink, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let links: Vec<_> = netlink.link().get().execute().try_collect().await?;
    connection.abort();
    let ours = |attribute: &LinkAttribute| {
        matches!(attribute, LinkAttribute::Group(GROUP | GROUP_MASQUERADED))
    };
    Ok(links.iter().filter(|link| link.attributes.iter().any(ours)).count())
}

fn dropped(maps: &Maps) -> Result<u64, CommandError> {
    let counters = maps.counters()?.into_iter().filter(|(reason, _)| reason.is_drop());
    Ok(counters.map(|(_, counter)| counter.packets).sum())
}

/// How many slots of each network are in which state.
fn by_network(slots: &[Slot]) -> BTreeMap<&str, BTreeMap<String, usize>> {
    let mut networks: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for slot in slots {
        let states = networks.entry(slot.network.as_str()).or_default();
        *states.entry(slot.state().to_string()).or_default() += 1;
    }
    networks
}
