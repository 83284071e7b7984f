//! `bedload leases`: who reads or makes which checkpoint, and what to do about holders that have died.

use bedload::{JobName, Result};
use bedload_snapshot::{Chain, FoundLease, leases};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::text::ago;

/// Lists who reads or makes which checkpoint of a job; declares the leases of holders that have died void.
///
/// A lease keeps what it names from being collected, for as long as it is there. Its holder removes it when it is done; one that was killed
/// could not. Void only what surely has no holder any more: a restore that goes on under a void lease may find its runs gone. It would fail
/// then, and never give wrong state.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload leases late-board\n  bedload leases late-board --void 5f1c09e2a7b34d6688aa01f2c3d4e5f6 --apply"
)]
pub struct LeasesArguments {
    /// The job; that of the settings when left out.
    #[arg(value_parser = JobName::new)]
    job: Option<JobName>,
    /// Declares this lease void (with --apply).
    #[arg(long, value_name = "LEASE")]
    void: Option<String>,
    /// Does it.
    #[arg(long, requires = "void")]
    apply: bool,
}

#[derive(Serialize)]
struct Leases {
    job: String,
    now_ms: u64,
    leases: Vec<LeaseLine>,
    voided: Option<String>,
    would_void: Option<String>,
}

#[derive(Serialize)]
struct LeaseLine {
    lease: String,
    holder: String,
    does: &'static str,
    checkpoint: Option<String>,
    written_ms: u64,
    is_over: bool,
}

impl LeaseLine {
    fn new(FoundLease { id, lease, written_ms, is_over }: FoundLease) -> LeaseLine {
        let (does, checkpoint) = match (lease.making, &lease.reading) {
            (Some(checkpoint), _) => ("makes", Some(checkpoint)),
            (None, Some(reading)) => ("reads", Some(reading.completion.checkpoint)),
            (None, None) => ("asks for the time", None),
        };
        let checkpoint = checkpoint.map(|checkpoint| checkpoint.to_string());
        LeaseLine { lease: id.to_string(), holder: lease.holder, does, checkpoint, written_ms, is_over }
    }
}

impl Answer for Leases {
    fn text(&self) -> String {
        let mut text = String::new();
        for LeaseLine { lease, holder, does, checkpoint, written_ms, is_over } in &self.leases {
            let age = ago(*written_ms, self.now_ms);
            let over = if *is_over { "; it is over, and keeps nothing" } else { "" };
            let checkpoint = checkpoint.as_deref().unwrap_or_default();
            text.push_str(format!("{lease}  {age}{over}\n  {holder} {does} {checkpoint}").trim_end());
            text.push('\n');
        }
        if self.leases.is_empty() {
            text.push_str(&format!("nobody reads or makes a checkpoint of {}\n", self.job));
        }
        if let Some(lease) = &self.voided {
            text.push_str(&format!("{lease} is void: it keeps nothing any more\n"));
        }
        if let Some(lease) = &self.would_void {
            text.push_str(&format!("would declare {lease} void; nothing was changed: --apply does it\n"));
        }
        text
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &LeasesArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let job = context.existing_job(&repo, arguments.job.as_ref()).await?;
    let mut chain = Chain::read(&repo, &job).await?;
    let found = leases(&repo, &chain).await?;
    let (mut voided, mut would_void) = (None, None);
    if let Some(name) = &arguments.void {
        let Some(FoundLease { id, .. }) = found.iter().find(|found| found.id.to_string() == *name) else {
            context.complain(&format!("job {job} has no lease {name}: `bedload leases {job}` lists those that it has"));
            return Ok(exit::NOT_FOUND);
        };
        if arguments.apply {
            chain.void(*id, "bedload leases --void").await?;
            voided = Some(name.clone());
        } else {
            would_void = Some(name.clone());
        }
    }
    let mut lines: Vec<LeaseLine> = found.into_iter().map(LeaseLine::new).collect();
    for line in lines.iter_mut().filter(|line| voided.as_ref() == Some(&line.lease)) {
        line.is_over = true;
    }
    let now_ms = repo.ambient().now_ms();
    context.print(&Leases { job: job.to_string(), now_ms, leases: lines, voided, would_void })?;
    Ok(exit::DONE)
}
