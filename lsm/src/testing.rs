//! The decoders of hostile bytes, for fuzz targets: each gives an error with a place or what the bytes say. And parts of the
//! store on their own, for benchmarks.

mod parts;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::BlockCache;
use crate::codec::{RunId, hash32};
use crate::entry::{ClockId, Clocks, Entry, Expiry};
use crate::error::{Error, Result};
use crate::fold::{Fold, Rule, Rules};
use crate::fs::{Appender, Source};
use crate::iter::{self, Cursor, Merge};
use crate::key::{KeyRange, PointKeys};
use crate::options::Codec;
use crate::run::{Run, RunCursor, RunSettings, RunWriter, Seals, walk_block};
use crate::version::decode_version;

pub use parts::{BareMemtable, BareRun};

/// The name of the run that [`sample_run`] makes and [`read_run`] expects.
const ID: RunId = RunId { opening: 1, sequence: 1 };
/// The name of what [`merge_run`] writes.
const MERGED: RunId = RunId { opening: 1, sequence: 2 };

/// Decodes a version.
///
/// # Errors
/// `Damaged` or `Fix`, as an open does.
pub fn check_version(bytes: &[u8]) -> Result<()> {
    decode_version(bytes, Path::new("VERSION")).map(drop)
}

/// A version with this body, its checksum right.
pub fn seal_version(body: &[u8]) -> Vec<u8> {
    crate::version::seal_version(body)
}

/// Decodes bytes as the image of a block, in every way.
pub fn check_block(image: &[u8]) {
    walk_block(image);
}

/// Opens bytes as a run and reads all of it in every way; returns how many entries it has.
///
/// # Errors
/// `Damaged` or `Fix` with the place.
pub fn read_run(bytes: Vec<u8>, mapped: bool) -> Result<usize> {
    let run = open_run(bytes, mapped, ID)?;
    let mut cursor = run.cursor();
    let mut count = 0;
    cursor.seek(&[])?;
    while let Some(key) = cursor.key() {
        let key = key.to_vec();
        cursor.entry()?;
        run.get(hash32(&key), &key)?;
        count += 1;
        cursor.next()?;
    }
    cursor.seek_before(None)?;
    while cursor.key().is_some() {
        cursor.prev()?;
    }
    run.stats_in(&Cow::Owned(KeyRange::all()));
    run.all_expired(&KeyRange::all(), &Clocks::default());
    run.boundaries(&Cow::Owned(KeyRange::all()));
    run.verify()?;
    Ok(count)
}

/// Sets the checksums of `changed`, a sample with other bytes in it, right: what is wrong is found behind them, or not.
///
/// # Panics
/// When `sample` is no whole run, or `changed` of another length.
pub fn reseal_run(sample: &[u8], changed: &mut [u8]) {
    assert_eq!(sample.len(), changed.len(), "checksums stand where the sample has them");
    Seals::of(sample, ID).seal(changed);
}

/// How [`merge_run`] goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Merging {
    /// Reads from a map.
    pub mapped: bool,
    /// Copies whole blocks where that is possible.
    pub copies: bool,
    /// Codec of the output.
    pub codec: Codec,
}

/// Opens bytes as a run and merges it as a compaction does, alone or over the run `older`; returns how many entries came
/// out.
///
/// # Errors
/// `Damaged` or `Fix` with the place.
///
/// # Panics
/// When what came out is not whole: something wrong went on under new checksums.
pub fn merge_run(bytes: Vec<u8>, older: Option<Vec<u8>>, how: Merging) -> Result<usize> {
    let Merging { mapped, copies, codec } = how;
    let run = open_run(bytes, mapped, ID)?;
    let older = older.map(|bytes| open_run(bytes, mapped, ID)).transpose()?;
    let runs = [Some(&run), older.as_ref()];
    let sources = runs.iter().flatten().map(|run| iter::Source { cursor: run.sweep(), ranges: run.ranges() });
    let sink = Sink::default();
    let mut writer = sample_writer(&sink, codec, MERGED);
    let mut merge = Merge::new(sources.collect(), &Appending, Cow::Owned(KeyRange::all()));
    merge.seek_first()?;
    while let Some(key) = merge.key() {
        let lone = merge.lone_source().filter(|_| copies);
        let block = match lone {
            Some((source, _)) => merge.cursor(source).block_ahead()?,
            None => None,
        };
        let next = lone.and_then(|(_, next)| next);
        if let Some(block) = block.filter(|block| next.is_none_or(|next| block.last_key() < next)) {
            writer.add_block(&block)?;
            merge.skip_lone(RunCursor::skip_block)?;
        } else {
            writer.add(key, hash32(key), merge.entry()?)?;
            merge.step()?;
        }
    }
    let entries = writer.entries() as usize;
    writer.finish(&Clocks::default(), false)?;
    let merged = open_run(sink.take(), mapped, MERGED);
    merged.and_then(|merged| merged.verify()).expect("what a merge wrote is whole");
    Ok(entries)
}

