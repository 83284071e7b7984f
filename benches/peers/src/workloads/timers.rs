//! Timers: time goes on step by step; at each step every key group's due timers are popped in order and set anew.

use anyhow::{Result, ensure};

use super::fill::first_due;
use super::{Fill, Outcome, Task, finish, open_filled};
use crate::data::{GROUPS, Key, QUEUE_PREFIX_BYTES, Random, key_number, timer_bound, timer_key, timer_time};
use crate::store::{Store, Turn};

/// Timers that a group pops at a step, about: Flink fetches 128 at a time into its cache.
const DUE_PER_GROUP: u64 = 64;

/// What is expected to be due at each step.
struct Expected {
    step: u64,
    due: Vec<u32>,
}

impl Expected {
    fn add(&mut self, time: u64) {
        let step = (time / self.step) as usize;
        if self.due.len() <= step {
            self.due.resize(step + 1, 0);
        }
        self.due[step] += 1;
    }
}

pub fn fire<S: Store>(task: &Task) -> Result<Outcome> {
    // As many timers as units of time: a step of this length makes that many due in each group.
    let (horizon, step) = (task.keys, (u64::from(GROUPS) * DUE_PER_GROUP).min(task.keys / 4));
    let mut expected = Expected { step, due: Vec::new() };
    (0..task.keys).for_each(|number| expected.add(first_due(number, horizon)));
    let task = &task.rebased();
    let mut store = open_filled::<S>(task, Fill::Timers)?;
    let meter = task.meter()?;
    let (mut fired, mut now, mut number, mut wrong) = (0u64, 0u64, task.keys, 0u64);
    let mut random = Random::new(task.seed);
    let mut due: Vec<Key> = Vec::new();
    while fired < task.operations {
        let until = now + step;
        let mut popped = 0u64;
        store.turn(|turn| {
            for group in 0..GROUPS {
                let (behind, bound) = (timer_bound(group, now), timer_bound(group, until));
                due.clear();
                turn.pop_due(&bound[..QUEUE_PREFIX_BYTES], &behind, &bound, |key| {
                    let key: Key = key.try_into().expect("a key has its 18 bytes");
                    wrong += u64::from(due.last().is_some_and(|last| *last >= key) || timer_time(&key) < now);
                    due.push(key);
                })?;
                popped += due.len() as u64;
                for key in &due {
                    // As often sooner as later than the horizon, but always behind this step.
                    let time = timer_time(key).max(until) + horizon / 2 + random.below(horizon);
                    wrong += u64::from(key_number(key) >= number);
                    turn.put(&timer_key(time, number), &[])?;
                    expected.add(time);
                    number += 1;
                }
            }
            Ok(())
        })?;
        wrong += u64::from(popped != u64::from(expected.due[(now / step) as usize]));
        fired += popped;
        now = until;
    }
    let outcome = finish(task, &mut store, meter, fired)?;
    ensure!(wrong == 0, "{wrong} timers were not fired when they were due, in order");
    let mut left = 0u64;
    store.turn(|turn| turn.scan_range(&[], None, |_, _| left += 1))?;
    ensure!(left == task.keys, "{left} timers are left, expected {}", task.keys);
    store.close()?;
    Ok(outcome)
}
