//! Opening: the same store again, a half of it, or one from two halves. Timed up to the first get that finds something.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::updates::count_entries;
use super::{Fill, Outcome, Task, in_turns, open_filled};
use crate::data::{GROUPS, count_up, point_key};
use crate::measure::written_bytes;
use crate::store::{Setup, Store, Turn};
use crate::stores::evict_files;

/// Updates behind the checkpoint.
const COUNTED_AFTER: u64 = 1000;
/// The directory of the store that two halves become.
const MERGED: &str = "merged";
/// Openings of a run.
const OPENINGS: u32 = 5;

/// Opens the store with its files out of the page cache, up to the first get.
pub fn open<S: Store>(task: &Task) -> Result<Outcome> {
    let meter = task.meter()?;
    let mut took = Vec::new();
    for opening in 0..OPENINGS {
        evict_files(&task.setup.directory)?;
        let start = Instant::now();
        let mut store = S::open(&task.setup)?;
        expect(&mut store, u64::from(opening) % task.keys)?;
        took.push(start.elapsed());
        store.close()?;
    }
    took.sort();
    let costs = meter.stop()?.settled(&task.setup.directory)?;
    let figures = BTreeMap::from([
        ("first_get_ms".to_owned(), milliseconds(took[took.len() / 2])),
        ("first_get_max_ms".to_owned(), milliseconds(took[took.len() - 1])),
    ]);
    Ok(Outcome { operations: u64::from(OPENINGS), figures, costs })
}

/// One store becomes two, each for half of the key groups; then these two become one again.
///
/// A tenth of the keys is counted up before the checkpoint, so that some of what it must hold is still in memory, and some
/// again after it, which must not be seen.
pub fn split_and_merge<S: Store>(task: &Task) -> Result<Outcome> {
    let expected = Expected::of(task.keys)?;
    let mut whole = open_filled::<S>(task, Fill::Points)?;
    let meter = task.meter()?;
    std::fs::create_dir_all(&task.beside)?;
    count_first(&mut whole, expected.counted)?;
    let image = checkpoint(&mut whole, &task.beside.join("whole"))?;
    count_first(&mut whole, expected.counted.min(COUNTED_AFTER))?;
    // What it still writes in the background is not written by the split.
    whole.settle()?;
    let mut figures = BTreeMap::new();
    let halves = split::<S>(task, &image, &expected, &mut figures)?;
    let merged = merge(task, halves, &expected, &mut figures)?;
    let costs = meter.stop()?.settled(&task.beside.join(MERGED))?;
    merged.close()?;
    whole.close()?;
    Ok(Outcome { operations: 3, figures, costs })
}

type Figures = BTreeMap<String, f64>;

/// Opens both halves of a checkpoint; the slower one counts.
fn split<S: Store>(task: &Task, image: &S::Image, expected: &Expected, figures: &mut Figures) -> Result<[S; 2]> {
    let before = written_bytes()?;
    let mut slower = Duration::ZERO;
    let mut open = |half: usize| {
        let setup = new_setup(task, &format!("half-{half}"))?;
        let start = Instant::now();
        let mut store = S::open_half(image, half, &setup)?;
        expect(&mut store, expected.probes[half])?;
        slower = slower.max(start.elapsed());
        anyhow::Ok(store)
    };
    let mut halves = [open(0)?, open(1)?];
    figures.insert("split_ms".to_owned(), milliseconds(slower));
    figures.insert("split_written_bytes".to_owned(), (written_bytes()? - before) as f64);
    let mut counted = 0;
    for (half, store) in halves.iter_mut().enumerate() {
        store.settle()?;
        let (entries, counters) = count_entries(store)?;
        ensure!(entries == expected.keys[half], "half {half} holds {entries} of {} keys", expected.keys[half]);
        counted += counters;
    }
    ensure!(counted == expected.counted, "both halves counted {counted} updates, expected {}", expected.counted);
    figures.insert("split_settled_written_bytes".to_owned(), (written_bytes()? - before) as f64);
    Ok(halves)
}

/// Opens one store from the checkpoints of two, which are taken before the clock starts.
fn merge<S: Store>(task: &Task, halves: [S; 2], expected: &Expected, figures: &mut Figures) -> Result<S> {
    let [mut left, mut right] = halves;
    let left_image = checkpoint(&mut left, &task.beside.join("image-0"))?;
    let images = [left_image, checkpoint(&mut right, &task.beside.join("image-1"))?];
    let setup = new_setup(task, MERGED)?;
    let before = written_bytes()?;
    let start = Instant::now();
    let mut merged = S::merge(&images, &setup)?;
    expect(&mut merged, expected.probes[0])?;
    expect(&mut merged, expected.probes[1])?;
    figures.insert("merge_ms".to_owned(), milliseconds(start.elapsed()));
    figures.insert("merge_written_bytes".to_owned(), (written_bytes()? - before) as f64);
    merged.settle()?;
    figures.insert("merge_settled_written_bytes".to_owned(), (written_bytes()? - before) as f64);
    let (entries, counted) = count_entries(&mut merged)?;
    ensure!(entries == task.keys, "the merged store holds {entries} of {} keys", task.keys);
    ensure!(counted == expected.counted, "the merged store counted {counted} updates, expected {}", expected.counted);
    left.close()?;
    right.close()?;
    Ok(merged)
}

fn new_setup(task: &Task, name: &str) -> Result<Setup> {
    let setup = task.setup.at(task.beside.join(name));
    std::fs::create_dir_all(&setup.directory)?;
    Ok(setup)
}

fn checkpoint<S: Store>(store: &mut S, into: &Path) -> Result<S::Image> {
    let image = store.checkpoint(into)?()?;
    store.confirm(&image)?;
    Ok(image)
}

/// Adds one to the counters of the first keys.
fn count_first<S: Store>(store: &mut S, count: u64) -> Result<()> {
    in_turns(store, count, |turn, number| {
        ensure!(turn.update(&point_key(number), count_up)?, "key {number} is not there");
        Ok(())
    })
}

/// A get that must find the key.
fn expect<S: Store>(store: &mut S, number: u64) -> Result<()> {
    let found = store.turn(|turn| turn.get(&point_key(number), |value| value.len()))?;
    ensure!(found.is_some(), "key {number} is not there");
    Ok(())
}

/// What the halves must hold.
struct Expected {
    keys: [u64; 2],
    /// The number of a key of each half.
    probes: [u64; 2],
    /// Updates before the checkpoint.
    counted: u64,
}

impl Expected {
    fn of(keys: u64) -> Result<Expected> {
        let (mut counts, mut probes) = ([0; 2], [None; 2]);
        for number in 0..keys {
            let key = point_key(number);
            let half = usize::from(u16::from_be_bytes([key[0], key[1]]) >= GROUPS / 2);
            counts[half] += 1;
            probes[half] = Some(number);
        }
        let [Some(left), Some(right)] = probes else { bail!("{keys} keys are too few to be in both halves") };
        Ok(Expected { keys: counts, probes: [left, right], counted: (keys / 10).max(1) })
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
