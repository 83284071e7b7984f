//! A cursor over a memtable: the union of its two ordered indexes, which share no key.

use super::arena::{Arena, Offset};
use super::ordered::{Ordered, Position};
use crate::entry::{Entry, Kind};
use crate::error::Result;
use crate::iter::Cursor;

/// How many records are on their way into the processor's caches before the cursor comes to them: each lies anywhere.
const AHEAD: usize = 4;

/// A place in a memtable's key order.
pub(crate) struct MemCursor<'a> {
    arena: &'a Arena,
    indexes: [Option<&'a Ordered>; 2],
    /// Where each index stands: at the key shown, or at the next one in the direction of the last move.
    at: [Option<Stand<'a>>; 2],
    shown: Option<usize>,
    forward: bool,
}

/// A key of an ordered index.
#[derive(Clone, Copy)]
struct Stand<'a> {
    position: Position,
    offset: Offset,
    key: &'a [u8],
}

impl<'a> MemCursor<'a> {
    pub(super) fn new(arena: &'a Arena, scanned: &'a Ordered, points: Option<&'a Ordered>) -> MemCursor<'a> {
        let used = |index: &'a Ordered| (index.len() > 0).then_some(index);
        let indexes = [used(scanned), points.and_then(used)];
        MemCursor { arena, indexes, at: [None, None], shown: None, forward: true }
    }

    fn stand(&self, index: &'a Ordered, position: Option<Position>) -> Option<Stand<'a>> {
        let position = position?;
        let offset = index.offset(position);
        Some(Stand { position, offset, key: self.arena.key(offset) })
    }

    /// Shows the nearer of the two.
    #[inline]
    fn show(&mut self) {
        self.shown = match (&self.at[0], &self.at[1]) {
            (None, None) => None,
            (Some(_), None) => Some(0),
            (None, Some(_)) => Some(1),
            (Some(first), Some(second)) => Some(usize::from((second.key < first.key) == self.forward)),
        };
    }

    fn seek_both(&mut self, forward: bool, seek: impl Fn(&'a Ordered, &'a Arena) -> Option<Position>) {
        self.forward = forward;
        for number in 0..2 {
            let Some(index) = self.indexes[number] else { continue };
            let position = seek(index, self.arena);
            if let Some(position) = position
                && forward
            {
                index.offsets_from(position, AHEAD).for_each(|offset| self.arena.prefetch(offset));
            }
            self.at[number] = self.stand(index, position);
        }
        self.show();
    }

    #[inline]
    fn step(&mut self, forward: bool) {
        let Some(shown) = self.shown else { return };
        let Stand { position, key, .. } = self.at[shown].expect("it shows a key");
        if self.forward != forward {
            // The other index stands on the far side: bring it over the key shown.
            let other = 1 - shown;
            if let Some(index) = self.indexes[other] {
                let position = match forward {
                    true => index.seek(self.arena, key),
                    false => index.seek_before(self.arena, Some(key)),
                };
                self.at[other] = self.stand(index, position);
            }
            self.forward = forward;
        }
        let index = self.indexes[shown].expect("it shows a key");
        let next = if forward { index.next(position) } else { index.prev(position) };
        if let Some(position) = next
            && forward
        {
            let ahead = index.offsets_from(position.ahead(AHEAD - 1), 1);
            ahead.for_each(|offset| self.arena.prefetch(offset));
        }
        self.at[shown] = self.stand(index, next);
        self.show();
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
        self.shown.and_then(|shown| self.at[shown].as_ref()).map(|stand| stand.key)
    }

    #[inline]
    fn entry(&self) -> Result<Entry<'_>> {
        let stand = self.shown.and_then(|shown| self.at[shown]).expect("only at a key");
        Ok(self.arena.entry(stand.offset))
    }

    #[inline]
    fn kind(&self) -> Result<Kind> {
        Ok(self.entry()?.kind)
    }

    #[inline]
    fn expires(&self) -> bool {
        self.shown.and_then(|shown| self.at[shown]).is_some_and(|stand| self.arena.expires(stand.offset))
    }
}
