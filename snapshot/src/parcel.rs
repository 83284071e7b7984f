//! The shipped form of a run: compressed piece by piece, so that any range can be fetched and checked alone.
//!
//! ```text
//! 0        ┌───────────────────────────────┐
//!          │ zstd frame of bytes 0..65536  │   one frame for each 64 KiB of the run, in order
//!          │ zstd frame of the next 64 KiB │
//!          │ …                             │
//! table    ├───────────────────────────────┤
//!          │ u32 length, u32 CRC-32        │   of each frame as it is stored
//!          │ …                             │
//! end - 64 ├───────────────────────────────┤
//!          │ footer                        │   "BEDLPRC1", u32 version, u32 bytes of a chunk, the run's name (16), u64 length of
//!          └───────────────────────────────┘   the run, u64 table, u32 CRC of the table, u64 zero, u32 CRC of the footer
//! ```
//!
//! All numbers are little-endian. A CRC is seeded with the run's name and the place (a chunk's number, or the offset of table and
//! footer), so that what was swapped or read from elsewhere does not pass. Whoever knows the length of the run and of the parcel
//! reads table and footer in one piece from the end.
//!
//! Pure: bytes in, bytes out. Bounded: an encoder holds one chunk and the table, eight bytes for 64 KiB.

use std::ops::Range;

use bedload_lsm::RunId;
use bytes::Bytes;

/// Bytes of a run in one chunk.
pub(crate) const CHUNK_BYTES: u64 = 64 << 10;

const FOOTER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"BEDLPRC1";
const VERSION: u32 = 1;
const ENTRY_BYTES: usize = 8;

/// How long the stored form of a chunk may be: zstd's bound for what cannot be compressed, and some.
const STORED_BYTES_MAX: u32 = CHUNK_BYTES as u32 + 1024;

/// What is wrong with a parcel: where, and what was found and expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParcelFlaw {
    /// The byte of the parcel.
    pub offset: u64,
    /// What was found and what was expected.
    pub what: String,
}

/// How many chunks a run of `bytes` has.
pub(crate) fn chunk_count(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK_BYTES)
}

/// The bytes of a run of `bytes` that chunk `number` holds.
pub(crate) fn chunk_range(bytes: u64, number: u64) -> Range<u64> {
    let start = number * CHUNK_BYTES;
    start..bytes.min(start + CHUNK_BYTES)
}

/// The length of table and footer of a parcel, for a run of `bytes`.
pub(crate) fn tail_bytes(bytes: u64) -> u64 {
    chunk_count(bytes) * ENTRY_BYTES as u64 + FOOTER_BYTES as u64
}

/// Makes a parcel of a run, chunk by chunk.
pub(crate) struct ParcelEncoder {
    run: RunId,
    compressor: zstd::bulk::Compressor<'static>,
    table: Vec<u8>,
    chunks: u64,
    bytes: u64,
    stored: u64,
}

impl ParcelEncoder {
    /// For the run of this name; `level` is zstd's.
    pub fn new(run: RunId, level: i32) -> ParcelEncoder {
        let compressor = zstd::bulk::Compressor::new(level).expect("zstd knows its levels");
        ParcelEncoder { run, compressor, table: Vec::new(), chunks: 0, bytes: 0, stored: 0 }
    }

    /// Appends the stored form of the next chunk to `out`: [`CHUNK_BYTES`], fewer only at the end of the run.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        assert!(self.bytes.is_multiple_of(CHUNK_BYTES), "only the last chunk is shorter");
        assert!((1..=CHUNK_BYTES as usize).contains(&chunk.len()), "a chunk of {} bytes", chunk.len());
        let stored = self.compressor.compress(chunk).expect("memory is all that it needs");
        assert!(stored.len() <= STORED_BYTES_MAX as usize, "zstd keeps its bound");
        self.push_stored(&stored, chunk.len() as u64, out);
    }

    /// Appends the stored form of the next chunk, which has `bytes`, whatever it is.
    pub fn push_stored(&mut self, stored: &[u8], bytes: u64, out: &mut Vec<u8>) {
        let length = u32::try_from(stored.len()).expect("a chunk is small");
        self.table.extend(length.to_le_bytes());
        self.table.extend(checksum(self.run, self.chunks, stored).to_le_bytes());
        out.extend_from_slice(stored);
        self.chunks += 1;
        self.bytes += bytes;
        self.stored += u64::from(length);
    }

    /// Table and footer.
    pub fn finish(self) -> Vec<u8> {
        let mut out = self.table;
        let table_crc = checksum(self.run, self.stored, &out);
        let at = out.len();
        let footer_offset = self.stored + at as u64;
        out.extend_from_slice(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((CHUNK_BYTES as u32).to_le_bytes());
        out.extend(self.run.to_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.stored.to_le_bytes());
        out.extend(table_crc.to_le_bytes());
        out.extend([0; 8]);
        let crc = checksum(self.run, footer_offset, &out[at..]);
        out.extend(crc.to_le_bytes());
        assert_eq!(out.len() - at, FOOTER_BYTES);
        out
    }
}

