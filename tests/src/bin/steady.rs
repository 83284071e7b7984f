//! Holds a store of many keys under a steady load and prints what it costs: memory, space, writing.
//!
//! `cargo run --release -p tests --bin steady -- --keys 20000000 --memory-mib 256`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bedload_lsm::{Env, Store};
use tests::{Arguments, Random};

const HELP: &str = "\
Loads a store, updates it, scans it, and prints speed, memory and space after each phase.

Usage: steady [options]

  --keys N         how many keys of 18 bytes with values of 100 (default 1000000)
  --memory-mib N   the memory budget (default 256)
  --updates N      how many updates a phase makes (default as many as keys)
  --directory D    where (default: a temporary one, removed at the end)
";

const VALUE_BYTES: usize = 100;

#[expect(clippy::disallowed_methods, reason = "a command that measures time needs the clock")]
fn now() -> Instant {
    Instant::now()
}

/// A key: a group of two bytes, a state's id, a number, spread over the groups.
fn key(number: u64) -> [u8; 18] {
    let mut key = [0; 18];
    let mixed = Random::new(number).draw();
    key[..2].copy_from_slice(&((mixed % 128) as u16).to_be_bytes());
    key[3..11].copy_from_slice(&mixed.to_be_bytes());
    key[11..].copy_from_slice(&number.to_be_bytes()[1..]);
    key
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(HELP) {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let keys = arguments.number("--keys").unwrap_or(1_000_000);
    let memory = arguments.number::<usize>("--memory-mib").unwrap_or(256);
    let updates = arguments.number("--updates").unwrap_or(keys);
    let (directory, _temporary) = arguments.directory("--directory");
    match run(&directory, keys, memory << 20, updates) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &std::path::Path, keys: u64, memory: usize, updates: u64) -> bedload_lsm::Result<()> {
    let env = Env::builder().memory(memory).build()?;
    let mut store = Store::options().env(&env).open(directory)?;
    let logical = keys * (18 + VALUE_BYTES as u64);
    let mut random = Random::new(1);
    let start = now();
    for number in 0..keys {
        store.put(&key(number), &[number as u8; VALUE_BYTES])?;
    }
    report("load", keys, start, &store, logical);
    let count = |slot: &mut bedload_lsm::Slot<'_>| {
        if let Some(value) = slot.value_mut() {
            value[0] = value[0].wrapping_add(1);
        }
    };
    let mut worst = 0.0f64;
    let start = now();
    for step in 0..updates {
        store.update(&key(random.below(keys)), count)?;
        if step % (updates / 50).max(1) == 0 {
            worst = worst.max(store.stats().run_bytes as f64 / logical as f64);
        }
    }
    report("update, uniform", updates, start, &store, logical);
    settle(&mut store, logical);
    println!("  worst space amplification on the way {worst:.2}");
    let start = now();
    let mut misses = 0;
    for _ in 0..updates / 4 {
        misses += u64::from(store.get(&key(random.below(keys)))?.is_none());
    }
    assert_eq!(misses, 0, "every key was put");
    report("get", updates / 4, start, &store, logical);
    let start = now();
    for step in 0..updates {
        // One group of 128 takes all: a few tiles.
        let number = random.below(keys);
        let mut hot = key(number);
        hot[..2].copy_from_slice(&3u16.to_be_bytes());
        if step % 4 == 0 {
            store.update(&key(number), count)?;
        } else {
            store.update(&hot, |slot| slot.put(&[step as u8; VALUE_BYTES]))?;
        }
        if step % (updates / 50).max(1) == 0 {
            worst = worst.max(store.stats().run_bytes as f64 / logical as f64);
        }
    }
    store.flush()?;
    let took = start.elapsed();
    let start_scan = now();
    let live = scan(&store)?;
    report("scan", live.0, start_scan, &store, live.1);
    store.refresh();
    println!("update, one group hot: {:.0} ns each; {} entries now", took.as_nanos() as f64 / updates as f64, live.0);
    settle(&mut store, live.1);
    println!("{}", store.stats());
    println!("seals {}", store.metrics().seal_time);
    store.close()
}

/// Lets merges come to rest, as they would under a lighter load, and prints what space is taken then.
fn settle(store: &mut Store, logical: u64) {
    let mut merges = u64::MAX;
    while merges != store.metrics().merges.get() {
        merges = store.metrics().merges.get();
        std::thread::park_timeout(Duration::from_millis(1500));
        store.refresh();
    }
    let stats = store.stats();
    let space = stats.run_bytes as f64 / logical as f64;
    println!("  settled: space {space:.2}, write amplification {:.2}", stats.write_amplification);
}

/// Entries and bytes of everything.
fn scan(store: &Store) -> bedload_lsm::Result<(u64, u64)> {
    let mut scan = store.scan(..)?;
    let mut sum = (0, 0);
    while let Some((key, value)) = scan.next_entry()? {
        sum = (sum.0 + 1, sum.1 + (key.len() + value.len()) as u64);
    }
    Ok(sum)
}

fn report(phase: &str, operations: u64, start: Instant, store: &Store, logical: u64) {
    let took: Duration = start.elapsed();
    let stats = store.stats();
    println!(
        "{phase}: {operations} operations, {:.0} ns each; space {:.2}, write amplification {:.2}; resident {} MiB (of which \
         mapped files {} MiB), peak {} MiB",
        took.as_nanos() as f64 / operations as f64,
        stats.run_bytes as f64 / logical as f64,
        stats.write_amplification,
        status("VmRSS:") >> 10,
        status("RssFile:") >> 10,
        status("VmHWM:") >> 10,
    );
}

/// A line of the process's status, in KiB; 0 where there is none.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
