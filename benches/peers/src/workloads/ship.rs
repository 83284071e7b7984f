//! Counting, with a checkpoint after each so many updates that is shipped: what is uploaded for what changed.
//!
//! A checkpoint begins when the one before is shipped, so that the same updates lie between two of them for every store, however
//! fast it is. Stores whose checkpoints are directories ship the files that the checkpoint before did not have, as Flink does
//! with RocksDB's; ours ships through `bedload-snapshot`. Figures are of the second half, when the files have found their shape.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::updates::count_entries;
use super::{Fill, Outcome, TURN_OPERATIONS, Task, nanoseconds, open_filled};
use crate::data::{KEY_BYTES, Random, VALUE_BYTES, count_up, point_key};
use crate::store::{Shipped, Store, Turn};
use crate::stores::list_files;

const ENTRY_BYTES: u64 = (KEY_BYTES + VALUE_BYTES) as u64;

pub fn after_each_count<S: Store>(task: &Task) -> Result<Outcome> {
    ensure!(task.checkpoints >= 2 && task.operations > 0, "ship needs updates, and two checkpoints or more");
    let mut store = open_filled::<S>(task, Fill::Points)?;
    let mut random = Random::new(task.seed);
    let mut changed = Changed { in_round: vec![0; task.keys as usize], round: 0 };
    let mut directories = Directories { parent: task.beside.clone(), number: 0, known: HashSet::new() };
    let mut shipped: Vec<(u64, Shipped)> = Vec::new();
    let meter = task.meter()?;
    // The first one is of the whole state.
    ship(&mut store, &mut directories)?;
    for _ in 0..task.checkpoints {
        let changed_bytes = count(&mut store, task, &mut random, &mut changed)? * ENTRY_BYTES;
        shipped.push((changed_bytes, ship(&mut store, &mut directories)?));
    }
    let stopped = meter.stop()?;
    store.settle()?;
    let costs = stopped.settled(&task.setup.directory)?;
    let operations = task.operations * task.checkpoints;
    let (entries, counted) = count_entries(&mut store)?;
    ensure!(entries == task.keys, "there are {entries} keys after updates of {}", task.keys);
    ensure!(counted == operations, "{operations} updates left counters of {counted} in all");
    store.close()?;
    let mut figures = figures(&shipped[shipped.len() / 2..], task.keys);
    figures.insert("ns".to_owned(), nanoseconds(costs.seconds, operations));
    Ok(Outcome { operations, figures, costs })
}

fn figures(half: &[(u64, Shipped)], keys: u64) -> BTreeMap<String, f64> {
    let sum = |of: fn(&(u64, Shipped)) -> u64| half.iter().map(of).sum::<u64>() as f64;
    let changed = sum(|(changed, _)| *changed);
    let most = half.iter().map(|(changed, shipped)| shipped.sent_bytes as f64 / *changed as f64).fold(0.0, f64::max);
    let live = (keys * ENTRY_BYTES) as f64 * half.len() as f64;
    let mut figures = BTreeMap::from([
        ("checkpoints".to_owned(), half.len() as f64),
        ("sent_to_changed_ratio".to_owned(), sum(|(_, shipped)| shipped.sent_bytes) / changed),
        ("sent_to_changed_most_ratio".to_owned(), most),
        ("held_to_live_ratio".to_owned(), sum(|(_, shipped)| shipped.held_bytes) / live),
        ("sent_mean_bytes".to_owned(), sum(|(_, shipped)| shipped.sent_bytes) / half.len() as f64),
    ]);
    if half.iter().all(|(_, shipped)| shipped.raw_bytes.is_some()) {
        let raw = sum(|(_, shipped)| shipped.raw_bytes.unwrap_or(0));
        figures.insert("uncompressed_to_changed_ratio".to_owned(), raw / changed);
    }
    figures
}

/// Which keys were changed since the last checkpoint.
struct Changed {
    in_round: Vec<u32>,
    round: u32,
}

/// Counts up random keys; gives how many different ones.
fn count<S: Store>(store: &mut S, task: &Task, random: &mut Random, changed: &mut Changed) -> Result<u64> {
    changed.round += 1;
    let (mut done, mut different, mut missing) = (0, 0, 0u64);
    while done < task.operations {
        let until = task.operations.min(done + TURN_OPERATIONS);
        store.turn(|turn| {
            while done < until {
                let number = random.below(task.keys);
                let before = std::mem::replace(&mut changed.in_round[number as usize], changed.round);
                different += u64::from(before != changed.round);
                missing += u64::from(!turn.update(&point_key(number), count_up)?);
                done += 1;
            }
            Ok(())
        })?;
    }
    ensure!(missing == 0, "{missing} updates found no value");
    Ok(different)
}

/// Checkpoints as directories, of which the last one is kept.
struct Directories {
    parent: PathBuf,
    number: u64,
    /// The files of the last one.
    known: HashSet<u64>,
}

fn ship<S: Store>(store: &mut S, directories: &mut Directories) -> Result<Shipped> {
    if let Some(shipped) = store.ship()? {
        return Ok(shipped);
    }
    std::fs::create_dir_all(&directories.parent)?;
    let into = directories.parent.join(directories.number.to_string());
    let image = store.checkpoint(&into)?()?;
    store.confirm(&image)?;
    let files = list_files(&into)?;
    let new = files.iter().filter(|file| !directories.known.contains(&file.inode));
    let shipped = Shipped {
        sent_bytes: new.map(|file| file.bytes).sum(),
        raw_bytes: None,
        held_bytes: files.iter().map(|file| file.bytes).sum(),
    };
    directories.known = files.iter().map(|file| file.inode).collect();
    if directories.number > 0 {
        std::fs::remove_dir_all(directories.parent.join((directories.number - 1).to_string()))?;
    }
    directories.number += 1;
    Ok(shipped)
}
