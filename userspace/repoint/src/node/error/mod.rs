//! Why a verb failed, and the error that its caller gets.

mod check;
mod pool;
mod template;

pub use check::CheckError;
pub use pool::PoolError;
pub use template::StoredTemplateError;

use std::{io, net::IpAddr, path::PathBuf};

use crate::{
    cni::{CniError, ErrorCode},
    conf::{ConfError, UserError},
    datapath::DatapathError,
    ipam::{AllocateError, DelegateError, resolv_conf::ResolvConfError},
    lock::LockError,
    model::{AttachmentId, NetworkName, SlotId},
    netlink::NetlinkError,
    netns::{BindError, NetnsError, NetnsStoreError},
    private::PrivateError,
    slot::{
        BuildError, CaptureError, FingerprintError, HalfError, HookError, InspectError,
        MasqueradeError, NoIpv6, NodeNeedsError, PermitError, TeardownError, UsageError,
    },
    store::StoreError,
    template::TemplateError,
    threads::ThreadError,
};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No address can be allocated.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// No address can be allocated, because these slots have them.
    #[error("{error}: {holders}")]
    Held {
        /// What was lacking.
        error: Box<Self>,
        /// The slots that have it.
        holders: String,
    },
    /// The IPAM plugin failed.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// The IPAM plugin gave no address.
    #[error("IPAM plugin {plugin} gave no address: repoint needs at least one")]
    NoAddress {
        /// The plugin.
        plugin: String,
    },
    /// The node's own addresses cannot be read.
    #[error(
        "reading the node's addresses from /proc/thread-self/net/if_inet6, none of which a container \
         may get"
    )]
    NodeAddresses(#[source] io::Error),
    /// The IPAM plugin gave an address that does not work.
    #[error(
        "IPAM plugin {plugin} gave {address}, which is {why}: no container can have it, have the \
         plugin give others"
    )]
    UnusableAddress {
        /// The plugin.
        plugin: String,
        /// The address.
        address: IpAddr,
        /// Why it does not work.
        why: String,
    },
    /// The file that `ipam.resolvConf` names cannot be used.
    #[error(transparent)]
    ResolvConf(#[from] ResolvConfError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder or file of the node's is not its own.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// A lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The container's namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// ADD and CHECK came without a namespace.
    #[error("CNI_NETNS is missing: the path of the container's network namespace")]
    NoNetns,
    /// The namespace is the node's own.
    #[error(
        "CNI_NETNS {path} is the node's own network namespace: a container needs one of its own"
    )]
    OwnNetns {
        /// The path.
        path: String,
    },
    /// The maps have no policies yet.
    #[error("the maps of policies are new, and not written yet: `repoint load` writes them")]
    NoPolicies,
    /// It is not clear which address of the node is meant.
    #[error("policies judge flows to the node by its address: name one instead of host")]
    WhichAddress,
    /// The node's own addresses cannot be listed.
    #[error("cannot list the addresses of the node (getifaddrs): {0}")]
    OwnAddresses(#[source] io::Error),
    /// It is not clear which network's function is meant.
    #[error(
        "which network is function {end} of? {}; name it with --network",
        if networks.is_empty() { "it does not run".to_owned() } else { format!("it runs in {networks}") }
    )]
    WhichNetwork {
        /// The function.
        end: String,
        /// The networks in which it runs.
        networks: String,
    },
    /// The programs or maps refused.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The namespaces of slots cannot be kept.
    #[error(transparent)]
    Hidden(#[from] NetnsStoreError),
    /// There is no place for slots' namespaces, though a slot is on record that has one.
    #[error("the namespace store is gone: an ADD or `repoint pool fill` makes it again")]
    NoNetnsStore,
    /// A slot's namespace is not the one on record.
    #[error("the namespace of slot {slot} is another than the one on record")]
    StrangeNetns {
        /// The slot.
        slot: SlotId,
    },
    /// A DEL or GC of the attachment came while it was added.
    #[error(
        "a DEL or GC of the same attachment removed slot {slot} while it was being added: ADD it again"
    )]
    Conflict {
        /// The slot.
        slot: SlotId,
    },
    /// A slot's half on the node cannot be restored.
    #[error(transparent)]
    Half(#[from] HalfError),
    /// A slot's half on the node was restored, and differs at once.
    #[error(
        "interface {interface} of slot {slot} was restored, and differs again: {difference}: another \
         program changes it; keep that program from interfaces rp*"
    )]
    HalfDiffers {
        /// The slot.
        slot: SlotId,
        /// Its interface on the node.
        interface: String,
        /// What differs.
        difference: String,
    },
    /// A slot's interface on the node is gone.
    #[error("interface {interface} of slot {slot} is gone, or another's")]
    HalfLost {
        /// The slot.
        slot: SlotId,
        /// Its interface on the node.
        interface: String,
    },
    /// What slots need of the node cannot be restored.
    #[error(transparent)]
    NodeNeeds(#[from] NodeNeedsError),
    /// A namespace cannot be bound over another, or unbound.
    #[error(transparent)]
    Stack(#[from] BindError),
    /// The container's namespace cannot be looked at.
    #[error("cannot look at the container's network namespace {path}: {source}")]
    Look {
        /// Its path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// An operation on a file or folder of ours failed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Sysctls of a namespace cannot be read.
    #[error("cannot read sysctls of a network namespace: {0}")]
    Sysctls(#[source] io::Error),
    /// What the container asks for cannot be had.
    #[error(transparent)]
    User(#[from] UserError),
    /// The network gives IPv6 addresses that its interfaces cannot have.
    #[error("network {network} gives IPv6 addresses, and {why}")]
    NoIpv6 {
        /// The network.
        network: NetworkName,
        /// What keeps the interfaces from having them.
        why: NoIpv6,
    },
    /// There is no file to mount a namespace on.
    #[error("cannot make {path} to mount a network namespace on: {source}")]
    Target {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A slot cannot be built ahead of time.
    #[error("cannot build slot {slot}: {source}")]
    Prepare {
        /// The slot.
        slot: SlotId,
        /// Why not.
        source: Box<BuildError>,
    },
    /// A namespace's fingerprint cannot be taken.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// The users of a namespace cannot be determined.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The data plane was unloaded.
    #[error("the data plane is not loaded: run `repoint load`")]
    NoDatapath,
    /// A thread that builds a slot, or sweeps, cannot be started, or ended early.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Another sweep holds the lock.
    #[error("another sweep is at work: {0}")]
    Sweeping(#[source] LockError),
    /// There is no turn to build.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The masquerade rule cannot be added or removed.
    #[error(transparent)]
    Masquerade(#[from] MasqueradeError),
    /// The interface cannot be built.
    #[error("cannot attach {attachment}: {source}")]
    Build {
        /// The attachment.
        attachment: Box<AttachmentId>,
        /// Why not.
        source: Box<BuildError>,
    },
    /// Part of an attachment or a slot could not be removed.
    #[error("cannot remove all of {what}: {first}{}", others(.rest))]
    Release {
        /// The attachment, or the slot.
        what: String,
        /// The first thing that failed.
        first: Box<NodeError>,
        /// The others.
        rest: Vec<NodeError>,
    },
    /// STATUS: ADD would not be served.
    #[error("not ready for ADD: {0}")]
    NotReady(#[source] Box<Self>),
    /// STATUS: ADD would not be served, and containers that are there may have lost packets.
    #[error("not ready for ADD, and containers of this network may lack connections: {0}")]
    Limited(#[source] Box<Self>),
    /// The data plane is not whole.
    #[error(
        "the data plane in {folder} lacks {missing}: run `repoint sweep`, which loads it anew and \
         attaches all slots to it, or wait for repoint-agent to do so",
        folder = folder.display()
    )]
    PinsMissing {
        /// `bpfDir`.
        folder: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// A step of taking a slot down failed.
    #[error(transparent)]
    Teardown(#[from] TeardownError),
    /// A pool does not give or keep a slot.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A stored template cannot be used, or made.
    #[error(transparent)]
    StoredTemplate(#[from] StoredTemplateError),
    /// An attachment is not as ADD left it.
    #[error(transparent)]
    Check(#[from] CheckError),
}

fn others(rest: &[NodeError]) -> String {
    rest.iter().fold(String::new(), |text, error| text + "; " + &error.to_string())
}

impl From<ConfError> for NodeError {
    fn from(error: ConfError) -> Self {
        PoolError::Conf(error).into()
    }
}

impl From<CaptureError> for NodeError {
    fn from(error: CaptureError) -> Self {
        StoredTemplateError::Capture(error).into()
    }
}

impl From<InspectError> for NodeError {
    fn from(error: InspectError) -> Self {
        CheckError::Inspect(error).into()
    }
}

impl From<HookError> for NodeError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Netlink(error) => error.into(),
            HookError::Datapath(error) => error.into(),
        }
    }
}

impl NodeError {
    /// Whether an unrecorded object on the node has the slot's addresses or number. Such an object
    /// makes the build fail.
    pub(crate) fn meets_another_on_node(&self) -> bool {
        matches!(
            self,
            Self::Build { source, .. } | Self::Prepare { source, .. } if source.meets_another_on_node()
        )
    }

    /// The error in the form of the CNI protocol.
    #[must_use]
    pub fn to_cni(&self) -> CniError {
        match self {
            Self::Allocate(error) => error.to_cni(),
            Self::Delegate(error) => error.to_cni(),
            Self::Held { error, .. } => CniError { msg: self.to_string(), ..error.to_cni() },
            Self::Release { first, .. } => CniError { msg: self.to_string(), ..first.to_cni() },
            Self::NotReady(_) => CniError::new(ErrorCode::NOT_AVAILABLE, self.to_string()),
            Self::Limited(_) => CniError::new(ErrorCode::LIMITED_CONNECTIVITY, self.to_string()),
            other => CniError::from_error(other.code(), other),
        }
    }

    /// Whether another user owns a folder or file of the node's.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Private(PrivateError::Foreign { .. })
                | Self::Store(StoreError::Private(PrivateError::Foreign { .. }))
                | Self::Datapath(DatapathError::Private(PrivateError::Foreign { .. }))
        )
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Pool(error) => error.code(),
            Self::StoredTemplate(error) => error.code(),
            Self::Check(error) => error.code(),
            Self::Netns(NetnsError::Open { .. } | NetnsError::NotNetns { .. })
            | Self::OwnNetns { .. }
            | Self::User(
                UserError::Args { .. } | UserError::Unknown { .. } | UserError::Misspelt { .. },
            )
            | Self::NoNetns => ErrorCode::INVALID_ENVIRONMENT,
            Self::Conflict { .. } => ErrorCode::TRY_AGAIN_LATER,
            Self::Store(
                StoreError::TemplateConfirmed { .. } | StoreError::TemplateOfOther { .. },
            )
            | Self::NoIpv6 { .. }
            | Self::ResolvConf(_)
            | Self::User(
                UserError::Key(_) | UserError::NotAllowed { .. } | UserError::NotListed { .. },
            ) => ErrorCode::INVALID_CONFIGURATION,
            Self::NoAddress { .. }
            | Self::UnusableAddress { .. }
            | Self::Store(StoreError::AddressTaken { .. }) => ErrorCode::NO_ADDRESS,
            Self::Store(StoreError::AttachmentTaken { .. }) => ErrorCode::ALREADY_EXISTS,
            Self::Build { source, .. } if source.is_present() => ErrorCode::ALREADY_EXISTS,
            Self::Build { source, .. } | Self::Prepare { source, .. }
                if matches!(**source, BuildError::Contradiction { .. }) =>
            {
                ErrorCode::INVALID_CONFIGURATION
            }
            _ => ErrorCode::NODE_FAILURE,
        }
    }
}
