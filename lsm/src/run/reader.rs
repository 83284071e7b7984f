//! Reads a run: point gets, and the parts that cursors and estimates are made of.
//!
//! ```text
//!   get   section (u64 prefixes, in memory) → filter line → index (u64 prefixes) → block table → entry
//! ```
//!
//! With [`Source::mapped`] all parts but indexes are read where the map has them; the first touch of a part checks its
//! checksum and remembers that in a bit. Indexes, a thousandth of the data, are copied to memory then: side by side they stay
//! in the processor's caches, and a get waits for three reads that depend on each other instead of four. Otherwise, and for
//! compressed blocks always, parts live in the block cache, verified and decompressed. Extents are checked each time they are
//! read from a map: at memory speed, and only long values pay.
//!
//! Invariants: * no byte is believed before the checksum over it was checked, but for the directory's place in the footer.
//!             * a get takes no lock and allocates nothing on mapped, uncompressed blocks.
//!             * before a byte is read, `ensure` has made it be there.
//!
//! Any thread may call everything. Two threads may verify one part at the same time: both find the same.
//!
//! Measured in ns, best of seven, on a machine busy with other work (`tests::speed`), 1 M entries of 16-byte keys and 80-byte
//! values, 107 MB on small pages, where one dependent read of that memory took 224; hashing the key is included:
//!
//! | | mapped | through the cache |
//! |---|---|---|
//! | get, hot | 155 | 319 |
//! | get, random key | 895 (four dependent reads) | 1,555 |
//! | get of an absent key | 78 | |
//! | filter miss, hot / random | 57 / 65 | |

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::block::{BLOCK_BYTES_MAX, Block, Extent, HEADER_BYTES, Header, Spot, StoredEntry, StoredValue};
use super::compress::{is_readable, unpack};
use super::directory::{DIRECTORY_BYTES_MAX, Directory, Properties};
use super::filter::{LINE_BYTES, line_contains, line_of};
use super::flaw::{Flaw, flaw};
use super::footer::{FOOTER_BYTES, FORMAT_VERSION, Footer};
use super::section::{Index, Section};
use crate::cache::BlockCache;
use crate::codec::{RunId, checksum, prefix_hash32};
use crate::entry::{Entry, Expiry, Kind, VALUE_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Source;
use crate::key::{KeyRange, KeyShape, RangeSet};
use crate::prefetch::prefetch;

/// No file is longer: offsets in it, and a few bytes more, are numbers that no sum here overflows.
const RUN_BYTES_MAX: u64 = i64::MAX as u64;
/// Values from here on are asked for before they are read.
const ANNOUNCED_VALUE_BYTES: usize = 64 << 10;
/// What is read at once at the end of a file.
const TAIL_BYTES: u64 = 64 << 10;
/// How many parts are remembered as verified, at most; what is behind is verified each time. Only files that claim to be
/// many terabytes have as many.
const BITS_MAX: usize = 1 << 30;

/// An open run.
pub(crate) struct Run {
    pub(super) source: Arc<dyn Source>,
    pub(super) id: RunId,
    cache: Arc<BlockCache>,
    ordinal: u64,
    pub(super) directory: Directory,
    directory_offset: u64,
    bytes: u64,
    pub(super) shape: Arc<dyn KeyShape>,
    /// The run was written under this shape.
    pub(super) same_shape: bool,
    /// The source had every byte when it was opened: nothing needs to be ensured.
    was_complete: bool,
    verified: Bits,
    /// Of each section that was touched, when the source is mapped.
    indexes: Box<[OnceLock<Box<[u8]>>]>,
}

/// Bytes of a run: where the map has them, or kept alive by their cached block.
#[derive(Clone)]
pub(crate) enum RunBytes<'a> {
    Mapped(&'a [u8]),
    Cached(Arc<[u8]>, Range<usize>),
}

impl RunBytes<'_> {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            RunBytes::Mapped(bytes) => bytes,
            RunBytes::Cached(bytes, range) => bytes.get(range.clone()).unwrap_or(&[]),
        }
    }

    fn whole(bytes: Arc<[u8]>) -> RunBytes<'static> {
        let range = 0..bytes.len();
        RunBytes::Cached(bytes, range)
    }

    pub(super) fn narrow(self, within: Range<usize>) -> Self {
        match self {
            RunBytes::Mapped(bytes) => RunBytes::Mapped(bytes.get(within).unwrap_or(&[])),
            RunBytes::Cached(bytes, range) => {
                RunBytes::Cached(bytes, range.start + within.start..range.start + within.end)
            }
        }
    }
}

