//! Writes sealed memtables as one run and installs it.
//!
//! Memtables that are flushed together are merged on the way: of each key only what remains is written. Sorting happens here,
//! on a worker. A flush that fails leaves its memtables in memory, removes its file, and is tried again.

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec::hash32;
use crate::error::Result;
use crate::fold::Rules;
use crate::iter::{Merge, Source};
use crate::key::KeyRange;
use crate::options::Time;
use crate::run::RunWriter;
use crate::version::{Edit, RunFile, RunFiles, Seals};
use crate::view::{Board, SealedTable};

/// Flushes the oldest sealed memtables, at most `bytes_max` together (but one); false when there is nothing to do.
///
/// # Errors
/// Those of the disk; the board knows them as well.
pub(crate) fn flush(
    board: &Board,
    files: &RunFiles,
    rules: &dyn Rules,
    time: &dyn Time,
    bytes_max: usize,
) -> Result<bool> {
    let Some(tables) = board.begin_flush(bytes_max) else { return Ok(false) };
    let _span = tracing::debug_span!("flush", memtables = tables.len()).entered();
    let start = time.now();
    let mut bytes = 0;
    let result = write_run(board, files, rules, &tables).and_then(|run| {
        bytes = run.as_ref().map_or(0, |run| run.bytes());
        let newest = tables.last().expect("a flush has a memtable");
        let seals = Seals { first: tables[0].seal, last: newest.seal };
        board.install(&*files.fs, &Edit::Flush { run, seals, clocks: newest.clocks })
    });
    match result {
        Ok(()) => {
            let took = time.now().saturating_sub(start);
            board.metrics.flush_time.record(took);
            tracing::debug!(bytes, flush_us = took.as_micros() as u64, "flushed");
            Ok(true)
        }
        Err(error) => {
            tracing::warn!(%error, "a flush failed and is tried again; its memtables stay in memory");
            board.flush_failed(error.clone());
            // The run it may have written is named by nobody.
            board.collect(&*files.fs);
            Err(error)
        }
    }
}

fn write_run(
    board: &Board,
    files: &RunFiles,
    rules: &dyn Rules,
    tables: &[Arc<SealedTable>],
) -> Result<Option<Arc<RunFile>>> {
    if tables.iter().all(|table| table.table.is_empty()) {
        return Ok(None);
    }
    let mut new = files.create()?;
    write_tables(new.writer(), tables, rules)?;
    let newest = tables.last().expect("a flush has a memtable");
    let run = new.finish(&newest.clocks, &board.pins)?;
    board.metrics.flush_bytes.add(run.bytes());
    Ok(Some(run))
}

fn write_tables(writer: &mut RunWriter, tables: &[Arc<SealedTable>], rules: &dyn Rules) -> Result<()> {
    for table in tables {
        for range in table.table.ranges().iter() {
            writer.add_range(range);
        }
    }
    if let [table] = tables {
        for (key, hash, entry) in table.table.iter() {
            writer.add(key, hash, entry)?;
        }
        return Ok(());
    }
    let mut merge = Merge::new(tables.iter().rev().map(sealed_source).collect(), rules, Cow::Owned(KeyRange::all()));
    merge.seek_first()?;
    while let Some(key) = merge.key() {
        writer.add(key, hash32(key), merge.entry()?)?;
        merge.step()?;
    }
    Ok(())
}

fn sealed_source(table: &Arc<SealedTable>) -> Source<'_, crate::memtable::SealedCursor<'_>> {
    Source { cursor: table.table.cursor(false), ranges: table.table.ranges() }
}
