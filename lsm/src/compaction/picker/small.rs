//! Neighbouring tiles that have become small are made one.

use super::{Area, Picker, Plan, Why};

impl Picker<'_> {
    /// Joins the first stretch of small tiles, up to half of what a tile may hold.
    pub(super) fn join_small(&self) -> Option<Plan> {
        let tiles = &self.picture.tiles;
        let mut start = 0;
        while start + 1 < tiles.len() {
            let mut end = start;
            let (mut sum, mut first, mut last) = (0, u64::MAX, 0);
            while end < tiles.len() && self.joinable(end) {
                let slices = &tiles[end].slices;
                sum += self.survey.tiles[end].bytes;
                if sum > self.tuning.tile_bytes_max / 2 {
                    break;
                }
                if let (Some(newest), Some(oldest)) = (slices.first(), slices.last()) {
                    (first, last) = (first.min(oldest.first), last.max(newest.last));
                }
                end += 1;
            }
            if end >= start + 2 {
                // Empty tiles need no interval.
                let area = Area { tiles: start..end, first: first.min(last), last };
                if !area.tiles.clone().any(|tile| self.running(tile, area.first, area.last)) {
                    return Some(Plan::Merge { area, why: Why::Join, join_tiles: true });
                }
            }
            start = end.max(start + 1);
        }
        None
    }

    fn joinable(&self, tile: usize) -> bool {
        let slices = &self.picture.tiles[tile].slices;
        let absent = self.skip_absent && slices.iter().any(|slice| slice.absent);
        let busy = self.picture.jobs.iter().any(|job| job.tiles.contains(&tile));
        !absent && !busy && self.survey.tiles[tile].bytes < self.tuning.tile_bytes_min
    }
}
