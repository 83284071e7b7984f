//! Writes a run: entries in key order, or whole blocks of other runs.
//!
//! Blocks and extents go to the file as they come. Filters and indexes stay in memory until the end, about 12 bits an entry.
//!
//! Invariants: * an extent stands directly before the block that refers to it, in the order of the entries.
//!             * a section starts with the block of its first key; it ends between two partitions once it is large enough,
//!               or within one that is four times as large.
//!             * every distinct scan prefix of a section is in its filter, also from copied blocks.
//!             * a copied block is checked entry by entry; nothing that another file claims goes on unchecked.
//!             * memory stays near the size of one block, filters and indexes, however long values are.
//!
//! One thread. Dropping a writer abandons the file; its name is the caller's to remove.
//!
//! Measured as in `reader`, to a file that is thrown away: 125 ns an entry, of which the digest takes 33; 98 in copied
//! blocks, of which checking them takes 40. A file has 11.4 bytes an entry beside key and value.

use std::path::PathBuf;
use std::sync::Arc;

use super::block::{BLOCK_BYTES_MAX, EMPTY, Extent, HAS_EXTENTS, HAS_SCANNED, HEADER_BYTES, Header, INLINE_BYTES_MAX};
use super::builder::{BlockBuilder, ENTRIES_BYTES_MAX, tail_bytes};
use super::compress::{Codec, Packer, codec_byte};
use super::cursor::RunBlock;
use super::directory::{DIRECTORY_BYTES_MAX, Directory, Properties, place};
use super::filter;
use super::footer::{FORMAT_VERSION, Footer};
use super::section::{
    ClockSpans, Counts, INDEX_ENTRY_BYTES, IndexBuilder, PART_BYTES_MAX, Places, SECTION_BYTES_EXTRA, Section,
    pad_bytes,
};
use crate::codec::{RunId, checksum, prefix_hash32};
use crate::entry::{CLOCKS_MAX, Clocks, Entry, KEY_BYTES_MAX, Kind, VALUE_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Appender;
use crate::key::{KeyRange, KeyShape, RangeSet, shared_prefix};

/// What is hashed and appended at once: the digest is faster on pieces of some length, and calls are fewer.
const BUFFER_BYTES: usize = 128 << 10;
/// A block ends when the extents before it pass this.
const EXTENTS_BYTES_MAX: u64 = 1 << 20;
/// A partition that is this many times larger than a section is split.
const SPLIT_FACTOR: u64 = 4;
/// Offsets in a section have 32 bits, and its last block may have a long extent.
const SECTION_BYTES_MAX: u64 = 512 << 20;
/// Its index has a bound.
const SECTION_BLOCKS_MAX: usize = PART_BYTES_MAX / INDEX_ENTRY_BYTES;
/// From here on sections grow with the directory, by half of what it has more.
const DIRECTORY_BYTES_USUAL: u64 = 16 << 20;

/// How runs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunSettings {
    /// Target of a block's image, in bytes; at most 60,000 are used.
    pub block_bytes: usize,
    /// Target of a section, in bytes.
    pub section_bytes: usize,
    /// Filter bits per key; 0 for none.
    pub filter_bits: usize,
    pub codec: Codec,
}