/// An entry that a get found.
pub(crate) struct Found<'a> {
    pub kind: Kind,
    pub expiry: Option<Expiry>,
    pub written: u64,
    pub value: RunBytes<'a>,
}

impl Found<'_> {
    /// The entry, borrowed.
    #[inline]
    pub fn entry(&self) -> Entry<'_> {
        Entry { kind: self.kind, value: self.value.as_slice(), expiry: self.expiry, written: self.written }
    }
}

/// Whether blocks that are read go into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// They will be wanted again.
    Cached,
    /// The reader passes by once.
    Passing,
}

impl Run {
    /// Opens run `id`: reads its footer and directory.
    ///
    /// # Errors
    /// `Damaged` when this is not a whole run of that name; `Fix` when its version or codec is not known to this build; those
    /// of the source.
    pub fn open(source: Arc<dyn Source>, id: RunId, cache: Arc<BlockCache>, shape: Arc<dyn KeyShape>) -> Result<Run> {
        let bytes = source.bytes();
        let damaged = |offset, flaw: Flaw| Error::damaged(source.path(), offset, flaw);
        let Some(footer_offset) = bytes.checked_sub(FOOTER_BYTES as u64) else {
            return Err(damaged(0, flaw(format_args!("run of {bytes} bytes, expected at least {FOOTER_BYTES}"))));
        };
        if bytes > RUN_BYTES_MAX {
            return Err(damaged(0, flaw(format_args!("run of {bytes} bytes, expected at most {RUN_BYTES_MAX}"))));
        }
        source.ensure(footer_offset..bytes)?;
        // With the directory, mostly. A read that was not announced brings what lies around it, which can be megabytes.
        let tail = bytes.saturating_sub(TAIL_BYTES);
        source.will_need(tail..bytes);
        let mut footer = [0; FOOTER_BYTES];
        source.read_exact_at(&mut footer, footer_offset)?;
        let footer = Footer::read(&footer, id, bytes).map_err(|flaw| damaged(footer_offset, flaw))?;
        if footer.version != FORMAT_VERSION {
            let what = format!(
                "format version {}, expected {FORMAT_VERSION}: was it written by a newer release?",
                footer.version
            );
            return Err(Error::at(ErrorKind::Fix, source.path(), Some(footer_offset), what));
        }
        let (at, claimed) = (footer.directory_offset, footer.directory_bytes);
        if claimed > DIRECTORY_BYTES_MAX as u64 {
            let what = format_args!("directory of {claimed} bytes, expected at most {DIRECTORY_BYTES_MAX}");
            return Err(damaged(footer_offset, flaw(what)));
        }
        source.ensure(at..footer_offset)?;
        if at < tail {
            source.will_need(at..tail);
        }
        let mut directory = vec![0; footer.directory_bytes as usize];
        source.read_exact_at(&mut directory, at)?;
        check_crc("directory", footer.directory_crc, checksum(id, at, &directory)).map_err(|flaw| damaged(at, flaw))?;
        let directory = Directory::read(&directory, at, bytes).map_err(|flaw| damaged(at, flaw))?;
        let Properties { shape_name, shape_version, codec, .. } = &directory.properties;
        if !is_readable(*codec) {
            let name = directory.properties.codec_name();
            let what = format!("blocks compressed with codec {codec} ({name}): build with the feature of that name");
            return Err(Error::at(ErrorKind::Fix, source.path(), Some(at), what));
        }
        let same_shape = **shape_name == *shape.name() && *shape_version == shape.version();
        let verified = Bits::new((directory.blocks + 2 * directory.sections.len()).min(BITS_MAX));
        let (ordinal, was_complete) = (cache.next_ordinal(), source.is_complete());
        let sections = if source.mapped().is_some() { directory.sections.len() } else { 0 };
        let directory_offset = at;
        Ok(Run {
            source,
            id,
            cache,
            ordinal,
            directory,
            directory_offset,
            bytes,
            shape,
            same_shape,
            was_complete,
            verified,
            indexes: (0..sections).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Its name.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The length of its file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What its bytes are read through.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Whether every byte is here; see [`Source::is_complete`].
    pub fn is_complete(&self) -> bool {
        self.was_complete || self.source.is_complete()
    }

    /// Counts, clocks, shape.
    pub fn properties(&self) -> &Properties {
        &self.directory.properties
    }

    /// Its range tombstones: they act on older runs only.
    pub fn ranges(&self) -> &RangeSet {
        &self.directory.ranges
    }

    /// The smallest key of an entry.
    pub fn first_key(&self) -> Option<&[u8]> {
        self.directory.sections.first().map(|section| &*section.first)
    }

    /// The largest key of an entry.
    #[cfg(test)]
    pub fn last_key(&self) -> Option<&[u8]> {
        self.directory.sections.last().map(|section| &*section.last)
    }

    /// The entry of `key`, which hashes to `hash`. Range tombstones are the caller's to look at.
    ///
    /// # Errors
    /// `Damaged` when the bytes on the way are not what was written; those of the source.
    #[inline]
    pub fn get(&self, hash: u32, key: &[u8]) -> Result<Option<Found<'_>>> {
        let Some(number) = self.directory.section_of(key) else { return Ok(None) };
        if !self.filter_says(number, hash)? {
            return Ok(None);
        }
        self.get_in(number, hash, key)
    }

    /// Where `key` would stand: section and block.
    #[cfg(any(test, feature = "testing"))]
    pub fn place_of(&self, key: &[u8]) -> Result<Option<(usize, usize)>> {
        let Some(number) = self.directory.section_of(key) else { return Ok(None) };
        let index = self.index(number)?;
        Ok(Some((number, self.block_of(&self.directory.sections[number], index.as_slice(), key)?)))
    }

    fn get_in(&self, number: usize, hash: u32, key: &[u8]) -> Result<Option<Found<'_>>> {
        let section = &self.directory.sections[number];
        let index = self.index(number)?;
        let block = self.block_of(section, index.as_slice(), key)?;
        self.prefetch_block(section, Index::new(index.as_slice()), block, hash);
        let (image, offset) = self.block(section, index.as_slice(), block, Keep::Cached)?;
        let entry = {
            let view = Block::read(image.as_slice());
            let find = |view: Block<'_>| match view.find(hash, key)? {
                Some(Spot { flags, tail, .. }) => view.entry(flags, tail).map(Some),
                None => Ok(None),
            };
            view.and_then(find).map_err(|flaw| self.damaged(offset, flaw))?
        };
        let Some(StoredEntry { kind, expiry, written, value }) = entry else { return Ok(None) };
        let value = match value {
            StoredValue::Inline(range) => image.narrow(range),
            StoredValue::Extent(extent) => self.extent(extent, Keep::Cached)?,
        };
        Ok(Some(Found { kind, expiry, written, value }))
    }

