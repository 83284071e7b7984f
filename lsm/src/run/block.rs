//! A block: up to 255 entries in key order, found by hash without searching or by key without unpacking.
//!
//! Its bytes are drawn in [`crate::format`]: a header of 48 bytes, then table, slots, shared prefix and entries.
//!
//! Only the body is compressed. The *image* of a block is its header and the decompressed body; a [`Block`] is a view of an
//! image. The checksum says that nothing was flipped; the arithmetic of the header is checked by [`Block::read`] and that
//! of an entry wherever it is decoded, so hostile bytes give a [`Flaw`] or wrong entries, never a panic.
//!
//! A point get touches one cache line each of header, table, slots and entry. Hash and offset stand side by side for that;
//! the table comes first, and indexes know its size, so that its line can be asked for together with the header's.

use std::ops::Range;

use super::flaw::{Flaw, flaw};
use crate::codec::Reader;
use crate::entry::{CLOCKS_MAX, ClockId, Expiry, KEY_BYTES_MAX, Kind};
use crate::prefetch::prefetch;

pub(super) const HEADER_BYTES: usize = 48;
pub(super) const SLOT_BYTES: usize = 6;
pub(super) const COUNT_MAX: usize = 255;
pub(super) const EMPTY: u8 = 0xff;
/// The clock byte of a block in which nothing expires, or by several clocks.
pub(super) const NO_CLOCK: u8 = 0xff;
/// Longer values live in extents.
pub(super) const INLINE_BYTES_MAX: usize = 8 << 10;
/// No writer makes larger ones: offsets have 16 bits, prefix and last entry come on top.
pub(super) const BLOCK_BYTES_MAX: usize = 1 << 20;

pub(super) const HAS_EXTENTS: u8 = 1;
pub(super) const HAS_SCANNED: u8 = 2;

pub(super) const KIND_BITS: u8 = 3;
pub(super) const EXPIRES: u8 = 4;
pub(super) const HAS_WRITTEN: u8 = 8;
pub(super) const IS_EXTENT: u8 = 16;

/// The fixed part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub crc: u32,
    pub stored: u32,
    pub raw: u32,
    pub codec: u8,
    pub flags: u8,
    pub count: u16,
    pub shared: u16,
    pub table: u16,
    pub tombstones: u8,
    pub operands: u8,
    pub expiring: u8,
    pub clock: u8,
    pub key_bytes: u32,
    pub value_bytes: u32,
    pub first_at: u64,
    pub last_at: u64,
}

impl Header {
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Header, Flaw> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(no_header(bytes.len())) };
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Ok(Header {
            crc: u32_at(0),
            stored: u32_at(4),
            raw: u32_at(8),
            codec: head[12],
            flags: head[13],
            count: u16_at(14),
            shared: u16_at(16),
            table: u16_at(18),
            tombstones: head[20],
            operands: head[21],
            expiring: head[22],
            clock: head[23],
            key_bytes: u32_at(24),
            value_bytes: u32_at(28),
            first_at: u64_at(32),
            last_at: u64_at(40),
        })
    }

    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&self.crc.to_le_bytes());
        out[4..8].copy_from_slice(&self.stored.to_le_bytes());
        out[8..12].copy_from_slice(&self.raw.to_le_bytes());
        out[12] = self.codec;
        out[13] = self.flags;
        out[14..16].copy_from_slice(&self.count.to_le_bytes());
        out[16..18].copy_from_slice(&self.shared.to_le_bytes());
        out[18..20].copy_from_slice(&self.table.to_le_bytes());
        out[20..24].copy_from_slice(&[self.tombstones, self.operands, self.expiring, self.clock]);
        out[24..28].copy_from_slice(&self.key_bytes.to_le_bytes());
        out[28..32].copy_from_slice(&self.value_bytes.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_at.to_le_bytes());
        out[40..48].copy_from_slice(&self.last_at.to_le_bytes());
        out
    }

    /// What must hold for the counts of a header to be believed.
    pub fn check(&self) -> Result<(), Flaw> {
        let count = self.count;
        let counts =
            u16::from(self.tombstones) + u16::from(self.operands) <= count && u16::from(self.expiring) <= count;
        let clock = self.clock == NO_CLOCK || (usize::from(self.clock) < CLOCKS_MAX && self.expiring > 0);
        if !counts || !clock || self.flags & !(HAS_EXTENTS | HAS_SCANNED) != 0 || self.first_at > self.last_at {
            return Err(flaw(format_args!("block header that contradicts itself ({count} entries)")));
        }
        Ok(())
    }

    /// Whether entries expire by more than one clock.
    pub fn is_mixed(&self) -> bool {
        self.expiring > 0 && self.clock == NO_CLOCK
    }
}

#[cold]
fn no_header(found: usize) -> Flaw {
    flaw(format_args!("block of {found} bytes, expected at least {HEADER_BYTES}"))
}