/// Lists, under every key.
struct Appending;

impl Rules for Appending {
    fn rule(&self, _key: &[u8]) -> Option<Rule> {
        Some(Rule { fold: Fold::Append, clock: Some(ClockId(1)) })
    }
}

fn open_run(bytes: Vec<u8>, mapped: bool, id: RunId) -> Result<Run> {
    let source = Arc::new(Bytes { bytes, mapped, path: PathBuf::from("sample.run") });
    Run::open(source, id, Arc::new(BlockCache::new(1 << 20)), Arc::new(PointKeys))
}

/// Switches the bug on that the search through schedules must find: files are deleted under one holder.
#[cfg(shuttle)]
pub fn seed_bug(on: bool) {
    crate::sync::seed_bug(on);
}

/// The bytes of a small run with entries of every kind.
///
/// # Errors
/// None: it is written to memory.
pub fn sample_run(codec: Codec) -> Result<Vec<u8>> {
    let sink = Sink::default();
    let mut writer = sample_writer(&sink, codec, ID);
    writer.add_range(KeyRange::from("x".."y"));
    for number in 0u32..60 {
        let key = format!("key-{number:04}");
        let value = vec![number as u8; number as usize % 40];
        let expiry = (number % 5 == 0).then_some(Expiry { clock: ClockId(1), at: u64::from(number) });
        let entry = match number % 7 {
            0 => Entry::TOMBSTONE,
            1 => Entry::operand(&value, expiry, 3),
            _ => Entry::value(&value, expiry),
        };
        writer.add(key.as_bytes(), hash32(key.as_bytes()), entry)?;
    }
    writer.add(b"long", hash32(b"long"), Entry::value(&[7; 9000], None))?;
    writer.finish(&Clocks::default(), false)?;
    Ok(sink.take())
}

fn sample_writer(sink: &Sink, codec: Codec, id: RunId) -> RunWriter {
    let settings = RunSettings { block_bytes: 512, section_bytes: 1024, codec, ..RunSettings::default() };
    RunWriter::new(Box::new(sink.clone()), PathBuf::from("sample.run"), id, Arc::new(PointKeys), settings)
}

/// A file in memory.
#[derive(Debug)]
struct Bytes {
    bytes: Vec<u8>,
    mapped: bool,
    path: PathBuf,
}

impl Source for Bytes {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(start..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(bytes.ok_or_else(|| Error::damaged(&self.path, offset, "the file ends here"))?);
        Ok(())
    }

    fn mapped(&self) -> Option<&[u8]> {
        self.mapped.then_some(&self.bytes[..])
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A file in memory while it is written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Appender for Sink {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_whole() {
        for number in 0..8 {
            let codec = if number & 1 == 0 { Codec::None } else { packed() };
            let how = Merging { mapped: number & 2 == 0, copies: number & 4 == 0, codec };
            let bytes = sample_run(codec).unwrap();
            assert_eq!(read_run(bytes.clone(), how.mapped).unwrap(), 61);
            assert_eq!(merge_run(bytes.clone(), None, how).unwrap(), 61);
            assert_eq!(merge_run(bytes.clone(), Some(bytes), how).unwrap(), 61);
        }
    }

    fn packed() -> Codec {
        #[cfg(feature = "lz4")]
        return Codec::Lz4;
        #[cfg(not(feature = "lz4"))]
        Codec::None
    }
}