/// Where the chunks of a parcel are.
#[derive(Clone, Debug)]
pub(crate) struct ParcelTable {
    run: RunId,
    /// The length of the run.
    bytes: u64,
    /// Where each chunk starts; one more for the end.
    starts: Vec<u64>,
    crcs: Vec<u32>,
}

impl ParcelTable {
    /// Reads `tail`, the last [`tail_bytes`] of the parcel of `run`, which has `bytes`; the parcel has `parcel_bytes`.
    pub fn read(tail: &[u8], run: RunId, bytes: u64, parcel_bytes: u64) -> Result<ParcelTable, ParcelFlaw> {
        let tail_start = parcel_bytes.saturating_sub(tail.len() as u64);
        let at = |offset: usize, what: String| ParcelFlaw { offset: tail_start + offset as u64, what };
        if tail.len() as u64 != tail_bytes(bytes) || tail.len() as u64 > parcel_bytes {
            return Err(at(0, format!("parcel of {parcel_bytes} bytes for a run of {bytes}")));
        }
        let (table, footer) = tail.split_at(tail.len() - FOOTER_BYTES);
        let footer_at = |offset| table.len() + offset;
        if &footer[..8] != MAGIC {
            let found = footer[..8].escape_ascii().to_string();
            return Err(at(footer_at(0), format!("footer that starts with {found:?}, expected {:?}", "BEDLPRC1")));
        }
        let number = |offset: usize| u32::from_le_bytes(footer[offset..offset + 4].try_into().expect("four bytes"));
        let long = |offset: usize| u64::from_le_bytes(footer[offset..offset + 8].try_into().expect("eight bytes"));
        let expected = checksum(run, tail_start + table.len() as u64, &footer[..FOOTER_BYTES - 4]);
        if number(60) != expected {
            return Err(at(footer_at(60), format!("footer checksum {:08x}, expected {expected:08x}", number(60))));
        }
        if number(8) != VERSION || u64::from(number(12)) != CHUNK_BYTES {
            let what =
                format!("parcel of version {} with chunks of {} bytes: use a newer bedload", number(8), number(12));
            return Err(at(footer_at(8), what));
        }
        if footer[16..32] != run.to_bytes() || long(32) != bytes || long(40) != tail_start {
            let what = format!("parcel of a run of {} bytes, expected run {run} of {bytes}", long(32));
            return Err(at(footer_at(16), what));
        }
        let expected = checksum(run, tail_start, table);
        if number(48) != expected {
            return Err(at(0, format!("chunk table checksum {expected:08x}, expected {:08x}", number(48))));
        }
        let (mut starts, mut crcs) = (Vec::with_capacity(table.len() / ENTRY_BYTES + 1), Vec::new());
        let mut start = 0;
        for (index, entry) in table.chunks_exact(ENTRY_BYTES).enumerate() {
            let length = u32::from_le_bytes(entry[..4].try_into().expect("four bytes"));
            if length == 0 || length > STORED_BYTES_MAX {
                return Err(at(index * ENTRY_BYTES, format!("chunk of {length} stored bytes")));
            }
            starts.push(start);
            start += u64::from(length);
            crcs.push(u32::from_le_bytes(entry[4..].try_into().expect("four bytes")));
        }
        if start != tail_start {
            return Err(at(0, format!("chunks of {start} bytes together, expected {tail_start}")));
        }
        starts.push(start);
        Ok(ParcelTable { run, bytes, starts, crcs })
    }

