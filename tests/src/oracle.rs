//! What a store should say: a map in memory that does everything at once and in the simplest way.

use std::collections::BTreeMap;

use bedload_lsm::{ClockId, Clocks, Expiry, KeyRange, KeyShape, Rules};

use crate::keys::{TestKeys, TestRules};

/// Keys and values that a reader sees.
pub type Content = Vec<(Vec<u8>, Vec<u8>)>;

/// The state of a store.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    entries: BTreeMap<Vec<u8>, (Vec<u8>, Option<Expiry>)>,
    /// The readings of all clocks.
    pub clocks: Clocks,
}

impl Oracle {
    /// What a get finds.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.live(key).map(|(value, _)| value.as_slice())
    }

    fn live(&self, key: &[u8]) -> Option<&(Vec<u8>, Option<Expiry>)> {
        self.entries.get(key).filter(|(_, expiry)| expiry.is_none_or(|expiry| !self.clocks.expired(expiry)))
    }

    /// When a value ends.
    pub fn expiry(&self, key: &[u8]) -> Option<Expiry> {
        self.live(key).and_then(|(_, expiry)| *expiry)
    }

    /// Sets a value.
    pub fn put(&mut self, key: &[u8], value: &[u8], expiry: Option<Expiry>) {
        self.entries.insert(key.to_vec(), (value.to_vec(), expiry));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    /// Folds an operand.
    pub fn merge(&mut self, key: &[u8], operand: &[u8], expiry: Option<Expiry>) {
        let rule = TestRules.rule(key).expect("only keys with a rule are merged");
        let value = match self.live(key) {
            Some((older, _)) => {
                let mut out = Vec::new();
                rule.fold.join(older, operand, &mut out).expect("values of the tests fit their rules");
                out
            }
            None => operand.to_vec(),
        };
        self.put(key, &value, expiry);
    }

    /// Removes a range.
    pub fn delete_range(&mut self, range: &KeyRange) {
        self.entries.retain(|key, _| !range.contains(key));
    }

    /// Removes what a low mark covers.
    pub fn set_low_mark(&mut self, mark: &[u8]) {
        let partition = TestKeys.partition_bytes(mark);
        self.delete_range(&KeyRange::from(&mark[..partition]..mark));
    }

    /// Moves a clock.
    pub fn set_clock(&mut self, clock: ClockId, now: u64) {
        self.clocks.advance(clock, now);
    }

    /// What a scan finds.
    pub fn scan(&self, range: &KeyRange) -> Content {
        self.entries
            .iter()
            .filter(|(key, (_, expiry))| {
                range.contains(key) && expiry.is_none_or(|expiry| !self.clocks.expired(expiry))
            })
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    }
}
