//! What a worker's machine keeps of a checkpoint: the local stacks, which are shorter than the shipped ones.

use serde::{Deserialize, Serialize};

use super::{ClaimedStack, Digest, Manifest};
use crate::key_group::KeyGroups;
use crate::names::{CheckpointId, JobName, RunName};

/// A checkpoint as it lies on the machine of the worker that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalCopy {
    /// The job.
    pub job: JobName,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// BLAKE3 of the worker's claim: the same claim, the same content.
    pub claim: Digest,
    /// The key groups.
    pub groups: KeyGroups,
    /// The start of the machine at which it was written: files were not synced, and are whole for as long as that lasts.
    pub boot: String,
    /// The runs.
    pub runs: Vec<LocalRun>,
    /// Stacks of disjoint key ranges, in key order; slices name places in `runs`.
    pub stacks: Vec<ClaimedStack>,
}

/// A run that lies on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRun {
    /// Its name.
    pub run: RunName,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of it.
    pub digest: Digest,
}

impl Manifest for LocalCopy {
    const KIND: &'static str = "local-copy";

    fn fault(&self) -> Option<String> {
        super::claim::stacks_fault(self.groups, &self.stacks, self.runs.len())
    }
}
