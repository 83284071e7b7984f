//! A tile: the start of a key range and its stack of slices.

use std::sync::{Arc, OnceLock};

use super::RunFile;
use crate::key::KeyRange;

/// The seals a slice covers, both ends included: the age of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seals {
    pub first: u64,
    pub last: u64,
}

impl Seals {
    /// Whether all of `other` lies inside.
    pub fn cover(self, other: Seals) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two share a seal.
    pub fn overlap(self, other: Seals) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A run as one tile sees it.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub run: Arc<RunFile>,
    pub seals: Seals,
    /// Bytes of the run's entries inside the tile; estimated where the tile cuts a section.
    pub bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
}

impl Slice {
    /// The slice of `run` inside `range`, or `None` when it shows nothing there.
    pub fn cut(run: &Arc<RunFile>, seals: Seals, range: &KeyRange) -> Option<Slice> {
        if !run.overlaps(range) {
            return None;
        }
        let stats = run.stats_in(range);
        Some(Slice {
            run: Arc::clone(run),
            seals,
            bytes: stats.bytes,
            entries: stats.entries,
            tombstones: stats.tombstones,
        })
    }
}

/// A stack of slices; where it ends is where the next tile starts.
#[derive(Debug)]
pub(crate) struct Tile {
    pub start: Box<[u8]>,
    /// Newest first; their seals descend and never overlap.
    pub slices: Vec<Slice>,
    hidden_bytes: OnceLock<u64>,
}

/// How many range tombstones of a slice are looked at to estimate what they hide.
const RANGES_SAMPLED: usize = 16;

impl Tile {
    /// A tile with these slices, newest first.
    ///
    /// # Panics
    /// When the slices are not in the order of their age.
    pub fn new(start: Vec<u8>, slices: Vec<Slice>) -> Tile {
        assert!(
            slices.is_sorted_by(|newer, older| newer.seals.first > older.seals.last),
            "slices of a stack are in the order of their age"
        );
        Tile { start: start.into_boxed_slice(), slices, hidden_bytes: OnceLock::new() }
    }

    /// Bytes of all its slices' entries.
    pub fn bytes(&self) -> u64 {
        self.slices.iter().map(|slice| slice.bytes).sum()
    }

    /// Bytes of slices that range tombstones of newer ones hide; estimated, once. `range` is the tile's.
    pub fn hidden_bytes(&self, range: &KeyRange) -> u64 {
        let hidden_by = |(index, slice): (usize, &Slice)| -> u64 {
            let hides = |hidden: KeyRange| {
                let older = self.slices[index + 1..].iter().filter(|older| older.run.overlaps(&hidden));
                older.map(|older| older.run.stats_in(&hidden).bytes).sum::<u64>()
            };
            let count = slice.run.ranges().clipped(range).count();
            let sampled = count.min(RANGES_SAMPLED);
            let hidden: u64 = slice.run.ranges().clipped(range).take(sampled).map(hides).sum();
            hidden.saturating_mul(count as u64) / sampled.max(1) as u64
        };
        *self.hidden_bytes.get_or_init(|| {
            let with_ranges = self.slices.iter().enumerate().filter(|(_, slice)| !slice.run.ranges().is_empty());
            with_ranges.map(hidden_by).sum::<u64>().min(self.bytes())
        })
    }

    /// The places in the stack of the slices whose seals lie inside `seals`.
    pub fn slices_in(&self, seals: Seals) -> std::ops::Range<usize> {
        let first = self.slices.partition_point(|slice| slice.seals.last > seals.last);
        let behind = self.slices.partition_point(|slice| slice.seals.first >= seals.first);
        first..behind.max(first)
    }
}
