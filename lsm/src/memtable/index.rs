//! The hash index of a memtable: hash and record offset in eight bytes, open addressing, in shards.
//!
//! A shard doubles by itself when three quarters full, so growing pauses the writer for one sixty-fourth of the index at a
//! time: some µs while small, some 80 µs for the 12,288 entries of a shard of 16,384 slots (at 800,000 entries in all). It
//! needs no look at the keys, because the slot holds the hash. Keys whose 32-bit hashes agree are told apart in the arena.

use super::arena::Offset;

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;
const SLOTS_MIN: usize = 8;
/// No record: offsets are stored plus one.
const EMPTY: u64 = 0;

/// Finds records by hash.
pub(crate) struct Index {
    shards: Vec<Shard>,
    len: usize,
    slots: usize,
}

struct Shard {
    slots: Vec<u64>,
    len: usize,
}

fn slot_of(hash: u32, offset: Offset) -> u64 {
    u64::from(hash) << 32 | (u64::from(offset) + 1)
}

fn offset_in(slot: u64) -> Offset {
    (slot as u32).wrapping_sub(1)
}

impl Index {
    /// An index that takes `expected` entries without growing.
    pub fn with_expected(expected: usize) -> Index {
        let slots = (expected / SHARDS * 3 / 2).next_power_of_two().max(SLOTS_MIN);
        let shards = (0..SHARDS).map(|_| Shard { slots: vec![EMPTY; slots], len: 0 }).collect();
        Index { shards, len: 0, slots: slots * SHARDS }
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes it holds.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.slots * size_of::<u64>()
    }

    #[inline]
    fn shard(hash: u32) -> usize {
        (hash >> (32 - SHARD_BITS)) as usize
    }

    /// The record with this hash that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(Offset) -> bool) -> Option<Offset> {
        let shard = &self.shards[Index::shard(hash)];
        let mask = shard.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = shard.slots[at];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash && is_it(offset_in(slot)) {
                return Some(offset_in(slot));
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a record that is not in yet.
    pub fn insert(&mut self, hash: u32, offset: Offset) {
        let shard = &mut self.shards[Index::shard(hash)];
        if (shard.len + 1) * 4 > shard.slots.len() * 3 {
            self.slots += shard.slots.len();
            shard.grow();
        }
        shard.put(slot_of(hash, offset));
        shard.len += 1;
        self.len += 1;
    }

    /// Lets the entry of `before` name `after`.
    pub fn replace(&mut self, hash: u32, before: Offset, after: Offset) {
        let shard = &mut self.shards[Index::shard(hash)];
        let at = shard.position(slot_of(hash, before), hash).expect("the record is in the index");
        shard.slots[at] = slot_of(hash, after);
    }

    /// Removes a record.
    pub fn remove(&mut self, hash: u32, offset: Offset) {
        let shard = &mut self.shards[Index::shard(hash)];
        let at = shard.position(slot_of(hash, offset), hash).expect("the record is in the index");
        shard.close_gap(at);
        shard.len -= 1;
        self.len -= 1;
    }
}

impl Shard {
    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (slot >> 32) as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let larger = vec![EMPTY; self.slots.len() * 2];
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot != EMPTY {
                self.put(slot);
            }
        }
    }

    fn position(&self, slot: u64, hash: u32) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            if self.slots[at] == slot {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Moves the slots behind a removed one forward, so that no probe ends too early.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == EMPTY {
                self.slots[gap] = EMPTY;
                return;
            }
            let home = (slot >> 32) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_finds_what_is_in_and_nothing_else() {
        let mut index = Index::with_expected(0);
        let mut model = BTreeMap::new();
        let mut random = 1u64;
        for offset in 0..if cfg!(miri) { 300 } else { 20_000 } {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few bits, so that hashes collide and runs are long.
            let hash = (random >> 40) as u32 & 0xfc00_0fff;
            if random & 3 == 0 && !model.is_empty() {
                let (&offset, &hash) = model.iter().next().unwrap();
                index.remove(hash, offset);
                model.remove(&offset);
            }
            index.insert(hash, offset);
            model.insert(offset, hash);
        }
        assert_eq!(index.len(), model.len());
        for (&offset, &hash) in &model {
            assert_eq!(index.find(hash, |found| found == offset), Some(offset));
        }
    }
}
