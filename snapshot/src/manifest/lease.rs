//! Leases, pins, probes, records of deletions, and the marker of a repo.

use serde::{Deserialize, Serialize};

use super::{LiveCompletion, Manifest};
use crate::names::{CheckpointId, JobName, ParcelName, WorkerName};

/// Something is being written or read: what it needs is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The job.
    pub job: JobName,
    /// Who holds it, for people: worker, process, host.
    pub holder: String,
    /// The checkpoint that is being made under it. It ends with that checkpoint's epoch, and as long as it lives, everything
    /// that was written after it is kept.
    pub making: Option<CheckpointId>,
    /// The checkpoint that is read: kept whether it still exists or not.
    pub reading: Option<LiveCompletion>,
    /// Shipped runs of no completion that are used again.
    pub parcels: Vec<ParcelName>,
}

impl Manifest for Lease {
    const KIND: &'static str = "lease";
}

/// A checkpoint that somebody keeps, whether it expires or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The job.
    pub job: JobName,
    /// The checkpoint.
    pub checkpoint: LiveCompletion,
    /// Why, for people.
    pub reason: String,
}

impl Manifest for Pin {
    const KIND: &'static str = "pin";
}

/// What a collector is about to delete: a record for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletions {
    /// The job.
    pub job: JobName,
    /// The paths, below the root of the repo.
    pub paths: Vec<String>,
    /// Their bytes together.
    pub bytes: u64,
}

impl Manifest for Deletions {
    const KIND: &'static str = "deletions";
}

/// What a worker shows the coordinator, to prove that both reach one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The job.
    pub job: JobName,
    /// Who wrote it.
    pub worker: WorkerName,
}

impl Manifest for Probe {
    const KIND: &'static str = "probe";
}

/// Says that a place is a repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// When it was made by the maker's clock, in milliseconds since 1970; for people.
    pub created_at_ms: u64,
}

impl Manifest for Marker {
    const KIND: &'static str = "repo";
}
