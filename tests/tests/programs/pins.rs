//! Loading, pinning and unloading, and what operators see of it.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramInfo;
use nix::mount::{MsFlags, mount};
use repoint::datapath::{Datapath, DatapathError, FROM_CONTAINER, Maps, TO_CONTAINER, unload};
use repoint_common::{
    LAYOUT_VERSION,
    counter::{REASONS, Reason},
    drops,
    endpoint::{Endpoint, MAX_ENTRIES},
    interface::Interface,
};
use repoint_tests::{Agent, Node, command, node::Dirs, pins, wait};
use serde_json::{Value, json};

use super::{
    case::{Device, OWN, OWN_MAC, PEER, Program, both},
    rig::Rig,
};

/// Within which the agent logs what a program reports.
const LOGGED: Duration = Duration::from_secs(5);
const ENDPOINT: Endpoint =
    Endpoint { ifindex: 17, identity: 7, mac: OWN_MAC, flags: 0, tenant: 3, padding: 0, epoch: 5 };

/// Runs `f` on a node of its own.
fn on_a_node(f: impl FnOnce(&Dirs) -> Result<()> + Send) -> Result<()> {
    let node = Node::new()?;
    node.run(|| f(node.dirs()))
}

fn load(dirs: &Dirs) -> Result<Datapath, DatapathError> {
    Datapath::load(&dirs.bpf, &dirs.run)
}

fn folder(dirs: &Dirs) -> PathBuf {
    dirs.bpf.join(version())
}

/// Name of the folder of pins.
fn version() -> String {
    format!("v{LAYOUT_VERSION}")
}

/// The folder while it is not whole.
fn partial(dirs: &Dirs) -> PathBuf {
    dirs.bpf.join(format!("{}-partial", version()))
}

/// Names in a folder.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn all_pins() -> BTreeSet<String> {
    [
        "conntrack_other",
        "conntrack_tcp",
        "counters",
        "drops",
        "endpoints_v4",
        "endpoints_v6",
        "event_budgets",
        "event_head",
        "events",
        "flow_budgets",
        "fragments",
        "from_container",
        "identities",
        "interfaces",
        "learned_macs",
        "networks_v4",
        "networks_v6",
        "policies",
        "policy_drops",
        "policy_rules",
        "settings",
        "stack_flows",
        "to_container",
    ]
    .map(str::to_owned)
    .into()
}

/// Numbers of the pinned programs, as bpftool gives them.
fn program_numbers(dirs: &Dirs) -> Result<[Value; 2]> {
    let number = |name| {
        let path = folder(dirs).join(name);
        let path = path.to_string_lossy();
        let text = command::run("bpftool", ["-j", "prog", "show", "pinned", &path])?;
        let program: Value = serde_json::from_str(&text)?;
        println!("{program}");
        Ok::<_, anyhow::Error>(program["id"].clone())
    };
    Ok([number("from_container")?, number("to_container")?])
}

#[test]
fn loading_pins_everything_and_unloading_leaves_nothing() -> Result<()> {
    on_a_node(|dirs| {
        ensure!(!unload(&dirs.bpf, &dirs.run)?, "unloaded what is not loaded");
        ensure!(Datapath::open_existing(&dirs.bpf)?.is_none(), "open before it was loaded");
        load(dirs)?;
        assert_eq!(names(&folder(dirs))?, all_pins());
        assert_eq!(names(&dirs.bpf)?, [version()].into());
        ensure!(unload(&dirs.bpf, &dirs.run)?, "nothing was unloaded");
        ensure!(!dirs.bpf.exists(), "{} is left", dirs.bpf.display());
        ensure!(Maps::open_existing(&dirs.bpf)?.is_none(), "open after it was unloaded");
        Ok(())
    })
}

