//! Ships frozen states of [`bedload_lsm`] stores to an object store, incrementally, and restores ranges of key groups.

mod error;
mod seeded;

mod key_group;
mod names;

mod manifest;

mod parcel;
mod repo;

mod chain;
mod local;

mod lease;
mod restore_plan;
mod retention;
mod ship_plan;

mod fetch;
mod ship;

mod checkpoint;
mod collect;
mod restore;

#[cfg(feature = "testing")]
pub mod testing;

pub use chain::{Chain, ChainState};
pub use checkpoint::{Barrier, Base, Epoch, ShipReport, Worker};
pub use collect::{CollectOptions, Collected, Deletes, collect};
pub use error::{Error, ErrorKind, Place, Result};
pub use key_group::{KEY_GROUPS_MAX, KeyGroups};
pub use local::LocalPool;
pub use manifest::{
    Bound, Boundary, Claim, ClaimRef, ClaimedRun, ClaimedSlice, ClaimedStack, Completion, Deletions, Digest, Event,
    Expiry, Fence, Hex, Lease, LiveCompletion, Marker, Pin, Slot, Timings, Void,
};
pub use names::{Attempt, CheckpointId, Folder, JobName, LeaseId, ObjectName, ParcelName, PinName, Upload, WorkerName};
pub use repo::{Ambient, Patience, Repo, RepoOptions, SystemAmbient};
pub use restore::{RestoreOptions, Restored, Start, restore};
pub use restore_plan::{PlannedStack, RestorePlan};
pub use retention::Retention;
pub use ship::{ShipOptions, ShippedState};
pub use ship_plan::ShipPolicy;
