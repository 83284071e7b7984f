//! A memtable after its seal: immutable, shared by readers and the flush.

use std::hint::black_box;
use std::sync::OnceLock;

use super::arena::Offset;
use super::{MemCursor, Memtable};
use crate::entry::{Entry, Kind};
use crate::error::Result;
use crate::iter::Cursor;
use crate::key::{KeyRange, RangeSet};

/// How many records are brought into the processor's caches at once: some more than it can wait for at the same time.
const TOUCHED_TOGETHER: usize = 16;

/// An immutable memtable. Any thread.
pub(crate) struct Sealed {
    table: Memtable,
    /// All records in key order; made by whoever needs it first, usually the flush.
    order: OnceLock<Vec<Offset>>,
}

impl Sealed {
    pub(super) fn new(table: Memtable) -> Sealed {
        Sealed { table, order: OnceLock::new() }
    }

    /// The entry of `key`. One probe; a search, for a queued key.
    #[inline]
    pub fn get(&self, hash: u32, key: &[u8]) -> Option<Entry<'_>> {
        self.table.get(hash, key)
    }

    /// The range tombstones; they hide what is older.
    #[inline]
    pub fn ranges(&self) -> &RangeSet {
        self.table.ranges()
    }

    /// Whether it holds neither entries nor range tombstones.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of memory it holds.
    pub fn used_bytes(&self) -> usize {
        self.table.used_bytes()
            + self.table.idle_bytes()
            + self.order.get().map_or(0, |order| order.len() * size_of::<Offset>())
    }

    /// Whether an entry or range tombstone may lie inside `range`; false is certain. Does not sort.
    pub fn may_overlap(&self, range: &KeyRange) -> bool {
        let arena = &self.table.arena;
        let inside = |at| range.is_before_end(arena.key(self.table.scanned.offset(at)));
        self.table.has_unordered_points()
            || self.table.points.get().is_some_and(|points| {
                points.seek(arena, &range.start).is_some_and(|at| range.is_before_end(arena.key(points.offset(at))))
            })
            || self.table.scanned.seek(arena, &range.start).is_some_and(inside)
            || self.ranges().overlaps(range)
    }

    fn order(&self) -> &[Offset] {
        self.order.get_or_init(|| self.table.sorted())
    }

    /// Key, hash and entry of all records, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32, Entry<'_>)> {
        let arena = &self.table.arena;
        self.order().chunks(TOUCHED_TOGETHER).flat_map(move |some| {
            // What is next in order lies anywhere. These reads do not depend on each other: their cache misses overlap.
            black_box(some.iter().fold(0, |sum, offset| sum ^ arena.touch(*offset)));
            some.iter().map(|offset| (arena.key(*offset), arena.hash(*offset), arena.entry(*offset)))
        })
    }

    /// A cursor over all keys, or over scanned ones only, which needs no sorting.
    pub fn cursor(&self, scanned_only: bool) -> SealedCursor<'_> {
        if scanned_only || self.table.len() == self.table.scanned.len() {
            return SealedCursor(Inner::Indexed(self.table.cursor(true)));
        }
        SealedCursor(Inner::Sorted { sealed: self, order: self.order(), at: usize::MAX })
    }
}

/// A place in a sealed memtable's key order.
pub(crate) struct SealedCursor<'a>(Inner<'a>);

enum Inner<'a> {
    Indexed(MemCursor<'a>),
    /// `usize::MAX` is before the first key.
    Sorted {
        sealed: &'a Sealed,
        order: &'a [Offset],
        at: usize,
    },
}

impl Inner<'_> {
    fn lower_bound(sealed: &Sealed, order: &[Offset], key: &[u8]) -> usize {
        order.partition_point(|offset| sealed.table.arena.key(*offset) < key)
    }
}

impl Cursor for SealedCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        match &mut self.0 {
            Inner::Indexed(cursor) => return cursor.seek(key),
            Inner::Sorted { sealed, order, at } => *at = Inner::lower_bound(sealed, order, key),
        }
        Ok(())
    }

    fn seek_before(&mut self, bound: Option<&[u8]>) -> Result<()> {
        match &mut self.0 {
            Inner::Indexed(cursor) => return cursor.seek_before(bound),
            Inner::Sorted { sealed, order, at } => {
                let behind = bound.map_or(order.len(), |bound| Inner::lower_bound(sealed, order, bound));
                *at = behind.wrapping_sub(1);
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        match &mut self.0 {
            Inner::Indexed(cursor) => return cursor.next(),
            Inner::Sorted { at, .. } => *at += 1,
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        match &mut self.0 {
            Inner::Indexed(cursor) => return cursor.prev(),
            Inner::Sorted { at, .. } => *at = at.wrapping_sub(1),
        }
        Ok(())
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Indexed(cursor) => cursor.key(),
            Inner::Sorted { sealed, order, at } => order.get(*at).map(|offset| sealed.table.arena.key(*offset)),
        }
    }

    #[inline]
    fn entry(&self) -> Result<Entry<'_>> {
        match &self.0 {
            Inner::Indexed(cursor) => cursor.entry(),
            Inner::Sorted { sealed, order, at } => Ok(sealed.table.arena.entry(order[*at])),
        }
    }

    #[inline]
    fn kind(&self) -> Result<Kind> {
        Ok(self.entry()?.kind)
    }

    #[inline]
    fn expires(&self) -> bool {
        match &self.0 {
            Inner::Indexed(cursor) => cursor.expires(),
            Inner::Sorted { sealed, order, at } => sealed.table.arena.expires(order[*at]),
        }
    }
}
