//! What can be known of running jobs from outside: from the repo, and from working directories on this machine. Nothing is changed anywhere.
//!
//! The repo is opened anew at each look, so that one that is gone is noticed. Claims of a checkpoint never change: they are read when it is
//! seen first, and what was measured is kept. A job or directory that cannot be read does not keep the others from being seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bedload::{Error, ErrorKind, JobName, Repo, RepoOptions, Result};
use bedload_snapshot::{Chain, Claim, Difference, FoundLease, claims, jobs, leases, pins};
use serde::Serialize;
use tokio::task::{JoinSet, spawn_blocking};

use crate::context::Context;
use crate::disk::{Directory, absolute, now_ms};
use crate::exit;
use crate::reference::no_such_job;

/// How many jobs are looked at at once.
const JOBS_AT_ONCE: usize = 8;

/// What an argument names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    Job(JobName),
    Directory(PathBuf),
}

impl FromStr for Watched {
    type Err = Error;

    /// What has a slash, or starts with a dot, is a directory; all else is a job.
    fn from_str(text: &str) -> Result<Watched> {
        if text.contains('/') || text.starts_with('.') {
            return Ok(Watched::Directory(PathBuf::from(text)));
        }
        let advice = |error: Error| error.context("neither a job nor a directory (which has a slash, as in ./DIR)");
        JobName::new(text).map(Watched::Job).map_err(advice)
    }
}

/// Looks again and again.
pub struct Watcher {
    address: Option<String>,
    options: RepoOptions,
    /// Those that were named; all of the repo when there are none.
    jobs: Vec<JobName>,
    directories: Vec<PathBuf>,
    measured: BTreeMap<JobName, Newest>,
}

/// What was seen.
#[derive(Debug, Serialize)]
pub struct Look {
    pub now_ms: u64,
    /// None when only directories are looked at.
    pub repo: Option<RepoSeen>,
    pub jobs: Vec<JobSeen>,
    pub directories: Vec<DirectorySeen>,
}

/// The repo. When it could not be read, no job is known.
#[derive(Debug, Serialize)]
pub struct RepoSeen {
    pub repo: Option<String>,
    pub failure: Option<Failure>,
}

/// Why something could not be read.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Failure {
    pub message: String,
    /// What a command exits with that looked once.
    #[serde(skip)]
    pub exit_code: u8,
}

/// A job, or why it could not be read.
#[derive(Debug, Serialize)]
pub struct JobSeen {
    pub job: JobName,
    pub failure: Option<Failure>,
    pub figures: Option<JobFigures>,
}

/// A directory, or why it could not be read.
#[derive(Debug, Serialize)]
pub struct DirectorySeen {
    pub directory: String,
    pub failure: Option<Failure>,
    pub seen: Option<Directory>,
}

/// What the repo tells of a job.
#[derive(Debug, Serialize)]
pub struct JobFigures {
    /// Counts coordinators: the slot of the newest one's start.
    pub epoch: u64,
    pub checkpoints: u64,
    pub pins: u64,
    /// Checkpoints in the making, and reads that are going on.
    pub leases: u64,
    pub newest: Option<Newest>,
}

/// The newest checkpoint of a job.
#[derive(Clone, Debug, Serialize)]
pub struct Newest {
    pub checkpoint: String,
    pub epoch: u64,
    pub number: u64,
    pub completed_at_ms: u64,
    pub key_groups: u32,
    pub runs: u64,
    /// Bytes of its runs, and as they are shipped.
    pub bytes: u64,
    pub parcel_bytes: u64,
    /// Of these, what the checkpoint before does not have; none when that exists no longer.
    pub new_runs: Option<u64>,
    pub new_bytes: Option<u64>,
    pub new_parcel_bytes: Option<u64>,
    pub workers: Vec<WorkerFigures>,
}

/// One worker's part of it.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerFigures {
    pub worker: String,
    pub key_groups: String,
    pub runs: u64,
    pub bytes: u64,
    pub pause_us: u64,
    pub flush_us: u64,
    pub link_us: u64,
    pub upload_us: u64,
    pub verify_us: u64,
}

