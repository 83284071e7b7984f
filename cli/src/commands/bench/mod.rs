//! `bedload bench`: what this machine, this disk and this repo do with a job's load.
//!
//! Three measurements, one after the other, all in one folder, which is removed at the end, also after Ctrl-C: counters are updated while
//! checkpoints are shipped ([`load`]); the last checkpoint is restored into fresh folders, lazily and as a whole ([`restore`]); what was
//! restored is compared with what was written.

mod chart;
mod load;
mod page;
mod report;
mod restore;
mod spread;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bedload::{Error, ErrorKind, JobName, Repo, Result};
use bedload_lsm::fs::{DiskFs, Fs};
use bedload_snapshot::{erase, retire};
use clap::Args;

use self::report::{Checkpoints, Fill, Report, Restore, Updates};
use crate::context::Context;
use crate::exit;
use crate::files::{remove_folder, write_whole};
use crate::interrupt::Interrupt;
use crate::text::size;

/// How long requests that were given up may still be on their way.
const LATE: Duration = Duration::from_millis(300);
/// Room that is asked for: for each key, for each byte of memory, and beside both. Two restores and a repo lie beside the state.
const ROOM_PER_KEY: u64 = 256;
const ROOM_PER_MEMORY: u64 = 2;
const ROOM_BESIDE: u64 = 128 << 20;

/// Measures updates, checkpoints and restores on your own disk and repo.
///
/// Counters of many keys are read, changed and written, in no order, while a checkpoint each second is shipped to the repo. The last one
/// is restored twice into fresh folders: lazily, where reads are served before the download is over, and as a whole. At the end every
/// restored counter is compared with what it must be: exit code 4 when one differs.
///
/// Without a repo, one beside the state is used: that measures the disk, and no network. All lies in one folder in DIR, which is removed
/// at the end and after Ctrl-C. In a repo that is named, the job is called bench- and a random number; all of it is deleted at the end.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload bench /var/lib/board --html bench.html\n  bedload bench /var/lib/board --repo s3://checkpoints/trial \
                  --keys 20000000 --memory 256\n  bedload bench --json | jq '.updates.per_s, .checkpoints.pause_us.p99'"
)]
pub struct BenchArguments {
    /// The directory that state is to lie in.
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// How many keys have a counter.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,
    /// For how long they are updated.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Memory of the state; state that is larger lies on the disk.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..), value_name = "MIB")]
    memory: u32,
    /// Writes the report as one page with charts, too, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What is measured, and where.
struct Asked {
    folder: PathBuf,
    keys: u64,
    seconds: u64,
    memory_bytes: usize,
    seed: u64,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// `Missing` when the directory is not there; `Full` when it has too little room; those of the engine and of the repo.
pub async fn run(arguments: &BenchArguments, context: &Context) -> Result<u8> {
    let directory = directory(arguments)?;
    let mut interrupt = Interrupt::listen()?;
    let failed = |cause| Error::io("make a folder in", &directory, cause);
    let folder = tempfile::Builder::new().prefix("bedload-bench-").tempdir_in(&directory).map_err(failed)?;
    let asked = Asked {
        folder: folder.path().to_owned(),
        keys: arguments.keys,
        seconds: arguments.seconds,
        memory_bytes: (arguments.memory as usize) << 20,
        seed: random(),
    };
    let job = JobName::new(&format!("bench-{:016x}", random()))?;
    let (stop, opened) = (Arc::new(AtomicBool::new(false)), OnceLock::new());
    let measured = tokio::select! {
        measured = measure(&asked, context, &job, &opened, &stop) => Some(measured),
        () = interrupt.wait() => None,
    };
    stop.store(true, Ordering::Relaxed);
    let removed = remove_folder(folder).await;
    let left = match opened.get() {
        Some(opened) if !opened.is_temporary => clean(opened, &job, measured.is_none()).await,
        _ => Vec::new(),
    };
    let Some(measured) = measured else {
        removed?;
        eprintln!("interrupted; the folder was removed");
        left.iter().for_each(|left| eprintln!("{left}"));
        return Ok(exit::INTERRUPTED);
    };
    let mut report = measured.inspect_err(|_| left.iter().for_each(|left| eprintln!("{left}")))?;
    removed?;
    report.left = left;
    report.directory = directory.display().to_string();
    if let Some(path) = &arguments.html {
        write_whole(path, page::page(&report).as_bytes())?;
    }
    context.print(&report)?;
    Ok(if report.equal { exit::DONE } else { exit::DIFFERS })
}

/// The directory by its whole name, when there is room in it, and when the page can be written in the end.
fn directory(arguments: &BenchArguments) -> Result<PathBuf> {
    let named = &arguments.directory;
    let missing = |path: &Path, what: &str| Error::at(ErrorKind::Missing, path, None, what);
    let directory = std::fs::canonicalize(named).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => missing(named, "there is no such directory: make it, or name another one"),
        _ => Error::io("look at", named, cause),
    })?;
    if let Some(page) = &arguments.html {
        let folder = page.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(missing(folder, "there is no such directory for the page: make it, or name another one"));
        }
    }
    let needed = arguments.keys * ROOM_PER_KEY + (u64::from(arguments.memory) << 20) * ROOM_PER_MEMORY + ROOM_BESIDE;
    let free = DiskFs.space(&directory)?.free_bytes;
    if free < needed {
        let message = format!(
            "{} are free, and {} may be needed: name a directory on another disk, or fewer --keys",
            size(free),
            size(needed)
        );
        return Err(Error::at(ErrorKind::Full, directory, None, message));
    }
    Ok(directory)
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The repo that is measured.
struct Opened {
    repo: Repo,
    is_temporary: bool,
    /// Whether it was one before.
    was_repo: bool,
}

