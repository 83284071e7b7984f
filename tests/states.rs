//! Typed states and timers on disk and in memory, against plain collections; and where they may lie.

use std::sync::Arc;

use bedload::{Engine, ErrorKind, Start};
use bedload_lsm::fs::{FsKind, MemoryFs};
use tests::states::{StatesOptions, StatesTally, run_states};

fn run_seeds(seeds: std::ops::Range<u64>, options: StatesOptions) -> StatesTally {
    let first = std::env::var("BEDLOAD_SEED").ok().map(|seed| seed.parse().expect("BEDLOAD_SEED is a number"));
    let seeds = first.map_or(seeds, |seed: u64| seed..seed + 1);
    let mut sum = StatesTally::default();
    for seed in seeds {
        let tally = run_states(seed, options)
            .unwrap_or_else(|what| panic!("rerun: BEDLOAD_SEED={seed} with {options:?}: {what}"));
        sum.operations += tally.operations;
        sum.fired += tally.fired;
        sum.checkpoints += tally.checkpoints;
        sum.failed += tally.failed;
        sum.restores += tally.restores;
        sum.lazy += tally.lazy;
        sum.migrated += tally.migrated;
        sum.ended_shown += tally.ended_shown;
    }
    sum
}

#[test]
fn states_are_what_plain_collections_say() {
    let sum = run_seeds(1..81, StatesOptions { steps: 60, fault_one_in: 0 });
    assert!(sum.operations > 20_000 && sum.fired > 2_000 && sum.migrated > 80, "{sum:?}");
    assert!(sum.ended_shown > 20, "{sum:?}");
    assert!(sum.checkpoints > 300 && sum.restores > 200 && sum.lazy > 50, "{sum:?}");
}

#[test]
fn checkpoints_that_fail_cost_no_state() {
    let sum = run_seeds(100..120, StatesOptions { steps: 60, fault_one_in: 30 });
    assert!(sum.checkpoints > 10 && sum.failed > 10, "{sum:?}");
}

#[test]
fn a_directory_on_the_network_is_refused_unless_allowed() {
    let fs = MemoryFs::new();
    fs.set_kind(FsKind::Remote("NFS".to_owned()));
    let builder = || Engine::builder("/worker").fs(Arc::new(fs.clone())).start(Start::Empty);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(builder().open()).err().expect("the directory is remote");
    assert_eq!(error.kind(), ErrorKind::Fix);
    let message = error.to_string();
    assert!(message.contains("NFS") && message.contains("allow_remote_directory"), "{message}");
    runtime.block_on(builder().allow_remote_directory().open()).unwrap().close().unwrap();
}