    /// Asks for header and table of a block at once; the one says where in the other to look.
    #[inline]
    fn prefetch_block(&self, section: &Section, index: Index<'_>, block: usize, hash: u32) {
        if let (Some(map), Some((start, _))) = (self.source.mapped(), index.span(block)) {
            let at = (section.places.data + start) as usize;
            let cell = at + HEADER_BYTES + (hash as usize & (index.table(block) - 1));
            prefetch(map.get(at..).unwrap_or(&[]));
            prefetch(map.get(cell..).unwrap_or(&[]));
        }
    }

    /// Brings the cache line that [`Run::get`] will test on its way.
    #[inline]
    pub fn prefetch(&self, hash: u32, key: &[u8]) {
        let Some(map) = self.source.mapped() else { return };
        let Some(number) = self.directory.section_of(key) else { return };
        let section = &self.directory.sections[number];
        let at = section.places.lines as usize + line_of(hash, section.filter_lines) * LINE_BYTES;
        prefetch(map.get(at..).unwrap_or(&[]));
    }

    /// Brings filter and index of the key's section on their way, where they were not read before.
    #[inline]
    pub fn read_ahead_section(&self, key: &[u8]) {
        let number = self.directory.section_of(key).filter(|_| self.reads_ahead());
        let was_read = |number: usize| {
            let first = if self.directory.sections[number].filter_lines == 0 { 1 } else { 0 };
            self.verified.get(self.filter_bit(number) + first)
        };
        if let Some(number) = number.filter(|number| !was_read(*number)) {
            let section = &self.directory.sections[number];
            self.source.will_need(section.places.filter..section.places.index + section.index_bytes() as u64);
        }
    }

