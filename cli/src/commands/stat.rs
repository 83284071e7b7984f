//! `bedload stat`: what lies in a working directory, also while a process works there.

use std::path::PathBuf;

use bedload::Result;
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::disk::{CopySeen, Directory, Kind, Layer, LocalSeen, Lock, LockState, StoreSeen, absolute, now_ms};
use crate::exit;
use crate::text::{moment, number, size, table};

/// Shows what lies in a working directory, also while a process works there.
///
/// Tells who holds its lock, how many runs and bytes the store has and how they are stacked, which checkpoints have a copy on this machine, and
/// how full the disk is. Nothing is written there and no lock is taken, so that the process that works there notices nothing.
///
/// What is in memory only (memtables) is not counted: it comes to the disk with the next flush.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload stat /var/state/op-3\n  bedload stat /var/state/op-3 --json | jq .store.run_bytes\n\n\
                        Exit code 10 when the directory is not there, or holds neither an engine nor a store."
)]
pub struct StatArguments {
    /// The directory that an engine or a store was opened with.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Serialize)]
struct Stat {
    now_ms: u64,
    #[serde(flatten)]
    seen: Directory,
}

impl Answer for Stat {
    fn text(&self) -> String {
        let seen = &self.seen;
        let whose = match seen.kind {
            Kind::Engine => "an engine",
            Kind::Store => "a store",
        };
        let mut text = format!("{}: the working directory of {whose}\n", seen.directory);
        let mut line = |name: &str, what: String| text.push_str(&format!("  {name:<10}  {what}\n"));
        for (index, told) in lock_lines(&seen.lock, self.now_ms).into_iter().enumerate() {
            line(if index == 0 { "lock" } else { "" }, told);
        }
        let disk = &seen.disk;
        let share = disk.free_bytes as f64 / disk.total_bytes.max(1) as f64 * 100.0;
        let kind = match disk.kind.as_str() {
            "local" => "a local disk".to_owned(),
            other => format!("{other}, which is slower or smaller than it looks"),
        };
        let (free, total) = (size(disk.free_bytes), size(disk.total_bytes));
        line("disk", format!("{kind}: {free} of {total} free ({share:.0} %)"));
        match &seen.store {
            Some(store) => store_lines(store, &mut line),
            None if seen.lock.state == LockState::Held => {
                line("store", "none: an engine is being opened here, and began with removing it".to_owned());
            }
            None => line(
                "store",
                "none yet: an engine that starts here makes it, from the copies below if they suit".to_owned(),
            ),
        }
        if let Some(local) = &seen.local {
            local_lines(local, &mut line);
        }
        if let Some(store) = &seen.store {
            text.push_str(&layer_table(&store.layers));
        }
        if let Some(local) = &seen.local {
            text.push_str(&copy_table(&local.copies));
        }
        text
    }
}

fn lock_lines(lock: &Lock, now_ms: u64) -> Vec<String> {
    let taken = lock.taken_at_ms.map_or_else(String::new, |at| format!(" {}", moment(at, now_ms)));
    let owner = lock.owner.as_ref().map(|owner| format!("opened last by {owner}"));
    let first = match (lock.state, lock.process) {
        (LockState::Held, Some(process)) => format!("held by process {process} since{taken}"),
        (LockState::Held, None) => format!("held since{taken}"),
        (LockState::Free, _) => "free: nobody works here".to_owned(),
        (LockState::Unknown, _) => {
            "unknown: no process that can be seen from here holds it; one may elsewhere".to_owned()
        }
    };
    let last_taken = if lock.state == LockState::Held { String::new() } else { taken };
    [Some(first), owner.map(|owner| format!("{owner}{last_taken}"))].into_iter().flatten().collect()
}

fn store_lines(store: &StoreSeen, line: &mut impl FnMut(&str, String)) {
    let ending = if store.is_closed { "closed in order" } else { "open, or left by a process that died" };
    line("store", format!("{ending}; version {}, seal {}", number(store.version), number(store.seal)));
    line("runs", format!("{}, {}", number(store.runs), size(store.run_bytes)));
    if store.foreign_runs > 0 {
        let bytes = size(store.foreign_bytes);
        line("", format!("of these {}, {bytes}: fetched from the repo as they are read", number(store.foreign_runs)));
    }
    for name in &store.missing_runs {
        line("", format!("{name} is missing: deleted, or in another directory of this store"));
    }
    if store.other_runs > 0 {
        let (count, bytes) = (number(store.other_runs), size(store.other_bytes));
        line(
            "beside",
            format!("{count} more, {bytes}: being written, kept for a checkpoint or a view, or left behind"),
        );
    }
    let (slices, tiles) = (counted(store.slices, "slice"), counted(store.tiles, "tile"));
    line("stacks", format!("{slices} in {tiles}, at most {} in one", number(store.slices_of_a_tile_max)));
    let (entries, tombstones) = (number(store.entries), number(store.tombstones));
    line("entries", format!("{entries} of {}, {tombstones} of them tombstones", size(store.reached_bytes)));
}

fn local_lines(local: &LocalSeen, line: &mut impl FnMut(&str, String)) {
    let (copies, runs, bytes) = (local.copies.len() as u64, counted(local.runs, "run"), size(local.run_bytes));
    let copies = if copies == 1 { "1 copy of a checkpoint".to_owned() } else { format!("{} copies", number(copies)) };
    line("local", format!("{copies}; {runs}, {bytes}"));
    if local.arriving_runs > 0 {
        let (here, all) = (size(local.arrived_bytes), size(local.arriving_bytes));
        line("", format!("{} on the way: {here} of {all} are here", counted(local.arriving_runs, "more run")));
    }
    if local.unfinished > 0 {
        line("", format!("{} being written", counted(local.unfinished, "file")));
    }
    for name in &local.damaged_copies {
        line("", format!("{name} cannot be read; a restore fetches from the repo instead"));
    }
}

fn layer_table(layers: &[Layer]) -> String {
    if layers.is_empty() {
        return String::new();
    }
    let mut rows = vec![["slices by age", "slices", "bytes", "entries", "tombstones"].map(str::to_owned).to_vec()];
    for (height, layer) in layers.iter().enumerate() {
        let name = match height {
            0 => "oldest of each tile".to_owned(),
            _ => format!("{} above", number(height as u64)),
        };
        let slices = match layer.unknown_slices {
            0 => number(layer.slices),
            unknown => format!("{} ({} not here)", number(layer.slices), number(unknown)),
        };
        rows.push(vec![name, slices, size(layer.bytes), number(layer.entries), number(layer.tombstones)]);
    }
    format!("\n{}", table(&rows))
}

fn copy_table(copies: &[CopySeen]) -> String {
    if copies.is_empty() {
        return String::new();
    }
    let mut rows = vec![["copies here", "key groups", "runs", "bytes", "state"].map(str::to_owned).to_vec()];
    for copy in copies {
        let state = match (copy.missing_runs, copy.is_of_this_start) {
            (0, true) => "whole".to_owned(),
            (0, false) => "from before a restart: verified before use".to_owned(),
            (missing, _) => format!("{} missing", counted(missing, "run")),
        };
        let name = format!("{}@{}", copy.job, copy.checkpoint);
        rows.push(vec![name, copy.key_groups.clone(), number(copy.runs), size(copy.bytes), state]);
    }
    format!("\n{}", table(&rows))
}

/// So many of something: `1 run`, `2 runs`.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", number(count), if count == 1 { "" } else { "s" })
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// `Missing` when there is nothing of the kind; those of the disk.
pub fn run(arguments: &StatArguments, context: &Context) -> Result<u8> {
    let seen = Directory::look(&absolute(&arguments.directory))?;
    context.print(&Stat { now_ms: now_ms(), seen })?;
    Ok(exit::DONE)
}
