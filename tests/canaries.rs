//! Bugs that the tests of jobs must find. A program of its own: a bug is seeded for the whole process.

use bedload_snapshot::testing::{Bug, seed_bug};
use tests::jobs::{JobOptions, run_job};

#[test]
fn seeded_bugs_of_checkpoints_are_found() {
    for bug in [Bug::DeltaLost, Bug::YoungDeleted] {
        seed_bug(Some(bug));
        let options = JobOptions { operations: 60, key_groups: 128, fault_one_in: 0 };
        let found = (1..100).find(|seed| run_job(*seed, options).is_err());
        seed_bug(None);
        assert!(found.is_some(), "{bug:?} went unnoticed");
    }
}
