//! Numbers that the calling thread's namespace has for other network namespaces. They show which of those
//! namespaces are alive, whatever keeps them (`ip netns list-id`).
//!
//! A number ends with the namespace that it stands for, which is when the last process, descriptor,
//! socket and mount of it is gone, and not before: the kernel has no request that takes a number
//! back. Each namespace has its own numbers for others. A container sees none of the node's.

use std::{
    collections::HashSet,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::{NetlinkError, Request, RouteSocket};

/// Smallest number that a slot's namespace gets. The kernel counts up from 0 for namespaces without an
/// assigned number, those of other plugins.
const FIRST: i32 = 0x4000_0000;
/// Numbers that are tried while one is taken. An older namespace has it, if the database was made anew.
const ATTEMPTS: u32 = 16;
/// Requests that are made at once: as many as their answers fit into a socket's buffer.
const AT_ONCE: usize = 64;
/// What separates the numbers that are tried: prime, so that they spread.
const STRIDE: u64 = 0x0198_7fa1;

/// A number for the namespace of a slot: later slots have smaller ones.
///
/// The kernel looks for a namespace's number through all numbers, from the smallest up, each time that it
/// describes a link whose peer is there (`__peernet2id`). The links that change are those of new slots.
#[must_use]
pub fn nsid_of(slot: u64) -> i32 {
    let room = i64::from(i32::MAX) - i64::from(FIRST) + 1;
    let below = i64::try_from(slot % room.unsigned_abs()).unwrap_or_default();
    i32::try_from(i64::from(i32::MAX) - below).unwrap_or(FIRST)
}

/// Gives a namespace the number of a slot in the socket's namespace, and returns the number that it
/// has now: another one if the namespace had one, or if this one is another namespace's.
///
/// It must come before the first link that joins the two: the kernel gives a number then, the
/// smallest that is free.
pub fn assign(
    socket: &mut RouteSocket,
    netns: BorrowedFd<'_>,
    slot: u64,
) -> Result<i32, NetlinkError> {
    let mut attempt = 0;
    loop {
        let nsid = nsid_of(slot.wrapping_add(u64::from(attempt) * STRIDE));
        let attributes = vec![NsidAttribute::Id(nsid), fd(netns)];
        let request = RouteNetlinkMessage::NewNsId(message(attributes));
        let request = Request::new("give a network namespace a number", request, 0);
        match socket.execute(vec![request]) {
            Ok(()) => return Ok(nsid),
            Err(error) if error.is_present() && attempt < ATTEMPTS => {
                if let Some(known) = number_of(socket, netns)? {
                    return Ok(known);
                }
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The number that a namespace has in the socket's namespace, if any.
pub fn number_of(
    socket: &mut RouteSocket,
    netns: BorrowedFd<'_>,
) -> Result<Option<i32>, NetlinkError> {
    let what = "find the number of a network namespace";
    let request = RouteNetlinkMessage::GetNsId(message(vec![fd(netns)]));
    let answer = socket.query(Request::new(what, request, 0))?;
    // -1: none.
    Ok(number(answer).filter(|number| *number >= 0))
}

/// Those of the numbers whose namespaces are alive.
///
/// The function asks for each number: Linux 6.18 ends a list of all numbers after the first datagram,
/// 1,158 of them, and reports no error (`rtnl_net_dumpid`).
pub fn namespaces_alive(
    socket: &mut RouteSocket,
    numbers: &[i32],
) -> Result<HashSet<i32>, NetlinkError> {
    let mut found = HashSet::new();
    for some in numbers.chunks(AT_ONCE) {
        let requests = some.iter().map(|number| {
            let attributes = vec![NsidAttribute::Id(*number)];
            let request = RouteNetlinkMessage::GetNsId(message(attributes));
            Request::new(format!("look for network namespace {number}"), request, 0)
        });
        for (number, answer) in some.iter().zip(socket.query_each(requests.collect())?) {
            match answer {
                Ok(_) => found.extend([*number]),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

fn message(attributes: Vec<NsidAttribute>) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes = attributes;
    message
}

fn fd(netns: BorrowedFd<'_>) -> NsidAttribute {
    // A file descriptor is never negative.
    NsidAttribute::Fd(netns.as_raw_fd().unsigned_abs())
}

fn number(answer: RouteNetlinkMessage) -> Option<i32> {
    let RouteNetlinkMessage::NewNsId(message) = answer else { return None };
    message.attributes.into_iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(number) => Some(number),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::AsFd as _,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::netns::Netns;

    /// Runs `work` in a namespace of its own, with a socket there.
    fn in_namespace(work: impl FnOnce(&mut RouteSocket)) {
        match Netns::create() {
            Ok(home) => home.run(|| work(&mut RouteSocket::open().unwrap())).unwrap(),
            Err(error) => println!("skipped: {error}"),
        }
    }

    #[test]
    fn later_slots_have_smaller_numbers_of_the_upper_half() {
        assert_eq!(nsid_of(0), i32::MAX);
        assert_eq!(nsid_of(1), i32::MAX - 1);
        assert_eq!(nsid_of(0x3fff_ffff), FIRST);
        assert_eq!(nsid_of(0x4000_0000), i32::MAX);
        assert!((FIRST..=i32::MAX).contains(&nsid_of(0xdead_beef_dead_beef)));
    }

    fn is_alive(socket: &mut RouteSocket, number: i32) -> bool {
        namespaces_alive(socket, &[number]).unwrap().contains(&number)
    }

    #[test]
    fn a_number_lives_as_long_as_a_descriptor_of_its_namespace_and_no_other_number_changes() {
        in_namespace(|socket| {
            let (one, other) = (Netns::create().unwrap(), Netns::create().unwrap());
            let numbers = [(&one, 7), (&other, 8)].map(|(netns, slot)| {
                assert_eq!(number_of(socket, netns.as_fd()).unwrap(), None);
                assign(socket, netns.as_fd(), slot).unwrap()
            });
            assert_eq!(numbers, [nsid_of(7), nsid_of(8)]);
            assert_eq!(
                namespaces_alive(socket, &[7, numbers[0]]).unwrap(),
                HashSet::from([numbers[0]])
            );
            let kept = one.as_fd().try_clone_to_owned().unwrap();
            drop(one);
            assert_eq!(number_of(socket, kept.as_fd()).unwrap(), Some(numbers[0]));
            assert!(is_alive(socket, numbers[0]), "a descriptor keeps it");
            drop(kept);
            let deadline = Instant::now() + Duration::from_secs(30);
            while is_alive(socket, numbers[0]) {
                assert!(Instant::now() < deadline, "it is still alive");
                thread::park_timeout(Duration::from_millis(1));
            }
            assert!(is_alive(socket, numbers[1]), "the other one ended, too");
        });
    }

    #[test]
    fn a_namespace_keeps_its_number_and_gets_another_where_its_own_is_taken() {
        in_namespace(|socket| {
            let (one, other) = (Netns::create().unwrap(), Netns::create().unwrap());
            let first = assign(socket, one.as_fd(), 7).unwrap();
            assert_eq!(assign(socket, one.as_fd(), 9).unwrap(), first);
            let second = assign(socket, other.as_fd(), 7).unwrap();
            assert!(second != first && second >= FIRST, "{second:#x}");
            assert_eq!(namespaces_alive(socket, &[first, second]).unwrap().len(), 2);
        });
    }
}
