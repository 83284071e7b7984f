//! Builds the image of one block.
//!
//! Keys are kept whole until the block is sealed, since only then it is known what they share. How large the block would
//! become with one more entry is known at any time: keys arrive in order, so what all share is what the first and the
//! newest share.

use super::block::{
    COUNT_MAX, EMPTY, EXPIRES, Extent, HAS_EXTENTS, HAS_SCANNED, HAS_WRITTEN, HEADER_BYTES, Header, IS_EXTENT,
    NO_CLOCK, SLOT_BYTES,
};
use super::section::ClockSpans;
use crate::codec::{put_varint, varint_bytes};
use crate::entry::{Entry, Kind};
use crate::key::shared_prefix;

/// Offsets of entries have 16 bits.
pub(super) const ENTRIES_BYTES_MAX: usize = 60_000;
/// Unshared and shared bytes of keys that a block under construction may hold.
const KEYS_BYTES_MAX: usize = 1 << 20;
/// Flags and the length of a suffix, at most.
const ENTRY_BYTES_EXTRA: usize = 4;

/// Collects the entries of a block.
#[derive(Default)]
pub(super) struct BlockBuilder {
    keys: Vec<u8>,
    tails: Vec<u8>,
    slots: Vec<Pending>,
    shared: usize,
    header_flags: u8,
    tombstones: u8,
    operands: u8,
    spans: ClockSpans,
    value_bytes: usize,
}

struct Pending {
    hash: u32,
    flags: u8,
    key_end: u32,
    tail_end: u32,
}

impl BlockBuilder {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// An upper bound of the image's length as it stands.
    pub fn image_bytes(&self) -> usize {
        self.sizes(self.shared, 0, 0, self.slots.len()).0
    }

    /// Whether the image stays within `image_max` with one more entry. An empty block takes any entry.
    pub fn fits(&self, key: &[u8], tail_bytes: usize, image_max: usize) -> bool {
        if self.is_empty() {
            return true;
        }
        if self.slots.len() == COUNT_MAX || self.keys.len() + key.len() > KEYS_BYTES_MAX {
            return false;
        }
        let (image, entries) = self.sizes(self.shared_with(key), key.len(), tail_bytes, self.slots.len() + 1);
        image <= image_max && entries <= ENTRIES_BYTES_MAX
    }

    /// Bytes of image and of entries.
    fn sizes(&self, shared: usize, key: usize, tail: usize, count: usize) -> (usize, usize) {
        let suffixes = self.keys.len() + key - count * shared;
        let entries = suffixes + self.tails.len() + tail + count * ENTRY_BYTES_EXTRA;
        (HEADER_BYTES + count * SLOT_BYTES + table_slots(count) + shared + entries, entries)
    }

    #[inline]
    fn shared_with(&self, key: &[u8]) -> usize {
        let first = &self.keys[..self.shared];
        if key.starts_with(first) { self.shared } else { shared_prefix(first, key) }
    }

    /// Adds an entry with a larger key than all before; the value of a long one is in its extent.
    pub fn push(&mut self, key: &[u8], hash: u32, entry: &Entry<'_>, extent: Option<Extent>, scanned: bool) {
        self.shared = if self.is_empty() { key.len() } else { self.shared_with(key) };
        self.keys.extend_from_slice(key);
        let flags = put_tail(&mut self.tails, entry, extent);
        self.slots.push(Pending {
            hash,
            flags,
            key_end: u32::try_from(self.keys.len()).expect("the keys of a block are bounded"),
            tail_end: u32::try_from(self.tails.len()).expect("the entries of a block are bounded"),
        });
        self.tombstones += u8::from(entry.kind == Kind::Tombstone);
        self.operands += u8::from(entry.kind == Kind::Operand);
        if let Some(expiry) = entry.expiry {
            self.spans.add(expiry);
        }
        match extent {
            Some(_) => self.header_flags |= HAS_EXTENTS,
            None => self.value_bytes += entry.value.len(),
        }
        if scanned {
            self.header_flags |= HAS_SCANNED;
        }
    }

