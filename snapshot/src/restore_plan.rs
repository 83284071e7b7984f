//! Decides what a restore takes from which claims. Pure: the same claims and key groups, the same plan.
//!
//! A worker's new key groups are covered by the claims of one or more former workers. Their stacks are put side by side, each
//! clipped to what is wanted of it; no run is rewritten, and a run that several claims name is fetched once.

use std::collections::BTreeMap;

use bedload_lsm::{Clocks, KeyRange, RunId};

use crate::error::{Error, ErrorKind, Result};
use crate::key_group::KeyGroups;
use crate::manifest::{Claim, ClaimedRun, ClaimedSlice};

/// What a restore takes.
#[derive(Clone, Debug, PartialEq)]
pub struct RestorePlan {
    /// The key groups.
    pub groups: KeyGroups,
    /// The runs that are needed, each once, in the order of their names.
    pub runs: Vec<ClaimedRun>,
    /// Stacks of disjoint ranges, in key order.
    pub stacks: Vec<PlannedStack>,
    /// The latest reading of each clock in the claims that are used.
    pub clocks: Clocks,
    /// How many runs are clipped: others take a part of them too.
    pub clipped_runs: usize,
}

/// A stack of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStack {
    /// The keys.
    pub range: KeyRange,
    /// Which of the claims it comes from.
    pub claim: usize,
    /// Places in the plan's `runs`, newest first.
    pub runs: Vec<usize>,
    /// About how many bytes of each run are inside, as the claim tells.
    pub bytes: Vec<u64>,
}

/// A stack whose runs are still names: its keys, its claim, and of each run the name and the bytes inside.
type NamedStack = (KeyRange, usize, Vec<(RunId, u64)>);

impl RestorePlan {
    /// Plans the restore of `wanted` from the claims of one checkpoint.
    ///
    /// # Errors
    /// `Fix` when the claims do not cover all that is wanted, each key group once; `Damaged` when two of them tell different things of one run.
    pub fn new(claims: &[Claim], wanted: KeyGroups) -> Result<RestorePlan> {
        check_coverage(claims, wanted)?;
        let mut known: BTreeMap<RunId, ClaimedRun> = BTreeMap::new();
        let mut stacks: Vec<NamedStack> = Vec::new();
        let mut clocks = Clocks::default();
        let mut clipped: BTreeMap<RunId, bool> = BTreeMap::new();
        for (number, claim) in claims.iter().enumerate() {
            let Some(groups) = claim.groups.intersect(wanted) else { continue };
            clocks.advance_all(&claim.clocks());
            let keys = groups.keys();
            for stack in &claim.stacks {
                let range = stack.range();
                let clip = range.intersect(&keys);
                if clip.is_empty() || stack.slices.is_empty() {
                    continue;
                }
                for slice in &stack.slices {
                    let run = claim.runs[slice.run as usize];
                    let first = *known.entry(run.parcel.run).or_insert(run);
                    if (first.bytes, first.digest) != (run.bytes, run.digest) {
                        let message = format!("two claims tell different things of run {}", run.parcel.run);
                        return Err(Error::at(ErrorKind::Damaged, place_of(claim), None, message));
                    }
                    *clipped.entry(run.parcel.run).or_default() |= clip != range;
                }
                let run = |slice: &ClaimedSlice| (claim.runs[slice.run as usize].parcel.run, slice.bytes);
                stacks.push((clip, number, stack.slices.iter().map(run).collect()));
            }
        }
        stacks.sort_by(|left, right| left.0.start.cmp(&right.0.start));
        let place: BTreeMap<RunId, usize> = known.keys().copied().zip(0..).collect();
        let stacks = stacks.into_iter().map(|(range, claim, runs)| PlannedStack {
            range,
            claim,
            runs: runs.iter().map(|(run, _)| place[run]).collect(),
            bytes: runs.iter().map(|(_, bytes)| *bytes).collect(),
        });
        Ok(RestorePlan {
            groups: wanted,
            stacks: stacks.collect(),
            runs: known.into_values().collect(),
            clocks,
            clipped_runs: clipped.into_values().filter(|clipped| *clipped).count(),
        })
    }

    /// Bytes of all parcels, as the claims tell: what a restore with nothing on this machine fetches at most.
    pub fn parcel_bytes(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.parcel_bytes))
    }
}

fn check_coverage(claims: &[Claim], wanted: KeyGroups) -> Result<()> {
    let fix = |message: String| Err(Error::new(ErrorKind::Fix, message));
    if wanted.first > wanted.last {
        return fix(format!("{wanted} is no range of key groups"));
    }
    let place = claims.first().map(|claim| format!("{}: ", place_of(claim))).unwrap_or_default();
    let mut covered: Vec<KeyGroups> = claims.iter().filter_map(|claim| claim.groups.intersect(wanted)).collect();
    covered.sort();
    let mut next = u32::from(wanted.first);
    for groups in covered {
        let first = u32::from(groups.first);
        if first < next {
            let twice = format!("key groups {first}..={} are claimed twice", u32::from(groups.last).min(next - 1));
            return fix(format!("{place}{twice}; pass the claims of one checkpoint, one for each worker"));
        }
        if first > next {
            break;
        }
        next = u32::from(groups.last) + 1;
    }
    if next > u32::from(wanted.last) {
        return Ok(());
    }
    let parts: Vec<String> = claims.iter().map(|claim| claim.groups.to_string()).collect();
    let parts = if parts.is_empty() { "none".to_owned() } else { parts.join(" and ") };
    fix(format!("{place}covers key groups {parts}, asked for {wanted}; pass the claims of every worker"))
}

