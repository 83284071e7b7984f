//! Ships frozen states of [`bedload_lsm`] stores to an object store, incrementally, and restores ranges of key groups.
//!
//! A *job* has workers, each with a store that holds some of the *key groups*: every key starts with its group, two bytes
//! big-endian. One coordinator runs the checkpoints: it starts an [`Epoch`], which fences older coordinators off, and sends each
//! [`Worker`] a [`Barrier`]. A worker freezes its store, which takes microseconds, uploads what the repo lacks while the store goes on,
//! and answers with a claim. A checkpoint exists when the coordinator has completed it with all claims. How barriers and claims
//! travel is the caller's business: they are plain data.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use bedload_lsm::{Store, fs::DiskFs};
//! use bedload_snapshot::{Epoch, JobName, KeyGroups, LocalPool, Repo, RestoreOptions, Start, Worker, WorkerName, restore};
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let directory = directory.path();
//! let repo = Repo::open(&format!("file://{}/repo", directory.display())).await?; // or s3://, az://, gs://
//! let job = JobName::new("late-board")?;
//! let (fs, groups) = (Arc::new(DiskFs), KeyGroups::all(128));
//!
//! // A worker, and its store.
//! let mut store = Store::options().open(directory.join("work"))?;
//! let worker = Worker::new(&repo, &job, &WorkerName::new("w-0")?, groups, fs.clone());
//! store.put(b"\x00\x07ely", b"on time")?;
//!
//! // A checkpoint.
//! let mut epoch = Epoch::start(&repo, &job, 128, "coordinator on host a").await?;
//! let barrier = epoch.begin().await?;
//! let frozen = store.freeze()?; // all that the writer waits for
//! store.put(b"\x00\x07ely", b"late")?;
//! let (claim, report) = worker.ship(frozen, &barrier, 0).await?;
//! epoch.complete(&barrier, vec![claim]).await?; // from here on it exists
//! if let Some(seal) = worker.confirmed(barrier.checkpoint).await {
//!     store.release(seal);
//! }
//! println!("{} bytes uploaded", report.uploaded_parcel_bytes);
//!
//! // Another machine takes half of the key groups.
//! let mut other = Store::options().open(directory.join("other"))?;
//! let pool = LocalPool::open(fs, directory.join("other-local"))?;
//! let half = KeyGroups::of_worker(128, 2, 0);
//! let options = RestoreOptions { start: Start::Latest, groups: half, holder: "w-1 on host b".into(), runs_at_once: 4 };
//! let restored = restore(&repo, &job, &options, &pool).await?.expect("there is a checkpoint");
//! restored.adopt(&mut other)?;
//! assert_eq!(other.get(b"\x00\x07ely")?.as_deref(), Some(&b"on time"[..]));
//! # Ok::<(), bedload_snapshot::Error>(()) }).unwrap();
//! ```
//!
//! # What can go wrong, and does not matter
//!
//! | | |
//! |---|---|
//! | a worker or the coordinator dies | the checkpoint in the making does not come to exist; the last one does |
//! | two coordinators run | the older one is refused by the chain, also when it believes that it is alone |
//! | a request fails, or its answer is lost | it is made again, and what it may have done is looked at |
//! | bytes come back wrong or short | they are read once more, then `Damaged` is told with the object's address |
//! | a checkpoint is given up | nothing is deleted; its uploads are used again while they are young |
//! | a worker is killed amid an upload | in a directory its files are collected; a bucket needs a rule that removes unfinished uploads, of a day at least |
//! | a collector runs meanwhile | it deletes what nothing can reach, and nothing that is being written or read |
//!
//! The object store must refuse to create what exists (tried out at the opening) and list what was written.
//!
//! # Logs
//!
//! Spans and events of the crate `tracing`: shipments, restores, collections and what is written to the chain at level `INFO`, each run
//! at `DEBUG`, requests that failed and are made again at `WARN`. No text holds credentials.
//!
//! # Errors
//!
//! Those of [`bedload_lsm`]: one [`Error`] whose [`ErrorKind`] names the caller's duty, with the address of the object. No text
//! holds credentials.

mod error;
mod seeded;

mod key_group;
mod names;

mod manifest;

mod parcel;
mod repo;
mod spread;

mod chain;
mod local;
mod sharing;

mod pins;

mod chosen;
mod diff;
mod lease;
mod pacing;
mod partial;
mod restore_plan;
mod retention;
mod ship_plan;

mod expire;
mod fetch;
mod rescale_plan;
mod ship;

mod gather;
mod lazy;
mod on_disk;

mod checkpoint;
mod collect;
mod erase;
mod inspect;
mod restore;
mod retire;
mod standby;
mod verify;
mod why;

mod copy;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use chain::{Chain, ChainState};
pub use checkpoint::{Barrier, Base, Epoch, ShipReport, Worker};
pub use chosen::Start;
pub use collect::{CollectOptions, Collected, Deletes, collect, plan_collection};
pub use copy::{Copied, CopyInto, CopyOptions, copy};
pub use diff::{Difference, GroupsDifference};
pub use erase::{Erased, erase};
pub use error::{Error, ErrorKind, Place, Result};
pub use expire::{expire, expire_these, plan_expiry};
pub use fetch::CopyProgress;
pub use inspect::{FoundLease, PlannedRestore, claims, diff, jobs, leases, plan_rescale, plan_restore};
pub use key_group::{KEY_GROUPS_MAX, KeyGroups};
pub use lazy::{Fetcher, Progress};
pub use local::LocalPool;
pub use manifest::{
    Bound, Boundary, Claim, ClaimRef, ClaimedRun, ClaimedSlice, ClaimedStack, Completion, Deletions, Digest, Event,
    Expiry, Fence, Hex, Lease, LiveCompletion, LocalCopy, LocalRun, Marker, Pin, Probe, Retirement, Slot, Timings,
    Void,
};
pub use names::{
    Attempt, CheckpointId, Folder, JobName, LeaseId, ObjectName, ParcelName, PinName, ProbeId, RunName, Upload,
    WorkerName,
};
pub use on_disk::{InspectedCopy, LocalInspection, PartialRun, inspect_local};
pub use pacing::{CheckpointPolicy, Pacing, Verdict};
pub use pins::{pin, pins, unpin};
pub use repo::{Ambient, Patience, Repo, RepoOptions, SystemAmbient, Trial, TrialStep, TriedStep, shown_address};
pub use rescale_plan::{Cuts, RescalePlan, WorkerPlan};
pub use restore::{RestoreOptions, Restored, restore, restore_lazily};
pub use restore_plan::{PlannedStack, RestorePlan};
pub use retention::Retention;
pub use retire::{Retired, retire, retire_chain};
pub use sharing::{WorkerProbe, forget_probe, has_probe, read_probes, write_probe};
pub use ship::{ShipOptions, ShippedState};
pub use ship_plan::ShipPolicy;
pub use standby::{Followed, Standby};
pub use verify::{Cost, Fault, Verified, VerifyLevel, VerifyProgress, verify, verify_job};
pub use why::{Reacher, StoredObject, Why, objects, why};
