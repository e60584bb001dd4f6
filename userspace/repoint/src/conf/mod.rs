//! A plugin's network configuration, as it comes on standard input (CNI spec, section 1).
//!
//! Every known key is checked. A wrong type or value is an error that names the key by its path, and so
//! is a misspelt key. Other keys are accepted. `null` and an empty text count as an absent key.

mod addresses;
mod annotations;
mod attachments;
mod document;
mod error;
mod pod_name;
mod pool;
mod pool_key;
mod ranges;
mod removal;
mod runtime;
mod spelling;
mod time;
mod wrong_document;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

pub use addresses::{IpamConf, OwnIpam};
pub use annotations::{Annotation, User, UserError};
pub use document::Document;
pub use error::ConfError;
pub use pool::{Allowed, FunctionSource, PoolConf};
pub use time::Lasting;

use crate::{
    cni::{
        CniArgs, CniResult, CniVersion, Dns, PluginName,
        json::{KeyError, Node, Object},
    },
    model::{AttachmentId, Hook, Isolation, LinkLocal, LocalPath, Mac, NetworkName, PoolPolicy},
    template::MTU,
};

/// Smallest MTU with which the kernel lets an interface have IPv6 (RFC 8200, section 5), bytes.
pub const LEAST_MTU_V6: u32 = 1280;
/// Concurrent builds where the configuration gives no number.
///
/// The kernel makes interfaces one at a time (RTNL): a few builds keep it busy, and more only wait for
/// each other.
const CONCURRENT_BUILDS: u32 = 2;
/// Most concurrent builds that a configuration can ask for.
const MOST_CONCURRENT_BUILDS: u32 = 256;

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To attach a container, or to check an attached container: every key counts.
    Attachment,
    /// To prepare for containers: every key counts but `prevResult`, which is one attachment's.
    Network,
    /// To remove attachments: only keys that identify them and their database count.
    ///
    /// All other keys have their defaults, whatever their values.
    Removal,
    /// To continue with a configuration that an ADD recorded.
    ///
    /// That ADD checked it, by the rules of its version.
    Recorded,
}

/// A network configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConf {
    /// Version of the protocol in use: key `cniVersion`. 0.1.0 where it is absent, as for libcni.
    pub cni_version: CniVersion,
    /// The network: key `name`.
    pub name: NetworkName,
    /// Whether containers reach other networks under the node's address: key `ipMasq`.
    pub ip_masq: bool,
    /// Whether containers reach link-local addresses outside the node: key `linkLocal`.
    pub link_local: LinkLocal,
    /// Which way packets between containers of the node take: key `localPath`.
    pub local_path: LocalPath,
    /// Where the programs are attached: key `hook`.
    pub hook: Hook,
    /// Which containers of the node do not reach each other: key `isolation`.
    pub isolation: Isolation,
    /// MTU of the container's interface, bytes: key `mtu`. The node's choice where it is absent.
    pub mtu: Option<u32>,
    /// Where the node's state is.
    pub directories: Directories,
    /// How many slots are built at a time when none is ready: key `maxConcurrentBuilds`.
    pub max_concurrent_builds: u32,
    /// Policy of the network's pool: key `pool`. None: no slot is built ahead of time.
    pub pool: Option<PoolPolicy>,
    /// The pool's other keys.
    ///
    /// They also count for a pool that an operator sets up.
    pub pool_conf: PoolConf,
    /// Address management: key `ipam`.
    pub ipam: IpamConf,
    /// The MAC address that the runtime requests: key `runtimeConfig.mac`.
    pub mac: Option<Mac>,
    /// The result of the plugins before this one, and on CHECK of ADD: key `prevResult`. Read of an
    /// attachment only.
    pub prev_result: Option<CniResult>,
    /// On GC, the attachments that are still valid: keys `cni.dev/valid-attachments` and
    /// `cni.dev/attachments`, together. With neither, nothing is known to be invalid.
    pub valid_attachments: Option<HashSet<AttachmentId>>,
    document: Document,
    dns: Dns,
    runtime_dns: Dns,
    requested: runtime::Requested,
    user: annotations::Named,
    /// Whether the runtime gives ranges: key `runtimeConfig.ipRanges`.
    runtime_ranges: bool,
}

/// Directories of a node. They distinguish nodes on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// State that ends with the boot: key `runDir`.
    pub run: PathBuf,
    /// State that outlives it: key `stateDir`.
    pub state: PathBuf,
    /// Pins of maps and programs, on a BPF file system: key `bpfDir`.
    pub bpf: PathBuf,
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            run: "/run/repoint".into(),
            state: "/var/lib/repoint".into(),
            bpf: "/sys/fs/bpf/repoint".into(),
        }
    }
}

