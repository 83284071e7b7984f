//! Key groups: the unit of rescaling.
//!
//! Every key of a job starts with its group, two bytes big-endian. How many groups a job has is fixed for its life; how many
//! workers share them is not. Formulas are those of Apache Flink (`KeyGroupRangeAssignment`), so that a worker of either finds
//! the same groups.

use std::fmt;

use bedload_lsm::KeyRange;
use serde::{Deserialize, Serialize};

/// How many key groups a job may have.
pub const KEY_GROUPS_MAX: u32 = 32_768;

/// Some key groups in a row, both ends inclusive; never empty.
///
/// ```
/// use bedload_snapshot::KeyGroups;
///
/// let all = KeyGroups::all(128);
/// let (left, right) = (KeyGroups::of_worker(128, 2, 0), KeyGroups::of_worker(128, 2, 1));
/// assert_eq!((left.to_string(), right.to_string()), ("0..=63".into(), "64..=127".into()));
/// assert!(all.covers(right) && !left.overlaps(right));
/// assert!(left.keys().contains(&[0, 63, 0xff]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGroups {
    /// The first group.
    pub first: u16,
    /// The last group.
    pub last: u16,
}

impl KeyGroups {
    /// All groups of a job that has `count` of them (1 to [`KEY_GROUPS_MAX`]).
    pub fn all(count: u32) -> KeyGroups {
        assert!((1..=KEY_GROUPS_MAX).contains(&count), "a job has 1 to {KEY_GROUPS_MAX} key groups, not {count}");
        KeyGroups { first: 0, last: (count - 1) as u16 }
    }

    /// The groups of worker `index` of `workers`, for a job of `count` groups. There must be a group for each worker.
    pub fn of_worker(count: u32, workers: u32, index: u32) -> KeyGroups {
        assert!((1..=KEY_GROUPS_MAX).contains(&count), "a job has 1 to {KEY_GROUPS_MAX} key groups, not {count}");
        assert!(workers <= count && index < workers, "worker {index} of {workers}, for {count} key groups");
        let first = (index * count).div_ceil(workers);
        let last = ((index + 1) * count - 1) / workers;
        KeyGroups { first: first as u16, last: last as u16 }
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether every group of `other` is inside.
    pub fn covers(self, other: KeyGroups) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether a group is in both.
    pub fn overlaps(self, other: KeyGroups) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The groups that are in both, if there are any.
    pub fn intersect(self, other: KeyGroups) -> Option<KeyGroups> {
        self.overlaps(other).then(|| KeyGroups { first: self.first.max(other.first), last: self.last.min(other.last) })
    }

    /// Those of these groups that `keys` reach into, if there are any.
    pub(crate) fn touched_by(self, keys: &KeyRange) -> Option<KeyGroups> {
        let group = |key: &[u8]| {
            let byte = |at: usize| key.get(at).copied().unwrap_or(0);
            u16::from_be_bytes([byte(0), byte(1)])
        };
        let first = group(&keys.start);
        let last = match &keys.end {
            None => self.last,
            // A bound inside a group has some of it below.
            Some(end) if end.len() > 2 => group(end),
            Some(end) => group(end).checked_sub(1)?,
        };
        let is_some = first <= last;
        is_some.then_some(KeyGroups { first, last }).and_then(|touched| touched.intersect(self))
    }

    /// The keys of these groups.
    pub fn keys(self) -> KeyRange {
        let start = if self.first == 0 { Vec::new() } else { self.first.to_be_bytes().to_vec() };
        KeyRange { start, end: self.last.checked_add(1).map(|end| end.to_be_bytes().to_vec()) }
    }
}

impl fmt::Display for KeyGroups {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}..={}", self.first, self.last)
    }
}

