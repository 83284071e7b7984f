//! Queues of timers: where each begins, and what is known of its first entries.
//!
//! A queue has a part in each key group, in the order of times. `heads` tells of each part when its first timer is due at the
//! earliest, so that an advance looks only at parts that have something due.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

use bedload_lsm::KeyRange;
use bedload_snapshot::KeyGroups;

use crate::state_key::{GROUP_BYTES, HEAD_BYTES, Kind, TIMER_HEAD_BYTES, Tag};
use crate::ttl::Clock;

/// Timers of one name: what [`Keyed::set_timer`](crate::Keyed::set_timer) is given.
pub struct Timers<N: ?Sized = ()> {
    pub(crate) tag: Tag,
    /// The number of its queue in the engine.
    pub(crate) queue: usize,
    pub(crate) namespace: PhantomData<fn(&N)>,
}

impl<N: ?Sized> Clone for Timers<N> {
    fn clone(&self) -> Timers<N> {
        *self
    }
}

impl<N: ?Sized> Copy for Timers<N> {}

/// A queue of timers.
pub(crate) struct Queue {
    pub name: Arc<str>,
    pub tag: Tag,
    pub clock: Clock,
    /// For each key group, a time before which no timer is due.
    heads: Vec<u64>,
    first_group: u16,
}

impl Queue {
    pub fn new(name: &str, clock: Clock, groups: KeyGroups) -> Queue {
        let tag = Tag::new(Kind::Timer, Some(clock), name);
        Queue { name: name.into(), tag, clock, heads: vec![0; groups.count() as usize], first_group: groups.first }
    }

    /// The key groups that may have something due.
    pub fn due_groups(&self, now: u64) -> impl Iterator<Item = u16> + '_ {
        let due = self.heads.iter().enumerate().filter(move |(_, head)| **head <= now);
        due.map(|(at, _)| self.first_group + at as u16)
    }

    /// A timer was set.
    #[inline]
    pub fn note(&mut self, group: u16, time: u64) {
        let head = &mut self.heads[usize::from(group - self.first_group)];
        *head = time.min(*head);
    }

    /// Nothing of a group is due before `time`.
    pub fn set_head(&mut self, group: u16, time: u64) {
        self.heads[usize::from(group - self.first_group)] = time;
    }

    /// What the keys of a group's timers start with.
    pub fn prefix(&self, group: u16) -> [u8; HEAD_BYTES] {
        let mut prefix = [0; HEAD_BYTES];
        prefix[..GROUP_BYTES].copy_from_slice(&group.to_be_bytes());
        prefix[GROUP_BYTES..].copy_from_slice(&self.tag.0);
        prefix
    }
}

/// An advance that is under way.
pub(crate) struct Pass {
    pub clock: Clock,
    pub now: u64,
    /// Timers that were set meanwhile and are due already: they fire at the next advance.
    pub late: BTreeSet<Vec<u8>>,
    /// Timers that were due and were deleted meanwhile.
    pub deleted: BTreeSet<Vec<u8>>,
}

impl Pass {
    /// Whether a timer of this clock and time is due in it.
    pub fn takes(&self, clock: Clock, at: u64) -> bool {
        self.clock == clock && at <= self.now
    }
}

/// Timers that were read, one behind the other.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each timer ends in them.
    ends: Vec<usize>,
    /// The keys that it is read from.
    pub range: KeyRange,
    /// The keys of those that have fired.
    pub fired: KeyRange,
}

impl Batch {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn push(&mut self, timer: &[u8]) {
        self.bytes.extend_from_slice(timer);
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn timer(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start..self.ends[number]]
    }
}

/// Writes a timer's key: `record` has the framed key and namespace.
pub(crate) fn timer_key(group: [u8; 2], tag: Tag, time: u64, record: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(TIMER_HEAD_BYTES + record.len());
    out.extend_from_slice(&group);
    out.extend_from_slice(&tag.0);
    out.extend_from_slice(&time.to_be_bytes());
    out.extend_from_slice(record);
}
