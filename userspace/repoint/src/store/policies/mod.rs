//! Policies in the database of the node: the copy of the stored objects, and what functions are for them.
//!
//! ADD reads no other database. A copy is made whenever the stored objects change, and where a database is new.

mod read;
mod record;
mod write;

pub use record::{IdentityPolicies, PartyNames, PoliciesState};
pub(super) use record::{damaged, decode_json, encode_json, key_of};
