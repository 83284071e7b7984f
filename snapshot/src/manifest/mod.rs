//! What stands in the small objects of a repo: JSON that people can read, under a digest.
//!
//! ```text
//! {
//!   "bedload": "lease",              what it is
//!   "format": 1,                     the version of its form
//!   "nonce": "5b0f2c6d9a317e48",     random: no two writers write the same bytes
//!   "digest": "c2ab…",               BLAKE3 of these three and of the text of the body
//!   "body": { … }
//! }
//! ```
//!
//! Whoever reads one knows what it must be, how long it may be, and what it must hold: unknown fields, another kind or a
//! newer version are errors, and so is a digest that does not agree.

mod chain;
mod claim;
mod lease;
mod local;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub use self::chain::{Boundary, ClaimRef, Completion, Event, Expiry, Fence, LiveCompletion, Retirement, Slot, Void};
pub use self::claim::{Bound, Claim, ClaimedRun, ClaimedSlice, ClaimedStack, Timings};
pub use self::lease::{Deletions, Lease, Marker, Pin, Probe};
pub use self::local::{LocalCopy, LocalRun};
use crate::error::{Error, ErrorKind, Result, damaged};

/// How long a manifest may be.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// What can be the body of a manifest.
pub(crate) trait Manifest: Serialize + DeserializeOwned {
    /// Its name in the object.
    const KIND: &'static str;
    /// The version of its form that is written, and the greatest that is read.
    const FORMAT: u32 = 1;

    /// What is wrong with a body whose digest agrees, in words.
    fn fault(&self) -> Option<String> {
        None
    }
}

#[derive(Serialize)]
struct Written<'a> {
    bedload: &'a str,
    format: u32,
    nonce: Hex<8>,
    digest: Digest,
    body: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found<'a> {
    bedload: String,
    format: u32,
    nonce: Hex<8>,
    digest: Digest,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The bytes of a manifest with `body`.
pub(crate) fn write<T: Manifest>(body: &T, nonce: u64) -> Bytes {
    let text = serde_json::to_string_pretty(body).expect("a body has no maps with keys other than text");
    sign(T::KIND, T::FORMAT, nonce, text).expect("what was just written is JSON")
}

/// The bytes of a manifest of this kind and format whose body is this text; `None` when that is no JSON.
pub(crate) fn sign(kind: &str, format: u32, nonce: u64, body: String) -> Option<Bytes> {
    let body = RawValue::from_string(body).ok()?;
    let nonce = Hex(nonce.to_be_bytes());
    let digest = digest(kind, format, nonce, body.get());
    let written = Written { bedload: kind, format, nonce, digest, body: &body };
    let mut bytes = serde_json::to_vec_pretty(&written).expect("an envelope has no maps");
    bytes.push(b'\n');
    Some(bytes.into())
}

/// The kind and the body of a manifest, whatever its digest.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn unsigned(bytes: &[u8]) -> Option<(String, &str)> {
    let found: Found<'_> = serde_json::from_slice(bytes).ok()?;
    Some((found.bedload, found.body.get()))
}

/// Reads a manifest that stands at `place`.
///
/// # Errors
/// `Damaged` when it is not what was written, `Fix` when a newer version wrote it.
pub(crate) fn read<T: Manifest>(bytes: &[u8], place: &str) -> Result<T> {
    let found: Found<'_> = serde_json::from_slice(bytes).map_err(|flaw| not_json(bytes, place, &flaw))?;
    if found.bedload != T::KIND {
        let kind: String = found.bedload.chars().take(40).collect();
        return Err(damaged(place, None, format_args!("object of kind {kind:?}, expected {:?}", T::KIND)));
    }
    let expected = digest(T::KIND, found.format, found.nonce, found.body.get());
    if expected != found.digest {
        return Err(damaged(place, None, format_args!("digest {}, expected {expected}", found.digest)));
    }
    if found.format > T::FORMAT {
        let message =
            format!("{} of format {}, but only {} is known: use a newer bedload", T::KIND, found.format, T::FORMAT);
        return Err(Error::at(ErrorKind::Fix, place, None, message));
    }
    let body: T = serde_json::from_str(found.body.get()).map_err(|flaw| damaged(place, None, flaw))?;
    match body.fault() {
        None => Ok(body),
        Some(fault) => Err(damaged(place, None, fault)),
    }
}