    /// Replaces `out` by the image, uncompressed and without checksum; empties the builder. Returns the clocks of its entries.
    pub fn seal(&mut self, out: &mut Vec<u8>) -> ClockSpans {
        assert!(!self.is_empty(), "a block has at least one entry");
        out.clear();
        out.resize(HEADER_BYTES, 0);
        let (count, shared) = (self.slots.len(), self.shared);
        let table = table_slots(count);
        self.put_table(table, out);
        let (mut offset, mut key_start, mut tail_start) = (0, 0, 0);
        for Pending { hash, key_end, tail_end, .. } in &self.slots {
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&u16::try_from(offset).expect("entries end below 60,000").to_le_bytes());
            let suffix = (*key_end - key_start) as usize - shared;
            offset += 1 + varint_bytes(suffix as u64) + suffix + (*tail_end - tail_start) as usize;
            (key_start, tail_start) = (*key_end, *tail_end);
        }
        out.extend_from_slice(&self.keys[..shared]);
        let (mut key_start, mut tail_start) = (0, 0);
        for Pending { flags, key_end, tail_end, .. } in &self.slots {
            let suffix = &self.keys[key_start + shared..*key_end as usize];
            out.push(*flags);
            put_varint(out, suffix.len() as u64);
            out.extend_from_slice(suffix);
            out.extend_from_slice(&self.tails[tail_start..*tail_end as usize]);
            (key_start, tail_start) = (*key_end as usize, *tail_end as usize);
        }
        let header = self.header(table, out.len() - HEADER_BYTES).to_bytes();
        out[..HEADER_BYTES].copy_from_slice(&header);
        self.clear()
    }

    fn put_table(&self, table: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + table, EMPTY);
        let cells = &mut out[start..];
        for (slot, pending) in self.slots.iter().enumerate() {
            let mut at = pending.hash as usize & (table - 1);
            while cells[at] != EMPTY {
                at = (at + 1) & (table - 1);
            }
            cells[at] = u8::try_from(slot).expect("a block has at most 255 slots");
        }
    }

    fn header(&self, table: usize, body: usize) -> Header {
        let body = u32::try_from(body).expect("a block is bounded");
        let span = self.spans.only();
        Header {
            crc: 0,
            stored: body,
            raw: body,
            codec: 0,
            flags: self.header_flags,
            count: self.slots.len() as u16,
            shared: u16::try_from(self.shared).expect("keys are bounded"),
            table: table as u16,
            tombstones: self.tombstones,
            operands: self.operands,
            expiring: self.spans.count() as u8,
            clock: span.map_or(NO_CLOCK, |span| span.clock.0),
            key_bytes: self.keys.len() as u32,
            value_bytes: u32::try_from(self.value_bytes).expect("inline values are bounded"),
            first_at: span.map_or(0, |span| span.first_at),
            last_at: span.map_or(0, |span| span.last_at),
        }
    }

    fn clear(&mut self) -> ClockSpans {
        self.keys.clear();
        self.tails.clear();
        self.slots.clear();
        (self.shared, self.header_flags, self.tombstones, self.operands, self.value_bytes) = (0, 0, 0, 0, 0);
        std::mem::take(&mut self.spans)
    }
}

/// The least power of two that leaves a quarter of the table empty.
fn table_slots(count: usize) -> usize {
    (count * 4).div_ceil(3).max(2).next_power_of_two()
}

/// How many bytes an entry takes behind its key.
pub(super) fn tail_bytes(entry: &Entry<'_>, is_extent: bool) -> usize {
    if entry.kind == Kind::Tombstone {
        return 0;
    }
    let expiry = entry.expiry.map_or(0, |expiry| 1 + varint_bytes(expiry.at));
    let written = if entry.written != 0 { varint_bytes(entry.written) } else { 0 };
    let value = if is_extent { 16 } else { varint_bytes(entry.value.len() as u64) + entry.value.len() };
    expiry + written + value
}

fn put_tail(out: &mut Vec<u8>, entry: &Entry<'_>, extent: Option<Extent>) -> u8 {
    let mut flags = entry.kind as u8;
    if entry.kind == Kind::Tombstone {
        return flags;
    }
    if let Some(expiry) = entry.expiry {
        flags |= EXPIRES;
        out.push(expiry.clock.0);
        put_varint(out, expiry.at);
    }
    if entry.written != 0 {
        flags |= HAS_WRITTEN;
        put_varint(out, entry.written);
    }
    if let Some(Extent { offset, length, crc }) = extent {
        flags |= IS_EXTENT;
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
    } else {
        put_varint(out, entry.value.len() as u64);
        out.extend_from_slice(entry.value);
    }
    flags
}