    /// How many chunks there are.
    #[cfg(test)]
    pub fn chunks(&self) -> u64 {
        self.crcs.len() as u64
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The length of the run.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the stored forms of all chunks end.
    pub fn end(&self) -> u64 {
        *self.starts.last().expect("the last start is the end")
    }

    /// Where the stored forms of some chunks are in the parcel.
    pub fn span(&self, chunks: Range<u64>) -> Range<u64> {
        self.starts[chunks.start as usize]..self.starts[chunks.end as usize]
    }

    /// Checks the stored form of chunk `number`.
    fn check(&self, number: u64, stored: &[u8]) -> Result<(), ParcelFlaw> {
        let (offset, expected) = (self.starts[number as usize], self.crcs[number as usize]);
        let found = checksum(self.run, number, stored);
        if found == expected {
            return Ok(());
        }
        Err(ParcelFlaw { offset, what: format!("chunk checksum {found:08x}, expected {expected:08x}") })
    }

    /// Checks the stored form of chunk `number` and appends the run's bytes to `out`.
    pub fn decode(&self, number: u64, stored: &[u8], out: &mut Vec<u8>) -> Result<(), ParcelFlaw> {
        self.check(number, stored)?;
        let flaw = |what: String| ParcelFlaw { offset: self.starts[number as usize], what };
        let range = chunk_range(self.bytes, number);
        let expected = (range.end - range.start) as usize;
        let chunk = zstd::bulk::decompress(stored, expected).map_err(|cause| flaw(format!("chunk: {cause}")))?;
        if chunk.len() != expected {
            return Err(flaw(format!("chunk of {} bytes, expected {expected}", chunk.len())));
        }
        out.extend_from_slice(&chunk);
        Ok(())
    }

    /// Checks the stored forms of `chunks`, which `stored` holds one after the other, and gives the run's bytes.
    pub fn decode_all(&self, chunks: Range<u64>, stored: &Bytes) -> Result<Vec<u8>, ParcelFlaw> {
        let mut out = Vec::with_capacity(((chunks.end - chunks.start) * CHUNK_BYTES) as usize);
        for (number, stored) in self.each(chunks, stored) {
            self.decode(number, stored, &mut out)?;
        }
        Ok(out)
    }

    /// Checks the stored forms of `chunks`, which `stored` holds one after the other.
    pub fn check_all(&self, chunks: Range<u64>, stored: &Bytes) -> Result<(), ParcelFlaw> {
        self.each(chunks, stored).try_for_each(|(number, stored)| self.check(number, stored))
    }

    fn each<'a>(&'a self, chunks: Range<u64>, stored: &'a Bytes) -> impl Iterator<Item = (u64, &'a [u8])> {
        let span = self.span(chunks.clone());
        assert_eq!(stored.len() as u64, span.end - span.start, "the reader has compared the length");
        chunks.map(move |number| {
            let place = self.span(number..number + 1);
            (number, &stored[(place.start - span.start) as usize..(place.end - span.start) as usize])
        })
    }
}

