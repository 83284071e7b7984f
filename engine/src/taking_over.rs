//! Taking another job's place: what is done in that job, and when.
//!
//! ```text
//!   at the start:                   fence there ─► newest checkpoint ─► pin "taken-by-<job>" ─► workers restore
//!   after the first completion:     retirement there ─► unpin ─► collections there, with those of this job
//! ```
//!
//! Each step may be made again. Where a crash came between two, the next start finds how far it was: without a checkpoint of this job it
//! begins anew; with one, the pin tells that the other job is not let go yet. A coordinator that started in the other job since, and
//! completed a checkpoint there, is somebody who uses that job: it is left alone, and told.

use bedload_snapshot::{
    Chain, CheckpointId, CollectOptions, Collected, Deletes, Epoch, JobName, PinName, Repo, collect, pin, pins,
    retire_chain, unpin,
};

use crate::error::{Error, ErrorKind, Result, fix};
use crate::start::Start;

/// A job whose place another one takes.
#[derive(Clone, Debug)]
pub(crate) struct TakenOver {
    job: JobName,
    pin: PinName,
    reason: String,
}

impl TakenOver {
    fn new(job: &JobName, other: &JobName) -> Result<TakenOver> {
        if job == other {
            return Err(fix(format!("job {job} cannot take over itself: to go on in it, start with `Latest`")));
        }
        let pin = PinName::new(&format!("taken-by-{job}"))?;
        Ok(TakenOver { job: other.clone(), pin, reason: format!("job {job} takes its place") })
    }

    async fn is_pinned(&self, repo: &Repo) -> Result<bool> {
        Ok(pins(repo, &self.job).await?.iter().any(|(name, _)| *name == self.pin))
    }

    /// The taking job has a checkpoint of its own: retires the other one, and collects there where it is time for that.
    pub async fn let_go(&self, repo: &Repo, collection: Option<&CollectOptions>) -> Result<Option<Collected>> {
        let TakenOver { job, pin, reason } = self;
        if self.is_pinned(repo).await? {
            let chain = Chain::read(repo, job).await?;
            if let Some((_, newest)) = chain.state().newest()
                && newest.checkpoint.epoch == chain.state().epoch()
            {
                let message = format!(
                    "job {job} was to be let go, since {reason}, but it runs again: checkpoint {} was completed there; to end it \
                     nevertheless, stop it and `retire` it; to keep it, remove its pin {pin}",
                    newest.checkpoint
                );
                return Err(Error::new(ErrorKind::Fix, message));
            }
            retire_chain(repo, chain, reason).await?;
            unpin(repo, job, pin).await?;
        }
        let Some(collection) = collection else { return Ok(None) };
        // That most of a retired job is garbage is no surprise.
        let deletes = if collection.deletes == Deletes::UpToHalf { Deletes::Everything } else { collection.deletes };
        let options = CollectOptions { deletes, ..collection.clone() };
        collect(repo, job, &options).await.map(Some)
    }
}

/// Decides what `job`, whose newest checkpoint is `newest`, starts from when it takes the place of `other`, and prepares that.
pub(crate) async fn begin_taking_over(
    repo: &Repo,
    job: &JobName,
    other: &JobName,
    (wanted, newest): (Option<CheckpointId>, Option<CheckpointId>),
    key_groups: u32,
) -> Result<(Start, Option<TakenOver>)> {
    let taken = TakenOver::new(job, other)?;
    if let Some(newest) = newest {
        let chain = Chain::read(repo, other).await?;
        let is_retired = chain.state().live().is_empty() && chain.state().next_slot() > 1;
        let is_ours = is_retired || taken.is_pinned(repo).await?;
        return Ok((Start::At(newest), is_ours.then_some(taken)));
    }
    let chain = Chain::read(repo, other).await?;
    let missing = |what: &str| fix(format!("job {other} in {repo}: {what} for job {job} to take over"));
    if chain.state().live().is_empty() {
        return Err(missing("no checkpoint exists"));
    }
    if wanted.is_some_and(|wanted| chain.state().find(wanted).is_none()) {
        return Err(missing("that checkpoint does not exist (a pin alone is not enough)"));
    }
    // The fence stands: no other checkpoint comes to exist there any more.
    let epoch = Epoch::start(repo, other, key_groups, &taken.reason).await?;
    let newest = epoch.state().newest().map(|(_, newest)| newest.checkpoint);
    let checkpoint = wanted.or(newest).ok_or_else(|| missing("no checkpoint exists"))?;
    let pinned = pins(repo, other).await?.into_iter().find(|(name, _)| *name == taken.pin);
    match pinned {
        Some((_, found)) if found.checkpoint.completion.checkpoint == checkpoint => {}
        found => {
            if found.is_some() {
                // Of an earlier start, which completed nothing.
                unpin(repo, other, &taken.pin).await?;
            }
            pin(repo, other, &taken.pin, checkpoint, &taken.reason).await?;
        }
    }
    Ok((Start::From(other.clone(), Some(checkpoint)), Some(taken)))
}
