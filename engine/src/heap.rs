//! A state that lies in memory as a whole: for small states, and as the oracle of tests.

use std::collections::BTreeMap;

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
        let before = self.clocks.now(clock);
        self.clocks.advance(clock, now);
        if self.clocks.now(clock) > before {
            let clocks = self.clocks;
            self.entries.retain(|_, kept| kept.expiry.is_none_or(|expiry| !clocks.expired(expiry)));
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
            kept.expiry = expiry;
            return Ok(());
        }
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
        self.entries.remove(key);
    }

    pub fn delete_range(&mut self, range: &KeyRange) {
        let mut inside = self.entries.split_off(&range.start);
        if let Some(end) = &range.end {
            self.entries.append(&mut inside.split_off(end));
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