impl Default for RunSettings {
    fn default() -> RunSettings {
        RunSettings { block_bytes: 16 << 10, section_bytes: 1 << 20, filter_bits: 10, codec: Codec::None }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunSummary {
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
}

/// Writes one run.
pub(crate) struct RunWriter {
    file: Box<dyn Appender>,
    path: PathBuf,
    id: RunId,
    shape: Arc<dyn KeyShape>,
    settings: RunSettings,
    /// Bytes given to the file or the buffer.
    written: u64,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    packer: Packer,
    block: BlockBuilder,
    block_first: Vec<u8>,
    block_extents: u64,
    image: Vec<u8>,
    packed: Vec<u8>,
    last: Vec<u8>,
    section: SectionBuilder,
    sections: Vec<(Section, Vec<u8>)>,
    /// What the sections take in the directory, about.
    directory_bytes: u64,
    ranges: RangeSet,
    properties: Properties,
}

/// What is gathered for the section being written.
#[derive(Default)]
struct SectionBuilder {
    start: u64,
    first: Vec<u8>,
    index: IndexBuilder,
    hashes: Vec<u32>,
    counts: Counts,
    clocks: ClockSpans,
    scan_prefix: Option<Vec<u8>>,
}

impl RunWriter {
    /// Starts run `id` in a new, empty file.
    pub fn new(
        file: Box<dyn Appender>,
        path: PathBuf,
        id: RunId,
        shape: Arc<dyn KeyShape>,
        settings: RunSettings,
    ) -> RunWriter {
        let properties = Properties {
            shape_name: shape.name().into(),
            shape_version: shape.version(),
            codec: codec_byte(settings.codec),
            ..Properties::default()
        };
        assert!(properties.shape_name.len() <= 255, "the name of a key shape has at most 255 bytes");
        RunWriter {
            file,
            path,
            id,
            shape,
            packer: Packer::new(settings.codec),
            settings,
            written: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES + (BUFFER_BYTES >> 2)),
            hasher: blake3::Hasher::new(),
            block: BlockBuilder::default(),
            block_first: Vec::new(),
            block_extents: 0,
            image: Vec::new(),
            packed: Vec::new(),
            last: Vec::new(),
            section: SectionBuilder::default(),
            sections: Vec::new(),
            directory_bytes: 0,
            ranges: RangeSet::default(),
            properties,
        }
    }

    /// Adds an entry with a larger key than all before; `hash` is the key's [`crate::codec::hash32`].
    ///
    /// # Panics
    /// When the key is not larger, or key or value is longer than allowed.
    pub fn add(&mut self, key: &[u8], hash: u32, entry: Entry<'_>) -> Result<()> {
        assert!(self.entries() == 0 || *key > *self.last, "entries are added in the order of their keys");
        assert!(key.len() <= KEY_BYTES_MAX && entry.value.len() <= VALUE_BYTES_MAX, "key and value are within limits");
        assert!(
            entry.kind != Kind::Tombstone || entry.value.is_empty() && entry.expiry.is_none() && entry.written == 0
        );
        assert!(entry.expiry.is_none_or(|expiry| usize::from(expiry.clock.0) < CLOCKS_MAX), "there are 16 clocks");
        let is_extent = entry.value.len() > INLINE_BYTES_MAX;
        self.make_room(key, tail_bytes(&entry, is_extent))?;
        let extent = if is_extent { Some(self.write_extent(entry.value)?) } else { None };
        if self.block.is_empty() {
            self.block_first.clear();
            self.block_first.extend_from_slice(key);
        }
        let scanned = self.section.note_scan(&*self.shape, key);
        self.section.hashes.push(hash);
        self.block.push(key, hash, &entry, extent, scanned);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.properties.entries += 1;
        if self.block_extents >= EXTENTS_BYTES_MAX {
            self.end_block()?;
        }
        Ok(())
    }

    /// Adds a whole block of another run, which a sweep showed. It must not refer to extents.
    ///
    /// # Errors
    /// `Damaged`, naming the other run, when its entries are not what its header says; the file must be abandoned then.
    ///
    /// # Panics
    /// When its first key is not larger than all before.
    pub fn add_block(&mut self, copied: &RunBlock<'_>) -> Result<()> {
        assert!(
            self.entries() == 0 || *copied.first_key() > *self.last,
            "entries are added in the order of their keys"
        );
        assert!(copied.header.flags & HAS_EXTENTS == 0, "a block with extents is not copied");
        self.end_block()?;
        if self.section_ends_before(copied.first_key()) {
            self.end_section();
        }
        let mut header = copied.header;
        // Asked for each key, whatever the flag says: it may be wrong, and is one of another shape if that changed.
        header.flags &= !HAS_SCANNED;
        copied.check(|hash, key| {
            self.section.hashes.push(hash);
            if self.section.note_scan(&*self.shape, key) {
                header.flags |= HAS_SCANNED;
            }
        })?;
        self.image.clear();
        self.image.extend_from_slice(&header.to_bytes());
        self.image.extend_from_slice(&copied.image()[HEADER_BYTES..]);
        self.block_first.clear();
        self.block_first.extend_from_slice(copied.first_key());
        self.last.clear();
        self.last.extend_from_slice(copied.last_key());
        self.properties.entries += u64::from(header.count);
        self.section.clocks.add_all(copied.clocks());
        // As it stands when it is compressed as this run wants it, or was tried to be and did not shrink.
        let codec = self.properties.codec;
        let as_wanted = copied.header.codec == codec || copied.header.codec == 0 && copied.properties().codec == codec;
        let packed = if as_wanted { Some(copied.stored_body()?) } else { None };
        self.write_block(packed.as_ref().map(|body| body.as_slice()))
    }

    /// Adds a range tombstone; it acts on older runs only. In any order.
    pub fn add_range(&mut self, range: KeyRange) {
        self.ranges.insert(range);
    }

    /// The bytes written so far; the block under construction is not among them.
    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// The entries added so far.
    pub fn entries(&self) -> u64 {
        self.properties.entries
    }

    /// What the buffer holds on to.
    #[cfg(test)]
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Ends block and section where the next key does not go into them any more.
    fn make_room(&mut self, key: &[u8], tail_bytes: usize) -> Result<()> {
        let target = self.settings.block_bytes.min(ENTRIES_BYTES_MAX);
        let section_ends = self.section_ends_before(key);
        if section_ends || !self.block.fits(key, tail_bytes, target) {
            self.end_block()?;
        }
        if section_ends {
            self.end_section();
        }
        Ok(())
    }

    fn section_ends_before(&self, key: &[u8]) -> bool {
        let data = self.written - self.section.start + self.block.image_bytes() as u64;
        let crowded = self.directory_bytes.saturating_sub(DIRECTORY_BYTES_USUAL) / 2;
        let target = (self.settings.section_bytes as u64).max(crowded).min(SECTION_BYTES_MAX);
        if data < target || self.section.is_empty() {
            return false;
        }
        let is_full = data >= 2 * SECTION_BYTES_MAX || self.section.index.len() + 1 >= SECTION_BLOCKS_MAX;
        if data >= target * SPLIT_FACTOR || is_full {
            return true;
        }
        let partition = self.shape.partition_bytes(&self.last).min(self.last.len());
        !key.starts_with(&self.last[..partition])
    }

    fn write_extent(&mut self, value: &[u8]) -> Result<Extent> {
        let offset = self.written;
        self.append(value)?;
        self.block_extents += value.len() as u64;
        self.properties.value_bytes += value.len() as u64;
        let length = u32::try_from(value.len()).expect("values are within limits");
        Ok(Extent { offset, length, crc: checksum(self.id, offset, value) })
    }

    fn end_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let clocks = self.block.seal(&mut self.image);
        self.section.clocks.add_all(&clocks);
        self.block_extents = 0;
        self.write_block(None)
    }

