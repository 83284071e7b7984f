//! Uploads in parts: what is left of them in the store when they do not come to their end.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Env, Store};
use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation};
use bedload_snapshot::{ErrorKind, KeyGroups};
use tests::scene::{KEY_GROUPS, Scene, Stop, check};
use tests::{GroupedKeys, Random};

/// A rule of the bucket removes unfinished uploads, and one took longer than that. Its completion was told as a bucket that does not
/// exist, and the checkpoint failed.
#[test]
fn parts_that_the_store_has_forgotten_are_sent_again() -> Result<(), Stop> {
    for operation in [Operation::Part, Operation::CompleteParts] {
        let mut scene = Scene::open(&FaultStore::default(), 1)?;
        scene.start(1)?;
        scene.write_noise(140 << 10)?;
        let barrier = scene.begin()?;
        scene.frozen.insert(barrier.checkpoint, scene.state.clone());
        let mut member = scene.members.remove(0);
        let frozen = member.store.freeze()?;
        scene.objects.choose(move |request| (request.operation == operation).then_some(ObjectFault::Late));
        let mut shipping = pin!(member.worker.ship(frozen, &barrier, 0));
        check(scene.until_late(shipping.as_mut()).is_none(), || "nothing was uploaded in parts".into())?;
        scene.objects.choose(|_| None);
        check(scene.objects.forget_unfinished() == 1, || "no upload was started".into())?;
        scene.objects.let_go();
        let (claim, _) = scene.runtime.block_on(shipping)?;
        scene.complete(&barrier, vec![claim])?;
        scene.check_restore(barrier.checkpoint)?;
        check(scene.objects.unfinished().is_empty(), || "parts stayed".into())?;
    }
    Ok(())
}

/// A run was damaged on the worker's disk, which is known when it has been read through: parts of it are in the store then, and
/// stayed there.
#[test]
fn a_damaged_run_leaves_no_parts_behind() -> Result<(), Stop> {
    let mut scene = Scene::open(&FaultStore::default(), 2)?;
    scene.coordinate()?;
    let machine = MemoryFs::new();
    let env = Env::builder().fs(Arc::new(machine.clone())).memory(16 << 20).build()?;
    let mut store = Store::options().env(&env).shape(GroupedKeys).open("state")?;
    let worker = scene.worker(KeyGroups::all(KEY_GROUPS), &machine);
    let mut random = Random::new(2);
    let noise: Vec<u8> = (0..300_000).flat_map(|_| random.draw().to_le_bytes()).collect();
    store.put(b"\0\x01noise", &noise)?;
    store.flush()?;
    let is_run = |path: &PathBuf| path.extension().is_some_and(|end| end == "run");
    let runs: Vec<PathBuf> = machine.paths().into_iter().filter(is_run).collect();
    check(runs.len() == 1, || format!("{runs:?}"))?;
    let mut bytes = machine.read(&runs[0])?;
    bytes[1_000_000] ^= 1;
    machine.write(&runs[0], bytes)?;

    let barrier = scene.begin()?;
    let parts = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&parts);
    scene.objects.choose(move |request| {
        seen.fetch_add(u64::from(request.operation == Operation::Part), Ordering::SeqCst);
        None
    });
    let shipped = scene.runtime.block_on(worker.ship(store.freeze()?, &barrier, 0));
    let error = shipped.expect_err("a damaged run must not become the only copy");
    check(error.kind() == ErrorKind::Damaged, || error.to_string())?;
    check(parts.load(Ordering::SeqCst) > 0, || "nothing was sent".into())?;
    check(scene.objects.unfinished().is_empty(), || "parts stayed".into())
}
