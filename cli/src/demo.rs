//! `bedload demo`: all in one folder, which is removed at its end, also after Ctrl-C.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::BufReader;
use std::path::Path;

use bedload::{Error, ErrorKind, JobName, Repo, Result};
use bedload_lsm::fs::{DiskFs, Fs, FsKind};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::files::remove_folder;
use crate::fleet::Fleet;
use crate::job::{JobOptions, KEY_GROUPS, Schedule, run};
use crate::protocol::Input;
use crate::report::Report;
use crate::screen::Screen;
use crate::text::{number, size};
use crate::{exit, lines, streams};

/// What was asked for.
pub struct Demo {
    pub repo: Option<String>,
    pub years: u64,
    /// Which part of each year.
    pub part: f64,
    pub from_pipe: bool,
    pub memory_mib: usize,
    pub seed: Option<u64>,
    pub keeps: bool,
    pub is_json: bool,
    pub loses_a_record: bool,
}

/// Flights of the year.
const ROWS: u64 = 336_776;

/// Runs it; gives the exit code.
///
/// # Errors
/// Those of the folder, the repo, the input, and of the job.
pub async fn demo(asked: &Demo) -> Result<u8> {
    let failed = |cause| Error::io("wait for signals", "this process", cause);
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let temporary = std::env::temp_dir();
    let folder = tempfile::Builder::new().prefix("bedload-demo-").tempdir();
    let folder = folder.map_err(|cause| Error::io("make a folder in", &temporary, cause))?;
    let (mut fleet, mut screen) = (Fleet::new(), Screen::new(asked.is_json));
    if let Ok(FsKind::Doubtful(name)) = DiskFs.kind(folder.path()) {
        let place = temporary.display();
        screen.print(&format!(
            "{place} is on {name}: state that outgrows memory should not be; TMPDIR names another place"
        ));
    }
    let ended = tokio::select! {
        ended = scenes(asked, folder.path(), &mut fleet, &mut screen) => Some(ended),
        _ = interrupted.recv() => None,
        _ = terminated.recv() => None,
    };
    screen.clear();
    fleet.end().await;
    let Some(ended) = ended else {
        remove_folder(folder).await?;
        eprintln!("interrupted; the folder was removed");
        return Ok(exit::INTERRUPTED);
    };
    let (input, mut report) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            // The first error is the one to tell.
            remove_folder(folder).await.ok();
            return Err(error);
        }
    };
    if asked.keeps {
        report.kept = Some(keep(folder)?);
    } else {
        remove_folder(folder).await?;
    }
    screen.print(&report.text(input.noun(), input.sums()));
    screen.print(&end(&report, asked.repo.is_some()));
    if asked.is_json {
        streams::print(&(serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n"))?;
    }
    Ok(if report.equal { exit::DONE } else { exit::FAILED })
}

/// The job, and the same in plain collections.
async fn scenes(asked: &Demo, folder: &Path, fleet: &mut Fleet, screen: &mut Screen) -> Result<(Input, Report)> {
    let input = input(asked, folder, screen).await?;
    let records = input.records();
    let seed = asked.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() % 1_000_000);
    let address = match &asked.repo {
        Some(address) => address.clone(),
        None => format!("file://{}", folder.join("repo").display()),
    };
    let repo = Repo::open(&address).await?;
    // In a repo that others use too, every run is a job of its own.
    let name = match &asked.repo {
        Some(_) => format!("demo-{:08x}", RandomState::new().build_hasher().finish() >> 32),
        None => "demo".to_owned(),
    };
    screen.print(&format!(
        "{} {}, seed {seed}: 2 workers of {} each, {KEY_GROUPS} key groups\nfolder {}\nrepo   {repo}\njob    {name}\n",
        number(records),
        describe(&input),
        size((asked.memory_mib as u64) << 20),
        folder.display(),
    ));
    let options = JobOptions {
        repo: repo.clone(),
        name: JobName::new(&name)?,
        input: input.clone(),
        folder: folder.to_owned(),
        memory_bytes: asked.memory_mib << 20,
        schedule: Schedule::new(records, seed),
        loses_a_record: asked.loses_a_record,
    };
    let (mut report, totals) = run(options, fleet, screen).await?;
    let began = Instant::now();
    let counted = input.clone();
    let plain = tokio::task::spawn_blocking(move || counted.count_plainly()).await;
    let plain = plain.map_err(|cause| Error::new(ErrorKind::Bug, format!("counting in memory: {cause}")))??;
    report.plain_seconds = began.elapsed().as_secs_f64();
    report.input = format!("{} {}", number(records), describe(&input));
    (report.records, report.seed, report.key_groups) = (records, seed, KEY_GROUPS);
    (report.repo, report.job) = (repo.to_string(), name);
    report.memory_bytes_per_worker = (asked.memory_mib as u64) << 20;
    report.compare(input.sums(), &totals, &plain);
    Ok((input, report))
}

