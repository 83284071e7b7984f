//! Tells what two checkpoints share and what only one of them has: by run, by key group, in bytes. Pure.
//!
//! Runs never change, so two checkpoints hold the same bytes where they name the same runs. What is counted is what is stored: a
//! run that was merged into another one differs, though their entries may be the same.

use std::collections::{BTreeMap, BTreeSet};

use bedload_lsm::RunId;

use crate::key_group::KeyGroups;
use crate::manifest::{Claim, ClaimedRun};
use crate::spread::{Share, shares};

/// What became of one checkpoint in another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Runs that both have, in the order of their names.
    pub kept: Vec<ClaimedRun>,
    /// Runs that only the first one has.
    pub dropped: Vec<ClaimedRun>,
    /// Runs that only the second one has.
    pub added: Vec<ClaimedRun>,
    /// The key groups, in order; neighbours in which nothing differs are told together.
    pub groups: Vec<GroupsDifference>,
}

/// What became of some key groups. Bytes are of entries in slices, and estimated where a slice reaches beyond these groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupsDifference {
    /// The key groups.
    pub groups: KeyGroups,
    /// Bytes in runs that both have.
    pub kept_bytes: u64,
    /// Bytes in runs that only the first one has.
    pub dropped_bytes: u64,
    /// Bytes in runs that only the second one has.
    pub added_bytes: u64,
}

impl GroupsDifference {
    /// Whether both checkpoints have the same runs here.
    pub fn is_same(&self) -> bool {
        self.dropped_bytes == 0 && self.added_bytes == 0
    }
}

impl Difference {
    /// Compares the claims of two checkpoints.
    pub fn new(first: &[Claim], second: &[Claim]) -> Difference {
        let (first_runs, second_runs) = (runs(first), runs(second));
        let only = |some: &BTreeMap<RunId, ClaimedRun>, others: &BTreeMap<RunId, ClaimedRun>| -> Vec<ClaimedRun> {
            some.iter().filter(|(run, _)| !others.contains_key(run)).map(|(_, run)| *run).collect()
        };
        let kept = second_runs.iter().filter(|(run, _)| first_runs.contains_key(run)).map(|(_, run)| *run).collect();
        let dropped = only(&first_runs, &second_runs);
        let added = only(&second_runs, &first_runs);
        let names = |runs: &[ClaimedRun]| -> BTreeSet<RunId> { runs.iter().map(|run| run.parcel.run).collect() };
        let groups = compare_groups(&shares(first), &shares(second), &names(&dropped), &names(&added));
        Difference { kept, dropped, added, groups }
    }
}

fn runs(claims: &[Claim]) -> BTreeMap<RunId, ClaimedRun> {
    claims.iter().flat_map(|claim| &claim.runs).map(|run| (run.parcel.run, *run)).collect()
}

/// Cuts the key groups where a slice of either checkpoint starts or ends, and sums up what lies between two cuts.
fn compare_groups(
    first: &[Share],
    second: &[Share],
    dropped: &BTreeSet<RunId>,
    added: &BTreeSet<RunId>,
) -> Vec<GroupsDifference> {
    let cuts: BTreeSet<u32> = first.iter().chain(second).flat_map(|share| ends(share.groups)).collect();
    let cuts: Vec<u32> = cuts.into_iter().collect();
    let mut found: Vec<GroupsDifference> = cuts
        .windows(2)
        .map(|pair| GroupsDifference {
            groups: KeyGroups { first: pair[0] as u16, last: (pair[1] - 1) as u16 },
            kept_bytes: 0,
            dropped_bytes: 0,
            added_bytes: 0,
        })
        .collect();
    let mut add = |share: &Share, count: fn(&mut GroupsDifference) -> &mut u64| {
        let [start, end] = ends(share.groups);
        let start = cuts.binary_search(&start).expect("a share's ends are cuts");
        let end = cuts.binary_search(&end).expect("a share's ends are cuts");
        for part in &mut found[start..end] {
            let bytes = share.bytes_in(part.groups.count());
            *count(part) += bytes;
        }
    };
    for share in second {
        let count: fn(&mut GroupsDifference) -> &mut u64 =
            if added.contains(&share.run) { |part| &mut part.added_bytes } else { |part| &mut part.kept_bytes };
        add(share, count);
    }
    for share in first.iter().filter(|share| dropped.contains(&share.run)) {
        add(share, |part| &mut part.dropped_bytes);
    }
    let mut joined: Vec<GroupsDifference> = Vec::new();
    for part in found {
        match joined.last_mut() {
            Some(last) if last.is_same() && part.is_same() => {
                last.groups.last = part.groups.last;
                last.kept_bytes += part.kept_bytes;
            }
            _ => joined.push(part),
        }
    }
    joined
}

/// The first group, and the first behind the last.
fn ends(groups: KeyGroups) -> [u32; 2] {
    [u32::from(groups.first), u32::from(groups.last) + 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::testing::claim;

    fn names(runs: &[ClaimedRun]) -> Vec<u64> {
        runs.iter().map(|run| run.parcel.run.sequence).collect()
    }

    #[test]
    fn what_changed_is_told_by_run_and_by_group() {
        let before = [claim((0, 7), &[((0, 3), &[(1, 400)]), ((4, 7), &[(2, 800)])])];
        let after = [
            claim((0, 3), &[((0, 3), &[(1, 400)])]),
            claim((4, 7), &[((4, 5), &[(3, 50), (2, 400)]), ((6, 7), &[(4, 300)])]),
        ];
        let difference = Difference::new(&before, &after);
        assert_eq!(names(&difference.kept), [1, 2]);
        assert_eq!(names(&difference.dropped), [] as [u64; 0]);
        assert_eq!(names(&difference.added), [3, 4]);
        let groups: Vec<_> = difference
            .groups
            .iter()
            .map(|part| (part.groups.first, part.groups.last, part.kept_bytes, part.dropped_bytes, part.added_bytes))
            .collect();
        assert_eq!(groups, [(0, 3, 400, 0, 0), (4, 5, 400, 0, 50), (6, 7, 0, 0, 300)]);
        let back = Difference::new(&after, &before);
        assert_eq!((names(&back.dropped), names(&back.added)), (vec![3, 4], vec![]));
        assert_eq!(back.groups[1].dropped_bytes, 50);
    }

    #[test]
    fn a_checkpoint_is_the_same_as_itself() {
        let claims = [claim((0, 7), &[((0, 3), &[(1, 400)]), ((4, 7), &[(2, 800)])])];
        let difference = Difference::new(&claims, &claims);
        assert_eq!((difference.kept.len(), difference.dropped.len(), difference.added.len()), (2, 0, 0));
        assert_eq!(difference.groups.len(), 1);
        assert!(difference.groups[0].is_same() && difference.groups[0].kept_bytes == 1200);
        assert_eq!(Difference::new(&[], &[]), Difference::default());
    }
}
