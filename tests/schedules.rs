//! Schedules of threads, tried out one by one: `RUSTFLAGS="--cfg shuttle" cargo test -p tests --test schedules`.
//!
//! Without that flag there is nothing here: shuttle's locks work only under its own scheduler.
#![cfg(shuttle)]

use bedload_lsm::testing::seed_bug;
use bedload_snapshot::testing::Bug;
use tests::chains::{explore_chain, failing_store, unfenced_store};
use tests::schedules::explore;

/// How many scenarios, and how many schedules of each.
const SEEDS: std::ops::Range<u64> = 1..25;
const SCHEDULES: usize = 40;

/// One test, since the canary's bug is seeded for the whole process.
#[test]
fn every_schedule_gives_one_history_and_the_canary_is_caught() {
    for seed in SEEDS {
        explore(seed, SCHEDULES)
            .unwrap_or_else(|failure| panic!("rerun: soak --group schedules --seed {seed}: {failure}"));
    }
    seed_bug(true);
    let caught = SEEDS.filter(|seed| explore(*seed, SCHEDULES).is_err()).count();
    seed_bug(false);
    assert!(caught > 0, "files deleted while a checkpoint holds them went unnoticed");
}

/// One test, since the canaries' bugs are seeded for the whole process.
#[test]
fn everybody_reads_one_chain_and_the_canaries_are_caught() {
    for seed in SEEDS {
        explore_chain(seed, SCHEDULES, failing_store)
            .unwrap_or_else(|failure| panic!("rerun: soak --group chains --seed {seed}: {failure}"));
    }
    let caught = |store| SEEDS.filter(|seed| explore_chain(*seed, SCHEDULES, store).is_err()).count();
    assert!(caught(unfenced_store) > 0, "a store that creates what exists went unnoticed");
    for bug in [Bug::OldSlotsCount, Bug::OldEndsCount] {
        bedload_snapshot::testing::seed_bug(Some(bug));
        let caught = caught(failing_store);
        bedload_snapshot::testing::seed_bug(None);
        assert!(caught > 0, "{bug:?} went unnoticed");
    }
}
