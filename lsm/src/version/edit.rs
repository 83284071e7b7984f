//! What leads from one version to the next.

use std::sync::Arc;

use super::{RunFile, Seals, Slice, Tile, Version};
use crate::entry::Clocks;
use crate::key::KeyRange;

/// A stretch of neighbouring tiles and an interval of seals: what one merge replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// Starts and ends where tiles do.
    pub range: KeyRange,
    pub seals: Seals,
}

impl Area {
    /// Whether some slice can lie in both.
    pub fn meets(&self, other: &Area) -> bool {
        self.seals.overlap(other.seals) && self.range.overlaps(&other.range)
    }
}

/// Runs and their seals, newest first.
pub(crate) type RunStack = Vec<(Arc<RunFile>, Seals)>;

/// One step from version to version.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Memtables became a run (or held nothing).
    Flush { run: Option<Arc<RunFile>>, seals: Seals, clocks: Clocks },
    /// The slices of an area became one run (or nothing is left of them); `join` makes its tiles one.
    Merge { area: Area, run: Option<Arc<RunFile>>, join: bool },
    /// The tile that `at` lies in becomes two: `at` is where the second starts.
    Split { at: Vec<u8> },
    /// A range that holds nothing takes foreign stacks, newest run first; it becomes tiles of its own.
    Adopt { stacks: Vec<(KeyRange, RunStack)>, seal: u64, clocks: Clocks },
    /// Everything outside the range is gone.
    Clip { range: KeyRange },
}

impl Version {
    /// The version after `edit`.
    ///
    /// # Panics
    /// When the edit does not fit this version: its author broke a rule of this module.
    pub fn apply(&self, edit: &Edit) -> Version {
        let (mut seal, mut clocks) = (self.seal, self.clocks);
        let tiles = match edit {
            Edit::Flush { run, seals, clocks: sealed } => {
                assert!(seals.first > seal, "flushes install in seal order");
                seal = seals.last;
                clocks.advance_all(sealed);
                self.with_flushed(run.as_ref(), *seals)
            }
            Edit::Merge { area, run, join } => self.with_merged(area, run.as_ref(), *join),
            Edit::Split { at } => self.split_at(at),
            Edit::Adopt { stacks, seal: adopted, clocks: stored } => {
                seal = seal.max(*adopted);
                clocks.advance_all(stored);
                stacks.iter().fold(self.clone(), |version, (range, stack)| version.with_adopted(range, stack)).tiles
            }
            Edit::Clip { range } => self.clipped(range),
        };
        Version::new(self.number + 1, seal, clocks, tiles)
    }

    fn with_flushed(&self, run: Option<&Arc<RunFile>>, seals: Seals) -> Vec<Arc<Tile>> {
        let Some(run) = run else { return self.tiles.clone() };
        let add = |index: usize, tile: &Arc<Tile>| match Slice::cut(run, seals, &self.range_of(index)) {
            None => Arc::clone(tile),
            Some(slice) => {
                let slices = std::iter::once(slice).chain(tile.slices.iter().cloned()).collect();
                Arc::new(Tile::new(tile.start.to_vec(), slices))
            }
        };
        self.tiles.iter().enumerate().map(|(index, tile)| add(index, tile)).collect()
    }

    fn with_merged(&self, area: &Area, run: Option<&Arc<RunFile>>, join: bool) -> Vec<Arc<Tile>> {
        let within = self.tiles_in(&area.range);
        assert!(*self.tiles[within.start].start == *area.range.start, "an area starts where a tile does");
        assert!(self.end_of(within.end - 1) == area.range.end.as_deref(), "an area ends where a tile does");
        let replace = |range: &KeyRange, tile: &Tile| {
            let inputs = tile.slices_in(area.seals);
            let slice = run.and_then(|run| Slice::cut(run, area.seals, range));
            let newer = tile.slices[..inputs.start].iter().cloned();
            let older = tile.slices[inputs.end..].iter().cloned();
            newer.chain(slice).chain(older).collect::<Vec<Slice>>()
        };
        let mut tiles = self.tiles[..within.start].to_vec();
        let newer = if join { self.common_newer(area, within.clone()) } else { None };
        if let Some(newer) = newer {
            let cut = |(run, seals): &(Arc<RunFile>, Seals)| Slice::cut(run, *seals, &area.range);
            let merged = run.and_then(|run| Slice::cut(run, area.seals, &area.range));
            let slices = newer.iter().filter_map(cut).chain(merged).collect();
            tiles.push(Arc::new(Tile::new(area.range.start.clone(), slices)));
        } else {
            for index in within.clone() {
                if self.tiles[index].slices_in(area.seals).is_empty() {
                    // Nothing of it was read: what the run holds there, if anything, is older than a slice that covers it.
                    tiles.push(Arc::clone(&self.tiles[index]));
                    continue;
                }
                let slices = replace(&self.range_of(index), &self.tiles[index]);
                tiles.push(Arc::new(Tile::new(self.tiles[index].start.to_vec(), slices)));
            }
        }
        tiles.extend_from_slice(&self.tiles[within.end..]);
        tiles
    }

