//! A version as the picker sees it, and a plan of the picker as an area of the version.

use std::sync::Arc;

use super::Stage;
use super::picker::{self, PickerTuning, Picture, Plan, RunPicture, SlicePicture, TilePicture, Why};
use crate::codec::RunId;
use crate::key::KeyRange;
use crate::options::Tuning;
use crate::version::{Area, Seals, Slice, Tile, Version};

/// What to do next.
pub(super) struct Job {
    pub area: Area,
    pub stage: Stage,
    /// The slices leave the version unread: all in them has expired.
    pub unread: bool,
    /// The tiles of the area become one.
    pub join: bool,
}

impl Job {
    /// What no other merge may touch meanwhile. Where tiles become one nothing newer may be merged either: it would end at
    /// edges that are gone.
    pub fn reserved(&self) -> Area {
        let seals = if self.join { Seals { first: 0, last: u64::MAX } } else { self.area.seals };
        Area { range: self.area.range.clone(), seals }
    }
}

/// The next merge, beside those that run.
pub(super) fn next_job(version: &Version, merging: &[Area], tuning: &Tuning) -> Option<Job> {
    let plan = picker::pick(&picture_of(version, merging), &picker_tuning(tuning))?;
    let (area, stage, unread, join) = match plan {
        Plan::Drop { area } => (area, Stage::Young, true, false),
        Plan::Merge { area, why: Why::Wide | Why::Young, join_tiles } => (area, Stage::Young, false, join_tiles),
        Plan::Merge { area, join_tiles, .. } => (area, Stage::Rebase, false, join_tiles),
    };
    let range = KeyRange {
        start: version.range_of(area.tiles.start).start,
        end: version.end_of(area.tiles.end - 1).map(<[u8]>::to_vec),
    };
    let seals = Seals { first: area.first, last: area.last };
    Some(Job { area: Area { range, seals }, stage, unread, join })
}

/// Whether `area` still starts and ends where tiles do and cuts through no slice.
pub(super) fn fits(version: &Version, area: &Area) -> bool {
    let tiles = version.tiles_in(&area.range);
    let at_edges = *version.tiles()[tiles.start].start == *area.range.start
        && version.end_of(tiles.end - 1) == area.range.end.as_deref();
    let whole = |slice: &Slice| area.seals.cover(slice.seals) || !area.seals.overlap(slice.seals);
    // A tile without inputs takes no part, even if one of its slices covers the whole interval.
    let fits = |tile: &Arc<Tile>| tile.slices_in(area.seals).is_empty() || tile.slices.iter().all(whole);
    at_edges && version.tiles()[tiles].iter().all(fits)
}

/// How far merges are behind, 0 to 1.
pub(crate) fn pressure(version: &Version, tuning: &Tuning) -> f64 {
    picker::pressure(&picture_of(version, &[]), &picker_tuning(tuning))
}

/// Where to split the first tile that has outgrown its size.
pub(super) fn split_of(version: &Version, tuning: &Tuning) -> Option<Vec<u8>> {
    let picker_tuning = picker_tuning(tuning);
    version.tiles().iter().enumerate().find_map(|(index, tile)| {
        if !picker::wants_split(tile.bytes(), &picker_tuning) {
            return None;
        }
        let range = version.range_of(index);
        let oldest = tile.slices.last()?;
        let boundaries = oldest.run.boundaries(&range);
        let at = picker::choose_split(&boundaries)?;
        let (key, _) = &boundaries[at];
        (*key > range.start && range.contains(key)).then(|| key.clone())
    })
}

fn picker_tuning(tuning: &Tuning) -> PickerTuning {
    PickerTuning::derived(tuning.fan_in, tuning.rebase_ratio, tuning.stack_max, tuning.tile_bytes_max)
}

fn picture_of(version: &Version, merging: &[Area]) -> Picture {
    let runs = version.runs();
    let ordinal = |id: RunId| runs.binary_search_by_key(&id, |run| run.id()).expect("runs() lists every run");
    let tiles = version.tiles().iter().enumerate().map(|(index, tile)| {
        let range = version.range_of(index);
        let slices = tile.slices.iter().enumerate().map(|(age, slice)| SlicePicture {
            run: ordinal(slice.run.id()),
            first: slice.seals.first,
            last: slice.seals.last,
            bytes: slice.bytes,
            entries: slice.entries,
            tombstones: slice.tombstones,
            expired: may_go_unread(version, &range, &tile.slices, age),
            absent: !slice.run.is_complete(),
        });
        TilePicture { slices: slices.collect(), hidden: tile.hidden_bytes(&range) }
    });
    let jobs = merging.iter().map(|area| picker::Area {
        tiles: version.tiles_in(&area.range),
        first: area.seals.first,
        last: area.seals.last,
    });
    Picture {
        tiles: tiles.collect(),
        runs: runs.iter().map(|run| RunPicture { bytes: run.stats().bytes }).collect(),
        jobs: jobs.collect(),
    }
}

/// Whether all a slice shows has expired, and it hides nothing, and no operand above it could still want it.
fn may_go_unread(version: &Version, range: &KeyRange, stack: &[Slice], age: usize) -> bool {
    let run = &stack[age].run;
    run.ranges().is_empty()
        && run.all_expired(range, &version.clocks)
        && stack[..age].iter().all(|newer| newer.run.properties().operands == 0)
        && {
            let first = run.first_key().map_or(&[][..], |key| key.max(&range.start));
            let shown = KeyRange { start: first.to_vec(), end: range.end.clone() };
            stack[age + 1..].iter().all(|older| !older.run.overlaps(&shown))
        }
}
