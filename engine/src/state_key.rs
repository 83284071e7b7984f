//! The keys of all states in one store.
//!
//! ```text
//!  value, list, number,
//!  operands              group u16 │ tag │ length, key │ length, namespace
//!  map                   group u16 │ tag │ length, key │ length, namespace │ key in the map
//!  timer                 group u16 │ tag │ time u64 │ length, key │ length, namespace
//!
//!  tag = kind and clock, one byte; hash of the state's name, three bytes
//! ```
//!
//! A key alone tells what it is: the store's shape and its rules are pure functions of it, and a reader needs no declarations. Lengths
//! (LEB128) end keys and namespaces of any type, so that what belongs to one key lies together; only keys in maps and times have to
//! sort as they do, and they stand last or first. State names are hashed, so that all workers agree without asking; two names of one
//! hash are refused when the second is declared.

use std::sync::Arc;

use bedload_lsm::{Fold, KeyShape, Rule, Rules};

use crate::error::{Error, ErrorKind, Result};
use crate::merge_function::Functions;
use crate::ttl::Clock;

/// Bytes of the key group.
pub(crate) const GROUP_BYTES: usize = 2;
/// Bytes of group and tag.
pub(crate) const HEAD_BYTES: usize = 6;
/// Bytes of a timer's key before its record key.
pub(crate) const TIMER_HEAD_BYTES: usize = HEAD_BYTES + 8;

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Value = 1,
    List = 2,
    Sum = 3,
    Min = 4,
    Max = 5,
    Map = 6,
    Timer = 7,
    /// Merged by a function of the user's.
    Merged = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        Some(match byte >> 2 {
            1 => Kind::Value,
            2 => Kind::List,
            3 => Kind::Sum,
            4 => Kind::Min,
            5 => Kind::Max,
            6 => Kind::Map,
            7 => Kind::Timer,
            8 => Kind::Merged,
            _ => return None,
        })
    }
}

/// Kind, clock and state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(pub [u8; 4]);

impl Tag {
    /// The tag of the state of this name.
    pub fn new(kind: Kind, clock: Option<Clock>, name: &str) -> Tag {
        let clock = match clock {
            None => 0,
            Some(Clock::Processing) => 1,
            Some(Clock::Event) => 2,
        };
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes()).to_be_bytes();
        Tag([(kind as u8) << 2 | clock, hash[5], hash[6], hash[7]])
    }
}

fn clock_of(byte: u8) -> Option<Clock> {
    match byte & 3 {
        1 => Some(Clock::Processing),
        2 => Some(Clock::Event),
        _ => None,
    }
}

/// Appends a length and the bytes that `write` appends.
#[inline]
pub(crate) fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        widen_frame(out, at, length);
    }
}

/// Rare: the length takes more than the byte that was left for it.
#[cold]
fn widen_frame(out: &mut Vec<u8>, at: usize, mut length: usize) {
    let mut digits = Vec::new();
    loop {
        let digit = (length & 0x7f) as u8;
        length >>= 7;
        digits.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    out.splice(at..=at, digits);
}

/// Splits framed bytes off the front of `bytes`; `None` when there are none.
pub(crate) fn unframe<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut length, mut at) = (0usize, 0);
    loop {
        let digit = *bytes.get(at)?;
        if at > 3 {
            return None;
        }
        length |= usize::from(digit & 0x7f) << (7 * at);
        at += 1;
        if digit < 0x80 {
            break;
        }
    }
    let end = at.checked_add(length)?;
    let framed = bytes.get(at..end)?;
    *bytes = &bytes[end..];
    Some(framed)
}

/// The parts of a state's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub group: u16,
    pub tag: Tag,
    /// The bytes of the record's key.
    pub key: &'a [u8],
    /// The bytes of the namespace.
    pub namespace: &'a [u8],
    /// The time of a timer.
    pub time: u64,
    /// The bytes of the key in a map.
    pub map_key: &'a [u8],
}

/// Reads a state's key.
///
/// # Errors
/// `Damaged` when it is none.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parts<'_>> {
    parse_some(bytes).ok_or_else(|| {
        let head = &bytes[..bytes.len().min(24)];
        Error::new(ErrorKind::Damaged, format!("{head:02x?} is no key of a state"))
    })
}

