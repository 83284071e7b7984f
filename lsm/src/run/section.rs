//! A section: a bundle of whole partitions of useful size, with counts, a filter and an index of its blocks.
//!
//! The bytes of its entry in the directory, of its filter and of its index are drawn in [`crate::format`]. A section of
//! 1 MiB of 100-byte entries has about 70 blocks: 13 KiB of filter, 1 KiB of index.

use std::ops::Range;

use super::block::{COUNT_MAX, HEADER_BYTES, Header};
use super::filter::LINE_BYTES;
use super::flaw::{Flaw, flaw};
use crate::codec::{Reader, put_framed, put_varint};
use crate::entry::{CLOCKS_MAX, ClockId, Clocks, Expiry, KEY_BYTES_MAX};
use crate::key::{prefix64, shared_prefix};

/// The bytes of a block's entry in an index.
pub(super) const INDEX_ENTRY_BYTES: usize = 16;
/// What a section takes in the directory beside its keys, about.
pub(super) const SECTION_BYTES_EXTRA: usize = 64;
/// No filter and no index is longer: what a directory may make its reader allocate.
pub(super) const PART_BYTES_MAX: usize = 256 << 20;

/// How many entries there are, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub entries: u64,
    pub tombstones: u64,
    pub operands: u64,
    pub expiring: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.entries += other.entries;
        self.tombstones += other.tombstones;
        self.operands += other.operands;
        self.expiring += other.expiring;
    }
}

/// When entries expire by one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockSpan {
    pub clock: ClockId,
    pub first_at: u64,
    pub last_at: u64,
    pub count: u64,
}

impl ClockSpan {
    /// What a block's header tells; `None` when nothing expires or clocks are mixed.
    pub fn of(header: &Header) -> Option<ClockSpan> {
        let Header { clock, first_at, last_at, expiring, .. } = *header;
        (!header.is_mixed() && expiring > 0).then(|| ClockSpan {
            clock: ClockId(clock),
            first_at,
            last_at,
            count: u64::from(expiring),
        })
    }
}

/// When entries expire, by clock; in the order in which the clocks were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockSpans(Vec<ClockSpan>);

impl ClockSpans {
    pub fn add(&mut self, expiry: Expiry) {
        let Expiry { clock, at } = expiry;
        self.add_span(ClockSpan { clock, first_at: at, last_at: at, count: 1 });
    }

    pub fn add_span(&mut self, span: ClockSpan) {
        match self.0.iter_mut().find(|known| known.clock == span.clock) {
            Some(known) => {
                known.first_at = known.first_at.min(span.first_at);
                known.last_at = known.last_at.max(span.last_at);
                known.count += span.count;
            }
            None => self.0.push(span),
        }
    }

    pub fn add_all(&mut self, other: &ClockSpans) {
        other.iter().for_each(|span| self.add_span(*span));
    }

    pub fn iter(&self) -> impl Iterator<Item = &ClockSpan> {
        self.0.iter()
    }

    /// The span, when there is one clock only.
    pub fn only(&self) -> Option<ClockSpan> {
        if let [span] = self.0[..] { Some(span) } else { None }
    }

    /// How many entries expire.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|span| span.count).sum()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        for span in &self.0 {
            out.push(span.clock.0);
            put_varint(out, span.first_at);
            put_varint(out, span.last_at);
            put_varint(out, span.count);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<ClockSpans, Flaw> {
        let mut spans = ClockSpans::default();
        for _ in 0..reader.u8()? {
            let clock = ClockId(reader.u8()?);
            let (first_at, last_at, count) = (reader.varint()?, reader.varint()?, reader.varint()?);
            let known = spans.0.iter().any(|span| span.clock == clock);
            if known || usize::from(clock.0) >= CLOCKS_MAX || first_at > last_at {
                return Err(flaw(format_args!("section with clock {} from {first_at} to {last_at}", clock.0)));
            }
            spans.0.push(ClockSpan { clock, first_at, last_at, count });
        }
        Ok(spans)
    }
}

/// What the directory knows of a section, and where its parts stand in the file.
#[derive(Debug)]
pub(super) struct Section {
    pub first: Box<[u8]>,
    pub last: Box<[u8]>,
    /// Bytes of blocks and extents.
    pub bytes: u64,
    pub blocks: usize,
    pub counts: Counts,
    pub clocks: ClockSpans,
    pub filter_lines: usize,
    pub filter_crc: u32,
    pub index_crc: u32,
    /// From here on: follows from the sections before.
    pub places: Places,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    /// Where blocks and extents start.
    pub data: u64,
    /// How many blocks the sections before have.
    pub first_block: usize,
    /// Where the filter's zeros start, and its first line.
    pub filter: u64,
    pub lines: u64,
    pub index: u64,
    /// How many bytes all keys share.
    pub shared: usize,
}

impl Section {
    pub fn put(&self, out: &mut Vec<u8>) {
        put_framed(out, &self.first);
        put_framed(out, &self.last);
        put_varint(out, self.bytes);
        put_varint(out, self.blocks as u64);
        for count in [self.counts.entries, self.counts.tombstones, self.counts.operands, self.counts.expiring] {
            put_varint(out, count);
        }
        self.clocks.put(out);
        put_varint(out, self.filter_lines as u64);
        out.extend_from_slice(&self.filter_crc.to_le_bytes());
        out.extend_from_slice(&self.index_crc.to_le_bytes());
    }

