//! Map state: whole maps are scanned, and entries come and go between scans.

use anyhow::{Result, ensure};

use super::fill::{map_count, map_entries};
use super::{Fill, Outcome, Task, finish, in_turns, open_filled};
use crate::data::{MAP_PREFIX_BYTES, Random, VALUE_BYTES, fill_value, key_number, map_key};
use crate::store::{Store, Turn};

/// Entries of a map that are there: from `first` up to but without `next`.
#[derive(Clone, Copy)]
struct Live {
    first: u32,
    next: u32,
}

/// One half of the operations scans a map, a quarter inserts an entry, a quarter deletes the oldest one.
pub fn scan_and_change<S: Store>(task: &Task) -> Result<Outcome> {
    let maps = map_count(task.keys);
    let mut live: Vec<Live> = (0..maps).map(|map| Live { first: 0, next: map_entries(map) as u32 }).collect();
    let task = &task.rebased();
    let mut random = Random::new(task.seed);
    let mut store = open_filled::<S>(task, Fill::Maps)?;
    let meter = task.meter()?;
    let mut value = [0; VALUE_BYTES];
    let (mut wrong, mut scanned) = (0u64, 0u64);
    in_turns(&mut store, task.operations, |turn, step| {
        let map = random.below(maps);
        let entries = &mut live[map as usize];
        let count = entries.next - entries.first;
        match random.below(4) {
            2 if count < 100 => {
                fill_value(step, &mut value);
                turn.put(&map_key(map, u64::from(entries.next)), &value)?;
                entries.next += 1;
            }
            3 if count > 10 => {
                turn.delete(&map_key(map, u64::from(entries.first)))?;
                entries.first += 1;
            }
            _ => {
                let mut expected = u64::from(entries.first);
                turn.scan_prefix(&map_key(map, 0)[..MAP_PREFIX_BYTES], |key, value| {
                    wrong += u64::from(key_number(key) != expected || value.len() != VALUE_BYTES);
                    expected += 1;
                })?;
                wrong += u64::from(expected != u64::from(entries.next));
                scanned += u64::from(count);
            }
        }
        Ok(())
    })?;
    let mut outcome = finish(task, &mut store, meter, task.operations)?;
    ensure!(wrong == 0, "{wrong} entries of scans are not what was put");
    outcome.figures.insert("scanned_entries".to_owned(), scanned as f64);
    store.close()?;
    Ok(outcome)
}
