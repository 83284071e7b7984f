//! What is told of objects that are gone, or are not what was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bedload_snapshot::testing::{FaultStore, Operation};
use bedload_snapshot::{
    Chain, CheckpointId, Claim, Cost, Error, ErrorKind, KeyGroups, ObjectName, ParcelName, VerifyLevel, claims, verify,
    verify_job,
};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tests::{SmallJob, at_once};

/// Asserts that an error tells of all `parts`, and not of what is seen from where, or of leases.
fn check_text(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "expected {parts:?}: {text}");
    assert!(!text.contains("lease") && !text.contains("from here"), "{text}");
}

/// A restore and a verification said of a missing claim that "a checkpoint that exists, or that a lease or pin keeps" names
/// it: not which one, nor what to do.
#[test]
fn a_missing_claim_is_told_with_its_checkpoint() {
    let mut job = SmallJob::new();
    let checkpoint = job.checkpoint(b"on time");
    let claim = job.claim_of(checkpoint);
    job.delete(&claim);
    let told = [&claim[..], &format!("checkpoint {checkpoint}"), "worker w-0", "restore from another checkpoint"];
    check_text(&job.restore(checkpoint).unwrap_err(), &told);
    let verified = verify(&job.repo, &job.name, checkpoint, VerifyLevel::Manifests);
    let verified = job.runtime.block_on(verified).unwrap();
    let [fault] = &verified.faults[..] else { panic!("one fault: {verified:?}") };
    check_text(&fault.error, &told);
}

/// As for claims: of a missing parcel it was not told which checkpoint needs it.
#[test]
fn a_missing_parcel_is_told_with_its_checkpoint() {
    let mut job = SmallJob::new();
    let checkpoint = job.checkpoint(b"on time");
    let parcels = job.parcels();
    let [parcel] = &parcels[..] else { panic!("one parcel: {parcels:?}") };
    job.delete(parcel);
    let told = [&parcel[..], &format!("checkpoint {checkpoint}"), "restore from another checkpoint"];
    check_text(&job.restore(checkpoint).unwrap_err(), &told);
    for level in [VerifyLevel::Lengths, VerifyLevel::Everything] {
        let verified = job.runtime.block_on(verify(&job.repo, &job.name, checkpoint, level)).unwrap();
        let [fault] = &verified.faults[..] else { panic!("one fault: {verified:?}") };
        check_text(&fault.error, &told);
    }
}

/// Breaks a parcel of the newest checkpoint where the one before has expired; gives why a collection stops, the parcel, and the checkpoint.
fn check_collection_stops(break_it: impl FnOnce(&SmallJob, &str)) -> (Error, String, CheckpointId) {
    let mut job = SmallJob::new();
    let first = job.checkpoint(b"on time");
    let second = job.checkpoint(b"late");
    job.expire(first);
    job.objects.pass_ms(48 * 3600 * 1000);
    let claims = job.runtime.block_on(claims(&job.repo, &job.name, second)).expect("nothing fails");
    let parcel = ObjectName::Parcel(job.name.clone(), claims[0].runs[0].parcel).to_string();
    break_it(&job, &parcel);
    let before = job.objects.paths();
    let error = job.collect().expect_err("it needs the parcel");
    assert_eq!(job.objects.paths(), before);
    (error, parcel, second)
}

/// A collection went on beside the loss of a run that checkpoints need, and could have deleted what would have helped.
#[test]
fn nothing_is_collected_where_a_parcel_is_missing_that_a_checkpoint_needs() {
    let (error, parcel, checkpoint) = check_collection_stops(|job, parcel| job.delete(parcel));
    check_text(&error, &[&parcel, &format!("checkpoint {checkpoint}")]);
}

/// A parcel that was cut passed for one that is there, and what could have been restored in its place expired and was deleted.
#[test]
fn nothing_is_collected_where_a_parcel_is_cut_that_a_checkpoint_needs() {
    let (error, parcel, _) = check_collection_stops(|job, parcel| job.put(parcel, Vec::new()));
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("0 bytes, expected ") && error.to_string().contains(&parcel), "{error}");
}

/// A verification that took longer than a checkpoint lived told the objects of that as missing.
#[test]
fn what_expires_while_it_is_verified_is_no_damage() {
    let mut job = SmallJob::new();
    let (first, second) = (job.checkpoint(b"on time"), job.checkpoint(b"late"));
    let of_first = job.runtime.block_on(claims(&job.repo, &job.name, first)).unwrap();
    let of_second = job.runtime.block_on(claims(&job.repo, &job.name, second)).unwrap();
    let kept: Vec<ParcelName> = of_second.iter().flat_map(|claim| &claim.runs).map(|run| run.parcel).collect();
    let runs = of_first.iter().flat_map(|claim| &claim.runs).map(|run| run.parcel);
    let only_first: Vec<ParcelName> = runs.filter(|parcel| !kept.contains(parcel)).collect();
    let lost = only_first.first().copied().unwrap_or(kept[0]);
    job.delete(&ObjectName::Parcel(job.name.clone(), lost).to_string());
    let expired = AtomicBool::new(false);
    let expire = |_| {
        if !expired.swap(true, Ordering::SeqCst) {
            let mut chain = at_once(Chain::read(&job.repo, &job.name)).unwrap();
            let slot = chain.state().find(first).expect("it exists");
            at_once(chain.expire(vec![slot], "a test said so")).unwrap();
        }
    };
    let verified = verify_job(&job.repo, &job.name, VerifyLevel::Lengths, &expire);
    let verified = job.runtime.block_on(verified).unwrap();
    let costs = verified.faults.iter().map(|fault| &fault.cost);
    let hit = costs.filter(|cost| matches!(cost, Cost::Groups(hit) if hit.iter().any(|(id, _)| *id == first)));
    assert_eq!(hit.count(), 0, "{verified:?}");
    assert!(expired.load(Ordering::SeqCst));
}

