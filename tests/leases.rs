//! What leases keep, and what becomes of those that nobody holds any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation};
use bedload_snapshot::{Chain, CheckpointId, ErrorKind, ObjectName, Why, why};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tests::SmallJob;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn leases(job: &SmallJob) -> Vec<String> {
    let paths = job.objects.paths().into_iter();
    paths.filter(|path| matches!(ObjectName::parse(path), Some(ObjectName::Lease(..)))).collect()
}

/// Lets requests about leases fail.
fn fail_leases(job: &SmallJob, fails: impl Fn(Operation) -> Option<ObjectFault> + Send + 'static) {
    job.objects.choose(move |request| if request.path.contains("/leases/") { fails(request.operation) } else { None });
}

/// The lease of a reader of `checkpoint` that has died: its path, and its bytes.
fn lease_of_a_dead_reader(job: &SmallJob, checkpoint: CheckpointId) -> (String, Vec<u8>) {
    fail_leases(job, |operation| (operation == Operation::Delete).then_some(ObjectFault::FailBefore));
    job.restore(checkpoint).expect("nothing fails");
    job.objects.choose(|_| None);
    let leases = leases(job);
    let [lease] = &leases[..] else { panic!("one lease has stayed: {leases:?}") };
    (lease.clone(), job.objects.bytes(lease).expect("it is there").to_vec())
}

/// A reader stood still before it wrote its lease, and died then. Meanwhile its checkpoint had expired and been collected. Every
/// collection after that failed: a claim was missing that "a checkpoint that exists, or that a lease or pin keeps" named.
#[test]
fn a_lease_on_what_was_collected_stops_no_collection() {
    let mut job = SmallJob::new();
    let old = job.checkpoint(b"old");
    let (lease, bytes) = lease_of_a_dead_reader(&job, old);
    job.delete(&lease);
    let new = job.checkpoint(b"new");
    job.expire(old);
    job.objects.pass_ms(2 * DAY_MS);
    let claim = job.claim_of(old);
    let collected = job.collect().unwrap();
    assert!(collected.garbage.iter().any(|(path, _)| *path == claim), "{collected:?}");

    job.put(&lease, bytes);
    let Some(ObjectName::Lease(_, id)) = ObjectName::parse(&lease) else { panic!("a lease") };
    let collected = job.collect().unwrap();
    assert_eq!((collected.ended_leases, collected.deleted), (vec![id], 0), "it is young");
    assert_eq!(job.runtime.block_on(why(&job.repo, &lease)).unwrap(), Why::Garbage);
    job.objects.pass_ms(2 * DAY_MS);
    job.collect().unwrap();
    assert!(leases(&job).is_empty(), "it keeps nothing, and goes");
    job.restore(new).unwrap();
}

#[test]
fn a_lease_keeps_a_checkpoint_that_has_expired() {
    let mut job = SmallJob::new();
    let old = job.checkpoint(b"old");
    let (lease, _) = lease_of_a_dead_reader(&job, old);
    job.checkpoint(b"new");
    job.expire(old);
    let claim = job.claim_of(old);
    job.objects.pass_ms(2 * DAY_MS);
    let collected = job.collect().unwrap();
    assert!(collected.ended_leases.is_empty(), "{collected:?}");
    assert!(job.objects.bytes(&claim).is_some(), "its holder may read it");
    assert!(matches!(job.runtime.block_on(why(&job.repo, &claim)).unwrap(), Why::Reached(_)));

    let Some(ObjectName::Lease(_, id)) = ObjectName::parse(&lease) else { panic!("a lease") };
    let mut chain = job.runtime.block_on(Chain::read(&job.repo, &job.name)).unwrap();
    job.runtime.block_on(chain.void(id, "its holder is dead")).unwrap();
    job.collect().unwrap();
    assert!(job.objects.bytes(&claim).is_none() && leases(&job).is_empty());
}

