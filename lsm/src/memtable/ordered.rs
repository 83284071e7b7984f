//! The ordered index of a memtable: record offsets in key order, in a tree of three levels.
//!
//! ```text
//!   groups   [first key's 12 bytes | …]              one for each 64 leaves: binary search
//!   leaves   [first key's 12 bytes, count | … ≤ 64]
//!   slots    [12 bytes of key, offset | … ≤ 128]     in chunks, as records are; ties are settled in the arena
//! ```
//!
//! A full leaf is split in half; but behind its last key a new one is begun, so that rising keys fill leaves: of timers,
//! those of each key group rise. Falling keys come in front of that new one until it is half full. An emptied leaf is unlinked and reused, so that a queue filled at its end and emptied at
//! its head stays small.
//!
//! Twenty bytes of key were no faster, though they tell entries of one map apart: scans of maps took the same time, and
//! timers 10 % more of the processor's, because slots of 24 bytes miss its caches more often.

use std::sync::Arc;

use super::arena::{Arena, Offset};
use super::chunks::{Chunk, ChunkPool};
use crate::key::KeyRange;
use crate::prefetch::prefetch;

const LEAF_MAX: usize = 128;
const GROUP_MAX: usize = 64;
const HEAD_BYTES: usize = 12;
const SLOT_BYTES: usize = size_of::<Slot>();
const LEAF_BYTES: usize = LEAF_MAX * SLOT_BYTES;

/// Record offsets in the order of their keys.
pub(crate) struct Ordered {
    groups: Vec<Group>,
    slots: Slots,
    len: usize,
}

/// Leaves that follow each other; never none.
struct Group {
    leaves: Vec<Leaf>,
    /// That of its first leaf.
    fence: Head,
}

/// Slots that follow each other; never none.
#[derive(Clone, Copy)]
struct Leaf {
    /// The head of its first slot's key, or of one that was before it.
    fence: Head,
    /// Where the slots are.
    number: u32,
    count: u32,
}

/// The first twelve bytes of a key, in key order; short keys are filled with zeros.
pub(super) type Head = (u64, u32);

/// A head, and below it the offset of the key's record.
type Slot = u128;

/// A place in the index; valid until it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    group: usize,
    leaf: usize,
    slot: usize,
}

impl Position {
    /// So many slots further, perhaps behind the end of the leaf.
    pub fn ahead(self, slots: usize) -> Position {
        Position { slot: self.slot + slots, ..self }
    }
}

/// The head of a key.
#[inline]
pub(super) fn head(key: &[u8]) -> Head {
    if let Some(bytes) = key.first_chunk::<HEAD_BYTES>() {
        let (high, low) = bytes.split_at(8);
        let high = u64::from_be_bytes(high.try_into().expect("eight bytes"));
        return (high, u32::from_be_bytes(low.try_into().expect("four bytes")));
    }
    let mut bytes = [0; HEAD_BYTES];
    bytes[..key.len()].copy_from_slice(key);
    head(&bytes)
}

/// The slot of the least offset under a head.
#[inline]
fn least((high, low): Head) -> Slot {
    Slot::from(high) << 64 | Slot::from(low) << 32
}

#[inline]
fn head_in(slot: Slot) -> Head {
    ((slot >> 64) as u64, (slot >> 32) as u32)
}

#[inline]
fn offset_in(slot: Slot) -> Offset {
    slot as Offset
}

impl Ordered {
    /// An empty index, whose leaves will lie in chunks of `pool`.
    pub fn new(pool: &Arc<ChunkPool>) -> Ordered {
        Ordered { groups: Vec::new(), slots: Slots::new(pool), len: 0 }
    }