/// Of each damage it is told which key groups of which checkpoints it costs, and foreign objects are told beside.
#[test]
fn a_job_is_verified_as_a_whole() {
    let mut job = SmallJob::new();
    let (first, second) = (job.checkpoint(b"on time"), job.checkpoint(b"late"));
    job.put("jobs/job/runs/notes.txt", b"milk".to_vec());
    let look = |job: &SmallJob| {
        let verified = verify_job(&job.repo, &job.name, VerifyLevel::Lengths, &|_| ());
        job.runtime.block_on(verified).unwrap()
    };
    let whole = look(&job);
    assert!(whole.faults.is_empty() && whole.checkpoints == 2 && whole.claims == 2, "{whole:?}");
    assert_eq!(whole.unknown, ["jobs/job/runs/notes.txt"]);

    let of_first = job.runtime.block_on(claims(&job.repo, &job.name, first)).unwrap();
    let of_second = job.runtime.block_on(claims(&job.repo, &job.name, second)).unwrap();
    let parcels = |claims: &[Claim]| -> Vec<ParcelName> {
        claims.iter().flat_map(|claim| &claim.runs).map(|run| run.parcel).collect()
    };
    let lost = parcels(&of_second)[0];
    job.delete(&ObjectName::Parcel(job.name.clone(), lost).to_string());
    let damaged = look(&job);
    let [fault] = &damaged.faults[..] else { panic!("one fault: {damaged:?}") };
    let mut costs = vec![(second, vec![KeyGroups { first: 0, last: 3 }])];
    if parcels(&of_first).contains(&lost) {
        costs.insert(0, (first, costs[0].1.clone()));
    }
    assert_eq!(fault.cost, Cost::Groups(costs));
    assert!(fault.error.to_string().contains(&lost.to_string()), "{}", fault.error);
}

/// A worker claimed what it had uploaded without a look at it: that a store had kept half of it was seen by the coordinator,
/// if it was another process, and the time of such looks was always 0.
#[test]
fn a_worker_looks_at_what_it_has_uploaded() {
    let objects = FaultStore::default();
    let (plain, cuts) = (objects.clone(), Arc::new(AtomicBool::new(false)));
    let cut = Arc::clone(&cuts);
    let mut job = SmallJob::on(objects.with_witness(move |path, written| {
        if path.ends_with(".parcel") && cut.load(Ordering::SeqCst) {
            let whole: Vec<u8> = written.iter().flatten().copied().collect();
            plain.overwrite(path, whole[..whole.len() / 2].to_vec().into());
        }
    }));
    cuts.store(true, Ordering::SeqCst);
    let error = job.ship(b"half").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains(".parcel: ") && error.to_string().contains(" bytes, expected "), "{error}");
    cuts.store(false, Ordering::SeqCst);
    let ambient = Arc::clone(&job.ambient);
    job.objects.choose(move |request| {
        if request.operation == Operation::Head && request.path.ends_with(".parcel") {
            ambient.pass_ms(5);
        }
        None
    });
    let checkpoint = job.checkpoint(b"whole");
    let claim = job.objects.bytes(&job.claim_of(checkpoint)).unwrap();
    let claim = String::from_utf8(claim.to_vec()).unwrap();
    let verify_us = claim.split("\"verify_us\": ").nth(1).and_then(|rest| rest.split(char::is_whitespace).next());
    let verify_us: u64 = verify_us.expect("a claim tells it").parse().unwrap();
    assert!(verify_us >= 5_000 && verify_us.is_multiple_of(5_000), "{claim}");
    job.restore(checkpoint).unwrap();
}

/// Whoever read the chain asked for ever for a boundary that somebody had deleted.
#[test]
fn a_boundary_that_is_gone_is_told() {
    let objects = FaultStore::default();
    let (plain, is_due) = (objects.clone(), Arc::new(AtomicBool::new(false)));
    let due = Arc::clone(&is_due);
    let path = "jobs/job/boundary/000000000001.json";
    let mut job = SmallJob::on(objects.with_switch(move || {
        if due.swap(false, Ordering::SeqCst) {
            let path = Path::from(path);
            at_once(plain.delete(&path)).expect("it was read just now");
        }
    }));
    job.checkpoint(b"one");
    let mut reader = job.runtime.block_on(Chain::read(&job.repo, &job.name)).unwrap();
    job.checkpoint(b"two");
    let mut maker = job.runtime.block_on(Chain::read(&job.repo, &job.name)).unwrap();
    assert!(job.runtime.block_on(maker.mark_boundary()).unwrap());
    // The reader finds it, and it is gone when it wants to start from it.
    let (asked, mut deletes) = (AtomicU64::new(0), true);
    job.objects.choose(move |request| {
        assert!(asked.fetch_add(1, Ordering::Relaxed) < 2_000, "this goes on for ever");
        if request.operation == Operation::Get && request.path == path && std::mem::replace(&mut deletes, false) {
            is_due.store(true, Ordering::SeqCst);
        }
        None
    });
    let error = job.runtime.block_on(reader.catch_up()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("boundary 1 "), "{error}");
}
