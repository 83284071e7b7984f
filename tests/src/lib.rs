//! What the tests, the soak command and the fuzz targets share: operations, an oracle, and a driver that compares.
//!
//! An operation list is plain numbers, so that proptest can shrink it, a seed can make it, and a fuzzer's bytes can be read as
//! one. The [`Driver`] applies it to a store and to the [`Oracle`], and compares what both say.

mod arguments;
mod keys;
mod random;
#[cfg(feature = "repos")]
mod state_ended;
#[cfg(feature = "repos")]
mod state_keys;
mod variants;

#[cfg(feature = "repos")]
mod member;
mod operation;
mod oracle;
#[cfg(feature = "repos")]
mod state_model;

mod driver;
#[cfg(feature = "repos")]
mod state_operations;

#[cfg(feature = "repos")]
pub mod scene;

#[cfg(all(shuttle, feature = "repos"))]
pub mod chains;
#[cfg(feature = "repos")]
pub mod conformance;
pub mod crash;
pub mod damage;
pub mod faults;
#[cfg(feature = "repos")]
pub mod jobs;
#[cfg(feature = "repos")]
pub mod kills;
#[cfg(feature = "repos")]
pub mod random_job;
#[cfg(feature = "repos")]
pub mod requests;
#[cfg(feature = "repos")]
pub mod rescales;
#[cfg(feature = "repos")]
pub mod running;
#[cfg(shuttle)]
pub mod schedules;
#[cfg(feature = "repos")]
pub mod shipped;
#[cfg(feature = "repos")]
mod small_job;
#[cfg(feature = "repos")]
pub mod states;

pub use arguments::Arguments;
pub use driver::{Driver, Failure, contents};
pub use keys::{GroupedKeys, TestKeys, TestRules};
#[cfg(feature = "repos")]
pub use member::{Member, State, open_stepped};
pub use operation::Operation;
pub use oracle::{Content, Oracle};
pub use random::Random;
#[cfg(feature = "repos")]
pub use small_job::{SmallJob, at_once};
pub use variants::{Variant, variant, variants};
