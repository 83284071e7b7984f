//! Takes checkpoints of a large state, one after the other, and prints what is uploaded for what changed, what the writer waits, and
//! how long restores take.
//!
//! `cargo run --release -p tests --bin shipping -- --keys 20000000 --updates 1000000 --checkpoints 100`
//! `cargo run --release -p tests --bin shipping -- --keys 20000000 --rate 10000 --seconds-between 1`
//!
//! The writer has a thread of its own ([`writer`]); whoever takes checkpoints asks it for freezes and lets it go on while they are
//! shipped, one at a time.

mod figures;
mod latencies;
mod restores;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedload_lsm::Result;
use bedload_lsm::fs::DiskFs;
use bedload_snapshot::{
    Chain, CollectOptions, Deletes, Epoch, JobName, KeyGroups, LocalPool, Repo, Retention, ShipReport, Worker,
    WorkerName, collect,
};
use tests::{Arguments, Random};

use self::figures::Figures;
use self::writer::{Ask, Pace, Pause, Writer};

const HELP: &str = "\
Loads a store, updates it and takes checkpoints; at the end restores, lazily, whole, and from the worker's own copy.

Usage: shipping [options]

  --keys N             how many keys of 18 bytes with values of 100 (default 1000000)
  --updates N          updates between two checkpoints, which the writer makes while the first is shipped (default 100000)
  --rate N             instead: updates a second, whatever is shipped
  --seconds-between S  with --rate: seconds between two checkpoints (default 1); one that is not shipped by then delays the next
  --groups N           how many of the 128 key groups are updated (default 128)
  --checkpoints N      how many checkpoints, behind the first of all that was loaded (default 100)
  --memory-mib N       the memory budget of the store (default 256)
  --repo ADDRESS       where to (default memory://: with expired checkpoints collected)
  --directory D        working state (default: a temporary one, removed at the end)
  --rescale            also start with 2, 3 and again 1 workers, each with a checkpoint behind it
  --json               all figures as a line of JSON at the end
";

const VALUE_BYTES: usize = 100;
const ENTRY_BYTES: u64 = 18 + VALUE_BYTES as u64;
const GROUPS: u64 = 128;

#[expect(clippy::disallowed_methods, reason = "a command that measures time needs the clock")]
fn now() -> Instant {
    Instant::now()
}

/// A key: group, a spread number, the number.
fn key(number: u64, groups: u64) -> [u8; 18] {
    let mut key = [0; 18];
    let mixed = Random::new(number).draw();
    key[..2].copy_from_slice(&((number % groups) as u16).to_be_bytes());
    key[3..11].copy_from_slice(&mixed.to_be_bytes());
    key[11..].copy_from_slice(&number.to_be_bytes()[1..]);
    key
}

/// What a run of the command is about.
struct Load {
    keys: u64,
    pace: Pace,
    /// Between the starts of two checkpoints.
    between: Duration,
    groups: u64,
    checkpoints: u64,
    memory: usize,
    repo: String,
    rescales: bool,
}

impl Load {
    fn read(arguments: &Arguments) -> Load {
        let rate: Option<f64> = arguments.number("--rate");
        let seconds: Option<f64> = arguments.number("--seconds-between");
        Load {
            keys: arguments.number("--keys").unwrap_or(1_000_000),
            pace: rate.map_or(Pace::Count(arguments.number("--updates").unwrap_or(100_000)), Pace::Rate),
            between: rate.map_or(Duration::ZERO, |_| Duration::from_secs_f64(seconds.unwrap_or(1.0))),
            groups: arguments.number("--groups").unwrap_or(GROUPS),
            checkpoints: arguments.number("--checkpoints").unwrap_or(100),
            memory: arguments.number::<usize>("--memory-mib").unwrap_or(256) << 20,
            repo: arguments.text("--repo").unwrap_or("memory://").to_owned(),
            rescales: arguments.has("--rescale"),
        }
    }
}

/// One checkpoint's figures.
struct Shipped {
    changed_bytes: u64,
    report: ShipReport,
    pause: Pause,
    /// Began later than it should.
    late: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(HELP) {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let load = Load::read(&arguments);
    let (directory, _temporary) = arguments.directory("--directory");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be had");
    let mut figures = Figures::default();
    let ended = runtime.block_on(run(&directory, &load, &mut figures));
    // Also those before a failure.
    print!("{}", figures.table());
    if arguments.has("--json") {
        println!("{}", figures.json());
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(directory: &Path, load: &Load, figures: &mut Figures) -> Result<()> {
    let repo = Repo::open(&load.repo).await?;
    let job = JobName::new("shipping")?;
    let writer = Writer::start(&directory.join("work"), load)?;
    let shipped = ship_all(&repo, &job, directory, load, &writer).await?;
    let written = writer.stop()?;
    summarize(&shipped[1..], load, figures);
    figures.add_latencies("update_shipping", &written.shipping);
    figures.add_latencies("update_quiet", &written.quiet);
    if let Pace::Rate(_) = load.pace {
        figures.add("behind_pace_max_us", written.behind.as_nanos() as f64 / 1e3);
    }
    restores::restore_all(&repo, &job, directory, load, figures).await?;
    if load.rescales {
        restores::rescale_all(&repo, &job, directory, load, figures).await?;
    }
    Ok(())
}

/// Takes all checkpoints; prints a line for each as it goes.
async fn ship_all(repo: &Repo, job: &JobName, directory: &Path, load: &Load, writer: &Writer) -> Result<Vec<Shipped>> {
    let pool = LocalPool::open(Arc::new(DiskFs), directory.join("local"))?;
    let groups = KeyGroups::all(GROUPS as u32);
    let worker = Worker::new(repo, job, &WorkerName::new("w-0")?, groups, Arc::new(DiskFs)).keep_copies(&pool);
    let mut epoch = Epoch::start(repo, job, GROUPS as u32, "shipping").await?;
    let mut all = Vec::new();
    let live_bytes = (load.keys * ENTRY_BYTES) as f64;
    eprintln!("checkpoint  changed MB  uploaded MB  ratio  repo/live  rebased  shortening  pause us  waited us  all s");
    let mut due = now();
    for number in 0..=load.checkpoints {
        tokio::time::sleep_until(due.into()).await;
        let start = now();
        let late = load.between > Duration::ZERO && start > due + load.between / 10;
        due = start.max(due) + load.between;
        let barrier = epoch.begin().await?;
        let froze = writer.freeze().await?;
        let (claim, report) = worker.ship(froze.frozen, &barrier, froze.pause.whole.as_micros() as u64).await?;
        epoch.complete(&barrier, vec![claim]).await?;
        writer.ask(Ask::Shipped(worker.confirmed(barrier.checkpoint).await));
        let (changed_bytes, pause) = (froze.changed_bytes, froze.pause);
        eprintln!(
            "{number:10}  {:10.2}  {:11.2}  {:5.2}  {:9.2}  {:7}  {:10}  {:8}  {:9}  {:5.2}",
            changed_bytes as f64 / 1e6,
            report.uploaded_bytes as f64 / 1e6,
            report.uploaded_bytes as f64 / changed_bytes as f64,
            report.claimed_bytes as f64 / live_bytes,
            report.rebased_tiles,
            report.shortening_runs,
            pause.whole.as_micros(),
            pause.waited.as_micros(),
            start.elapsed().as_secs_f64(),
        );
        all.push(Shipped { changed_bytes, report, pause, late });
        if number % 10 == 9 && load.repo.starts_with("memory:") {
            clean(repo, job).await?;
        }
    }
    Ok(all)
}

async fn clean(repo: &Repo, job: &JobName) -> Result<()> {
    let mut chain = Chain::read(repo, job).await?;
    let retention = Retention { last: 1, ..Retention::default() };
    let expired = retention.expired(chain.state().live(), &BTreeSet::new());
    chain.expire(expired, "shipping").await?;
    collect(repo, job, &CollectOptions { grace_ms: 0, deletes: Deletes::Everything }).await?;
    Ok(())
}

/// Bytes of the second half, when the state has settled; pauses of all.
fn summarize(all: &[Shipped], load: &Load, figures: &mut Figures) {
    let half = &all[all.len() / 2..];
    let sum = |of: fn(&Shipped) -> u64| half.iter().map(of).sum::<u64>() as f64;
    let most = |of: &dyn Fn(&Shipped) -> f64| half.iter().map(of).fold(0.0, f64::max);
    let changed = sum(|shipped| shipped.changed_bytes);
    let live = (load.keys * ENTRY_BYTES) as f64;
    figures.add("checkpoints", all.len() as f64);
    figures.add("late_checkpoints", all.iter().filter(|shipped| shipped.late).count() as f64);
    figures.add("changed_mean_bytes", (changed / half.len() as f64).round());
    figures.add("uploaded_to_changed_ratio", sum(|shipped| shipped.report.uploaded_bytes) / changed);
    figures.add("parcels_to_changed_ratio", sum(|shipped| shipped.report.uploaded_parcel_bytes) / changed);
    let ratio = |shipped: &Shipped| shipped.report.uploaded_bytes as f64 / shipped.changed_bytes as f64;
    figures.add("uploaded_to_changed_max_ratio", most(&ratio));
    figures.add("repo_to_live_mean_ratio", sum(|shipped| shipped.report.claimed_bytes) / half.len() as f64 / live);
    figures.add("repo_to_live_max_ratio", most(&|shipped| shipped.report.claimed_bytes as f64 / live));
    figures.add_durations("pause", all.iter().map(|shipped| shipped.pause.whole));
    figures.add_durations("pause_running", all.iter().map(|shipped| shipped.pause.whole - shipped.pause.waited));
}