impl Watcher {
    /// Watches what is named, with the repo of the settings.
    ///
    /// # Errors
    /// `Fix` when nothing is named, and jobs without a repo.
    pub fn new(context: &Context, watched: &[Watched]) -> Result<Watcher> {
        let (mut jobs, mut directories) = (Vec::new(), Vec::new());
        for watched in watched {
            match watched {
                Watched::Job(job) if !jobs.contains(job) => jobs.push(job.clone()),
                Watched::Directory(path) if !directories.contains(&absolute(path)) => directories.push(absolute(path)),
                _ => {}
            }
        }
        let address = context.settings.value("repo").map(str::to_owned);
        if address.is_none() && (!jobs.is_empty() || directories.is_empty()) {
            let message = "no repo is named, and no directory: give --repo URL, set BEDLOAD_REPO or `repo` in bedload.toml, or name the \
                           working directory of an engine";
            return Err(Error::new(ErrorKind::Fix, message));
        }
        if jobs.is_empty()
            && let Some(job) = context.settings.value("job")
        {
            jobs.push(JobName::new(job)?);
        }
        let options = context.options()?.read_only();
        Ok(Watcher { address, options, jobs, directories, measured: BTreeMap::new() })
    }

    /// Looks at everything, at what is in the repo for no longer than `limit`.
    pub async fn look(&mut self, limit: Duration) -> Look {
        let directories = self.directories.clone();
        let directories = spawn_blocking(move || directories.into_iter().map(look_at).collect());
        let (repo, jobs) = match tokio::time::timeout(limit, self.look_at_repo()).await {
            Ok(seen) => seen,
            Err(_) => {
                let message =
                    format!("the repo did not answer within {}: is it reachable?", humantime::format_duration(limit));
                let failure = Failure::of(&Error::new(ErrorKind::Retry, message));
                (Some(RepoSeen { repo: None, failure: Some(failure) }), Vec::new())
            }
        };
        // It panics only with the look itself.
        let directories = directories.await.unwrap_or_default();
        Look { now_ms: now_ms(), repo, jobs, directories }
    }

    async fn look_at_repo(&mut self) -> (Option<RepoSeen>, Vec<JobSeen>) {
        let Some(address) = &self.address else { return (None, Vec::new()) };
        let failed = |repo: Option<String>, error: &Error| {
            (Some(RepoSeen { repo, failure: Some(Failure::of(error)) }), Vec::new())
        };
        let repo = match self.options.clone().open(address).await {
            Ok(repo) => repo,
            Err(error) => return failed(None, &error),
        };
        let names = match self.jobs.is_empty() {
            true => jobs(&repo).await,
            false => Ok(self.jobs.clone()),
        };
        let names = match names {
            Ok(names) => names,
            Err(error) => return failed(Some(repo.to_string()), &error),
        };
        let mut seen = Vec::new();
        for some in names.chunks(JOBS_AT_ONCE) {
            let mut looks = JoinSet::new();
            for job in some {
                let known = self.measured.get(job).cloned();
                looks.spawn(look_at_job(repo.clone(), job.clone(), known));
            }
            seen.extend(looks.join_all().await);
        }
        seen.sort_by(|left, right| left.job.cmp(&right.job));
        self.measured = seen.iter().filter_map(|seen| Some((seen.job.clone(), seen.newest()?.clone()))).collect();
        (Some(RepoSeen { repo: Some(repo.to_string()), failure: None }), seen)
    }
}

impl Look {
    /// What could not be read: what it is, and why, which names it too.
    pub fn failures(&self) -> Vec<(String, Failure)> {
        let repo = self.repo.iter().map(|repo| ("repo".to_owned(), &repo.failure));
        let jobs = self.jobs.iter().map(|job| (format!("job {}", job.job), &job.failure));
        let directories = self.directories.iter().map(|seen| (seen.directory.clone(), &seen.failure));
        let all = repo.chain(jobs).chain(directories);
        all.filter_map(|(what, failure)| Some((what, failure.clone()?))).collect()
    }
}

impl Failure {
    fn of(error: &Error) -> Failure {
        Failure { message: error.to_string(), exit_code: exit::code_of(error) }
    }
}

impl JobSeen {
    /// Its newest checkpoint.
    pub fn newest(&self) -> Option<&Newest> {
        self.figures.as_ref()?.newest.as_ref()
    }
}

