//! Every request of a job goes wrong: those of a sample of cases here, all of them in `soak --group requests`.

use tests::requests::{Lasts, Plan, RequestTally, Script};

const SEED: u64 = 7;

/// Runs every `stride`-th case.
fn run(script: Script, lasts: Lasts, stride: usize) -> RequestTally {
    let plan = Plan::new(script, SEED).unwrap_or_else(|what| panic!("{what}"));
    let mut tally = RequestTally::default();
    let failed: Vec<String> =
        plan.cases(lasts).into_iter().step_by(stride).filter_map(|case| plan.run(case, &mut tally).err()).collect();
    println!("{script:?} {lasts:?}: {tally:?}");
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), tally.cases, failed.join("\n"));
    tally
}

#[test]
fn a_job_outlives_each_fault_that_comes_once() {
    let tally = run(Script::Small, Lasts::Once, 11);
    assert!(tally.cases > 250, "{tally:?}");
}

#[test]
fn an_outage_leaves_a_job_that_another_coordinator_goes_on_with() {
    let tally = run(Script::Small, Lasts::FromThenOn, 19);
    assert!(tally.cases > 150 && tally.gave_up > 100, "{tally:?}");
}

#[test]
fn an_outage_of_one_kind_of_request_leaves_a_job_to_go_on_with() {
    let tally = run(Script::Small, Lasts::SameOperation, 23);
    assert!(tally.cases > 120 && tally.gave_up > 80, "{tally:?}");
}

#[test]
fn uploads_in_parts_and_restores_in_the_background_outlive_faults() {
    let once = run(Script::Large, Lasts::Once, 3);
    assert!(once.cases > 150, "{once:?}");
    let lasting = run(Script::Large, Lasts::FromThenOn, 7);
    assert!(lasting.gave_up > 50, "{lasting:?}");
    let lasting = run(Script::Large, Lasts::SameOperation, 7);
    assert!(lasting.gave_up > 40, "{lasting:?}");
}

#[test]
fn the_scripts_do_all_that_can_go_wrong() {
    let small = Plan::new(Script::Small, SEED).expect("nothing fails");
    let deeds = small.deeds;
    println!("{} requests, {deeds:?}", small.requests());
    assert!(deeds.reused_runs > 0 && deeds.rebased_tiles > 0 && deeds.deleted > 8, "{deeds:?}");
    let large = Plan::new(Script::Large, SEED).expect("nothing fails");
    println!("{} requests, {:?}", large.requests(), large.deeds);
    // A third of it in the background, and no chunk twice.
    assert!((140 << 10..150 << 10).contains(&large.deeds.fetched_bytes), "{:?}", large.deeds);
}
