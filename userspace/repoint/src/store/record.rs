//! The records: slots and networks.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    StoreError,
    codec::{CodecError, Decoder, Encoder},
    slot_kind::{Built, SlotKind},
    values::numbered,
};
use crate::{
    cni::PluginName,
    model::{
        ContainerId, Decision, Domain, FunctionKey, Hook, Identity, IfName, Isolation, LinkLocal,
        LocalPath, Mac, Mode, NetworkName, PoolId, SlotId, TemplateDigest, TemplateName, Tenant,
        TenantNumber,
    },
    netns::NetnsInode,
};

const SLOT_VERSION: u8 = 9;
const NETWORK_VERSION: u8 = 1;

/// Where a slot is in its life. See `docs/architecture.md` for the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    /// Its kernel objects are being made.
    Building,
    /// Ready for any container; no container has ever used it.
    Warm,
    /// Promised to an attachment, not yet handed over.
    Claimed,
    /// In use by an attachment.
    Active,
    /// Taken from its container; processes may still use it.
    Dirty,
    /// Being proved unused and brought back to its template's state.
    Scrubbing,
    /// Ready for the trust domain that used it last, or that it was prepared for.
    Parked,
    /// Its kernel objects are being removed.
    Deleting,
}

impl SlotState {
    /// Every state, in the order of its number in records.
    pub const ALL: [Self; 8] = [
        Self::Building,
        Self::Warm,
        Self::Claimed,
        Self::Active,
        Self::Dirty,
        Self::Scrubbing,
        Self::Parked,
        Self::Deleting,
    ];

    /// Whether this state may follow `self`.
    ///
    /// A slot built for one attachment goes from building to active, one that is prepared for a
    /// function from building to parked. No slot that was used becomes warm. Every slot may be
    /// deleted, and a deletion may be tried again.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use SlotState::{Active, Building, Claimed, Deleting, Dirty, Parked, Scrubbing, Warm};
        matches!(
            (self, next),
            (Building, Warm | Active | Parked)
                | (Warm | Parked, Claimed)
                | (Claimed, Active | Dirty)
                | (Active, Dirty)
                | (Dirty, Scrubbing)
                | (Scrubbing, Parked | Dirty)
                | (_, Deleting)
        )
    }

    /// The states that slots are counted by: claimed slots count as active.
    pub const COUNTED: [Self; 7] = [
        Self::Building,
        Self::Warm,
        Self::Active,
        Self::Dirty,
        Self::Scrubbing,
        Self::Parked,
        Self::Deleting,
    ];

    /// Whether the slot waits for a container to use it.
    #[must_use]
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Warm | Self::Parked)
    }

    /// Whether an attachment has the slot, or is about to.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Claimed | Self::Active)
    }

    /// Whether slots stay in this state: their whole record must hold.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Warm | Self::Parked | Self::Dirty | Self::Active)
    }

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    fn from_number(number: u8) -> Result<Self, CodecError> {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or_else(|| CodecError::Value { field: "state", value: number.to_string() })
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Building => "building",
            Self::Warm => "warm",
            Self::Claimed => "claimed",
            Self::Active => "active",
            Self::Dirty => "dirty",
            Self::Scrubbing => "scrubbing",
            Self::Parked => "parked",
            Self::Deleting => "deleting",
        })
    }
}

/// What is recorded of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Slot {
    /// Its number.
    pub id: SlotId,
    /// Where it is in its life; changed by [`Slot::become_state`] only.
    state: SlotState,
    /// Whether it is of a pool.
    pub kind: SlotKind,
    /// The network that it is of.
    pub network: NetworkName,
    /// Name of the container's interface.
    pub ifname: IfName,
    /// Ethernet address of the container's interface.
    pub mac: Mac,
    /// Addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The number in the maps of the function, or container, that has it or used it last.
    pub identity: Identity,
    /// The number in the maps of the tenant that has it or used it last.
    pub tenant_number: TenantNumber,
    /// When it was given to the container that has it or had it last, in nanoseconds since the boot. The data
    /// plane tells users of an address from each other by it.
    pub epoch: u64,
    /// Which other slots it does not reach.
    pub isolation: Isolation,
    /// Whether its packets are judged by policies.
    pub enforces: bool,
    /// The container that it is claimed by or attached to.
    pub container: Option<ContainerId>,
    /// Path at which the runtime has the container's namespace.
    pub netns_path: Option<PathBuf>,
    /// The namespace that holds the slot's interface.
    pub netns: Option<NetnsInode>,
    /// Whether it is masqueraded.
    pub masquerade: bool,
    /// Plugin that manages its addresses; none: repoint itself.
    pub ipam: Option<PluginName>,
    /// Digest of the template that it is built from; none: an IPAM plugin has not given the routes yet.
    pub template: Option<TemplateDigest>,
    /// What its build made; none until that is recorded.
    pub built: Option<Built>,
    /// The stored template that it was built from, if that has a name.
    pub template_name: Option<TemplateName>,
    /// Whether a container has had it, or was about to have it.
    pub used: bool,
    /// The trust domain that the namespace belongs to.
    ///
    /// The first use records it, or PREPARE for a function. A later use never changes it.
    pub domain: Option<Domain>,
    /// Whether it may wait for its domain after this use.
    pub retain: bool,
    /// The function that has it, or used it last.
    pub function: Option<FunctionKey>,
    /// The tenant that has it, or used it last.
    pub tenant: Option<Tenant>,
    /// The mode of its present or last user.
    pub mode: Mode,
    /// How long it waits for its function after this use; none: as the pool's policy says.
    pub idle_ttl: Option<Duration>,
    /// How its user was served, and why.
    pub decision: Option<Decision>,
    /// Whether its packets to link-local addresses may leave the node.
    pub link_local: LinkLocal,
    /// Which way packets between it and other slots take.
    pub local_path: LocalPath,
    /// Where the programs are attached to its interface on the node.
    pub hook: Hook,
    /// When it was made, in nanoseconds since the boot.
    pub created: u64,
    /// When its state changed last, likewise.
    pub changed: u64,
}

