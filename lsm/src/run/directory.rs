//! The directory of a run: its sections, range tombstones and properties. Stays in memory while the run is open.
//!
//! Its bytes are drawn in [`crate::format`].
//!
//! Nothing in it is an offset: blocks of section after section stand from byte 0 on without gaps, then filter and index of
//! section after section, then the directory. So every byte of the file belongs to exactly one part, which the arithmetic
//! here proves when it meets the directory's own place in the end.

use std::cmp::Ordering;

use super::block::HEADER_BYTES;
use super::compress::codec_name;
use super::flaw::{Flaw, flaw};
use super::section::{Counts, Places, Section, pad_bytes};
use crate::codec::{Reader, put_framed, put_varint};
use crate::entry::{CLOCKS_MAX, Clocks, KEY_BYTES_MAX};
use crate::key::{KeyRange, RangeSet, prefix64, shared_prefix};

const SHAPE_NAME_BYTES_MAX: usize = 255;
/// The longest directory, in bytes: as much as a hostile footer may make its reader allocate. Sections grow with the
/// directory (see `writer`), so that it stays far below: 100-byte keys reach it in a run of 60 TB.
pub(super) const DIRECTORY_BYTES_MAX: usize = 256 << 20;

/// What a run says about itself as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Properties {
    /// Name and version of the key shape that the filters were built with.
    pub shape_name: Box<str>,
    pub shape_version: u32,
    /// The clocks at the seal of the newest entry.
    pub clocks: Clocks,
    pub entries: u64,
    pub tombstones: u64,
    pub operands: u64,
    /// Entries that have an expiry.
    pub expiring: u64,
    pub key_bytes: u64,
    pub value_bytes: u64,
    pub(super) codec: u8,
}

impl Properties {
    /// The name of the codec that blocks were to be compressed with.
    pub fn codec_name(&self) -> &'static str {
        codec_name(self.codec).unwrap_or("unknown")
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_framed(out, self.shape_name.as_bytes());
        out.extend_from_slice(&self.shape_version.to_le_bytes());
        for reading in self.clocks.readings() {
            out.extend_from_slice(&reading.to_le_bytes());
        }
        let Properties { entries, tombstones, operands, expiring, key_bytes, value_bytes, .. } = *self;
        for number in [entries, tombstones, operands, expiring, key_bytes, value_bytes] {
            put_varint(out, number);
        }
        out.push(self.codec);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Properties, Flaw> {
        let name = str::from_utf8(reader.framed(SHAPE_NAME_BYTES_MAX)?);
        let shape_name = name.map_err(|_| flaw("name of a key shape that is not UTF-8"))?.into();
        let shape_version = reader.u32()?;
        let mut readings = [0; CLOCKS_MAX];
        for reading in &mut readings {
            *reading = reader.u64()?;
        }
        Ok(Properties {
            shape_name,
            shape_version,
            clocks: Clocks::from_readings(readings),
            entries: reader.varint()?,
            tombstones: reader.varint()?,
            operands: reader.varint()?,
            expiring: reader.varint()?,
            key_bytes: reader.varint()?,
            value_bytes: reader.varint()?,
            codec: reader.u8()?,
        })
    }
}

/// All that is known of a run without reading its blocks.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub sections: Vec<Section>,
    pub ranges: RangeSet,
    pub properties: Properties,
    pub blocks: usize,
    /// Bytes of blocks and extents.
    pub data_bytes: u64,
    /// How many bytes all keys share; the numbers below start behind them.
    shared: usize,
    firsts: Vec<u64>,
    lasts: Vec<u64>,
}

