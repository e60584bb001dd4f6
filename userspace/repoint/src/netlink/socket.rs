//! A blocking netlink socket, and a batch of requests over it.

use std::{collections::HashMap, convert::Infallible, fmt, hash::Hash, io};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlasIterator,
};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{
    Socket as RawSocket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};

/// Largest datagram the kernel sends to a reader with a buffer of this size (`netlink_dump`).
const RECEIVE_BUFFER: usize = 32 * 1024;

/// `NLMSGERR_ATTR_MSG`: the kernel's own words in an extended acknowledgement.
const EXT_ACK_MESSAGE: u16 = 1;

/// What went wrong in a conversation with the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no socket to talk over.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The conversation broke off.
    #[error("cannot {what}: netlink {call}: {source}")]
    Transport {
        /// What was asked for.
        what: String,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel said no.
    #[error("cannot {what}: {source}{}", .kernel.as_deref().map(|k| format!(" (kernel: {k})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: String,
        /// The kernel's error number.
        source: io::Error,
        /// The kernel's own words, where it gave any.
        kernel: Option<String>,
    },
    /// The kernel's answer is not understood.
    #[error("cannot {what}: the kernel's answer is not understood: {reason}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, where the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the object of the request does not exist.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH))
    }

    /// Whether the kernel forbids it, as it does with IPv6 where that is disabled.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.errno() == Some(libc::EACCES)
    }

    /// Whether the object to be made exists already.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// One request of a batch: the message, its flags, and what it is for, in words that follow
/// "cannot".
#[derive(Debug)]
pub struct Request<M> {
    message: M,
    flags: u16,
    what: String,
    answered: bool,
}

impl<M> Request<M> {
    /// A request with `flags` (`NLM_F_…`) beside those that every request has.
    pub fn new(what: impl fmt::Display, message: impl Into<M>, flags: u16) -> Self {
        let flags = flags | NLM_F_REQUEST;
        Self { message: message.into(), flags, what: what.to_string(), answered: true }
    }

    /// A message whose acknowledgement is not awaited. Kernel versions differ in how they acknowledge the
    /// frame of a batch.
    #[must_use]
    pub fn unanswered(self) -> Self {
        Self { answered: false, ..self }
    }
}

/// A socket of one netlink family, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket<M> {
    raw: RawSocket,
    sequence: u32,
    buffer: Vec<u8>,
    message: std::marker::PhantomData<M>,
}

/// Links, addresses, routes, neighbours, queueing disciplines and filters.
pub type RouteSocket = Socket<RouteNetlinkMessage>;
/// nftables.
pub type NetfilterSocket = Socket<NetfilterMessage>;

impl RouteSocket {
    /// Opens a socket of the routing family in the current network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::with_protocol(NETLINK_ROUTE)
    }
}

impl RouteSocket {
    /// Opens a socket whose dumps hold only what the request's header names. This is for requests such as
    /// one for a single routing table.
    pub fn open_strict() -> Result<Self, NetlinkError> {
        let socket = Self::open()?;
        socket.raw.set_netlink_get_strict_chk(true).map_err(NetlinkError::Open)?;
        Ok(socket)
    }
}

impl NetfilterSocket {
    /// Opens a socket of the netfilter family in the current network namespace.
    pub fn open_netfilter() -> Result<Self, NetlinkError> {
        Self::with_protocol(NETLINK_NETFILTER)
    }
}