fn describe(input: &Input) -> String {
    match input {
        Input::Flights { years: 1, .. } => "flights out of New York in 2013".to_owned(),
        Input::Flights { years, .. } => format!("flights: {years} times those out of New York in 2013"),
        Input::Lines { .. } => "lines from standard input, by key".to_owned(),
    }
}

async fn input(asked: &Demo, folder: &Path, screen: &mut Screen) -> Result<Input> {
    if !asked.from_pipe {
        let rows = ((ROWS as f64 * asked.part) as u64).clamp(1, ROWS);
        return Ok(Input::Flights { rows, years: asked.years });
    }
    let path = folder.join("input");
    let into = path.clone();
    let kept = tokio::task::spawn_blocking(move || lines::keep(BufReader::new(std::io::stdin()), &into, |_| ())).await;
    let kept = kept.map_err(|cause| Error::new(ErrorKind::Bug, format!("reading standard input: {cause}")))??;
    if kept.passed_over > 0 {
        let noun = if kept.passed_over == 1 { "line without a tab was" } else { "lines without a tab were" };
        screen.print(&format!("{} {noun} passed over", number(kept.passed_over)));
    }
    if kept.records == 0 {
        return Err(Error::new(
            ErrorKind::Fix,
            "standard input has no line with a tab: expected key<TAB>value, or the output of `git log --name-status`",
        ));
    }
    Ok(Input::Lines { path, records: kept.records })
}

/// Keeps the repo; what workers had goes. Gives where it is.
fn keep(folder: TempDir) -> Result<String> {
    let path = folder.keep();
    let failed = |cause| Error::io("clean up", &path, cause);
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with("worker-") {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(path.display().to_string())
}

/// What is left, and what to do with it.
fn end(report: &Report, has_own_repo: bool) -> String {
    let Report { repo, job, kept, .. } = report;
    match kept {
        Some(folder) => format!("kept: {folder}\n\n{}", next(repo, job)),
        None if has_own_repo => format!(
            "the folder was removed; the checkpoints of job {job} are in {repo}: nothing was deleted there\n\n{}",
            next(repo, job)
        ),
        None => "the folder was removed; --keep keeps it, and tells what can be tried with its checkpoints".to_owned(),
    }
}

/// Commands to try at the checkpoints that are left.
fn next(repo: &str, job: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "bedload".to_owned());
    let commands = [
        (format!("ls {job}"), "its checkpoints"),
        (format!("show {job}@latest"), "of what the newest consists"),
        (format!("scan {job}@latest --limit 5"), "what it holds"),
        (format!("diff {job}@latest~1 {job}@latest"), "what it has that the one before has not"),
        (format!("verify {job}"), "whether all can be restored"),
        (format!("rescale plan {job}@latest 5"), "what five workers would take of it"),
        (format!("gc {job} --keep-last 1 --grace 0s"), "what could be deleted; nothing is, without --apply"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let mut text = format!("to look at them:\n  export BEDLOAD_REPO='{repo}'\n");
    for (command, means) in commands {
        text.push_str(&format!("  {program} {command:<width$}  # {means}\n"));
    }
    text.trim_end().to_owned()
}