#[test]
fn loading_again_changes_nothing() -> Result<()> {
    on_a_node(|dirs| {
        load(dirs)?.maps.insert_endpoint(OWN.v4.into(), &ENDPOINT)?;
        let before = program_numbers(dirs)?;
        let found = load(dirs)?.maps.endpoint(OWN.v4.into())?;
        assert_eq!(found, Some(ENDPOINT));
        assert_eq!(program_numbers(dirs)?, before);
        Ok(())
    })
}

/// The programs of one layout do not know the slots of another.
#[test]
fn nothing_is_loaded_beside_slots_of_another_layout() -> Result<()> {
    on_a_node(|dirs| {
        let maps = load(dirs)?.maps;
        // That of `lo`, which exists.
        maps.insert_interface(1, &interface())?;
        let old = dirs.bpf.join("v4");
        fs::rename(folder(dirs), &old).context("rename the pins")?;
        let refused = load(dirs).err().context("it was loaded")?;
        println!("{refused}");
        ensure!(matches!(&refused, DatapathError::OtherLayout { folder } if *folder == old));
        assert_eq!(names(&dirs.bpf)?, ["v4".to_owned()].into());
        maps.remove_interface(1)?;
        // Entries of interfaces that are gone are left from slots that are gone.
        maps.insert_interface(0x7fff_fff0, &interface())?;
        load(dirs)?;
        assert_eq!(names(&dirs.bpf)?, ["v4".to_owned(), version()].into());
        ensure!(unload(&dirs.bpf, &dirs.run)?, "nothing was unloaded");
        ensure!(!dirs.bpf.exists(), "{} is left", dirs.bpf.display());
        Ok(())
    })
}

/// The verifier takes a million steps at most; older kernels take more of them than newer ones.
#[test]
fn the_verifier_is_far_from_its_limit() -> Result<()> {
    const MOST: u32 = 200_000;
    on_a_node(|dirs| {
        load(dirs)?;
        for name in [FROM_CONTAINER, TO_CONTAINER] {
            let program = ProgramInfo::from_pin(folder(dirs).join(name))?;
            let steps =
                program.verified_instruction_count().context("the kernel does not report it")?;
            let bytes = program.size_translated().context("the kernel does not report it")?;
            println!("{name}: {steps} steps, {} instructions", bytes / 8);
            ensure!(steps < MOST, "{name} takes {steps} steps");
        }
        Ok(())
    })
}

#[test]
fn eight_first_loads_at_once_make_one() -> Result<()> {
    on_a_node(|dirs| {
        let load_and_write = |address: IpAddr| -> Result<()> {
            Ok(load(dirs)?.maps.insert_endpoint(address, &ENDPOINT)?)
        };
        let addresses = [1, 2, 3, 4, 5, 6, 7, 8].map(|host| Ipv4Addr::new(10, 217, 1, host));
        let written: Vec<Result<()>> = thread::scope(|scope| {
            let loaders =
                addresses.map(|address| scope.spawn(move || load_and_write(address.into())));
            loaders.map(|loader| loader.join().unwrap()).into()
        });
        written.into_iter().collect::<Result<()>>()?;
        assert_eq!(names(&folder(dirs))?, all_pins());
        assert_eq!(names(&dirs.bpf)?, [version()].into());
        // Had two of them loaded, one's entries would be in a map that is not pinned.
        let found = load(dirs)?.maps.endpoints()?;
        println!("{found:?}");
        assert_eq!(found.len(), addresses.len());
        Ok(())
    })
}

/// What a loader leaves that is killed after its first pins.
#[test]
fn remains_of_a_killed_loader_are_replaced() -> Result<()> {
    on_a_node(|dirs| {
        load(dirs)?;
        fs::rename(folder(dirs), partial(dirs))?;
        fs::remove_file(partial(dirs).join("to_container"))?;
        ensure!(Datapath::open_existing(&dirs.bpf)?.is_none(), "taken for a loaded data plane");
        load(dirs)?;
        assert_eq!(names(&folder(dirs))?, all_pins());
        assert_eq!(names(&dirs.bpf)?, [version()].into());
        Ok(())
    })
}