    /// Brings on its way what [`Run::get`] will read behind the filter: the cache lines of the key's block, or all of it
    /// where it was not read before. What is damaged is left for the get to tell.
    pub fn read_ahead(&self, hash: u32, key: &[u8]) {
        let number = self.directory.section_of(key).filter(|_| self.reads_ahead());
        let Some(number) = number.filter(|number| self.filter_says(*number, hash).unwrap_or(false)) else { return };
        let section = &self.directory.sections[number];
        let Ok(index) = self.index(number) else { return };
        let index = Index::new(index.as_slice());
        let block = index.candidates(section.prefix_of(key)).start;
        if self.verified.get(self.block_bit(section, block)) {
            self.prefetch_block(section, index, block, hash);
        } else if let Some((start, length)) = index.span(block) {
            let at = section.places.data + start;
            self.source.will_need(at..at + length as u64);
        }
    }

    /// Brings some blocks of a section on their way.
    pub(super) fn read_ahead_blocks(&self, section: &Section, index: &[u8], blocks: Range<usize>) {
        let index = Index::new(index);
        let last = blocks.end.min(section.blocks).saturating_sub(1);
        if self.reads_ahead()
            && let (Some((start, _)), Some((end, length))) = (index.span(blocks.start), index.span(last))
        {
            let data = section.places.data;
            self.source.will_need(data + start..data + end + length as u64);
        }
    }

    /// Whether it brings anything to ask for bytes before they are read.
    #[inline]
    fn reads_ahead(&self) -> bool {
        self.was_complete && self.source.mapped().is_some()
    }

    /// False when there is certainly no entry of `key`. True where the filter cannot be read, or is not here yet.
    pub fn may_contain(&self, hash: u32, key: &[u8]) -> bool {
        self.directory.section_of(key).is_some_and(|number| self.may_be_in(number, hash))
    }

    /// False when there is certainly no entry whose key starts with `prefix`, a *whole* scan prefix of the store's shape:
    /// one for which `scan_prefix_bytes(prefix)` is its length. Filters answer only when the run was written under that
    /// shape.
    pub fn may_contain_prefix(&self, prefix: &[u8]) -> bool {
        let hash = prefix_hash32(prefix);
        let mut sections = self.directory.sections_in(&KeyRange::prefix(prefix));
        sections.any(|number| !self.same_shape || self.may_be_in(number, hash))
    }

    fn may_be_in(&self, number: usize, hash: u32) -> bool {
        let is_here = self.is_complete() || self.verified.get(self.filter_bit(number));
        !is_here || self.filter_says(number, hash).unwrap_or(true)
    }

