//! What a store holds before a workload begins.

use anyhow::Result;

use super::in_turns;
use crate::data::{Random, Shuffle, State, VALUE_BYTES, fill_value, map_key, point_key, spread, timer_key};
use crate::store::{Store, Turn};

/// Average entries of a map, which has 10 to 100.
pub const MAP_ENTRIES_USUAL: u64 = 55;

/// Content of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    NoPoints,
    NoLists,
    Points,
    Maps,
    Timers,
}

impl Fill {
    /// The kind of state that it is.
    pub fn state(self) -> State {
        match self {
            Fill::NoPoints | Fill::Points => State::Points,
            Fill::NoLists => State::Lists,
            Fill::Maps => State::Maps,
            Fill::Timers => State::Timers,
        }
    }

    /// How a directory with it is called; `None` when there is nothing in it.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Fill::NoPoints | Fill::NoLists => None,
            Fill::Points => Some("points"),
            Fill::Maps => Some("maps"),
            Fill::Timers => Some("timers"),
        }
    }

    pub fn named(name: &str) -> Option<Fill> {
        [Fill::Points, Fill::Maps, Fill::Timers].into_iter().find(|fill| fill.name() == Some(name))
    }
}

/// Fills an empty store with about `keys` entries, in random order. The same for every seed: only operations follow the seed.
pub fn fill<S: Store>(store: &mut S, what: Fill, keys: u64) -> Result<()> {
    match what {
        Fill::NoPoints | Fill::NoLists => Ok(()),
        Fill::Points => points(store, keys),
        Fill::Maps => maps(store, keys),
        Fill::Timers => timers(store, keys),
    }
}

/// Puts every point once. Numbers rise; the order of the keys is random, by the hash in front of each.
pub fn points<S: Store>(store: &mut S, keys: u64) -> Result<()> {
    let mut value = [0; VALUE_BYTES];
    in_turns(store, keys, |turn, number| {
        fill_value(number, &mut value);
        turn.put(&point_key(number), &value)
    })
}

/// How many maps there are.
pub fn map_count(keys: u64) -> u64 {
    (keys / MAP_ENTRIES_USUAL).max(1)
}

/// How many entries a map has at first.
pub fn map_entries(map: u64) -> u64 {
    10 + spread(map ^ 0x5eed) % 91
}

/// Puts the entries of all maps, those of different maps interleaved.
fn maps<S: Store>(store: &mut S, keys: u64) -> Result<()> {
    let maps = map_count(keys);
    let order = Shuffle::new(maps * 100, 1);
    let mut value = [0; VALUE_BYTES];
    in_turns(store, maps * 100, |turn, place| {
        let (map, entry) = (order.at(place) % maps, order.at(place) / maps);
        if entry >= map_entries(map) {
            return Ok(());
        }
        fill_value(map ^ entry, &mut value);
        turn.put(&map_key(map, entry), &value)
    })
}

/// When the `number`th timer of the first ones is due: within `horizon`.
pub fn first_due(number: u64, horizon: u64) -> u64 {
    Random::new(number).below(horizon)
}

fn timers<S: Store>(store: &mut S, keys: u64) -> Result<()> {
    in_turns(store, keys, |turn, number| turn.put(&timer_key(first_due(number, keys), number), &[]))
}