#[test]
fn remains_of_a_killed_unloader_are_removed() -> Result<()> {
    on_a_node(|dirs| {
        load(dirs)?;
        fs::rename(folder(dirs), partial(dirs))?;
        ensure!(!unload(&dirs.bpf, &dirs.run)?, "it was unloaded before");
        ensure!(!dirs.bpf.exists(), "{} is left", dirs.bpf.display());
        Ok(())
    })
}

#[test]
fn unloading_keeps_what_is_not_ours() -> Result<()> {
    on_a_node(|dirs| {
        load(dirs)?;
        fs::create_dir(dirs.bpf.join("saved"))?;
        ensure!(unload(&dirs.bpf, &dirs.run)?, "nothing was unloaded");
        assert_eq!(names(&dirs.bpf)?, ["saved".to_owned()].into());
        Ok(())
    })
}

#[test]
fn nothing_is_pinned_outside_a_bpf_file_system() -> Result<()> {
    on_a_node(|dirs| {
        let elsewhere = dirs.state.join("bpf");
        let refused = Datapath::load(&elsewhere, &dirs.run).map(drop).unwrap_err();
        println!("{refused}");
        ensure!(matches!(refused, DatapathError::NotOnBpfFileSystem { .. }));
        ensure!(!elsewhere.exists(), "{} was made", elsewhere.display());
        fs::create_dir_all(&elsewhere)?;
        mount(Some("bpf"), &elsewhere, Some("bpf"), MsFlags::empty(), None::<&str>)?;
        Datapath::load(&elsewhere, &dirs.run)?;
        assert_eq!(names(&elsewhere.join(version()))?, all_pins());
        ensure!(unload(&elsewhere, &dirs.run)?, "nothing was unloaded");
        // The mount point stays, with what the kernel puts there.
        let left = names(&elsewhere)?;
        ensure!(!left.iter().any(|name| name.starts_with('v')), "{left:?} is left");
        Ok(())
    })
}

#[test]
fn nothing_is_mounted_over_files() -> Result<()> {
    on_a_node(|dirs| {
        let place = Path::new("/sys/fs/bpf");
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        fs::write(place.join("precious"), "data")?;
        let refused = load(dirs).map(drop).unwrap_err();
        println!("{refused}");
        ensure!(matches!(refused, DatapathError::Occupied { .. }));
        assert_eq!(fs::read(place.join("precious"))?, b"data");
        Ok(())
    })
}

#[test]
fn missing_pins_are_named() -> Result<()> {
    on_a_node(|dirs| {
        let maps = load(dirs)?.maps;
        for name in ["endpoints_v6", "from_container"] {
            fs::remove_file(folder(dirs).join(name))?;
        }
        let refusals =
            [load(dirs).map(drop).unwrap_err(), maps.endpoint(OWN.v6.into()).unwrap_err()];
        for (refused, name) in refusals.iter().zip(["from_container", "endpoints_v6"]) {
            println!("{refused}");
            let text = refused.to_string();
            ensure!(text.contains(name) && text.contains("repoint sweep"));
        }
        ensure!(unload(&dirs.bpf, &dirs.run)?, "nothing was unloaded");
        load(dirs)?.maps.endpoint(OWN.v6.into())?;
        Ok(())
    })
}

#[test]
fn maps_of_another_layout_are_refused() -> Result<()> {
    on_a_node(|dirs| {
        let maps = load(dirs)?.maps;
        let pin = folder(dirs).join("endpoints_v4");
        fs::remove_file(&pin)?;
        let arguments = "type hash key 4 value 8 entries 1 name other";
        let create = ["map", "create", &pin.to_string_lossy()].map(str::to_owned);
        command::run("bpftool", create.into_iter().chain(arguments.split(' ').map(str::to_owned)))?;
        let refused = maps.endpoint(OWN.v4.into()).unwrap_err();
        println!("{refused}");
        ensure!(matches!(refused, DatapathError::Layout { .. }));
        Ok(())
    })
}

