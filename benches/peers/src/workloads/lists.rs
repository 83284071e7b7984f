//! List state: elements are appended unread, then a window fires and its list is read and deleted.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Outcome, Task, in_turns, nanoseconds};
use crate::data::{Shuffle, VALUE_BYTES, fill_value, list_key};
use crate::store::{Store, Turn};

/// Elements that each list gets.
const ELEMENTS: u64 = 10;

pub fn append_and_fire<S: Store>(task: &Task) -> Result<Outcome> {
    let lists = (task.operations / ELEMENTS).max(1);
    let appends = lists * ELEMENTS;
    // Which list the next element goes to: every list is met ten times, in random order.
    let order = Shuffle::new(appends, task.seed);
    let targets: Vec<u32> = (0..appends).map(|place| (order.at(place) % lists) as u32).collect();
    let task = &task.rebased();
    let mut store = S::open(&task.setup)?;
    let meter = task.meter()?;
    let mut element = [0; VALUE_BYTES];
    in_turns(&mut store, appends, |turn, place| {
        let list = targets[place as usize];
        fill_value(place, &mut element);
        element[..8].copy_from_slice(&((u64::from(list) << 32) | place).to_le_bytes());
        turn.append(&list_key(u64::from(list)), &element)
    })?;
    let appended = Instant::now();
    let firing = Shuffle::new(lists, task.seed + 1);
    let mut wrong = 0u64;
    in_turns(&mut store, lists, |turn, place| {
        let list = firing.at(place);
        let (mut count, mut last) = (0, 0);
        turn.take_list(&list_key(list), |elements| {
            for element in elements.chunks(VALUE_BYTES) {
                let stamp = u64::from_le_bytes(element[..8].try_into().expect("an element has its 100 bytes"));
                // The elements of this list, in the order in which they came.
                wrong += u64::from(stamp >> 32 != list || stamp < last);
                last = stamp + 1;
                count += 1;
            }
        })?;
        wrong += u64::from(count != ELEMENTS);
        Ok(())
    })?;
    let stopped = meter.stop()?;
    let fire_seconds = appended.elapsed().as_secs_f64();
    store.settle()?;
    let costs = stopped.settled(&task.setup.directory)?;
    ensure!(wrong == 0, "{wrong} fired lists or elements are not what was appended");
    let mut left = 0;
    store.turn(|turn| turn.scan_range(&[], None, |_, _| left += 1))?;
    ensure!(left == 0, "{left} lists are left behind after all fired");
    store.close()?;
    let figures = BTreeMap::from([
        ("append_ns".to_owned(), nanoseconds(costs.seconds - fire_seconds, appends)),
        ("fire_ns".to_owned(), nanoseconds(fire_seconds, lists)),
    ]);
    Ok(Outcome { operations: appends, figures, costs })
}
