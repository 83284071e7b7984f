//! What every command is given: settings, the repo that they name, and where its answer goes.

use std::io::IsTerminal;

use bedload::{Error, ErrorKind, JobName, Patience, Repo, RepoOptions, Result};
use serde::Serialize;

use crate::reference::{Found, Reference};
use crate::settings::{Flags, Settings};

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

    /// Prints an answer on standard output.
    pub fn print<T: Answer>(&self, answer: &T) {
        if self.is_json {
            println!("{}", serde_json::to_string_pretty(answer).expect("an answer is plain data"));
        } else {
            print!("{}", answer.text());
        }
    }

    /// A line of progress on standard error, where somebody looks.
    pub fn progress(&self, line: &str) {
        if std::io::stderr().is_terminal() {
            eprintln!("{line}");
        }
    }

    /// The repo, of which nothing is changed by opening it.
    ///
    /// # Errors
    /// `Fix` when none is named; `Missing` when there is none; those of the requests.
    pub async fn repo_to_read(&self) -> Result<Repo> {
        self.options()?.read_only().open(self.address()?).await
    }

    /// The repo, to write into: what is none yet becomes one.
    ///
    /// # Errors
    /// As [`RepoOptions::open`]; `Fix` when none is named.
    pub async fn repo_to_write(&self) -> Result<Repo> {
        self.options()?.open(self.address()?).await
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

    fn address(&self) -> Result<&str> {
        self.settings.value("repo").ok_or_else(|| {
            let message = "no repo is named: give --repo URL, or set BEDLOAD_REPO, or `repo` in bedload.toml";
            Error::new(ErrorKind::Fix, message)
        })
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
