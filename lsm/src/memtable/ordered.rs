//! The ordered index of a memtable: record offsets in key order, in leaves of up to 128.
//!
//! ```text
//!   fences   [first key's 12 bytes | …]            one for each leaf: binary search
//!   leaves   [12 bytes of key, offset | … ≤ 128]   ties are settled in the arena
//! ```
//!
//! Twenty bytes of key were no faster, though they tell entries of one map apart: scans of maps took the same time, and
//! timers 10 % more of the processor's, because slots of 24 bytes miss its caches more often.
//!
//! Two levels only: a split moves the leaves' heads behind it, 40 bytes a leaf, once in some 64 inserts; with a million
//! entries that is some 5 µs, and less than 100 ns an insert. An emptied leaf is unlinked and reused, so that a queue filled
//! at its end and emptied at its head stays small.

use super::arena::{Arena, Offset};
use crate::key::KeyRange;

const LEAF_MAX: usize = 128;

/// Record offsets in the order of their keys.
#[derive(Default)]
pub(crate) struct Ordered {
    leaves: Vec<Leaf>,
    spare: Vec<Vec<Slot>>,
    len: usize,
}

struct Leaf {
    /// The head of its first slot's key; at most that of any key inside.
    fence: Head,
    slots: Vec<Slot>,
}

/// The first twelve bytes of a key, in key order; short keys are filled with zeros.
pub(super) type Head = (u64, u32);

#[derive(Clone, Copy)]
struct Slot {
    high: u64,
    low: u32,
    offset: Offset,
}

impl Slot {
    fn new((high, low): Head, offset: Offset) -> Slot {
        Slot { high, low, offset }
    }

    #[inline]
    fn head(&self) -> Head {
        (self.high, self.low)
    }
}

/// A place in the index; valid until it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    leaf: usize,
    slot: usize,
}

/// The head of a key.
#[inline]
pub(super) fn head(key: &[u8]) -> Head {
    if let Some(bytes) = key.first_chunk::<12>() {
        let (high, low) = bytes.split_at(8);
        let high = u64::from_be_bytes(high.try_into().expect("eight bytes"));
        return (high, u32::from_be_bytes(low.try_into().expect("four bytes")));
    }
    let mut bytes = [0; 12];
    bytes[..key.len()].copy_from_slice(key);
    head(&bytes)
}

impl Ordered {
    /// An index of records that come in the order of their keys.
    pub fn from_sorted(arena: &Arena, offsets: impl Iterator<Item = Offset>) -> Ordered {
        let mut ordered = Ordered::default();
        for offset in offsets {
            let slot = Slot::new(head(arena.key(offset)), offset);
            match ordered.leaves.last_mut() {
                Some(leaf) if leaf.slots.len() < LEAF_MAX * 3 / 4 => leaf.slots.push(slot),
                _ => {
                    let mut slots = Vec::with_capacity(LEAF_MAX);
                    slots.push(slot);
                    ordered.leaves.push(Leaf { fence: slot.head(), slots });
                }
            }
            ordered.len += 1;
        }
        ordered
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes it holds.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        (self.leaves.len() + self.spare.len()) * (LEAF_MAX * size_of::<Slot>() + size_of::<Leaf>())
    }

    /// Adds the record of a key that is not in yet.
    pub fn insert(&mut self, arena: &Arena, key: &[u8], offset: Offset) {
        let slot = Slot::new(head(key), offset);
        self.len += 1;
        if self.leaves.is_empty() {
            let mut slots = self.new_slots();
            slots.push(slot);
            self.leaves.push(Leaf { fence: slot.head(), slots });
            return;
        }
        let mut leaf = self.leaf_of(arena, key);
        if self.leaves[leaf].slots.len() == LEAF_MAX {
            self.split(leaf);
            if self.starts_at_or_before(arena, leaf + 1, key) {
                leaf += 1;
            }
        }
        let at = self.lower_bound(arena, leaf, key);
        let leaf = &mut self.leaves[leaf];
        leaf.slots.insert(at, slot);
        if at == 0 {
            leaf.fence = slot.head();
        }
    }

