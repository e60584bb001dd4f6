//! Random objects, functions and flows, and what objects say of a flow by their definitions: those of the tests of
//! crate `repoint-policy`.

#[path = "../../../../userspace/policy/tests/naive/counts.rs"]
pub mod counts;
#[path = "../../../../userspace/policy/tests/naive/draw.rs"]
pub mod draw;
#[path = "../../../../userspace/policy/tests/naive/evaluate.rs"]
pub mod evaluate;
#[path = "../../../../userspace/policy/tests/naive/objects.rs"]
pub mod objects;
#[path = "../../../../userspace/policy/tests/naive/rules.rs"]
pub mod rules;
#[path = "../../../../userspace/policy/tests/naive/settings.rs"]
pub mod settings;
#[path = "../../../../userspace/policy/tests/naive/world.rs"]
pub mod world;