async fn open(asked: &Asked, context: &Context) -> Result<Opened> {
    let Some(address) = context.settings.value("repo") else {
        // What has a meaning of its own in an address.
        let path = asked.folder.join("repo").display().to_string();
        let path = path.replace('%', "%25").replace('#', "%23").replace('?', "%3f");
        let repo = context.options()?.open(&format!("file://{path}")).await?;
        return Ok(Opened { repo, is_temporary: true, was_repo: false });
    };
    // Whatever is wrong with it shows again when it is opened to write.
    let was_repo = context.options()?.read_only().open(address).await.is_ok();
    Ok(Opened { repo: context.repo_to_fill(address).await?, is_temporary: false, was_repo })
}

async fn measure(
    asked: &Asked,
    context: &Context,
    job: &JobName,
    opened: &OnceLock<Opened>,
    stop: &Arc<AtomicBool>,
) -> Result<Report> {
    context.progress("opening the repo");
    let Opened { repo, is_temporary, .. } = {
        let found = open(asked, context).await?;
        opened.get_or_init(|| found)
    };
    let loaded = load::run(asked, repo, job, stop, &|line| context.progress(line)).await?;
    let last = loaded.checkpoints.last().expect("there is one before the updates").id;
    let (seed, updates, keys) = (asked.seed, loaded.updates_before_last, asked.keys);
    let counters = tokio::task::spawn_blocking(move || load::counters_after(seed, updates, keys)).await;
    let counters = counters.map_err(|cause| Error::new(ErrorKind::Bug, format!("counting in memory: {cause}")))?;
    let restored = restore::run(asked, repo, job, last, counters, stop, &|line| context.progress(line)).await?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        directory: String::new(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        repo: repo.to_string(),
        repo_is_temporary: *is_temporary,
        job: job.to_string(),
        keys: asked.keys,
        memory_bytes: asked.memory_bytes as u64,
        state_bytes: loaded.store_bytes,
        fill: Fill::new(&loaded, asked.keys),
        updates: Updates::new(&loaded),
        checkpoints: Checkpoints::new(&loaded.checkpoints),
        restore: Restore::new(&restored, last.to_string()),
        equal: restored.equal,
        left: Vec::new(),
    })
}

/// Deletes the job; gives what is left in the repo.
async fn clean(opened: &Opened, job: &JobName, was_given_up: bool) -> Vec<String> {
    let Opened { repo, was_repo, .. } = opened;
    let mut left = Vec::new();
    let erased = async {
        retire(repo, job, "the measurement is over").await?;
        let mut erased = erase(repo, job).await?;
        if was_given_up {
            tokio::time::sleep(LATE).await;
            erased = erase(repo, job).await?;
        }
        Ok::<_, Error>(erased)
    };
    match erased.await {
        Ok(erased) => left.extend(
            erased.unknown.iter().map(|path| format!("left in {repo}: {path}, which is not of the measurement")),
        ),
        Err(error) => left.push(format!("left in {repo}: job {job}, which could not be deleted: {error}")),
    }
    if !was_repo {
        left.push(format!("left in {repo}: bedload.json, which makes a repo of the place"));
    }
    left
}
