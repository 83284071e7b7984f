//! Writes the run that takes the place of an area's slices.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Compaction, inputs};
use crate::codec::hash32;
use crate::entry::{Clocks, Entry, Kind};
use crate::error::Result;
use crate::iter::{Merge, Source};
use crate::key::KeyRange;
use crate::run::{RunBlock, RunCursor, RunWriter};
use crate::version::{Area, RunFile, Slice, Version};

/// How often a merge asks whether something else is more urgent: after this many bytes written.
const BETWEEN_BYTES: u64 = 256 << 10;
/// And after this many entries read, since a merge that drops everything writes nothing.
const BETWEEN_ENTRIES: u64 = 4096;

/// What came of a merge.
pub(super) enum Merged {
    /// The output; `None` when nothing is left.
    Run(Option<Arc<RunFile>>),
    /// Asked to stop; nothing is left behind.
    GivenUp,
}

/// One tile's part of a merge.
struct TilePart<'a> {
    range: KeyRange,
    inputs: &'a [Slice],
    older: &'a [Slice],
    /// Clocks by which values under keys with a merge rule expire.
    sealed: Clocks,
    /// Clocks by which all others do.
    now: Clocks,
}

/// Merges the slices of `area` into one run.
pub(super) fn merge_area(compaction: &Compaction<'_>, version: &Version, area: &Area) -> Result<Merged> {
    let mut new = compaction.files.create()?;
    // Newer operands of each tile were written at the reading of its newest input or later: the earliest holds in all tiles.
    let mut clocks: Option<Clocks> = None;
    let mut progress = Progress { compaction, told_bytes: 0, entries: 0 };
    let mut ranges = 0;
    for tile in version.tiles_in(&area.range) {
        let (inputs, older) = inputs(version, tile, area);
        if inputs.is_empty() {
            continue;
        }
        for input in inputs {
            compaction.board.metrics.merge_read_bytes.add(input.bytes);
        }
        let sealed = inputs[0].run.properties().clocks;
        clocks.get_or_insert(sealed).hold_back(&sealed);
        let part = TilePart { range: version.range_of(tile), inputs, older, sealed, now: version.clocks };
        if !part.write(new.writer(), &mut progress)? {
            return Ok(Merged::GivenUp);
        }
        ranges += part.write_ranges(new.writer());
    }
    if new.writer().entries() == 0 && ranges == 0 {
        return Ok(Merged::Run(None));
    }
    new.finish(&clocks.unwrap_or_default(), &compaction.board.pins).map(|run| Merged::Run(Some(run)))
}

struct Progress<'a, 'b> {
    compaction: &'a Compaction<'b>,
    told_bytes: u64,
    entries: u64,
}

impl Progress<'_, '_> {
    /// False when the merge is to give up.
    fn went_on(&mut self, writer: &RunWriter, entries: u64) -> bool {
        self.entries += entries;
        let bytes = writer.bytes() - self.told_bytes;
        if bytes < BETWEEN_BYTES && self.entries < BETWEEN_ENTRIES {
            return true;
        }
        self.told_bytes = writer.bytes();
        self.entries = 0;
        (self.compaction.between)(bytes)
    }
}

impl TilePart<'_> {
    /// Writes the entries that remain; false when the merge is to give up.
    fn write(&self, writer: &mut RunWriter, progress: &mut Progress<'_, '_>) -> Result<bool> {
        let rules = progress.compaction.rules;
        let mut merge = Merge::new(self.inputs.iter().map(source_of).collect(), rules, Cow::Borrowed(&self.range));
        merge.seek_first()?;
        while let Some(key) = merge.key() {
            if let Some(block) = self.block_to_copy(&merge)? {
                let entries = u64::from(block.count());
                writer.add_block(&block)?;
                progress.compaction.board.metrics.copied_blocks.add(1);
                merge.skip_lone(RunCursor::skip_block)?;
                if !progress.went_on(writer, entries) {
                    return Ok(false);
                }
                continue;
            }
            let hash = hash32(key);
            let entry = self.remains(merge.entry()?, key, rules);
            let hides_something = || self.older.iter().any(|slice| slice.run.may_contain(hash, key));
            if entry.kind != Kind::Tombstone || hides_something() {
                writer.add(key, hash, entry)?;
            }
            merge.step()?;
            if !progress.went_on(writer, 1) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a merged entry becomes: operands with nothing older are values, expired values are tombstones.
    fn remains<'e>(&self, entry: Entry<'e>, key: &[u8], rules: &dyn crate::fold::Rules) -> Entry<'e> {
        let entry = match entry.kind {
            Kind::Operand if self.older.is_empty() => Entry::value(entry.value, entry.expiry),
            _ => entry,
        };
        let ended = entry.kind == Kind::Value
            && entry.expiry.is_some_and(|expiry| {
                let clocks = if rules.rule(key).is_some() { &self.sealed } else { &self.now };
                clocks.expired(expiry)
            });
        if ended { Entry::TOMBSTONE } else { entry }
    }

    /// The block at the merge's place, when it can go over as it is: no other source, tile edge or range tombstone touches
    /// it, and no entry of it would change.
    fn block_to_copy<'r>(&self, merge: &Merge<'_, RunCursor<'r>>) -> Result<Option<RunBlock<'r>>> {
        let Some((source, next)) = merge.lone_source() else { return Ok(None) };
        let Some(block) = merge.cursor(source).block_ahead()? else { return Ok(None) };
        let (first, last) = (block.first_key(), block.last_key());
        let untouched = next.is_none_or(|next| last < next)
            && self.range.is_before_end(last)
            && !merge.hidden_between(source, first, last);
        let unchanged = block.tombstones() == 0
            && (block.operands() == 0 || !self.older.is_empty())
            && block.first_expiry().is_none_or(|mut expiries| expiries.all(|expiry| !self.now.expired(expiry)));
        Ok((untouched && unchanged).then_some(block))
    }

    /// Keeps the range tombstones that something older may lie under; returns how many.
    fn write_ranges(&self, writer: &mut RunWriter) -> usize {
        let mut kept = 0;
        for range in self.inputs.iter().flat_map(|input| input.run.ranges().clipped(&self.range)) {
            if self.older.iter().any(|older| older.run.overlaps(&range)) {
                writer.add_range(range);
                kept += 1;
            }
        }
        kept
    }
}

fn source_of(slice: &Slice) -> Source<'_, RunCursor<'_>> {
    Source { cursor: slice.run.sweep(), ranges: slice.run.ranges() }
}
