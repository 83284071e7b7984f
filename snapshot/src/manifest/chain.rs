//! The slots of a job's chain, and its boundaries.

use serde::{Deserialize, Serialize};

use super::{Digest, Manifest};
use crate::key_group::{KEY_GROUPS_MAX, KeyGroups, coverage_fault};
use crate::names::{Attempt, CheckpointId, JobName, LeaseId, NUMBER_MAX, WorkerName};

/// How many live completions a boundary may carry.
const LIVE_MAX: usize = 1 << 20;

/// A slot of a job's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The job.
    pub job: JobName,
    /// The number of the slot, from 1 on.
    pub number: u64,
    /// What happened.
    pub event: Event,
}

/// One thing that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A coordinator started: those before it complete nothing any more.
    Fence(Fence),
    /// A checkpoint exists.
    Completion(Completion),
    /// Checkpoints exist no longer.
    Expiry(Expiry),
    /// A lease is void: its holder is gone.
    Void(Void),
    /// The job is over: coordinators so far complete nothing any more, and no checkpoint exists.
    Retirement(Retirement),
}

/// A coordinator started. The number of its slot is its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// Who it is, for people.
    pub holder: String,
    /// When it started by its own clock, in milliseconds since 1970; for people.
    pub started_at_ms: u64,
}

/// A checkpoint exists: its claims were verified, and together they cover every key group once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// How many key groups the job has.
    pub key_groups: u32,
    /// The claims, one for each worker, in the order of their key groups.
    pub claims: Vec<ClaimRef>,
    /// The slot of the completion that it is built upon: that one existed when this one was appended.
    pub base: Option<u64>,
    /// The lease under which it was made.
    pub lease: LeaseId,
    /// When, by the coordinator's clock, in milliseconds since 1970; for people, and for retention by age.
    pub completed_at_ms: u64,
}

impl Completion {
    /// What is wrong with it, in words.
    fn fault(&self) -> Option<String> {
        if !(1..=KEY_GROUPS_MAX).contains(&self.key_groups) {
            return Some(format!("a job of {} key groups, expected 1 to {KEY_GROUPS_MAX}", self.key_groups));
        }
        coverage_fault(self.key_groups, self.claims.iter().map(|claim| claim.groups))
    }
}

/// A claim, as a completion names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRef {
    /// Whose it is.
    pub worker: WorkerName,
    /// Which of its attempts.
    pub attempt: Attempt,
    /// The key groups it covers.
    pub groups: KeyGroups,
    /// The length of the object.
    pub bytes: u64,
    /// BLAKE3 of the object.
    pub digest: Digest,
}

/// Checkpoints exist no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// The slots of their completions.
    pub completions: Vec<u64>,
    /// Why, for people.
    pub reason: String,
}

/// A lease is void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Void {
    /// Which lease.
    pub lease: LeaseId,
    /// Why, for people.
    pub reason: String,
}

/// The job is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    /// The epoch that it ends: who retires a job knows who ran it last.
    pub epoch: u64,
    /// Why, for people.
    pub reason: String,
}

impl Manifest for Slot {
    const KIND: &'static str = "slot";

    fn fault(&self) -> Option<String> {
        if let Some(fault) = number_fault("slot", self.number) {
            return Some(fault);
        }
        match &self.event {
            Event::Completion(completion) => completion.fault(),
            Event::Fence(_) | Event::Expiry(_) | Event::Void(_) | Event::Retirement(_) => None,
        }
    }
}

/// All that the slots before `start` say: where readers of the chain start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// The job.
    pub job: JobName,
    /// The number of the boundary, from 1 on.
    pub number: u64,
    /// The first slot behind it.
    pub start: u64,
    /// The epoch of the newest fence before it; 0 when there is none.
    pub epoch: u64,
    /// The checkpoints that exist, oldest first.
    pub live: Vec<LiveCompletion>,
    /// The void leases whose objects still exist.
    pub voided: Vec<LeaseId>,
}

/// A completion and its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveCompletion {
    /// The number of its slot.
    pub slot: u64,
    /// What stands there.
    pub completion: Completion,
}

impl Manifest for Boundary {
    const KIND: &'static str = "boundary";

    fn fault(&self) -> Option<String> {
        if let Some(fault) =
            number_fault("boundary", self.number).or_else(|| number_fault("a boundary before slot", self.start))
        {
            return Some(fault);
        }
        let slots = || self.live.iter().map(|live| live.slot);
        if self.live.len() > LIVE_MAX || !slots().is_sorted_by(|left, right| left < right) {
            return Some("live completions out of order".into());
        }
        if self.epoch >= self.start || slots().any(|slot| slot >= self.start || slot == 0) {
            return Some(format!("boundary before slot {} tells of slots behind it", self.start));
        }
        self.live.iter().find_map(|live| live.completion.fault())
    }
}

/// What is wrong with a number from 1 on, in words: all that follow it are counted to.
fn number_fault(what: &str, number: u64) -> Option<String> {
    (!(1..=NUMBER_MAX).contains(&number)).then(|| format!("{what} {number}, expected 1 to {NUMBER_MAX}"))
}
