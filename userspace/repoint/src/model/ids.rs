//! Values that are parsed once, where they enter, and cannot be wrong after.

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A value that is not of its type's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {why}")]
pub struct InvalidValue {
    /// What it was meant to be, in the user's words.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub why: Cow<'static, str>,
}

impl InvalidValue {
    pub(crate) fn new(what: &'static str, value: &str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { what, value: value.to_owned(), why: why.into() }
    }
}

/// Whether `text` is a word as the CNI spec, section 1 and 2, wants names and ids: it starts with
/// an alphanumeric character, and goes on with these, `_`, `.` and `-`.
fn is_cni_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

const WORD: &str =
    "must start with a letter or digit and hold only letters, digits, '_', '.' and '-'";

/// A text type; `$wrong` returns what is wrong with a text, if anything.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $wrong:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                match $wrong(text) {
                    Some(why) => Err(InvalidValue::new($what, text, why)),
                    None => Ok(Self(text.to_owned())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// A container's id, `CNI_CONTAINERID` (CNI spec, section 2).
    ContainerId, "container id", wrong_word
}
text! {
    /// A network's name, key `name` of its configuration (CNI spec, section 1).
    NetworkName, "network name", wrong_word
}
text! {
    /// Name of an interface in a container, `CNI_IFNAME`.
    ///
    /// The kernel's rule (`dev_valid_name`): 1 to 15 bytes, not `.` or `..`, no `/`, `:` or space.
    IfName, "interface name", wrong_ifname
}
text! {
    /// Name of a function, within its tenant: what reuse is keyed by. Free text.
    FunctionKey, "function", wrong_label
}
text! {
    /// Name of a tenant, to which functions belong. Free text.
    Tenant, "tenant", wrong_label
}
text! {
    /// Name of a stored template.
    TemplateName, "template name", wrong_template
}

/// What is wrong with a word of the CNI spec.
///
/// Two words and an interface name form a key of the database, of at most 511 bytes.
fn wrong_word(text: &str) -> Option<&'static str> {
    match text {
        _ if !is_cni_word(text) => Some(WORD),
        _ if text.len() > 200 => Some("is longer than 200 bytes"),
        _ => None,
    }
}

/// What is wrong with a template's name.
///
/// Network, interface and template form a key of the database.
fn wrong_template(text: &str) -> Option<&'static str> {
    match text {
        _ if !is_cni_word(text) => Some(WORD),
        _ if text.len() > 100 => Some("is longer than 100 bytes"),
        _ => None,
    }
}

fn wrong_ifname(text: &str) -> Option<&'static str> {
    let barred = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    match text {
        "" => Some("is empty"),
        "." | ".." => Some("is reserved"),
        _ if text.len() > 15 => Some("is longer than 15 bytes"),
        _ if text.contains(barred) => Some("must hold no '/', ':', space or zero byte"),
        _ => None,
    }
}

fn wrong_label(text: &str) -> Option<&'static str> {
    let right = (1..=253).contains(&text.len()) && !text.chars().any(char::is_control);
    (!right).then_some("must be a text of 1 to 253 bytes without control characters")
}

/// Path of a network namespace, `CNI_NETNS`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetnsPath(PathBuf);

impl NetnsPath {
    /// Takes a path as the runtime gave it.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, InvalidValue> {
        let path = path.into();
        let bytes = path.as_os_str().as_bytes();
        if !path.is_absolute() || bytes.contains(&0) {
            let text = path.to_string_lossy();
            return Err(InvalidValue::new("network namespace path", &text, "must be absolute"));
        }
        Ok(Self(path))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for NetnsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Number of a slot: the upper 16 of 48 bits are drawn when the database is made, so that slots of
/// a database that was lost are not mistaken for its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotId(pub u64);

impl SlotId {
    /// Name of the slot's host-side interface: `rp` and twelve hexadecimal digits.
    #[must_use]
    pub fn host_ifname(self) -> String {
        format!("rp{:012x}", self.0)
    }

    /// Ethernet address of the slot's container where none is asked for: locally administered.
    #[must_use]
    pub fn mac(self) -> Mac {
        let mut octets = [0x0a; 6];
        octets[1..].copy_from_slice(&self.0.to_be_bytes()[3..]);
        Mac(octets)
    }
}

impl FromStr for SlotId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| {
            InvalidValue::new(
                "slot",
                text,
                "must be twelve hexadecimal digits, as in `repoint slots`",
            )
        })
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// Digest of what the slots of a pool are built from.
///
/// A slot of another key does not match the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey(pub [u8; 16]);

/// The number that stands for a function, or for one container, in the maps; 0: parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity(pub u32);

impl Identity {
    /// Identity of a slot that is not in use: the programs drop packets from and to it.
    pub const PARKED: Self = Self(0);
    /// The least identity that is assigned. Those below are reserved.
    pub const FIRST: Self = Self(256);
    /// The greatest identity that is assigned to a function: these have 24 bits.
    pub const LAST: Self = Self(0xff_ffff);
    /// Set in the identity of a single container.
    const SINGLE: u32 = 1 << 31;

    /// The identity of a container without a function, on this node: 31 bits of its slot's number.
    ///
    /// The upper 16 bits of the number, which another database has drawn otherwise, are mixed in: its
    /// containers may still run.
    #[must_use]
    pub fn of_container(slot: SlotId) -> Self {
        let [_, _, epoch @ .., a, b, c, d] = slot.0.to_be_bytes();
        let (epoch, counter) = (u16::from_be_bytes(epoch), u32::from_be_bytes([a, b, c, d]));
        Self(Self::SINGLE | counter ^ u32::from(epoch) << 15)
    }

    /// Whether it is a single container's.
    #[must_use]
    pub fn is_of_container(self) -> bool {
        self.0 & Self::SINGLE != 0
    }
}

/// The number that stands for a tenant in the maps; 0: no tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TenantNumber(pub u32);

impl TenantNumber {
    /// Number of containers without a tenant.
    pub const NONE: Self = Self(0);
}

/// An Ethernet address, in transmission order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |why| InvalidValue::new("MAC address", text, why);
        let mut octets = [0_u8; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            *octet = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| {
                    invalid("must be six pairs of hexadecimal digits, as in 02:00:00:00:00:07")
                })?;
        }
        if parts.next().is_some() {
            return Err(invalid(
                "must be six pairs of hexadecimal digits, as in 02:00:00:00:00:07",
            ));
        }
        if octets[0] & 1 == 1 || octets == [0; 6] {
            return Err(invalid(
                "must be a unicast address: the kernel gives no interface another",
            ));
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02x}")?;
        }
        Ok(())
    }
}

/// Identifies an attachment on a node (CNI spec, section 2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentId {
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container: ContainerId,
    /// The interface in the container.
    pub ifname: IfName,
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.ifname)
    }
}

/// Number of bits of the longest prefix of an address's family.
#[must_use]
pub fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