impl Slot {
    /// Network, interface and template of its pool.
    #[must_use]
    pub fn pool_id(&self) -> PoolId {
        PoolId {
            network: self.network.clone(),
            ifname: self.ifname.clone(),
            template: self.template_name.clone(),
        }
    }

    /// Digest of the stored template that it is built from; none: the configuration describes it.
    #[must_use]
    pub fn stored_template(&self) -> Option<&TemplateDigest> {
        self.template.as_ref().filter(|_| self.template_name.is_some())
    }

    /// Whether the namespace is the slot's own, rather than the container's.
    #[must_use]
    pub fn owns_netns(&self) -> bool {
        self.kind.owns_netns()
    }

    /// Interface index of the host's end, once it is built.
    #[must_use]
    pub fn host_ifindex(&self) -> Option<u32> {
        self.built.map(|built| built.host_ifindex.get())
    }

    /// What its build made, for work that needs it.
    pub fn require_built(&self) -> Result<Built, StoreError> {
        self.built.ok_or(StoreError::NotBuilt { slot: self.id })
    }

    /// A new direct slot in state `building`, without container.
    ///
    /// `now` is in nanoseconds since the boot.
    #[must_use]
    pub fn building(id: SlotId, network: NetworkName, ifname: IfName, now: u64) -> Self {
        Self {
            id,
            state: SlotState::Building,
            kind: SlotKind::Direct,
            network,
            ifname,
            mac: id.mac(),
            addresses: Vec::new(),
            identity: Identity::PARKED,
            tenant_number: TenantNumber::NONE,
            epoch: now,
            isolation: Isolation::default(),
            enforces: false,
            container: None,
            netns_path: None,
            netns: None,
            masquerade: false,
            ipam: None,
            template: None,
            built: None,
            template_name: None,
            used: false,
            domain: None,
            retain: false,
            function: None,
            tenant: None,
            mode: Mode::default(),
            idle_ttl: None,
            decision: None,
            link_local: LinkLocal::default(),
            local_path: LocalPath::default(),
            hook: Hook::default(),
            created: now,
            changed: now,
        }
    }

