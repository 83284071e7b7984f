//! Loading, counting, sliding: one write or read-modify-write an operation.

use anyhow::{Result, ensure};

use super::fill::points;
use super::{Fill, Outcome, Task, finish, in_turns, open_filled};
use crate::data::{VALUE_BYTES, count_up, fill_value, point_key, read_counter};
use crate::store::{Store, Turn};

pub fn load<S: Store>(task: &Task) -> Result<Outcome> {
    let mut store = S::open(&task.setup)?;
    let meter = task.meter()?;
    points(&mut store, task.keys)?;
    let outcome = finish(task, &mut store, meter, task.keys)?;
    let (entries, _) = count_entries(&mut store)?;
    ensure!(entries == task.keys, "loaded {} keys and found {entries}", task.keys);
    store.close()?;
    Ok(outcome)
}

/// Adds one to the counters of the keys with these numbers.
pub fn count<S: Store>(task: &Task, numbers: Vec<u32>) -> Result<Outcome> {
    let task = &task.rebased();
    let mut store = open_filled::<S>(task, Fill::Points)?;
    let meter = task.meter()?;
    let mut missing = 0u64;
    in_turns(&mut store, numbers.len() as u64, |turn, place| {
        let found = turn.update(&point_key(u64::from(numbers[place as usize])), count_up)?;
        missing += u64::from(!found);
        Ok(())
    })?;
    let outcome = finish(task, &mut store, meter, numbers.len() as u64)?;
    ensure!(missing == 0, "{missing} updates found no value");
    let (entries, counted) = count_entries(&mut store)?;
    ensure!(entries == task.keys, "there are {entries} keys after updates of {}", task.keys);
    ensure!(counted == numbers.len() as u64, "{} updates left counters of {counted} in all", numbers.len());
    store.close()?;
    Ok(outcome)
}

/// Puts a new key and deletes the oldest one.
pub fn slide<S: Store>(task: &Task) -> Result<Outcome> {
    let mut store = open_filled::<S>(task, Fill::Points)?;
    let meter = task.meter()?;
    let mut value = [0; VALUE_BYTES];
    in_turns(&mut store, task.operations, |turn, step| {
        fill_value(step, &mut value);
        turn.put(&point_key(task.keys + step), &value)?;
        turn.delete(&point_key(step))
    })?;
    let outcome = finish(task, &mut store, meter, task.operations)?;
    let (entries, _) = count_entries(&mut store)?;
    ensure!(entries == task.keys, "there are {entries} keys after sliding over {}", task.keys);
    store.turn(|turn| {
        let oldest = turn.get(&point_key(task.operations), |_| ())?;
        let gone = turn.get(&point_key(task.operations - 1), |_| ())?;
        ensure!(oldest.is_some() && gone.is_none(), "what slides out is not what was put first");
        Ok(())
    })?;
    store.close()?;
    Ok(outcome)
}

/// How many entries there are, and the sum of their counters.
pub fn count_entries<S: Store>(store: &mut S) -> Result<(u64, u64)> {
    store.turn(|turn| {
        let mut sum = (0, 0);
        turn.scan_range(&[], None, |_, value| sum = (sum.0 + 1, sum.1 + read_counter(value)))?;
        Ok(sum)
    })
}
