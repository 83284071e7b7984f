//! The decoders of hostile bytes, for fuzz targets: each gives an error with a place or what the bytes say.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::BlockCache;
use crate::codec::{RunId, hash32};
use crate::entry::{ClockId, Clocks, Entry, Expiry};
use crate::error::{Error, Result};
use crate::fs::{Appender, Source};
use crate::iter::Cursor;
use crate::key::{KeyRange, PointKeys};
use crate::run::{Run, RunSettings, RunWriter, walk_block};
use crate::version::decode_version;

/// The name of the run that [`sample_run`] makes and [`read_run`] expects.
const ID: RunId = RunId { opening: 1, sequence: 1 };

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
    let source = Arc::new(Bytes { bytes, mapped, path: PathBuf::from("sample.run") });
    let run = Run::open(source, ID, Arc::new(BlockCache::new(1 << 20)), Arc::new(PointKeys))?;
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
    run.stats_in(&KeyRange::all());
    run.all_expired(&KeyRange::all(), &Clocks::default());
    run.boundaries(&KeyRange::all());
    run.verify()?;
    Ok(count)
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
pub fn sample_run() -> Result<Vec<u8>> {
    let sink = Sink::default();
    let settings = RunSettings { block_bytes: 512, section_bytes: 1024, ..RunSettings::default() };
    let path = PathBuf::from("sample.run");
    let mut writer = RunWriter::new(Box::new(sink.clone()), path, ID, Arc::new(PointKeys), settings);
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
    Ok(sink.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
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
        let bytes = sample_run().unwrap();
        assert_eq!(read_run(bytes.clone(), true).unwrap(), 61);
        assert_eq!(read_run(bytes, false).unwrap(), 61);
    }
}
