//! What happened to a job, in order: the numbered slots that decide which coordinator may complete, and what exists.
//!
//! ```text
//!   boundary 2: all that slots 1 to 1000 say        1001      1002       1003        1004      1005
//!                                                 ┌───────┬────────────┬────────┬────────────┬─ ─ ─ ─
//!                                                 │ Fence │ Completion │ Expiry │ Completion │ absent
//!                                                 └───────┴────────────┴────────┴────────────┴─ ─ ─ ─
//! ```
//!
//! A slot is created only by who has read all slots before it, and only if it is absent; so the chain is one history, whoever
//! writes it. A coordinator starts with a fence; its slot is the coordinator's *epoch*. A completion counts only under the newest
//! fence before it, and its writer knows which that is: a coordinator that was replaced finds the fence in the slot that it
//! wanted, and is fenced for good. A *retirement* ends the epoch that it names as a fence does, and with it all checkpoints, also the
//! newest, which never expires.
//!
//! A *boundary* tells what all slots before it say, so that readers need not start at the first one. The slots before it stay
//! for a while, and are deleted then. Two things follow. A writer that stood still meanwhile creates a slot that was there
//! before: so whoever creates one then looks whether a boundary lies behind it, and starts anew from there if so. A reader that
//! stood still finds no slot where there was one, and takes it for the end of the chain; or it finds one that was created
//! again: so whoever reads slots to an end then looks whether a boundary lies behind the first of them, and if so starts
//! from there.
//!
//! Invariants:
//! * Every boundary tells what the slots before it say: it is made from a reading that passed the look for later boundaries.
//! * A slot's event is applied by the same function wherever it is read; what must not count (a completion under an old epoch, an
//!   expiry of the newest completion) does not count for anybody.
//! * Checkpoints are completed in the order in which they were begun: the newest slot is the newest state.
//! * What a completion is built upon exists at its slot: whoever deletes what expired before some slot has read that slot.
//! * Who completes has read every slot since its own fence, and so every void of a lease that it took since; or it has started
//!   from a boundary, which tells voids of leases that were there, and has seen that its lease is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::error::{Error, ErrorKind, Result, damaged};
use crate::manifest::{
    Boundary, Completion, Event, Expiry, Fence, LiveCompletion, MANIFEST_BYTES_MAX, Retirement, Slot, Void, read, write,
};
use crate::names::{CheckpointId, Folder, JobName, LeaseId, ObjectName};
use crate::repo::{Published, Repo};
use crate::seeded::{Bug, is_seeded};

/// How many slots are read at once.
const READS_AT_ONCE: usize = 16;

/// How many slots lie between two boundaries.
const BOUNDARY_SLOTS: u64 = 1_000;

/// After how long the next boundary is due however few slots there are.
const BOUNDARY_AGE_MS: u64 = 7 * 24 * 3600 * 1000;

/// How often boundaries are listed until one of those shown is there, and can be started from.
const LISTINGS_MAX: usize = 16;

/// What a chain says up to some slot.
///
/// Pure: the same events give the same state, wherever they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    next: u64,
    epoch: u64,
    live: BTreeMap<u64, Completion>,
    voided: BTreeSet<LeaseId>,
}

impl ChainState {
    fn empty() -> ChainState {
        ChainState { next: 1, epoch: 0, live: BTreeMap::new(), voided: BTreeSet::new() }
    }

    fn at(boundary: Boundary) -> ChainState {
        ChainState {
            next: boundary.start,
            epoch: boundary.epoch,
            live: boundary.live.into_iter().map(|live| (live.slot, live.completion)).collect(),
            voided: boundary.voided.into_iter().collect(),
        }
    }

    /// The number of the first slot that was absent.
    pub fn next_slot(&self) -> u64 {
        self.next
    }

    /// The slot of the newest fence; 0 when there is none.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The completions of the checkpoints that exist, by slot, oldest first.
    pub fn live(&self) -> &BTreeMap<u64, Completion> {
        &self.live
    }