fn not_json(bytes: &[u8], place: &str, flaw: &serde_json::Error) -> Error {
    let line_start = bytes.split_inclusive(|byte| *byte == b'\n').take(flaw.line().saturating_sub(1)).map(<[u8]>::len);
    let offset = line_start.sum::<usize>() + flaw.column().saturating_sub(1);
    damaged(place, Some(offset as u64), flaw)
}

fn digest(kind: &str, format: u32, nonce: Hex<8>, body: &str) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{kind} {format} {nonce} ").as_bytes());
    hasher.update(body.as_bytes());
    Hex(*hasher.finalize().as_bytes())
}

/// The BLAKE3 of something.
pub type Digest = Hex<32>;

/// The BLAKE3 of `bytes`.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Hex(*blake3::hash(bytes).as_bytes())
}

/// Bytes that are written as hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const BYTES: usize>(pub [u8; BYTES]);

impl<const BYTES: usize> fmt::Display for Hex<BYTES> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl<const BYTES: usize> fmt::Debug for Hex<BYTES> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl<const BYTES: usize> FromStr for Hex<BYTES> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Hex<BYTES>> {
        let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Hex).ok_or_else(|| {
            Error::new(ErrorKind::Fix, format!("expected {} hexadecimal digits in lower case", 2 * BYTES))
        })
    }
}

impl<const BYTES: usize> Serialize for Hex<BYTES> {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

impl<'de, const BYTES: usize> Deserialize<'de> for Hex<BYTES> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Hex<BYTES>, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads hexadecimal digits in lower case.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::JobName;

    fn deletions() -> Deletions {
        Deletions { job: JobName::new("late-board").unwrap(), paths: vec!["jobs/late-board/x".into()], bytes: 18 }
    }

    #[test]
    fn a_manifest_round_trips_and_can_be_read_by_people() {
        let bytes = write(&deletions(), 0x5b0f_2c6d_9a31_7e48);
        assert_eq!(read::<Deletions>(&bytes, "x").unwrap(), deletions());
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(
            text.starts_with(
                "{\n  \"bedload\": \"deletions\",\n  \"format\": 1,\n  \"nonce\": \"5b0f2c6d9a317e48\",\n"
            ),
            "{text}"
        );
        assert!(text.contains("\"bytes\": 18"), "{text}");
    }

    #[test]
    fn every_flipped_byte_is_a_located_error() {
        let bytes = write(&deletions(), 7);
        for index in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut flipped = bytes.to_vec();
                flipped[index] ^= flip;
                match read::<Deletions>(&flipped, "file:///r/x") {
                    // White space outside of the body means nothing.
                    Ok(found) => assert_eq!(found, deletions(), "byte {index}"),
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::Damaged), "byte {index}: {error}");
                        assert_eq!(error.place().unwrap().path.to_str(), Some("file:///r/x"));
                    }
                }
            }
        }
    }

    #[test]
    fn another_kind_and_a_newer_format_are_told() {
        let bytes = write(&deletions(), 7);
        let error = read::<Marker>(&bytes, "x").unwrap_err();
        assert!(error.to_string().contains("object of kind \"deletions\", expected \"repo\""), "{error}");
        let newer = sign("deletions", 2, 0, "{\"more\": 1}".into()).unwrap();
        let error = read::<Deletions>(&newer, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fix);
        assert!(error.to_string().contains("use a newer bedload"), "{error}");
    }

    /// What a manifest holds was quoted whole, and a hostile one filled the logs.
    #[test]
    fn a_fault_is_told_in_few_words() {
        let long = "x".repeat(1 << 20);
        for body in [format!("{{\"{long}\": 1}}"), format!("{{\"job\": \"x\", \"paths\": [], \"bytes\": \"{long}\"}}")]
        {
            let bytes = sign("deletions", 1, 0, body).unwrap();
            let told = read::<Deletions>(&bytes, "x").unwrap_err().to_string();
            assert!(told.len() < 1000, "{} bytes", told.len());
        }
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = "[".repeat(1 << 20);
        assert_eq!(read::<Deletions>(deep.as_bytes(), "x").unwrap_err().kind(), ErrorKind::Damaged);
    }
}
