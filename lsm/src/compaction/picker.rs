//! Decides what to merge next. Pure: same picture, same tuning, same plan; no IO, no clock.
//!
//! ```text
//!   seals     tile 0   tile 1   tile 2   tile 3
//!   12 - 12   [ run 40 .......................]   small: merged wide, many tiles in one job, one output file,
//!    9 - 11   [ run 39 .......................]          by intervals that hold for the whole store
//!    5 -  8   [ run 35 ][ run 36 ][ run 34 ...]   worth a file of its own: merged tile by tile
//!    1 -  4   [ run 20 ][ run 17 ][ run 9 ][ 9]   oldest: rebased when young > rebase_ratio x it
//! ```
//!
//! What goes first: drops of what is wholly expired; young merges; rebases, the most overdue first; stacks that are too
//! long; files that are mostly dead; joins of small tiles. Jobs that read absent bytes come after all others.
//!
//! Invariants: * a plan takes neighbours in age; it never jumps over a slice and never takes part of one.
//!             * a plan never meets a running job: same tile and overlapping seals.
//!             * following plans comes to an end; each one shortens a stack, frees dead bytes, or removes a tile.
//!
//! A rebase leaves the small slices on top alone when there is enough without them. Otherwise each rebased tile would end
//! at a seal of its own, and the next wide merge would find a slice partly inside its interval there.
//!
//! Each tile's ratio is lowered by up to 30 %, by chance that depends on the tile: under uniform load tiles then
//! reach it at different times, and the space of young slices is not at its highest everywhere at once.
//!
//! Simulated with the defaults (20 M entries of 118 B = 2.4 GB in tiles of up to 128 MiB; WA: bytes flushed and merged /
//! bytes flushed, which are unique in a flush; space: all files and the running job's output / live unique bytes; stack: most
//! and average slices of a tile; stalls: flushes put off at full pressure):
//!
//! ```text
//! load                               tiles     WA   peak  space  stack    avg  files   jobs stalls
//! uniform 64 MiB                        35   4.84   1.49   1.22     12    4.5    104   1800      0
//! uniform 64 MiB, 4.5 x merging         35   4.78   1.59   1.29     13    4.7     93   1685      0
//! uniform 64 MiB, 1.2 x merging         32   2.90   2.60   2.02     32    9.7    202   1438    121
//! 5 % of tiles take all, 64 MiB         34   2.15   1.10   1.02      6    1.0     37    215      0
//! 5 % of tiles take all, 1 MiB          24   5.34   1.05   1.01     10    1.1     32    614      0
//! 5 % of tiles take 95 %, 64 MiB        37   2.71   1.35   1.16     17    7.8    117    617      0
//! 5 % of tiles take 95 %, 1 MiB         29   6.03   1.14   1.08     17    9.4    101   2352      0
//! 20 % of tiles take 80 %, 64 MiB       39   4.19   1.43   1.22     15    5.7    116   1110      0
//! 20 % of tiles take 80 %, 1 MiB        31   7.79   1.32   1.21     17    9.4    137   2791      0
//! tiny 100 KB                           33   6.29   1.25   1.10     17    9.3    108   1671      0
//! tiny 100 KB, 5 % hot                  26   7.47   1.08   1.04     17   10.0     78   2085      0
//! tiny 100 KB, 95 GB                   941   6.03   1.01   1.00     16    8.8    947   1469      0
//! tiny 100 KB, 95 GB, 5 % hot          944   5.98   1.01   1.00     16    8.8    950   1473      0
//! growing, 64 MiB                       64   5.32   1.61   1.06     12    3.8    170    666      0
//! growing, 1 MiB                        32   8.35   1.28   1.03     17    8.8    145   2797      0
//! ```
//!
//! Left out: leveled runs inside a tile (more writing for stacks that filters keep cheap), and choosing small merges by
//! the sizes in each tile (chance brings neighbours out of step, and one wide merge becomes one for each of them).

mod dead;
mod small;
mod split;
mod stack;
mod survey;
mod tile;
mod young;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub(crate) use split::{choose_split, wants_split};

use std::ops::Range;

use survey::Survey;

/// The store as the picker sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// In key order.
    pub tiles: Vec<TilePicture>,
    /// What [`SlicePicture::run`] points into.
    pub runs: Vec<RunPicture>,
    /// Areas of running merges; no plan touches one.
    pub jobs: Vec<Area>,
}

/// A tile's stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct TilePicture {
    /// Newest first; their intervals descend and never overlap.
    pub slices: Vec<SlicePicture>,
    /// Bytes that range tombstones hide from everybody: a rebase frees them.
    pub hidden: u64,
}

/// A run as one tile sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlicePicture {
    /// Index into [`Picture::runs`].
    pub run: usize,
    /// The oldest seal it covers.
    pub first: u64,
    /// The newest seal it covers.
    pub last: u64,
    /// Bytes inside this tile.
    pub bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
    /// Every entry is expired and none is a tombstone: it may go unread when nothing older overlaps.
    pub expired: bool,
    /// Its source is not complete yet: jobs that read it come last.
    pub absent: bool,
}

/// A file. What no slice reaches of it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunPicture {
    /// Bytes of all its entries, counted like those of its slices: were indexes and filters among them, a small file would
    /// seem dead however often it is rewritten.
    pub bytes: u64,
}

/// A stretch of neighbouring tiles and an interval of seals, both ends included.
///
/// Its inputs in a tile are the slices that lie inside the interval. A tile without inputs takes no part, whatever else it
/// holds; in a tile with inputs no slice lies partly inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub tiles: Range<usize>,
    pub first: u64,
    pub last: u64,
}

