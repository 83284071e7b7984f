//! The immutable part of a store at one moment: tiles, and in each a stack of slices.
//!
//! ```text
//!   key space   |---- tile 0 ----|------- tile 1 -------|-- tile 2 --|
//!   newest      [ slice of run 9 | slice of run 9       | run 9      ]   one flush: one run, a slice in each tile
//!               [ run 8          |                      | run 8      ]
//!   oldest      [ run 5          | run 3                | run 2      ]   rebases: a run for each tile
//! ```
//!
//! A tile's range is what clips its slices: no slice shows anything outside. Position in the stack is age, and each slice
//! knows the interval of seals it covers; intervals in a stack never overlap.
//!
//! A [`Version`] never changes; an [`Edit`] leads to the next one. Which version is current is the business of `view`.

mod edit;
mod files;
mod manifest;
mod pin;
mod tile;

pub(crate) use edit::{Area, Edit, RunStack};
pub(crate) use files::RunFiles;
pub(crate) use manifest::{Ending, Manifest, StoredRun, StoredVersion, VERSION_FILE};
#[cfg(any(test, feature = "testing"))]
pub(crate) use manifest::{decode_version, seal_version};
pub(crate) use pin::{Pins, RunFile, remove_orphans};
pub(crate) use tile::{Seals, Slice, Tile};

use std::ops::Range;
use std::sync::Arc;

use crate::entry::Clocks;
use crate::key::{KeyRange, prefix64};

/// The name of the lock file in each working directory.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// The tiles at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// Counts edits over the life of the directory.
    pub number: u64,
    /// The newest seal that is in: all memtables up to it are flushed.
    pub seal: u64,
    /// The clocks of that seal.
    pub clocks: Clocks,
    /// In key order; the first starts at the empty key. Never empty.
    tiles: Vec<Arc<Tile>>,
    /// The leading bytes of each tile's start.
    starts: Vec<u64>,
}

impl Version {
    /// A store that holds nothing.
    pub fn empty() -> Version {
        Version::new(0, 0, Clocks::default(), vec![Arc::new(Tile::new(Vec::new(), Vec::new()))])
    }

    /// A version of these tiles.
    ///
    /// # Panics
    /// When the tiles do not partition the key space.
    pub fn new(number: u64, seal: u64, clocks: Clocks, tiles: Vec<Arc<Tile>>) -> Version {
        assert!(tiles.first().is_some_and(|tile| tile.start.is_empty()), "the first tile starts at the empty key");
        assert!(tiles.is_sorted_by(|left, right| left.start < right.start), "tiles are in order");
        let starts = tiles.iter().map(|tile| prefix64(&tile.start)).collect();
        Version { number, seal, clocks, tiles, starts }
    }

    /// All tiles in key order.
    pub fn tiles(&self) -> &[Arc<Tile>] {
        &self.tiles
    }

    /// The tile that `key` belongs to.
    #[inline]
    pub fn tile_of(&self, key: &[u8]) -> usize {
        if self.tiles.len() == 1 {
            return 0;
        }
        let prefix = prefix64(key);
        let below = self.starts.partition_point(|start| *start < prefix);
        let same = self.starts[below..].partition_point(|start| *start == prefix);
        let same = self.tiles[below..below + same].partition_point(|tile| *tile.start <= *key);
        (below + same).saturating_sub(1)
    }

    /// The keys of a tile.
    pub fn range_of(&self, tile: usize) -> KeyRange {
        KeyRange { start: self.tiles[tile].start.to_vec(), end: self.end_of(tile).map(<[u8]>::to_vec) }
    }

    /// Where a tile ends: the start of the next one.
    pub fn end_of(&self, tile: usize) -> Option<&[u8]> {
        self.tiles.get(tile + 1).map(|next| &*next.start)
    }

    /// The tiles that hold keys of `range`.
    pub fn tiles_in(&self, range: &KeyRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let first = self.tile_of(&range.start);
        let behind = match &range.end {
            Some(end) => self.tiles.partition_point(|tile| *tile.start < **end),
            None => self.tiles.len(),
        };
        first..behind
    }

    /// Every run that some slice refers to, once.
    pub fn runs(&self) -> Vec<Arc<RunFile>> {
        let mut runs: Vec<_> =
            self.tiles.iter().flat_map(|tile| &tile.slices).map(|slice| Arc::clone(&slice.run)).collect();
        runs.sort_by_key(|run| run.id());
        runs.dedup_by_key(|run| run.id());
        runs
    }

    /// Bytes of the entries that slices show.
    pub fn reached_bytes(&self) -> u64 {
        self.tiles.iter().map(|tile| tile.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(starts: &[&str]) -> Version {
        let tiles = starts.iter().map(|start| Arc::new(Tile::new(start.as_bytes().to_vec(), Vec::new()))).collect();
        Version::new(0, 0, Clocks::default(), tiles)
    }

    #[test]
    fn every_key_has_one_tile() {
        let version = version(&["", "b", "partition1", "partition12", "partition2"]);
        let tile = |key: &str| version.tile_of(key.as_bytes());
        assert_eq!((tile(""), tile("a"), tile("b"), tile("c")), (0, 0, 1, 1));
        assert_eq!((tile("partition"), tile("partition1"), tile("partition11")), (1, 2, 2));
        assert_eq!((tile("partition12"), tile("partition1z"), tile("z")), (3, 3, 4));
        for index in 0..5 {
            assert_eq!(version.tile_of(&version.range_of(index).start), index);
        }
    }

    #[test]
    fn a_range_meets_the_tiles_that_hold_its_keys() {
        let version = version(&["", "b", "d"]);
        assert_eq!(version.tiles_in(&KeyRange::all()), 0..3);
        assert_eq!(version.tiles_in(&KeyRange::from("b".."d")), 1..2);
        assert_eq!(version.tiles_in(&KeyRange::from("c".."d1")), 1..3);
        assert_eq!(version.tiles_in(&KeyRange::from("d".."c")), 0..0);
    }
}
