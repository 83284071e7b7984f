//! Young merges: of one tile, or wide.
//!
//! Small slices are merged by intervals that hold for the whole store, chosen by what runs weigh in all tiles together:
//!
//! ```text
//!   layers      9   8   7   6   [ 2 - 5 ]      newest first; 6 to 9 weigh the same and are due
//!   tile 0      x   x   x   x   x              joins the wide merge of 6 - 9
//!   tile 1      x       x       x              too
//!   tile 2      X   X   X   X   X              gives so much that it merges 6 - 9 alone, into a file of its own
//! ```
//!
//! An interval that was begun somewhere is finished everywhere before another is chosen. So the intervals of small slices
//! are the same or apart in all tiles, and none gets in the way of another. Were each tile to choose by its own sizes,
//! chance would bring neighbours out of step, and one wide merge would become one for each of them.
//!
//! A hot tile that was just rebased can still have a slice partly inside; then an older window is tried that it has
//! behind it, or the merge waits for that moment until there are twice as many layers as needed.

use std::ops::Range;

use super::stack::{bytes, due_window};
use super::survey::RunSums;
use super::{Area, Picker, Plan, SlicePicture, Why};

/// Small slices of one age in all tiles.
struct Layer {
    first: u64,
    last: u64,
    bytes: u64,
    /// Whether it was put together from intervals that overlap: a merge was begun here.
    begun: bool,
}

impl Picker<'_> {
    /// The young merge to do next.
    pub(super) fn young(&self) -> Option<Plan> {
        let layers = self.layers();
        layers
            .iter()
            .filter(|layer| layer.begun)
            .find_map(|layer| self.merge_interval(layer.first, layer.last))
            .or_else(|| self.next_interval(&layers))
            .or_else(|| self.own_young())
    }

    /// Small slices of all tiles by age, newest first.
    fn layers(&self) -> Vec<Layer> {
        // An oldest slice of its own run is the tile's business.
        let shared = |run: &&RunSums| run.small > 0 && (run.references > 1 || !run.oldest);
        let runs = self.survey.runs.iter().filter(shared);
        let mut runs: Vec<(u64, u64, u64)> = runs.map(|run| (run.first, run.last, run.small)).collect();
        runs.sort_unstable_by_key(|run| std::cmp::Reverse((run.1, run.0)));
        let mut layers: Vec<Layer> = Vec::new();
        for (first, last, bytes) in runs {
            match layers.last_mut().filter(|newer| newer.first <= last) {
                Some(newer) => {
                    newer.begun |= (newer.first, newer.last) != (first, last);
                    newer.first = newer.first.min(first);
                    newer.bytes += bytes;
                }
                None => layers.push(Layer { first, last, bytes, begun: false }),
            }
        }
        layers
    }

    /// The next interval that is due, and the first job for it.
    fn next_interval(&self, layers: &[Layer]) -> Option<Plan> {
        let weights: Vec<SlicePicture> = layers.iter().map(Layer::as_slice).collect();
        let mut from = 0;
        let mut broken = None;
        while let Some(window) = due_window(&weights, from, self.tuning) {
            from = window.start + 1;
            let (first, last) = (layers[window.end - 1].first, layers[window.start].last);
            let plan = self.merge_interval(first, last);
            if plan.is_some() && !self.obstructed(first, last) {
                return plan;
            }
            broken = broken.or(plan);
        }
        broken.filter(|_| layers.len() >= 2 * self.tuning.fan_in)
    }

    /// Merges the newest layers although they are not due: as few as gain nearly as much as any number would.
    pub(super) fn relieve_small(&self) -> Option<Plan> {
        let layers = self.layers();
        let (mut sum, mut largest) = (0, 0);
        let gains = layers.iter().map(|layer| {
            sum += layer.bytes;
            largest = largest.max(layer.bytes);
            sum as f64 / largest as f64
        });
        let gains: Vec<f64> = gains.collect();
        let best = gains.iter().copied().fold(0.0, f64::max);
        let oldest = gains.iter().position(|gain| *gain >= 0.85 * best && *gain >= 1.5)?;
        self.merge_interval(layers[oldest].first, layers[0].last)
    }

    /// Whether some tile with small slices inside the interval cannot take part.
    fn obstructed(&self, first: u64, last: u64) -> bool {
        self.picture.tiles.iter().enumerate().any(|(tile, picture)| {
            let small = self.survey.tiles[tile].small;
            let inside = |slice: &SlicePicture| first <= slice.first && slice.last <= last;
            picture.slices[..small].iter().any(inside) && self.inputs(tile, first, last).is_none()
        })
    }

    /// The first job that merges this interval where that is still to be done.
    pub(super) fn merge_interval(&self, first: u64, last: u64) -> Option<Plan> {
        let mut stretch = Stretch::default();
        for tile in 0..self.picture.tiles.len() {
            let inputs = self.inputs(tile, first, last);
            let slices = inputs.map(|inputs| &self.picture.tiles[tile].slices[inputs]);
            let given = slices.map_or(0, bytes);
            let alone = given >= self.tuning.tile_file_bytes;
            if let Some(slices) = slices
                && !alone
                && stretch.bytes + given <= self.tuning.wide_job_bytes_max
            {
                stretch.take(tile, slices, self.tuning.tile_file_bytes);
                continue;
            }
            if stretch.pays() {
                break;
            }
            stretch = Stretch::default();
            if slices.is_some_and(|slices| alone && slices.len() > 1 && self.pays_alone(tile, slices)) {
                let area = Area { tiles: tile..tile + 1, first, last };
                return Some(Plan::Merge { area, why: Why::Young, join_tiles: false });
            }
            if let Some(slices) = slices.filter(|_| !alone) {
                stretch.take(tile, slices, self.tuning.tile_file_bytes);
            }
        }
        let tiles = stretch.tiles.clone();
        let pays = stretch.pays();
        let why = if stretch.worth >= self.tuning.tile_file_bytes && tiles.len() == 1 { Why::Young } else { Why::Wide };
        pays.then_some(Plan::Merge { area: Area { tiles, first, last }, why, join_tiles: false })
    }

    /// Whether a heavy tile gains from merging these; its oldest slice is left to rebases.
    fn pays_alone(&self, tile: usize, slices: &[SlicePicture]) -> bool {
        let largest = slices.iter().map(|slice| slice.bytes).max().unwrap_or(0);
        let oldest = self.picture.tiles[tile].slices.last().map(|oldest| oldest.first);
        let all = oldest == slices.last().map(|slice| slice.first);
        2 * bytes(slices) >= 3 * largest && (!all || self.is_small(tile))
    }

    /// Merges the slices between a tile's small ones and its oldest; where a rebase is due they are left to it.
    fn own_young(&self) -> Option<Plan> {
        let area = self.picture.tiles.iter().enumerate().find_map(|(tile, picture)| {
            let young = picture.slices.len().saturating_sub(1);
            if young < self.tuning.fan_in {
                return None;
            }
            let small = self.survey.tiles[tile].small;
            if young < small + self.tuning.fan_in || self.overdue(tile) >= 1.0 {
                return None;
            }
            let window = due_window(&picture.slices[..young], small, self.tuning)?;
            self.tile_area(tile, window)
        })?;
        Some(Plan::Merge { area, why: Why::Young, join_tiles: false })
    }
}

