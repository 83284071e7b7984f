//! Says of one object why it is there, and whether it may be deleted: the question people ask of a bucket full of files.

use std::collections::BTreeMap;
use std::fmt;

use object_store::path::Path;

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{find_claim, read_claim};
use crate::manifest::{Claim, ClaimRef, Completion, Lease};
use crate::names::{CheckpointId, Folder, JobName, LeaseId, ObjectName, PinName};
use crate::pins::pins;
use crate::repo::{Listed, ROUNDING_MS, Repo};

/// Why an object is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is named like nothing of a repo.
    Unknown,
    /// A part of what holds the job together: marker, chain, boundaries, pins, records.
    Kept,
    /// These reach it. Never delete it.
    Reached(Vec<Reacher>),
    /// Nothing reaches it yet, and a checkpoint is being made that began before it was written, and may come to need it.
    Making,
    /// Nothing reaches it: a checkpoint that was given up, or has expired, or what an opening tried the store out with. A collection
    /// deletes it when it is old enough.
    Garbage,
}

/// What reaches an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reacher {
    /// A checkpoint that exists.
    Checkpoint(CheckpointId),
    /// A checkpoint that somebody keeps.
    Pin(PinName, CheckpointId),
    /// A checkpoint that is being read, by whom.
    Reading(LeaseId, CheckpointId, String),
    /// A checkpoint that is being made, by whom.
    Making(LeaseId, CheckpointId, String),
}

/// An object of a job, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its path below the root of the repo.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written by the store's clock, in milliseconds since 1970.
    pub modified_ms: u64,
    /// Why it is there.
    pub why: Why,
}

/// Says why the object at `path`, below the root of the repo, is there. One that is missing is told as one that is there where something
/// reaches it.
///
/// Reads the chain, leases and pins of its job, and claims.
///
/// # Errors
/// Those of the requests, and whatever a manifest that cannot be read gives; `Missing` when there is no such object and nothing reaches it,
/// whatever it is named.
pub async fn why(repo: &Repo, path: &str) -> Result<Why> {
    let missing = |what| Error::at(ErrorKind::Missing, format!("{repo}/{path}"), None, what);
    let Some(name) = ObjectName::parse(path) else {
        // Of what is not there nothing is said: somebody may have meant something else, that is needed.
        let is_there = match Path::parse(path) {
            Ok(below) if below.parts_count() > 0 => repo.has(&below).await?,
            _ => false,
        };
        return if is_there { Ok(Why::Unknown) } else { Err(missing("there is no such object")) };
    };
    let meta = repo.head(&name).await?;
    let why = match job_of(&name) {
        None => without_reading(&name),
        Some(job) => Reach::read(repo, job).await?.why(&name, meta.as_ref().map_or(0, |meta| meta.modified_ms))?,
    };
    match meta {
        None if !matches!(why, Why::Reached(_)) => Err(missing("there is no such object, and nothing needs it")),
        _ => Ok(why),
    }
}

/// Lists the objects of a job, in the order of their paths, each with why it is there.
///
/// # Errors
/// As [`why`].
pub async fn objects(repo: &Repo, job: &JobName) -> Result<Vec<StoredObject>> {
    // Listed before anything is read: what is written meanwhile is not called garbage.
    let listed = repo.list(&Folder::Job.path(job), None).await?;
    let reach = Reach::read(repo, job).await?;
    let tell = |Listed { path, meta }| {
        let why = match ObjectName::parse(&path) {
            None => Why::Unknown,
            Some(name) if job_of(&name).is_none() => without_reading(&name),
            Some(name) => reach.why(&name, meta.modified_ms)?,
        };
        Ok(StoredObject { path, bytes: meta.bytes, modified_ms: meta.modified_ms, why })
    };
    listed.into_iter().map(tell).collect()
}

/// The job of an object that manifests have to be read for.
fn job_of(name: &ObjectName) -> Option<&JobName> {
    match name {
        ObjectName::Claim(job, ..)
        | ObjectName::Parcel(job, _)
        | ObjectName::Lease(job, _)
        | ObjectName::WorkerProbe(job, _) => Some(job),
        _ => None,
    }
}

fn without_reading(name: &ObjectName) -> Why {
    if matches!(name, ObjectName::Probe(_)) { Why::Garbage } else { Why::Kept }
}

/// What reaches the objects of a job.
#[derive(Default)]
struct Reach {
    reachers: BTreeMap<ObjectName, Vec<Reacher>>,
    /// When the oldest checkpoint in the making began: what was written since may come to be needed.
    oldest_making_ms: Option<u64>,
    /// Why not all of it is known: a claim of a checkpoint that exists, or that a pin keeps, could not be read.
    damage: Option<Error>,
}

