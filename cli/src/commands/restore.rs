//! `bedload restore`: a checkpoint onto this machine.

use std::path::PathBuf;
use std::time::Duration;

use bedload::{Error, ErrorKind, KeyGroups, Repo, Result};
use bedload_lsm::Store;
use bedload_snapshot::{Fetcher, RestoreOptions, Standby, Start, plan_restore, restore_lazily};
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use crate::context::{Answer, Context};
use crate::directory::Directory;
use crate::exit;
use crate::reference::{Found, Reference};
use crate::text::{counted, number, size, span_us};

/// How many threads fetch what is read before it is here.
const FETCH_THREADS: usize = 2;

/// How often it is told how far the background is.
const TICK: Duration = Duration::from_millis(200);

/// Brings a checkpoint, or some of its key groups, into the directory of a worker. A worker that starts there fetches nothing of it.
///
/// Working state that lies there is disposable, and is removed by --lazy, as by a worker that starts.
/// What the directory holds already is not fetched again, and each run is compared with its digest. The directory must be on the disk that
/// the worker will work on, and no worker may run there: exit code 11 when one does. Interrupted, it goes on where it was when it is run again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bedload restore late-board --to /mnt/ssd/worker-0 --dry-run\n  \
                  bedload restore late-board@3-18 --to /mnt/ssd/worker-0 --groups 0..=63\n  \
                  bedload restore late-board --to /mnt/ssd/worker-0 --lazy")]
pub struct RestoreArguments {
    /// The checkpoint.
    checkpoint: Reference,
    /// The worker's directory, the one that its engine opens; it comes to be where none is.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only these key groups (default: all).
    #[arg(long, value_name = "FIRST..=LAST", value_parser = groups)]
    groups: Option<KeyGroups>,
    /// Opens the state before it is here, as a worker does that restores lazily, tells when that serves, then fetches the rest.
    #[arg(long)]
    lazy: bool,
    /// Tells what would be fetched, and changes nothing.
    #[arg(long, conflicts_with = "lazy")]
    dry_run: bool,
}

fn groups(text: &str) -> std::result::Result<KeyGroups, String> {
    let expected = || "expected two key groups such as 0..=63, both included".to_owned();
    let (first, last) = text.split_once("..=").ok_or_else(expected)?;
    let (first, last) = (first.parse().map_err(|_| expected())?, last.parse().map_err(|_| expected())?);
    if first <= last { Ok(KeyGroups { first, last }) } else { Err(expected()) }
}

#[derive(Serialize)]
struct Restored {
    checkpoint: String,
    first_group: u16,
    last_group: u16,
    directory: String,
    is_dry_run: bool,
    runs: usize,
    fetched_runs: usize,
    fetched_bytes: u64,
    local_runs: usize,
    took_us: u64,
    lazily: Option<Lazily>,
}

/// How a lazy restore went.
#[derive(Serialize)]
struct Lazily {
    serving_after_us: u64,
    local_percent_then: f64,
}

impl Answer for Restored {
    fn text(&self) -> String {
        let Restored { checkpoint, first_group, last_group, directory, .. } = self;
        let (fetched, bytes) = (counted(self.fetched_runs, "run"), size(self.fetched_bytes));
        let (runs, local) = (counted(self.runs, "run"), number(self.local_runs as u64));
        let mut text = format!("{checkpoint}, key groups {first_group}..={last_group}: {runs}\n");
        if self.is_dry_run {
            text.push_str(&format!("  would fetch {fetched}, {bytes}; {local} are in {directory}\n"));
            return text;
        }
        if let Some(Lazily { serving_after_us, local_percent_then }) = self.lazily {
            text.push_str(&format!("  serving after {}, {local_percent_then:.0} % local\n", span_us(serving_after_us)));
        }
        let took = span_us(self.took_us);
        text.push_str(&format!("  {fetched} fetched, {bytes}; {local} were here; complete after {took}\n"));
        text.push_str(&format!("  a worker of these key groups that starts in {directory} fetches nothing\n"));
        text
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &RestoreArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let found = context.find(&repo, &arguments.checkpoint).await?;
    let all = KeyGroups::all(found.live.completion.key_groups);
    let groups = arguments.groups.unwrap_or(all);
    if groups.last > all.last {
        return Err(Error::new(ErrorKind::Fix, format!("there are no key groups {groups}: {found} has {all}")));
    }
    let wanted = Wanted { repo: &repo, found: &found, groups, context };
    let restored = if arguments.dry_run {
        wanted.plan(arguments).await?
    } else {
        let directory = Directory::take(&arguments.to)?;
        if arguments.lazy { wanted.open_lazily(&directory).await? } else { wanted.fetch(&directory).await? }
    };
    context.print(&restored)?;
    Ok(exit::DONE)
}

/// What is restored, and for whom.
struct Wanted<'a> {
    repo: &'a Repo,
    found: &'a Found,
    groups: KeyGroups,
    context: &'a Context,
}

