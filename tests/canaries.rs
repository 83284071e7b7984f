//! Bugs that the tests of jobs and of states must find. A program of its own, with one test: a bug is seeded for the whole process.

use bedload_snapshot::testing::{Bug, ObjectFault, seed_bug};
use tests::jobs::{JobOptions, run_job};
use tests::requests::{Lasts, Plan, RequestTally, Script};
use tests::running::run_twice;
use tests::states::{StatesOptions, run_states};

#[test]
fn seeded_bugs_are_found() {
    bugs_of_checkpoints();
    bugs_of_states();
    bugs_of_the_runner();
}

fn bugs_of_checkpoints() {
    for bug in [Bug::DeltaLost, Bug::YoungDeleted] {
        seed_bug(Some(bug));
        let options = JobOptions { operations: 60, key_groups: 128, fault_one_in: 0 };
        let found = (1..100).find(|seed| run_job(*seed, options).is_err());
        seed_bug(None);
        assert!(found.is_some(), "{bug:?} went unnoticed");
    }
    let plan = Plan::new(Script::Small, 7).expect("nothing fails");
    for (bug, fault, lasts) in [
        (Bug::FailuresBelieved, ObjectFault::Twice, Lasts::Once),
        (Bug::CutListingsBelieved, ObjectFault::CutBody, Lasts::Once),
        (Bug::PatienceForgotten, ObjectFault::FailBefore, Lasts::SameOperation),
    ] {
        let cases = plan.cases(lasts).into_iter().filter(|case| case.fault == fault);
        seed_bug(Some(bug));
        let found = cases.map(|case| plan.run(case, &mut RequestTally::default())).find_map(Result::err);
        seed_bug(None);
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} went unnoticed");
    }
}

fn bugs_of_states() {
    use bedload::testing::{Bug, seed_bug};
    for bug in [Bug::LateLost, Bug::ReadsRenewNothing, Bug::MapsNotMigrated, Bug::OperandsExchanged] {
        seed_bug(Some(bug));
        let options = StatesOptions { steps: 60, fault_one_in: 0 };
        let found = (1..100).find(|seed| run_states(*seed, options).is_err());
        seed_bug(None);
        assert!(found.is_some(), "{bug:?} went unnoticed");
    }
}

fn bugs_of_the_runner() {
    use bedload::testing::{Bug, seed_bug};
    seed_bug(Some(Bug::BarriersNotAligned));
    let found = (0..50).find_map(|seed| run_twice(seed).err());
    seed_bug(None);
    println!("{:?}: {found:?}", Bug::BarriersNotAligned);
    assert!(found.is_some_and(|what| what.contains("were counted, of")), "it went unnoticed");
}
