//! Merges slices: decides what next (`picker`, pure) and does it.
//!
//! A merge reads the slices of its area tile by tile, in key order, and writes one run. What cannot matter any more stays
//! behind: hidden entries, tombstones that hide nothing older, what has expired. Blocks that no other slice touches are
//! copied without decoding them.
//!
//! *When is a value expired here?* Under a key without a merge rule: by the clocks of the newest flush. Under a key with
//! one, a newer operand may exist that was written while the value still lived; so the clocks at the seal of the merge's
//! newest input decide, which every newer operand's reading has reached.
//!
//! Any worker may call [`Compaction::work`]; areas keep concurrent merges apart.

mod merge;
mod picker;
mod picture;

use crate::error::Result;
use crate::fold::Rules;
use crate::options::{Time, Tuning};
use crate::version::{Area, Edit, RunFiles, Version};
use crate::view::Board;

pub(crate) use picture::pressure;

/// What merging needs of the store.
pub(crate) struct Compaction<'a> {
    pub board: &'a Board,
    pub files: &'a RunFiles,
    pub rules: &'a dyn Rules,
    pub tuning: &'a Tuning,
    pub time: &'a dyn Time,
    /// Called between blocks with the bytes written since the last call: rests, flushes what waits; false to give up.
    pub between: &'a dyn Fn(u64) -> bool,
}

/// What a merge is for; young merges go before rebases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Splits, drops and merges of young slices: cheap, and what keeps stacks short.
    Young,
    /// Merges that rewrite a tile's oldest slice.
    Rebase,
}

impl Compaction<'_> {
    /// Does one piece of work of this stage; false when there is none.
    ///
    /// # Errors
    /// Those of the disk and of damaged runs; the version stays as it was.
    pub fn work(&self, stage: Stage) -> Result<bool> {
        let version = self.version();
        if stage == Stage::Young
            && let Some(at) = picture::split_of(&version, self.tuning)
        {
            self.board.install(&*self.files.fs, &Edit::Split { at })?;
            return Ok(true);
        }
        let Some(job) = picture::next_job(&version, &self.board.busy_areas(), self.tuning) else { return Ok(false) };
        if job.stage != stage {
            return Ok(false);
        }
        let Some(reservation) = self.board.begin_merge(&job.reserved()) else { return Ok(false) };
        let result = self.run(&job);
        drop(reservation);
        if let Err(error) = &result {
            tracing::warn!(%error, "a merge failed and is tried again later");
            self.board.merge_failed(&job.area, error.clone());
            // What it had written is named by nobody.
            self.board.collect(&*self.files.fs);
        }
        result.map(|()| true)
    }

    fn version(&self) -> std::sync::Arc<Version> {
        std::sync::Arc::clone(&self.board.snapshot().0.version)
    }

    fn run(&self, job: &picture::Job) -> Result<()> {
        // Read again behind the reservation: from here on nobody else replaces slices of the area.
        let version = self.version();
        if !picture::fits(&version, &job.area) {
            return Ok(());
        }
        let _span = tracing::debug_span!("merge", stage = ?job.stage, seals = ?job.area.seals).entered();
        let start = self.time.now();
        let metrics = &self.board.metrics;
        let run = if job.unread {
            metrics.dropped_slices.add(1);
            None
        } else {
            match merge::merge_area(self, &version, &job.area)? {
                merge::Merged::GivenUp => return Ok(()),
                merge::Merged::Run(run) => run,
            }
        };
        let bytes = run.as_ref().map_or(0, |run| run.bytes());
        metrics.merge_bytes.add(bytes);
        let edit = Edit::Merge { area: job.area.clone(), run, join: job.join };
        drop(version);
        self.board.install(&*self.files.fs, &edit)?;
        metrics.merges.add(1);
        let took = self.time.now().saturating_sub(start);
        metrics.merge_time.record(took);
        tracing::debug!(bytes, merge_us = took.as_micros() as u64, "merged");
        Ok(())
    }
}

/// The slices of an area in one tile.
fn inputs<'a>(
    version: &'a Version,
    tile: usize,
    area: &Area,
) -> (&'a [crate::version::Slice], &'a [crate::version::Slice]) {
    let slices = &version.tiles()[tile].slices;
    let within = slices_within(version, tile, area);
    (&slices[within.clone()], &slices[within.end..])
}

fn slices_within(version: &Version, tile: usize, area: &Area) -> std::ops::Range<usize> {
    version.tiles()[tile].slices_in(area.seals)
}
