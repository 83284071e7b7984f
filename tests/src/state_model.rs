//! What typed states should hold, in plain collections: the oracle of the test of states.
//!
//! All states stand in one map. A value, a number or an accumulator is one item, a list is several, an entry of a map has a place of its
//! own. Nothing is ever removed because it ended: readings look at the clocks.

use std::collections::{BTreeMap, BTreeSet};

use bedload::Clock;

use crate::state_ended::EndedModel;

/// When something ends; none: never.
pub type End = Option<(Clock, u64)>;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The value, the length of a text, the sum of a mean.
    pub number: i64,
    /// What the second version of a type has more, the count of a mean.
    pub more: u32,
    /// The version that it was written by.
    pub version: u8,
    /// When it ends.
    pub end: End,
}

/// Where something is kept: state, key, namespace, key of the map.
pub type Slot = (usize, u64, u64, u64);

/// How long something lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// By this clock.
    pub clock: Clock,
    /// In milliseconds.
    pub after_ms: u64,
    /// Whether reads renew it.
    pub is_renewed_by_reads: bool,
}

/// A timer, in the order in which timers fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Its time.
    pub at: u64,
    /// The number of its queue.
    pub queue: usize,
    /// Its key.
    pub key: u64,
    /// Its namespace.
    pub namespace: u64,
}

/// All states of a job.
#[derive(Clone, Debug, Default)]
pub struct Model {
    now: BTreeMap<Clock, u64>,
    items: BTreeMap<Slot, Vec<Item>>,
    /// Timers that have not fired.
    pub timers: BTreeSet<Due>,
    /// States that show what has ended.
    pub ended: EndedModel,
}

impl Model {
    /// The reading of a clock.
    pub fn now(&self, clock: Clock) -> u64 {
        self.now.get(&clock).copied().unwrap_or(0)
    }

    /// Moves a clock on.
    pub fn advance(&mut self, clock: Clock, now: u64) {
        let reading = self.now.entry(clock).or_default();
        *reading = now.max(*reading);
    }

    /// When something written now ends.
    pub fn end(&self, life: Option<Life>) -> End {
        life.map(|life| (life.clock, self.now(life.clock) + life.after_ms))
    }

    fn lives(&self, item: &Item) -> bool {
        item.end.is_none_or(|(clock, at)| at > self.now(clock))
    }

    /// What stands at a place, without a read that renews.
    pub fn look(&self, slot: Slot) -> Vec<Item> {
        self.items.get(&slot).into_iter().flatten().filter(|item| self.lives(item)).copied().collect()
    }

    /// Reads what stands at a place.
    pub fn read(&mut self, slot: Slot, life: Option<Life>) -> Vec<Item> {
        let mut items = self.look(slot);
        if life.is_some_and(|life| life.is_renewed_by_reads) && !items.is_empty() {
            let end = self.end(life);
            items.iter_mut().for_each(|item| item.end = end);
            self.items.insert(slot, items.clone());
        }
        items
    }

    /// Writes what stands at a place; nothing removes it.
    pub fn write(&mut self, slot: Slot, items: Vec<Item>) {
        if items.is_empty() {
            self.items.remove(&slot);
        } else {
            self.items.insert(slot, items);
        }
    }

    /// The keys of a map that has something, in order.
    pub fn map_keys(&self, (state, key, namespace, _): Slot) -> Vec<u64> {
        let slots = self.items.range((state, key, namespace, 0)..=(state, key, namespace, u64::MAX));
        slots.filter(|(_, items)| items.iter().any(|item| self.lives(item))).map(|(slot, _)| slot.3).collect()
    }

    /// Removes all that a state has under a key and a namespace.
    pub fn clear(&mut self, (state, key, namespace, _): Slot) {
        self.items.retain(|slot, _| (slot.0, slot.1, slot.2) != (state, key, namespace));
    }

    /// The keys and namespaces that have something in a state.
    pub fn keys(&self, state: usize) -> BTreeSet<(u64, u64)> {
        let slots =
            self.items.iter().filter(|(slot, items)| slot.0 == state && items.iter().any(|item| self.lives(item)));
        slots.map(|(slot, _)| (slot.1, slot.2)).collect()
    }

    /// Writes all of a state by `version`; gives how many items were of an earlier one.
    pub fn migrate(&mut self, state: usize, version: u8) -> usize {
        let now = self.now.clone();
        let lives = |item: &Item| item.end.is_none_or(|(clock, at)| at > now.get(&clock).copied().unwrap_or(0));
        let of_state = self.items.iter_mut().filter(|(slot, _)| slot.0 == state).flat_map(|(_, items)| items);
        let mut count = 0;
        for item in of_state.filter(|item| lives(item) && item.version != version) {
            item.version = version;
            count += 1;
        }
        count
    }
}

/// An advance of the model, which follows the engine's from timer to timer.
pub struct Firing<'a> {
    /// The states.
    pub model: &'a mut Model,
    clock: Clock,
    now: u64,
    /// Timers that are due and have not fired.
    due: BTreeSet<Due>,
    late: BTreeSet<Due>,
}

/// The clock of a queue of timers.
pub fn clock_of(queue: usize) -> Clock {
    if queue < 2 { Clock::Event } else { Clock::Processing }
}

impl<'a> Firing<'a> {
    /// Of the timers of these keys.
    pub fn start(model: &'a mut Model, clock: Clock, now: u64, is_mine: impl Fn(u64) -> bool) -> Firing<'a> {
        let is_due = |timer: &&Due| clock_of(timer.queue) == clock && timer.at <= now && is_mine(timer.key);
        let due = model.timers.iter().filter(is_due).copied().collect();
        Firing { model, clock, now, due, late: BTreeSet::new() }
    }

    /// A timer fired.
    ///
    /// # Errors
    /// When another one is due, or none.
    pub fn fire(&mut self, timer: Due) -> Result<(), String> {
        let first = self.due.first().map(|first| first.at);
        if !self.due.remove(&timer) || first != Some(timer.at) {
            return Err(format!("{timer:?} fired, and the first one is due at {first:?}"));
        }
        self.model.timers.remove(&timer);
        Ok(())
    }

    /// A timer is set while others fire.
    pub fn set(&mut self, timer: Due) {
        if clock_of(timer.queue) != self.clock || timer.at > self.now {
            self.model.timers.insert(timer);
        } else if !self.due.contains(&timer) {
            self.late.insert(timer);
        }
    }

    /// A timer is deleted while others fire.
    pub fn delete(&mut self, timer: Due) {
        self.due.remove(&timer);
        self.late.remove(&timer);
        self.model.timers.remove(&timer);
    }

    /// The advance is over; gives what should have fired and has not.
    pub fn end(self) -> Option<Due> {
        self.model.timers.extend(self.late);
        self.due.first().copied()
    }
}