impl Directory {
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.sections.len() as u64);
        self.sections.iter().for_each(|section| section.put(out));
        put_varint(out, self.ranges.len() as u64);
        for range in self.ranges.iter() {
            put_framed(out, &range.start);
            out.push(u8::from(range.end.is_some()));
            if let Some(end) = &range.end {
                put_framed(out, end);
            }
        }
        self.properties.put(out);
    }

    /// Reads the directory that stands at `offset` of a file of `file_bytes`.
    pub fn read(bytes: &[u8], offset: u64, file_bytes: u64) -> Result<Directory, Flaw> {
        let mut reader = Reader::new(bytes);
        // A section takes more than 16 bytes here, and ten times as much in memory: none is reserved that was not read.
        let count = reader.varint_max(bytes.len() as u64 / 16)?;
        let mut sections: Vec<Section> = Vec::new();
        for _ in 0..count {
            let section = Section::read(&mut reader, file_bytes)?;
            if sections.last().is_some_and(|before| before.last >= section.first) {
                return Err(flaw("sections that are not in order"));
            }
            sections.push(section);
        }
        let ranges = read_ranges(&mut reader)?;
        let properties = Properties::read(&mut reader)?;
        reader.end()?;
        let blocks = place(&mut sections, offset)?;
        check(&sections, &properties)?;
        let data_bytes = sections.last().map_or(0, |last| last.places.data + last.bytes);
        Ok(Directory { ranges, properties, blocks, data_bytes, ..Directory::over(sections) })
    }

    fn over(sections: Vec<Section>) -> Directory {
        let shared = match (sections.first(), sections.last()) {
            (Some(first), Some(last)) => shared_prefix(&first.first, &last.last),
            _ => 0,
        };
        let firsts = sections.iter().map(|section| prefix64(&section.first[shared..])).collect();
        let lasts = sections.iter().map(|section| prefix64(&section.last[shared..])).collect();
        Directory { sections, shared, firsts, lasts, ..Directory::default() }
    }

    /// The section that would hold `key`: the last that starts at or before it, when it does not end before it.
    #[inline]
    pub fn section_of(&self, key: &[u8]) -> Option<usize> {
        let common = &self.sections.first()?.first[..self.shared];
        let prefix = prefix64(key.strip_prefix(common)?);
        // Without a branch that depends on the key, which no processor could predict.
        let mut end = self.firsts.partition_point(|first| *first < prefix);
        if self.firsts.get(end) == Some(&prefix) {
            let equal = self.firsts[end..].partition_point(|first| *first == prefix);
            end += self.sections[end..end + equal].partition_point(|section| *section.first <= *key);
        }
        let number = end.checked_sub(1)?;
        let inside = match prefix.cmp(&self.lasts[number]) {
            Ordering::Equal => *key <= *self.sections[number].last,
            order => order.is_lt(),
        };
        inside.then_some(number)
    }

    /// The first section that ends at or behind `key`; the number of sections when all end before it.
    pub fn ending_from(&self, key: &[u8]) -> usize {
        self.first_not_before(key, &self.lasts, |section| &section.last)
    }

    /// The first section that starts at or behind `key`; the number of sections when all start before it.
    pub fn starting_from(&self, key: &[u8]) -> usize {
        self.first_not_before(key, &self.firsts, |section| &section.first)
    }

    /// The first section whose `edge` is not smaller than `key`; `prefixes` are the leading bytes of all edges, side by side,
    /// so that the keys themselves are seldom looked at.
    fn first_not_before(&self, key: &[u8], prefixes: &[u64], edge: impl Fn(&Section) -> &[u8]) -> usize {
        let Some(first) = self.sections.first() else { return 0 };
        let common = &first.first[..self.shared];
        let Some(rest) = key.strip_prefix(common) else {
            // All keys start with `common`: they are on one side of it.
            return if *key < *common { 0 } else { self.sections.len() };
        };
        let prefix = prefix64(rest);
        let start = prefixes.partition_point(|known| *known < prefix);
        let equal = prefixes[start..].partition_point(|known| *known == prefix);
        start + self.sections[start..start + equal].partition_point(|section| *edge(section) < *key)
    }

    /// The sections that a key of `range` could be in.
    pub fn sections_in(&self, range: &KeyRange) -> std::ops::Range<usize> {
        let start = self.ending_from(&range.start);
        let end = match &range.end {
            Some(end) => self.starting_from(end),
            None => self.sections.len(),
        };
        start..if range.is_empty() { start } else { end.max(start) }
    }
}

fn read_ranges(reader: &mut Reader<'_>) -> Result<RangeSet, Flaw> {
    let mut ranges = RangeSet::default();
    let count = reader.varint()?;
    for _ in 0..count {
        let start = reader.framed(KEY_BYTES_MAX + 1)?.to_vec();
        let end = match reader.u8()? {
            0 => None,
            1 => Some(reader.framed(KEY_BYTES_MAX + 1)?.to_vec()),
            other => return Err(flaw(format_args!("range tombstone with flag {other}, expected 0 or 1"))),
        };
        ranges.insert(KeyRange { start, end });
    }
    if ranges.len() as u64 != count {
        return Err(flaw(format_args!("{} disjoint range tombstones, expected {count}", ranges.len())));
    }
    Ok(ranges)
}

/// Gives every section its places; returns how many blocks there are.
pub(super) fn place(sections: &mut [Section], directory_offset: u64) -> Result<usize, Flaw> {
    let (mut data, mut blocks) = (0u64, 0);
    for section in &mut *sections {
        if section.blocks as u64 > section.bytes / HEADER_BYTES as u64 {
            return Err(flaw(format_args!("section of {} blocks in {} bytes", section.blocks, section.bytes)));
        }
        section.places = Places { data, first_block: blocks, ..section.places };
        data = data.checked_add(section.bytes).filter(|end| *end <= directory_offset).ok_or_else(past_end)?;
        blocks += section.blocks;
    }
    let mut at = data;
    for section in &mut *sections {
        section.places.filter = at;
        section.places.lines = at + pad_bytes(at, section.filter_lines) as u64;
        section.places.index = at + section.filter_bytes() as u64;
        at = section.places.index + section.index_bytes() as u64;
        if at > directory_offset {
            return Err(past_end());
        }
    }
    if at != directory_offset {
        return Err(flaw(format_args!("sections that end at byte {at}, expected {directory_offset}")));
    }
    Ok(blocks)
}

#[cold]
fn past_end() -> Flaw {
    flaw("sections that reach behind the start of the directory")
}

fn check(sections: &[Section], properties: &Properties) -> Result<(), Flaw> {
    let mut counts = Counts::default();
    sections.iter().for_each(|section| counts.add(section.counts));
    let Properties { entries, tombstones, operands, expiring, .. } = *properties;
    if counts != (Counts { entries, tombstones, operands, expiring }) {
        return Err(flaw(format_args!("{entries} entries in all, expected {}", counts.entries)));
    }
    Ok(())
}
