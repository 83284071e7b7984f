//! Takes checkpoints of a large state, one after the other, and prints what is uploaded for what changed.
//!
//! `cargo run --release -p tests --bin shipping -- --keys 20000000 --updates 1000000 --checkpoints 100`

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedload_lsm::fs::DiskFs;
use bedload_lsm::{Env, Result, Slot, Store};
use bedload_snapshot::{
    Chain, CollectOptions, Deletes, Epoch, Fetcher, JobName, KeyGroups, LocalPool, Repo, RestoreOptions, Retention,
    Start, Worker, WorkerName, collect, restore, restore_lazily,
};
use tests::{GroupedKeys, Random};

const HELP: &str = "\
Loads a store, then updates it and takes a checkpoint, again and again; at the end restores, lazily and whole.

Usage: shipping [options]

  --keys N         how many keys of 18 bytes with values of 100 (default 1000000)
  --updates N      how many updates lie between two checkpoints (default 100000)
  --groups N       how many of the 128 key groups are updated (default 128)
  --checkpoints N  how many checkpoints (default 100)
  --memory-mib N   the memory budget of the store (default 256)
  --repo ADDRESS   where to (default memory://: with expired checkpoints collected)
  --directory D    working state (default: a temporary one, removed at the end)
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
    updates: u64,
    groups: u64,
    checkpoints: u64,
    memory: usize,
    repo: String,
}

