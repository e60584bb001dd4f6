//! What no tool of this machine sets: messages and system calls of a user's own.

use anyhow::{Result, ensure};
use netlink::{Request, UntypedMessage, UntypedSocket};
use repoint::netlink::{
    self, built_in_family, generic_message, open_generic, open_netfilter_untyped,
};
use repoint_tests::missing;

use super::fixture::{Built, clean, with_slot};

/// `NETLINK_ROUTE`
const ROUTE: isize = 0;
/// `NLM_F_CREATE | NLM_F_EXCL`
const CREATE: u16 = 0x600;
/// `NLA_F_NESTED`
const NESTED: u16 = 1 << 15;

fn nothing() -> UntypedMessage {
    UntypedMessage::new(0, &[])
}

fn netfilter(slot: &Built, message: UntypedMessage) -> Result<()> {
    slot.netns.run(|| {
        let request = Request::new("create it", message, CREATE);
        Ok(open_netfilter_untyped()?.execute(vec![request])?)
    })?
}

/// Whether a kernel has no such subsystem; if so, says so.
fn is_missing(result: &Result<()>, what: &str) -> bool {
    let error = result.as_ref().err().and_then(|error| error.downcast_ref());
    let missing = error.is_some_and(netlink::is_unknown);
    if missing {
        println!("skipped: the kernel has no {what}");
    }
    missing
}

#[test]
fn a_set_of_ipset_is_found() -> Result<()> {
    with_slot(|slot| {
        let set = UntypedMessage::new((6 << 8) | 2, &[2, 0, 0, 0])
            .attribute(1, &[6])
            .attribute(2, b"left\0")
            .attribute(3, b"hash:ip\0")
            .attribute(4, &[0])
            .attribute(5, &[2])
            .attribute(NESTED | 7, &[]);
        let created = netfilter(slot, set);
        if is_missing(&created, "ipset") {
            return Ok(());
        }
        created?;
        slot.is_different("ipset left")
    })
}

#[test]
fn an_accounting_object_is_found() -> Result<()> {
    with_slot(|slot| {
        let object = UntypedMessage::new(7 << 8, &[0; 4]).attribute(1, b"left\0");
        let created = netfilter(slot, object);
        if is_missing(&created, "nfnetlink_acct") {
            return Ok(());
        }
        created?;
        slot.is_different("accounting object left")
    })
}

#[test]
fn a_timeout_policy_is_found() -> Result<()> {
    with_slot(|slot| {
        let seconds = nothing().attribute(0x4000 | 1, &7_u32.to_be_bytes());
        let policy = UntypedMessage::new(8 << 8, &[0; 4])
            .attribute(1, b"left\0")
            .attribute(0x4000 | 2, &2_u16.to_be_bytes())
            .attribute(3, &[17])
            .attribute(NESTED | 4, &seconds.payload);
        let created = netfilter(slot, policy);
        if is_missing(&created, "nfnetlink_cttimeout") {
            return Ok(());
        }
        created?;
        slot.is_different("conntrack timeout policy left")
    })
}

#[test]
fn an_offload_that_is_switched_off_is_found() -> Result<()> {
    with_slot(|slot| {
        slot.netns.run(|| {
            let mut socket = open_generic()?;
            let family = built_in_family(&mut socket, "ethtool")?.unwrap_or_default();
            let device = nothing().attribute(2, b"eth0\0");
            let bit = nothing().attribute(2, b"tx-generic-segmentation\0");
            let bits = nothing().attribute(NESTED | 1, &bit.payload);
            let wanted = nothing().attribute(NESTED | 3, &bits.payload);
            // ETHTOOL_MSG_FEATURES_SET
            let message = generic_message(family, 12)
                .attribute(NESTED | 1, &device.payload)
                .attribute(NESTED | 3, &wanted.payload);
            anyhow::Ok(socket.execute(vec![Request::new("switch it off", message, 0)])?)
        })??;
        slot.is_different("features of link {:ifname}")
    })
}

/// `IF_OPER_TESTING`, which links keep until something happens to them.
#[test]
fn a_link_that_is_being_tested_is_repaired_and_not_waited_for() -> Result<()> {
    with_slot(|slot| {
        slot.netns.run(|| {
            let mut header = [0; 16];
            header[4..8].copy_from_slice(&eth0()?.to_ne_bytes());
            let message = UntypedMessage::new(19, &header).attribute(16, &[4]);
            let request = Request::new("have the link tested", message, 0);
            anyhow::Ok(UntypedSocket::open_untyped(ROUTE)?.execute(vec![request])?)
        })??;
        let state = slot.shell("ip link show eth0")?;
        ensure!(state.contains("state TESTING"), "{state}");
        let start = std::time::Instant::now();
        slot.scrub_and_compare()?;
        println!("repaired after {:?}", start.elapsed());
        ensure!(start.elapsed().as_millis() < 1900, "it was waited for");
        ensure!(slot.scrub()? == clean());
        Ok(())
    })
}

fn eth0() -> Result<u32> {
    Ok(nix::net::if_::if_nametoindex("eth0")?)
}

/// A label lingers when its socket is gone.
#[test]
fn a_flow_label_is_found() -> Result<()> {
    if missing(["/usr/bin/perl"]) {
        return Ok(());
    }
    with_slot(|slot| {
        // struct in6_flowlabel_req: destination ::1, label, get, share with all, create, expires and
        // lingers for 6 s.
        slot.shell(
            r#"perl -MSocket=:all -e '
                socket(my $s, AF_INET6, SOCK_DGRAM, 0) or die "socket: $!";
                my $request = pack("x15C N C C S S S L", 1, 0x12345, 0, 255, 1, 6, 6, 0);
                setsockopt($s, 41, 32, $request) or die "setsockopt: $!";'"#,
        )?;
        slot.wait_for_sockets()?;
        slot.is_different("IPv6 flow label")
    })
}

/// It decides over packets of the namespace, whatever becomes of the process that attached it.
#[test]
fn a_flow_dissector_is_found() -> Result<()> {
    if missing(["/usr/bin/perl"]) {
        return Ok(());
    }
    with_slot(|slot| {
        // BPF_PROG_LOAD of "return 0" as BPF_PROG_TYPE_FLOW_DISSECTOR, then BPF_PROG_ATTACH.
        slot.shell(
            r#"perl -e '
                my $program = pack("CCSl CCSl", 0xb7, 0, 0, 0, 0x95, 0, 0, 0);
                my $license = "GPL\0";
                my $pointer = sub { unpack("Q", pack("P", $_[0])) };
                my $load = pack("L L Q Q x104", 22, 2, $pointer->($program), $pointer->($license));
                my $fd = syscall(321, 5, $load, length $load);
                die "load: $!" if $fd < 0;
                my $attach = pack("L L L L L x108", 0, $fd, 17, 0, 0);
                die "attach: $!" if syscall(321, 8, $attach, length $attach) < 0;'"#,
        )?;
        slot.is_different("programs are attached: flow dissector")
    })
}
