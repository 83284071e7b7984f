//! Makes checkpoints exist: the coordinator's epoch, and a worker's part in it.
//!
//! ```text
//!  coordinator                          worker                                   repo
//!  Epoch::start                                                                  Fence
//!  Epoch::begin ──────── Barrier ─────►                                          lease
//!                                       Store::freeze (microseconds)
//!                                       Worker::ship: flush, upload what lacks   parcels
//!               ◄─────── ClaimRef ─────                                          claim
//!  Epoch::complete: coverage, read back                                          Completion
//!               ──────── confirm ─────►                                          lease ends
//! ```
//!
//! What stands between them is plain data: a distributed runtime carries it as it likes. Nothing here is trusted by the
//! coordinator that it has not read back itself.
//!
//! A checkpoint exists when its completion stands in the chain, which is written last. Giving one up deletes nothing: what was
//! uploaded for it is used again while it is young, and collected when it is old.

mod epoch;
mod worker;

use serde::{Deserialize, Serialize};

pub use self::epoch::Epoch;
pub use self::worker::{ShipReport, Worker};
use crate::names::{CheckpointId, LeaseId};

/// What a coordinator tells its workers: take part in this checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Barrier {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// The checkpoint that it may be built upon: that one must still exist when this one is completed.
    pub base: Option<Base>,
    /// The lease under which it is made.
    pub lease: LeaseId,
}

/// The checkpoint that another one is built upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The slot of its completion.
    pub slot: u64,
    /// Which it is.
    pub checkpoint: CheckpointId,
}
