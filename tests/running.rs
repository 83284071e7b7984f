//! What the runner does beside counting: collections, directories, shipments of checkpoints that are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bedload::{CheckpointPolicy, JobName};
use bedload_snapshot::testing::{ObjectFault, Operation};
use bedload_snapshot::{Chain, CollectOptions, Deletes, ObjectName, VerifyLevel, verify};
use tests::running::{RunningPlace, run_twice};

const DAY_MS: u64 = 24 * 3600 * 1000;

fn never() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(-1))
}

#[test]
fn each_number_counts_once_when_a_job_goes_on_after_a_failure() {
    for seed in 0..5 {
        run_twice(seed).unwrap();
    }
}

#[test]
fn a_repo_is_collected_while_its_job_runs() {
    let place = RunningPlace::new();
    let directory = tempfile::tempdir().unwrap();
    let objects = place.objects.clone();
    // Each checkpoint takes two days: what was there before is old enough to go.
    let mut job = place.job(&directory.path().join("work"), [3_000, 5_000], &never(), move || objects.pass_ms(DAY_MS));
    let options = CollectOptions { deletes: Deletes::Everything, ..CollectOptions::default() };
    job = job.parallelism(2).collect_every(Duration::ZERO, options);
    let ended = job.run().unwrap();
    assert!(ended.completed > 5 && ended.failed == 0, "{ended:?}");
    let name = JobName::new("numbers").unwrap();
    let live = place.runtime.block_on(Chain::read(&place.repo, &name)).unwrap().state().live().clone();
    for completion in live.values() {
        let level = VerifyLevel::Everything;
        let verified = place.runtime.block_on(verify(&place.repo, &name, completion.checkpoint, level)).unwrap();
        assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    }
    let is_claim = |path: &String| matches!(ObjectName::parse(path), Some(ObjectName::Claim(..)));
    let claims = place.objects.paths().iter().filter(|path| is_claim(path)).count();
    assert!(claims < ended.completed as usize, "{claims} claims are left of {} checkpoints of two", ended.completed);
    assert_eq!(place.counted(&directory.path().join("found")), 8_000);
}

/// They stayed for ever, each with a copy of an old checkpoint.
#[test]
fn directories_of_workers_that_a_rescale_dropped_are_removed() {
    let place = RunningPlace::new();
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path().join("work");
    let there = || {
        let mut names: Vec<String> =
            std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    place.job(&work, [100, 100], &never(), || ()).parallelism(4).run().unwrap();
    assert_eq!(there(), ["w-0", "w-1", "w-2", "w-3"]);
    for other in ["w-7", "w-x", "notes"] {
        std::fs::create_dir(work.join(other)).unwrap();
    }
    place.job(&work, [200, 200], &never(), || ()).parallelism(2).run().unwrap();
    assert_eq!(there(), ["notes", "w-0", "w-1", "w-7", "w-x"], "what no engine has made is not ours");
    place.job(&work, [300, 300], &never(), || ()).parallelism(3).run().unwrap();
    assert_eq!(place.counted(&directory.path().join("found")), 600);
}

/// The upload of a checkpoint that was given up went on, and the shipments behind it waited for it: here, for ever.
#[test]
fn a_shipment_of_a_checkpoint_that_was_given_up_ends() {
    let place = RunningPlace::new();
    let directory = tempfile::tempdir().unwrap();
    let is_first = Arc::new(AtomicBool::new(true));
    let hangs = Arc::clone(&is_first);
    place.objects.choose(move |request| {
        let uploads =
            !matches!(request.operation, Operation::Get | Operation::Head) && request.path.ends_with(".parcel");
        (uploads && hangs.swap(false, Ordering::SeqCst)).then_some(ObjectFault::Hang)
    });
    let policy = CheckpointPolicy {
        interval: Duration::from_millis(5),
        timeout: Duration::from_millis(300),
        tolerated_failures: 9,
        ..CheckpointPolicy::default()
    };
    let mut job = place.job(&directory.path().join("work"), [3_000, 3_000], &never(), || ()).parallelism(2);
    job = job.checkpoints(policy);
    let ended = job.run().unwrap();
    assert!(!is_first.load(Ordering::SeqCst) && ended.failed >= 1 && ended.completed >= 1, "{ended:?}");
    assert_eq!(place.counted(&directory.path().join("found")), 6_000);
}
