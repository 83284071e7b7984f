//! `bedload doctor`: whether a directory and a repo are fit for a job.

mod disk;
mod place;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bedload::{Error, ErrorKind, Result};
use clap::Args;

use self::place::{Sharing, Shown};
use self::report::{Findings, Report};
use crate::context::Context;
use crate::exit;
use crate::interrupt::Interrupt;

/// Tries out whether a directory and a repo are fit for a job, and says what to do where they are not.
///
/// In the directory it makes a folder, with a file that it links, appends to and syncs. In the repo it creates, lists, reads and deletes
/// a few small objects, which no job sees; what is no repo yet is not made one. Nothing of all that is left. Exit code 3 says that there
/// is something to do.
///
/// Whether two machines reach the same place by an address is proved by a probe: one runs `--show-probe` and waits, the other one is told
/// what to run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload doctor /var/lib/board --repo s3://checkpoints/board\n  bedload doctor --repo file:///mnt/checkpoints \
                  --show-probe\n  bedload doctor --json | jq -r '.problems[].advice'"
)]
pub struct DoctorArguments {
    /// The directory that working state is to lie in.
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Writes a probe to the repo, prints what to run on another machine, and waits until that has found it.
    #[arg(long, conflicts_with = "find_probe")]
    show_probe: bool,
    /// How long `--show-probe` waits.
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME", requires = "show_probe")]
    wait: Duration,
    /// Looks for the probe that `--show-probe` wrote on another machine.
    #[arg(long, value_parser = Shown::understand, value_name = "PROBE")]
    find_probe: Option<Shown>,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// `Missing` when the directory is not there; `Fix` when a probe is asked for and no repo is named.
pub async fn run(arguments: &DoctorArguments, context: &Context) -> Result<u8> {
    let mut interrupt = Interrupt::listen()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut examined = Box::pin(examine(arguments, context, &stop));
    tokio::select! {
        report = &mut examined => {
            let report = report?;
            context.print(&report)?;
            Ok(if report.ready { exit::DONE } else { exit::PROBLEMS })
        }
        () = interrupt.wait() => {
            stop.store(true, Ordering::Relaxed);
            // Whatever it found: what it has put somewhere is removed.
            examined.await.ok();
            eprintln!("interrupted; nothing was left");
            Ok(exit::INTERRUPTED)
        }
    }
}

async fn examine(arguments: &DoctorArguments, context: &Context, stop: &Arc<AtomicBool>) -> Result<Report> {
    let address = context.settings.value("repo");
    let sharing = match (&arguments.find_probe, arguments.show_probe) {
        (Some(shown), _) => Some(Sharing::Find(shown.clone())),
        (None, true) => Some(Sharing::Show(arguments.wait)),
        (None, false) => None,
    };
    if sharing.is_some() && address.is_none() {
        return Err(Error::new(ErrorKind::Fix, "a probe is written to a repo: give --repo URL"));
    }
    context.progress("trying the directory out");
    let (directory, asked) = (arguments.directory.clone(), Arc::clone(stop));
    let on_disk = tokio::task::spawn_blocking(move || {
        let mut findings = Findings::default();
        disk::examine(&directory, &asked, &mut findings).map(|directory| (directory, findings))
    });
    let on_disk =
        on_disk.await.map_err(|cause| Error::new(ErrorKind::Bug, format!("trying a directory out: {cause}")))?;
    let (directory, mut findings) = on_disk?;
    let repo = match address {
        Some(address) if !stop.load(Ordering::Relaxed) => {
            Some(place::examine(context, address, sharing.as_ref(), stop, &mut findings).await?)
        }
        Some(_) => None,
        None => {
            findings.remark("no repo is named: with --repo URL it is tried out, too");
            None
        }
    };
    Ok(Report { ready: findings.problems.is_empty(), directory, repo, findings })
}