    /// Compresses, seals and writes the image; `packed` is its body when that is known to be as compressed as it gets.
    fn write_block(&mut self, packed: Option<&[u8]>) -> Result<()> {
        let mut header =
            Header::read(&self.image).and_then(|header| header.check().map(|()| header)).map_err(|flaw| {
                Error::at(ErrorKind::Bug, &self.path, Some(self.written), format!("about to write a {flaw}"))
            })?;
        assert!(self.image.len() <= BLOCK_BYTES_MAX && header.count <= u16::from(EMPTY), "blocks are bounded");
        let raw = &self.image[HEADER_BYTES..];
        let packed = packed.or_else(|| self.packer.pack(raw)).filter(|packed| packed.len() < raw.len());
        (header.codec, header.stored) = match packed {
            Some(packed) => (self.properties.codec, packed.len() as u32),
            None => (0, raw.len() as u32),
        };
        if let Some(packed) = packed {
            self.packed.clear();
            self.packed.extend_from_slice(&[0; HEADER_BYTES]);
            self.packed.extend_from_slice(packed);
            std::mem::swap(&mut self.packed, &mut self.image);
        }
        self.image[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let crc = checksum(self.id, self.written, &self.image[4..]);
        self.image[..4].copy_from_slice(&crc.to_le_bytes());
        self.note_block(&header);
        let image = std::mem::take(&mut self.image);
        self.append(&image)?;
        self.image = image;
        Ok(())
    }

    fn note_block(&mut self, header: &Header) {
        let section = &mut self.section;
        if section.index.len() == 0 {
            section.first.clone_from(&self.block_first);
        }
        section.index.push(&self.block_first, self.written - section.start, header);
        section.counts.add(Counts {
            entries: u64::from(header.count),
            tombstones: u64::from(header.tombstones),
            operands: u64::from(header.operands),
            expiring: u64::from(header.expiring),
        });
        self.properties.key_bytes += u64::from(header.key_bytes);
        self.properties.value_bytes += u64::from(header.value_bytes);
    }

    fn end_section(&mut self) {
        assert!(self.block.is_empty(), "sections end between blocks");
        let end = self.written;
        let next = SectionBuilder { start: end, ..SectionBuilder::default() };
        let mut built = std::mem::replace(&mut self.section, next);
        if built.is_empty() {
            return;
        }
        let mut parts = Vec::new();
        filter::build(&built.hashes, self.settings.filter_bits, &mut parts);
        let filter_lines = parts.len() / filter::LINE_BYTES;
        let blocks = built.index.len();
        let shared = shared_prefix(&built.first, &self.last);
        built.index.seal(shared, &mut parts);
        let section = Section {
            first: built.first.into(),
            last: self.last.as_slice().into(),
            bytes: end - built.start,
            blocks,
            counts: built.counts,
            clocks: built.clocks,
            filter_lines,
            filter_crc: 0,
            index_crc: 0,
            places: Places::default(),
        };
        self.directory_bytes += (section.first.len() + section.last.len() + SECTION_BYTES_EXTRA) as u64;
        self.sections.push((section, parts));
    }

    /// Writes filters, indexes, directory and footer, and closes the file; `sync` makes its bytes (not its name) durable.
    ///
    /// # Errors
    /// Those of the disk; the file must be abandoned then.
    pub fn finish(mut self, clocks: &Clocks, sync: bool) -> Result<RunSummary> {
        self.end_block()?;
        self.end_section();
        let directory = self.write_sections(clocks)?;
        let mut bytes = Vec::new();
        directory.put(&mut bytes);
        if bytes.len() > DIRECTORY_BYTES_MAX {
            let what = format!(
                "directory of {} bytes, at most {DIRECTORY_BYTES_MAX}: fewer range tombstones, or a smaller memtable?",
                bytes.len()
            );
            return Err(Error::at(ErrorKind::Fix, &self.path, Some(self.written), what));
        }
        let directory_offset = self.written;
        let footer = Footer {
            version: FORMAT_VERSION,
            directory_offset,
            directory_bytes: bytes.len() as u64,
            directory_crc: checksum(self.id, directory_offset, &bytes),
        };
        self.append(&bytes)?;
        self.append(&footer.to_bytes(self.id))?;
        self.flush()?;
        if sync {
            self.file.sync_data()?;
        }
        self.file.finish()?;
        let digest = *self.hasher.finalize().as_bytes();
        Ok(RunSummary { bytes: self.written, digest })
    }

    /// Writes filter and index of every section.
    fn write_sections(&mut self, clocks: &Clocks) -> Result<Directory> {
        let mut directory = Directory::default();
        directory.ranges = std::mem::take(&mut self.ranges);
        let mut counts = Counts::default();
        for (mut section, parts) in std::mem::take(&mut self.sections) {
            let (lines, index) = parts.split_at(section.filter_lines * filter::LINE_BYTES);
            let mut filter = vec![0; pad_bytes(self.written, section.filter_lines)];
            filter.extend_from_slice(lines);
            section.filter_crc = checksum(self.id, self.written, &filter);
            self.append(&filter)?;
            section.index_crc = checksum(self.id, self.written, index);
            self.append(index)?;
            counts.add(section.counts);
            directory.sections.push(section);
        }
        let Counts { entries, tombstones, operands, expiring } = counts;
        assert_eq!(entries, self.properties.entries, "every entry is in a block");
        let properties = std::mem::take(&mut self.properties);
        directory.properties = Properties { clocks: *clocks, entries, tombstones, operands, expiring, ..properties };
        let placed = place(&mut directory.sections, self.written);
        assert!(placed.is_ok(), "the sections fill the file up to the directory");
        Ok(directory)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        if bytes.len() >= BUFFER_BYTES {
            // Long as it is, it needs no copy.
            self.flush()?;
            self.hasher.update(bytes);
            return self.file.append(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Hands what is buffered to the digest and to the file.
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.hasher.update(&self.buffer);
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl SectionBuilder {
    /// Whether nothing has been added.
    fn is_empty(&self) -> bool {
        self.hashes.is_empty() && self.index.len() == 0
    }

    /// Puts the key's scan prefix into the filter unless the key before had it; whether the key is scanned.
    fn note_scan(&mut self, shape: &dyn KeyShape, key: &[u8]) -> bool {
        let Some(bytes) = shape.scan_prefix_bytes(key) else { return false };
        let prefix = &key[..bytes];
        if self.scan_prefix.as_deref() != Some(prefix) {
            self.hashes.push(prefix_hash32(prefix));
            let kept = self.scan_prefix.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(prefix);
        }
        true
    }
}
