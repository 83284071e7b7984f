//! Files that are mostly dead: what lives of them moves, and the file can go.
//!
//! Moving costs less than it frees, since less than half of the file lives. Only when all dead bytes together outgrow a larger
//! share of the state are files taken that are less dead, down to a fifth: a file that many tiles share loses its bytes tile
//! by tile, and hot tiles alone would never bring it to the half.

use super::stack::bytes;
use super::tile::NEARLY_DUE;
use super::{Area, Picker, Plan, Why};

impl Picker<'_> {
    /// Frees the file with most dead bytes among those more than half dead.
    pub(super) fn revive(&self) -> Option<Plan> {
        let crowded = self.dead_bytes() as f64 > self.tuning.dead_bytes_max * self.survey.reached as f64;
        let mut dead: Vec<(u64, usize)> = Vec::new();
        let mut dead_bytes = 0;
        for (run, (file, sums)) in self.picture.runs.iter().zip(&self.survey.runs).enumerate() {
            let lost = file.bytes.saturating_sub(sums.reached);
            let enough = if crowded { lost > sums.reached / 4 } else { lost > sums.reached };
            if enough && sums.references > 0 && lost >= self.tuning.tile_file_bytes / 64 {
                dead_bytes += lost;
                dead.push((lost, run));
            }
        }
        if dead_bytes as f64 <= self.tuning.dead_slack * self.survey.reached as f64 {
            return None;
        }
        dead.sort_by_key(|(lost, run)| (std::cmp::Reverse(*lost), *run));
        let mut wanted = vec![false; self.picture.runs.len()];
        // The worst few give enough to do; the rest is looked at when these are gone.
        for (_, run) in dead.iter().take(8) {
            wanted[*run] = true;
        }
        (0..self.picture.tiles.len()).find_map(|tile| self.revive_tile(tile, &wanted))
    }

    /// Bytes of all files that no slice reaches.
    fn dead_bytes(&self) -> u64 {
        let files = self.picture.runs.iter().zip(&self.survey.runs);
        files.filter(|(_, sums)| sums.references > 0).map(|(file, sums)| file.bytes.saturating_sub(sums.reached)).sum()
    }

    fn revive_tile(&self, tile: usize, wanted: &[bool]) -> Option<Plan> {
        let slices = &self.picture.tiles[tile].slices;
        let place = slices.iter().position(|slice| wanted[slice.run])?;
        let slice = slices[place];
        let oldest = place + 1 == slices.len();
        if !self.is_small(tile) && (oldest || self.overdue(tile) >= NEARLY_DUE) {
            let mut area = self.rebase_area(tile)?;
            if area.last < slice.last {
                area = self.tile_area(tile, 0..slices.len())?;
            }
            return Some(Plan::Merge { area, why: Why::Rebase, join_tiles: false });
        }
        self.inputs(tile, slice.first, slice.last)?;
        let area = self.dead_stretch(tile, slice.run, slice.first, slice.last);
        Some(Plan::Merge { area, why: Why::Dead, join_tiles: false })
    }

    /// Grows to the right as long as more bytes of the run than of others come in.
    fn dead_stretch(&self, tile: usize, run: usize, first: u64, last: u64) -> Area {
        let mut end = tile + 1;
        let (mut ours, mut others) = (0, 0);
        for behind in tile + 1..self.picture.tiles.len() {
            let Some(inputs) = self.inputs(behind, first, last) else { break };
            let slices = &self.picture.tiles[behind].slices;
            let holds = slices[inputs.clone()].iter().any(|slice| slice.run == run);
            if holds && !self.is_small(behind) && inputs.end == slices.len() {
                break;
            }
            let taken = bytes(&slices[inputs]);
            let side = if holds { &mut ours } else { &mut others };
            *side += taken;
            if holds && ours >= others {
                end = behind + 1;
            }
        }
        Area { tiles: tile..end, first, last }
    }
}