/// Makes the checksums of a parcel with other bytes in it right, where its chunks are as its table tells: what is wrong is found
/// behind them, or not.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn reseal(parcel: &mut [u8], run: RunId, bytes: u64) {
    let tail = usize::try_from(tail_bytes(bytes)).unwrap_or(usize::MAX);
    let Some(table_at) = parcel.len().checked_sub(tail) else { return };
    let footer_at = parcel.len() - FOOTER_BYTES;
    let mut start = 0;
    for (number, at) in (table_at..footer_at).step_by(ENTRY_BYTES).enumerate() {
        let length = u32::from_le_bytes(parcel[at..at + 4].try_into().expect("four bytes")) as usize;
        let Some(chunk) = parcel[..table_at].get(start..start + length) else { break };
        let crc = checksum(run, number as u64, chunk);
        parcel[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        start += length;
    }
    let crc = checksum(run, table_at as u64, &parcel[table_at..footer_at]);
    parcel[footer_at + 48..footer_at + 52].copy_from_slice(&crc.to_le_bytes());
    let crc = checksum(run, footer_at as u64, &parcel[footer_at..footer_at + 60]);
    parcel[footer_at + 60..].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32 of `bytes` as they stand at `place` of the parcel of `run`.
pub(crate) fn checksum(run: RunId, place: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&run.to_bytes());
    hasher.update(&place.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: RunId = RunId { opening: 7, sequence: 3 };

    fn encode(raw: &[u8]) -> Vec<u8> {
        let mut encoder = ParcelEncoder::new(RUN, 1);
        let mut out = Vec::new();
        raw.chunks(CHUNK_BYTES as usize).for_each(|chunk| encoder.push(chunk, &mut out));
        out.extend(encoder.finish());
        out
    }

    fn table(parcel: &[u8], bytes: u64) -> Result<ParcelTable, ParcelFlaw> {
        let tail = parcel.len().saturating_sub(tail_bytes(bytes) as usize);
        ParcelTable::read(&parcel[tail..], RUN, bytes, parcel.len() as u64)
    }

    fn decode(parcel: &[u8], bytes: u64) -> Result<Vec<u8>, ParcelFlaw> {
        let table = table(parcel, bytes)?;
        let span = table.span(0..table.chunks());
        table.decode_all(0..table.chunks(), &Bytes::copy_from_slice(&parcel[span.start as usize..span.end as usize]))
    }

    fn sample(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|index| ((index * index) >> 7) as u8).collect()
    }

    #[test]
    fn any_chunk_can_be_read_alone() {
        for bytes in [1, 100, 65_535, 65_536, 65_537, 200_000] {
            let raw = sample(bytes);
            let parcel = encode(&raw);
            assert_eq!(decode(&parcel, bytes as u64).unwrap(), raw);
            let table = table(&parcel, bytes as u64).unwrap();
            for number in 0..table.chunks() {
                let place = table.span(number..number + 1);
                let mut out = Vec::new();
                table.decode(number, &parcel[place.start as usize..place.end as usize], &mut out).unwrap();
                let range = chunk_range(bytes as u64, number);
                assert_eq!(out, raw[range.start as usize..range.end as usize]);
            }
        }
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let raw = sample(150_000);
        let parcel = encode(&raw);
        let tail = parcel.len() - tail_bytes(150_000) as usize;
        for index in (0..tail).step_by(61).chain(tail..parcel.len()) {
            let mut flipped = parcel.clone();
            flipped[index] ^= 0x10;
            decode(&flipped, 150_000).expect_err("a flipped byte");
        }
    }

    #[test]
    fn swapped_chunks_and_foreign_parcels_are_found() {
        let raw = [7; 131_072];
        let parcel = encode(&raw);
        let one = table(&parcel, 131_072).unwrap();
        let (first, second) = (one.span(0..1), one.span(1..2));
        assert_eq!(
            parcel[first.start as usize..first.end as usize],
            parcel[second.start as usize..second.end as usize]
        );
        let error = one.decode(1, &parcel[..10], &mut Vec::new()).unwrap_err();
        assert!(error.what.starts_with("chunk checksum "), "{error:?}");
        // Equal bytes at another place have another checksum.
        assert_ne!(one.crcs[0], one.crcs[1]);
        let other = RunId { opening: 7, sequence: 4 };
        let tail = &parcel[parcel.len() - tail_bytes(131_072) as usize..];
        ParcelTable::read(tail, other, 131_072, parcel.len() as u64).expect_err("the parcel of another run");
    }

    #[test]
    fn a_bomb_does_not_unpack() {
        // A frame of 64 MiB of zeros, under right checksums, where 64 KiB are expected.
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let table = ParcelTable {
            run: RUN,
            bytes: CHUNK_BYTES,
            starts: vec![0, bomb.len() as u64],
            crcs: vec![checksum(RUN, 0, &bomb)],
        };
        let error = table.decode(0, &bomb, &mut Vec::new()).unwrap_err();
        assert!(error.what.starts_with("chunk"), "{error:?}");
    }

    proptest! {
        #[test]
        fn hostile_tails_do_not_panic(tail: Vec<u8>, bytes in 0u64..1 << 40, parcel_bytes: u64) {
            ParcelTable::read(&tail, RUN, bytes, parcel_bytes).ok();
        }
    }
}