    /// Removes the record of a key, which is in.
    pub fn remove(&mut self, arena: &Arena, key: &[u8]) {
        let leaf = self.leaf_of(arena, key);
        let at = self.lower_bound(arena, leaf, key);
        debug_assert_eq!(arena.key(self.leaves[leaf].slots[at].offset), key, "the key is in the index");
        self.remove_at(Position { leaf, slot: at });
    }

    /// Removes what stands at a position.
    fn remove_at(&mut self, Position { leaf, slot }: Position) {
        self.leaves[leaf].slots.remove(slot);
        self.len -= 1;
        self.drop_if_empty(leaf);
    }

    /// Removes the keys of a range, leaf by leaf; tells each record.
    pub fn remove_range(&mut self, arena: &Arena, range: &KeyRange, mut removed: impl FnMut(Offset)) {
        while let Some(Position { leaf, slot }) = self.seek(arena, &range.start) {
            let count = self.leaves[leaf].slots.len();
            let end = range.end.as_ref().map_or(count, |end| self.lower_bound(arena, leaf, end));
            if end <= slot {
                return;
            }
            self.len -= end - slot;
            self.leaves[leaf].slots.drain(slot..end).for_each(|slot| removed(slot.offset));
            self.drop_if_empty(leaf);
            if end < count {
                return;
            }
        }
    }

    fn drop_if_empty(&mut self, leaf: usize) {
        if self.leaves[leaf].slots.is_empty() {
            let emptied = self.leaves.remove(leaf);
            if self.spare.len() < 4 {
                self.spare.push(emptied.slots);
            }
        }
    }

    /// Lets the key's entry name another record of the same key.
    pub fn replace(&mut self, arena: &Arena, key: &[u8], after: Offset) {
        let leaf = self.leaf_of(arena, key);
        let at = self.lower_bound(arena, leaf, key);
        self.leaves[leaf].slots[at].offset = after;
    }

    /// The first key that is not smaller than `key`.
    pub fn seek(&self, arena: &Arena, key: &[u8]) -> Option<Position> {
        if self.leaves.is_empty() {
            return None;
        }
        let leaf = self.leaf_of(arena, key);
        let slot = self.lower_bound(arena, leaf, key);
        self.settle(Position { leaf, slot })
    }

    /// The last key smaller than `bound`, or the last of all.
    pub fn seek_before(&self, arena: &Arena, bound: Option<&[u8]>) -> Option<Position> {
        let Some(bound) = bound else {
            let leaf = self.leaves.len().checked_sub(1)?;
            return Some(Position { leaf, slot: self.leaves[leaf].slots.len() - 1 });
        };
        if self.leaves.is_empty() {
            return None;
        }
        let leaf = self.leaf_of(arena, bound);
        self.prev(Position { leaf, slot: self.lower_bound(arena, leaf, bound) })
    }

    /// The next larger key.
    pub fn next(&self, at: Position) -> Option<Position> {
        self.settle(Position { slot: at.slot + 1, ..at })
    }

    /// The next smaller key.
    pub fn prev(&self, at: Position) -> Option<Position> {
        if at.slot > 0 {
            return Some(Position { slot: at.slot - 1, ..at });
        }
        let leaf = at.leaf.checked_sub(1)?;
        Some(Position { leaf, slot: self.leaves[leaf].slots.len() - 1 })
    }

    /// The record at a position.
    #[inline]
    pub fn offset(&self, at: Position) -> Offset {
        self.leaves[at.leaf].slots[at.slot].offset
    }

    fn settle(&self, at: Position) -> Option<Position> {
        if at.slot < self.leaves[at.leaf].slots.len() {
            return Some(at);
        }
        (at.leaf + 1 < self.leaves.len()).then_some(Position { leaf: at.leaf + 1, slot: 0 })
    }

    /// The last leaf whose first key is not larger than `key`; the first one when all are.
    fn leaf_of(&self, arena: &Arena, key: &[u8]) -> usize {
        let head = head(key);
        let below = self.leaves.partition_point(|leaf| leaf.fence < head);
        if self.leaves.get(below).is_none_or(|leaf| leaf.fence != head) {
            return below.saturating_sub(1);
        }
        let same = self.leaves[below..].partition_point(|leaf| leaf.fence == head);
        let within = &self.leaves[below..below + same];
        let same = within.partition_point(|leaf| arena.key(leaf.slots[0].offset) <= key);
        (below + same).saturating_sub(1)
    }