/// Where a long value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub offset: u64,
    pub length: u32,
    pub crc: u32,
}

/// Where the parts of a block stand in its image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    pub count: usize,
    shared: usize,
    slots_at: usize,
    prefix_at: usize,
    entries_at: usize,
}

impl Layout {
    #[inline]
    pub fn read(image: &[u8]) -> Result<Layout, Flaw> {
        let header = Header::read(image)?;
        let (count, shared, table) = (usize::from(header.count), usize::from(header.shared), usize::from(header.table));
        let slots_at = HEADER_BYTES + table;
        let prefix_at = slots_at + count * SLOT_BYTES;
        let entries_at = prefix_at + shared;
        let whole = image.len() == HEADER_BYTES + header.raw as usize && entries_at < image.len();
        if !whole || count == 0 || count > COUNT_MAX || !table.is_power_of_two() || table <= count {
            return Err(bad_layout(&header, image.len()));
        }
        Ok(Layout { count, shared, slots_at, prefix_at, entries_at })
    }
}

#[cold]
fn bad_layout(header: &Header, image: usize) -> Flaw {
    let Header { raw, count, shared, table, .. } = header;
    flaw(format_args!(
        "block of {count} entries, a table of {table} and a prefix of {shared} bytes in a body of {raw}, which do not fit \
         (image of {image} bytes)"
    ))
}

/// A view of a block's image.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    image: &'a [u8],
    layout: Layout,
}

/// An entry whose key has been decoded.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub flags: u8,
    pub suffix: &'a [u8],
    /// Where in the image the entry goes on behind its suffix.
    pub tail: usize,
}

/// An entry behind its key.
pub(super) struct StoredEntry {
    pub kind: Kind,
    pub expiry: Option<Expiry>,
    pub written: u64,
    pub value: StoredValue,
}

pub(super) enum StoredValue {
    /// Bytes of the image.
    Inline(Range<usize>),
    Extent(Extent),
}

impl<'a> Block<'a> {
    /// Looks at an image, whose header's arithmetic it checks.
    #[inline]
    pub fn read(image: &'a [u8]) -> Result<Block<'a>, Flaw> {
        Ok(Block { image, layout: Layout::read(image)? })
    }

    /// Looks again at an image whose layout was read before.
    #[inline]
    pub fn with_layout(image: &'a [u8], layout: Layout) -> Block<'a> {
        Block { image, layout }
    }

    pub fn count(&self) -> usize {
        self.layout.count
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What all keys start with.
    #[inline]
    pub fn prefix(&self) -> &'a [u8] {
        self.image.get(self.layout.prefix_at..self.layout.entries_at).unwrap_or(&[])
    }

    /// Hash of a slot's key, and where its entry starts in the image.
    #[inline]
    pub fn slot(&self, slot: usize) -> Result<(u32, usize), Flaw> {
        let at = self.layout.slots_at + slot * SLOT_BYTES;
        let Some(&[a, b, c, d, low, high]) = self.image.get(at..).and_then(|rest| rest.first_chunk::<SLOT_BYTES>())
        else {
            return Err(flaw(format_args!("slot {slot} behind the end of the block")));
        };
        let offset = usize::from(u16::from_le_bytes([low, high]));
        Ok((u32::from_le_bytes([a, b, c, d]), self.layout.entries_at + offset))
    }

    /// Decodes the key of the entry at `at`.
    #[inline]
    pub fn spot_at(&self, at: usize) -> Result<Spot<'a>, Flaw> {
        let mut reader = Reader::new(self.image.get(at..).unwrap_or(&[]));
        let flags = reader.u8()?;
        let suffix = reader.framed(KEY_BYTES_MAX - self.layout.shared)?;
        Ok(Spot { flags, suffix, tail: self.image.len() - reader.rest().len() })
    }

    /// Decodes the key of a slot.
    #[inline]
    pub fn spot(&self, slot: usize) -> Result<Spot<'a>, Flaw> {
        let (_, at) = self.slot(slot)?;
        self.spot_at(at)
    }

