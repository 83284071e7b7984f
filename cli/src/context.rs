//! What every command is given: settings, the repo that they name, and where its answer goes.

use bedload::{Error, ErrorKind, JobName, Patience, Repo, RepoOptions, Result};
use bedload_snapshot::jobs;
use serde::Serialize;

use crate::reference::{Found, Reference, no_such_job};
use crate::settings::{Flags, Origin, Settings};
use crate::streams;
use crate::text::plain;

/// Goes to the start of a terminal's line, and clears it.
pub const CLEAR: &str = "\r\x1b[2K";

/// An answer of a command: text for people, data for `--json`.
pub trait Answer: Serialize {
    /// The text, of lines that fit 100 columns.
    fn text(&self) -> String;
}

/// What every command is given.
pub struct Context {
    pub settings: Settings,
    is_json: bool,
}

impl Context {
    /// # Errors
    /// Those of the settings.
    pub fn new(flags: &Flags) -> Result<Context> {
        Ok(Context { settings: Settings::read(flags)?, is_json: flags.json })
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints an answer on standard output, unless nobody reads any more.
    ///
    /// # Errors
    /// Those of the system.
    pub fn print<T: Answer>(&self, answer: &T) -> Result<()> {
        self.progress("");
        let text = match self.is_json {
            true => serde_json::to_string_pretty(answer).expect("an answer is plain data") + "\n",
            false => plain(&answer.text()),
        };
        streams::print(&text).map(|_| ())
    }

    /// Says how far something is, on standard error, in the place of what it said before; nothing where nobody looks.
    pub fn progress(&self, line: &str) {
        if streams::has_progress() {
            eprint!("{CLEAR}{line}");
        }
    }

    /// Says on standard error why something was not done.
    pub fn complain(&self, message: &str) {
        self.progress("");
        eprintln!("bedload: {}", plain(message));
    }

    /// The repo that is named. It must be one: opening it changes nothing there.
    ///
    /// # Errors
    /// `Fix` when none is named; `Missing` when there is none; those of the requests.
    pub async fn repo(&self) -> Result<Repo> {
        let address = self.settings.value("repo").ok_or_else(|| {
            let message = "no repo is named: give --repo URL, or set BEDLOAD_REPO, or `repo` in bedload.toml";
            Error::new(ErrorKind::Fix, message)
        })?;
        let opened = self.options()?.read_only().open(address).await;
        opened.map_err(|error| match (error.kind(), self.settings.origin("repo")) {
            // Who wrote it there may be somebody else, long ago.
            (ErrorKind::Fix | ErrorKind::Missing, Origin::Environment(_) | Origin::File(_)) => {
                error.context(format!("from {}", self.settings.origin("repo")))
            }
            _ => error,
        })
    }

    /// A repo to write into: what is none yet becomes one.
    ///
    /// # Errors
    /// As [`RepoOptions::open`].
    pub async fn repo_to_fill(&self, address: &str) -> Result<Repo> {
        self.options()?.open(address).await
    }

    /// How repos are opened.
    ///
    /// # Errors
    /// `Fix` for settings that are none.
    pub fn options(&self) -> Result<RepoOptions> {
        let patience = Patience {
            tries: self.settings.tries()?,
            request_limit: self.settings.request_limit()?,
            ..Patience::default()
        };
        Ok(RepoOptions::default().patience(patience))
    }

    /// The job that was named, or that of the settings.
    ///
    /// # Errors
    /// `Fix` when neither names one.
    pub fn job(&self, named: Option<&JobName>) -> Result<JobName> {
        match (named, self.settings.value("job")) {
            (Some(job), _) => Ok(job.clone()),
            (None, Some(job)) => JobName::new(job),
            (None, None) => {
                let message = "no job is named: give one, or set `job` in bedload.toml or BEDLOAD_JOB";
                Err(Error::new(ErrorKind::Fix, message))
            }
        }
    }

    /// The same, where the repo has it: a misspelt name must not look like an empty job.
    ///
    /// # Errors
    /// `Missing` when there is no such job; those of the requests.
    pub async fn existing_job(&self, repo: &Repo, named: Option<&JobName>) -> Result<JobName> {
        let job = self.job(named)?;
        if jobs(repo).await?.contains(&job) {
            return Ok(job);
        }
        Err(no_such_job(repo, &job))
    }

    /// Looks a checkpoint up.
    ///
    /// # Errors
    /// As [`Reference::find`].
    pub async fn find(&self, repo: &Repo, reference: &Reference) -> Result<Found> {
        reference.find(repo, self.settings.value("job")).await
    }

    /// Who this is, in leases.
    pub fn holder(&self) -> String {
        let here = || {
            let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("bedload, process {} on {}", std::process::id(), machine.trim())
        };
        self.settings.value("holder").map_or_else(here, str::to_owned)
    }
}
