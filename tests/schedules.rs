//! Schedules of threads, tried out one by one: `RUSTFLAGS="--cfg shuttle" cargo test -p tests --test schedules`.
//!
//! Without that flag there is nothing here: shuttle's locks work only under its own scheduler.
#![cfg(shuttle)]

use bedload_lsm::testing::seed_bug;
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
