//! A cursor over a memtable: the union of its two ordered indexes, which share no key.

use super::arena::{Arena, Offset};
use super::ordered::{Ordered, Position};
use crate::entry::{Entry, Kind};
use crate::error::Result;
use crate::iter::Cursor;

/// A place in a memtable's key order.
pub(crate) struct MemCursor<'a> {
    arena: &'a Arena,
    indexes: [Option<&'a Ordered>; 2],
    /// Where each index stands: at the key shown, or at the next one in the direction of the last move.
    at: [Option<Position>; 2],
    shown: Option<usize>,
    forward: bool,
}

impl<'a> MemCursor<'a> {
    pub(super) fn new(arena: &'a Arena, scanned: &'a Ordered, points: Option<&'a Ordered>) -> MemCursor<'a> {
        let used = |index: &'a Ordered| (index.len() > 0).then_some(index);
        let indexes = [used(scanned), points.and_then(used)];
        MemCursor { arena, indexes, at: [None, None], shown: None, forward: true }
    }

    fn offset(&self, index: usize) -> Option<Offset> {
        Some(self.indexes[index]?.offset(self.at[index]?))
    }

    /// Shows the nearer of the two.
    fn show(&mut self) {
        let key = |index| self.offset(index).map(|offset| self.arena.key(offset));
        self.shown = match (key(0), key(1)) {
            (None, None) => None,
            (Some(_), None) => Some(0),
            (None, Some(_)) => Some(1),
            (Some(first), Some(second)) => Some(usize::from((second < first) == self.forward)),
        };
    }

    fn seek_both(&mut self, forward: bool, seek: impl Fn(&'a Ordered, &'a Arena) -> Option<Position>) {
        self.forward = forward;
        for (at, index) in self.at.iter_mut().zip(self.indexes) {
            *at = index.and_then(|index| seek(index, self.arena));
        }
        self.show();
    }

    fn step(&mut self, forward: bool) {
        let Some(shown) = self.shown else { return };
        if self.forward != forward {
            // The other index stands on the far side: bring it over the key shown.
            let key = self.key_here(shown);
            let other = 1 - shown;
            self.at[other] = self.indexes[other].and_then(|index| match forward {
                true => index.seek(self.arena, key),
                false => index.seek_before(self.arena, Some(key)),
            });
            self.forward = forward;
        }
        let index = self.indexes[shown].expect("it shows a key");
        let at = self.at[shown].expect("it shows a key");
        self.at[shown] = if forward { index.next(at) } else { index.prev(at) };
        self.show();
    }

    fn key_here(&self, index: usize) -> &'a [u8] {
        self.arena.key(self.offset(index).expect("it shows a key"))
    }
}

impl Cursor for MemCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.seek_both(true, |index, arena| index.seek(arena, key));
        Ok(())
    }

    fn seek_before(&mut self, bound: Option<&[u8]>) -> Result<()> {
        self.seek_both(false, |index, arena| index.seek_before(arena, bound));
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.step(true);
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        self.step(false);
        Ok(())
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.shown.map(|index| self.key_here(index))
    }

    #[inline]
    fn entry(&self) -> Result<Entry<'_>> {
        let shown = self.shown.expect("only at a key");
        Ok(self.arena.entry(self.offset(shown).expect("it shows a key")))
    }

    #[inline]
    fn kind(&self) -> Result<Kind> {
        Ok(self.entry()?.kind)
    }
}
