//! Tries a place out as jobs will use it, and leaves nothing behind: for who sets one up.
//!
//! Unlike an opening it makes no repo of the place, takes the time of each request, makes none twice, and goes on behind what fails.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, PutOptions, PutPayload};

use super::Repo;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Marker, write};
use crate::names::ObjectName;

/// Where probes are.
const FOLDER: &str = "probes";
/// The part of a probe that is read; all are longer.
const READ: std::ops::Range<u64> = 8..40;

/// What jobs need of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialStep {
    /// To create an object.
    Create,
    /// To be refused when the object exists.
    CreateAgain,
    /// To see it in a listing at once.
    List,
    /// To read a part of it.
    ReadRange,
    /// To delete it.
    Delete,
}

impl TrialStep {
    /// All, in their order.
    pub const ALL: [TrialStep; 5] =
        [TrialStep::Create, TrialStep::CreateAgain, TrialStep::List, TrialStep::ReadRange, TrialStep::Delete];
}

/// A step that was tried.
#[derive(Clone, Debug)]
pub struct TriedStep {
    /// Which.
    pub step: TrialStep,
    /// How long it took each time it succeeded, in microseconds.
    pub took_us: Vec<u64>,
    /// Why it failed; it is not tried again then.
    pub failure: Option<Error>,
}

/// What a place was found to be able to do, and how fast.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Whether it is a repo already.
    pub is_repo: bool,
    /// The steps that were tried, in their order.
    pub steps: Vec<TriedStep>,
    /// How far the store's clock is ahead of this machine's, in milliseconds: at least, and at most. Negative where it is behind.
    pub clock_ahead_ms: Option<(i64, i64)>,
}

impl Repo {
    /// Creates an object, creates it again, lists, reads and deletes it, so often, one request after the other, until one fails.
    ///
    /// # Errors
    /// Those of looking whether the place is a repo; what fails later is told in the steps.
    pub async fn try_out(&self, rounds: usize) -> Result<Trial> {
        let is_repo = self.read_manifest::<Marker>(&ObjectName::Marker).await?.is_some();
        // A directory that was there stays.
        let is_new = self.0.directory.as_ref().is_some_and(|root| !root.join(FOLDER).exists());
        let steps =
            TrialStep::ALL.map(|step| TriedStep { step, took_us: Vec::new(), failure: None }).into_iter().collect();
        let mut trial = Trial { is_repo, steps, clock_ahead_ms: None };
        for _ in 0..rounds {
            self.try_round(&mut trial).await;
            if trial.steps.iter().any(|tried| tried.failure.is_some()) {
                break;
            }
        }
        if is_new {
            self.remove_empty_folders(&Path::from(FOLDER)).await?;
        }
        trial.steps.retain(|tried| !tried.took_us.is_empty() || tried.failure.is_some());
        Ok(trial)
    }

    async fn try_round(&self, trial: &mut Trial) {
        let name = ObjectName::Probe(u128::from(self.ambient().random()) << 64 | u128::from(self.ambient().random()));
        let marker = Marker { created_at_ms: self.ambient().now_ms() };
        let [ours, other] = [(); 2].map(|()| write(&marker, self.ambient().random()));
        let before_ms = self.ambient().now_ms();
        let create =
            async { self.create_once(&name, &ours).await.map_err(|cause| self.failed("create", &name, &cause)) };
        if !trial.note(self, TrialStep::Create, create).await {
            // It may be there all the same. The failure of creating it is the one to tell.
            self.delete(&name).await.ok();
            return;
        }
        let after_ms = self.ambient().now_ms();
        let again = async {
            use object_store::Error::{AlreadyExists, Precondition};
            match self.create_once(&name, &other).await {
                Ok(()) => Err(self.unfenced()),
                Err(AlreadyExists { .. } | Precondition { .. }) => Ok(()),
                Err(cause) => Err(self.failed("create what exists", &name, &cause)),
            }
        };
        trial.note(self, TrialStep::CreateAgain, again).await;
        let list = async {
            let path = name.to_string();
            let is_there = self.list(&Path::from(FOLDER), None).await?.iter().any(|object| object.path == path);
            if is_there { Ok(()) } else { Err(self.not_seen(&name, "a listing does not show it")) }
        };
        trial.note(self, TrialStep::List, list).await;
        let read = async {
            match self.read_range(&name, READ).await? {
                Some(found) if found == ours.slice(READ.start as usize..READ.end as usize) => Ok(()),
                Some(_) => Err(self.not_seen(&name, "a part of it was read, and holds other bytes than were written")),
                None => Err(self.not_seen(&name, "it is not to be read")),
            }
        };
        trial.note(self, TrialStep::ReadRange, read).await;
        // Where this fails, so has the reading, and that is told.
        if let Ok(Some(meta)) = self.head(&name).await {
            trial.note_clock(before_ms, after_ms, meta.modified_ms);
        }
        trial.note(self, TrialStep::Delete, self.delete(&name)).await;
    }