fn parse_some(bytes: &[u8]) -> Option<Parts<'_>> {
    let (group, rest) = bytes.split_first_chunk::<GROUP_BYTES>()?;
    let (tag, mut rest) = rest.split_first_chunk::<4>()?;
    let mut time = 0;
    if Kind::of(tag[0])? == Kind::Timer {
        let (bytes, behind) = rest.split_first_chunk::<8>()?;
        (time, rest) = (u64::from_be_bytes(*bytes), behind);
    }
    let key = unframe(&mut rest)?;
    let namespace = unframe(&mut rest)?;
    if Kind::of(tag[0])? != Kind::Map && !rest.is_empty() {
        return None;
    }
    Some(Parts { group: u16::from_be_bytes(*group), tag: Tag(*tag), key, namespace, time, map_key: rest })
}

/// The shape of these keys: partitions are key groups; maps are scanned, timers are queues, everything else is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StateShape;

impl KeyShape for StateShape {
    fn name(&self) -> &str {
        "bedload states"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, key: &[u8]) -> usize {
        key.len().min(GROUP_BYTES)
    }

    fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> {
        match Kind::of(*key.get(GROUP_BYTES)?)? {
            Kind::Timer => (key.len() >= HEAD_BYTES).then_some(HEAD_BYTES),
            Kind::Map => {
                let mut rest = key.get(HEAD_BYTES..)?;
                unframe(&mut rest)?;
                unframe(&mut rest)?;
                Some(key.len() - rest.len())
            }
            _ => None,
        }
    }

    fn is_queued(&self, key: &[u8]) -> bool {
        key.get(GROUP_BYTES).is_some_and(|byte| Kind::of(*byte) == Some(Kind::Timer))
    }
}

/// What is merged under these keys. A function of the user's is unknown until its state is declared; lists of operands grow until then.
#[derive(Clone, Default)]
pub(crate) struct StateRules {
    pub functions: Arc<Functions>,
}

impl Rules for StateRules {
    fn rule(&self, key: &[u8]) -> Option<Rule> {
        let byte = *key.get(GROUP_BYTES)?;
        let fold = match Kind::of(byte)? {
            Kind::List => Fold::Append,
            Kind::Sum => Fold::AddI64,
            Kind::Min => Fold::MinI64,
            Kind::Max => Fold::MaxI64,
            Kind::Merged => self.functions.find(key.get(GROUP_BYTES..HEAD_BYTES)?).map_or(Fold::Append, Fold::User),
            Kind::Value | Kind::Map | Kind::Timer => return None,
        };
        Some(Rule { fold, clock: clock_of(byte).map(Clock::id) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_come_back(
            group: u16,
            kind in 1u8..9,
            key in prop::collection::vec(any::<u8>(), 0..300),
            namespace: Vec<u8>,
            time: u64,
            map_key: Vec<u8>,
        ) {
            let kind = Kind::of(kind << 2).unwrap();
            let tag = Tag::new(kind, Some(Clock::Event), "plane");
            let mut bytes = group.to_be_bytes().to_vec();
            bytes.extend(tag.0);
            if kind == Kind::Timer {
                bytes.extend(time.to_be_bytes());
            }
            framed(&mut bytes, |out| out.extend(&key));
            framed(&mut bytes, |out| out.extend(&namespace));
            let prefix = bytes.len();
            if kind == Kind::Map {
                bytes.extend(&map_key);
            }
            let parts = parse(&bytes).unwrap();
            prop_assert_eq!((parts.group, parts.tag, parts.key, parts.namespace), (group, tag, &key[..], &namespace[..]));
            if kind == Kind::Map {
                prop_assert_eq!(parts.map_key, &map_key[..]);
                prop_assert_eq!(StateShape.scan_prefix_bytes(&bytes), Some(prefix));
                // The answer is decided by those bytes alone.
                prop_assert_eq!(StateShape.scan_prefix_bytes(&bytes[..prefix]), Some(prefix));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(hostile: Vec<u8>) {
            parse(&hostile).ok();
            if let Some(prefix) = StateShape.scan_prefix_bytes(&hostile) {
                prop_assert!(prefix <= hostile.len());
                prop_assert_eq!(StateShape.scan_prefix_bytes(&hostile[..prefix]), Some(prefix));
            }
        }
    }
}