/// One checkpoint's figures.
struct Shipped {
    changed: u64,
    uploaded: u64,
    pause: Duration,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, usual: u64| {
        value(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    let load = Load {
        keys: number("--keys", 1_000_000),
        updates: number("--updates", 100_000),
        groups: number("--groups", GROUPS),
        checkpoints: number("--checkpoints", 100),
        memory: number("--memory-mib", 256) as usize,
        repo: value("--repo").unwrap_or_else(|| "memory://".to_owned()),
    };
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = value("--directory").map_or_else(|| temporary.path().to_owned(), std::path::PathBuf::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be had");
    match runtime.block_on(run(&directory, &load)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(directory: &std::path::Path, load: &Load) -> Result<()> {
    let repo = Repo::open(&load.repo).await?;
    let job = JobName::new("shipping")?;
    let groups = KeyGroups::all(GROUPS as u32);
    let env = Env::builder().memory(load.memory << 20).build()?;
    let mut store = Store::options().env(&env).shape(GroupedKeys).open(directory.join("work"))?;
    for number in 0..load.keys {
        store.put(&key(number, GROUPS), &[number as u8; VALUE_BYTES])?;
    }
    let pool = LocalPool::open(Arc::new(DiskFs), directory.join("local"))?;
    let worker = Worker::new(&repo, &job, &WorkerName::new("w-0")?, groups, Arc::new(DiskFs)).keep_copies(&pool);
    let mut epoch = Epoch::start(&repo, &job, GROUPS as u32, "shipping").await?;
    let mut random = Random::new(1);
    let mut figures = Vec::new();
    let mut seen = vec![false; load.keys as usize];
    println!("checkpoint  changed MB  uploaded MB  ratio  in repo/live  rebased  shortening  pause us  upload s");
    for number in 0..=load.checkpoints {
        let changed = if number == 0 { load.keys } else { update(&mut store, &mut random, load, &mut seen)? };
        let barrier = epoch.begin().await?;
        let start = now();
        let frozen = store.freeze()?;
        let pause = start.elapsed();
        let (claim, report) = worker.ship(frozen, &barrier, pause.as_micros() as u64).await?;
        epoch.complete(&barrier, vec![claim]).await?;
        if let Some(seal) = worker.confirmed(barrier.checkpoint).await {
            store.release(seal);
        }
        let (changed, uploaded) = (changed * ENTRY_BYTES, report.uploaded_bytes);
        println!(
            "{number:10}  {:10.2}  {:11.2}  {:5.2}  {:12.2}  {:7}  {:10}  {:8}  {:8.2}",
            changed as f64 / 1e6,
            uploaded as f64 / 1e6,
            uploaded as f64 / changed as f64,
            report.claimed_bytes as f64 / (load.keys * ENTRY_BYTES) as f64,
            report.rebased_tiles,
            report.shortening_runs,
            pause.as_micros(),
            start.elapsed().as_secs_f64(),
        );
        figures.push(Shipped { changed, uploaded, pause });
        if number % 10 == 9 && load.repo.starts_with("memory:") {
            clean(&repo, &job).await?;
        }
    }
    summarize(&figures[1..]);
    store.close()?;
    restore_both(&repo, &job, directory, load).await
}

/// Updates keys at random; gives how many different ones. `seen` has a place for each key; allocating here would make the
/// freeze behind it pay for what the allocator puts off.
fn update(store: &mut Store, random: &mut Random, load: &Load, seen: &mut [bool]) -> Result<u64> {
    seen.fill(false);
    let mut changed = 0;
    for _ in 0..load.updates {
        // The group of a key is its number's remainder.
        let drawn = random.below(load.keys);
        let number = (drawn - drawn % GROUPS + drawn % load.groups).min(load.keys - 1);
        changed += u64::from(!std::mem::replace(&mut seen[number as usize], true));
        store.update(&key(number, GROUPS), |slot: &mut Slot<'_>| {
            if let Some(value) = slot.value_mut() {
                value[0] = value[0].wrapping_add(1);
            }
        })?;
    }
    Ok(changed)
}

async fn clean(repo: &Repo, job: &JobName) -> Result<()> {
    let mut chain = Chain::read(repo, job).await?;
    let retention = Retention { last: 1, ..Retention::default() };
    let expired = retention.expired(chain.state().live(), &BTreeSet::new());
    chain.expire(expired, "shipping").await?;
    collect(repo, job, &CollectOptions { grace_ms: 0, deletes: Deletes::Everything }).await?;
    Ok(())
}

fn summarize(figures: &[Shipped]) {
    let half = &figures[figures.len() / 2..];
    let changed: u64 = half.iter().map(|shipped| shipped.changed).sum();
    let uploaded: u64 = half.iter().map(|shipped| shipped.uploaded).sum();
    let ratio = |shipped: &Shipped| shipped.uploaded as f64 / shipped.changed as f64;
    let most = half.iter().map(ratio).fold(0.0, f64::max);
    let mut pauses: Vec<Duration> = figures.iter().map(|shipped| shipped.pause).collect();
    pauses.sort();
    println!(
        "second half: {:.2} times what changed uploaded, one checkpoint at most {most:.2}; pause p50 {} us, p99 {} us",
        uploaded as f64 / changed as f64,
        pauses[pauses.len() / 2].as_micros(),
        pauses[pauses.len() * 99 / 100].as_micros()
    );
}

async fn restore_both(repo: &Repo, job: &JobName, directory: &std::path::Path, load: &Load) -> Result<()> {
    let options = RestoreOptions {
        start: Start::Latest,
        groups: KeyGroups::all(GROUPS as u32),
        holder: "shipping".into(),
        runs_at_once: 4,
    };
    let wanted = key(load.keys / 2, GROUPS);

    let start = now();
    let fetcher = Fetcher::start(2)?;
    let pool = LocalPool::open(Arc::new(DiskFs), directory.join("lazy-local"))?;
    let (told, ended) = std::sync::mpsc::channel();
    let done = move |result| {
        // Nobody listens when the command has failed meanwhile.
        told.send(result).ok();
    };
    let restored = restore_lazily(repo, job, &options, &pool, &fetcher, done).await?.expect("there is a checkpoint");
    let mut store = Store::options().shape(GroupedKeys).open(directory.join("lazy"))?;
    restored.adopt(&mut store)?;
    assert!(store.get(&wanted)?.is_some());
    let first = start.elapsed();
    ended.recv().expect("the background tells how it ended")?;
    let (whole, bytes) = (start.elapsed(), restored.plan.parcel_bytes());
    println!(
        "lazy restore: first get after {:.0} ms, all here after {:.1} s ({:.0} MB of parcels)",
        first.as_secs_f64() * 1e3,
        whole.as_secs_f64(),
        bytes as f64 / 1e6
    );
    drop((store, fetcher));

    let start = now();
    let pool = LocalPool::open(Arc::new(DiskFs), directory.join("eager-local"))?;
    let restored = restore(repo, job, &options, &pool).await?.expect("there is a checkpoint");
    let mut store = Store::options().shape(GroupedKeys).open(directory.join("eager"))?;
    restored.adopt(&mut store)?;
    assert!(store.get(&wanted)?.is_some());
    let took = start.elapsed().as_secs_f64();
    println!(
        "whole restore: {took:.1} s, {:.0} MB/s of runs",
        restored.plan.runs.iter().map(|run| run.bytes).sum::<u64>() as f64 / 1e6 / took
    );
    drop(store);

    let start = now();
    let pool = LocalPool::open(Arc::new(DiskFs), directory.join("local"))?;
    let restored = restore(repo, job, &options, &pool).await?.expect("there is a checkpoint");
    let mut store = Store::options().shape(GroupedKeys).open(directory.join("again"))?;
    restored.adopt(&mut store)?;
    assert!(store.get(&wanted)?.is_some());
    println!(
        "restore from the copy: {:.0} ms, {} bytes fetched",
        start.elapsed().as_secs_f64() * 1e3,
        restored.fetched_bytes
    );
    Ok(())
}
