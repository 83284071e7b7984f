//! Counting with a checkpoint each second: what checkpoints do to single operations, to throughput, and to the disk.
//!
//! ```text
//!   writer   ──ops──│pause│──ops──────────────────│pause│──ops──
//!   beside          └─ rest of the checkpoint ─┘        └─ …
//! ```
//!
//! The time of an operation runs from the end of the one before, so what a checkpoint or a commit takes is charged to the
//! operation behind it: the worst operation around a barrier is in the percentiles.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::updates::count_entries;
use super::{Fill, Outcome, TURN_OPERATIONS, Task, nanoseconds, open_filled};
use crate::data::{KEY_BYTES, Random, VALUE_BYTES, count_up, point_key};
use crate::store::{Image, Rest, Store, Turn};
use crate::stores::list_files;

const EVERY: Duration = Duration::from_secs(1);

/// A phase of counting.
struct Phase {
    operations: u64,
    seconds: f64,
    latencies: Histogram<u64>,
}

pub fn each_second<S: Store>(task: &Task) -> Result<Outcome> {
    let mut store = open_filled::<S>(task, Fill::Points)?;
    let mut random = Random::new(task.seed);
    let meter = task.meter()?;
    let without = count_for(&mut store, task, &mut random, Duration::from_secs_f64(task.seconds / 2.0), None)?;
    let mut barriers = Barriers::start(&task.beside)?;
    let length = Duration::from_secs_f64(task.seconds);
    let with = count_for(&mut store, task, &mut random, length, Some(&mut barriers))?;
    let stopped = meter.stop()?;
    barriers.finish(&mut store)?;
    store.settle()?;
    let costs = stopped.settled(&task.setup.directory)?;
    let (entries, counted) = count_entries(&mut store)?;
    ensure!(entries == task.keys, "there are {entries} keys after updates of {}", task.keys);
    let operations = without.operations + with.operations;
    ensure!(counted == operations, "{operations} updates left counters of {counted} in all");
    store.close()?;
    let figures = figures(&without, &with, &barriers);
    Ok(Outcome { operations, figures, costs })
}

fn figures<I: Image>(without: &Phase, with: &Phase, barriers: &Barriers<I>) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let mut add = |name: &str, value: f64| figures.insert(name.to_owned(), value);
    let ns = |phase: &Phase| nanoseconds(phase.seconds, phase.operations);
    add("ns", ns(with));
    add("without_ns", ns(without));
    add("throughput_ratio", ns(without) / ns(with));
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        add(&format!("{name}_ns"), with.latencies.value_at_quantile(quantile) as f64);
        add(&format!("without_{name}_ns"), without.latencies.value_at_quantile(quantile) as f64);
    }
    add("max_ns", with.latencies.max() as f64);
    add("without_max_ns", without.latencies.max() as f64);
    add("checkpoints", barriers.pauses.len() as f64);
    add("pause_p50_us", barriers.pauses.value_at_quantile(0.5) as f64 / 1e3);
    add("pause_p99_us", barriers.pauses.value_at_quantile(0.99) as f64 / 1e3);
    add("pause_max_us", barriers.pauses.max() as f64 / 1e3);
    add("late_checkpoints", barriers.late as f64);
    add("whole_ms", barriers.whole.as_secs_f64() * 1e3 / barriers.done.max(1) as f64);
    if barriers.changed_bytes > 0.0 {
        // A store that keeps its checkpoint among its own files has none here.
        if barriers.new_bytes > 0 {
            add("new_to_changed_ratio", barriers.new_bytes as f64 / barriers.changed_bytes);
        }
        if barriers.shipped_all {
            add("shipped_to_changed_ratio", barriers.shipped_bytes as f64 / barriers.changed_bytes);
        }
    }
    figures
}

/// Counts up random keys for some time, taking checkpoints when they are due.
fn count_for<S: Store>(
    store: &mut S,
    task: &Task,
    random: &mut Random,
    length: Duration,
    mut barriers: Option<&mut Barriers<S::Image>>,
) -> Result<Phase> {
    let mut latencies = nanosecond_histogram();
    let start = Instant::now();
    let (mut last, mut operations, mut missing) = (start, 0u64, 0u64);
    while last - start < length {
        if let Some(barriers) = barriers.as_deref_mut() {
            barriers.take_if_due(store, task, operations)?;
        }
        let due = barriers.as_ref().map_or(start + length, |barriers| barriers.due.min(start + length));
        store.turn(|turn| {
            for _ in 0..TURN_OPERATIONS {
                let found = turn.update(&point_key(random.below(task.keys)), count_up)?;
                missing += u64::from(!found);
                operations += 1;
                let now = Instant::now();
                latencies.saturating_record((now - last).as_nanos() as u64);
                last = now;
                if now >= due {
                    break;
                }
            }
            Ok(())
        })?;
    }
    ensure!(missing == 0, "{missing} updates found no value");
    let seconds = (last - start).as_secs_f64();
    let measured = latencies.mean() * operations as f64 * 1e-9;
    ensure!((measured / seconds - 1.0).abs() < 0.01, "operations took {measured} s in all, the phase {seconds} s");
    Ok(Phase { operations, seconds, latencies })
}