impl NetConf {
    /// Reads the configuration of an attachment from its JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, ConfError> {
        Self::read(&Document::parse(text)?, Purpose::Attachment)
    }

    /// Reads a configuration that is on record from its JSON text.
    pub fn recorded(text: &[u8]) -> Result<Self, ConfError> {
        Self::read(&Document::parse(text)?, Purpose::Recorded)
    }

    /// Reads a configuration.
    pub fn read(document: &Document, purpose: Purpose) -> Result<Self, ConfError> {
        let (conf, cni_version) = (document.root()?, document.cni_version()?);
        Ok(match purpose {
            Purpose::Removal => Self::read_removal(document, &conf, cni_version)?,
            _ => Self::read_keys(document, &conf, cni_version, purpose)?,
        })
    }

    fn read_keys(
        document: &Document,
        conf: &Object<'_>,
        cni_version: CniVersion,
        purpose: Purpose,
    ) -> Result<Self, KeyError> {
        if purpose != Purpose::Recorded {
            spelling::check(conf)?;
        }
        let name: NetworkName = conf.require("name", NAME)?.checked(NAME)?;
        conf.require("type", PLUGIN)?.parse::<PluginName>(PLUGIN)?;
        let runtime = object(conf, "runtimeConfig")?;
        let runtime = runtime.as_ref();
        let ipam = IpamConf::read(conf, runtime, (cni_version, purpose))?;
        Ok(Self {
            cni_version,
            ip_masq: conf.get("ipMasq").map_or(Ok(false), |node| node.boolean())?,
            link_local: conf
                .text("linkLocal")
                .map_or(Ok(LinkLocal::default()), |node| node.checked(LINK_LOCAL))?,
            local_path: conf
                .text("localPath")
                .map_or(Ok(LocalPath::default()), |node| node.checked(LOCAL_PATH))?,
            hook: conf.text("hook").map_or(Ok(Hook::default()), |node| node.checked(HOOK))?,
            isolation: conf
                .text("isolation")
                .map_or(Ok(Isolation::default()), |node| node.checked(ISOLATION))?,
            mtu: conf.get("mtu").map_or(Ok(None), |node| mtu(&node, &ipam))?,
            directories: Directories::read(conf)?,
            max_concurrent_builds: max_concurrent_builds(conf)?,
            ipam,
            mac: runtime.map_or(Ok(None), runtime::mac)?,
            prev_result: match purpose {
                Purpose::Attachment => prev_result(conf, cni_version)?,
                _ => None,
            },
            valid_attachments: attachments::read(conf, &name)?,
            dns: runtime::dns(conf)?,
            runtime_dns: runtime.map_or(Ok(Dns::default()), runtime::runtime_dns)?,
            requested: runtime::Requested::read(conf, runtime)?,
            user: annotations::Named::read(conf, runtime)?,
            runtime_ranges: ranges::are_given(runtime),
            pool: pool::policy(conf)?,
            pool_conf: pool::read(conf)?,
            document: document.clone(),
            name,
        })
    }

    /// The addresses that the runtime asks for: those of `runtimeConfig.ips` and `args.cni.ips`,
    /// and `IP` of `CNI_ARGS`, which `args` overrides (CNI conventions, `CNI_ARGS`).
    #[must_use]
    pub fn requested_addresses(&self, args: &CniArgs) -> Vec<IpAddr> {
        self.requested.addresses(args)
    }

    /// Whether the runtime asks for an address, a range or a MAC address for this one attachment.
    #[must_use]
    pub fn asks_for_its_own(&self, args: &CniArgs) -> bool {
        self.mac.is_some() || self.runtime_ranges || !self.requested_addresses(args).is_empty()
    }

    /// The slot's user, and what the user asks for.
    ///
    /// The pod's annotations count first, then `CNI_ARGS`, then `args.cni`.
    pub fn user(&self, args: &CniArgs) -> Result<User, UserError> {
        self.user.user(&self.pool_conf, args)
    }

    /// The user of a pod, which may name only listed templates.
    pub fn pod(&self, args: &CniArgs) -> Result<User, UserError> {
        self.user.pod(&self.pool_conf, args)
    }

    /// How many slots PREPARE or REPLICATE makes: `CNI_ARGS`, then `args.cni`.
    pub fn count(&self, args: &CniArgs) -> Result<Option<u32>, UserError> {
        self.user.count(args)
    }

    /// The JSON text without the keys of one call or attachment.
    ///
    /// The agent builds a pool's slots from it.
    #[must_use]
    pub fn common(&self) -> Vec<u8> {
        self.document.common()
    }

    /// DNS settings of the result.
    ///
    /// The configuration's settings count, or else those of address management. The runtime's lists
    /// replace theirs, list by list.
    #[must_use]
    pub fn resolve_dns(&self, from_ipam: Dns) -> Dns {
        let base = if self.dns.is_empty() { from_ipam } else { self.dns.clone() };
        let or = |wanted: &[String], base: Vec<String>| {
            if wanted.is_empty() { base } else { wanted.to_vec() }
        };
        Dns {
            nameservers: or(&self.runtime_dns.nameservers, base.nameservers),
            search: or(&self.runtime_dns.search, base.search),
            options: or(&self.runtime_dns.options, base.options),
            domain: base.domain,
        }
    }
}