/// What a merge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Small slices of many tiles become one file.
    Wide,
    /// Young slices of one tile become a file of its own.
    Young,
    /// A tile's slices become its new oldest one.
    Rebase,
    /// A file is mostly dead: what lives of it moves.
    Dead,
    /// Small neighbouring tiles become one.
    Join,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// One run replaces the inputs of the area; `join_tiles` also makes its tiles one.
    Merge { area: Area, why: Why, join_tiles: bool },
    /// The inputs of the area leave the version unread.
    Drop { area: Area },
}

/// Knobs of the picker; see [`PickerTuning::derived`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PickerTuning {
    /// Young slices of a similar size that are merged together.
    pub fan_in: usize,
    /// Young bytes of a tile, as a share of its oldest slice, that lead to a rebase.
    pub rebase_ratio: f64,
    /// Slices of a tile that lead to a merge even of dissimilar sizes.
    pub stack_max: usize,
    /// From here on what a tile gives to a merge is worth a file of its own.
    pub tile_file_bytes: u64,
    /// Neighbouring tiles below this are joined.
    pub tile_bytes_min: u64,
    /// A tile above this is split.
    pub tile_bytes_max: u64,
    /// A wide merge takes no further tile when it has read this much.
    pub wide_job_bytes_max: u64,
    /// Dead bytes, as a share of all reached ones, below which mostly dead files are left alone.
    pub dead_slack: f64,
    /// Dead bytes of all files, as a share of all reached ones, above which less dead files are rewritten as well.
    pub dead_bytes_max: f64,
}

impl PickerTuning {
    /// The tuning that follows from the four knobs a user has.
    pub fn derived(fan_in: usize, rebase_ratio: f64, stack_max: usize, tile_bytes_max: u64) -> PickerTuning {
        assert!(fan_in >= 2 && stack_max >= 2 && rebase_ratio > 0.0, "checked where tuning comes in");
        PickerTuning {
            fan_in,
            rebase_ratio,
            stack_max,
            tile_file_bytes: (tile_bytes_max / 32).clamp(1, 4 << 20),
            tile_bytes_min: tile_bytes_max / 8,
            tile_bytes_max,
            wide_job_bytes_max: tile_bytes_max.saturating_mul(8),
            dead_slack: 0.05,
            dead_bytes_max: 0.15,
        }
    }
}

impl Default for PickerTuning {
    fn default() -> PickerTuning {
        PickerTuning::derived(4, 0.4, 16, 128 << 20)
    }
}

/// Decides what to merge next; `None` when there is nothing worth it.
///
/// Linear in the number of slices; a few passes over them.
pub(crate) fn pick(picture: &Picture, tuning: &PickerTuning) -> Option<Plan> {
    let survey = Survey::of(picture, tuning);
    let picker = Picker { picture, tuning, survey: &survey, skip_absent: survey.absent };
    let plan = picker.drop_expired().or_else(|| picker.next_merge());
    if plan.is_none() && survey.absent {
        return Picker { skip_absent: false, ..picker }.next_merge();
    }
    plan
}

/// How far behind merging is: 0 when it keeps up, 1 when the writer should wait for it.
pub(crate) fn pressure(picture: &Picture, tuning: &PickerTuning) -> f64 {
    let mut worst = 0.0f64;
    for tile in &picture.tiles {
        let Some((oldest, young)) = tile.slices.split_last() else { continue };
        let young_bytes: u64 = young.iter().map(|slice| slice.bytes).sum();
        // A small oldest slice is quickly rebased, however much lies above it.
        let oldest_bytes = oldest.bytes.max(tuning.tile_bytes_max / 2).max(1);
        let ratio = young_bytes as f64 / oldest_bytes as f64 / tuning.rebase_ratio;
        let stack = tile.slices.len() as f64 / tuning.stack_max as f64;
        worst = worst.max(stack - 1.0).max((ratio - 1.0) / 2.0);
    }
    worst.clamp(0.0, 1.0)
}

/// One decision in the making.
#[derive(Clone, Copy)]
struct Picker<'a> {
    picture: &'a Picture,
    tuning: &'a PickerTuning,
    survey: &'a Survey,
    /// Whether jobs that would read an absent slice are out of the question.
    skip_absent: bool,
}

impl Picker<'_> {
    fn next_merge(&self) -> Option<Plan> {
        self.young()
            .or_else(|| self.rebase())
            .or_else(|| self.relieve_stack())
            .or_else(|| self.revive())
            .or_else(|| self.join_small())
    }

    /// The inputs of an interval in a tile; `None` when the tile must not be part of such a job: a slice lies partly inside,
    /// a running job is in the way, or an input is absent.
    fn inputs(&self, tile: usize, first: u64, last: u64) -> Option<Range<usize>> {
        let slices = &self.picture.tiles[tile].slices;
        let inputs = stack::inputs(slices, first, last)?;
        let blocked = self.running(tile, first, last)
            || self.skip_absent && slices[inputs.clone()].iter().any(|slice| slice.absent);
        (!blocked).then_some(inputs)
    }

    fn running(&self, tile: usize, first: u64, last: u64) -> bool {
        self.picture.jobs.iter().any(|job| job.tiles.contains(&tile) && job.first <= last && first <= job.last)
    }

    /// A job for the slices `inputs` of one tile, if nothing is in its way.
    fn tile_area(&self, tile: usize, inputs: Range<usize>) -> Option<Area> {
        let slices = &self.picture.tiles[tile].slices[inputs.clone()];
        let (first, last) = (slices.last()?.first, slices.first()?.last);
        self.inputs(tile, first, last)?;
        Some(Area { tiles: tile..tile + 1, first, last })
    }
}
