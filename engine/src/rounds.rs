//! Decides when a checkpoint begins, when it has all claims, and when it is given up. Pure: times are passed in.
//!
//! ```text
//!   asked for, or due by Pacing ──► begin ──► claims of all workers ──► complete ──► earlier ones in flight are given up
//!                                     └─────► declined, or timed out ──► given up, counts as a failure
//! ```
//!
//! Invariants:
//! * A checkpoint is complete only with one claim of each worker.
//! * What comes for a checkpoint that is not being made changes nothing: answers may be late.
//! * One that was asked for is made until one is complete, or too many failed. After a failure it waits for its turn as any other.

use std::collections::BTreeMap;
use std::time::Duration;

use bedload_snapshot::{Barrier, CheckpointId, CheckpointPolicy, ClaimRef, Pacing, Verdict};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Begin a checkpoint.
    Begin,
    /// Give this one up: it took too long.
    GiveUp(CheckpointId),
    /// Nothing before this time, unless somebody says something.
    Nothing(Option<Duration>),
}

/// Whether a checkpoint was asked for out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Now,
    /// One failed: the next is made when it is due.
    InTurn,
}

/// The checkpoints of one coordinator that are being made.
#[derive(Debug)]
pub(crate) struct Rounds {
    pacing: Pacing,
    in_flight_max: usize,
    workers: u32,
    in_flight: BTreeMap<CheckpointId, Round>,
    asked: Asked,
    answer: Option<CheckpointId>,
}

#[derive(Debug)]
struct Round {
    barrier: Barrier,
    claims: BTreeMap<u32, ClaimRef>,
    is_asked: bool,
}

impl Rounds {
    pub fn new(policy: CheckpointPolicy, workers: u32, now: Duration) -> Rounds {
        Rounds {
            in_flight_max: policy.in_flight_max,
            pacing: Pacing::new(policy, now),
            workers,
            in_flight: BTreeMap::new(),
            asked: Asked::No,
            answer: None,
        }
    }

    /// Asks for a checkpoint that begins from now on.
    pub fn ask(&mut self) {
        (self.asked, self.answer) = (Asked::Now, None);
        // Those that are on their way began before.
        self.in_flight.values_mut().for_each(|round| round.is_asked = false);
    }

    /// The checkpoint that was asked for, once it exists.
    pub fn answer(&self) -> Option<CheckpointId> {
        self.answer
    }

    pub fn due(&self, now: Duration) -> Due {
        let timeout = self.pacing.next_timeout();
        if let Some((at, checkpoint)) = timeout
            && at <= now
        {
            return Due::GiveUp(checkpoint);
        }
        let begin = match self.asked {
            Asked::Now if self.in_flight.len() < self.in_flight_max => Some(now),
            _ => self.pacing.next_begin(),
        };
        match (begin, timeout) {
            (Some(begin), _) if begin <= now => Due::Begin,
            (Some(begin), Some((timeout, _))) => Due::Nothing(Some(begin.min(timeout))),
            (begin, timeout) => Due::Nothing(begin.or(timeout.map(|(at, _)| at))),
        }
    }

    pub fn began(&mut self, barrier: &Barrier, now: Duration) {
        let is_asked = std::mem::replace(&mut self.asked, Asked::No) != Asked::No;
        self.pacing.began(barrier.checkpoint, now);
        let round = Round { barrier: barrier.clone(), claims: BTreeMap::new(), is_asked };
        self.in_flight.insert(barrier.checkpoint, round);
    }

    /// A checkpoint could not begin.
    pub fn not_begun(&mut self, now: Duration) -> Verdict {
        if self.asked == Asked::Now {
            self.asked = Asked::InTurn;
        }
        self.pacing.failed(None, now)
    }

    /// Takes a worker's claim; gives what completes the checkpoint when it was the last one.
    pub fn claimed(
        &mut self,
        worker: u32,
        checkpoint: CheckpointId,
        claim: ClaimRef,
    ) -> Option<(Barrier, Vec<ClaimRef>)> {
        let round = self.in_flight.get_mut(&checkpoint)?;
        round.claims.insert(worker, claim);
        let is_whole = round.claims.len() == self.workers as usize;
        is_whole.then(|| (round.barrier.clone(), round.claims.values().cloned().collect()))
    }

    /// A checkpoint exists; gives the earlier ones that were still being made, which nobody needs any more.
    pub fn completed(&mut self, checkpoint: CheckpointId, now: Duration) -> Vec<Barrier> {
        let later = self.in_flight.split_off(&checkpoint);
        let earlier = std::mem::replace(&mut self.in_flight, later);
        let is_asked = self.in_flight.remove(&checkpoint).is_some_and(|round| round.is_asked);
        // What an earlier one was asked for is in this one too.
        if is_asked || earlier.values().any(|round| round.is_asked) {
            self.answer = Some(checkpoint);
        }
        for earlier in earlier.keys() {
            self.pacing.completed(*earlier, now);
        }
        self.pacing.completed(checkpoint, now);
        earlier.into_values().map(|round| round.barrier).collect()
    }

    /// A checkpoint failed or took too long; nothing when it is not being made.
    pub fn failed(&mut self, checkpoint: CheckpointId, now: Duration) -> Option<(Barrier, Verdict)> {
        let round = self.in_flight.remove(&checkpoint)?;
        if round.is_asked && self.asked == Asked::No {
            self.asked = Asked::InTurn;
        }
        Some((round.barrier, self.pacing.failed(Some(checkpoint), now)))
    }

