//! What an engine starts from, how it is restored, and what it was opened from.

use bedload_snapshot::{CheckpointId, JobName, KeyGroups};
use serde::{Deserialize, Serialize};

/// What an engine starts from.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Start {
    /// The newest checkpoint of the job; an error when there is none (default).
    #[default]
    Latest,
    /// The newest checkpoint, or nothing: a job whose name is misspelt starts empty too.
    LatestOrEmpty,
    /// This checkpoint: it exists, or a pin keeps it.
    At(CheckpointId),
    /// Nothing, whatever checkpoints there are.
    Empty,
    /// A checkpoint of another job, or its newest one. That job is left as it is: the first checkpoint of this one uploads everything. To
    /// share the upload, [copy](bedload_snapshot::copy) the checkpoint to this job first.
    From(JobName, Option<CheckpointId>),
    /// The same, and this job takes the other one's place: that one completes nothing any more from the start on, the checkpoint is pinned
    /// there until this job has completed one of its own, and then the other job is [retired](bedload_snapshot::retire): its objects are
    /// collected with those of this job. A job that has checkpoints of its own starts from the newest of them, so this may stay in a
    /// deployment's options. For a [coordinator](crate::Coordinator); to go on in a job under its own name is [`Start::Latest`].
    TakeOver(JobName, Option<CheckpointId>),
}

/// Where the state lies while it is worked on. Checkpoints are the same: moving from one to the other is a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residence {
    /// In a store on the local disk (default): larger than memory, and checkpoints upload what changed.
    #[default]
    Disk,
    /// In memory as a whole: for small states. Each checkpoint uploads all of it.
    Heap,
}

/// When an engine that starts from a checkpoint is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restoring {
    /// When all of it is here and was verified (default).
    #[default]
    Whole,
    /// When its manifests are here: what is read is fetched when it is first read, the rest in the background. Reads wait for the repo,
    /// and fail when it does.
    Lazily,
}

/// What an engine was opened from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Whether it is of the engine's own job, so that the next one may be built upon it.
    pub is_own: bool,
    /// Bytes that were fetched before the engine was open.
    pub fetched_bytes: u64,
    /// Runs that it consists of, and how many of them were on this machine.
    pub runs: usize,
    /// Runs that were on this machine.
    pub local_runs: usize,
}

/// Where the sources of a former worker were: what its checkpoints were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The key groups of that worker.
    pub groups: KeyGroups,
    /// The bytes that it gave.
    pub bytes: Vec<u8>,
}
