//! What a run holds in a range, told by its directory and, at the edges, its indexes; no block is read.
//!
//! The answers err on one side: "nothing here" is always true. Unreadable indexes, and those of a lazy restore that are not
//! here yet, make an edge section count as a whole.

use std::ops::Range;

use super::directory::Properties;
use super::reader::Run;
use super::section::{Counts, Index, Section};
use crate::entry::Clocks;
use crate::key::KeyRange;

/// What a range of a run holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeStats {
    /// Bytes of blocks and extents.
    pub bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
    pub operands: u64,
    /// Entries that have an expiry.
    pub expiring: u64,
}

impl RangeStats {
    fn add(&mut self, bytes: u64, counts: Counts) {
        self.bytes += bytes;
        self.entries += counts.entries;
        self.tombstones += counts.tombstones;
        self.operands += counts.operands;
        self.expiring += counts.expiring;
    }
}

impl Run {
    /// Counts of the whole run; free.
    pub fn stats(&self) -> RangeStats {
        let &Properties { entries, tombstones, operands, expiring, .. } = self.properties();
        RangeStats { bytes: self.directory.data_bytes, entries, tombstones, operands, expiring }
    }

    /// Counts of `range`: exact for sections that are inside, by share of their blocks for those at the edges. No entries
    /// only when there are none.
    pub fn stats_in(&self, range: &KeyRange) -> RangeStats {
        let mut stats = RangeStats::default();
        if self.covers(range) {
            return self.stats();
        }
        for number in self.directory.sections_in(range) {
            let section = &self.directory.sections[number];
            if *range.start <= *section.first && range.is_before_end(&section.last) {
                stats.add(section.bytes, section.counts);
            } else {
                let (blocks, bytes) = self.blocks_in(number, range);
                let share = |count: u64| {
                    let shared = u128::from(count) * blocks.len() as u128;
                    u64::try_from(shared.div_ceil(section.blocks as u128)).unwrap_or(u64::MAX)
                };
                let Counts { entries, tombstones, operands, expiring } = section.counts;
                let counts = Counts {
                    entries: share(entries),
                    tombstones: share(tombstones),
                    operands: share(operands),
                    expiring: share(expiring),
                };
                stats.add(bytes, counts);
            }
        }
        stats
    }

    /// Whether every entry is inside.
    fn covers(&self, range: &KeyRange) -> bool {
        match (self.directory.sections.first(), self.directory.sections.last()) {
            (Some(first), Some(last)) => *range.start <= *first.first && range.is_before_end(&last.last),
            _ => true,
        }
    }

    /// Whether an entry or a range tombstone may be inside.
    pub fn overlaps(&self, range: &KeyRange) -> bool {
        !self.directory.sections_in(range).is_empty() || self.directory.ranges.overlaps(range)
    }

    /// Whether everything inside has expired by `clocks` and hides nothing: no tombstone, no operand, no range tombstone in
    /// any section that the range touches. True when nothing is inside.
    pub fn all_expired(&self, range: &KeyRange, clocks: &Clocks) -> bool {
        let sections = &self.directory.sections[self.directory.sections_in(range)];
        sections.iter().all(|section| section.all_expired(clocks)) && !self.directory.ranges.overlaps(range)
    }

    /// Where `range` could be cut: the first key, inside, of each of its sections, and the section's bytes.
    pub fn boundaries(&self, range: &KeyRange) -> Vec<(Vec<u8>, u64)> {
        let sections = &self.directory.sections[self.directory.sections_in(range)];
        let boundary = |section: &Section| (section.first.to_vec().max(range.start.clone()), section.bytes);
        sections.iter().map(boundary).collect()
    }

    /// The blocks of a section that a key of `range` could be in, and their bytes.
    fn blocks_in(&self, number: usize, range: &KeyRange) -> (Range<usize>, u64) {
        let section = &self.directory.sections[number];
        let whole = (0..section.blocks, section.bytes);
        if !self.index_is_here(number) {
            return whole;
        }
        let Ok(index) = self.index(number) else { return whole };
        let index = Index::new(index.as_slice());
        let start =
            if *range.start <= *section.first { 0 } else { index.candidates(section.prefix_of(&range.start)).start };
        let end = match &range.end {
            Some(end) if **end <= *section.last => index.candidates(section.prefix_of(end)).end,
            _ => section.blocks,
        };
        let end_of = |block: usize| index.span(block).map_or(0, |(offset, length)| offset + length as u64);
        let from = start.checked_sub(1).map_or(0, end_of);
        let to = if end >= section.blocks { section.bytes } else { end.checked_sub(1).map_or(0, end_of) };
        (start..end.max(start), to.saturating_sub(from))
    }
}