    /// The entry of `key`, which hashes to `hash`.
    #[inline]
    pub fn find(&self, hash: u32, key: &[u8]) -> Result<Option<Spot<'a>>, Flaw> {
        let Some(suffix) = key.strip_prefix(self.prefix()) else { return Ok(None) };
        let table = self.image.get(HEADER_BYTES..self.layout.slots_at).unwrap_or(&[]);
        let mask = table.len().wrapping_sub(1);
        for step in 0..table.len() {
            let slot = table[(hash as usize).wrapping_add(step) & mask];
            if slot == EMPTY {
                return Ok(None);
            }
            let (stored, at) = self.slot(usize::from(slot))?;
            if stored == hash {
                let spot = self.spot_at(at)?;
                if spot.suffix == suffix {
                    return Ok(Some(spot));
                }
            }
        }
        Ok(None)
    }

    /// Whether a search for `hash` comes to `slot`, over slots that there are.
    #[inline]
    pub fn leads_to(&self, slot: usize, hash: u32) -> bool {
        let table = self.image.get(HEADER_BYTES..self.layout.slots_at).unwrap_or(&[]);
        let mask = table.len().wrapping_sub(1);
        let mut cells = (0..table.len()).map(|step| usize::from(table[(hash as usize).wrapping_add(step) & mask]));
        // What is empty is behind all slots too.
        cells.find(|found| *found == slot || *found >= self.count()) == Some(slot)
    }

    /// The first slot whose key is not smaller than `key`; `count` when all are.
    pub fn lower_bound(&self, key: &[u8]) -> Result<usize, Flaw> {
        let prefix = self.prefix();
        let (head, suffix) = key.split_at(key.len().min(prefix.len()));
        match head.cmp(prefix) {
            std::cmp::Ordering::Less => return Ok(0),
            std::cmp::Ordering::Greater => return Ok(self.count()),
            std::cmp::Ordering::Equal => {}
        }
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            // Whichever comes next is on its way while this one is compared.
            for next in [low.midpoint(middle), (middle + 1).midpoint(high)] {
                let at = self.slot(next.min(self.count() - 1)).map_or(0, |(_, at)| at);
                prefetch(self.image.get(at..).unwrap_or(&[]));
            }
            if self.spot(middle)?.suffix < suffix {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// How the key of a slot compares with `key`.
    pub fn compare(&self, slot: usize, key: &[u8]) -> Result<std::cmp::Ordering, Flaw> {
        let prefix = self.prefix();
        let (head, suffix) = key.split_at(key.len().min(prefix.len()));
        let order = prefix.cmp(head);
        Ok(if order.is_eq() { self.spot(slot)?.suffix.cmp(suffix) } else { order })
    }

    /// The whole key of a slot.
    pub fn key(&self, slot: usize) -> Result<Vec<u8>, Flaw> {
        Ok([self.prefix(), self.spot(slot)?.suffix].concat())
    }

    /// Decodes what stands behind an entry's key.
    #[inline]
    pub fn entry(&self, flags: u8, tail: usize) -> Result<StoredEntry, Flaw> {
        let kind = kind_of(flags)?;
        if kind == Kind::Tombstone {
            return Ok(StoredEntry { kind, expiry: None, written: 0, value: StoredValue::Inline(tail..tail) });
        }
        let mut reader = Reader::new(self.image.get(tail..).unwrap_or(&[]));
        let mut expiry = None;
        if flags & EXPIRES != 0 {
            let clock = ClockId(reader.u8()?);
            if usize::from(clock.0) >= CLOCKS_MAX {
                return Err(flaw(format_args!("entry with clock {}, expected less than {CLOCKS_MAX}", clock.0)));
            }
            expiry = Some(Expiry { clock, at: reader.varint()? });
        }
        let written = if flags & HAS_WRITTEN != 0 { reader.varint()? } else { 0 };
        let value = if flags & IS_EXTENT != 0 {
            StoredValue::Extent(Extent { offset: reader.u64()?, length: reader.u32()?, crc: reader.u32()? })
        } else {
            let bytes = reader.framed(INLINE_BYTES_MAX)?.len();
            let end = self.image.len() - reader.rest().len();
            StoredValue::Inline(end - bytes..end)
        };
        Ok(StoredEntry { kind, expiry, written, value })
    }
}

/// What an entry with these flags is.
#[inline]
pub(super) fn kind_of(flags: u8) -> Result<Kind, Flaw> {
    match flags & KIND_BITS {
        _ if flags & !(KIND_BITS | EXPIRES | HAS_WRITTEN | IS_EXTENT) != 0 => {}
        0 => return Ok(Kind::Value),
        1 if flags == Kind::Tombstone as u8 => return Ok(Kind::Tombstone),
        2 => return Ok(Kind::Operand),
        _ => {}
    }
    Err(flaw(format_args!("entry with flags {flags:#x}")))
}

/// Walks through an image in every way, for tests and fuzz targets: whatever the bytes, nothing panics.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn walk_block(image: &[u8]) {
    let Ok(block) = Block::read(image) else { return };
    for slot in 0..=block.count() {
        if let Ok(spot) = block.spot(slot) {
            block.entry(spot.flags, spot.tail).ok();
        }
        block.key(slot).ok();
        block.slot(slot).map(|(hash, _)| block.leads_to(slot, hash)).ok();
        block.compare(slot, b"key/1").ok();
    }
    for key in [&b"key/007"[..], b"", b"key/long", b"zzz"] {
        block.find(crate::codec::hash32(key), key).ok();
        block.lower_bound(key).ok();
    }
}