/// What people know a claim's checkpoint by.
fn place_of(claim: &Claim) -> String {
    format!("checkpoint {} of job {}", claim.checkpoint, claim.job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Hex;
    use crate::spread::testing::StackOf;

    /// A claim of these groups whose stacks have these runs.
    fn claim(first: u16, last: u16, stacks: &[((u16, u16), &[u64])]) -> Claim {
        let slices: Vec<Vec<(u64, u64)>> =
            stacks.iter().map(|(_, runs)| runs.iter().map(|run| (*run, 100)).collect()).collect();
        let stacks: Vec<StackOf<'_>> =
            stacks.iter().zip(&slices).map(|((groups, _), slices)| (*groups, &slices[..])).collect();
        crate::spread::testing::claim((first, last), &stacks)
    }

    #[test]
    fn restore_clips_runs_to_the_asked_range() {
        let claims = [claim(0, 3, &[((0, 3), &[2, 1])]), claim(4, 7, &[((4, 5), &[3]), ((6, 7), &[4, 3])])];
        let plan = RestorePlan::new(&claims, KeyGroups { first: 2, last: 6 }).unwrap();
        let ranges: Vec<KeyRange> = plan.stacks.iter().map(|stack| stack.range.clone()).collect();
        assert_eq!(
            ranges,
            [
                KeyRange::from([0u8, 2]..[0u8, 4]),
                KeyRange::from([0u8, 4]..[0u8, 6]),
                KeyRange::from([0u8, 6]..[0u8, 7])
            ]
        );
        let runs: Vec<&[usize]> = plan.stacks.iter().map(|stack| &stack.runs[..]).collect();
        assert_eq!(runs, [&[1, 0][..], &[2], &[3, 2]]);
        assert_eq!((plan.runs.len(), plan.clipped_runs, plan.parcel_bytes()), (4, 4, 4000));
        assert_eq!(plan.clocks.readings()[0], 4, "the later reading of two claims");
    }

    #[test]
    fn a_run_of_two_claims_is_fetched_once() {
        let claims = [claim(0, 3, &[((0, 3), &[1])]), claim(4, 7, &[((4, 7), &[1])])];
        let plan = RestorePlan::new(&claims, KeyGroups { first: 0, last: 7 }).unwrap();
        assert_eq!((plan.runs.len(), plan.stacks.len(), plan.clipped_runs), (1, 2, 0));
    }

    #[test]
    fn what_no_claim_covers_is_told() {
        let claims = [claim(0, 3, &[])];
        let error = RestorePlan::new(&claims, KeyGroups { first: 2, last: 5 }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "checkpoint 3-18 of job late-board: covers key groups 0..=3, asked for 2..=5; pass the claims of every worker"
        );
        assert_eq!(error.kind(), ErrorKind::Fix);
    }

    /// Claims behind the last one that was needed were not looked at, and a key had two stacks.
    #[test]
    fn what_two_claims_cover_is_told() {
        let (left, right) = (claim(0, 3, &[((0, 3), &[1])]), claim(2, 3, &[((2, 3), &[2])]));
        for claims in [[left.clone(), right.clone()], [right, left]] {
            let error = RestorePlan::new(&claims, KeyGroups { first: 1, last: 3 }).unwrap_err();
            assert_eq!(
                error.to_string(),
                "checkpoint 3-18 of job late-board: key groups 2..=3 are claimed twice; pass the claims of one checkpoint, one \
                 for each worker"
            );
            assert_eq!(error.kind(), ErrorKind::Fix);
        }
    }

    /// Nothing was restored, and nothing was said.
    #[test]
    fn no_key_groups_at_all_are_an_error() {
        let error = RestorePlan::new(&[claim(0, 3, &[])], KeyGroups { first: 3, last: 2 }).unwrap_err();
        assert_eq!(error.to_string(), "3..=2 is no range of key groups");
        assert_eq!(error.kind(), ErrorKind::Fix);
    }

    #[test]
    fn claims_that_disagree_about_a_run_are_refused() {
        let mut claims = [claim(0, 3, &[((0, 3), &[1])]), claim(4, 7, &[((4, 7), &[1])])];
        claims[1].runs[0].digest = Hex([99; 32]);
        let error = RestorePlan::new(&claims, KeyGroups { first: 0, last: 7 }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.place().unwrap().path.to_str(), Some("checkpoint 3-18 of job late-board"));
    }

    /// The lengths that a hostile claim tells are not true, and their sum was too large for a number.
    #[test]
    fn absurd_lengths_do_not_overflow() {
        let mut claims = [claim(0, 3, &[((0, 3), &[2, 1])])];
        claims[0].runs.iter_mut().for_each(|run| run.parcel_bytes = u64::MAX);
        assert_eq!(RestorePlan::new(&claims, KeyGroups { first: 0, last: 3 }).unwrap().parcel_bytes(), u64::MAX);
    }
}
