//! Jobs of whole stacks: drops, rebases, and what a stack that is too long needs.

use std::ops::Range;

use super::survey::Sums;
use super::{Area, Picker, Plan, Why};

/// Share of the due amount from which slices above the small ones are rebased without these.
const OWN_SHARE: f64 = 0.75;
/// A tile that is this close to its rebase is rebased when something else calls for a merge of it.
pub(super) const NEARLY_DUE: f64 = 0.75;
/// How far apart the ratios of tiles lie, so that tiles under uniform load are not rebased all at once.
const RATIO_SPREAD: f64 = 0.3;

impl Picker<'_> {
    /// Drops slices at the end of a stack whose every entry is expired, over as many neighbouring tiles as possible.
    pub(super) fn drop_expired(&self) -> Option<Plan> {
        let count = self.picture.tiles.len();
        for tile in 0..count {
            let expired = self.expired_from(tile);
            let slices = &self.picture.tiles[tile].slices[expired];
            let (Some(newest), Some(oldest)) = (slices.first(), slices.last()) else { continue };
            let (first, last) = (oldest.first, newest.last);
            if self.droppable(tile, first, last).is_none() {
                continue;
            }
            let mut end = tile + 1;
            let mut behind = end;
            while behind < count
                && let Some(dropped) = self.droppable(behind, first, last)
            {
                behind += 1;
                if dropped > 0 {
                    end = behind;
                }
            }
            return Some(Plan::Drop { area: Area { tiles: tile..end, first, last } });
        }
        None
    }

    /// How many slices of a tile a drop takes; `None` when it must not be part of it.
    fn droppable(&self, tile: usize, first: u64, last: u64) -> Option<usize> {
        let inputs = super::stack::inputs(&self.picture.tiles[tile].slices, first, last)?;
        let expired = self.expired_from(tile);
        let unread = inputs.is_empty() || inputs.start >= expired.start && inputs.end == expired.end;
        (unread && !self.running(tile, first, last)).then_some(inputs.len())
    }

    /// The oldest slices that may go unread.
    fn expired_from(&self, tile: usize) -> Range<usize> {
        let all = self.picture.tiles[tile].slices.len();
        all - self.survey.tiles[tile].expired..all
    }

    /// The most overdue rebase.
    pub(super) fn rebase(&self) -> Option<Plan> {
        let mut best: Option<(f64, Area)> = None;
        for tile in 0..self.picture.tiles.len() {
            let overdue = self.overdue(tile);
            if overdue < 1.0 || best.as_ref().is_some_and(|(most, _)| *most >= overdue) {
                continue;
            }
            if let Some(area) = self.rebase_area(tile) {
                best = Some((overdue, area));
            }
        }
        best.map(|(_, area)| Plan::Merge { area, why: Why::Rebase, join_tiles: false })
    }

    /// How due a rebase is: from 1 on it is.
    pub(super) fn overdue(&self, tile: usize) -> f64 {
        let slices = &self.picture.tiles[tile].slices;
        let Some((oldest, young)) = slices.split_last() else { return 0.0 };
        if oldest.tombstones > 0 && oldest.tombstones * 2 > oldest.entries {
            // Nothing older is left to hide.
            return 1.0;
        }
        if young.is_empty() || self.is_small(tile) && self.survey.runs[oldest.run].references > 1 {
            return 0.0;
        }
        self.weight(tile, &self.survey.tiles[tile].young) / self.due_bytes(tile)
    }

    /// Young bytes that make a rebase due.
    fn due_bytes(&self, tile: usize) -> f64 {
        let oldest = self.picture.tiles[tile].slices.last().expect("callers look at stacks that are not empty");
        let mut ratio = self.tuning.rebase_ratio;
        if oldest.bytes < self.tuning.tile_bytes_min {
            // A small tile costs little space, and doubling is the cheapest way to grow.
            ratio = ratio.max(1.0);
        }
        let mix = (tile as u64).wrapping_add(oldest.last << 20).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let spread = 1.0 - RATIO_SPREAD * (mix as f64 / f64::from(u32::MAX));
        oldest.bytes.max(1) as f64 * ratio * spread
    }

    /// Bytes of young slices; tombstones count as twice what they hide, and what range tombstones hide counts too.
    fn weight(&self, tile: usize, young: &Sums) -> f64 {
        let Some(oldest) = self.picture.tiles[tile].slices.last() else { return 0.0 };
        let hidden = if young.tombstones * 2 > young.entries {
            2.0 * young.tombstones as f64 * oldest.bytes as f64 / oldest.entries.max(1) as f64
        } else {
            0.0
        };
        hidden.max(young.bytes as f64) + self.picture.tiles[tile].hidden as f64
    }

    /// Whether even the oldest slice is too small for a file of its own; such tiles know young merges only.
    pub(super) fn is_small(&self, tile: usize) -> bool {
        let slices = &self.picture.tiles[tile].slices;
        slices.last().is_none_or(|oldest| oldest.bytes < self.tuning.tile_file_bytes)
    }

    /// What a rebase takes: all, or all but the small slices on top, when these are still to be merged with those of other
    /// tiles and weigh little. Tiles so stay in step with wide merges.
    pub(super) fn rebase_area(&self, tile: usize) -> Option<Area> {
        let slices = &self.picture.tiles[tile].slices;
        let small = self.survey.tiles[tile].small;
        let mut young = Sums::default();
        for slice in slices.iter().rev().skip(1).rev().skip(small) {
            young.add(slice.bytes, slice.entries, slice.tombstones);
        }
        // A range tombstone frees what it hides only where it takes part.
        let whole = self.picture.tiles[tile].hidden > 0;
        if !whole && small + 1 < slices.len() && self.weight(tile, &young) >= OWN_SHARE * self.due_bytes(tile) {
            return self.tile_area(tile, small..slices.len());
        }
        self.tile_area(tile, 0..slices.len())
    }

    /// Shortens the longest stack above the limit: by its young slices while they are few bytes, else by a rebase.
    pub(super) fn relieve_stack(&self) -> Option<Plan> {
        let mut tiles: Vec<usize> = (0..self.picture.tiles.len())
            .filter(|tile| self.picture.tiles[*tile].slices.len() > self.tuning.stack_max)
            .collect();
        tiles.sort_by_key(|tile| std::cmp::Reverse(self.picture.tiles[*tile].slices.len()));
        tiles.into_iter().find_map(|tile| self.relieve_tile(tile))
    }

    fn relieve_tile(&self, tile: usize) -> Option<Plan> {
        let slices = &self.picture.tiles[tile].slices;
        if self.is_small(tile) || self.weight(tile, &self.survey.tiles[tile].young) >= NEARLY_DUE * self.due_bytes(tile)
        {
            let area = self.tile_area(tile, 0..slices.len())?;
            return Some(Plan::Merge { area, why: Why::Rebase, join_tiles: false });
        }
        let young = slices.len() - 1;
        let small = self.survey.tiles[tile].small;
        if small >= self.tuning.fan_in {
            let relief = self.relieve_small();
            if relief.is_some() {
                return relief;
            }
            let area = self.tile_area(tile, 0..small)?;
            return Some(Plan::Merge { area, why: Why::Young, join_tiles: false });
        }
        let area = self.tile_area(tile, 0..young)?;
        Some(Plan::Merge { area, why: Why::Young, join_tiles: false })
    }
}