    async fn create_once(&self, name: &ObjectName, bytes: &Bytes) -> object_store::Result<()> {
        let path = self.path(&name.path());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.0.store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
        self.limited(put).await.map(|_| ())
    }

    fn not_seen(&self, name: &ObjectName, what: &str) -> Error {
        let message = format!("this was created just now, and {what}: the store must show what was written, at once");
        Error::at(ErrorKind::Fix, self.place(name), None, message)
    }
}

impl Trial {
    /// Takes the time of a step; gives whether it succeeded.
    async fn note(&mut self, repo: &Repo, step: TrialStep, request: impl Future<Output = Result<()>>) -> bool {
        let start = repo.ambient().elapsed_us();
        let done = request.await;
        let took_us = repo.ambient().elapsed_us().saturating_sub(start);
        let tried = self.steps.iter_mut().find(|tried| tried.step == step).expect("all steps are there until the end");
        match done {
            Ok(()) => tried.took_us.push(took_us),
            Err(failure) => tried.failure = Some(failure),
        }
        tried.failure.is_none()
    }

    /// An object was written between two readings of this machine's clock, and the store says when by its own.
    fn note_clock(&mut self, before_ms: u64, after_ms: u64, modified_ms: u64) {
        // Many stores tell whole seconds.
        let unit_ms = if modified_ms.is_multiple_of(1000) { 1000 } else { 1 };
        let distance = |left: u64, right: u64| i64::try_from(i128::from(left) - i128::from(right)).unwrap_or(i64::MAX);
        let mut found = (distance(modified_ms, after_ms), distance(modified_ms + unit_ms, before_ms));
        if let Some((least, most)) = self.clock_ahead_ms {
            found = (found.0.max(least), found.1.min(most));
        }
        // Readings of a clock that ticks coarsely may exclude each other by a tick.
        self.clock_ahead_ms = Some((found.0.min(found.1), found.0.max(found.1)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::repo::RepoOptions;

    #[tokio::test]
    async fn a_directory_is_tried_out_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("file://{}", directory.path().display());
        let repo = RepoOptions::default().open_as_it_is(&address).unwrap();
        let trial = repo.try_out(3).await.unwrap();
        assert!(!trial.is_repo);
        let steps: Vec<(TrialStep, usize)> =
            trial.steps.iter().map(|tried| (tried.step, tried.took_us.len())).collect();
        assert_eq!(steps, TrialStep::ALL.map(|step| (step, 3)));
        assert!(trial.steps.iter().all(|tried| tried.failure.is_none()));
        let (least, most) = trial.clock_ahead_ms.unwrap();
        assert!(least <= most && most - least < 10_000 && least.abs() < 10_000, "{least} {most}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

        RepoOptions::default().open(&address).await.unwrap();
        assert!(repo.try_out(1).await.unwrap().is_repo);
        assert!(directory.path().join(FOLDER).exists(), "what was there stays");
    }

    #[test]
    fn clocks_are_told_as_well_as_all_readings_together_tell_them() {
        let mut trial = Trial { is_repo: false, steps: Vec::new(), clock_ahead_ms: None };
        // The store is 5 s ahead, and tells whole seconds.
        trial.note_clock(1_000, 1_020, 6_000);
        assert_eq!(trial.clock_ahead_ms, Some((4_980, 6_000)));
        trial.note_clock(1_900, 1_950, 6_000);
        assert_eq!(trial.clock_ahead_ms, Some((4_980, 5_100)));
    }

    #[tokio::test]
    async fn what_was_there_before_is_not_touched() {
        let store = Arc::new(InMemory::new());
        store.put(&Path::from("probes/other"), PutPayload::from_static(b"x")).await.unwrap();
        let repo = RepoOptions::default().open_store(store.clone(), "memory://").await.unwrap();
        repo.try_out(2).await.unwrap();
        let objects: Vec<_> = futures_util::TryStreamExt::try_collect(store.list(None)).await.unwrap();
        let paths: Vec<String> =
            objects.iter().map(|meta: &object_store::ObjectMeta| meta.location.to_string()).collect();
        assert_eq!(paths, ["bedload.json", "probes/other"]);
    }
}
