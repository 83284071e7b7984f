//! Decides how the key groups of a checkpoint are cut for another number of workers, and says what each of them needs. Pure.
//!
//! Nothing is rewritten whatever the cuts are: a run that several workers need is read by each of them, clipped.

use std::collections::BTreeMap;

use bedload_lsm::RunId;

use crate::error::{Error, ErrorKind, Result};
use crate::key_group::KeyGroups;
use crate::manifest::{Claim, ClaimedRun};
use crate::restore_plan::RestorePlan;
use crate::spread::{Share, shares};

/// How key groups are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cuts {
    /// As many groups for each worker, by Flink's formula (default).
    #[default]
    Groups,
    /// The largest worker as small as can be, in bytes of entries as the claims tell them.
    Bytes,
}

/// What each of a number of workers takes of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct RescalePlan {
    /// The workers, in the order of their key groups.
    pub workers: Vec<WorkerPlan>,
    /// Runs that more than one of them needs: each takes its part of it, by a clip.
    pub shared_runs: usize,
}

/// What one worker takes.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerPlan {
    /// Its key groups.
    pub groups: KeyGroups,
    /// About how many bytes of entries they hold.
    pub content_bytes: u64,
    /// The runs it needs.
    pub runs: usize,
    /// Those of them that it takes a part of.
    pub clipped_runs: usize,
    /// Bytes of parcels to fetch.
    pub fetch_bytes: u64,
    /// Bytes of parcels that need not be fetched, since their runs are here.
    pub local_bytes: u64,
}

impl RescalePlan {
    /// Plans `workers` for the claims of a checkpoint of a job that has `key_groups`. `is_local` says which runs need not be
    /// fetched.
    ///
    /// # Errors
    /// `Fix` when there is no key group for each worker; those of [`RestorePlan::new`].
    pub fn new(
        claims: &[Claim],
        key_groups: u32,
        workers: u32,
        cuts: Cuts,
        is_local: impl Fn(&ClaimedRun) -> bool,
    ) -> Result<RescalePlan> {
        if workers == 0 || workers > key_groups {
            let message = format!("{workers} workers for {key_groups} key groups: each needs one, at least");
            return Err(Error::new(ErrorKind::Fix, message));
        }
        let shares = shares(claims);
        let weights = weights(&shares, key_groups);
        let parts = match cuts {
            Cuts::Groups => (0..workers).map(|index| KeyGroups::of_worker(key_groups, workers, index)).collect(),
            Cuts::Bytes => cut_by_weight(&weights, workers as usize),
        };
        let mut users: BTreeMap<RunId, u32> = BTreeMap::new();
        let mut planned = Vec::new();
        for groups in parts {
            let plan = RestorePlan::new(claims, groups)?;
            for run in &plan.runs {
                *users.entry(run.parcel.run).or_default() += 1;
            }
            let local_bytes = plan.runs.iter().filter(|run| is_local(run)).map(|run| run.parcel_bytes).sum();
            planned.push(WorkerPlan {
                groups,
                content_bytes: weights[usize::from(groups.first)..=usize::from(groups.last)].iter().sum(),
                runs: plan.runs.len(),
                clipped_runs: plan.clipped_runs,
                fetch_bytes: plan.parcel_bytes() - local_bytes,
                local_bytes,
            });
        }
        let shared_runs = users.into_values().filter(|users| *users > 1).count();
        Ok(RescalePlan { workers: planned, shared_runs })
    }
}

/// About how many bytes each key group has.
fn weights(shares: &[Share], key_groups: u32) -> Vec<u64> {
    let mut weights = vec![0u64; key_groups as usize];
    for share in shares {
        let bytes = share.bytes_in(1);
        let last = usize::from(share.groups.last).min(weights.len() - 1);
        for weight in &mut weights[usize::from(share.groups.first).min(last)..=last] {
            *weight = weight.saturating_add(bytes);
        }
    }
    weights
}

