//! Pins: checkpoints that somebody keeps, whether they expire or not.
//!
//! A pin holds the whole completion, so that it is a root for collections after the checkpoint has expired. It is written first, and
//! then its writer looks whether the checkpoint still exists; a collector reads the chain, then pins, then leases, then the chain
//! again. So either the collector sees the pin, or the writer sees what the collector acted upon.

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{LiveCompletion, Pin};
use crate::names::{CheckpointId, Folder, JobName, ObjectName, PinName};
use crate::repo::{Published, Repo};

/// Keeps `checkpoint` of `job` until it is [unpinned](unpin). `reason` is for people.
///
/// # Errors
/// Those of the requests; `Missing` when the checkpoint does not exist, `Fix` when there is a pin of that name for another one.
pub async fn pin(repo: &Repo, job: &JobName, name: &PinName, checkpoint: CheckpointId, reason: &str) -> Result<()> {
    let mut chain = Chain::read(repo, job).await?;
    let slot = find(&chain, checkpoint)?;
    let completion = chain.state().live()[&slot].clone();
    let (job, reason) = (job.clone(), reason.to_owned());
    let pin = Pin { job: job.clone(), checkpoint: LiveCompletion { slot, completion }, reason };
    let object = ObjectName::Pin(job, name.clone());
    if repo.publish(&object, &pin).await?.0 != Published::Ours {
        let message = format!("pin {name} exists already; take another name, or unpin it first");
        return Err(Error::at(ErrorKind::Fix, repo.place(&object), None, message));
    }
    let checked = match chain.catch_up().await {
        Ok(()) => find(&chain, checkpoint).map(|_| ()),
        Err(error) => Err(error),
    };
    if checked.is_err() {
        // It must not look as if it kept something.
        repo.delete(&object).await?;
    }
    checked
}

fn find(chain: &Chain, checkpoint: CheckpointId) -> Result<u64> {
    chain.state().find(checkpoint).ok_or_else(|| {
        let message =
            format!("job {}: checkpoint {checkpoint} does not exist, so that it cannot be pinned", chain.job());
        Error::new(ErrorKind::Missing, message)
    })
}

/// Removes a pin. Its checkpoint exists until it expires; one that has expired already is garbage from now on.
///
/// # Errors
/// Those of the requests; `Missing` when there is no such pin.
pub async fn unpin(repo: &Repo, job: &JobName, name: &PinName) -> Result<()> {
    let object = ObjectName::Pin(job.clone(), name.clone());
    if repo.head(&object).await?.is_none() {
        return Err(Error::at(ErrorKind::Missing, repo.place(&object), None, "there is no such pin"));
    }
    repo.delete(&object).await
}

/// The pins of `job`, in the order of their names.
///
/// # Errors
/// Those of the requests; `Damaged` when one cannot be read.
pub async fn pins(repo: &Repo, job: &JobName) -> Result<Vec<(PinName, Pin)>> {
    let found = repo.read_folder::<Pin>(&Folder::Pins.path(job)).await?;
    let named = found.into_iter().filter_map(|(object, pin, _)| match object {
        ObjectName::Pin(_, name) => Some((name, pin)),
        _ => None,
    });
    let mut named: Vec<(PinName, Pin)> = named.collect();
    named.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(named)
}