/// Up to an hour, with three digits.
fn nanosecond_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("these bounds are in order")
}

/// A finished checkpoint, as the thread that finished it reports it.
struct Done<I> {
    image: Result<I>,
    new_bytes: u64,
    took: Duration,
}

/// Takes checkpoints and adds up what they cost.
struct Barriers<I> {
    directory: PathBuf,
    due: Instant,
    jobs: Sender<(Rest<I>, PathBuf)>,
    results: Receiver<Done<I>>,
    running: bool,
    number: u64,
    done: u64,
    /// Checkpoints that were put off because the one before was not done.
    late: u64,
    pauses: Histogram<u64>,
    whole: Duration,
    /// Updates before the last checkpoint.
    updates_before: u64,
    /// Bytes of keys and values changed between checkpoints; of new files; of what the store itself would ship.
    changed_bytes: f64,
    new_bytes: u64,
    shipped_bytes: u64,
    shipped_all: bool,
}

impl<I: Image> Barriers<I> {
    fn start(directory: &Path) -> Result<Barriers<I>> {
        std::fs::create_dir_all(directory)?;
        let (jobs, incoming) = channel();
        let (outgoing, results) = channel();
        let finish = move || finish_all(&incoming, &outgoing);
        std::thread::Builder::new().name("checkpoint".to_owned()).spawn(finish).context("starting a thread")?;
        Ok(Barriers {
            directory: directory.to_owned(),
            due: Instant::now(),
            jobs,
            results,
            running: false,
            number: 0,
            done: 0,
            late: 0,
            pauses: nanosecond_histogram(),
            whole: Duration::ZERO,
            updates_before: 0,
            changed_bytes: 0.0,
            new_bytes: 0,
            shipped_bytes: 0,
            shipped_all: true,
        })
    }

    fn take_if_due<S: Store<Image = I>>(&mut self, store: &mut S, task: &Task, updates: u64) -> Result<()> {
        if Instant::now() < self.due {
            return Ok(());
        }
        self.due += EVERY;
        if let Ok(done) = self.results.try_recv() {
            self.confirm(store, done)?;
        }
        if self.running {
            self.late += 1;
            return Ok(());
        }
        // The first checkpoint holds everything and is no measure of what changed.
        if self.number > 0 {
            self.changed_bytes += changed_bytes(task.keys, updates - self.updates_before);
        }
        self.updates_before = updates;
        let into = self.directory.join(self.number.to_string());
        self.number += 1;
        let start = Instant::now();
        let rest = store.checkpoint(&into)?;
        let pause = start.elapsed();
        self.pauses.saturating_record(pause.as_nanos() as u64);
        self.whole += pause;
        self.jobs.send((rest, into)).map_err(|_| anyhow::anyhow!("the checkpoint thread is gone"))?;
        self.running = true;
        Ok(())
    }

    fn confirm<S: Store<Image = I>>(&mut self, store: &mut S, done: Done<I>) -> Result<()> {
        let image = done.image?;
        store.confirm(&image)?;
        if self.done > 0 {
            self.new_bytes += done.new_bytes;
            match image.shipped_bytes() {
                Some(bytes) => self.shipped_bytes += bytes,
                None => self.shipped_all = false,
            }
        }
        self.whole += done.took;
        self.done += 1;
        self.running = false;
        Ok(())
    }

    fn finish<S: Store<Image = I>>(&mut self, store: &mut S) -> Result<()> {
        if self.running {
            let done = self.results.recv().context("the checkpoint thread lives")?;
            self.confirm(store, done)?;
        }
        Ok(())
    }
}

/// Bytes of the distinct keys, and their values, that so many uniform updates are expected to touch.
fn changed_bytes(keys: u64, updates: u64) -> f64 {
    let untouched = (updates as f64 * (-1.0 / keys as f64).ln_1p()).exp();
    keys as f64 * (1.0 - untouched) * (KEY_BYTES + VALUE_BYTES) as f64
}

/// Finishes checkpoints, compares their files with those of the one before, and removes that one.
fn finish_all<I: Image>(jobs: &Receiver<(Rest<I>, PathBuf)>, results: &Sender<Done<I>>) {
    let mut known: HashSet<u64> = HashSet::new();
    let mut before: Option<PathBuf> = None;
    for (rest, into) in jobs {
        let start = Instant::now();
        let image = rest();
        let took = start.elapsed();
        let files = list_files(&into).unwrap_or_default();
        let new_bytes =
            files.iter().filter(|file| !known.contains(&file.inode)).map(|file| file.bytes.min(file.disk_bytes)).sum();
        known = files.iter().map(|file| file.inode).collect();
        if let Some(before) = before.replace(into) {
            // What cannot be removed here goes with the run's directory.
            std::fs::remove_dir_all(before).ok();
        }
        if results.send(Done { image, new_bytes, took }).is_err() {
            return;
        }
    }
}
