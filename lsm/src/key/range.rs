//! A range of keys: start inclusive, end exclusive or open.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use super::shared_prefix;

/// A range of keys, from `start` up to but without `end`.
///
/// ```
/// use bedload_lsm::KeyRange;
///
/// let range = KeyRange::prefix(b"user/");
/// assert!(range.contains(b"user/42"));
/// assert_eq!(range, KeyRange::from(&b"user/"[..]..&b"user0"[..]));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyRange {
    /// The first key that may be inside.
    pub start: Vec<u8>,
    /// The first key behind the range; `None` reaches to the end of the key space.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange::default()
    }

    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let mut range = KeyRange::default();
        range.set_prefix(prefix);
        range
    }

    /// Makes it the range of every key that starts with `prefix`, in the memory that it has.
    pub fn set_prefix(&mut self, prefix: &[u8]) {
        self.start.clear();
        self.start.extend_from_slice(prefix);
        let Some(last) = prefix.iter().rposition(|byte| *byte != 0xff) else {
            self.end = None;
            return;
        };
        let end = self.end.get_or_insert_default();
        end.clear();
        end.extend_from_slice(&prefix[..=last]);
        end[last] += 1;
    }

    /// The one key.
    pub fn key(key: &[u8]) -> KeyRange {
        let mut end = key.to_vec();
        end.push(0);
        KeyRange { start: key.to_vec(), end: Some(end) }
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.is_before_end(key)
    }

    /// Whether `key` is smaller than the end.
    #[inline]
    pub fn is_before_end(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_none_or(|end| key < end)
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether every key of `other` is inside.
    pub fn covers(&self, other: &KeyRange) -> bool {
        other.is_empty() || (self.start <= other.start && self.intersect(other).end == other.end)
    }

    /// Whether a key can be in both.
    pub fn overlaps(&self, other: &KeyRange) -> bool {
        !self.intersect(other).is_empty()
    }

    /// The keys that are in both.
    pub fn intersect(&self, other: &KeyRange) -> KeyRange {
        let end = match (&self.end, &other.end) {
            (Some(left), Some(right)) => Some(left.min(right).clone()),
            (left, right) => left.as_ref().or(right.as_ref()).cloned(),
        };
        KeyRange { start: self.start.as_slice().max(&other.start).to_vec(), end }
    }

    /// The longest bytes that every key inside starts with.
    pub fn common_prefix(&self) -> &[u8] {
        let Some(end) = &self.end else { return &[] };
        let shared = shared_prefix(&self.start, end);
        // [ab, ac) holds only keys that start with `ab`, though its bounds share just `a`.
        let longer = &self.start[..self.start.len().min(shared + 1)];
        if longer.len() > shared && is_successor(longer, end) { longer } else { &self.start[..shared] }
    }
}

/// Whether `end` is the first key behind all keys that start with `prefix`.
fn is_successor(prefix: &[u8], end: &[u8]) -> bool {
    prefix
        .iter()
        .rposition(|byte| *byte != 0xff)
        .is_some_and(|last| end.len() == last + 1 && end[..last] == prefix[..last] && end[last] == prefix[last] + 1)
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(end) => write!(out, "{}..{}", self.start.escape_ascii(), end.escape_ascii()),
            None => write!(out, "{}..", self.start.escape_ascii()),
        }
    }
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> KeyRange {
        KeyRange::all()
    }
}

impl<K: AsRef<[u8]>> From<Range<K>> for KeyRange {
    fn from(range: Range<K>) -> KeyRange {
        KeyRange { start: range.start.as_ref().to_vec(), end: Some(range.end.as_ref().to_vec()) }
    }
}

impl<K: AsRef<[u8]>> From<RangeFrom<K>> for KeyRange {
    fn from(range: RangeFrom<K>) -> KeyRange {
        KeyRange { start: range.start.as_ref().to_vec(), end: None }
    }
}

impl<K: AsRef<[u8]>> From<RangeTo<K>> for KeyRange {
    fn from(range: RangeTo<K>) -> KeyRange {
        KeyRange { start: Vec::new(), end: Some(range.end.as_ref().to_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)], 0..4)
    }

    proptest! {
        #[test]
        fn a_prefix_range_holds_what_starts_with_it(prefix in keys(), key in keys()) {
            prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn every_key_inside_starts_with_the_common_prefix(start in keys(), end in keys(), key in keys()) {
            let range = KeyRange::from(start..end);
            if range.contains(&key) {
                prop_assert!(key.starts_with(range.common_prefix()));
            }
        }

        #[test]
        fn intersections_hold_what_both_hold(a in keys(), b in keys(), c in keys(), d in keys(), key in keys()) {
            let (left, right) = (KeyRange::from(a..b), KeyRange::from(c..d));
            prop_assert_eq!(left.intersect(&right).contains(&key), left.contains(&key) && right.contains(&key));
            if left.covers(&right) && right.contains(&key) {
                prop_assert!(left.contains(&key));
            }
        }
    }

    #[test]
    fn the_common_prefix_of_a_prefix_range_is_the_prefix() {
        assert_eq!(KeyRange::prefix(b"abc").common_prefix(), b"abc");
        assert_eq!(KeyRange::from("abc1".."abc7").common_prefix(), b"abc");
        assert_eq!(KeyRange::all().common_prefix(), b"");
    }
}
