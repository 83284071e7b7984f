//! What the tests, the soak command and the fuzz targets share: operations, an oracle, and a driver that compares.
//!
//! An operation list is plain numbers, so that proptest can shrink it, a seed can make it, and a fuzzer's bytes can be read as
//! one. The [`Driver`] applies it to a store and to the [`Oracle`], and compares what both say.

mod arguments;
mod keys;
mod random;
mod state_ended;
mod state_keys;
mod variants;

mod member;
mod operation;
mod oracle;
mod state_model;

mod driver;
mod state_operations;

pub mod scene;

#[cfg(shuttle)]
pub mod chains;
pub mod conformance;
pub mod crash;
pub mod damage;
pub mod faults;
pub mod jobs;
pub mod kills;
pub mod random_job;
pub mod requests;
pub mod rescales;
pub mod running;
#[cfg(shuttle)]
pub mod schedules;
pub mod shipped;
mod small_job;
pub mod states;

pub use arguments::Arguments;
pub use driver::{Driver, Failure, contents};
pub use keys::{GroupedKeys, TestKeys, TestRules};
pub use member::{Member, State, open_stepped};
pub use operation::Operation;
pub use oracle::{Content, Oracle};
pub use random::Random;
pub use small_job::{SmallJob, at_once};
pub use variants::{Variant, variant, variants};