    /// Reads one section of a file of `file_bytes`.
    pub fn read(reader: &mut Reader<'_>, file_bytes: u64) -> Result<Section, Flaw> {
        let (first, last) = (reader.framed(KEY_BYTES_MAX)?, reader.framed(KEY_BYTES_MAX)?);
        let bytes = reader.varint_max(file_bytes)? as u64;
        let blocks = reader.varint_max((PART_BYTES_MAX / INDEX_ENTRY_BYTES) as u64)?;
        let counts = Counts {
            entries: reader.varint()?,
            tombstones: reader.varint()?,
            operands: reader.varint()?,
            expiring: reader.varint()?,
        };
        let clocks = ClockSpans::read(reader)?;
        let filter_lines = reader.varint_max((PART_BYTES_MAX / LINE_BYTES) as u64)?;
        let (filter_crc, index_crc) = (reader.u32()?, reader.u32()?);
        let entries_max = blocks as u64 * COUNT_MAX as u64;
        let counts_fit = counts.entries >= blocks as u64
            && counts.entries <= entries_max
            && counts.tombstones <= counts.entries
            && counts.operands <= counts.entries - counts.tombstones
            && counts.expiring <= counts.entries
            && clocks.iter().try_fold(0u64, |sum, span| sum.checked_add(span.count)) == Some(counts.expiring);
        if blocks == 0 || first > last || !counts_fit {
            return Err(flaw(format_args!("section of {blocks} blocks whose keys and counts ({counts:?}) do not fit")));
        }
        Ok(Section {
            first: first.into(),
            last: last.into(),
            bytes,
            blocks,
            counts,
            clocks,
            filter_lines,
            filter_crc,
            index_crc,
            places: Places { shared: shared_prefix(first, last), ..Places::default() },
        })
    }

    /// Bytes of the index.
    pub fn index_bytes(&self) -> usize {
        self.blocks * INDEX_ENTRY_BYTES
    }

    /// Bytes of the filter with its zeros.
    pub fn filter_bytes(&self) -> usize {
        (self.places.lines - self.places.filter) as usize + self.filter_lines * LINE_BYTES
    }

    /// The part of a key by which the index orders. Only for keys from the first to the last.
    #[inline]
    pub fn prefix_of(&self, key: &[u8]) -> u64 {
        prefix64(key.get(self.places.shared..).unwrap_or(&[]))
    }

    /// Whether every entry has expired by `clocks`.
    pub fn all_expired(&self, clocks: &Clocks) -> bool {
        let Counts { entries, tombstones, operands, expiring } = self.counts;
        let over = |span: &ClockSpan| clocks.expired(Expiry { clock: span.clock, at: span.last_at });
        expiring == entries && tombstones == 0 && operands == 0 && self.clocks.iter().all(over)
    }
}

/// How many zeros bring `at` to a multiple of a line; none when there is no filter.
pub(super) fn pad_bytes(at: u64, filter_lines: usize) -> usize {
    if filter_lines == 0 { 0 } else { (at.next_multiple_of(LINE_BYTES as u64) - at) as usize }
}

/// The index of a section.
#[derive(Clone, Copy)]
pub(super) struct Index<'a> {
    prefixes: &'a [[u8; 8]],
    spans: &'a [[u8; 8]],
}

impl<'a> Index<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Index<'a> {
        let (words, _) = bytes.as_chunks::<8>();
        let (prefixes, spans) = words.split_at(words.len() / 2);
        Index { prefixes, spans }
    }

    /// The blocks that could be the last to start at or before a key of this prefix: usually one.
    #[inline]
    pub fn candidates(&self, prefix: u64) -> Range<usize> {
        let end = self.prefixes.partition_point(|block| u64::from_le_bytes(*block) <= prefix);
        let start = match end.checked_sub(1) {
            Some(last) if u64::from_le_bytes(self.prefixes[last]) == prefix => {
                self.prefixes[..last].partition_point(|block| u64::from_le_bytes(*block) < prefix)
            }
            _ => end,
        };
        start.saturating_sub(1)..end.max(1)
    }

    /// Offset from the section's start and length of a block.
    #[inline]
    pub fn span(&self, block: usize) -> Option<(u64, usize)> {
        let [a, b, c, d, e, f, g, _] = *self.spans.get(block)?;
        Some((u64::from(u32::from_le_bytes([a, b, c, d])), u32::from_le_bytes([e, f, g, 0]) as usize))
    }

    /// How many slots the table of a block has: a hint for what to prefetch.
    #[inline]
    pub fn table(&self, block: usize) -> usize {
        self.spans.get(block).map_or(0, |span| 1 << (span[7] & 15))
    }

    /// The bytes of key that a block starts with.
    pub fn prefix(&self, block: usize) -> Option<u64> {
        self.prefixes.get(block).map(|prefix| u64::from_le_bytes(*prefix))
    }
}

/// Collects the blocks of an index; the keys' shared bytes are known only at the end.
#[derive(Default)]
pub(super) struct IndexBuilder {
    keys: Vec<u8>,
    blocks: Vec<(usize, u32, u32)>,
}

impl IndexBuilder {
    pub fn push(&mut self, first: &[u8], offset: u64, header: &Header) {
        self.keys.extend_from_slice(first);
        let offset = u32::try_from(offset).expect("a section ends below 4 GiB");
        let length = HEADER_BYTES as u32 + header.stored;
        assert!(length < 1 << 24, "blocks are shorter than 16 MiB");
        self.blocks.push((self.keys.len(), offset, length | header.table.trailing_zeros() << 24));
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Appends the index of keys that share their first `shared` bytes; empties the builder.
    pub fn seal(&mut self, shared: usize, out: &mut Vec<u8>) {
        let mut start = 0;
        for (end, ..) in &self.blocks {
            out.extend_from_slice(&prefix64(&self.keys[start + shared..*end]).to_le_bytes());
            start = *end;
        }
        for (_, offset, length) in self.blocks.drain(..) {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
        }
        self.keys.clear();
    }
}