    /// Those that are being made.
    pub fn in_flight(&self) -> impl Iterator<Item = &Barrier> {
        self.in_flight.values().map(|round| &round.barrier)
    }
}

#[cfg(test)]
mod tests {
    use bedload_snapshot::{Attempt, Hex, KeyGroups, LeaseId, WorkerName};

    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn barrier(number: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId { epoch: 3, number }, base: None, lease: LeaseId(number.into()) }
    }

    fn claim(worker: u32) -> ClaimRef {
        ClaimRef {
            worker: WorkerName::new(&format!("w-{worker}")).unwrap(),
            attempt: Attempt(1),
            groups: KeyGroups::of_worker(8, 2, worker),
            bytes: 1,
            digest: Hex([0; 32]),
        }
    }

    fn rounds(in_flight_max: usize) -> Rounds {
        let policy = CheckpointPolicy {
            interval: s(10),
            timeout: s(60),
            in_flight_max,
            tolerated_failures: 1,
            ..CheckpointPolicy::default()
        };
        Rounds::new(policy, 2, s(0))
    }

    #[test]
    fn a_checkpoint_is_whole_with_a_claim_of_each_worker() {
        let mut rounds = rounds(1);
        let id = barrier(1).checkpoint;
        assert_eq!(rounds.due(s(9)), Due::Nothing(Some(s(10))));
        assert_eq!(rounds.due(s(10)), Due::Begin);
        rounds.began(&barrier(1), s(10));
        assert_eq!(rounds.due(s(30)), Due::Nothing(Some(s(70))), "one at a time");
        assert_eq!(rounds.claimed(1, id, claim(1)), None);
        assert_eq!(rounds.claimed(1, id, claim(1)), None, "the same one twice");
        assert_eq!(rounds.claimed(0, barrier(9).checkpoint, claim(0)), None, "of no checkpoint that is being made");
        assert_eq!(rounds.claimed(0, id, claim(0)), Some((barrier(1), vec![claim(0), claim(1)])));
        assert!(rounds.completed(id, s(12)).is_empty());
        assert_eq!((rounds.answer(), rounds.due(s(12))), (None, Due::Nothing(Some(s(20)))));
    }

    #[test]
    fn one_that_takes_too_long_is_given_up_and_its_late_claims_do_nothing() {
        let mut rounds = rounds(1);
        rounds.began(&barrier(1), s(10));
        let id = barrier(1).checkpoint;
        rounds.claimed(0, id, claim(0));
        assert_eq!(rounds.due(s(70)), Due::GiveUp(id));
        assert_eq!(rounds.failed(id, s(70)), Some((barrier(1), Verdict::GoOn)));
        assert_eq!(rounds.failed(id, s(70)), None);
        assert_eq!(rounds.claimed(1, id, claim(1)), None);
        assert_eq!(rounds.not_begun(s(71)), Verdict::Stop(2));
    }

    /// The demonstration asked for one before it rescaled, while one that it had asked for was on its way, and was given that one: what was
    /// counted between the two was read again.
    #[test]
    fn one_that_began_before_the_question_is_no_answer() {
        let mut rounds = rounds(1);
        rounds.ask();
        rounds.began(&barrier(1), s(1));
        rounds.ask();
        rounds.completed(barrier(1).checkpoint, s(2));
        assert_eq!(rounds.answer(), None, "it began before");
        assert_eq!(rounds.due(s(2)), Due::Begin);
        rounds.began(&barrier(2), s(2));
        rounds.completed(barrier(2).checkpoint, s(3));
        assert_eq!(rounds.answer(), Some(barrier(2).checkpoint));
    }

    #[test]
    fn one_that_was_asked_for_comes_at_once_and_again_in_turn_when_it_fails() {
        let mut rounds = rounds(1);
        rounds.began(&barrier(1), s(10));
        rounds.ask();
        assert_eq!(rounds.due(s(11)), Due::Nothing(Some(s(70))), "the one before ends first");
        rounds.completed(barrier(1).checkpoint, s(12));
        assert_eq!((rounds.answer(), rounds.due(s(12))), (None, Due::Begin), "that one began before it was asked for");
        rounds.began(&barrier(2), s(12));
        rounds.failed(barrier(2).checkpoint, s(13));
        assert_eq!(rounds.due(s(13)), Due::Nothing(Some(s(22))));
        rounds.began(&barrier(3), s(22));
        rounds.completed(barrier(3).checkpoint, s(23));
        assert_eq!(rounds.answer(), Some(barrier(3).checkpoint));
    }

    #[test]
    fn a_later_one_makes_earlier_ones_needless() {
        let mut rounds = rounds(2);
        rounds.ask();
        rounds.began(&barrier(1), s(10));
        rounds.began(&barrier(2), s(20));
        assert_eq!(rounds.completed(barrier(2).checkpoint, s(21)), [barrier(1)]);
        assert_eq!(rounds.answer(), Some(barrier(2).checkpoint));
        assert_eq!(rounds.in_flight().count(), 0);
        assert_eq!(rounds.due(s(21)), Due::Nothing(Some(s(30))));
    }
}
