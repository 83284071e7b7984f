//! Decides which checkpoints expire. Pure: the same checkpoints and policy, the same answer.
//!
//! Ages count from the newest checkpoint, not from now: a job that is stopped for a month keeps what it had.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::Completion;

const HOUR_MS: u64 = 3600 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Which checkpoints are kept; one that any rule keeps stays. The newest always stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones (default 3).
    pub last: usize,
    /// Those at most this much older than the newest, in milliseconds (default 0).
    pub within_ms: u64,
    /// The newest of each hour, for this many hours that have one (default 0).
    pub hourly: usize,
    /// The newest of each day (UTC), for this many days that have one (default 0).
    pub daily: usize,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { last: 3, within_ms: 0, hourly: 0, daily: 0 }
    }
}

impl Retention {
    /// The slots of those of the `live` completions that expire; `pinned` ones never do.
    pub fn expired(&self, live: &BTreeMap<u64, Completion>, pinned: &BTreeSet<u64>) -> Vec<u64> {
        let Some((newest_slot, newest)) = live.last_key_value() else { return Vec::new() };
        let mut kept: BTreeSet<u64> = pinned.clone();
        kept.insert(*newest_slot);
        kept.extend(live.keys().rev().take(self.last));
        for (period_ms, count) in [(HOUR_MS, self.hourly), (DAY_MS, self.daily)] {
            let mut periods = BTreeSet::new();
            for (slot, completion) in live.iter().rev() {
                if periods.len() < count && periods.insert(completion.completed_at_ms / period_ms) {
                    kept.insert(*slot);
                }
            }
        }
        let is_young = |completion: &Completion| {
            self.within_ms > 0 && completion.completed_at_ms.saturating_add(self.within_ms) >= newest.completed_at_ms
        };
        let expired = live.iter().filter(|(slot, completion)| !kept.contains(slot) && !is_young(completion));
        expired.map(|(slot, _)| *slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{CheckpointId, LeaseId};

    fn live(times_ms: &[u64]) -> BTreeMap<u64, Completion> {
        let completion = |(completed_at_ms, slot): (&u64, u64)| {
            let checkpoint = CheckpointId { epoch: 1, number: slot };
            let completion = Completion {
                checkpoint,
                key_groups: 1,
                claims: Vec::new(),
                base: None,
                lease: LeaseId(0),
                completed_at_ms: *completed_at_ms,
            };
            (slot, completion)
        };
        times_ms.iter().zip(2..).map(completion).collect()
    }

    fn kept(retention: &Retention, times_ms: &[u64], pinned: &[u64]) -> Vec<u64> {
        let live = live(times_ms);
        let expired = retention.expired(&live, &pinned.iter().copied().collect());
        live.into_keys().filter(|slot| !expired.contains(slot)).collect()
    }

    #[test]
    fn the_newest_ones_and_pins_stay() {
        let none = Retention { last: 0, ..Retention::default() };
        assert_eq!(kept(&none, &[1, 2, 3, 4], &[]), [5]);
        assert_eq!(kept(&none, &[1, 2, 3, 4], &[3]), [3, 5]);
        assert_eq!(kept(&Retention::default(), &[1, 2, 3, 4], &[]), [3, 4, 5]);
        assert!(kept(&none, &[], &[]).is_empty());
    }

    #[test]
    fn ages_count_from_the_newest() {
        let within = Retention { last: 1, within_ms: 10, ..Retention::default() };
        assert_eq!(kept(&within, &[1, 85, 90, 100], &[]), [4, 5]);
    }

    #[test]
    fn the_newest_of_each_hour_and_day_stays() {
        let hour = |hours: u64, minutes: u64| hours * HOUR_MS + minutes * 60_000;
        let times = [hour(1, 0), hour(1, 30), hour(25, 0), hour(26, 10), hour(26, 50), hour(30, 0)];
        let hourly = Retention { last: 0, hourly: 3, ..Retention::default() };
        assert_eq!(kept(&hourly, &times, &[]), [4, 6, 7]);
        let daily = Retention { last: 0, daily: 2, ..Retention::default() };
        assert_eq!(kept(&daily, &times, &[]), [3, 7]);
    }
}
