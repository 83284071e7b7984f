//! Says of one object why it is there, and whether it may be deleted: the question people ask of a bucket full of files.

use std::fmt;

use crate::chain::Chain;
use crate::error::Result;
use crate::fetch::{find_claim, read_claim};
use crate::manifest::{Completion, Lease};
use crate::names::{CheckpointId, Folder, JobName, LeaseId, ObjectName, PinName};
use crate::pins::pins;
use crate::repo::Repo;

/// Why an object is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is named like nothing of a repo.
    Unknown,
    /// A part of what holds the job together: marker, chain, boundaries, pins, records.
    Kept,
    /// These reach it. Never delete it.
    Reached(Vec<Reacher>),
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

/// Says why the object at `path`, below the root of the repo, is there.
///
/// Reads the chain, leases and pins of its job, and claims.
///
/// # Errors
/// Those of the requests, and whatever a manifest that cannot be read gives.
pub async fn why(repo: &Repo, path: &str) -> Result<Why> {
    let Some(name) = ObjectName::parse(path) else { return Ok(Why::Unknown) };
    let job = match &name {
        ObjectName::Claim(job, ..)
        | ObjectName::Parcel(job, _)
        | ObjectName::Lease(job, _)
        | ObjectName::WorkerProbe(job, _) => job.clone(),
        ObjectName::Probe(_) => return Ok(Why::Garbage),
        _ => return Ok(Why::Kept),
    };
    let chain = Chain::read(repo, &job).await?;
    let mut reachers = Vec::new();
    for completion in chain.state().live().values() {
        if reaches(repo, &job, completion, &name, Missing::IsTold).await? {
            reachers.push(Reacher::Checkpoint(completion.checkpoint));
        }
    }
    for (listed, lease, _) in repo.read_folder::<Lease>(&Folder::Leases.path(&job)).await? {
        let ObjectName::Lease(_, id) = listed else { continue };
        if chain.state().is_void(id) || lease.making.is_some_and(|making| making.epoch < chain.state().epoch()) {
            continue;
        }
        if let Some(making) = lease.making {
            let names_it = matches!(&name, ObjectName::Parcel(_, parcel) if lease.parcels.contains(parcel));
            if names_it || name == ObjectName::Lease(job.clone(), id) {
                reachers.push(Reacher::Making(id, making, lease.holder.clone()));
            }
        }
        if let Some(reading) = &lease.reading {
            let is_itself =
                name == ObjectName::Lease(job.clone(), id) && !is_gone(repo, &job, &reading.completion).await?;
            if is_itself || reaches(repo, &job, &reading.completion, &name, Missing::IsNone).await? {
                reachers.push(Reacher::Reading(id, reading.completion.checkpoint, lease.holder));
            }
        }
    }
    for (pin_name, pin) in pins(repo, &job).await? {
        let completion = &pin.checkpoint.completion;
        if reaches(repo, &job, completion, &name, Missing::IsTold).await? {
            reachers.push(Reacher::Pin(pin_name, completion.checkpoint));
        }
    }
    Ok(if reachers.is_empty() { Why::Garbage } else { Why::Reached(reachers) })
}

/// What a claim that is not there means.
#[derive(Clone, Copy)]
enum Missing {
    /// The checkpoint is damaged.
    IsTold,
    /// It was collected before the lease on the checkpoint was written: see `collect`.
    IsNone,
}

/// Whether no claim of a checkpoint is there.
async fn is_gone(repo: &Repo, job: &JobName, completion: &Completion) -> Result<bool> {
    for claim in &completion.claims {
        let name = ObjectName::Claim(job.clone(), completion.checkpoint, claim.worker.clone(), claim.attempt);
        if repo.head(&name).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn reaches(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    name: &ObjectName,
    missing: Missing,
) -> Result<bool> {
    for wanted in &completion.claims {
        let claim_name = ObjectName::Claim(job.clone(), completion.checkpoint, wanted.worker.clone(), wanted.attempt);
        match name {
            ObjectName::Claim(..) if *name == claim_name => return Ok(true),
            ObjectName::Parcel(_, parcel) => {
                let claim = match missing {
                    Missing::IsTold => Some(read_claim(repo, job, completion.checkpoint, wanted).await?),
                    Missing::IsNone => find_claim(repo, job, completion.checkpoint, wanted).await?,
                };
                if claim.is_some_and(|claim| claim.runs.iter().any(|run| run.parcel == *parcel)) {
                    return Ok(true);
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Unknown => {
                out.write_str("named like nothing of a repo: it was not written by bedload, and is never touched")
            }
            Why::Kept => out.write_str("holds the job together: keep it"),
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