impl Wanted<'_> {
    fn start(&self) -> Start {
        Start::At(self.found.id())
    }

    fn is_gone(&self) -> Error {
        Error::new(ErrorKind::Missing, format!("{} is gone", self.found))
    }

    fn restored(&self, directory: &std::path::Path) -> Restored {
        Restored {
            checkpoint: self.found.to_string(),
            first_group: self.groups.first,
            last_group: self.groups.last,
            directory: directory.display().to_string(),
            is_dry_run: false,
            runs: 0,
            fetched_runs: 0,
            fetched_bytes: 0,
            local_runs: 0,
            took_us: 0,
            lazily: None,
        }
    }

    async fn plan(&self, arguments: &RestoreArguments) -> Result<Restored> {
        let pool = Directory::look(&arguments.to)?;
        let planned = plan_restore(self.repo, &self.found.job, self.start(), self.groups, pool.as_ref()).await?;
        let planned = planned.ok_or_else(|| self.is_gone())?;
        Ok(Restored {
            is_dry_run: true,
            runs: planned.plan.runs.len(),
            fetched_runs: planned.fetch_runs,
            fetched_bytes: planned.fetch_bytes,
            local_runs: planned.plan.runs.len() - planned.fetch_runs,
            ..self.restored(&arguments.to)
        })
    }

    async fn fetch(&self, directory: &Directory) -> Result<Restored> {
        let (began, transfers) = (Instant::now(), self.context.settings.transfers()?);
        let (pool, holder) = (directory.pool(), self.context.holder());
        let mut standby = Standby::new(self.repo, &self.found.job, self.groups, pool, &holder, transfers);
        let progress = |done: bedload_snapshot::CopyProgress| {
            let (bytes, all) = (size(done.bytes), size(done.all_bytes));
            self.context.progress(&format!("{}: {bytes} of {all} fetched", self.found));
        };
        let taken = standby.take(self.start(), &progress).await?.ok_or_else(|| self.is_gone())?;
        Ok(Restored {
            runs: taken.fetched_runs + taken.local_runs,
            fetched_runs: taken.fetched_runs,
            fetched_bytes: taken.fetched_bytes,
            local_runs: taken.local_runs,
            took_us: micros(began),
            ..self.restored(directory.path())
        })
    }

    /// Opens the working state as a worker does, which empties its folder first.
    fn open_store(&self, directory: &Directory, restored: &bedload_snapshot::Restored) -> Result<Store> {
        let mut store = Store::options().open(directory.empty_state()?)?;
        restored.adopt(&mut store)?;
        Ok(store)
    }

    async fn open_lazily(&self, directory: &Directory) -> Result<Restored> {
        let began = Instant::now();
        let fetcher = Fetcher::start(FETCH_THREADS)?;
        let (told, heard) = tokio::sync::oneshot::channel();
        let options = RestoreOptions {
            start: self.start(),
            groups: self.groups,
            holder: self.context.holder(),
            runs_at_once: self.context.settings.transfers()?,
        };
        let done = move |ended| {
            told.send(ended).ok();
        };
        let (repo, job) = (self.repo, &self.found.job);
        let restored = restore_lazily(repo, job, &options, directory.pool(), &fetcher, done).await?;
        let restored = restored.ok_or_else(|| self.is_gone())?;
        let store = match self.open_store(directory, &restored) {
            Ok(store) => store,
            Err(error) => {
                fetcher.end();
                return Err(error);
            }
        };
        let serving_after_us = micros(began);
        let progress = fetcher.progress();
        let percent = || match progress.total_bytes() {
            0 => 100.0,
            total => 100.0 * progress.here_bytes() as f64 / total as f64,
        };
        let local_percent_then = percent();
        let serving = span_us(serving_after_us);
        let watch = async {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                let (percent, found) = (percent(), self.found);
                self.context.progress(&format!("{found}: serving after {serving}; {percent:.0} % local"));
            }
        };
        let ended = tokio::select! {
            ended = heard => ended,
            () = watch => unreachable!("it goes on until it is dropped"),
        };
        let fetched_bytes = restored.fetched_bytes + progress.fetched_parcel_bytes();
        drop(store);
        fetcher.end();
        ended.map_err(|_| self.is_gone())??;
        // Written down as a copy of the checkpoint, so that the next who starts here keeps it.
        self.fetch(directory).await?;
        Ok(Restored {
            runs: restored.plan.runs.len(),
            fetched_runs: restored.plan.runs.len() - restored.local_runs,
            fetched_bytes,
            local_runs: restored.local_runs,
            took_us: micros(began),
            lazily: Some(Lazily { serving_after_us, local_percent_then }),
            ..self.restored(directory.path())
        })
    }
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_groups_are_two_numbers_in_order() {
        assert_eq!(groups("0..=63"), Ok(KeyGroups { first: 0, last: 63 }));
        assert_eq!(groups("7..=7"), Ok(KeyGroups { first: 7, last: 7 }));
        for wrong in ["", "0..63", "63..=0", "0..=65536", "a..=b", "..=3"] {
            groups(wrong).unwrap_err();
        }
    }
}
