//! Keys of the tables, and what is read of keys and values.

use std::net::IpAddr;

use super::{CodecError, Pool, Slot, StoreError, index};
use crate::model::{AttachmentId, ContainerId, PoolId, SlotId, TemplateName};

/// The attachment of a slot that `container` has.
pub(super) fn attachment_of(slot: &Slot, container: &ContainerId) -> AttachmentId {
    AttachmentId {
        network: slot.network.clone(),
        container: container.clone(),
        ifname: slot.ifname.clone(),
    }
}

/// Big-endian, so that slots are listed in the order of their numbers.
pub(super) fn slot_key(id: SlotId) -> [u8; 8] {
    id.0.to_be_bytes()
}

pub(super) fn address_key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Network, container and interface name, apart by a byte that none of them holds. At most 417
/// bytes of LMDB's 511.
pub(super) fn attachment_key(id: &AttachmentId) -> Vec<u8> {
    [id.network.as_str(), id.container.as_str(), id.ifname.as_str()].join("\0").into_bytes()
}

/// Network, interface name and template, apart by a byte that none of them holds. At most 317 bytes
/// of LMDB's 511.
pub(super) fn pool_key(id: &PoolId) -> Vec<u8> {
    let template = id.template.as_ref().map_or("", TemplateName::as_str);
    [id.network.as_str(), id.ifname.as_str(), template].join("\0").into_bytes()
}

/// Key of the number of the last decision among the counters of pools, whose keys have a 0. ADD changes
/// both, and so writes one page less.
pub(super) const LAST_DECISION: &[u8] = b"last-decision";

pub(super) fn counter_key(id: &PoolId, name: &str) -> Vec<u8> {
    let mut key = pool_key(id);
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key
}

pub(super) fn parse_pool(key: &[u8]) -> Result<PoolId, StoreError> {
    let damaged = |source| StoreError::Record { what: "pool", source };
    let text = String::from_utf8_lossy(key);
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().ok_or_else(|| damaged(CodecError::Truncated { field: "key" }));
    let name = |error| damaged(CodecError::Name(error));
    let (network, ifname, template) = (part()?, part()?, part()?);
    let template = (!template.is_empty()).then(|| template.parse().map_err(name)).transpose()?;
    Ok(PoolId {
        network: network.parse().map_err(name)?,
        ifname: ifname.parse().map_err(name)?,
        template,
    })
}

pub(super) fn decode_pool(bytes: &[u8]) -> Result<Pool, StoreError> {
    Pool::decode(bytes).map_err(|source| StoreError::Record { what: "pool", source })
}

pub(super) fn slot_of_index(key: &[u8]) -> Result<SlotId, StoreError> {
    index::slot(key).ok_or_else(damaged_index)
}

pub(super) fn damaged_index() -> StoreError {
    StoreError::Record { what: "index", source: CodecError::Truncated { field: "key" } }
}

pub(super) fn parse_attachment(key: &[u8]) -> Result<AttachmentId, StoreError> {
    let damaged = |source| StoreError::Record { what: "attachment", source };
    let mut parts = key.split(|byte| *byte == 0).map(|part| {
        std::str::from_utf8(part)
            .map_err(|_| damaged(CodecError::Value { field: "key", value: "not UTF-8".to_owned() }))
    });
    let mut part = || parts.next().unwrap_or(Err(damaged(CodecError::Truncated { field: "key" })));
    Ok(AttachmentId {
        network: part()?.parse().map_err(|error| damaged(CodecError::Name(error)))?,
        container: part()?.parse().map_err(|error| damaged(CodecError::Name(error)))?,
        ifname: part()?.parse().map_err(|error| damaged(CodecError::Name(error)))?,
    })
}

pub(super) fn parse_address(key: &[u8]) -> Result<IpAddr, StoreError> {
    if let Ok(octets) = <[u8; 4]>::try_from(key) {
        return Ok(IpAddr::from(octets));
    }
    number("address", key).map(|octets: [u8; 16]| IpAddr::from(octets))
}

pub(super) fn decode_slot(id: SlotId, bytes: &[u8]) -> Result<Slot, StoreError> {
    Slot::decode(id, bytes).map_err(|source| StoreError::Record { what: "slot", source })
}

pub(super) fn slot_number(what: &'static str, bytes: &[u8]) -> Result<SlotId, StoreError> {
    number(what, bytes).map(|bytes| SlotId(u64::from_be_bytes(bytes)))
}

pub(super) fn number<const N: usize>(
    what: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Record {
        what,
        source: CodecError::Value { field: "value", value: format!("{} bytes long", bytes.len()) },
    })
}
