//! What the tests of runs share: files in memory, and ways to write and read them.

mod behaviour;
mod copies;
mod damage;
mod hostile;
mod speed;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::writer::RunSummary;
use super::{Run, RunSettings, RunWriter};
use crate::cache::BlockCache;
use crate::codec::{RunId, hash32};
use crate::entry::{Clocks, Entry, Expiry, Kind};
use crate::error::{Error, Result};
use crate::fs::{Appender, Source};
use crate::iter::Cursor;
use crate::key::{KeyRange, KeyShape, PointKeys};
use crate::options::Codec;

const ID: RunId = RunId { opening: 0x7f3a_91c2_0b5d_4e18, sequence: 42 };

/// An entry that owns its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    kind: Kind,
    value: Vec<u8>,
    expiry: Option<Expiry>,
    written: u64,
}

impl Owned {
    fn value(value: &[u8]) -> Owned {
        Owned::of(Entry::value(value, None))
    }

    fn of(entry: Entry<'_>) -> Owned {
        Owned { kind: entry.kind, value: entry.value.to_vec(), expiry: entry.expiry, written: entry.written }
    }

    fn entry(&self) -> Entry<'_> {
        Entry { kind: self.kind, value: &self.value, expiry: self.expiry, written: self.written }
    }
}

type Model = BTreeMap<Vec<u8>, Owned>;

/// A file in memory, read as a map or by copying.
#[derive(Debug)]
struct Bytes {
    bytes: Vec<u8>,
    is_mapped: bool,
}

impl Source for Bytes {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let from = self.bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(from.ok_or_else(|| Error::damaged("test.run", offset, "file that ends"))?);
        Ok(())
    }

    fn mapped(&self) -> Option<&[u8]> {
        self.is_mapped.then_some(&self.bytes)
    }

    fn path(&self) -> &Path {
        Path::new("test.run")
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Appender for Sink {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// How a test writes its run.
#[derive(Clone)]
struct Plan {
    settings: RunSettings,
    shape: Arc<dyn KeyShape>,
    ranges: Vec<KeyRange>,
    clocks: Clocks,
}

impl Default for Plan {
    fn default() -> Plan {
        let (settings, ranges, clocks) = (RunSettings::default(), Vec::new(), Clocks::default());
        Plan { settings, shape: Arc::new(PointKeys), ranges, clocks }
    }
}

impl Plan {
    fn small(block_bytes: usize, section_bytes: usize, codec: Codec) -> Plan {
        let settings = RunSettings { block_bytes, section_bytes, codec, ..RunSettings::default() };
        Plan { settings, ..Plan::default() }
    }

    fn writer(&self, id: RunId) -> (RunWriter, Sink) {
        let sink = Sink::default();
        let (file, path) = (Box::new(sink.clone()), PathBuf::from("test.run"));
        (RunWriter::new(file, path, id, Arc::clone(&self.shape), self.settings.clone()), sink)
    }

    fn write(&self, model: &Model) -> (Vec<u8>, RunSummary) {
        let (mut writer, sink) = self.writer(ID);
        for (key, entry) in model {
            writer.add(key, hash32(key), entry.entry()).unwrap();
        }
        self.ranges.iter().for_each(|range| writer.add_range(range.clone()));
        let summary = writer.finish(&self.clocks, true).unwrap();
        (sink.take(), summary)
    }

    fn open(&self, bytes: &[u8], is_mapped: bool) -> Result<Run> {
        let source = Arc::new(Bytes { bytes: bytes.to_vec(), is_mapped });
        self.open_source(source, ID, Arc::new(BlockCache::new(1 << 20)))
    }

    fn open_source(&self, source: Arc<dyn Source>, id: RunId, cache: Arc<BlockCache>) -> Result<Run> {
        Run::open(source, id, cache, Arc::clone(&self.shape))
    }
}

fn get(run: &Run, key: &[u8]) -> Result<Option<Owned>> {
    Ok(run.get(hash32(key), key)?.map(|found| Owned::of(found.entry())))
}

/// All entries in order, read forwards.
fn forwards(run: &Run) -> Result<Vec<(Vec<u8>, Owned)>> {
    let mut cursor = run.cursor();
    let mut out = Vec::new();
    cursor.seek(&[])?;
    while let Some(key) = cursor.key() {
        out.push((key.to_vec(), Owned::of(cursor.entry()?)));
        cursor.next()?;
    }
    Ok(out)
}

/// All entries in order, read backwards.
fn backwards(run: &Run) -> Result<Vec<(Vec<u8>, Owned)>> {
    let mut cursor = run.sweep();
    let mut out = Vec::new();
    cursor.seek_before(None)?;
    while let Some(key) = cursor.key() {
        out.push((key.to_vec(), Owned::of(cursor.entry()?)));
        cursor.prev()?;
    }
    out.reverse();
    Ok(out)
}

fn codecs() -> Vec<Codec> {
    vec![
        Codec::None,
        #[cfg(feature = "lz4")]
        Codec::Lz4,
        #[cfg(feature = "zstd")]
        Codec::Zstd,
    ]
}

impl fmt::Debug for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(out)
    }
}