    /// An index of records that come in the order of their keys.
    pub fn from_sorted(arena: &Arena, offsets: impl Iterator<Item = Offset>) -> Ordered {
        let mut ordered = Ordered::new(arena.pool());
        for offset in offsets {
            let slot = least(head(arena.key(offset))) | Slot::from(offset);
            ordered.len += 1;
            let Some(group) = ordered.groups.len().checked_sub(1) else {
                ordered.begin(slot);
                continue;
            };
            let leaves = ordered.groups[group].leaves.len();
            let last = &mut ordered.groups[group].leaves[leaves - 1];
            if (last.count as usize) < LEAF_MAX * 3 / 4 {
                ordered.slots.insert(last, last.count as usize, slot);
            } else {
                ordered.add_leaf(group, leaves, slot);
            }
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
        self.slots.used() + self.groups.len() * (size_of::<Group>() + GROUP_MAX * size_of::<Leaf>())
    }

    /// Bytes of memory it holds and does not use.
    pub fn idle_bytes(&self) -> usize {
        self.slots.held - self.slots.used()
    }

    /// Adds the record of a key that is not in yet.
    pub fn insert(&mut self, arena: &Arena, key: &[u8], offset: Offset) {
        self.insert_at(arena, self.place_of(arena, key), key, offset);
    }

    /// As [`Ordered::insert`], at the key's place.
    pub fn insert_at(&mut self, arena: &Arena, mut at: Position, key: &[u8], offset: Offset) {
        let slot = least(head(key)) | Slot::from(offset);
        self.len += 1;
        if self.groups.is_empty() {
            return self.begin(slot);
        }
        if self.groups[at.group].leaves[at.leaf].count as usize == LEAF_MAX {
            if at.slot < LEAF_MAX {
                self.split(at.group, at.leaf);
                at = self.place_of(arena, key);
            } else {
                // Keys that fall come behind this leaf one after the other: they belong to the leaf that the first began.
                let has_room =
                    |next: &Position| (self.groups[next.group].leaves[next.leaf].count as usize) < LEAF_MAX / 2;
                match self.settle(at).filter(has_room) {
                    Some(next) => at = next,
                    None => return self.add_leaf(at.group, at.leaf + 1, slot),
                }
            }
        }
        let group = &mut self.groups[at.group];
        self.slots.insert(&mut group.leaves[at.leaf], at.slot, slot);
        if at.slot == 0 {
            group.leaves[at.leaf].fence = head_in(slot);
            group.fence = group.leaves[0].fence;
        }
    }

    /// The record of `key`, whose place is `at`.
    pub fn find_at(&self, arena: &Arena, at: Position, key: &[u8]) -> Option<Offset> {
        let leaf = self.groups.get(at.group)?.leaves[at.leaf];
        let slot = Slot::from_le_bytes(*self.slots.of(leaf).get(at.slot)?);
        (head_in(slot) == head(key) && arena.key(offset_in(slot)) == key).then_some(offset_in(slot))
    }

    /// Begins an empty index with a slot.
    fn begin(&mut self, slot: Slot) {
        let leaf = self.slots.leaf(slot);
        self.groups.push(Group { leaves: vec![leaf], fence: leaf.fence });
    }

    /// Adds a leaf of one slot to a group, as its leaf `at`, which is not the first.
    fn add_leaf(&mut self, group: usize, at: usize, slot: Slot) {
        let leaf = self.slots.leaf(slot);
        self.link(group, at, leaf);
    }

    fn link(&mut self, group: usize, at: usize, leaf: Leaf) {
        let leaves = &mut self.groups[group].leaves;
        leaves.insert(at, leaf);
        if leaves.len() > GROUP_MAX {
            // As with slots: behind the end a new group is begun.
            let behind = leaves.split_off(if at == GROUP_MAX { at } else { GROUP_MAX / 2 });
            self.groups.insert(group + 1, Group { fence: behind[0].fence, leaves: behind });
        }
    }

    /// Moves the upper half of a leaf into a new one behind it.
    fn split(&mut self, group: usize, leaf: usize) {
        let right = self.slots.split(&mut self.groups[group].leaves[leaf]);
        self.link(group, leaf + 1, right);
    }

    /// Removes the record of a key, which is in.
    pub fn remove(&mut self, arena: &Arena, key: &[u8]) {
        let at = self.place_of(arena, key);
        debug_assert_eq!(arena.key(self.offset(at)), key, "the key is in the index");
        self.remove_at(at);
    }

    /// Removes what stands at a position.
    pub fn remove_at(&mut self, at: Position) {
        self.remove_slots(at, at.slot + 1);
    }

    /// Removes the keys of a range, leaf by leaf; tells each record.
    pub fn remove_range(&mut self, arena: &Arena, range: &KeyRange, mut removed: impl FnMut(Offset)) {
        while let Some(at) = self.seek(arena, &range.start) {
            let leaf = self.groups[at.group].leaves[at.leaf];
            let count = leaf.count as usize;
            let end = range.end.as_ref().map_or(count, |end| self.lower_bound(arena, leaf, end));
            if end <= at.slot {
                return;
            }
            self.slots.of(leaf)[at.slot..end].iter().for_each(|slot| removed(offset_in(Slot::from_le_bytes(*slot))));
            self.remove_slots(at, end);
            if end < count {
                return;
            }
        }
    }

    /// Removes the slots of a leaf from a position on up to `end`.
    fn remove_slots(&mut self, at: Position, end: usize) {
        self.len -= end - at.slot;
        let group = &mut self.groups[at.group];
        let leaf = &mut group.leaves[at.leaf];
        if end - at.slot < leaf.count as usize {
            // The fence may stay when the first key goes: it is at most its keys, and not less than those before.
            return self.slots.remove(leaf, at.slot, end);
        }
        self.slots.free.push(leaf.number);
        group.leaves.remove(at.leaf);
        match group.leaves.first() {
            Some(first) => group.fence = first.fence,
            None => drop(self.groups.remove(at.group)),
        }
    }

    /// Lets the key's entry name another record of the same key.
    pub fn replace(&mut self, arena: &Arena, key: &[u8], after: Offset) {
        let at = self.place_of(arena, key);
        self.slots.set(self.groups[at.group].leaves[at.leaf], at.slot, least(head(key)) | Slot::from(after));
    }

    /// The first key that is not smaller than `key`.
    pub fn seek(&self, arena: &Arena, key: &[u8]) -> Option<Position> {
        if self.groups.is_empty() {
            return None;
        }
        self.settle(self.place_of(arena, key))
    }

    /// The last key smaller than `bound`, or the last of all.
    pub fn seek_before(&self, arena: &Arena, bound: Option<&[u8]>) -> Option<Position> {
        let end = match bound {
            _ if self.groups.is_empty() => return None,
            Some(bound) => self.place_of(arena, bound),
            None => Position { group: self.groups.len(), leaf: 0, slot: 0 },
        };
        self.prev(end)
    }

    /// The next larger key.
    pub fn next(&self, at: Position) -> Option<Position> {
        self.settle(Position { slot: at.slot + 1, ..at })
    }

    /// The next smaller key.
    pub fn prev(&self, mut at: Position) -> Option<Position> {
        if at.slot == 0 {
            if at.leaf == 0 {
                at.group = at.group.checked_sub(1)?;
                at.leaf = self.groups[at.group].leaves.len();
            }
            at.leaf -= 1;
            at.slot = self.groups[at.group].leaves[at.leaf].count as usize;
        }
        Some(Position { slot: at.slot - 1, ..at })
    }

    /// The record at a position.
    #[inline]
    pub fn offset(&self, at: Position) -> Offset {
        let slots = self.slots.of(self.groups[at.group].leaves[at.leaf]);
        offset_in(Slot::from_le_bytes(slots[at.slot]))
    }

    /// Up to `count` records from a position on, as far as its leaf goes.
    #[inline]
    pub fn offsets_from(&self, at: Position, count: usize) -> impl Iterator<Item = Offset> {
        let slots = self.slots.of(self.groups[at.group].leaves[at.leaf]);
        slots.iter().skip(at.slot).take(count).map(|slot| offset_in(Slot::from_le_bytes(*slot)))
    }

    /// Where the key is or would be, perhaps behind the end of a leaf.
    pub fn place_of(&self, arena: &Arena, key: &[u8]) -> Position {
        let (group, leaf) = self.leaf_of(arena, key);
        let leaves = self.groups.get(group).map_or(&[][..], |group| &group.leaves);
        Position { group, leaf, slot: leaves.get(leaf).map_or(0, |leaf| self.lower_bound(arena, *leaf, key)) }
    }

    /// The position itself, or the next leaf's start when it is behind the end of one.
    fn settle(&self, at: Position) -> Option<Position> {
        let leaves = &self.groups[at.group].leaves;
        if at.slot < leaves[at.leaf].count as usize {
            return Some(at);
        }
        if at.leaf + 1 < leaves.len() {
            return Some(Position { leaf: at.leaf + 1, slot: 0, ..at });
        }
        (at.group + 1 < self.groups.len()).then_some(Position { group: at.group + 1, leaf: 0, slot: 0 })
    }

    /// The last leaf whose first key is not larger than `key`; the first one when all are.
    fn leaf_of(&self, arena: &Arena, key: &[u8]) -> (usize, usize) {
        let head = head(key);
        let starts = |leaf: Leaf| arena.key(offset_in(Slot::from_le_bytes(self.slots.of(leaf)[0]))) <= key;
        let group = last(&self.groups, head, |group| group.fence, |group| starts(group.leaves[0]));
        let leaves = self.groups.get(group).map_or(&[][..], |group| &group.leaves);
        (group, last(leaves, head, |leaf| leaf.fence, |leaf| starts(*leaf)))
    }

    /// The first slot of a leaf whose key is not smaller than `key`.
    #[inline]
    fn lower_bound(&self, arena: &Arena, leaf: Leaf, key: &[u8]) -> usize {
        let least = least(head(key));
        let slots = self.slots.of(leaf);
        // A leaf is more than one cache line: those that the first three steps look at come together.
        (1..8).for_each(|eighth| prefetch(&slots[slots.len() * eighth / 8]));
        let below = slots.partition_point(|slot| Slot::from_le_bytes(*slot) < least);
        let is_alike = |slot: &[u8; SLOT_BYTES]| Slot::from_le_bytes(*slot) >> 32 == least >> 32;
        if !slots.get(below).is_some_and(is_alike) {
            return below;
        }
        if key.len() <= HEAD_BYTES && key.last().is_some_and(|last| *last != 0) {
            // It is all in the head, so keys with this head are the key itself or longer.
            return below;
        }
        let alike = slots[below..].partition_point(is_alike);
        let record = |at: usize| offset_in(Slot::from_le_bytes(slots[at]));
        let (mut low, mut high) = (below, below + alike);
        while low < high {
            let middle = low.midpoint(high);
            // Whichever comes next is on its way while this one is compared.
            for next in [low.midpoint(middle), (middle + 1).midpoint(high)] {
                arena.prefetch_key(record(next.min(slots.len() - 1)));
            }
            if arena.key(record(middle)) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The last of some that start at or before a key; the first when none does. Most are told by fence and head alone.
#[inline]
fn last<T>(some: &[T], head: Head, fence: impl Fn(&T) -> Head, starts: impl Fn(&T) -> bool) -> usize {
    let mut behind = some.partition_point(|one| fence(one) < head);
    if some.get(behind).is_some_and(|one| fence(one) == head) {
        behind += some[behind..].partition_point(|one| fence(one) == head && starts(one));
    }
    behind.saturating_sub(1)
}

/// The slots of all leaves, in chunks. The first chunk is small.
struct Slots {
    chunks: Vec<Chunk>,
    /// Leaves begun in the last chunk.
    begun: usize,
    /// Leaves begun in all.
    leaves: usize,
    free: Vec<u32>,
    /// Bytes of all chunks.
    held: usize,
    /// Bits of a leaf's number that are its place in a chunk.
    shift: u32,
    pool: Arc<ChunkPool>,
}

impl Slots {
    fn new(pool: &Arc<ChunkPool>) -> Slots {
        let shift = (pool.chunk_bytes() / LEAF_BYTES).max(1).trailing_zeros();
        Slots { chunks: Vec::new(), begun: 0, leaves: 0, free: Vec::new(), held: 0, shift, pool: Arc::clone(pool) }
    }

    #[inline]
    fn used(&self) -> usize {
        self.leaves * LEAF_BYTES
    }

    /// The slots of a leaf.
    #[inline]
    fn of(&self, leaf: Leaf) -> &[[u8; SLOT_BYTES]] {
        let start = (leaf.number as usize & ((1 << self.shift) - 1)) * LEAF_BYTES;
        let bytes = &self.chunks[leaf.number as usize >> self.shift][start..start + LEAF_BYTES];
        &bytes.as_chunks().0[..leaf.count as usize]
    }

    /// All of a leaf's slots, used or not.
    #[inline]
    fn all_of(&mut self, leaf: Leaf) -> &mut [[u8; SLOT_BYTES]] {
        let start = (leaf.number as usize & ((1 << self.shift) - 1)) * LEAF_BYTES;
        self.chunks[leaf.number as usize >> self.shift][start..start + LEAF_BYTES].as_chunks_mut().0
    }

    fn set(&mut self, leaf: Leaf, at: usize, slot: Slot) {
        self.all_of(leaf)[at] = slot.to_le_bytes();
    }

    /// Puts a slot into a leaf, which is not full.
    #[inline]
    fn insert(&mut self, leaf: &mut Leaf, at: usize, slot: Slot) {
        let slots = self.all_of(*leaf);
        slots.copy_within(at..leaf.count as usize, at + 1);
        slots[at] = slot.to_le_bytes();
        leaf.count += 1;
    }

    fn remove(&mut self, leaf: &mut Leaf, start: usize, end: usize) {
        self.all_of(*leaf).copy_within(end..leaf.count as usize, start);
        leaf.count -= (end - start) as u32;
    }

    /// A leaf of one slot.
    fn leaf(&mut self, slot: Slot) -> Leaf {
        let leaf = Leaf { fence: head_in(slot), number: self.number(), count: 1 };
        self.set(leaf, 0, slot);
        leaf
    }

    /// Moves the upper half of a full leaf into a new one.
    fn split(&mut self, leaf: &mut Leaf) -> Leaf {
        let mut upper = [[0; SLOT_BYTES]; LEAF_MAX / 2];
        upper.copy_from_slice(&self.of(*leaf)[LEAF_MAX / 2..]);
        leaf.count = (LEAF_MAX / 2) as u32;
        let fence = head_in(Slot::from_le_bytes(upper[0]));
        let right = Leaf { fence, number: self.number(), count: leaf.count };
        self.all_of(right)[..LEAF_MAX / 2].copy_from_slice(&upper);
        right
    }

    /// A leaf that is not in use.
    fn number(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| (self.begun + 1) * LEAF_BYTES > chunk.len()) {
            let bytes = if self.chunks.is_empty() { self.pool.first_bytes() } else { self.pool.chunk_bytes() };
            let chunk = self.pool.take_bytes(bytes.max(LEAF_BYTES));
            self.held += chunk.len();
            self.chunks.push(chunk);
            self.begun = 0;
        }
        self.begun += 1;
        self.leaves += 1;
        (((self.chunks.len() - 1) << self.shift) | (self.begun - 1)) as u32
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.chunks));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::Entry::Vacant;

    use super::super::chunks::ChunkPool;
    use super::*;
    use crate::entry::Entry;

    fn key(number: u64) -> Vec<u8> {
        // Long shared heads, so that ties are settled in the arena.
        format!("a-shared-head-{:04}", number).into_bytes()
    }

    #[test]
    fn it_orders_like_a_map_under_inserts_and_removes() {
        let pool = ChunkPool::of(4096);
        let mut arena = Arena::new(&pool);
        let mut ordered = Ordered::new(&pool);
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

    /// Enough keys for many groups, which differ in their first twelve bytes, as they come in practice: rising, falling, mixed,
    /// and in ranges that go again.
    #[test]
    fn it_orders_many_keys_however_they_come() {
        let pool = ChunkPool::of(16 << 10);
        let mut arena = Arena::new(&pool);
        let mut ordered = Ordered::new(&pool);
        let mut model = std::collections::BTreeMap::new();
        let count = if cfg!(miri) { 300 } else { 20_000u64 };
        let mut random = 5u64;
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 20
        };
        for round in 0..3 {
            for number in 0..count {
                let key = match draw() % 3 {
                    0 => 1_000_000 + number + round * count,
                    1 => 9_000_000 - number - round * count,
                    _ => draw() % 10_000_000,
                };
                let key = key.to_be_bytes().to_vec();
                if let Vacant(place) = model.entry(key) {
                    let offset = arena.push(0, place.key(), Entry::TOMBSTONE, 0).unwrap();
                    ordered.insert(&arena, place.key(), offset);
                    place.insert(offset);
                }
            }
            for _ in 0..count / 4 {
                let from = (draw() % 10_000_000).to_be_bytes().to_vec();
                if let Some(key) = model.range(from..).next().map(|(key, _)| key.clone()) {
                    ordered.remove(&arena, &key);
                    model.remove(&key);
                }
            }
            let start = draw() % 9_000_000;
            let range = KeyRange::from(&start.to_be_bytes()[..]..&(start + 500_000).to_be_bytes()[..]);
            let mut removed = 0;
            ordered.remove_range(&arena, &range, |_| removed += 1);
            let before = model.len();
            model.retain(|key, _| !range.contains(key));
            assert_eq!((removed, ordered.len()), (before - model.len(), model.len()));
            for _ in 0..1000 {
                let bound = (draw() % 10_000_000).to_be_bytes();
                let after = ordered.seek(&arena, &bound).map(|at| ordered.offset(at));
                assert_eq!(after, model.range(bound.to_vec()..).next().map(|(_, offset)| *offset));
                let last = ordered.seek_before(&arena, Some(&bound)).map(|at| ordered.offset(at));
                assert_eq!(last, model.range(..bound.to_vec()).next_back().map(|(_, offset)| *offset));
            }
            let mut at = ordered.seek(&arena, b"");
            for offset in model.values() {
                assert_eq!(at.map(|at| ordered.offset(at)), Some(*offset));
                at = ordered.next(at.unwrap());
            }
            assert_eq!(at, None);
        }
        assert!(cfg!(miri) || ordered.groups.len() > 3, "{} groups", ordered.groups.len());
        let sorted = Ordered::from_sorted(&arena, model.values().copied());
        assert_eq!(sorted.len(), model.len());
        for (key, offset) in &model {
            assert_eq!(sorted.seek(&arena, key).map(|at| sorted.offset(at)), Some(*offset));
        }
    }

    #[test]
    fn falling_keys_behind_a_full_leaf_share_leaves() {
        let pool = ChunkPool::of(16 << 10);
        let mut arena = Arena::new(&pool);
        let mut ordered = Ordered::new(&pool);
        let rising = 0..LEAF_MAX as u64;
        for number in rising.chain((1000..3000).rev()) {
            let key = number.to_be_bytes();
            let offset = arena.push(0, &key, Entry::TOMBSTONE, 0).unwrap();
            ordered.insert(&arena, &key, offset);
        }
        let leaves: usize = ordered.groups.iter().map(|group| group.leaves.len()).sum();
        assert!(leaves < 50, "{leaves} leaves for 2128 entries");
    }

    #[test]
    fn a_queue_stays_small() {
        let pool = ChunkPool::new(16 << 20);
        let mut arena = Arena::new(&pool);
        let mut ordered = Ordered::new(&pool);
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
