//! The writer's mutable buffer: records in an arena, found by hash, and in key order where scans need it.
//!
//! ```text
//!   key ── hash ──▶ index ──▶ record in the arena: changed in place while the value fits
//!   scanned keys ──▶ ordered index, kept with each write; queued ones are in no other
//!   point keys   ──▶ ordered on demand, at the first scan that may meet one
//! ```
//!
//! Invariants: * at most one entry a key.
//!             * a range tombstone acts on older memtables and runs only: whoever adds one removes what is inside here first.
//!
//! Owned by the writer; [`Memtable::seal`] makes it immutable and shareable. Nothing here allocates for an entry, but when an
//! index grows, and for a copy of the key of a value that has outgrown its record.

mod arena;
mod chunks;
mod cursor;
mod index;
mod ordered;
mod sealed;

pub(crate) use chunks::ChunkPool;
pub(crate) use cursor::MemCursor;
pub(crate) use sealed::{Sealed, SealedCursor};

use std::sync::{Arc, OnceLock};

use self::arena::{Arena, Offset};
use self::index::Index;
use self::ordered::{Ordered, Position};
use crate::entry::Entry;
use crate::key::{KeyRange, KeyShape, RangeSet};

/// The memtable has no offset for another record; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A record of the memtable, until the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(Offset);

/// A mutable buffer of entries.
pub(crate) struct Memtable {
    shape: Arc<dyn KeyShape>,
    arena: Arena,
    index: Index,
    /// Keys that the shape declares scanned.
    scanned: Ordered,
    /// How many of these the hash index does not know.
    queued: usize,
    /// All others, once a scan needed them.
    points: OnceLock<Ordered>,
    ranges: RangeSet,
    /// The key of a record that moves.
    moved_key: Vec<u8>,
    /// Where records that are removed together are noted.
    removed: Vec<Offset>,
}

impl Memtable {
    /// An empty memtable, pre-sized for `expected` entries found by hash; its records will lie in chunks of `pool`.
    pub fn new(shape: &Arc<dyn KeyShape>, pool: &Arc<ChunkPool>, expected: usize) -> Memtable {
        Memtable {
            shape: Arc::clone(shape),
            arena: Arena::new(pool),
            index: Index::with_expected(expected),
            scanned: Ordered::new(pool),
            queued: 0,
            points: OnceLock::new(),
            ranges: RangeSet::default(),
            moved_key: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Bytes of memory that a new entry needs at most.
    pub fn record_bytes(key_len: usize, value_len: usize) -> usize {
        Arena::record_bytes(key_len, value_len) + 16
    }

    /// Whether it can hold records of `bytes` together, whatever memory they take.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.arena.has_room(bytes)
    }

    /// Bytes of memory it holds, dead records included.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        let points = self.points.get().map_or(0, Ordered::memory_bytes);
        let indexes = self.index.memory_bytes() + self.scanned.memory_bytes() + points;
        // An empty index has its least size, which must not seal a small memtable over and over.
        if self.is_empty() { self.arena.used() } else { self.arena.used() + indexes + self.ranges.memory_bytes() }
    }

    /// Bytes of memory it holds and does not use.
    pub fn idle_bytes(&self) -> usize {
        let points = self.points.get().map_or(0, Ordered::idle_bytes);
        self.arena.held() - self.arena.used() + self.scanned.idle_bytes() + points
    }

    /// Entries, tombstones included.
    pub fn len(&self) -> usize {
        self.index.len() + self.queued
    }

    /// Entries that are found by hash.
    pub fn hashed(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds neither entries nor range tombstones.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.ranges.is_empty()
    }

