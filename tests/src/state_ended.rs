//! States that show what has ended until it was cleaned up, and what the model allows them to show: what lives, always; of what has ended,
//! the last that was written, or nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bedload::{Clock, Engine, Keyed, List, Map, Spec, State, Ttl, Value, Visibility};

const LIFE_MS: u64 = 40;
const TTL: Ttl = Ttl::after(Duration::from_millis(LIFE_MS)).clock(Clock::Event).visible(Visibility::UntilCleaned);
const VALUE: Spec<Value<u64>> = Value::named("shown value").ttl(TTL);
const LIST: Spec<List<u64>> = List::named("shown list").ttl(TTL);
const MAP: Spec<Map<u64, u64>> = Map::named("shown map").ttl(TTL);

/// The states of an engine.
pub struct EndedHandles {
    value: State<Value<u64>>,
    list: State<List<u64>>,
    map: State<Map<u64, u64>>,
}

impl EndedHandles {
    /// Declares them.
    pub fn declare(engine: &mut Engine) -> bedload::Result<EndedHandles> {
        Ok(EndedHandles { value: engine.state(VALUE)?, list: engine.state(LIST)?, map: engine.state(MAP)? })
    }
}

/// What was written and not removed since, whether it has ended or not: numbers, and when they end; by key, and by key of the map.
#[derive(Clone, Debug, Default)]
pub struct EndedModel {
    values: BTreeMap<u64, (u64, u64)>,
    lists: BTreeMap<u64, Vec<(u64, u64)>>,
    maps: BTreeMap<(u64, u64), (u64, u64)>,
}

/// An operation on one of them.
#[derive(Clone, Copy, Debug)]
pub struct EndedOperation {
    what: u64,
    number: u64,
}

impl EndedOperation {
    /// Any.
    pub fn draw(mut below: impl FnMut(u64) -> u64) -> EndedOperation {
        EndedOperation { what: below(11), number: below(1000) }
    }

    /// Applies it to a key of an engine; gives what that shows: keys of the map, or zeros, and numbers.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn apply(self, keyed: &mut Keyed<'_>, handles: &EndedHandles) -> bedload::Result<Vec<(u64, u64)>> {
        let EndedHandles { value, list, map } = handles;
        let EndedOperation { what, number } = self;
        match what {
            0 => keyed.set(value, &number)?,
            1 => keyed.clear(value)?,
            2 => keyed.add(list, number)?,
            3 => keyed.set_list(list, &[number, number + 1])?,
            4 => keyed.clear(list)?,
            5 => keyed.insert(map, &(number % 5), &number)?,
            6 => keyed.remove(map, &(number % 5))?,
            7 => return Ok(keyed.get(value)?.map(|shown| (0, shown)).into_iter().collect()),
            8 => return Ok(keyed.get(list)?.into_iter().map(|shown| (0, shown)).collect()),
            9 => return Ok(keyed.find(map, &(number % 5))?.map(|shown| (number % 5, shown)).into_iter().collect()),
            _ => {
                let (mut entries, mut all) = (keyed.entries(map), Vec::new());
                while let Some(entry) = entries.next()? {
                    all.push(entry);
                }
                return Ok(all);
            }
        }
        Ok(Vec::new())
    }
}

impl EndedModel {
    /// Applies an operation at a reading of the clock, and gives all that may be shown, with whether it must be.
    pub fn answer(&mut self, key: u64, operation: EndedOperation, now: u64) -> Vec<((u64, u64), bool)> {
        let EndedOperation { what, number } = operation;
        let end = now + LIFE_MS;
        let shown = |map_key: u64, (number, end): &(u64, u64)| ((map_key, *number), *end > now);
        match what {
            0 => drop(self.values.insert(key, (number, end))),
            1 => drop(self.values.remove(&key)),
            2 => self.lists.entry(key).or_default().push((number, end)),
            3 => drop(self.lists.insert(key, vec![(number, end), (number + 1, end)])),
            4 => drop(self.lists.remove(&key)),
            5 => drop(self.maps.insert((key, number % 5), (number, end))),
            6 => drop(self.maps.remove(&(key, number % 5))),
            7 => return self.values.get(&key).map(|item| shown(0, item)).into_iter().collect(),
            8 => return self.lists.get(&key).into_iter().flatten().map(|item| shown(0, item)).collect(),
            9 => return self.maps.get(&(key, number % 5)).map(|item| shown(number % 5, item)).into_iter().collect(),
            _ => {
                let entries = self.maps.range((key, 0)..=(key, u64::MAX));
                return entries.map(|((_, map_key), item)| shown(*map_key, item)).collect();
            }
        }
        Vec::new()
    }
}

/// Whether something may be shown: all that must be, in its order, and nothing that may not. Gives how much of it has ended.
pub fn ended_among(shown: &[(u64, u64)], allowed: &[((u64, u64), bool)]) -> Option<usize> {
    let (mut rest, mut ended) = (shown, 0);
    for (item, lives) in allowed {
        if rest.first() == Some(item) {
            rest = &rest[1..];
            ended += usize::from(!lives);
        } else if *lives {
            return None;
        }
    }
    rest.is_empty().then_some(ended)
}
