//! Encoding of records: a version, then fields in a fixed order, integers little-endian, texts and
//! lists behind their length.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytes::{Buf as _, BufMut as _};
use ipnet::IpNet;

use crate::model::InvalidValue;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It is of a version that this program does not know.
    #[error("its version is {found}, known is {known}")]
    Version {
        /// The record's version.
        found: u8,
        /// The only known version.
        known: u8,
    },
    /// It ends in the middle of a field.
    #[error("it ends in {field}")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// Something follows its last field.
    #[error("{count} bytes follow its end")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A field's value is not of its type.
    #[error("{field} is {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// A name is not of its form.
    #[error(transparent)]
    Name(#[from] InvalidValue),
}

/// Bytes of nearly all records at most: a record is written without being moved.
const MOST: usize = 512;

/// Writes a record.
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub(super) fn new(version: u8) -> Self {
        let mut record = Vec::with_capacity(MOST);
        record.push(version);
        Self(record)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.put_u8(value);
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.put_u32_le(value);
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.put_u64_le(value);
        self
    }

    /// At most 65,535 bytes are kept; no text of ours is longer than a path.
    pub(super) fn text(&mut self, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.0.put_u16_le(length);
        self.0.put_slice(&value[..usize::from(length)]);
        self
    }

    /// Bytes of any length.
    pub(super) fn long(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.put_u32_le(length);
        self.0.put_slice(&value[..length as usize]);
        self
    }

    pub(super) fn path(&mut self, value: Option<&Path>) -> &mut Self {
        self.text(value.map_or(&[], |path| path.as_os_str().as_bytes()))
    }

    pub(super) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.put_slice(value);
        self
    }

    pub(super) fn option(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(text) => self.u8(1).text(text.as_bytes()),
            None => self.u8(0),
        }
    }

    pub(super) fn number(&mut self, value: Option<u32>) -> &mut Self {
        match value {
            Some(number) => self.u8(1).u32(number),
            None => self.u8(0),
        }
    }

    pub(super) fn digest(&mut self, value: Option<[u8; 32]>) -> &mut Self {
        match value {
            Some(digest) => self.u8(1).raw(&digest),
            None => self.u8(0),
        }
    }

    /// To the nanosecond, up to 584 years.
    pub(super) fn duration(&mut self, value: Option<Duration>) -> &mut Self {
        match value {
            Some(value) => self.u8(1).u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)),
            None => self.u8(0),
        }
    }

    pub(super) fn address(&mut self, value: IpAddr) -> &mut Self {
        match value {
            IpAddr::V4(v4) => self.u8(4).raw(&v4.octets()),
            IpAddr::V6(v6) => self.u8(6).raw(&v6.octets()),
        }
    }

    pub(super) fn prefixes(&mut self, values: &[IpNet]) -> &mut Self {
        self.u8(u8::try_from(values.len()).unwrap_or(u8::MAX));
        for value in values.iter().take(usize::from(u8::MAX)) {
            self.address(value.addr()).u8(value.prefix_len());
        }
        self
    }
}

/// Reads a record.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8], known: u8) -> Result<Self, CodecError> {
        let mut decoder = Self(bytes);
        match decoder.u8("version")? {
            found if found == known => Ok(decoder),
            found => Err(CodecError::Version { found, known }),
        }
    }

    pub(super) fn finish(self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError::Trailing { count: self.0.len() }) }
    }

    pub(super) fn take(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], CodecError> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(CodecError::Truncated { field })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], CodecError> {
        self.take(N, field)?.try_into().map_err(|_| CodecError::Truncated { field })
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        Ok(self.take(1, field)?.get_u8())
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        Ok(self.take(4, field)?.get_u32_le())
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        Ok(self.take(8, field)?.get_u64_le())
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.take(2, field)?.get_u16_le();
        self.take(usize::from(length), field)
    }

    pub(super) fn long(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.u32(field)?;
        self.take(length as usize, field)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes)
            .map_err(|_| CodecError::Value { field, value: "not UTF-8".to_owned() })
    }

    pub(super) fn name<T: FromStr<Err = InvalidValue>>(
        &mut self,
        field: &'static str,
    ) -> Result<T, CodecError> {
        Ok(self.text(field)?.parse()?)
    }

    pub(super) fn path(&mut self, field: &'static str) -> Result<Option<PathBuf>, CodecError> {
        let bytes = self.bytes(field)?;
        Ok((!bytes.is_empty()).then(|| OsString::from_vec(bytes.to_vec()).into()))
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, CodecError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(CodecError::Value { field, value: other.to_string() }),
        }
    }

    pub(super) fn option(&mut self, field: &'static str) -> Result<Option<&'a str>, CodecError> {
        if self.bool(field)? { self.text(field).map(Some) } else { Ok(None) }
    }

    pub(super) fn number(&mut self, field: &'static str) -> Result<Option<u32>, CodecError> {
        if self.bool(field)? { self.u32(field).map(Some) } else { Ok(None) }
    }

    pub(super) fn digest(&mut self, field: &'static str) -> Result<Option<[u8; 32]>, CodecError> {
        if self.bool(field)? { self.array(field).map(Some) } else { Ok(None) }
    }

    pub(super) fn duration(&mut self, field: &'static str) -> Result<Option<Duration>, CodecError> {
        if self.bool(field)? {
            self.u64(field).map(|nanoseconds| Some(Duration::from_nanos(nanoseconds)))
        } else {
            Ok(None)
        }
    }

    pub(super) fn address(&mut self, field: &'static str) -> Result<IpAddr, CodecError> {
        match self.u8(field)? {
            4 => Ok(Ipv4Addr::from(self.array::<4>(field)?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>(field)?).into()),
            other => Err(CodecError::Value { field, value: format!("of family {other}") }),
        }
    }

    pub(super) fn prefixes(&mut self, field: &'static str) -> Result<Vec<IpNet>, CodecError> {
        let count = self.u8(field)?;
        (0..count)
            .map(|_| {
                let (address, length) = (self.address(field)?, self.u8(field)?);
                IpNet::new(address, length).map_err(|error| CodecError::Value {
                    field,
                    value: format!("{address}/{length}: {error}"),
                })
            })
            .collect()
    }
}
