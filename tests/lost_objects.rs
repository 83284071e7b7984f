//! What is told of objects that are gone, or are not what was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bedload_snapshot::testing::{FaultStore, Operation};
use bedload_snapshot::{Chain, ErrorKind, VerifyLevel, verify};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tests::SmallJob;

/// Asserts that an error tells of all `parts`, and not of what is seen from where, or of leases.
fn check_text(error: &bedload_snapshot::Error, parts: &[&str]) {
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
    check_text(fault, &told);
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
        check_text(fault, &told);
    }
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
            tests::at_once(plain.delete(&path)).expect("it was read just now");
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
