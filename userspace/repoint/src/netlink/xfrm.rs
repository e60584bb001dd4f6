//! `IPsec`: how many states and policies a namespace has, its defaults, and dropping them.

use netlink_sys::protocols::NETLINK_XFRM;

use super::{NetlinkError, Request, UntypedMessage, UntypedSocket, attributes};

/// `XFRM_MSG_FLUSHSA`
const FLUSH_STATES: u16 = 0x1c;
/// `XFRM_MSG_FLUSHPOLICY`
const FLUSH_POLICIES: u16 = 0x1d;
/// `XFRM_MSG_GETSADINFO`
const GET_STATES: u16 = 0x23;
/// `XFRM_MSG_GETSPDINFO`
const GET_POLICIES: u16 = 0x25;
/// `XFRM_MSG_GETDEFAULT`
const GET_DEFAULTS: u16 = 0x28;
/// `XFRMA_SPD_IPV4_HTHRESH` and `XFRMA_SPD_IPV6_HTHRESH`
const THRESHOLDS: [u16; 2] = [3, 4];
/// `XFRMA_SAD_CNT` and `XFRMA_SPD_INFO`: numbers in the answers.
const COUNTS: u16 = 1;

/// Opens a socket of the `IPsec` family in the current network namespace; none where the kernel has
/// no such family.
pub fn open_xfrm() -> Result<Option<UntypedSocket>, NetlinkError> {
    match UntypedSocket::open_untyped(NETLINK_XFRM) {
        Err(NetlinkError::Open(error)) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// How many `IPsec` states and policies there are, in this order.
pub fn xfrm_counts(socket: &mut UntypedSocket) -> Result<(u32, u32), NetlinkError> {
    let states = count(socket, GET_STATES, "count IPsec states")?;
    let policies = count(socket, GET_POLICIES, "count IPsec policies")?;
    Ok((states, policies))
}

/// Defaults for packets without a policy: `struct xfrm_userpolicy_default` (in, forwarded, out). None
/// where the kernel has no such defaults (before 5.14).
pub fn xfrm_defaults(socket: &mut UntypedSocket) -> Result<Option<[u8; 3]>, NetlinkError> {
    let request = UntypedMessage::new(GET_DEFAULTS, &[0; 3]);
    match socket.query(Request::new("ask for the default IPsec policy", request, 0)) {
        Err(error) if matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(None),
        answer => Ok(answer?.payload.first_chunk().copied()),
    }
}

/// Prefix lengths from which policies are hashed, as raw attributes (`ip xfrm policy set`).
pub fn xfrm_thresholds(socket: &mut UntypedSocket) -> Result<Vec<Vec<u8>>, NetlinkError> {
    let request = UntypedMessage::new(GET_POLICIES, &u32::MAX.to_ne_bytes());
    let answer = socket.query(Request::new("ask how IPsec policies are hashed", request, 0))?;
    let rest = answer.payload.get(4..).unwrap_or_default();
    let thresholds = attributes(rest).filter(|(kind, _)| THRESHOLDS.contains(kind));
    Ok(thresholds.map(|(_, value)| value.to_vec()).collect())
}

/// Drops all `IPsec` states and policies.
pub fn flush_xfrm(socket: &mut UntypedSocket) -> Result<(), NetlinkError> {
    // `struct xfrm_usersa_flush` of all protocols; policies have no header.
    let states = UntypedMessage::new(FLUSH_STATES, &[u8::MAX]);
    let policies = UntypedMessage::new(FLUSH_POLICIES, &[]);
    let refusals = socket.execute_each(vec![
        Request::new("drop all IPsec states", states, 0),
        Request::new("drop all IPsec policies", policies, 0),
    ])?;
    // ESRCH: there were none.
    let refusal = refusals.into_iter().find(|refusal| !refusal.is_absent());
    refusal.map_or(Ok(()), Err)
}

/// The sum of the numbers in an answer: one of states, one for each direction of policies.
fn count(socket: &mut UntypedSocket, kind: u16, what: &str) -> Result<u32, NetlinkError> {
    let request = UntypedMessage::new(kind, &u32::MAX.to_ne_bytes());
    let answer = socket.query(Request::new(what, request, 0))?;
    let counts = answer.payload.get(4..).and_then(|rest| {
        attributes(rest).find_map(|(kind, value)| (kind == COUNTS).then_some(value))
    });
    Ok(counts.unwrap_or_default().as_chunks().0.iter().map(|n| u32::from_ne_bytes(*n)).sum())
}
