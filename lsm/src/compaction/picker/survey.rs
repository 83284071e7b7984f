//! One pass over the picture: what all decisions need to know of each tile and each run.

use super::stack::small_slices;
use super::{PickerTuning, Picture};

/// Sums over a picture, made once for a decision.
#[derive(Default)]
pub(super) struct Survey {
    pub tiles: Vec<TileSums>,
    pub runs: Vec<RunSums>,
    /// Bytes that slices reach.
    pub reached: u64,
    pub absent: bool,
}

/// What a tile's stack comes to.
#[derive(Clone, Copy, Default)]
pub(super) struct TileSums {
    /// How many slices at the top are small.
    pub small: usize,
    /// How many slices at the end may go unread.
    pub expired: usize,
    pub bytes: u64,
    /// Of all slices but the oldest.
    pub young: Sums,
}

/// Sums over slices.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    pub bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
}

/// What slices show of a run.
#[derive(Clone, Copy, Default)]
pub(super) struct RunSums {
    pub first: u64,
    pub last: u64,
    /// How many slices refer to it.
    pub references: u32,
    pub reached: u64,
    /// Bytes that are small slices of their tiles, of whatever age, at least one for each.
    pub small: u64,
    /// Whether it is the oldest of some tile.
    pub oldest: bool,
}

impl Survey {
    pub fn of(picture: &Picture, tuning: &PickerTuning) -> Survey {
        let mut survey = Survey { runs: vec![RunSums::default(); picture.runs.len()], ..Survey::default() };
        survey.tiles.reserve(picture.tiles.len());
        for tile in &picture.tiles {
            let slices = &tile.slices;
            let small = small_slices(slices, tuning);
            let mut sums = TileSums { small, ..TileSums::default() };
            for (index, slice) in slices.iter().enumerate() {
                let run = &mut survey.runs[slice.run];
                (run.first, run.last) = (slice.first, slice.last);
                run.references += 1;
                run.reached += slice.bytes;
                run.small += if index < small { slice.bytes.max(1) } else { 0 };
                survey.absent |= slice.absent;
                sums.expired = if slice.expired { sums.expired + 1 } else { 0 };
                sums.bytes += slice.bytes;
                if index + 1 == slices.len() {
                    run.oldest = true;
                } else {
                    sums.young.add(slice.bytes, slice.entries, slice.tombstones);
                }
            }
            survey.reached += sums.bytes;
            survey.tiles.push(sums);
        }
        survey
    }
}

impl Sums {
    pub fn add(&mut self, bytes: u64, entries: u64, tombstones: u64) {
        self.bytes += bytes;
        self.entries += entries;
        self.tombstones += tombstones;
    }
}
