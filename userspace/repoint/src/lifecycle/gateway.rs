//! The same for programs that start functions themselves: no executable in between.

use std::path::Path;

use ipnet::IpNet;

use super::{
    Decline, LifecycleError, Node, Outcome,
    activate::Wanted,
    del::attached,
    holders::name_holders,
    in_force::{pool_id, pool_in_force},
    park::park,
    provide::{Provided, provide, ready},
    target::{Target, resolve},
    template_use::check_pool_use,
    terms::Terms,
};
use crate::{
    agent_socket,
    conf::{NetConf, User},
    netns::Netns,
    store::{Decision, Mode, Slot},
    types::{AttachmentId, Mac, SlotId},
};

/// A request to attach a container to a network's pool.
#[derive(Debug, Clone)]
pub struct ActivateRequest<'a> {
    /// The network. Read from its JSON text by [`NetConf::parse`].
    pub conf: &'a NetConf,
    /// What the attachment is known by until it is parked: chosen by the caller, unique in the
    /// network.
    pub attachment: &'a AttachmentId,
    /// The function that will run, and its tenant: who had a slot before gets it back.
    pub user: &'a User,
    /// A file to mount the namespace on, for programs that want a path; made if it is not there.
    pub path: Option<&'a Path>,
    /// Whether to fail where no slot is at hand, rather than to build one.
    pub prepared_only: bool,
}

/// A container's network, ready.
#[derive(Debug)]
pub struct Activation {
    /// The slot.
    pub slot: SlotId,
    /// Its network namespace: enter it by [`Netns::run`], or hand its descriptor on.
    pub netns: Netns,
    /// The container's addresses with their subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Ethernet address of the container's interface.
    pub mac: Mac,
    /// MTU of the container's interface, bytes.
    pub mtu: u32,
    /// Name of the interface on the node.
    pub host_ifname: String,
    /// Where the slot came from.
    pub outcome: Outcome,
    /// What was decided, and why.
    pub decision: Option<Decision>,
}

impl Node {
    /// Gives a container a slot of the network's pool: the one that the same function had, one that
    /// is ready, or else one that is built now, which takes some ten times as long.
    ///
    /// The network must have a pool (key `pool` of its configuration, or `repoint pool set`). The
    /// calling thread stays in its namespaces.
    ///
    /// # Errors
    /// [`LifecycleError::NoPool`] where the network has none, [`LifecycleError::Declined`] where
    /// the pool is full, and what building a slot may come to.
    pub fn activate(&self, request: &ActivateRequest<'_>) -> Result<Activation, LifecycleError> {
        let ActivateRequest { conf, attachment, user, path, prepared_only } = request;
        let pool = pool_in_force(self, conf, &pool_id(conf, &attachment.ifname, user))?;
        let pool = pool.ok_or_else(|| LifecycleError::NoPool { network: conf.name.to_string() })?;
        check_pool_use(&pool, user)?;
        let terms = Terms::new(conf, &pool.policy, user)?;
        let path = path.map(resolve).transpose()?;
        let path = path.as_deref();
        let wanted = Wanted { attachment, pool: &pool, terms, user, path, sysctls: None };
        if wanted.terms.mode == Mode::None {
            return Err(wanted.declined(Decline::Asked));
        }
        let target = path.map(Target::create).transpose()?;
        let open = |slot| self.netns_through_door(slot);
        let provided = if *prepared_only {
            activate_ready(self, &wanted, &open)?
        } else {
            let provided = provide(self, conf, &wanted, &open)
                .map_err(|error| name_holders(self, conf, error))?;
            provided.map_err(|reason| wanted.declined(reason))?
        };
        if let Some(target) = target {
            target.keep();
        }
        if !provided.outcome.is_hit() {
            agent_socket::notify(&self.directories.run, "");
        }
        let Slot { id, addresses, mac, mtu, decision, .. } = provided.slot;
        Ok(Activation {
            slot: id,
            netns: provided.netns,
            addresses,
            mac,
            mtu,
            host_ifname: id.host_ifname(),
            outcome: provided.outcome,
            decision,
        })
    }

    /// Parks what [`Node::activate`] or ADD gave: no packet passes when this returns, and the slot
    /// waits for its function once nobody uses it any more. There having been nothing is no error.
    pub fn park(&self, attachment: &AttachmentId) -> Result<(), LifecycleError> {
        while let Some(slot) = attached(self, attachment)? {
            if !slot.owns_netns {
                return Err(LifecycleError::NotOfPool { attachment: Box::new(attachment.clone()) });
            }
            if park(self, &slot)? {
                break;
            }
        }
        Ok(())
    }
}

/// Gives a container a slot that is at hand.
pub(super) fn activate_ready(
    node: &Node,
    wanted: &Wanted<'_>,
    open: &dyn Fn(SlotId) -> Result<Netns, LifecycleError>,
) -> Result<Provided, LifecycleError> {
    match ready(node, wanted, open)? {
        Some(provided) => provided.map_err(|reason| wanted.declined(reason)),
        None => Err(LifecycleError::NonePrepared { pool: wanted.pool.id.to_string() }),
    }
}
