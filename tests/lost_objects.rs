//! What is told of objects that are gone, or are not what was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bedload_snapshot::testing::{FaultStore, Operation};
use bedload_snapshot::{Chain, ErrorKind};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tests::SmallJob;

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