    #[inline]
    fn filter_says(&self, number: usize, hash: u32) -> Result<bool> {
        let section = &self.directory.sections[number];
        if section.filter_lines == 0 {
            return Ok(true);
        }
        let filter = self.filter(number)?;
        let pad = (section.places.lines - section.places.filter) as usize;
        let at = pad + line_of(hash, section.filter_lines) * LINE_BYTES;
        let line = filter.as_slice().get(at..).and_then(|rest| rest.first_chunk::<LINE_BYTES>());
        Ok(line.is_none_or(|line| line_contains(line, hash)))
    }

    /// The filter of a section, with the zeros before it.
    #[inline]
    pub(super) fn filter(&self, number: usize) -> Result<RunBytes<'_>> {
        let section = &self.directory.sections[number];
        let part = Part { at: section.places.filter, bytes: section.filter_bytes(), crc: section.filter_crc };
        self.part(part, self.filter_bit(number), "filter")
    }

    /// The index of a section.
    #[inline]
    pub(super) fn index(&self, number: usize) -> Result<RunBytes<'_>> {
        if let Some(index) = self.indexes.get(number).and_then(OnceLock::get) {
            return Ok(RunBytes::Mapped(index));
        }
        self.load_index(number)
    }

    #[cold]
    fn load_index(&self, number: usize) -> Result<RunBytes<'_>> {
        let section = &self.directory.sections[number];
        let part = Part { at: section.places.index, bytes: section.index_bytes(), crc: section.index_crc };
        let bytes = self.part(part, self.filter_bit(number) + 1, "index")?;
        let Some(kept) = self.indexes.get(number) else { return Ok(bytes) };
        Ok(RunBytes::Mapped(kept.get_or_init(|| bytes.as_slice().into())))
    }

    /// Whether the index of a section can be read without waiting for it.
    pub(super) fn index_is_here(&self, number: usize) -> bool {
        self.is_complete() || self.verified.get(self.filter_bit(number) + 1)
    }

    /// The bit of a section's filter; that of its index is the next one.
    fn filter_bit(&self, number: usize) -> usize {
        2 * number
    }

    fn block_bit(&self, section: &Section, block: usize) -> usize {
        2 * self.directory.sections.len() + section.places.first_block + block
    }

    #[inline]
    fn part(&self, part: Part, bit: usize, what: &'static str) -> Result<RunBytes<'_>> {
        if let Some(map) = self.source.mapped() {
            if self.verified.get(bit) {
                let at = part.at as usize;
                return Ok(RunBytes::Mapped(map.get(at..at + part.bytes).unwrap_or(&[])));
            }
        } else if let Some(bytes) = self.cache.get(self.ordinal, part.at) {
            return Ok(RunBytes::whole(bytes));
        }
        self.load_part(part, bit, what)
    }

    #[cold]
    fn load_part(&self, part: Part, bit: usize, what: &'static str) -> Result<RunBytes<'_>> {
        if self.reads_ahead() {
            self.source.will_need(part.at..part.at + part.bytes as u64);
        }
        let bytes = self.read(part.at, part.bytes)?;
        let found = checksum(self.id, part.at, bytes.as_slice());
        check_crc(what, part.crc, found).map_err(|flaw| self.damaged(part.at, flaw))?;
        self.verified.set(bit);
        self.remember(part.at, &bytes);
        Ok(bytes)
    }

    /// Puts what is not mapped into the cache.
    fn remember(&self, at: u64, bytes: &RunBytes<'_>) {
        if let RunBytes::Cached(shared, _) = bytes {
            self.cache.insert(self.ordinal, at, Arc::clone(shared));
        }
    }

    /// Bytes of the file as they are, checked by nobody.
    pub(super) fn read(&self, at: u64, bytes: usize) -> Result<RunBytes<'_>> {
        let end = at.checked_add(bytes as u64).filter(|end| *end <= self.bytes);
        let end =
            end.ok_or_else(|| self.damaged(at, flaw(format_args!("{bytes} bytes that reach behind the file"))))?;
        if !self.was_complete {
            self.source.ensure(at..end)?;
        }
        if let Some(map) = self.source.mapped() {
            let mapped = map.get(at as usize..end as usize);
            return mapped.map(RunBytes::Mapped).ok_or_else(|| self.damaged(at, flaw("map that ends before its file")));
        }
        let mut shared: Arc<[u8]> = std::iter::repeat_n(0, bytes).collect();
        let into = Arc::get_mut(&mut shared).expect("nobody else has it yet");
        self.source.read_exact_at(into, at)?;
        Ok(RunBytes::whole(shared))
    }

    /// The number, in its section, of the block that would hold `key`, which is not outside of the section.
    #[inline]
    pub(super) fn block_of(&self, section: &Section, index: &[u8], key: &[u8]) -> Result<usize> {
        let candidates = Index::new(index).candidates(section.prefix_of(key));
        if candidates.len() == 1 { Ok(candidates.start) } else { self.last_not_behind(section, index, candidates, key) }
    }

    /// The last of some blocks whose first key is not larger than `key`; the first when all are.
    fn last_not_behind(&self, section: &Section, index: &[u8], blocks: Range<usize>, key: &[u8]) -> Result<usize> {
        let (mut low, mut high) = (blocks.start + 1, blocks.end);
        while low < high {
            let middle = low.midpoint(high);
            let (image, offset) = self.block(section, index, middle, Keep::Cached)?;
            let order = Block::read(image.as_slice()).and_then(|block| block.compare(0, key));
            if order.map_err(|flaw| self.damaged(offset, flaw))?.is_le() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low - 1)
    }

    /// The image of a block, verified, and its offset in the file.
    #[inline]
    pub(super) fn block(
        &self,
        section: &Section,
        index: &[u8],
        block: usize,
        keep: Keep,
    ) -> Result<(RunBytes<'_>, u64)> {
        let data = section.places.data;
        let Some((start, length)) = Index::new(index).span(block) else {
            return Err(self.damaged(data, flaw(format_args!("block {block} of a section of {}", section.blocks))));
        };
        let at = data + start;
        if let Some(map) = self.source.mapped() {
            let mapped = map.get(at as usize..).and_then(|rest| rest.get(..length)).unwrap_or(&[]);
            // The codec is believed here only when the checksum was right before.
            if self.verified.get(self.block_bit(section, block)) && mapped.get(12) == Some(&0) {
                return Ok((RunBytes::Mapped(mapped), at));
            }
        }
        let image = self.load_block(at, length, self.block_bit(section, block), keep)?;
        Ok((image, at))
    }

    fn load_block(&self, at: u64, length: usize, bit: usize, keep: Keep) -> Result<RunBytes<'_>> {
        if self.reads_ahead() && !self.verified.get(bit) {
            self.source.will_need(at..at + length as u64);
        }
        // What is mapped and not compressed is never put into the cache.
        let mapped_codec = self.source.mapped().map(|map| map.get(at as usize + 12).copied().unwrap_or(0));
        let cached = match keep {
            _ if mapped_codec == Some(0) => None,
            Keep::Cached => self.cache.get(self.ordinal, at),
            Keep::Passing => self.cache.peek(self.ordinal, at),
        };
        if let Some(image) = cached {
            return Ok(RunBytes::whole(image));
        }
        if !(HEADER_BYTES..=BLOCK_BYTES_MAX).contains(&length) || at + length as u64 > self.directory_offset {
            return Err(
                self.damaged(at, flaw(format_args!("block of {length} bytes, expected up to {BLOCK_BYTES_MAX}")))
            );
        }
        let stored = self.read(at, length)?;
        let image = check_block(self.id, at, self.properties().codec, stored).map_err(|flaw| self.damaged(at, flaw))?;
        self.verified.set(bit);
        if keep == Keep::Cached {
            self.remember(at, &image);
        }
        Ok(image)
    }

    /// A long value.
    pub(super) fn extent(&self, extent: Extent, keep: Keep) -> Result<RunBytes<'_>> {
        let Extent { offset, length, crc } = extent;
        let bytes = length as usize;
        let fits = offset.checked_add(u64::from(length)).is_some_and(|end| end <= self.directory_offset);
        if !fits || bytes > VALUE_BYTES_MAX {
            return Err(
                self.damaged(offset, flaw(format_args!("value of {length} bytes, which reaches behind the data")))
            );
        }
        let cached = match keep {
            // What is mapped is never put into the cache.
            _ if self.source.mapped().is_some() => None,
            Keep::Cached => self.cache.get(self.ordinal, offset),
            Keep::Passing => self.cache.peek(self.ordinal, offset),
        };
        if let Some(cached) = cached.filter(|cached| cached.len() == bytes) {
            return Ok(RunBytes::whole(cached));
        }
        // Nobody remembers which values were read before, and asking for a short one costs as much as reading it.
        if self.reads_ahead() && bytes >= ANNOUNCED_VALUE_BYTES {
            self.source.will_need(offset..offset + u64::from(length));
        }
        let value = self.read(offset, bytes)?;
        let found = checksum(self.id, offset, value.as_slice());
        check_crc("value", crc, found).map_err(|flaw| self.damaged(offset, flaw))?;
        if keep == Keep::Cached {
            self.remember(offset, &value);
        }
        Ok(value)
    }

    #[cold]
    pub(super) fn damaged(&self, offset: u64, flaw: Flaw) -> Error {
        Error::damaged(self.source.path(), offset, flaw)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Run({})", self.id)
    }
}