fn look_at(directory: PathBuf) -> DirectorySeen {
    let name = directory.display().to_string();
    match Directory::look(&directory) {
        Ok(seen) => DirectorySeen { directory: name, failure: None, seen: Some(seen) },
        Err(error) => DirectorySeen { directory: name, failure: Some(Failure::of(&error)), seen: None },
    }
}

async fn look_at_job(repo: Repo, job: JobName, known: Option<Newest>) -> JobSeen {
    let mut read = figures(&repo, &job, known.as_ref()).await;
    if matches!(&read, Err(error) if error.kind() == ErrorKind::Missing) {
        // A checkpoint may have expired just now.
        read = figures(&repo, &job, known.as_ref()).await;
    }
    match read {
        Ok(figures) => JobSeen { job, failure: None, figures: Some(figures) },
        Err(error) => JobSeen { job, failure: Some(Failure::of(&error)), figures: None },
    }
}

async fn figures(repo: &Repo, job: &JobName, known: Option<&Newest>) -> Result<JobFigures> {
    let chain = Chain::read(repo, job).await?;
    let state = chain.state();
    if state.next_slot() <= 1 {
        let error = no_such_job(repo, job);
        return Err(match Path::new(job.as_str()).is_dir() {
            true => Error::new(error.kind(), format!("{error}; the directory of this name is written ./{job}")),
            false => error,
        });
    }
    let mut newest_first = state.live().values().rev();
    let newest = match (newest_first.next(), known) {
        (None, _) => None,
        (Some(newest), Some(known)) if known.checkpoint == newest.checkpoint.to_string() => Some(known.clone()),
        (Some(newest), _) => {
            let parts = claims(repo, job, newest.checkpoint).await?;
            let difference = match newest_first.next() {
                Some(before) => Some(Difference::new(&claims(repo, job, before.checkpoint).await?, &parts)),
                None => None,
            };
            let all = Difference::new(&[], &parts).added;
            let added = difference.map(|difference| difference.added);
            Some(Newest {
                checkpoint: newest.checkpoint.to_string(),
                epoch: newest.checkpoint.epoch,
                number: newest.checkpoint.number,
                completed_at_ms: newest.completed_at_ms,
                key_groups: newest.key_groups,
                runs: all.len() as u64,
                bytes: all.iter().map(|run| run.bytes).sum(),
                parcel_bytes: all.iter().map(|run| run.parcel_bytes).sum(),
                new_runs: added.as_ref().map(|runs| runs.len() as u64),
                new_bytes: added.as_ref().map(|runs| runs.iter().map(|run| run.bytes).sum()),
                new_parcel_bytes: added.as_ref().map(|runs| runs.iter().map(|run| run.parcel_bytes).sum()),
                workers: parts.iter().map(WorkerFigures::new).collect(),
            })
        }
    };
    Ok(JobFigures {
        epoch: state.epoch(),
        checkpoints: state.live().len() as u64,
        pins: pins(repo, job).await?.len() as u64,
        leases: leases(repo, &chain).await?.iter().filter(|found| is_held(found)).count() as u64,
        newest,
    })
}

/// Whether a lease is of somebody who reads or makes a checkpoint.
fn is_held(found: &FoundLease) -> bool {
    !found.is_over && (found.lease.making.is_some() || found.lease.reading.is_some())
}

impl WorkerFigures {
    fn new(claim: &Claim) -> WorkerFigures {
        let timings = claim.timings;
        WorkerFigures {
            worker: claim.worker.to_string(),
            key_groups: claim.groups.to_string(),
            runs: claim.runs.len() as u64,
            bytes: claim.runs.iter().map(|run| run.bytes).sum(),
            pause_us: timings.pause_us,
            flush_us: timings.flush_us,
            link_us: timings.link_us,
            upload_us: timings.upload_us,
            verify_us: timings.verify_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_path_is_a_directory() {
        let parsed = |text: &str| text.parse::<Watched>();
        assert_eq!(parsed("board").unwrap(), Watched::Job(JobName::new("board").unwrap()));
        for path in ["./board", "/var/state", "state/", ".", ".."] {
            assert_eq!(parsed(path).unwrap(), Watched::Directory(PathBuf::from(path)));
        }
        let error = parsed("a board").unwrap_err().to_string();
        assert!(error.contains("neither a job nor a directory"), "{error}");
    }
}