/// What keeps `parts` from covering the groups `0..count` exactly once, in words; `None` when they do.
pub(crate) fn coverage_fault(count: u32, parts: impl IntoIterator<Item = KeyGroups>) -> Option<String> {
    let mut parts: Vec<KeyGroups> = parts.into_iter().collect();
    parts.sort();
    let mut next = 0;
    for part in parts {
        let (first, last) = (u32::from(part.first), u32::from(part.last));
        if first > last {
            return Some(format!("{part} is no range of key groups"));
        }
        if first < next {
            return Some(format!("key groups {first}..={} are claimed twice", last.min(next - 1)));
        }
        if first > next {
            return Some(format!("key groups {next}..={} are claimed by nobody", first - 1));
        }
        next = last + 1;
    }
    match next.cmp(&count) {
        std::cmp::Ordering::Less => Some(format!("key groups {next}..={} are claimed by nobody", count - 1)),
        std::cmp::Ordering::Greater => Some(format!("key group {} is claimed, but the job has {count}", next - 1)),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn workers_share_all_groups(count in 1u32..=KEY_GROUPS_MAX, workers in 1u32..=64) {
            let workers = workers.min(count);
            let parts: Vec<KeyGroups> = (0..workers).map(|index| KeyGroups::of_worker(count, workers, index)).collect();
            prop_assert_eq!(coverage_fault(count, parts.iter().copied()), None);
            let (least, most) = parts.iter().fold((u32::MAX, 0), |(least, most), part| {
                (least.min(part.count()), most.max(part.count()))
            });
            prop_assert!(most - least <= 1);
            for group in [0, count / 2, count - 1] {
                // Flink finds the worker of a group like this.
                let owner = group * workers / count;
                let part = parts[owner as usize];
                prop_assert!(u32::from(part.first) <= group && group <= u32::from(part.last));
            }
        }

        #[test]
        fn keys_of_a_group_are_inside(first in 0u16..=0x7fff, count in 0u16..100, group: u16, rest: [u8; 3]) {
            let groups = KeyGroups { first, last: first.saturating_add(count) };
            let mut key = group.to_be_bytes().to_vec();
            key.extend(rest);
            prop_assert_eq!(groups.keys().contains(&key), groups.first <= group && group <= groups.last);
        }
    }

    #[test]
    fn keys_touch_the_groups_they_reach_into() {
        let groups = KeyGroups { first: 2, last: 300 };
        let touched = |start: &[u8], end: Option<&[u8]>| {
            let range = KeyRange { start: start.to_vec(), end: end.map(<[u8]>::to_vec) };
            groups.touched_by(&range).map(|touched| (touched.first, touched.last))
        };
        assert_eq!(touched(&[], None), Some((2, 300)));
        assert_eq!(touched(&[0, 7], Some(&[0, 9])), Some((7, 8)));
        assert_eq!(touched(&[0, 7, 1], Some(&[0, 9, 0])), Some((7, 9)));
        assert_eq!(touched(&[1], Some(&[1, 1])), Some((256, 256)));
        assert_eq!(touched(&[0, 1], Some(&[0, 2])), None);
        assert_eq!(touched(&[], Some(&[0])), None);
    }

    #[test]
    fn a_gap_and_an_overlap_are_named() {
        let groups = |first, last| KeyGroups { first, last };
        let fault = |parts: &[KeyGroups]| coverage_fault(8, parts.iter().copied());
        assert_eq!(fault(&[groups(4, 7), groups(0, 3)]), None);
        assert_eq!(fault(&[groups(0, 3), groups(5, 7)]).unwrap(), "key groups 4..=4 are claimed by nobody");
        assert_eq!(fault(&[groups(0, 3)]).unwrap(), "key groups 4..=7 are claimed by nobody");
        assert_eq!(fault(&[groups(0, 5), groups(3, 7)]).unwrap(), "key groups 3..=5 are claimed twice");
        assert_eq!(fault(&[groups(0, 8)]).unwrap(), "key group 8 is claimed, but the job has 8");
        assert_eq!(fault(&[groups(7, 0)]).unwrap(), "7..=0 is no range of key groups");
    }
}