    /// The slot with its network, container, function and tenant, for logs and errors.
    #[must_use]
    pub fn described(&self) -> String {
        let Self { id, network, container, function, tenant, .. } = self;
        let mut text = format!("slot {id} of network {network}");
        for (what, name) in [
            ("container", container.as_ref().map(ToString::to_string)),
            ("function", function.as_ref().map(ToString::to_string)),
            ("tenant", tenant.as_ref().map(ToString::to_string)),
        ] {
            if let Some(name) = name {
                text = format!("{text}, {what} {name}");
            }
        }
        text
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> SlotState {
        self.state
    }

    /// Moves the slot to state `next`, if that may follow.
    pub fn become_state(&mut self, next: SlotState, now: u64) -> Result<(), StoreError> {
        if !self.state.may_become(next) {
            return Err(StoreError::Transition { slot: self.id, from: self.state, to: next });
        }
        self.state = next;
        self.changed = now;
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let netns = self.netns.unwrap_or(NetnsInode { device: 0, inode: 0 });
        let mut encoder = Encoder::new(SLOT_VERSION);
        encoder
            .u8(self.state.number())
            .text(self.network.as_str().as_bytes())
            .text(self.ifname.as_str().as_bytes())
            .raw(&self.mac.0)
            .prefixes(&self.addresses)
            .u32(self.identity.0)
            .u32(self.tenant_number.0)
            .u64(self.epoch)
            .u8(self.isolation as u8)
            .u8(self.enforces.into())
            .option(self.container.as_ref().map(ContainerId::as_str))
            .path(self.netns_path.as_deref())
            .u64(netns.device)
            .u64(netns.inode)
            .u8(self.masquerade.into())
            .option(self.ipam.as_ref().map(PluginName::as_str))
            .digest(self.template.map(|digest| digest.0))
            .option(self.template_name.as_ref().map(TemplateName::as_str))
            .u8(self.used.into())
            .option(self.function.as_ref().map(FunctionKey::as_str))
            .option(self.tenant.as_ref().map(Tenant::as_str))
            .u8(self.mode as u8)
            .u8(self.retain.into())
            .duration(self.idle_ttl)
            .u64(self.created)
            .u64(self.changed)
            .u8(self.domain.is_some().into());
        if let Some(domain) = &self.domain {
            domain.encode(&mut encoder);
        }
        encoder.u8(self.decision.is_some().into());
        if let Some(decision) = &self.decision {
            decision.encode(&mut encoder);
        }
        encoder.u8(self.link_local as u8).u8(self.local_path as u8).u8(self.hook as u8);
        self.kind.encode(&mut encoder);
        encoder.u8(self.built.is_some().into());
        if let Some(built) = &self.built {
            built.encode(&mut encoder);
        }
        encoder.finish()
    }

    pub(super) fn decode(id: SlotId, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, SLOT_VERSION)?;
        let mut slot = Self {
            id,
            state: SlotState::from_number(decoder.u8("state")?)?,
            network: decoder.name("network")?,
            ifname: decoder.name("interface name")?,
            mac: Mac(decoder.array("MAC address")?),
            addresses: decoder.prefixes("addresses")?,
            identity: Identity(decoder.u32("identity")?),
            tenant_number: TenantNumber(decoder.u32("tenant's number")?),
            epoch: decoder.u64("epoch")?,
            isolation: numbered(&Isolation::ALL, decoder.u8("isolation")?, "isolation")?,
            enforces: decoder.bool("enforcement")?,
            container: decoder.option("container")?.map(str::parse).transpose()?,
            netns_path: decoder.path("namespace path")?,
            netns: netns(decoder.u64("namespace device")?, decoder.u64("namespace inode")?),
            masquerade: decoder.bool("masquerade")?,
            ipam: decoder.option("ipam")?.map(plugin).transpose()?,
            template: decoder.digest("template")?.map(TemplateDigest),
            template_name: decoder.option("template name")?.map(str::parse).transpose()?,
            used: decoder.bool("use")?,
            function: decoder.option("function")?.map(str::parse).transpose()?,
            tenant: decoder.option("tenant")?.map(str::parse).transpose()?,
            mode: numbered(&Mode::ALL, decoder.u8("mode")?, "mode")?,
            retain: decoder.bool("retention")?,
            idle_ttl: decoder.duration("idle time")?,
            created: decoder.u64("creation time")?,
            changed: decoder.u64("change time")?,
            domain: decoder.bool("domain")?.then(|| Domain::decode(&mut decoder)).transpose()?,
            decision: decoder
                .bool("decision")?
                .then(|| Decision::decode(&mut decoder))
                .transpose()?,
            link_local: numbered(&LinkLocal::ALL, decoder.u8("link-local")?, "link-local")?,
            local_path: numbered(&LocalPath::ALL, decoder.u8("local path")?, "local path")?,
            hook: numbered(&Hook::ALL, decoder.u8("hook")?, "hook")?,
            kind: SlotKind::decode(&mut decoder)?,
            built: None,
        };
        if decoder.bool("build")? {
            slot.built = Some(Built::decode(slot.kind, &mut decoder)?);
        }
        decoder.finish()?;
        Ok(slot)
    }
}

fn plugin(name: &str) -> Result<PluginName, CodecError> {
    name.parse().map_err(|_| CodecError::Value { field: "ipam", value: format!("{name:?}") })
}

/// Inode number 0 is no namespace's.
fn netns(device: u64, inode: u64) -> Option<NetnsInode> {
    (inode != 0).then_some(NetnsInode { device, inode })
}

/// What is recorded of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The address that each range set gave last.
    ///
    /// The next search begins after it, so that a released address rests as long as the range allows.
    pub last_given: Vec<Option<IpAddr>>,
}

impl Network {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(NETWORK_VERSION);
        encoder.u8(u8::try_from(self.last_given.len()).unwrap_or(u8::MAX));
        for last in self.last_given.iter().take(usize::from(u8::MAX)) {
            match last {
                Some(address) => encoder.u8(1).address(*address),
                None => encoder.u8(0),
            };
        }
        encoder.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut decoder = Decoder::new(bytes, NETWORK_VERSION)?;
        let count = decoder.u8("number of range sets")?;
        let field = "address given last";
        let last_given = (0..count)
            .map(|_| if decoder.bool(field)? { decoder.address(field).map(Some) } else { Ok(None) })
            .collect::<Result<_, _>>()?;
        decoder.finish()?;
        Ok(Self { last_given })
    }
}
