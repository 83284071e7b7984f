//! The bytes of numbers: checked reading, varints, seeded checksums, the one hash of a key, names of runs.
//!
//! All fixed-width numbers on disk are little-endian. A [`Reader`] never panics and never allocates: whoever decodes
//! asks it for a bounded slice and copies what it wants to keep.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// How much of a wrong name an error quotes.
const NAME_CHARS_QUOTED: usize = 80;

/// The bytes ended before the value did, or a value is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads values from the front of a slice of hostile bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A varint of at most 64 bits. Only the shortest form of a number is accepted.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 { Err(Malformed) } else { Ok(value) };
            }
        }
        Err(Malformed)
    }

    /// A varint that must not exceed `max`.
    #[inline]
    pub fn varint_max(&mut self, max: u64) -> Result<usize, Malformed> {
        let value = self.varint()?;
        if value > max { Err(Malformed) } else { usize::try_from(value).map_err(|_| Malformed) }
    }

    /// A length of at most `max`, then that many bytes.
    #[inline]
    pub fn framed(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let count = self.varint_max(max as u64)?;
        self.bytes(count)
    }

    /// Succeeds when everything has been read.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends `value` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] appends for `value`.
#[inline]
pub fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends the length of `bytes` and then `bytes`: what [`Reader::framed`] reads.
#[inline]
pub fn put_framed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// CRC-32 of `bytes` as they stand at `offset` of the file named `id`.
///
/// The seed makes a block that was swapped with another, or read from another file, as wrong as a flipped bit.
pub fn checksum(id: RunId, offset: u64, bytes: &[u8]) -> u32 {
    let mut seed = [0u8; 24];
    seed[..16].copy_from_slice(&id.to_bytes());
    seed[16..].copy_from_slice(&offset.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The one hash of a key: memtable index, filters and block tables all use it, so a get hashes once.
#[inline]
pub fn hash32(key: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(key) as u32
}

/// The hash under which a filter knows a scan prefix; unlike [`hash32`], so a prefix is not taken for a key.
#[inline]
pub fn prefix_hash32(prefix: &[u8]) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(prefix) >> 32) as u32 ^ 0x9e37_79b9
}

/// The name of a run: 64 random bits of the opening of a store that wrote it, and a sequence in that opening.
///
/// The same locally and in a repo, never reused. Written as two fixed-width hexadecimal numbers.
///
/// ```
/// use bedload_lsm::RunId;
///
/// let id = RunId { opening: 0x7f3a91c20b5d4e18, sequence: 42 };
/// assert_eq!(id.to_string(), "7f3a91c20b5d4e18-0000002a");
/// assert_eq!(id.to_string().parse::<RunId>()?, id);
/// let error = "7f3a91c20b5d4e18-2a".parse::<RunId>().unwrap_err();
/// assert_eq!(error.kind(), bedload_lsm::ErrorKind::Fix);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RunId {
    /// Random, drawn at each opening of a store.
    pub opening: u64,
    /// Counts the runs of one opening.
    pub sequence: u64,
}

impl RunId {
    /// The sixteen bytes on disk: `opening`, then `sequence`, both little-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.opening.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// Reads what [`RunId::to_bytes`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<RunId, Malformed> {
        Ok(RunId { opening: reader.u64()?, sequence: reader.u64()? })
    }

    /// The name of the run's file.
    pub fn file_name(self) -> String {
        format!("{self}.run")
    }

    /// Reads a name made by [`RunId::file_name`]; anything else is not the file of a run.
    pub fn from_file_name(name: &str) -> Option<RunId> {
        RunId::parse(name.strip_suffix(".run")?)
    }

    fn parse(text: &str) -> Option<RunId> {
        let (opening, sequence) = text.split_once('-')?;
        let parse = |digits| u64::from_str_radix(digits, 16).ok();
        let id = RunId { opening: parse(opening)?, sequence: parse(sequence)? };
        // One spelling only: no sign, no upper case, no missing zeros.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}-{:08x}", self.opening, self.sequence)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Fails with `Fix` on any other spelling than the one that [`fmt::Display`] has.
impl FromStr for RunId {
    type Err = Error;

    fn from_str(text: &str) -> Result<RunId, Error> {
        RunId::parse(text).ok_or_else(|| {
            let head: String = text.chars().take(NAME_CHARS_QUOTED).collect();
            let message = format!(
                "{head:?} is not the name of a run: expected two hexadecimal numbers in lower case, of sixteen and at least \
                 eight digits, as in 7f3a91c20b5d4e18-0000002a"
            );
            Error::new(ErrorKind::Fix, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varint_round_trips(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_bytes(value));
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn a_varint_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(again.as_slice(), &bytes[..bytes.len() - reader.rest().len()]);
            }
        }

        #[test]
        fn a_run_name_round_trips(opening: u64, sequence: u64) {
            let id = RunId { opening, sequence };
            prop_assert_eq!(RunId::from_file_name(&id.file_name()), Some(id));
            prop_assert_eq!(RunId::read(&mut Reader::new(&id.to_bytes())), Ok(id));
        }

        #[test]
        fn hostile_names_are_not_runs(name in "\\PC*") {
            if let Some(id) = RunId::from_file_name(&name) {
                prop_assert_eq!(id.file_name(), name);
            }
        }
    }

    #[test]
    fn a_wrong_name_is_told_with_the_right_form() {
        for name in ["", "7f3a91c20b5d4e18-2a", "7F3A91C20B5D4E18-0000002A", "+f3a91c20b5d4e18-0000002a", "../a-b\n"] {
            let error = name.parse::<RunId>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fix);
            assert!(error.to_string().starts_with(&format!("{name:?} is not the name of a run: expected ")), "{error}");
        }
        let long = "a".repeat(1 << 20).parse::<RunId>().unwrap_err();
        assert!(long.to_string().len() < 400, "an error quotes the beginning of a long name");
    }

    #[test]
    fn the_checksum_knows_file_and_offset() {
        let id = RunId { opening: 1, sequence: 2 };
        let other = RunId { opening: 1, sequence: 3 };
        assert_ne!(checksum(id, 0, b"block"), checksum(id, 16, b"block"));
        assert_ne!(checksum(id, 0, b"block"), checksum(other, 0, b"block"));
    }
}
