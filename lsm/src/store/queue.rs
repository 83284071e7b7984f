//! Ranges as a whole: deleting them, consuming them from the head, giving them away.

use std::sync::Arc;

use super::Store;
use super::write::check_bounds;
use crate::error::Result;
use crate::key::KeyRange;
use crate::version::Edit;
use crate::view::scan_hints;

impl Store {
    /// Removes every key of `range`. Costs a range tombstone, however many keys there are; over scanned keys, also the
    /// removal of those in the active memtable. Leaves nothing behind when nothing older can lie inside.
    ///
    /// # Errors
    /// As [`Store::put`]; `Fix` when a bound is longer than any key and its follower.
    pub fn delete_range(&mut self, range: impl Into<KeyRange>) -> Result<()> {
        self.delete_range_of(&range.into())
    }

    /// As [`Store::delete_range`], of a range that is lent: for who deletes many ranges from the memory of one.
    ///
    /// # Errors
    /// As [`Store::delete_range`].
    pub fn delete_range_of(&mut self, range: &KeyRange) -> Result<()> {
        check_bounds(range)?;
        if range.is_empty() {
            return Ok(());
        }
        self.prepare(0)?;
        let (scanned_only, prefix_bytes) = scan_hints(&*self.core.shape, range);
        if !scanned_only && self.active.has_unordered_points() {
            // Ordering the point keys to find those inside costs more than a seal does.
            self.seal_active(false)?;
        }
        self.active.remove_range(range);
        if self.snapshot.may_overlap(range, prefix_bytes.map(|bytes| &range.start[..bytes])) {
            self.active.add_range(range.clone());
        }
        Ok(())
    }

    /// Says that nothing below `mark` of its partition is wanted any more: a range delete from the partition's start, which
    /// takes the place of the mark set before. A key put below the mark later lives.
    ///
    /// Windows and queues consumed from their head need no tombstone for each entry.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn set_low_mark(&mut self, mark: &[u8]) -> Result<()> {
        let partition = self.core.shape.partition_bytes(mark).min(mark.len());
        self.delete_range(KeyRange::from(&mark[..partition]..mark))
    }

    /// Removes the entries of `range` whose keys are below `until`, in order, handing each to `take`; returns how many there
    /// were. What lies below `until` is gone afterwards, by one low mark and not entry by entry.
    ///
    /// This is how timers fire: `range` is a timer queue, `until` the first key that is not due.
    ///
    /// # Errors
    /// As [`Store::scan`] and [`Store::delete_range`]; entries may have been handed out and not removed then.
    pub fn pop_first(
        &mut self,
        range: impl Into<KeyRange>,
        until: &[u8],
        mut take: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let range = range.into();
        let due = range.intersect(&KeyRange::from(..until));
        if due.is_empty() {
            return Ok(0);
        }
        let mut count = 0;
        let mut scan = self.scan(due.clone())?;
        while let Some((key, value)) = scan.next_entry()? {
            take(key, value);
            count += 1;
        }
        drop(scan);
        if count > 0 {
            self.delete_range(due)?;
        }
        Ok(count)
    }

    /// Lets go of everything outside `range`: what another store has taken over. Metadata only, beside the flush of what is
    /// in memory; files go when nothing inside reaches them. Keys written outside later live.
    ///
    /// # Errors
    /// As [`Store::flush`]; `Fix` as [`Store::delete_range`].
    pub fn clip_to(&mut self, range: impl Into<KeyRange>) -> Result<()> {
        let range = range.into();
        check_bounds(&range)?;
        self.prepare(0)?;
        self.flush()?;
        self.settle_merges(|store| {
            store.core.board.install(&*store.core.files.fs, &Edit::Clip { range: range.clone() })
        })
    }

    /// Runs `edit` while no merge runs: it changes tiles that merges rely on.
    pub(super) fn settle_merges<T>(&mut self, edit: impl FnOnce(&mut Store) -> Result<T>) -> Result<T> {
        let core = Arc::clone(&self.core);
        let reservation = core.board.begin_exclusive();
        let result = edit(self);
        drop(reservation);
        self.refresh();
        self.core.env.pool.wake();
        result
    }
}