    /// The entry of `key`. One probe; a search, for a queued key.
    #[inline]
    pub fn get(&self, hash: u32, key: &[u8]) -> Option<Entry<'_>> {
        self.find(hash, key).map(|place| self.entry_at(place))
    }

    /// The record of `key`.
    #[inline]
    pub fn find(&self, hash: u32, key: &[u8]) -> Option<Place> {
        if self.queued > 0 && self.is_queued(key) {
            return self.find_queued(key).map(|(_, offset)| Place(offset));
        }
        self.index.find(hash, |offset| self.arena.key(offset) == key).map(Place)
    }

    fn find_queued(&self, key: &[u8]) -> Option<(Position, Offset)> {
        let at = self.scanned.place_of(&self.arena, key);
        self.scanned.find_at(&self.arena, at, key).map(|offset| (at, offset))
    }

    fn is_queued(&self, key: &[u8]) -> bool {
        self.shape.is_queued(key) && self.shape.scan_prefix_bytes(key).is_some()
    }

    /// The entry of a record.
    #[inline]
    pub fn entry_at(&self, place: Place) -> Entry<'_> {
        self.arena.entry(place.0)
    }

    /// The value of a record, to be changed in place.
    #[inline]
    pub fn value_mut(&mut self, place: Place) -> &mut [u8] {
        self.arena.value_mut(place.0)
    }

    /// Inserts or replaces the entry of `key`.
    pub fn put(&mut self, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<(), NoRoom> {
        if self.is_queued(key) {
            return self.put_queued(hash, key, entry);
        }
        match self.index.find(hash, |offset| self.arena.key(offset) == key) {
            Some(offset) => self.put_at(Place(offset), entry),
            None => self.add_hashed(hash, key, entry),
        }
    }

    fn put_queued(&mut self, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<(), NoRoom> {
        let at = self.scanned.place_of(&self.arena, key);
        if let Some(offset) = self.scanned.find_at(&self.arena, at, key) {
            return self.put_at(Place(offset), entry);
        }
        let offset = self.arena.push(hash, key, entry, 0).ok_or(NoRoom)?;
        self.arena.mark_scanned(offset, true);
        self.scanned.insert_at(&self.arena, at, key, offset);
        self.queued += 1;
        Ok(())
    }

    /// Inserts the entry of a key that is not in the memtable.
    pub fn add(&mut self, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<(), NoRoom> {
        if self.is_queued(key) { self.put_queued(hash, key, entry) } else { self.add_hashed(hash, key, entry) }
    }

    fn add_hashed(&mut self, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<(), NoRoom> {
        let offset = self.arena.push(hash, key, entry, 0).ok_or(NoRoom)?;
        self.index.insert(hash, offset);
        if self.shape.scan_prefix_bytes(key).is_some() {
            self.arena.mark_scanned(offset, false);
            self.scanned.insert(&self.arena, key, offset);
        } else if let Some(points) = self.points.get_mut() {
            points.insert(&self.arena, key, offset);
        }
        Ok(())
    }

    /// Replaces the entry of a record: in place, or in a new record when it has outgrown this one.
    pub fn put_at(&mut self, place: Place, entry: Entry<'_>) -> Result<(), NoRoom> {
        if self.arena.replace(place.0, entry) {
            return Ok(());
        }
        let hash = self.arena.hash(place.0);
        // A value that grows once grows again: twice the room, where there is that much.
        let grown = entry.value.len() > self.arena.value_cap(place.0);
        self.moved_key.clear();
        self.moved_key.extend_from_slice(self.arena.key(place.0));
        let roomy = if grown { entry.value.len() * 2 } else { 0 };
        let after = self.arena.push(hash, &self.moved_key, entry, roomy).ok_or(NoRoom)?;
        self.moved(hash, place.0, after);
        Ok(())
    }

    /// Appends to the value of a record, leaving the rest of the entry as it is.
    pub fn append_at(&mut self, place: Place, more: &[u8]) -> Result<(), NoRoom> {
        if self.arena.extend(place.0, more) {
            return Ok(());
        }
        let after = self.arena.push_extended(place.0, more).ok_or(NoRoom)?;
        self.moved(self.arena.hash(place.0), place.0, after);
        Ok(())
    }

    fn moved(&mut self, hash: u32, before: Offset, after: Offset) {
        let queued = self.arena.is_queued(before);
        if !queued {
            self.index.replace(hash, before, after);
        }
        if self.arena.is_scanned(before) {
            self.arena.mark_scanned(after, queued);
            self.scanned.replace(&self.arena, self.arena.key(before), after);
        } else if let Some(points) = self.points.get_mut() {
            points.replace(&self.arena, self.arena.key(before), after);
        }
        self.arena.bury(before);
    }

    /// Removes `key` without leaving anything behind; false when it was not there.
    pub fn remove(&mut self, hash: u32, key: &[u8]) -> bool {
        if self.queued > 0 && self.is_queued(key) {
            let Some((at, offset)) = self.find_queued(key) else { return false };
            self.queued -= 1;
            self.scanned.remove_at(at);
            self.arena.bury(offset);
            return true;
        }
        let Some(Place(offset)) = self.find(hash, key) else { return false };
        self.index.remove(hash, offset);
        if self.arena.is_scanned(offset) {
            self.scanned.remove(&self.arena, key);
        } else if let Some(points) = self.points.get_mut() {
            points.remove(&self.arena, key);
        }
        self.arena.bury(offset);
        true
    }

    /// Whether there are point keys that no ordered index knows.
    pub fn has_unordered_points(&self) -> bool {
        self.points.get().is_none() && self.len() > self.scanned.len()
    }

    /// Removes all entries of `range` that an ordered index knows.
    pub fn remove_range(&mut self, range: &KeyRange) {
        let (arena, index, queued) = (&self.arena, &mut self.index, &mut self.queued);
        let mut removed = std::mem::take(&mut self.removed);
        let mut forget = |offset| {
            if arena.is_queued(offset) {
                *queued -= 1;
            } else {
                index.remove(arena.hash(offset), offset);
            }
            removed.push(offset);
        };
        self.scanned.remove_range(arena, range, &mut forget);
        if let Some(points) = self.points.get_mut() {
            points.remove_range(arena, range, &mut forget);
        }
        removed.drain(..).for_each(|offset| self.arena.bury(offset));
        self.removed = removed;
    }

    /// Adds a range tombstone. It hides what is older than this memtable; nothing in here may lie inside.
    pub fn add_range(&mut self, range: KeyRange) {
        self.ranges.insert(range);
    }

    /// The range tombstones.
    #[inline]
    pub fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// A cursor over scanned keys, and over point keys too unless only scanned ones are asked for.
    pub fn cursor(&self, scanned_only: bool) -> MemCursor<'_> {
        let points = if scanned_only { None } else { Some(self.ordered_points()) };
        MemCursor::new(&self.arena, &self.scanned, points)
    }

    /// The order of the point keys, made at the first call.
    fn ordered_points(&self) -> &Ordered {
        self.points.get_or_init(|| {
            let mut points = self.sorted();
            if self.scanned.len() > 0 {
                points.retain(|offset| !self.arena.is_scanned(*offset));
            }
            Ordered::from_sorted(&self.arena, points.into_iter())
        })
    }

    /// All records in key order.
    fn sorted(&self) -> Vec<Offset> {
        let mut keyed: Vec<(u64, u32, Offset)> = Vec::with_capacity(self.len());
        keyed.extend(self.arena.offsets().map(|offset| {
            let (high, low) = ordered::head(self.arena.key(offset));
            (high, low, offset)
        }));
        keyed.sort_unstable_by(|left, right| {
            (left.0, left.1).cmp(&(right.0, right.1)).then_with(|| self.arena.key(left.2).cmp(self.arena.key(right.2)))
        });
        keyed.into_iter().map(|(_, _, offset)| offset).collect()
    }

    /// Makes it immutable and shareable.
    pub fn seal(mut self) -> Sealed {
        self.arena.close();
        Sealed::new(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::hash32;
    use crate::entry::{ClockId, Expiry, Kind};
    use crate::iter::Cursor;

    /// Keys with an odd first byte are scanned, half of them queued.
    struct OddScanned;

    impl KeyShape for OddScanned {
        fn name(&self) -> &str {
            "odd"
        }

        fn version(&self) -> u32 {
            1
        }

        fn partition_bytes(&self, _key: &[u8]) -> usize {
            0
        }

        fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> {
            key.first().filter(|byte| *byte % 2 == 1).map(|_| 1)
        }

        fn is_queued(&self, key: &[u8]) -> bool {
            key.first().is_some_and(|byte| *byte % 4 == 3)
        }
    }

    fn empty_memtable(chunk_bytes: usize) -> Memtable {
        let shape: Arc<dyn KeyShape> = Arc::new(OddScanned);
        Memtable::new(&shape, &ChunkPool::of(chunk_bytes), 0)
    }

    type Owned = (Kind, Vec<u8>, Option<Expiry>, u64);

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>, Owned),
        Append(Vec<u8>, Vec<u8>),
        Remove(Vec<u8>),
        RemoveRange(Vec<u8>, Vec<u8>),
        Scan,
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        (0u8..4, 0u8..12, any::<bool>()).prop_map(|(group, number, long)| {
            let mut key = vec![group, number];
            if long {
                key.extend_from_slice(b"-and-a-tail");
            }
            key
        })
    }

    fn entries() -> impl Strategy<Value = Owned> {
        let value = proptest::collection::vec(any::<u8>(), 0..40);
        (0u8..3, value, proptest::option::of(0u64..9), 0u64..3).prop_map(|(kind, value, at, written)| match kind {
            0 => (Kind::Tombstone, vec![], None, 0),
            1 => (Kind::Value, value, at.map(|at| Expiry { clock: ClockId(1), at }), 0),
            _ => (Kind::Operand, value, at.map(|at| Expiry { clock: ClockId(2), at }), written),
        })
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (keys(), entries()).prop_map(|(key, entry)| Step::Put(key, entry)),
            2 => (keys(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(key, more)| Step::Append(key, more)),
            2 => keys().prop_map(Step::Remove),
            1 => (keys(), keys()).prop_map(|(start, end)| Step::RemoveRange(start, end)),
            1 => Just(Step::Scan),
        ];
        proptest::collection::vec(step, 0..if cfg!(miri) { 20 } else { 120 })
    }

    fn read(cursor: &mut impl Cursor) -> Vec<(Vec<u8>, Owned)> {
        let mut found = Vec::new();
        cursor.seek(&[]).unwrap();
        while let Some(key) = cursor.key() {
            let entry = cursor.entry().unwrap();
            found.push((key.to_vec(), (entry.kind, entry.value.to_vec(), entry.expiry, entry.written)));
            cursor.next().unwrap();
        }
        let mut backwards = Vec::new();
        cursor.seek_before(None).unwrap();
        while let Some(key) = cursor.key() {
            backwards.push(key.to_vec());
            cursor.prev().unwrap();
        }
        backwards.reverse();
        assert!(backwards.iter().eq(found.iter().map(|(key, _)| key)), "both directions meet the same keys");
        found
    }

    fn apply(table: &mut Memtable, model: &mut BTreeMap<Vec<u8>, Owned>, step: Step) {
        match step {
            Step::Put(key, owned) => {
                let entry = Entry { kind: owned.0, value: &owned.1, expiry: owned.2, written: owned.3 };
                if table.put(hash32(&key), &key, entry).is_ok() {
                    model.insert(key, owned);
                }
            }
            Step::Append(key, more) => {
                if let Some(place) = table.find(hash32(&key), &key)
                    && table.entry_at(place).kind != Kind::Tombstone
                    && table.append_at(place, &more).is_ok()
                {
                    model.get_mut(&key).unwrap().1.extend_from_slice(&more);
                }
            }
            Step::Remove(key) => assert_eq!(table.remove(hash32(&key), &key), model.remove(&key).is_some()),
            Step::RemoveRange(start, end) => {
                let range = KeyRange::from(start..end);
                let points_known = !table.has_unordered_points();
                table.remove_range(&range);
                let known = |key: &[u8]| points_known || OddScanned.scan_prefix_bytes(key).is_some();
                model.retain(|key, _| !(range.contains(key) && known(key)));
            }
            Step::Scan => {
                let scanned = model.iter().filter(|(key, _)| OddScanned.scan_prefix_bytes(key).is_some());
                let scanned: Vec<_> = scanned.map(|(key, owned)| (key.clone(), owned.clone())).collect();
                assert_eq!(read(&mut table.cursor(true)), scanned);
                assert_eq!(read(&mut table.cursor(false)), model.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }

    proptest! {
        #[test]
        fn a_memtable_is_a_map(steps in steps(), chunk in prop::sample::select(vec![64usize, 256, 4096]), seek in keys()) {
            let mut table = empty_memtable(chunk);
            let mut model = BTreeMap::new();
            for step in steps {
                apply(&mut table, &mut model, step);
            }
            for (key, owned) in &model {
                let entry = table.get(hash32(key), key).unwrap();
                prop_assert_eq!(&(entry.kind, entry.value.to_vec(), entry.expiry, entry.written), owned);
            }
            prop_assert_eq!(table.len(), model.len());
            let expected: Vec<_> = model.clone().into_iter().collect();
            let sealed = table.seal();
            prop_assert_eq!(read(&mut sealed.cursor(false)), expected.clone());
            prop_assert!(sealed.iter().map(|(key, hash, _)| (key, hash)).eq(model.keys().map(|key| (&key[..], hash32(key)))));
            let mut cursor = sealed.cursor(false);
            cursor.seek(&seek).unwrap();
            prop_assert_eq!(cursor.key(), model.range(seek.clone()..).next().map(|(key, _)| &key[..]));
            cursor.seek_before(Some(&seek)).unwrap();
            prop_assert_eq!(cursor.key(), model.range(..seek).next_back().map(|(key, _)| &key[..]));
        }
    }

    #[test]
    fn a_cursor_turns_between_its_two_indexes() {
        let mut table = empty_memtable(4096);
        for key in [[0u8, 1], [1, 1], [2, 1], [3, 1]] {
            table.put(hash32(&key), &key, Entry::value(b"v", None)).unwrap();
        }
        let mut cursor = table.cursor(false);
        cursor.seek(&[1]).unwrap();
        cursor.next().unwrap();
        assert_eq!(cursor.key(), Some(&[2, 1][..]));
        cursor.prev().unwrap();
        assert_eq!(cursor.key(), Some(&[1, 1][..]));
        cursor.prev().unwrap();
        assert_eq!(cursor.key(), Some(&[0, 1][..]));
        cursor.next().unwrap();
        assert_eq!(cursor.key(), Some(&[1, 1][..]));
    }
}