/// Cuts groups of these weights into so many parts in a row, none empty, so that the heaviest is as light as can be.
fn cut_by_weight(weights: &[u64], parts: usize) -> Vec<KeyGroups> {
    assert!((1..=weights.len()).contains(&parts), "a group for each part");
    // Empty groups have to be looked after as well: each counts a little.
    let weight = |group: usize| weights[group].max(1);
    let (mut low, mut high) = (0, (0..weights.len()).map(weight).fold(0, u64::saturating_add));
    while low < high {
        let middle = low + (high - low) / 2;
        if fill(weights.len(), parts, middle, weight).is_some() { high = middle } else { low = middle + 1 }
    }
    let ends = fill(weights.len(), parts, high, weight).expect("all in one part fit");
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| KeyGroups { first: start as u16, last: (*end - 1) as u16 }).collect()
}

/// Fills parts one by one up to `limit`; gives where each ends, or `None` when they do not hold all. Leaves a group for each part
/// that follows.
fn fill(groups: usize, parts: usize, limit: u64, weight: impl Fn(usize) -> u64) -> Option<Vec<usize>> {
    let mut ends = Vec::with_capacity(parts);
    let mut group = 0;
    for part in 1..=parts {
        let end_max = groups - (parts - part);
        let mut sum = 0u64;
        let start = group;
        while group < end_max && sum.saturating_add(weight(group)) <= limit {
            sum += weight(group);
            group += 1;
        }
        if group == start {
            return None;
        }
        ends.push(group);
    }
    (group == groups).then_some(ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key_group::coverage_fault;
    use crate::spread::testing::claim;

    #[test]
    fn a_plan_tells_what_each_worker_fetches() {
        let claims = [claim((0, 3), &[((0, 3), &[(1, 400)])]), claim((4, 7), &[((4, 7), &[(2, 100), (3, 300)])])];
        let plan = RescalePlan::new(&claims, 8, 3, Cuts::Groups, |run| run.parcel.run.sequence == 2).unwrap();
        let told =
            |worker: &WorkerPlan| (worker.groups.to_string(), worker.runs, worker.fetch_bytes, worker.local_bytes);
        let told: Vec<_> = plan.workers.iter().map(told).collect();
        assert_eq!(
            told,
            [("0..=2".into(), 1, 1000, 0), ("3..=5".into(), 3, 2000, 1000), ("6..=7".into(), 2, 1000, 1000)]
        );
        assert_eq!(plan.shared_runs, 3);
        assert_eq!(plan.workers.iter().map(|worker| worker.content_bytes).collect::<Vec<_>>(), [300, 300, 200]);
        let error = RescalePlan::new(&claims, 8, 9, Cuts::Groups, |_| false).unwrap_err();
        assert_eq!(error.to_string(), "9 workers for 8 key groups: each needs one, at least");
    }

    #[test]
    fn cuts_by_bytes_spare_the_heavy_group() {
        let claims = [claim((0, 7), &[((0, 0), &[(1, 7000)]), ((1, 7), &[(2, 700)])])];
        let plan = RescalePlan::new(&claims, 8, 2, Cuts::Bytes, |_| false).unwrap();
        let groups: Vec<String> = plan.workers.iter().map(|worker| worker.groups.to_string()).collect();
        assert_eq!(groups, ["0..=0", "1..=7"]);
    }

    proptest! {
        #[test]
        fn cuts_cover_all_groups_and_no_better_ones_exist(
            weights in prop::collection::vec(0u64..50, 1..9),
            parts in 1usize..5,
        ) {
            let parts = parts.min(weights.len());
            let cuts = cut_by_weight(&weights, parts);
            prop_assert_eq!(cuts.len(), parts);
            prop_assert_eq!(coverage_fault(weights.len() as u32, cuts.iter().copied()), None);
            let sum = |first: usize, end: usize| weights[first..end].iter().map(|weight| (*weight).max(1)).sum::<u64>();
            let heaviest = cuts.iter().map(|part| sum(usize::from(part.first), usize::from(part.last) + 1)).max();
            // The best of all ways to cut, found by trying each.
            fn best(weights: &[u64], parts: usize) -> u64 {
                let sum = |part: &[u64]| part.iter().map(|weight| (*weight).max(1)).sum::<u64>();
                if parts == 1 {
                    return sum(weights);
                }
                let ends = 1..=weights.len() - (parts - 1);
                ends.map(|end| sum(&weights[..end]).max(best(&weights[end..], parts - 1))).min().unwrap()
            }
            prop_assert_eq!(heaviest, Some(best(&weights, parts)));
        }
    }
}
