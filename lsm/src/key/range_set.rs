//! A set of keys kept as disjoint ranges: the range tombstones of one memtable or run.
//!
//! Range tombstones of one memtable or run have one age, so they are just a set: overlapping and touching ranges join. A low
//! mark is a range with a fixed start; raising it replaces its predecessor by the same joining.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::KeyRange;

/// Disjoint, not touching ranges in order. Lookup is logarithmic in the number of ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end of each range.
    ranges: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl RangeSet {
    /// Adds every key of `range`.
    pub fn insert(&mut self, range: KeyRange) {
        if range.is_empty() {
            return;
        }
        let KeyRange { mut start, mut end } = range;
        if let Some((before, before_end)) = self.ranges.range::<[u8], _>(up_to(&start)).next_back()
            && before_end.as_ref().is_none_or(|before_end| *before_end >= start)
        {
            start = before.clone();
        }
        loop {
            let next = match &end {
                Some(end) => {
                    self.ranges.range::<[u8], _>((Bound::Included(&start[..]), Bound::Included(&end[..]))).next()
                }
                None => self.ranges.range::<[u8], _>((Bound::Included(&start[..]), Bound::Unbounded)).next(),
            };
            let Some((next, _)) = next else { break };
            let next = next.clone();
            let next_end = self.ranges.remove(&next).expect("the key was just found");
            self.bytes -= range_bytes(&next, next_end.as_deref());
            end = match (end, next_end) {
                (Some(left), Some(right)) => Some(left.max(right)),
                _ => None,
            };
        }
        self.bytes += range_bytes(&start, end.as_deref());
        self.ranges.insert(start, end);
    }

    /// Whether no key is inside.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many disjoint ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Roughly the memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `key` is inside.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        !self.is_empty() && self.find(key).is_some()
    }

    /// The range that `key` is inside of: its start, and its end if it has one.
    pub fn find(&self, key: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
        let (start, end) = self.ranges.range::<[u8], _>(up_to(key)).next_back()?;
        end.as_deref().is_none_or(|end| key < end).then_some((start, end.as_deref()))
    }

    /// Whether a key can be both in the set and in `range`.
    pub fn overlaps(&self, range: &KeyRange) -> bool {
        self.clipped(range).next().is_some()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = KeyRange> {
        self.ranges.iter().map(|(start, end)| KeyRange { start: start.clone(), end: end.clone() })
    }

    /// The parts of the ranges that lie inside `clip`, in order.
    pub fn clipped<'a>(&'a self, clip: &'a KeyRange) -> impl Iterator<Item = KeyRange> + 'a {
        let before = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&clip.start[..]))).next_back();
        let inside = self
            .ranges
            .range::<[u8], _>((Bound::Included(&clip.start[..]), Bound::Unbounded))
            .take_while(|(start, _)| clip.is_before_end(start));
        before
            .into_iter()
            .chain(inside)
            .map(|(start, end)| KeyRange { start: start.clone(), end: end.clone() }.intersect(clip))
            .filter(|range| !range.is_empty())
    }
}

fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

fn range_bytes(start: &[u8], end: Option<&[u8]>) -> usize {
    96 + start.len() + end.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> Vec<u8> {
        vec![number / 16, number % 16]
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_inserted(ranges in proptest::collection::vec((0u8..40, 0u8..41), 0..20), clip in (0u8..40, 0u8..41)) {
            let mut set = RangeSet::default();
            let mut model = [false; 64];
            for (start, end) in ranges {
                let end = (end < 40).then(|| key(end));
                set.insert(KeyRange { start: key(start), end: end.clone() });
                for number in 0..64 {
                    model[usize::from(number)] |= key(number) >= key(start) && end.as_ref().is_none_or(|end| key(number) < *end);
                }
            }
            let clip = KeyRange::from(key(clip.0)..key(clip.1));
            for number in 0..64u8 {
                let inside = model[usize::from(number)];
                prop_assert_eq!(set.contains(&key(number)), inside);
                let clipped = set.clipped(&clip).any(|range| range.contains(&key(number)));
                prop_assert_eq!(clipped, inside && clip.contains(&key(number)));
            }
            let list: Vec<KeyRange> = set.iter().collect();
            for pair in list.windows(2) {
                prop_assert!(pair[0].end.as_ref().unwrap() < &pair[1].start, "ranges touch: {:?}", pair);
            }
        }
    }

    #[test]
    fn a_raised_low_mark_replaces_its_predecessor() {
        let mut set = RangeSet::default();
        for mark in ["p1", "p5", "p7"] {
            set.insert(KeyRange::from("p".as_bytes()..mark.as_bytes()));
        }
        assert_eq!(set.len(), 1);
        assert!(set.contains(b"p6"));
    }
}