impl Reach {
    async fn read(repo: &Repo, job: &JobName) -> Result<Reach> {
        let mut chain = Chain::read(repo, job).await?;
        let leases = repo.read_folder::<Lease>(&Folder::Leases.path(job)).await?;
        let pins = pins(repo, job).await?;
        // A checkpoint whose lease had ended before they were listed was complete before that: the chain has it now.
        chain.catch_up().await?;
        let mut reach = Reach::default();
        for completion in chain.state().live().values() {
            reach.add_kept(repo, job, completion, &Reacher::Checkpoint(completion.checkpoint)).await?;
        }
        for (listed, lease, written_ms) in leases {
            let ObjectName::Lease(_, id) = listed else { continue };
            if chain.state().is_void(id) || lease.making.is_some_and(|making| making.epoch < chain.state().epoch()) {
                continue;
            }
            if let Some(making) = lease.making {
                let began_ms = written_ms.saturating_sub(ROUNDING_MS);
                reach.oldest_making_ms = Some(reach.oldest_making_ms.map_or(began_ms, |oldest| oldest.min(began_ms)));
                let reacher = Reacher::Making(id, making, lease.holder.clone());
                for parcel in &lease.parcels {
                    reach.add(ObjectName::Parcel(job.clone(), *parcel), &reacher);
                }
                reach.add(ObjectName::Lease(job.clone(), id), &reacher);
            }
            if let Some(reading) = lease.reading {
                let completion = reading.completion;
                let reacher = Reacher::Reading(id, completion.checkpoint, lease.holder);
                if reach.add_leased(repo, job, &completion, &reacher).await? {
                    reach.add(ObjectName::Lease(job.clone(), id), &reacher);
                }
            }
        }
        for (name, pin) in pins {
            let completion = &pin.checkpoint.completion;
            reach.add_kept(repo, job, completion, &Reacher::Pin(name, completion.checkpoint)).await?;
        }
        Ok(reach)
    }

    fn add(&mut self, name: ObjectName, reacher: &Reacher) {
        let reachers = self.reachers.entry(name).or_default();
        // Several claims of a checkpoint may name a run.
        if reachers.last() != Some(reacher) {
            reachers.push(reacher.clone());
        }
    }

    fn add_claim(&mut self, job: &JobName, claim: &Claim, reacher: &Reacher) {
        for run in &claim.runs {
            self.add(ObjectName::Parcel(job.clone(), run.parcel), reacher);
        }
    }

    /// Adds what a checkpoint reaches whose claims must be there.
    async fn add_kept(&mut self, repo: &Repo, job: &JobName, completion: &Completion, reacher: &Reacher) -> Result<()> {
        for wanted in &completion.claims {
            self.add(claim_name(job, completion, wanted), reacher);
            match read_claim(repo, job, completion.checkpoint, wanted).await {
                Ok(claim) => self.add_claim(job, &claim, reacher),
                Err(error) if error.kind() == ErrorKind::Damaged => self.damage = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds what a checkpoint reaches that a lease names; tells whether anything of it is there. A claim that is not was collected before
    /// the lease was written: see `collect`.
    async fn add_leased(
        &mut self,
        repo: &Repo,
        job: &JobName,
        completion: &Completion,
        reacher: &Reacher,
    ) -> Result<bool> {
        let mut is_there = false;
        for wanted in &completion.claims {
            self.add(claim_name(job, completion, wanted), reacher);
            if let Some(claim) = find_claim(repo, job, completion.checkpoint, wanted).await? {
                self.add_claim(job, &claim, reacher);
                is_there = true;
            }
        }
        Ok(is_there)
    }

    /// # Errors
    /// `Damaged` when a claim could not be read that may name it.
    fn why(&self, name: &ObjectName, modified_ms: u64) -> Result<Why> {
        match (self.reachers.get(name), &self.damage) {
            (Some(reachers), _) => Ok(Why::Reached(reachers.clone())),
            (None, Some(damage)) if matches!(name, ObjectName::Parcel(..)) => Err(damage.clone()),
            (None, _) if self.oldest_making_ms.is_some_and(|oldest| modified_ms >= oldest) => Ok(Why::Making),
            (None, _) => Ok(Why::Garbage),
        }
    }
}

fn claim_name(job: &JobName, completion: &Completion, wanted: &ClaimRef) -> ObjectName {
    ObjectName::Claim(job.clone(), completion.checkpoint, wanted.worker.clone(), wanted.attempt)
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Unknown => {
                out.write_str("named like nothing of a repo: it was not written by bedload, and is never touched")
            }
            Why::Kept => out.write_str("holds the job together: keep it"),
            Why::Making => {
                out.write_str("keep it: a checkpoint is being made that began before it was written, and may need it")
            }
            Why::Garbage => out.write_str("nothing reaches it: a collection deletes it when it is old enough"),
            Why::Reached(reachers) => {
                out.write_str("keep it: it is part of ")?;
                for (number, reacher) in reachers.iter().enumerate() {
                    if number > 0 {
                        out.write_str(", ")?;
                    }
                    write!(out, "{reacher}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Reacher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reacher::Checkpoint(checkpoint) => write!(out, "checkpoint {checkpoint}"),
            Reacher::Pin(pin, checkpoint) => write!(out, "checkpoint {checkpoint}, which pin {pin} keeps"),
            Reacher::Reading(lease, checkpoint, holder) => {
                write!(out, "checkpoint {checkpoint}, which {holder} reads under lease {lease}")
            }
            Reacher::Making(lease, checkpoint, holder) => {
                write!(out, "checkpoint {checkpoint}, which {holder} makes under lease {lease}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a rescale, two claims of a checkpoint name one run, and it was told twice.
    #[test]
    fn a_checkpoint_is_told_once() {
        let (mut reach, reacher) = (Reach::default(), Reacher::Checkpoint(CheckpointId { epoch: 3, number: 18 }));
        for _ in 0..2 {
            reach.add(ObjectName::Marker, &reacher);
        }
        assert_eq!(reach.reachers[&ObjectName::Marker], [reacher]);
    }
}
