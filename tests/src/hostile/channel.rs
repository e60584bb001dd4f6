//! Messages between two processes, with descriptors (`SCM_RIGHTS`).

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

/// Longest message, bytes.
const LONGEST: usize = 64 << 10;
/// Most descriptors of a message.
const MOST: usize = 8;

/// One end of a pair of sockets that keep messages apart.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A text, and the descriptors that came with it.
#[derive(Debug)]
pub struct Message {
    /// The text.
    pub text: String,
    /// The descriptors, in the order of the sender. They are inherited by programs that the receiver
    /// executes.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Two ends that are connected with each other.
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .context("socketpair")?;
        Ok((Self(one), Self(other)))
    }

    /// An end that was received or inherited.
    #[must_use]
    pub fn of(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The end as a descriptor to be passed on.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends a text and descriptors, of which the sender keeps its own.
    pub fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            ensure!(fits, "{} descriptors are too many", descriptors.len());
        }
        let parts = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL).context("sendmsg")?;
        Ok(())
    }

    /// Waits for a message; none when the other end is closed.
    pub fn receive(&self, limit: Duration) -> Result<Option<Message>> {
        let timeout = Timespec::try_from(limit).context("a time limit")?;
        let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
        let count = poll(&mut ready, Some(&timeout)).context("poll")?;
        ensure!(count > 0, "nothing came within {limit:?}");
        let mut buffer = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty())
                .context("recvmsg")?;
        let mut descriptors = Vec::new();
        for part in control.drain() {
            match part {
                RecvAncillaryMessage::ScmRights(passed) => descriptors.extend(passed),
                _ => bail!("an unexpected control message"),
            }
        }
        if received.bytes == 0 && descriptors.is_empty() {
            return Ok(None);
        }
        buffer.truncate(received.bytes);
        let text = String::from_utf8(buffer).context("a message that is no text")?;
        Ok(Some(Message { text, descriptors }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