    /// The newest checkpoint: the slot of its completion, and the completion.
    pub fn newest(&self) -> Option<(u64, &Completion)> {
        self.live.last_key_value().map(|(slot, completion)| (*slot, completion))
    }

    /// The slot of the completion of `checkpoint`, if that exists.
    pub fn find(&self, checkpoint: CheckpointId) -> Option<u64> {
        self.live.iter().find(|(_, completion)| completion.checkpoint == checkpoint).map(|(slot, _)| *slot)
    }

    /// Whether a lease was declared void.
    pub fn is_void(&self, lease: LeaseId) -> bool {
        self.voided.contains(&lease)
    }

    fn apply(&mut self, event: &Event) {
        let slot = self.next;
        match event {
            Event::Fence(_) => self.epoch = slot,
            Event::Completion(completion) => {
                if completion.checkpoint.epoch == self.epoch {
                    self.live.insert(slot, completion.clone());
                }
            }
            Event::Expiry(expiry) => {
                let newest = self.live.last_key_value().map(|(slot, _)| *slot);
                for slot in expiry.completions.iter().filter(|slot| Some(**slot) != newest) {
                    self.live.remove(slot);
                }
            }
            Event::Void(void) => {
                self.voided.insert(void.lease);
            }
            Event::Retirement(retirement) => {
                if retirement.epoch == self.epoch {
                    self.epoch = slot;
                    self.live.clear();
                }
            }
        }
        self.next = slot + 1;
    }
}

/// The chain of a job, as far as it was read.
#[derive(Clone, Debug)]
pub struct Chain {
    repo: Repo,
    job: JobName,
    state: ChainState,
    /// From this slot on, every slot was read.
    read_from: u64,
    /// No boundary lay behind this slot when the slots before it had been read: none of them was created again.
    sure_to: u64,
    boundary: Mark,
}

/// The newest boundary that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// 0 when there is none.
    number: u64,
    /// The first slot behind it.
    start: u64,
    /// When it was written, by the store's clock.
    modified_ms: u64,
}

impl Chain {
    /// Reads the chain of `job` to its end; a job that has none yet has an empty one.
    pub async fn read(repo: &Repo, job: &JobName) -> Result<Chain> {
        let state = ChainState::empty();
        let mut chain =
            Chain { repo: repo.clone(), job: job.clone(), state, read_from: 1, sure_to: 1, boundary: Mark::default() };
        chain.restart().await?;
        chain.skip_listed().await?;
        chain.catch_up().await?;
        Ok(chain)
    }

    /// What it says.
    pub fn state(&self) -> &ChainState {
        &self.state
    }

    /// The job.
    pub fn job(&self) -> &JobName {
        &self.job
    }

    /// The newest boundary that is known: its number, and the first slot behind it; zeros when there is none.
    pub fn boundary(&self) -> (u64, u64) {
        (self.boundary.number, self.boundary.start)
    }

    /// Reads on to the end.
    pub async fn catch_up(&mut self) -> Result<()> {
        loop {
            while let Some(event) = self.read_slot(self.state.next).await? {
                self.state.apply(&event);
            }
            if !self.is_passed(self.sure_to).await? || is_seeded(Bug::OldEndsCount) {
                self.sure_to = self.state.next;
                return Ok(());
            }
            self.restart().await?;
        }
    }

    /// Reads on to the end, and gives the completions on the way, also those that expired on the way. `None` when a boundary
    /// was in between: nobody knows what was on the way then.
    pub(crate) async fn catch_up_seeing(&mut self) -> Result<Option<Vec<LiveCompletion>>> {
        let from = self.read_from;
        let mut seen = Vec::new();
        while let Some(event) = self.read_slot(self.state.next).await? {
            if let Event::Completion(completion) = &event {
                seen.push(LiveCompletion { slot: self.state.next, completion: completion.clone() });
            }
            self.state.apply(&event);
        }
        self.catch_up().await?;
        Ok((self.read_from == from).then_some(seen))
    }