/// Filter or index of a section.
#[derive(Clone, Copy)]
struct Part {
    at: u64,
    bytes: usize,
    crc: u32,
}

pub(super) fn check_crc(what: &str, expected: u32, found: u32) -> Result<(), Flaw> {
    if found == expected {
        return Ok(());
    }
    Err(flaw(format_args!("{what} checksum {found:08x}, expected {expected:08x}")))
}

/// Checks a block as it stands in the file of a run of this codec and turns it into its image.
pub(super) fn check_block(id: RunId, at: u64, codec: u8, stored: RunBytes<'_>) -> Result<RunBytes<'_>, Flaw> {
    let bytes = stored.as_slice();
    let header = Header::read(bytes)?;
    check_crc("block", header.crc, checksum(id, at, &bytes[4..]))?;
    let (body, raw) = (bytes.len() - HEADER_BYTES, header.raw as usize);
    let bounded = raw <= BLOCK_BYTES_MAX - HEADER_BYTES && (header.codec != 0 || raw == body);
    if header.stored as usize != body || !bounded {
        let stored = header.stored;
        return Err(flaw(format_args!("block of {stored} bytes that become {raw}, in {body} bytes")));
    }
    if header.codec != 0 && header.codec != codec {
        return Err(flaw(format_args!("block of codec {} in a run of codec {codec}", header.codec)));
    }
    header.check()?;
    let image = if header.codec == 0 {
        stored
    } else {
        let mut shared: Arc<[u8]> = std::iter::repeat_n(0, HEADER_BYTES + raw).collect();
        let into = Arc::get_mut(&mut shared).expect("nobody else has it yet");
        into[..HEADER_BYTES].copy_from_slice(&bytes[..HEADER_BYTES]);
        unpack(header.codec, &bytes[HEADER_BYTES..], &mut into[HEADER_BYTES..])?;
        RunBytes::whole(shared)
    };
    Block::read(image.as_slice())?;
    Ok(image)
}

/// Which parts have been verified. Relaxed: the bytes they speak of never change.
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new(count: usize) -> Bits {
        Bits((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    fn get(&self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word.load(Relaxed) & (1 << (bit % 64)) != 0)
    }

    fn set(&self, bit: usize) {
        if let Some(word) = self.0.get(bit / 64) {
            word.fetch_or(1 << (bit % 64), Relaxed);
        }
    }
}