#[test]
fn entries_come_change_and_go() -> Result<()> {
    on_a_node(|dirs| {
        let maps = load(dirs)?.maps;
        let parked = Endpoint { identity: 0, ..ENDPOINT };
        for address in [IpAddr::from(OWN.v4), OWN.v6.into()] {
            assert_eq!(maps.endpoint(address)?, None);
            maps.insert_endpoint(address, &ENDPOINT)?;
            maps.insert_endpoint(address, &parked)?;
            assert_eq!(maps.endpoint(address)?, Some(parked));
        }
        assert_eq!(maps.endpoints()?, [(OWN.v4.into(), parked), (OWN.v6.into(), parked)]);
        maps.insert_interface(17, &interface())?;
        assert_eq!(maps.interface(17)?, Some(interface()));
        assert_eq!(maps.interfaces()?, [(17, interface())]);
        maps.remove_interface(17)?;
        maps.remove_interface(17)?;
        maps.remove_endpoint(OWN.v4.into())?;
        maps.remove_endpoint(OWN.v6.into())?;
        maps.remove_endpoint(OWN.v6.into())?;
        assert_eq!(maps.interface(17)?, None);
        assert_eq!(maps.endpoints()?, []);
        Ok(())
    })
}

fn interface() -> Interface {
    Interface {
        slot: 0x0017_0000_0005,
        identity: 7,
        flags: 1,
        ipv4: OWN.v4.octets(),
        ipv6: OWN.v6.octets(),
        mac: OWN_MAC,
        padding: [0; 2],
        tenant: 3,
        epoch: 5,
    }
}

#[test]
fn a_full_map_is_called_full() -> Result<()> {
    on_a_node(|dirs| {
        let maps = load(dirs)?.maps;
        let address = |number: usize| IpAddr::from(Ipv4Addr::from(u32::try_from(number).unwrap()));
        for number in 0..MAX_ENTRIES {
            maps.insert_endpoint(address(number), &ENDPOINT)?;
        }
        let refused = maps.insert_endpoint(address(MAX_ENTRIES), &ENDPOINT).unwrap_err();
        println!("{refused}");
        ensure!(matches!(refused, DatapathError::Full { .. }));
        assert_eq!(maps.endpoints()?.len(), MAX_ENTRIES);
        Ok(())
    })
}

/// The form that operators read: fields by name, addresses by octet.
#[test]
fn bpftool_shows_named_fields() -> Result<()> {
    on_a_node(|dirs| {
        let maps = load(dirs)?.maps;
        maps.insert_endpoint(OWN.v4.into(), &ENDPOINT)?;
        maps.insert_endpoint(OWN.v6.into(), &ENDPOINT)?;
        maps.insert_interface(17, &interface())?;
        let shown = |name: &str| entries(dirs, name);
        let endpoint = json!({
            "ifindex": 17, "identity": 7, "mac": OWN_MAC, "flags": 0, "tenant": 3,
            "padding": 0, "epoch": 5,
        });
        let v4 = json!([{ "key": { "octets": OWN.v4.octets() }, "value": endpoint }]);
        assert_eq!(shown("endpoints_v4")?, v4);
        let v6 = json!([{ "key": { "octets": OWN.v6.octets() }, "value": endpoint }]);
        assert_eq!(shown("endpoints_v6")?, v6);
        let interface = json!({
            "slot": 0x0017_0000_0005_u64, "identity": 7, "flags": 1, "ipv4": OWN.v4.octets(),
            "ipv6": OWN.v6.octets(), "mac": OWN_MAC, "padding": [0, 0], "tenant": 3,
            "epoch": 5,
        });
        let interfaces = json!([{ "key": { "ifindex": 17 }, "value": interface }]);
        assert_eq!(shown("interfaces")?, interfaces);
        let counters = shown("counters")?;
        assert_eq!(counters.as_array().map(Vec::len), Some(REASONS));
        let first = json!({ "cpu": 0, "value": { "packets": 0, "bytes": 0 } });
        assert_eq!(counters[0]["values"][0], first);
        Ok(())
    })
}

