//! Whole jobs against plain maps, on an object store that fails.

use tests::jobs::{JobOptions, JobTally, run_job};

fn run_seeds(seeds: std::ops::Range<u64>, options: JobOptions) -> JobTally {
    let first = std::env::var("BEDLOAD_SEED").ok().map(|seed| seed.parse().expect("BEDLOAD_SEED is a number"));
    let seeds = first.map_or(seeds, |seed: u64| seed..seed + 1);
    let mut sum = JobTally::default();
    for seed in seeds {
        let tally =
            run_job(seed, options).unwrap_or_else(|what| panic!("rerun: BEDLOAD_SEED={seed} with {options:?}: {what}"));
        sum.completed += tally.completed;
        sum.failed += tally.failed;
        sum.rebased_tiles += tally.rebased_tiles;
        sum.ahead_bytes += tally.ahead_bytes;
        sum.shortening_runs += tally.shortening_runs;
        sum.copied_claims += tally.copied_claims;
        sum.restores += tally.restores;
        sum.copies += tally.copies;
        sum.deleted += tally.deleted;
        sum.requests += tally.requests;
        sum.faults += tally.faults;
    }
    sum
}

#[test]
fn every_checkpoint_that_exists_restores_to_its_moment() {
    let sum = run_seeds(1..40, JobOptions { operations: 60, key_groups: 128, fault_one_in: 0 });
    assert!(sum.completed > 100 && sum.restores > 500, "{sum:?}");
    assert!(
        sum.rebased_tiles > 20
            && sum.ahead_bytes > 10_000
            && sum.shortening_runs > 5
            && sum.copied_claims > 20
            && sum.copies > 50,
        "{sum:?}"
    );
    let sum = run_seeds(1..4, JobOptions { operations: 60, key_groups: 32_768, fault_one_in: 0 });
    assert!(sum.completed > 10, "{sum:?}");
}

#[test]
fn a_failing_object_store_loses_nothing_and_tells_nothing_wrong() {
    for fault_one_in in [10, 40, 200] {
        let sum = run_seeds(100..130, JobOptions { operations: 60, key_groups: 128, fault_one_in });
        assert!(sum.completed > 10 && sum.faults > 50, "{sum:?}");
    }
}
