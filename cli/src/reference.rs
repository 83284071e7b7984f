//! How people name a checkpoint: `JOB@3-18`, `JOB@latest`, `JOB@latest~2`.

use std::fmt;
use std::str::FromStr;

use bedload::{CheckpointId, Error, ErrorKind, JobName, Repo, Result};
use bedload_snapshot::{Chain, LiveCompletion, pins};

/// A checkpoint as it was named. The job may be left out where the settings name one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub job: Option<JobName>,
    pub which: Which,
}

/// Which of a job's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest, or so many before it.
    Latest { before: usize },
    /// This one.
    At(CheckpointId),
}

/// A checkpoint that exists.
#[derive(Clone, Debug)]
pub struct Found {
    pub job: JobName,
    pub live: LiveCompletion,
}

impl Found {
    /// Which it is.
    pub fn id(&self) -> CheckpointId {
        self.live.completion.checkpoint
    }
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.job, self.id())
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads `JOB@ID`, `@ID`, `JOB` (which means its latest), with `latest` and `latest~N` as ids.
    fn from_str(text: &str) -> Result<Reference> {
        let (job, which) = text.split_once('@').unwrap_or((text, "latest"));
        let job = if job.is_empty() { None } else { Some(JobName::new(job)?) };
        let which = match which.strip_prefix("latest") {
            Some("") => Which::Latest { before: 0 },
            Some(rest) => {
                let before = rest.strip_prefix('~').and_then(|count| count.parse().ok());
                Which::Latest { before: before.ok_or_else(|| not_understood(text))? }
            }
            None => Which::At(which.parse().map_err(|_| not_understood(text))?),
        };
        Ok(Reference { job, which })
    }
}

/// The error for a job that the repo does not have.
pub fn no_such_job(repo: &Repo, job: &JobName) -> Error {
    Error::new(ErrorKind::Missing, format!("there is no job {job} in {repo}: `bedload ls` lists those that are"))
}

fn not_understood(text: &str) -> Error {
    let text: String = text.chars().take(150).collect();
    let message = format!("{text:?} names no checkpoint: expected JOB@3-18, JOB@latest or JOB@latest~2");
    Error::new(ErrorKind::Fix, message)
}

impl Reference {
    /// Looks it up; `default_job` is meant where it names none. What a pin keeps is found by its id.
    ///
    /// # Errors
    /// `Missing` when it does not exist; `Fix` when no job is named; those of the requests.
    pub async fn find(&self, repo: &Repo, default_job: Option<&str>) -> Result<Found> {
        let job = match (&self.job, default_job) {
            (Some(job), _) => job.clone(),
            (None, Some(job)) => JobName::new(job)?,
            (None, None) => {
                let message = "no job is named: write JOB@ID, or set `job` in bedload.toml or BEDLOAD_JOB";
                return Err(Error::new(ErrorKind::Fix, message));
            }
        };
        let chain = Chain::read(repo, &job).await?;
        if chain.state().next_slot() <= 1 {
            return Err(no_such_job(repo, &job));
        }
        let live = chain.state().live();
        let found = match self.which {
            Which::Latest { before } => live.iter().rev().nth(before),
            Which::At(id) => live.iter().find(|(_, completion)| completion.checkpoint == id),
        };
        if let Some((slot, completion)) = found {
            return Ok(Found { job, live: LiveCompletion { slot: *slot, completion: completion.clone() } });
        }
        if let Which::At(id) = self.which {
            let kept = pins(repo, &job).await?.into_iter().map(|(_, pin)| pin.checkpoint);
            if let Some(live) = kept.into_iter().find(|kept| kept.completion.checkpoint == id) {
                return Ok(Found { job, live });
            }
        }
        let place = format!("{repo}/jobs/{job}");
        let message = match (self.which, live.len()) {
            (_, 0) => "it has no checkpoint yet; `bedload leases` shows whether one is being made".to_owned(),
            (Which::Latest { before }, count) => format!("latest~{before} does not exist: there are {count}"),
            (Which::At(id), _) => {
                let newest: Vec<String> = live.values().rev().take(5).map(|live| live.checkpoint.to_string()).collect();
                format!("checkpoint {id} does not exist; the newest are: {}", newest.join(", "))
            }
        };
        Err(Error::at(ErrorKind::Missing, place, None, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_in_all_their_forms() {
        let job = Some(JobName::new("board").unwrap());
        let latest = |before| Which::Latest { before };
        let at = Which::At(CheckpointId { epoch: 3, number: 18 });
        for (text, expected) in [
            ("board@3-18", Reference { job: job.clone(), which: at }),
            ("board@latest", Reference { job: job.clone(), which: latest(0) }),
            ("board@latest~2", Reference { job: job.clone(), which: latest(2) }),
            ("board", Reference { job, which: latest(0) }),
            ("@latest", Reference { job: None, which: latest(0) }),
            ("@3-18", Reference { job: None, which: at }),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap(), expected, "{text}");
        }
        for text in ["board@", "board@lates", "board@latest~", "board@latest~x", "board@03-18", "a b@latest", "board@3"]
        {
            text.parse::<Reference>().expect_err(text);
        }
    }
}