/// By slot and reason; interfaces without a slot have number 0.
#[test]
fn bpftool_shows_drops_with_named_fields() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let send = |device, source, reason| {
            let cases = both("datagram", Program::FromContainer, source, PEER, reason);
            ensure!(cases.into_iter().all(|case| rig.passes(&case.on(device))));
            let slot = if device == Device::Unknown { 0 } else { interface().slot };
            Ok(json!({
                "key": { "slot": slot, "ifindex": rig.ifindex(device), "reason": reason as u32 },
                "value": { "packets": 2, "bytes": 50 + 70 },
            }))
        };
        let wanted = [
            send(Device::Unknown, OWN, Reason::UnknownInterface)?,
            send(Device::Active, PEER, Reason::ForeignAddress)?,
            send(Device::Parked, OWN, Reason::Parked)?,
        ];
        let shown = entries(node.dirs(), "drops")?;
        let shown = shown.as_array().context("no list")?;
        assert_eq!(shown.len(), wanted.len());
        assert!(wanted.iter().all(|element| shown.contains(element)), "{wanted:?}");
        Ok(())
    })
}

/// The map keeps its size, whatever counts, and what counted last is there.
#[test]
fn drops_of_more_slots_than_the_map_holds_push_old_ones_out() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let maps = Maps::open_existing(&node.dirs().bpf)?.context("no maps")?;
        let most = u64::try_from(drops::MAX_ENTRIES)?;
        let [case, _] = both("datagram", Program::FromContainer, OWN, PEER, Reason::Parked);
        let case = case.on(Device::Parked);
        let ifindex = rig.ifindex(Device::Parked);
        for slot in 1..=most + 500 {
            maps.insert_interface(ifindex, &Interface { slot, identity: 0, ..interface() })?;
            rig.send(&case)?;
        }
        let found = maps.drops()?;
        let largest = found.iter().map(|(key, _)| key.slot).max();
        println!("{} elements, the last of slot {largest:?}", found.len());
        ensure!(found.len() <= drops::MAX_ENTRIES, "{} elements", found.len());
        ensure!(found.len() > drops::MAX_ENTRIES / 2, "{} elements", found.len());
        assert_eq!(largest, Some(most + 500));
        Ok(())
    })
}

fn entries(dirs: &Dirs, name: &str) -> Result<Value> {
    let pin = folder(dirs).join(name);
    let maps = pins::maps(&dirs.bpf)?;
    let map = maps.iter().find(|map| map.pin() == pin).context("it is not pinned")?;
    let entries = map.entries()?;
    println!("{name}: {}", entries[0]);
    Ok(entries.into())
}

/// The agent logs forged and broken packets, whichever process loaded the programs, and no others.
#[test]
fn the_log_tells_of_forged_packets() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let rig = Rig::new(&node)?;
        let agent = Agent::start_sweeping(&node, Duration::from_hours(1))?;
        // Its first sweep removes the entries: no slot is on record.
        let ifindex = rig.ifindex(Device::Active);
        wait::until(LOGGED, "the agent sweeps", || {
            ensure!(rig.maps().interface(ifindex)?.is_none(), "the entries are there");
            Ok(())
        })?;
        rig.fill_maps()?;
        let send = |source, expected| {
            let cases = both("datagram", Program::FromContainer, source, PEER, expected);
            ensure!(cases.iter().all(|case| rig.passes(case)), "a packet had another verdict");
            Ok(())
        };
        send(OWN, Reason::Redirected)?;
        send(PEER, Reason::ForeignAddress)?;
        let record = format!("interface {ifindex}: foreign source {}", PEER.v4);
        wait::until(LOGGED, &record, || {
            let log = agent.log()?;
            ensure!(log.contains(&record) && log.contains("WARN repoint::ebpf"), "{log}");
            Ok(())
        })?;
        let log = agent.log()?;
        ensure!(!log.contains(&format!("source {}", OWN.v4)), "{log}");
        agent.stop()
    })
}
