//! `bedload rescale plan`: what each worker would need, were there more or fewer of them.

use std::path::PathBuf;

use bedload::{Cuts, Error, ErrorKind, Result};
use bedload_snapshot::{RescalePlan, Start, plan_rescale};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::directory::Directory;
use crate::exit;
use crate::reference::Reference;
use crate::text::{number, size, table};

/// Tells what another number of workers would cost.
#[derive(Debug, Args)]
pub struct RescaleArguments {
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Debug, Subcommand)]
enum Asked {
    Plan(PlanArguments),
}

/// Tells how key groups would be cut for so many workers, and what each would fetch. Changes nothing.
///
/// A job is rescaled by starting it with another number of workers. No run is rewritten for that: a run that several workers need is read by
/// each of them, clipped to its key groups.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload rescale plan late-board 3\n  bedload rescale plan late-board@latest 8 --by-bytes"
)]
struct PlanArguments {
    /// The checkpoint.
    checkpoint: Reference,
    /// How many workers.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,
    /// Cuts so that the largest worker is as small as can be, in the place of equal numbers of key groups.
    #[arg(long)]
    by_bytes: bool,
    /// A worker's directory: what it holds need not be fetched. No worker may run there meanwhile.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Serialize)]
struct Planned {
    checkpoint: String,
    workers: Vec<WorkerLine>,
    /// Runs that more than one worker reads.
    shared_runs: usize,
    rewritten_bytes: u64,
    fetch_bytes: u64,
}

#[derive(Serialize)]
struct WorkerLine {
    first_group: u16,
    last_group: u16,
    content_bytes: u64,
    runs: usize,
    clipped_runs: usize,
    fetch_bytes: u64,
    local_bytes: u64,
}

impl Answer for Planned {
    fn text(&self) -> String {
        let heads = ["worker", "key groups", "entries", "runs", "clipped", "to fetch", "here"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for (index, worker) in self.workers.iter().enumerate() {
            rows.push(vec![
                index.to_string(),
                format!("{}..={}", worker.first_group, worker.last_group),
                size(worker.content_bytes),
                number(worker.runs as u64),
                number(worker.clipped_runs as u64),
                size(worker.fetch_bytes),
                size(worker.local_bytes),
            ]);
        }
        let (shared, fetch) = (number(self.shared_runs as u64), size(self.fetch_bytes));
        format!(
            "{} for {} workers\n{}{shared} runs are read by more than one; {fetch} to fetch; {} rewritten\n",
            self.checkpoint,
            self.workers.len(),
            table(&rows),
            size(self.rewritten_bytes)
        )
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &RescaleArguments, context: &Context) -> Result<u8> {
    let Asked::Plan(arguments) = &arguments.asked;
    let repo = context.repo().await?;
    let found = context.find(&repo, &arguments.checkpoint).await?;
    let pool = match arguments.dir.as_deref() {
        Some(path) if !path.is_dir() => {
            return Err(Error::at(ErrorKind::Missing, path, None, "there is no such directory"));
        }
        Some(path) => Directory::look(path)?,
        None => None,
    };
    let cuts = if arguments.by_bytes { Cuts::Bytes } else { Cuts::Groups };
    let plan = plan_rescale(&repo, &found.job, Start::At(found.id()), arguments.workers, cuts, pool.as_ref()).await?;
    let RescalePlan { workers, shared_runs } =
        plan.ok_or_else(|| Error::new(ErrorKind::Missing, format!("{found} is gone")))?;
    let fetch_bytes = workers.iter().map(|worker| worker.fetch_bytes).sum();
    let workers = workers.iter().map(|worker| WorkerLine {
        first_group: worker.groups.first,
        last_group: worker.groups.last,
        content_bytes: worker.content_bytes,
        runs: worker.runs,
        clipped_runs: worker.clipped_runs,
        fetch_bytes: worker.fetch_bytes,
        local_bytes: worker.local_bytes,
    });
    context.print(&Planned {
        checkpoint: found.to_string(),
        workers: workers.collect(),
        shared_runs,
        rewritten_bytes: 0,
        fetch_bytes,
    })?;
    Ok(exit::DONE)
}
