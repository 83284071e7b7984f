//! `bedload ls`: the jobs of a repo, and the checkpoints of a job.

use bedload::{JobName, Repo, Result};
use bedload_snapshot::{Chain, Completion, jobs, pins};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::text::{ago, number, rfc3339, table};

/// Lists the jobs of a repo, or the checkpoints of a job.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload ls --repo s3://checkpoints/board\n  bedload ls late-board --json | jq -r '.checkpoints[].checkpoint'"
)]
pub struct LsArguments {
    /// The job whose checkpoints are listed, newest first.
    #[arg(value_parser = JobName::new)]
    job: Option<JobName>,
}

#[derive(Serialize)]
struct Jobs {
    repo: String,
    now_ms: u64,
    jobs: Vec<JobLine>,
}

#[derive(Serialize)]
struct JobLine {
    job: JobName,
    checkpoints: usize,
    pins: usize,
    newest: Option<String>,
    newest_completed_at_ms: Option<u64>,
    key_groups: Option<u32>,
    workers: Option<usize>,
}

#[derive(Serialize)]
struct Checkpoints {
    repo: String,
    job: JobName,
    now_ms: u64,
    checkpoints: Vec<CheckpointLine>,
}

#[derive(Serialize)]
struct CheckpointLine {
    checkpoint: String,
    completed_at_ms: u64,
    key_groups: u32,
    workers: usize,
    pins: Vec<String>,
    /// Whether it exists: a pin keeps one that has expired, too.
    has_expired: bool,
}

impl Answer for Jobs {
    fn text(&self) -> String {
        if self.jobs.is_empty() {
            return format!("no job in {}\n", self.repo);
        }
        let heads = ["job", "newest", "completed", "checkpoints", "pins", "workers", "key groups"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for job in &self.jobs {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            rows.push(vec![
                job.job.to_string(),
                or_dash(job.newest.clone()),
                or_dash(job.newest_completed_at_ms.map(|at| ago(at, self.now_ms))),
                number(job.checkpoints as u64),
                number(job.pins as u64),
                or_dash(job.workers.map(|count| number(count as u64))),
                or_dash(job.key_groups.map(number)),
            ]);
        }
        table(&rows)
    }
}

impl Answer for Checkpoints {
    fn text(&self) -> String {
        if self.checkpoints.is_empty() {
            return format!("job {} of {} has no checkpoint\n", self.job, self.repo);
        }
        let heads = ["checkpoint", "completed", "", "workers", "key groups", "pins"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for line in &self.checkpoints {
            let mut pins = line.pins.join(", ");
            if line.has_expired {
                pins.push_str(" (expired)");
            }
            rows.push(vec![
                format!("{}@{}", self.job, line.checkpoint),
                rfc3339(line.completed_at_ms),
                ago(line.completed_at_ms, self.now_ms),
                number(line.workers as u64),
                number(line.key_groups),
                pins,
            ]);
        }
        table(&rows)
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &LsArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    match &arguments.job {
        Some(job) => {
            let job = context.existing_job(&repo, Some(job)).await?;
            context.print(&checkpoints(&repo, &job).await?)?;
        }
        None => {
            let mut lines = Vec::new();
            for job in jobs(&repo).await? {
                lines.push(line(&repo, job).await?);
            }
            context.print(&Jobs { repo: repo.to_string(), now_ms: repo.ambient().now_ms(), jobs: lines })?;
        }
    }
    Ok(exit::DONE)
}

async fn line(repo: &Repo, job: JobName) -> Result<JobLine> {
    let chain = Chain::read(repo, &job).await?;
    let newest = chain.state().newest().map(|(_, newest)| newest);
    Ok(JobLine {
        checkpoints: chain.state().live().len(),
        pins: pins(repo, &job).await?.len(),
        newest: newest.map(|newest| newest.checkpoint.to_string()),
        newest_completed_at_ms: newest.map(|newest| newest.completed_at_ms),
        key_groups: newest.map(|newest| newest.key_groups),
        workers: newest.map(|newest| newest.claims.len()),
        job,
    })
}

async fn checkpoints(repo: &Repo, job: &JobName) -> Result<Checkpoints> {
    let chain = Chain::read(repo, job).await?;
    let pins = pins(repo, job).await?;
    let line = |completion: &Completion, has_expired: bool| CheckpointLine {
        checkpoint: completion.checkpoint.to_string(),
        completed_at_ms: completion.completed_at_ms,
        key_groups: completion.key_groups,
        workers: completion.claims.len(),
        pins: pins
            .iter()
            .filter(|(_, pin)| pin.checkpoint.completion.checkpoint == completion.checkpoint)
            .map(|(name, _)| name.to_string())
            .collect(),
        has_expired,
    };
    let live = chain.state().live();
    let mut found: Vec<(u64, CheckpointLine)> =
        live.iter().map(|(slot, completion)| (*slot, line(completion, false))).collect();
    for (_, pin) in &pins {
        let slot = pin.checkpoint.slot;
        if found.iter().all(|(listed, _)| *listed != slot) {
            found.push((slot, line(&pin.checkpoint.completion, true)));
        }
    }
    found.sort_by_key(|(slot, _)| std::cmp::Reverse(*slot));
    let checkpoints = found.into_iter().map(|(_, line)| line).collect();
    Ok(Checkpoints { repo: repo.to_string(), job: job.clone(), now_ms: repo.ambient().now_ms(), checkpoints })
}