impl<M> Socket<M>
where
    M: NetlinkSerializable + NetlinkDeserializable + fmt::Debug,
{
    pub(super) fn with_protocol(protocol: isize) -> Result<Self, NetlinkError> {
        let mut socket = RawSocket::new(protocol).map_err(NetlinkError::Open)?;
        socket.set_ext_ack(true).map_err(NetlinkError::Open)?;
        socket.set_cap_ack(true).map_err(NetlinkError::Open)?;
        socket.bind_auto().map_err(NetlinkError::Open)?;
        Ok(Self { raw: socket, sequence: 0, buffer: Vec::new(), message: std::marker::PhantomData })
    }

    /// Makes the kernel apply the filters of dump requests (`NETLINK_GET_STRICT_CHK`).
    pub(super) fn check_strictly(&self) -> Result<(), NetlinkError> {
        self.raw.set_netlink_get_strict_chk(true).map_err(NetlinkError::Open)
    }

    /// Sends all requests at once and waits until the last is done.
    ///
    /// The kernel carries on after one that fails; the first failure is returned.
    pub fn execute(&mut self, requests: Vec<Request<M>>) -> Result<(), NetlinkError> {
        self.execute_each(requests)?.into_iter().next().map_or(Ok(()), Err)
    }

    /// Like [`Self::execute`], but returns every refusal, in the order of the requests.
    pub fn execute_each(
        &mut self,
        requests: Vec<Request<M>>,
    ) -> Result<Vec<NetlinkError>, NetlinkError> {
        let Some(last) = requests.iter().rposition(|request| request.answered) else {
            return Ok(Vec::new());
        };
        let first_sequence = self.sequence.wrapping_add(1);
        let mut names = Vec::with_capacity(requests.len());
        let mut datagram = Vec::with_capacity(256 * requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            // Errors are answered always, success only where asked: once, for the last.
            let ack = if index == last { NLM_F_ACK } else { 0 };
            self.append(&mut datagram, request.message, request.flags | ack);
            names.push(request.what);
        }
        self.send(&datagram, &names[last])?;
        self.refusals(first_sequence, &names, last)
    }

    /// Like [`Self::execute_each`], some requests at a time: as many as fit into a socket's buffer, with
    /// their answers.
    pub fn execute_in_parts(
        &mut self,
        requests: Vec<Request<M>>,
    ) -> Result<Vec<NetlinkError>, NetlinkError> {
        const AT_ONCE: usize = 64;
        let (mut refusals, mut requests) = (Vec::new(), requests.into_iter().peekable());
        while requests.peek().is_some() {
            let part = requests.by_ref().take(AT_ONCE).collect();
            refusals.append(&mut self.execute_each(part)?);
        }
        Ok(refusals)
    }

    /// Reads until the request `last` is answered.
    fn refusals(
        &mut self,
        first_sequence: u32,
        names: &[String],
        last: usize,
    ) -> Result<Vec<NetlinkError>, NetlinkError> {
        let mut refusals = Vec::new();
        loop {
            for answer in self.datagram(&names[last])? {
                let number = answer.message.header.sequence_number;
                let index = number.wrapping_sub(first_sequence) as usize;
                let Some(what) = names.get(index) else {
                    continue;
                };
                refusals.extend(answer.refusal(what));
                if index == last {
                    return Ok(refusals);
                }
            }
        }
    }

    /// Asks for one object.
    pub fn query(&mut self, request: Request<M>) -> Result<M, NetlinkError> {
        let what = request.what;
        let mut datagram = Vec::new();
        self.append(&mut datagram, request.message, request.flags);
        self.send(&datagram, &what)?;
        loop {
            for answer in self.datagram(&what)? {
                if let Some(refusal) = answer.refusal(&what) {
                    return Err(refusal);
                }
                if let NetlinkPayload::InnerMessage(object) = answer.message.payload {
                    return Ok(object);
                }
            }
        }
    }

    /// Asks for one object each, all at once: what the kernel answers, in the order of the requests.
    /// They should not be so many that the answers do not fit into the socket's buffer.
    pub fn query_each(
        &mut self,
        requests: Vec<Request<M>>,
    ) -> Result<Vec<Result<M, NetlinkError>>, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut names = Vec::with_capacity(requests.len());
        let mut datagram = Vec::with_capacity(256 * requests.len());
        for request in requests {
            self.append(&mut datagram, request.message, request.flags);
            names.push(request.what);
        }
        let Some(what) = names.first() else { return Ok(Vec::new()) };
        self.send(&datagram, what)?;
        let mut answers: Vec<Option<Result<M, NetlinkError>>> =
            names.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            for answer in self.datagram(what)? {
                let number = answer.message.header.sequence_number.wrapping_sub(first) as usize;
                let Some(what) = names.get(number) else { continue };
                answers[number] = match answer.refusal(what) {
                    Some(refusal) => Some(Err(refusal)),
                    None => answer.object().map(Ok),
                };
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Asks for all objects. A table that changed meanwhile is read again.
    pub fn dump(&mut self, what: &str, message: &M) -> Result<Vec<M>, NetlinkError>
    where
        M: Clone,
    {
        const ATTEMPTS: usize = 8;
        for _ in 0..ATTEMPTS {
            if let (objects, true) = self.dump_once(what, message.clone(), Some)? {
                return Ok(objects);
            }
        }
        let reason = format!("the table changed during each of {ATTEMPTS} readings");
        Err(NetlinkError::Answer { what: what.to_owned(), reason })
    }

    /// Asks for all objects, and hands each to `visit` as it comes, so that a long table is never held
    /// whole. Returns whether the table stayed the same while it was read.
    ///
    /// The inner error is that of `visit`. The rest of the dump is still on its way then: the socket is
    /// of no more use, and closing it ends the dump.
    pub fn dump_each<E>(
        &mut self,
        what: &str,
        message: M,
        mut visit: impl FnMut(M) -> Result<(), E>,
    ) -> Result<Result<bool, E>, NetlinkError> {
        let mut datagram = Vec::new();
        self.append(&mut datagram, message, NLM_F_REQUEST | NLM_F_DUMP);
        self.send(&datagram, what)?;
        let mut consistent = true;
        loop {
            for answer in self.datagram(what)? {
                if let Some(refusal) = answer.refusal(what) {
                    return Err(refusal);
                }
                consistent &= answer.message.header.flags & NLM_F_DUMP_INTR == 0;
                match answer.message.payload {
                    NetlinkPayload::InnerMessage(object) => {
                        if let Err(error) = visit(object) {
                            return Ok(Err(error));
                        }
                    }
                    NetlinkPayload::Done(_) => return Ok(Ok(consistent)),
                    _ => {}
                }
            }
        }
    }

    /// Asks for all objects of a table that may change during every reading.
    ///
    /// After some readings the result is what all of them together saw, with each object as it was seen
    /// last. An object that was there all the time is never missing; an object that came or went
    /// meanwhile may be missing. The function keeps of each object only what `wanted` makes of it, and
    /// identifies it by its `key`.
    pub fn dump_changing<T, K: Eq + Hash>(
        &mut self,
        what: &str,
        message: &M,
        wanted: impl Fn(M) -> Option<T>,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, NetlinkError>
    where
        M: Clone,
    {
        const READINGS: usize = 3;
        let mut seen = HashMap::new();
        for _ in 0..READINGS {
            let (objects, consistent) = self.dump_once(what, message.clone(), &wanted)?;
            if consistent {
                return Ok(objects);
            }
            seen.extend(objects.into_iter().map(|object| (key(&object), object)));
        }
        Ok(seen.into_values().collect())
    }

    /// All objects, and whether the table stayed the same while it was read.
    fn dump_once<T>(
        &mut self,
        what: &str,
        message: M,
        wanted: impl Fn(M) -> Option<T>,
    ) -> Result<(Vec<T>, bool), NetlinkError> {
        let mut objects = Vec::new();
        let collected = self.dump_each(what, message, |object| {
            objects.extend(wanted(object));
            Ok::<_, Infallible>(())
        })?;
        let Ok(consistent) = collected;
        Ok((objects, consistent))
    }

    fn append(&mut self, datagram: &mut Vec<u8>, message: M, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    fn send(&self, datagram: &[u8], what: &str) -> Result<(), NetlinkError> {
        self.raw.send_to(datagram, &SocketAddr::new(0, 0), 0).map(drop).map_err(|source| {
            NetlinkError::Transport { what: what.to_owned(), call: "sendto", source }
        })
    }

    /// The messages of the next datagram.
    fn datagram(&mut self, what: &str) -> Result<Vec<Answer<M>>, NetlinkError> {
        self.buffer.clear();
        self.buffer.reserve(RECEIVE_BUFFER);
        self.raw.recv(&mut self.buffer, 0).map_err(|source| NetlinkError::Transport {
            what: what.to_owned(),
            call: "recv",
            source,
        })?;
        let mut answers = Vec::new();
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let (answer, length) = Answer::parse(rest).map_err(|error| NetlinkError::Answer {
                what: what.to_owned(),
                reason: error.to_string(),
            })?;
            answers.push(answer);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(answers)
    }
}

/// A message from the kernel, and the kernel's own words about an error.
struct Answer<M> {
    message: NetlinkMessage<M>,
    words: Option<String>,
}

impl<M: NetlinkDeserializable> Answer<M> {
    /// The first message in `bytes`, and its length.
    fn parse(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let length = NetlinkBuffer::new_checked(bytes)?.length() as usize;
        let bytes = &bytes[..length];
        let message = NetlinkMessage::deserialize(bytes)?;
        let words = has_attributes(&message).then(|| kernel_words(bytes)).flatten();
        Ok((Self { message, words }, length))
    }

    /// The object, if it is one.
    fn object(self) -> Option<M> {
        match self.message.payload {
            NetlinkPayload::InnerMessage(object) => Some(object),
            _ => None,
        }
    }

    /// The refusal of `what`, if it is one.
    fn refusal(&self, what: &str) -> Option<NetlinkError> {
        let code = match &self.message.payload {
            NetlinkPayload::Error(error) => error.code?.get(),
            // A dump that failed when it had begun (`netlink_dump_done`).
            NetlinkPayload::Done(done) if done.code < 0 => done.code,
            _ => return None,
        };
        let source = io::Error::from_raw_os_error(code.saturating_neg());
        Some(NetlinkError::Refused { what: what.to_owned(), source, kernel: self.words.clone() })
    }
}

fn has_attributes<M>(message: &NetlinkMessage<M>) -> bool {
    matches!(message.payload, NetlinkPayload::Error(_))
        && message.header.flags & NLM_F_ACK_TLVS != 0
}

/// The text of an extended acknowledgement: behind the header, the error code and, as
/// `NETLINK_CAP_ACK` is set, no more than the header of the request.
fn kernel_words(message: &[u8]) -> Option<String> {
    const HEADER: usize = 16;
    const CODE: usize = 4;
    let attributes = message.get(HEADER + CODE + HEADER..)?;
    NlasIterator::new(attributes).filter_map(Result::ok).find_map(|attribute| {
        (attribute.kind() == EXT_ACK_MESSAGE)
            .then(|| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
    })
}