    /// What lies above an area whose tiles were merged whole, newest first, when all of them could show it as one stack: the
    /// flushes since then. `None` when some tile has merged its part in the meantime; the tiles stay apart then.
    fn common_newer(&self, area: &Area, within: std::ops::Range<usize>) -> Option<RunStack> {
        let mut newer = RunStack::new();
        for tile in &self.tiles[within.clone()] {
            let inputs = tile.slices_in(area.seals);
            if inputs.end != tile.slices.len() {
                return None;
            }
            for slice in &tile.slices[..inputs.start] {
                if !newer.iter().any(|(run, _)| run.id() == slice.run.id()) {
                    newer.push((Arc::clone(&slice.run), slice.seals));
                }
            }
        }
        newer.sort_by_key(|(_, seals)| std::cmp::Reverse(seals.first));
        let apart = newer.is_sorted_by(|newer, older| newer.1.first > older.1.last);
        let shown = |tile: usize, (run, seals): &(Arc<RunFile>, Seals)| {
            let slices = &self.tiles[tile].slices;
            let has_it = slices.iter().any(|slice| slice.run.id() == run.id() && slice.seals == *seals);
            has_it || !run.overlaps(&self.range_of(tile))
        };
        let same = within.clone().all(|tile| newer.iter().all(|slice| shown(tile, slice)));
        (apart && same).then_some(newer)
    }

    fn split_at(&self, at: &[u8]) -> Vec<Arc<Tile>> {
        let index = self.tile_of(at);
        if *self.tiles[index].start == *at {
            return self.tiles.clone();
        }
        let whole = self.range_of(index);
        let (left, right) =
            (KeyRange { start: whole.start, end: Some(at.to_vec()) }, KeyRange { start: at.to_vec(), end: whole.end });
        let part = |range: KeyRange| {
            let cut = |slice: &Slice| Slice::cut(&slice.run, slice.seals, &range);
            let slices = self.tiles[index].slices.iter().filter_map(cut).collect();
            Arc::new(Tile::new(range.start.clone(), slices))
        };
        let mut tiles = self.tiles.clone();
        tiles.splice(index..=index, [part(left), part(right)]);
        tiles
    }

    /// Cuts tiles so that one starts at the start of `range` and one where it ends.
    fn cut_at_bounds(&self, range: &KeyRange) -> Version {
        let with = |version: &Version, at: &[u8]| {
            Version::new(version.number, version.seal, version.clocks, version.split_at(at))
        };
        let version = with(self, &range.start);
        match &range.end {
            Some(end) => with(&version, end),
            None => version,
        }
    }

    fn with_adopted(&self, range: &KeyRange, stack: &[(Arc<RunFile>, Seals)]) -> Version {
        let version = self.cut_at_bounds(range);
        let within = version.tiles_in(range);
        let slices = stack.iter().filter_map(|(run, seals)| Slice::cut(run, *seals, range)).collect();
        let mut tiles = version.tiles.clone();
        tiles.splice(within, [Arc::new(Tile::new(range.start.clone(), slices))]);
        Version::new(version.number, version.seal, version.clocks, tiles)
    }

    fn clipped(&self, range: &KeyRange) -> Vec<Arc<Tile>> {
        if range.is_empty() {
            return Version::empty().tiles;
        }
        let version = self.cut_at_bounds(range);
        let within = version.tiles_in(range);
        let empty = |start: &[u8]| Arc::new(Tile::new(start.to_vec(), Vec::new()));
        let mut tiles = Vec::new();
        if within.start > 0 {
            tiles.push(empty(&[]));
        }
        tiles.extend_from_slice(&version.tiles[within]);
        if let Some(end) = &range.end {
            tiles.push(empty(end));
        }
        tiles
    }
}