impl Layer {
    fn as_slice(&self) -> SlicePicture {
        SlicePicture {
            run: 0,
            first: self.first,
            last: self.last,
            bytes: self.bytes,
            entries: 0,
            tombstones: 0,
            expired: false,
            absent: false,
        }
    }
}

/// A stretch of a wide merge in the making. It starts and ends with tiles that have something to merge.
#[derive(Default)]
struct Stretch {
    tiles: Range<usize>,
    /// All that was looked at.
    bytes: u64,
    /// Bytes of the tiles that are in, and of the largest slice in each of them.
    worth: u64,
    largest: u64,
    /// The same, of tiles at the end that are in only if another follows.
    tail: u64,
}

impl Stretch {
    fn take(&mut self, tile: usize, slices: &[SlicePicture], tile_file_bytes: u64) {
        let given = bytes(slices);
        if slices.len() > 1 {
            if self.tiles.is_empty() || self.tail > self.worth.max(tile_file_bytes) && !self.pays() {
                *self = Stretch { tiles: tile..tile, ..Stretch::default() };
            }
            self.tiles.end = tile + 1;
            self.worth += given + self.tail;
            self.largest += slices.iter().map(|slice| slice.bytes).max().unwrap_or(0) + self.tail;
            self.tail = 0;
        } else if !self.tiles.is_empty() {
            self.tail += given;
        }
        self.bytes = self.worth + self.tail;
    }

    /// Whether rewriting the largest slices is worth getting rid of the others.
    fn pays(&self) -> bool {
        !self.tiles.is_empty() && 2 * self.worth >= 3 * self.largest
    }
}
