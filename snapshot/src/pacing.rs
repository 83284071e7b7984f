//! Decides when a checkpoint begins, when it has taken too long, and when a job must stop trying. Pure: times are passed in.
//!
//! ```text
//!   begin ───────────── end ··minimum pause··► next begin
//!   ├──────── interval ────────►│             the later of the two
//!   ├─ timeout ─►│ given up, counts as a failure
//! ```
//!
//! A slow repo so makes checkpoints rarer and never queues them: at most [`in_flight_max`](CheckpointPolicy::in_flight_max) are being
//! made at once, and each ends by its timeout. The words are those of Apache Flink's checkpointing options.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::CheckpointId;

/// When checkpoints are taken, and how many may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// From the begin of one to the begin of the next (default 10 s). Shorter ones lose less work with a crash and upload more,
    /// since fewer updates meet the same keys. `Duration::MAX` for none but those that are asked for.
    pub interval: Duration,
    /// After how long one is given up (default 10 min).
    pub timeout: Duration,
    /// From the end of one to the begin of the next, at least (default 0): leaves the network to others in between.
    pub minimum_pause: Duration,
    /// How many may be on their way at once (default 1). More help when single requests are slow, and cost uploads of what the
    /// one before would have shared.
    pub in_flight_max: usize,
    /// How many may fail one after the other before the job should stop (default 0, as in Flink).
    pub tolerated_failures: u32,
}

impl Default for CheckpointPolicy {
    fn default() -> CheckpointPolicy {
        CheckpointPolicy {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(600),
            minimum_pause: Duration::ZERO,
            in_flight_max: 1,
            tolerated_failures: 0,
        }
    }
}

/// What follows from a checkpoint that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The job goes on; the next checkpoint is tried.
    GoOn,
    /// More failed in a row than are tolerated: so many.
    Stop(u32),
}

/// The checkpoints of one coordinator in time. Times count from any moment, and never go back.
#[derive(Clone, Debug)]
pub struct Pacing {
    policy: CheckpointPolicy,
    /// Those being made, with the time each began.
    in_flight: BTreeMap<CheckpointId, Duration>,
    last_begin: Duration,
    last_end: Option<Duration>,
    failures: u32,
}

impl Pacing {
    /// For a job that starts now: its first checkpoint is due after an interval.
    pub fn new(policy: CheckpointPolicy, now: Duration) -> Pacing {
        assert!(policy.in_flight_max > 0, "at least one checkpoint at a time");
        Pacing { policy, in_flight: BTreeMap::new(), last_begin: now, last_end: None, failures: 0 }
    }

    /// When the next one is due, which may be past; `None` as long as those on their way are all that may be.
    pub fn next_begin(&self) -> Option<Duration> {
        if self.in_flight.len() >= self.policy.in_flight_max {
            return None;
        }
        let by_interval = self.last_begin.saturating_add(self.policy.interval);
        let by_pause = self.last_end.map_or(Duration::ZERO, |end| end.saturating_add(self.policy.minimum_pause));
        Some(by_interval.max(by_pause))
    }

    /// The one that is given up next, and when.
    pub fn next_timeout(&self) -> Option<(Duration, CheckpointId)> {
        let oldest = self.in_flight.iter().min_by_key(|(_, begin)| **begin);
        oldest.map(|(checkpoint, begin)| (begin.saturating_add(self.policy.timeout), *checkpoint))
    }

    /// A checkpoint began.
    pub fn began(&mut self, checkpoint: CheckpointId, now: Duration) {
        self.in_flight.insert(checkpoint, now);
        self.last_begin = now;
    }

    /// A checkpoint exists.
    pub fn completed(&mut self, checkpoint: CheckpointId, now: Duration) {
        self.end(checkpoint, now);
        self.failures = 0;
    }

    /// A checkpoint was given up: it failed, or took too long. One that could not begin counts too.
    pub fn failed(&mut self, checkpoint: Option<CheckpointId>, now: Duration) -> Verdict {
        match checkpoint {
            Some(checkpoint) => self.end(checkpoint, now),
            None => self.last_begin = now,
        }
        self.failures += 1;
        if self.failures > self.policy.tolerated_failures { Verdict::Stop(self.failures) } else { Verdict::GoOn }
    }

    fn end(&mut self, checkpoint: CheckpointId, now: Duration) {
        self.in_flight.remove(&checkpoint);
        self.last_end = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u64) -> CheckpointId {
        CheckpointId { epoch: 1, number }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn policy() -> CheckpointPolicy {
        CheckpointPolicy {
            interval: s(10),
            timeout: s(60),
            minimum_pause: s(4),
            tolerated_failures: 1,
            ..Default::default()
        }
    }

    #[test]
    fn a_checkpoint_is_due_after_the_interval_and_the_pause() {
        let mut pacing = Pacing::new(policy(), s(100));
        assert_eq!((pacing.next_begin(), pacing.next_timeout()), (Some(s(110)), None));
        pacing.began(id(1), s(110));
        assert_eq!(pacing.next_begin(), None, "one at a time");
        pacing.completed(id(1), s(112));
        assert_eq!(pacing.next_begin(), Some(s(120)));
        pacing.began(id(2), s(120));
        pacing.completed(id(2), s(129));
        assert_eq!(pacing.next_begin(), Some(s(133)), "a slow one is followed by a pause");
    }

    #[test]
    fn a_slow_checkpoint_is_given_up_and_counted() {
        let mut pacing = Pacing::new(policy(), s(0));
        pacing.began(id(1), s(10));
        assert_eq!(pacing.next_timeout(), Some((s(70), id(1))));
        assert_eq!(pacing.failed(Some(id(1)), s(70)), Verdict::GoOn);
        assert_eq!(pacing.next_begin(), Some(s(74)));
        assert_eq!(pacing.failed(None, s(80)), Verdict::Stop(2));
    }

    #[test]
    fn a_success_forgets_failures() {
        let mut pacing = Pacing::new(policy(), s(0));
        assert_eq!(pacing.failed(None, s(10)), Verdict::GoOn);
        pacing.began(id(1), s(20));
        pacing.completed(id(1), s(21));
        assert_eq!(pacing.failed(None, s(30)), Verdict::GoOn);
    }

    /// `Duration::MAX` for "only when asked" was added to a time, and panicked.
    #[test]
    fn an_interval_may_be_without_end() {
        let never = CheckpointPolicy { interval: Duration::MAX, timeout: Duration::MAX, ..policy() };
        let mut pacing = Pacing::new(never, s(1));
        assert_eq!(pacing.next_begin(), Some(Duration::MAX));
        pacing.began(id(1), s(2));
        assert_eq!(pacing.next_timeout(), Some((Duration::MAX, id(1))));
    }

    #[test]
    fn several_may_be_on_their_way() {
        let mut pacing = Pacing::new(CheckpointPolicy { in_flight_max: 2, ..policy() }, s(0));
        pacing.began(id(1), s(10));
        assert_eq!(pacing.next_begin(), Some(s(20)));
        pacing.began(id(2), s(20));
        assert_eq!((pacing.next_begin(), pacing.next_timeout()), (None, Some((s(70), id(1)))));
        pacing.completed(id(2), s(25));
        assert_eq!(pacing.next_timeout(), Some((s(70), id(1))));
    }
}
