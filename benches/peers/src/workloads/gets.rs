//! Lookups: of what is there, of what is not, and of what is not in memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Fill, Outcome, Task, finish, in_turns, nanoseconds, open_filled};
use crate::data::{Key, Random, is_value_of, point_key};
use crate::store::{Store, Turn};
use crate::stores::evict_files;

/// Gets between two evictions: few, so that what they bring into a cache does not serve many of those behind.
const COLD_ROUND: u64 = 500;
/// Keys of a batched get.
const BATCH: usize = 64;

pub fn hit<S: Store>(task: &Task, numbers: Vec<u32>) -> Result<Outcome> {
    let task = &task.rebased();
    let mut store = open_filled::<S>(task, Fill::Points)?;
    let meter = task.meter()?;
    let mut right = 0u64;
    in_turns(&mut store, numbers.len() as u64, |turn, place| {
        let number = u64::from(numbers[place as usize]);
        let is_right = turn.get(&point_key(number), |value| is_value_of(number, value))?;
        right += u64::from(is_right == Some(true));
        Ok(())
    })?;
    let outcome = finish(task, &mut store, meter, numbers.len() as u64)?;
    ensure!(right == numbers.len() as u64, "{right} of {} gets lent the right value", numbers.len());
    store.close()?;
    Ok(outcome)
}

/// Looks up keys that were never put.
pub fn miss<S: Store>(task: &Task, numbers: Vec<u32>) -> Result<Outcome> {
    let task = &task.rebased();
    let mut store = open_filled::<S>(task, Fill::Points)?;
    let meter = task.meter()?;
    let mut found = 0u64;
    in_turns(&mut store, numbers.len() as u64, |turn, place| {
        let key = point_key(task.keys + u64::from(numbers[place as usize]));
        found += u64::from(turn.get(&key, |_| ())?.is_some());
        Ok(())
    })?;
    let outcome = finish(task, &mut store, meter, numbers.len() as u64)?;
    ensure!(found == 0, "{found} gets found what was never put");
    store.close()?;
    Ok(outcome)
}

/// Opens the store with its files out of the page cache, round after round, and times the first gets of each.
pub fn cold<S: Store>(task: &Task) -> Result<Outcome> {
    let rounds = (task.operations / COLD_ROUND).max(2);
    let mut random = Random::new(task.seed);
    let (mut single, mut batched) = (Duration::ZERO, Duration::ZERO);
    let meter = task.meter()?;
    for _ in 0..rounds {
        let mut draw = || (0..COLD_ROUND).map(|_| random.below(task.keys)).collect::<Vec<u64>>();
        single += cold_round::<S>(task, &draw(), 1)?;
        batched += cold_round::<S>(task, &draw(), BATCH)?;
    }
    let costs = meter.stop()?.settled(&task.setup.directory)?;
    let operations = rounds * COLD_ROUND;
    let figures = BTreeMap::from([
        ("get_ns".to_owned(), nanoseconds(single.as_secs_f64(), operations)),
        ("get_of_64_ns".to_owned(), nanoseconds(batched.as_secs_f64(), operations)),
    ]);
    Ok(Outcome { operations, figures, costs })
}

/// Gets the keys with these numbers from cold files, `batch` at a time; opening and closing are not part of the time.
fn cold_round<S: Store>(task: &Task, numbers: &[u64], batch: usize) -> Result<Duration> {
    evict_files(&task.setup.directory)?;
    let mut store = S::open(&task.setup)?;
    let mut right = 0;
    let start = Instant::now();
    store.turn(|turn| {
        for chunk in numbers.chunks(batch) {
            if let [number] = chunk {
                let is_right = turn.get(&point_key(*number), |value| is_value_of(*number, value))?;
                right += usize::from(is_right == Some(true));
            } else {
                let keys: Vec<Key> = chunk.iter().map(|number| point_key(*number)).collect();
                turn.get_many(&keys, |place, value| right += usize::from(is_value_of(chunk[place], value)))?;
            }
        }
        Ok(())
    })?;
    let took = start.elapsed();
    ensure!(right == numbers.len(), "{right} of {} cold gets lent the right value", numbers.len());
    store.close()?;
    Ok(took)
}