/// A claim that a listing has shown and a reading does not find proves nothing about its checkpoint.
#[test]
fn a_claim_that_vanishes_meanwhile_stops_a_collection() {
    let objects = FaultStore::default();
    let victim = Arc::new(Mutex::new(None::<String>));
    let (plain, taken) = (objects.clone(), Arc::clone(&victim));
    let is_due = Arc::new(AtomicBool::new(false));
    let due = Arc::clone(&is_due);
    let switched = objects.with_switch(move || {
        if due.swap(false, Ordering::SeqCst)
            && let Some(path) = taken.lock().unwrap().take()
        {
            let path = Path::from(path);
            tests::at_once(plain.delete(&path)).expect("it was listed just now");
        }
    });
    let mut job = SmallJob::on(switched);
    let old = job.checkpoint(b"old");
    lease_of_a_dead_reader(&job, old);
    job.checkpoint(b"new");
    job.expire(old);
    job.objects.pass_ms(2 * DAY_MS);
    *victim.lock().unwrap() = Some(job.claim_of(old));
    // Leases are read behind the listing, and before the claims.
    job.objects.choose(move |request| {
        let reads_a_lease = request.operation == Operation::Get && request.path.contains("/leases/");
        is_due.fetch_or(reads_a_lease, Ordering::SeqCst);
        None
    });
    let error = job.collect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    job.objects.choose(|_| None);
    assert_eq!(job.collect().unwrap().ended_leases.len(), 1, "now it is gone for everybody");
}

#[test]
fn a_missing_claim_of_a_checkpoint_that_exists_stops_a_collection() {
    let mut job = SmallJob::new();
    let checkpoint = job.checkpoint(b"on time");
    let claim = job.claim_of(checkpoint);
    job.delete(&claim);
    let error = job.collect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let text = error.to_string();
    assert!(text.contains(&claim) && text.contains(&format!("checkpoint {checkpoint}")), "{text}");
    assert!(!text.contains("lease"), "no lease names it: {text}");
}

/// The lease was written, the look at its time failed, and nobody knew of it any more: it kept its checkpoint for ever.
#[test]
fn a_lease_whose_writing_failed_is_ended() {
    let mut job = SmallJob::new();
    let checkpoint = job.checkpoint(b"on time");
    fail_leases(&job, |operation| (operation == Operation::Head).then_some(ObjectFault::FailBefore));
    assert_eq!(job.restore(checkpoint).unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!(leases(&job), Vec::<String>::new(), "the look has failed");
    // Written, and the answer lost, and what would show that it is there fails too.
    fail_leases(&job, |operation| match operation {
        Operation::Create => Some(ObjectFault::FailAfter),
        Operation::Get => Some(ObjectFault::FailBefore),
        _ => None,
    });
    assert_eq!(job.restore(checkpoint).unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!(leases(&job), Vec::<String>::new(), "it is not known whether it was written");
    job.objects.choose(|_| None);
    job.restore(checkpoint).unwrap();
}

/// A collector writes a lease on nothing, to know the store's time. One that was killed left it for ever.
#[test]
fn the_lease_of_a_killed_collector_goes() {
    let mut job = SmallJob::new();
    job.checkpoint(b"on time");
    fail_leases(&job, |operation| (operation == Operation::Delete).then_some(ObjectFault::FailBefore));
    job.collect().unwrap();
    job.objects.choose(|_| None);
    assert_eq!(leases(&job).len(), 1, "it was killed before it ended its lease");
    job.objects.pass_ms(DAY_MS / 2);
    job.collect().unwrap();
    assert_eq!(leases(&job).len(), 1, "another collector may be at work");
    job.objects.pass_ms(DAY_MS);
    let collected = job.collect().unwrap();
    assert_eq!((collected.garbage.len(), collected.deleted), (1, 1), "{collected:?}");
    assert_eq!(leases(&job), Vec::<String>::new());
}
