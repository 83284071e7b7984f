//! `bedload copy`: a checkpoint into another repo, or under another job.

use bedload::{Error, ErrorKind, JobName, Result};
use bedload_snapshot::{Chain, CopyInto, CopyOptions, Start, copy as copy_checkpoint, jobs};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::reference::Reference;
use crate::text::{counted, size};

/// Copies a checkpoint into another repo, or under another job, where it stands by itself: a backup, a move, a job to try things with.
///
/// Each piece is checked on its way. No checkpoint exists in the target before all of it does; one that was interrupted is run again
/// with --into-existing. Copied into a job that has checkpoints, only what the newest of them lacks is sent.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bedload copy late-board@latest --to s3://backups/board\n  \
                  bedload copy late-board@3-18 --to s3://checkpoints/board --as trial")]
pub struct CopyArguments {
    /// The checkpoint.
    checkpoint: Reference,
    /// The repo to copy to; one comes to be where none is.
    #[arg(long, value_name = "URL")]
    to: String,
    /// The job to copy to (default: the same name).
    #[arg(long = "as", value_name = "JOB", value_parser = JobName::new)]
    job: Option<JobName>,
    /// Allows that the job exists: the copy becomes its newest checkpoint, and a coordinator that runs there completes nothing any more.
    #[arg(long)]
    into_existing: bool,
}

#[derive(Serialize)]
struct Copied {
    source: String,
    repo: String,
    checkpoint: String,
    copied_runs: usize,
    copied_bytes: u64,
    shared_runs: usize,
    shared_bytes: u64,
}

impl Answer for Copied {
    fn text(&self) -> String {
        let (copied, shared) = (counted(self.copied_runs, "run"), counted(self.shared_runs, "run"));
        format!(
            "{} is {} of {}\n  {copied} copied, {}; {shared} there already, {}\n",
            self.source,
            self.checkpoint,
            self.repo,
            size(self.copied_bytes),
            size(self.shared_bytes)
        )
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &CopyArguments, context: &Context) -> Result<u8> {
    let source = context.repo().await?;
    let found = context.find(&source, &arguments.checkpoint).await?;
    let target = context.repo_to_fill(&arguments.to).await?;
    let job = arguments.job.as_ref().unwrap_or(&found.job);
    if !arguments.into_existing && jobs(&target).await?.contains(job) {
        let is_empty = Chain::read(&target, job).await?.state().live().is_empty();
        let what =
            if is_empty { "exists without a checkpoint, as a copy leaves it that was interrupted" } else { "exists" };
        context.complain(&format!(
            "job {job} {what} in {target}: --as copies to another name; --into-existing makes the copy its newest checkpoint, and \
             ends what a coordinator does that runs there"
        ));
        return Ok(exit::REFUSED);
    }
    let options = CopyOptions {
        start: Start::At(found.id()),
        into: if arguments.into_existing { CopyInto::AnyJob } else { CopyInto::NewJob },
        holder: context.holder(),
        runs_at_once: context.settings.transfers()?,
    };
    let progress = |done: bedload_snapshot::CopyProgress| {
        context.progress(&format!("{found}: {} of {} copied", size(done.bytes), size(done.all_bytes)));
    };
    let copied = copy_checkpoint((&source, &found.job), (&target, job), &options, &progress).await?;
    let copied = copied.ok_or_else(|| Error::new(ErrorKind::Missing, format!("{found} is gone")))?;
    context.print(&Copied {
        source: found.to_string(),
        repo: target.to_string(),
        checkpoint: format!("{job}@{}", copied.checkpoint),
        copied_runs: copied.copied_runs,
        copied_bytes: copied.copied_bytes,
        shared_runs: copied.shared_runs,
        shared_bytes: copied.shared_bytes,
    })?;
    Ok(exit::DONE)
}
