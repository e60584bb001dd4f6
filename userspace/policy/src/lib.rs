//! Network policies: the objects that people write, compiled to the rules of the eBPF maps.
//!
//! Nothing here touches the node: [`read`] makes objects of text, and [`compile`] makes rules of objects.
#![forbid(unsafe_code)]

pub mod cases;
pub mod compile;
pub mod describe;
pub mod evaluate;
pub mod object;
pub mod party;
pub mod read;
pub mod selector;
pub mod sets;
pub mod traffic;
pub mod write;

#[doc(inline)]
pub use compile::{CompileError, Compiled, Direction, Numbered, PolicySet, Rules, object_of_rule};
#[doc(inline)]
pub use evaluate::{Decision, End, Traffic, Verdict, judge};
#[doc(inline)]
pub use object::{Labels, Object, ObjectId, Protocol};
#[doc(inline)]
pub use party::{Declared, NamedPort, Party};
#[doc(inline)]
pub use sets::{Groups, Set, Words, longest};
#[doc(inline)]
pub use traffic::NamedTraffic;
