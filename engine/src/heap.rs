//! A state that lies in memory as a whole: for small states, and as the oracle of tests.

use std::collections::{BTreeMap, BTreeSet};

use bedload_lsm::{ClockId, Clocks, Expiry, KEY_BYTES_MAX, KeyRange, Rules, VALUE_BYTES_MAX};

use crate::error::{Result, fix};
use crate::state_key::StateRules;
use crate::stats::HeapStats;

/// A value and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub bytes: Vec<u8>,
    pub expiry: Option<Expiry>,
}

/// Keys and values in a tree.
#[derive(Default)]
pub(crate) struct Heap {
    entries: BTreeMap<Vec<u8>, Kept>,
    /// By clock: when entries end, and their keys. So a clock that moves on looks only at what has ended.
    ends: BTreeMap<u8, BTreeSet<(u64, Vec<u8>)>>,
    clocks: Clocks,
    rules: StateRules,
}

impl Heap {
    /// An empty one, whose entries are merged by these rules.
    pub fn new(rules: StateRules) -> Heap {
        Heap { rules, ..Heap::default() }
    }

    /// All that has not ended, in order.
    pub fn live(&self) -> impl Iterator<Item = (&Vec<u8>, &Kept)> {
        self.entries.iter().filter(|(_, kept)| self.lives(kept))
    }

    /// What it holds.
    pub fn stats(&self) -> HeapStats {
        let bytes = |(key, kept): (&Vec<u8>, &Kept)| (key.len() + kept.bytes.len()) as u64;
        HeapStats { entries: self.entries.len() as u64, bytes: self.entries.iter().map(bytes).sum() }
    }

    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    fn lives(&self, kept: &Kept) -> bool {
        kept.expiry.is_none_or(|expiry| !self.clocks.expired(expiry))
    }

    pub fn set_clock(&mut self, clock: ClockId, now: u64) {
        self.clocks.advance(clock, now);
        let now = self.clocks.now(clock);
        let Some(ends) = self.ends.get_mut(&clock.0) else { return };
        while ends.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = ends.pop_first()
        {
            self.entries.remove(&key);
        }
    }

    pub fn advance_all(&mut self, clocks: &Clocks) {
        self.clocks.advance_all(clocks);
    }

    pub fn get(&self, key: &[u8]) -> Option<&Kept> {
        self.entries.get(key).filter(|kept| self.lives(kept))
    }

    /// # Errors
    /// `Fix` when key or value are longer than a store takes, which each checkpoint goes through.
    pub fn put(&mut self, key: &[u8], bytes: &[u8], expiry: Option<Expiry>) -> Result<()> {
        for (what, length, limit) in [("key", key.len(), KEY_BYTES_MAX), ("value", bytes.len(), VALUE_BYTES_MAX)] {
            if length > limit {
                return Err(fix(format!("{what} of {length} bytes, at most {limit}")));
            }
        }
        if let Some(kept) = self.entries.get_mut(key) {
            kept.bytes.clear();
            kept.bytes.extend_from_slice(bytes);
            if kept.expiry != expiry {
                let former = std::mem::replace(&mut kept.expiry, expiry);
                self.forget_end(key, former);
                self.note_end(key, expiry);
            }
            return Ok(());
        }
        self.note_end(key, expiry);
        self.entries.insert(key.to_vec(), Kept { bytes: bytes.to_vec(), expiry });
        Ok(())
    }

    pub fn merge(&mut self, key: &[u8], operand: &[u8], expiry: Option<Expiry>) -> Result<()> {
        let rule = self.rules.rule(key).ok_or_else(|| fix("nothing is merged under this key"))?;
        rule.fold.check(operand)?;
        let Some(kept) = self.get(key) else { return self.put(key, operand, expiry) };
        let mut joined = Vec::new();
        rule.fold.join(&kept.bytes, operand, &mut joined)?;
        self.put(key, &joined, expiry)
    }

    pub fn delete(&mut self, key: &[u8]) {
        if let Some(kept) = self.entries.remove(key) {
            self.forget_end(key, kept.expiry);
        }
    }

    fn note_end(&mut self, key: &[u8], expiry: Option<Expiry>) {
        if let Some(Expiry { clock, at }) = expiry {
            self.ends.entry(clock.0).or_default().insert((at, key.to_vec()));
        }
    }

    fn forget_end(&mut self, key: &[u8], expiry: Option<Expiry>) {
        if let Some(Expiry { clock, at }) = expiry
            && let Some(ends) = self.ends.get_mut(&clock.0)
        {
            ends.remove(&(at, key.to_vec()));
        }
    }

    pub fn delete_range(&mut self, range: &KeyRange) {
        let mut inside = self.entries.split_off(&range.start);
        if let Some(end) = &range.end {
            self.entries.append(&mut inside.split_off(end));
        }
        for (key, kept) in inside {
            self.forget_end(&key, kept.expiry);
        }
    }

    /// The first entry of a range.
    pub fn first(&self, range: &KeyRange) -> Option<(&Vec<u8>, &Kept)> {
        self.range(range).next()
    }

    /// The entries of a range.
    pub fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Vec<u8>, &Kept)> {
        use std::ops::Bound;
        let is_empty = range.end.as_ref().is_some_and(|end| *end <= range.start);
        let start = if is_empty { Bound::Excluded(&range.start) } else { Bound::Included(&range.start) };
        let end = match &range.end {
            Some(_) if is_empty => Bound::Included(&range.start),
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        self.entries.range::<Vec<u8>, _>((start, end)).filter(|(_, kept)| self.lives(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: ClockId = ClockId(1);

    fn until(at: u64) -> Option<Expiry> {
        Some(Expiry { clock: CLOCK, at })
    }

    fn key(number: u64) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    /// Each reading of a clock looked at every entry: a heap of a million entries stood still at each tick.
    #[test]
    fn a_clock_that_moves_on_looks_only_at_what_has_ended() {
        let mut heap = Heap::default();
        for number in 0..1_000 {
            heap.put(&key(number), b"first", until(500)).unwrap();
            heap.put(&key(number), b"then", until(1_000 + number)).unwrap();
        }
        heap.put(&key(5_000), b"for ever", None).unwrap();
        heap.delete(&key(10));
        heap.delete_range(&KeyRange { start: key(20), end: Some(key(30)) });
        heap.put(&key(40), b"for ever", None).unwrap();
        assert_eq!(heap.ends[&1].len(), 1_000 - 1 - 10 - 1, "one end for each entry that has one");
        heap.set_clock(ClockId(0), u64::MAX);
        heap.set_clock(CLOCK, 1_099);
        assert_eq!(heap.ends[&1].first(), Some(&(1_100, key(100))));
        assert_eq!((heap.get(&key(99)), heap.entries.len()), (None, 900 + 2));
        assert!(heap.get(&key(100)).is_some() && heap.get(&key(40)).is_some());
        heap.set_clock(CLOCK, u64::MAX);
        assert_eq!((heap.entries.len(), heap.ends[&1].len()), (2, 0));
    }
}