    /// Appends a fence: a coordinator starts, and those before it complete nothing any more. Returns its epoch.
    ///
    /// # Errors
    /// Those of the requests; a fence may have been appended then.
    pub async fn fence(&mut self, fence: Fence) -> Result<u64> {
        self.append(Event::Fence(fence)).await
    }

    /// Appends a completion; returns its slot. Does nothing when the checkpoint exists already.
    ///
    /// # Errors
    /// `Fenced` when a newer coordinator has started, or when the lease was declared void or is gone; `Fix` when what it is built
    /// upon has expired, or when a newer checkpoint is complete. After any other error it is not known whether the checkpoint
    /// exists.
    pub async fn complete(&mut self, completion: Completion) -> Result<u64> {
        self.append(Event::Completion(completion)).await
    }

    /// Whether a completion may be appended behind what was read; breaks with its slot when it stands in the chain already.
    async fn check_completion(&self, completion: &Completion) -> Result<ControlFlow<u64>> {
        let &Completion { checkpoint, lease, base, .. } = completion;
        let fenced = |message: &str| Err(Error::new(ErrorKind::Fenced, format!("checkpoint {checkpoint}: {message}")));
        if let Some(slot) = self.state.find(checkpoint) {
            return Ok(ControlFlow::Break(slot));
        }
        if self.state.epoch != checkpoint.epoch {
            let epoch = self.state.epoch;
            return fenced(&format!(
                "a coordinator of epoch {epoch} has started since, or the job was retired; this one may complete nothing any more"
            ));
        }
        if let Some((_, newest)) = self.state.newest().filter(|(_, newest)| newest.checkpoint > checkpoint) {
            let message = format!(
                "checkpoint {checkpoint}: a newer one, {}, is complete; completed behind it, this one would be the newest",
                newest.checkpoint
            );
            return Err(Error::new(ErrorKind::Fix, message));
        }
        if self.state.is_void(lease) {
            return fenced(&format!("its lease {lease} was declared void"));
        }
        if self.read_from > checkpoint.epoch {
            // Not every slot since the fence was read, and a boundary forgets voids of leases that are gone.
            let name = ObjectName::Lease(self.job.clone(), lease);
            if self.repo.head(&name).await?.is_none() {
                return fenced(&format!("its lease {lease} is gone: this writer stood still while others went on"));
            }
        }
        if base.is_some_and(|base| !self.state.live.contains_key(&base)) {
            let message = format!("checkpoint {checkpoint}: what it is built upon has expired since; take another one");
            return Err(Error::new(ErrorKind::Fix, message));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Appends an expiry of those `completions` that exist and are not the newest; returns its slot, or `None` when there are
    /// no such.
    pub async fn expire(&mut self, completions: Vec<u64>, reason: &str) -> Result<Option<u64>> {
        self.catch_up().await?;
        let newest = self.state.newest().map(|(slot, _)| slot);
        let completions: Vec<u64> = completions
            .into_iter()
            .filter(|slot| self.state.live.contains_key(slot) && Some(*slot) != newest)
            .collect();
        if completions.is_empty() {
            return Ok(None);
        }
        let expiry = Expiry { completions, reason: reason.to_owned() };
        self.append(Event::Expiry(expiry)).await.map(Some)
    }

    /// Appends the retirement of the job: coordinators of `epoch` and before complete nothing any more, and no checkpoint exists, not even
    /// the newest. Returns its slot.
    ///
    /// # Errors
    /// `Fenced` when another coordinator has started since `epoch`.
    pub async fn retire(&mut self, epoch: u64, reason: &str) -> Result<u64> {
        self.append(Event::Retirement(Retirement { epoch, reason: reason.to_owned() })).await
    }

    fn check_retirement(&self, retirement: &Retirement) -> Result<()> {
        if self.state.epoch == retirement.epoch {
            return Ok(());
        }
        let message = format!(
            "job {}: a coordinator of epoch {} has started since epoch {}: this job runs again, and is not retired",
            self.job, self.state.epoch, retirement.epoch
        );
        Err(Error::new(ErrorKind::Fenced, message))
    }

    /// Declares a lease void; returns the slot.
    pub async fn void(&mut self, lease: LeaseId, reason: &str) -> Result<u64> {
        let void = Void { lease, reason: reason.to_owned() };
        self.append(Event::Void(void)).await
    }

    /// Creates the slot behind the last one, reading on as long as it is taken.
    async fn append(&mut self, event: Event) -> Result<u64> {
        loop {
            if let Event::Completion(completion) = &event
                && let ControlFlow::Break(slot) = self.check_completion(completion).await?
            {
                return Ok(slot);
            }
            if let Event::Retirement(retirement) = &event {
                self.check_retirement(retirement)?;
            }
            let number = self.state.next;
            let slot = Slot { job: self.job.clone(), number, event: event.clone() };
            let bytes = write(&slot, self.repo.ambient().random());
            match self.repo.publish_once(&self.slot_name(number), &bytes).await? {
                Published::Theirs(_) => self.catch_up().await?,
                Published::Ours => {
                    if self.is_passed(number).await? && !is_seeded(Bug::OldSlotsCount) {
                        // Either it was there before, and is nothing, or others have read it and gone on.
                        self.catch_up().await?;
                        continue;
                    }
                    self.state.apply(&event);
                    self.sure_to = self.state.next;
                    return Ok(number);
                }
            }
        }
    }

    /// Makes a boundary behind the last slot when the last boundary is far enough behind; returns whether there is a new one.
    pub async fn mark_boundary_if_due(&mut self) -> Result<bool> {
        let slots = self.state.next.saturating_sub(self.boundary.start.max(1));
        let age_ms = self.repo.ambient().now_ms().saturating_sub(self.boundary.modified_ms);
        let is_old = self.boundary.number > 0 && slots > 0 && age_ms > BOUNDARY_AGE_MS;
        if slots >= BOUNDARY_SLOTS || is_old { self.mark_boundary().await } else { Ok(false) }
    }

    /// Makes a boundary behind the last slot; returns whether it is ours.
    pub async fn mark_boundary(&mut self) -> Result<bool> {
        self.catch_up().await?;
        if self.state.next == self.boundary.start.max(1) {
            return Ok(false);
        }
        let leases = self.repo.list(&Folder::Leases.path(&self.job), None).await?;
        let leases: BTreeSet<ObjectName> = leases.iter().filter_map(|lease| ObjectName::parse(&lease.path)).collect();
        let exists = |lease: &&LeaseId| leases.contains(&ObjectName::Lease(self.job.clone(), **lease));
        let live = self
            .state
            .live
            .iter()
            .map(|(slot, completion)| LiveCompletion { slot: *slot, completion: completion.clone() });
        let boundary = Boundary {
            job: self.job.clone(),
            number: self.boundary.number + 1,
            start: self.state.next,
            epoch: self.state.epoch,
            live: live.collect(),
            voided: self.state.voided.iter().filter(exists).copied().collect(),
        };
        let name = ObjectName::Boundary(self.job.clone(), boundary.number);
        let (published, _) = self.repo.publish(&name, &boundary).await?;
        self.find_boundary().await?;
        Ok(published == Published::Ours)
    }

    /// Starts anew behind the newest boundary.
    async fn restart(&mut self) -> Result<()> {
        for _ in 0..LISTINGS_MAX {
            self.find_boundary().await?;
            if self.boundary.number == 0 {
                self.start_from(ChainState::empty());
                return Ok(());
            }
            // Absent: a newer one has taken its place.
            if let Some((boundary, _)) = self.read_boundary(self.boundary.number).await? {
                self.start_from(ChainState::at(boundary));
                return Ok(());
            }
        }
        let message = format!(
            "boundary {} was here and is gone, and no newer one is here: is this object store consistent? if it was deleted by \
             hand, bring it back, since the slots before it may be gone too",
            self.boundary.number
        );
        Err(Error::at(ErrorKind::Retry, self.boundaries(), None, message))
    }

    /// Where the boundaries are, for people.
    fn boundaries(&self) -> String {
        format!("{}/{}", self.repo, Folder::Boundaries.path(&self.job))
    }

    fn start_from(&mut self, state: ChainState) {
        (self.read_from, self.sure_to) = (state.next, state.next);
        self.state = state;
    }

    /// Whether a boundary lies behind `slot`: it may have been deleted, and created again by somebody who stood still.
    async fn is_passed(&mut self, slot: u64) -> Result<bool> {
        self.find_boundary().await?;
        Ok(self.boundary.start > slot)
    }

    /// Finds the newest boundary: by a listing, and, since that may be of some time ago, by looking for those behind it.
    async fn find_boundary(&mut self) -> Result<()> {
        for _ in 0..LISTINGS_MAX {
            let listed = self.repo.list(&Folder::Boundaries.path(&self.job), None).await?;
            let numbers = listed.iter().filter_map(|listed| match ObjectName::parse(&listed.path) {
                Some(ObjectName::Boundary(_, number)) => Some(number),
                _ => None,
            });
            let known = self.boundary.number;
            let listed = numbers.max().unwrap_or(0);
            let mut number = listed.max(known + 1);
            while let Some((boundary, modified_ms)) = self.read_boundary(number).await? {
                self.boundary = Mark { number, start: boundary.start, modified_ms };
                number += 1;
            }
            // Else the one that was listed has been deleted since, because there is a newer one.
            if listed <= self.boundary.number {
                return Ok(());
            }
        }
        let message = "listings show boundaries that are not there: is this object store consistent?";
        Err(Error::at(ErrorKind::Retry, self.boundaries(), None, message))
    }

    async fn read_boundary(&self, number: u64) -> Result<Option<(Boundary, u64)>> {
        let name = ObjectName::Boundary(self.job.clone(), number);
        let found = self.repo.read_manifest::<Boundary>(&name).await?;
        match found {
            Some((boundary, _)) if boundary.job != self.job || boundary.number != number => {
                let what = format_args!("boundary {} of job {}", boundary.number, boundary.job);
                Err(damaged(&self.repo.place(&name), None, what))
            }
            found => Ok(found.map(|(boundary, meta)| (boundary, meta.modified_ms))),
        }
    }

    fn slot_name(&self, number: u64) -> ObjectName {
        ObjectName::Slot(self.job.clone(), number)
    }

    async fn read_slot(&self, number: u64) -> Result<Option<Event>> {
        let found = self.repo.read_checked(&self.slot_name(number), |bytes| self.check_slot(bytes, number)).await?;
        Ok(found.map(|(event, _)| event))
    }

    fn check_slot(&self, bytes: &Bytes, number: u64) -> Result<Event> {
        debug_assert!(bytes.len() as u64 <= MANIFEST_BYTES_MAX);
        let place = self.repo.place(&self.slot_name(number));
        let slot: Slot = read(bytes, &place)?;
        if slot.job != self.job || slot.number != number {
            return Err(damaged(&place, None, format_args!("slot {} of job {}", slot.number, slot.job)));
        }
        Ok(slot.event)
    }

    /// Reads the slots that a listing shows, many at once. There may be more.
    async fn skip_listed(&mut self) -> Result<()> {
        let after = self.slot_name(self.state.next - 1);
        let listed = self.repo.list(&Folder::Chain.path(&self.job), Some(&after)).await?;
        let numbers: BTreeSet<u64> = listed
            .iter()
            .filter_map(|listed| match ObjectName::parse(&listed.path) {
                Some(ObjectName::Slot(_, number)) => Some(number),
                _ => None,
            })
            .collect();
        let first = self.state.next;
        let count = numbers.range(first..).zip(first..).take_while(|(listed, number)| **listed == *number).count();
        let chain = self.clone();
        let mut events = futures_util::stream::iter(first..first + count as u64)
            .map(|number| chain.read_slot(number))
            .buffered(READS_AT_ONCE);
        while let Some(event) = events.next().await {
            // Deleted since: a boundary has passed it, which `catch_up` finds.
            let Some(event) = event? else { break };
            self.state.apply(&event);
        }
        Ok(())
    }
}