    fn starts_at_or_before(&self, arena: &Arena, leaf: usize, key: &[u8]) -> bool {
        arena.key(self.leaves[leaf].slots[0].offset) <= key
    }

    fn lower_bound(&self, arena: &Arena, leaf: usize, key: &[u8]) -> usize {
        let head = head(key);
        let slots = &self.leaves[leaf].slots;
        let below = slots.partition_point(|slot| slot.head() < head);
        if slots.get(below).is_none_or(|slot| slot.head() != head) {
            return below;
        }
        let same = slots[below..].partition_point(|slot| slot.head() == head);
        below + slots[below..below + same].partition_point(|slot| arena.key(slot.offset) < key)
    }

    fn split(&mut self, leaf: usize) {
        let mut right = self.new_slots();
        // The last leaf is split near its end: rising keys fill leaves.
        let at = if leaf + 1 == self.leaves.len() { LEAF_MAX * 7 / 8 } else { LEAF_MAX / 2 };
        right.extend(self.leaves[leaf].slots.drain(at..));
        let fence = right[0].head();
        self.leaves.insert(leaf + 1, Leaf { fence, slots: right });
    }

    fn new_slots(&mut self) -> Vec<Slot> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(LEAF_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunks::ChunkPool;
    use super::*;
    use crate::entry::Entry;

    fn key(number: u64) -> Vec<u8> {
        // Long shared heads, so that ties are settled in the arena.
        format!("a-shared-head-{:04}", number).into_bytes()
    }

    #[test]
    fn it_orders_like_a_map_under_inserts_and_removes() {
        let mut arena = Arena::new(&ChunkPool::new(4 << 20));
        let mut ordered = Ordered::default();
        let mut model = std::collections::BTreeMap::new();
        let mut random = 7u64;
        for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = key((random >> 33) % 3000);
            if model.remove(&key).is_some() {
                ordered.remove(&arena, &key);
            } else {
                let offset = arena.push(0, &key, Entry::TOMBSTONE, 0).unwrap();
                ordered.insert(&arena, &key, offset);
                model.insert(key, offset);
            }
        }
        assert_eq!(ordered.len(), model.len());
        for number in 0..3000 {
            let bound = key(number);
            let after = ordered.seek(&arena, &bound).map(|at| ordered.offset(at));
            assert_eq!(after, model.range(bound.clone()..).next().map(|(_, offset)| *offset));
            let before = ordered.seek_before(&arena, Some(&bound)).map(|at| ordered.offset(at));
            assert_eq!(before, model.range(..bound).next_back().map(|(_, offset)| *offset));
        }
        let mut at = ordered.seek(&arena, b"");
        for offset in model.values() {
            assert_eq!(at.map(|at| ordered.offset(at)), Some(*offset));
            at = ordered.next(at.unwrap());
        }
        assert_eq!(at, None);
        let mut at = ordered.seek_before(&arena, None);
        for offset in model.values().rev() {
            assert_eq!(at.map(|at| ordered.offset(at)), Some(*offset));
            at = ordered.prev(at.unwrap());
        }
        assert_eq!(at, None);
    }

    #[test]
    fn a_queue_stays_small() {
        let mut arena = Arena::new(&ChunkPool::new(16 << 20));
        let mut ordered = Ordered::default();
        for number in 0..if cfg!(miri) { 900 } else { 20_000u64 } {
            let new = number.to_be_bytes();
            let offset = arena.push(0, &new, Entry::TOMBSTONE, 0).unwrap();
            ordered.insert(&arena, &new, offset);
            if number >= 500 {
                ordered.remove(&arena, &(number - 500).to_be_bytes());
            }
        }
        assert_eq!(ordered.len(), 500);
        assert!(ordered.memory_bytes() < 40_000, "{} bytes for 500 entries", ordered.memory_bytes());
    }
}