const NAME: &str = "a network name such as \"functions\"";
const PLUGIN: &str = "the name of an executable such as \"repoint-cni\"";
const LINK_LOCAL: &str = "\"deny\" or \"allow\"";
const LOCAL_PATH: &str = "\"direct\" or \"stack\"";
const HOOK: &str = "\"clsact\" or \"tcx\"";
const ISOLATION: &str = "\"none\", \"tenant\" or \"function\"";
const DIRECTORY: &str = "an absolute path such as \"/run/repoint\"";

impl Directories {
    fn read(conf: &Object<'_>) -> Result<Self, KeyError> {
        let read = Self::of_attachments(conf)?;
        Ok(Self { state: path(conf, "stateDir", DIRECTORY)?.unwrap_or(read.state), ..read })
    }

    /// `runDir` and `bpfDir`. `stateDir` holds templates, which removing an attachment does not need.
    fn of_attachments(conf: &Object<'_>) -> Result<Self, KeyError> {
        let default = Self::default();
        Ok(Self {
            run: path(conf, "runDir", DIRECTORY)?.unwrap_or(default.run),
            state: default.state,
            bpf: bpf_dir(conf)?.unwrap_or(default.bpf),
        })
    }
}

/// Reads key `bpfDir`: the kernel reserves names with a dot on a BPF file system.
fn bpf_dir(conf: &Object<'_>) -> Result<Option<PathBuf>, KeyError> {
    let found = path(conf, "bpfDir", DIRECTORY)?;
    let below = found.as_deref().and_then(|path| path.strip_prefix("/sys/fs/bpf").ok());
    if below.is_some_and(|names| names.to_string_lossy().contains('.')) {
        let node = conf.require("bpfDir", DIRECTORY)?;
        return Err(node.bad_value("names on a BPF file system hold no dot".to_owned()));
    }
    Ok(found)
}

/// The object that a key holds.
fn object<'k>(parent: &'k Object<'_>, key: &'k str) -> Result<Option<Object<'k>>, KeyError> {
    let Some(node) = parent.get(key) else {
        return Ok(None);
    };
    node.object("a JSON object").map(Some)
}

/// The absolute path that a key holds.
fn path(
    object: &Object<'_>,
    key: &str,
    expected: &'static str,
) -> Result<Option<PathBuf>, KeyError> {
    let absolute = |node: Node<'_>| {
        let text = node.string(expected)?;
        if !Path::new(text).is_absolute() || text.contains('\0') {
            return Err(node.bad_value(format!("it must be {expected}")));
        }
        Ok(text.into())
    };
    object.text(key).map(absolute).transpose()
}

/// Key `mtu`; 0 is none, as for the reference plugins.
fn mtu(node: &Node<'_>, ipam: &IpamConf) -> Result<Option<u32>, KeyError> {
    if node.is_zero() {
        return Ok(None);
    }
    let mtu = node.integer(MTU)?;
    if mtu < LEAST_MTU_V6 && ipam.gives_ipv6() {
        let why = format!("it must be at least {LEAST_MTU_V6} where there are IPv6 ranges");
        return Err(node.bad_value(why));
    }
    Ok(Some(mtu))
}

fn max_concurrent_builds(conf: &Object<'_>) -> Result<u32, KeyError> {
    conf.get("maxConcurrentBuilds")
        .map_or(Ok(CONCURRENT_BUILDS), |node| node.integer(1..=MOST_CONCURRENT_BUILDS))
}

fn prev_result(conf: &Object<'_>, version: CniVersion) -> Result<Option<CniResult>, KeyError> {
    let Some(result) = object(conf, "prevResult")? else {
        return Ok(None);
    };
    CniResult::read(&result, version).map(Some)
}
