//! Bugs that other stores had, and traps that every store of this kind meets, played against this one. Each test opens with the
//! story and where it is told.

use std::pin::pin;

use bedload_lsm::fs::MemoryFs;
use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation};
use bedload_snapshot::{
    ErrorKind, KeyGroups, LocalPool, ObjectName, RestoreOptions, Retention, Start, collect, restore,
};
use tests::scene::{GRACE_MS, KEY_GROUPS, Scene, Stop, check, collect_options, same_state};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A job with two workers and a checkpoint.
fn started(seed: u64) -> Result<Scene, Stop> {
    let mut scene = Scene::open(&FaultStore::default(), seed)?;
    scene.start(2)?;
    scene.write(40)?;
    scene.checkpoint()?;
    Ok(scene)
}

/// Requests for `operation` in `folder` wait on their way.
fn be_late(scene: &Scene, operation: Operation, folder: &'static str) {
    scene.objects.choose(move |request| {
        (request.operation == operation && request.path.contains(folder)).then_some(ObjectFault::Late)
    });
}

/// From here on nothing goes wrong; what waits still waits.
fn heal(scene: &Scene) {
    scene.objects.choose(|_| None);
}

/// FLINK-7268 (<https://github.com/apache/flink/pull/4410>): checkpoints were deleted asynchronously. A deletion that was still to be
/// done when the job restarted lowered the counts of the restarted registry, and files were deleted that the restored checkpoint
/// used. Here a collector has decided, and stands still while the job restarts, goes on, and uses old uploads again.
#[test]
fn deletions_that_were_decided_before_a_restart_spare_what_the_restarted_job_uses() -> Result<(), Stop> {
    let mut scene = started(1)?;
    scene.write(12)?;
    scene.checkpoint()?;
    scene.expire_all_but(1)?;
    scene.pass_ms(2 * GRACE_MS);
    let (repo, job, options) = (scene.repo.clone(), scene.job.clone(), collect_options());
    let mut deleting = pin!(collect(&repo, &job, &options));
    be_late(&scene, Operation::Delete, "/checkpoints/");
    check(scene.until_late(deleting.as_mut()).is_none(), || "nothing was deleted".into())?;
    heal(&scene);

    scene.start(3)?;
    scene.write(12)?;
    let barrier = scene.begin()?;
    scene.ship(&barrier)?;
    scene.give_up(&barrier);
    scene.checkpoint()?;
    scene.objects.let_go();
    let collected = scene.runtime.block_on(deleting)?;
    check(collected.deleted > 1, || format!("{collected:?}"))?;
    scene.check_clean()
}

/// The other half of FLINK-7268: a job that restarts from a checkpoint which is being deleted. Whoever reads one has a lease, and
/// looks again behind that: one that stood still is told that the checkpoint is gone, and is not given half of it.
#[test]
fn a_restart_from_a_checkpoint_that_is_being_deleted_is_told() -> Result<(), Stop> {
    let mut scene = started(2)?;
    let first = *scene.completed.first().expect("one is complete");
    scene.write(12)?;
    scene.checkpoint()?;
    let (repo, job) = (scene.repo.clone(), scene.job.clone());
    let pool = LocalPool::open(std::sync::Arc::new(MemoryFs::new()), "local")?;
    let options = RestoreOptions {
        start: Start::At(first),
        groups: KeyGroups::all(KEY_GROUPS),
        holder: "stood still".into(),
        runs_at_once: 1,
    };
    let mut reading = pin!(restore(&repo, &job, &options, &pool));
    be_late(&scene, Operation::Create, "/leases/");
    check(scene.until_late(reading.as_mut()).is_none(), || "no lease was written".into())?;
    heal(&scene);
    scene.expire_all_but(1)?;
    scene.pass_ms(2 * GRACE_MS);
    check(scene.collect()?.deleted > 0, || "nothing was deleted".into())?;
    scene.objects.let_go();
    let error = scene.runtime.block_on(reading).expect_err("it has expired");
    check(error.kind() == ErrorKind::Missing && error.to_string().contains("has expired"), || error.to_string())?;
    check(scene.leases() == 0, || "its lease stayed".into())?;
    scene.check_clean()
}

/// FLINK-24611 (<https://github.com/apache/flink/pull/17774>): the coordinator discarded the files of a checkpoint that was aborted, and a
/// worker that had not heard of it used them for the next one. Here the abort comes between the shipping of the next one and
/// its completion, with a collection behind it.
#[test]
fn what_an_aborted_checkpoint_uploaded_serves_the_next_one() -> Result<(), Stop> {
    let mut scene = started(3)?;
    scene.write(12)?;
    let aborted = scene.begin()?;
    scene.ship(&aborted)?;
    check(scene.reports.iter().all(|report| report.uploaded_runs > 0), || format!("{:?}", scene.reports))?;
    let next = scene.begin()?;
    let claims = scene.ship(&next)?;
    check(scene.reports.iter().all(|report| report.uploaded_runs == 0), || "it uploaded again".into())?;
    scene.give_up(&aborted);
    scene.pass_ms(10 * GRACE_MS);
    scene.collect()?;
    scene.complete(&next, claims)?;
    scene.check_clean()?;
    scene.expire_all_but(1)?;
    scene.check_clean()
}

/// The other side of FLINK-24611: what is used again must not be on its way to be deleted. Uploads of half the grace time are not
/// used again.
#[test]
fn what_an_aborted_checkpoint_uploaded_long_ago_is_uploaded_again() -> Result<(), Stop> {
    let mut scene = started(4)?;
    scene.write(12)?;
    let aborted = scene.begin()?;
    scene.ship(&aborted)?;
    scene.give_up(&aborted);
    scene.pass_ms(GRACE_MS / 2);
    scene.checkpoint()?;
    check(scene.reports.iter().all(|report| report.uploaded_runs > 0), || format!("{:?}", scene.reports))?;
    scene.check_clean()
}

/// FLINK-29095 (<https://github.com/apache/flink/pull/21050>): a worker that was restored named its next file as it had before the
/// crash. The coordinator knew the name, kept the old file, and the checkpoint had the wrong one. Here a worker dies when it has
/// shipped, another one takes its place and ships other data: their runs and parcels have names of their own.
#[test]
fn a_worker_behind_a_crash_names_nothing_as_before_it() -> Result<(), Stop> {
    let mut scene = started(5)?;
    scene.write(12)?;
    let before = scene.objects_of_checkpoints();
    let crashed = scene.begin()?;
    scene.ship(&crashed)?;
    scene.given_up.insert(crashed.checkpoint);
    let of_the_crashed: Vec<String> = scene.objects_of_checkpoints().difference(&before).cloned().collect();
    let bytes = |scene: &Scene| of_the_crashed.iter().map(|path| scene.objects.bytes(path)).collect::<Vec<_>>();
    let written = bytes(&scene);
    check(written.len() > 3, || format!("{of_the_crashed:?}"))?;

    scene.start(2)?;
    scene.write(13)?;
    scene.checkpoint()?;
    check(bytes(&scene) == written, || "something was written under a name of before the crash".into())?;
    let reached = scene.reached()?;
    check(of_the_crashed.iter().all(|path| !reached.contains(path)), || "what was lost came back".into())?;
    scene.check_clean()
}

/// The worst case of FLINK-29095: the names *are* the same, because a machine was copied together with its randomness. Other bytes
/// under the name of an upload are an error, whole or in parts, and are left alone.
#[test]
fn an_upload_does_not_replace_what_has_its_name() -> Result<(), Stop> {
    for noise_bytes in [100, 140 << 10] {
        let play = |objects: &FaultStore| {
            let mut scene = Scene::open(objects, 6)?;
            scene.start(1)?;
            scene.write_noise(noise_bytes)?;
            let checkpoint = scene.checkpoint();
            Ok::<_, Stop>((scene, checkpoint))
        };
        let (scene, checkpoint) = play(&FaultStore::default())?;
        checkpoint?;
        let is_parcel = |path: &&String| matches!(ObjectName::parse(path), Some(ObjectName::Parcel(..)));
        let paths = scene.objects.paths();
        let parcel = paths.iter().find(is_parcel).expect("one was uploaded");

        let objects = FaultStore::default();
        objects.overwrite(parcel, "of another machine".into());
        let (scene, checkpoint) = play(&objects)?;
        let Err(Stop::GaveUp(error)) = checkpoint else { panic!("{checkpoint:?}") };
        check(error.kind() == ErrorKind::Bug, || error.to_string())?;
        check(error.to_string().contains("another object of 18 bytes has the name of an upload"), || {
            error.to_string()
        })?;
        check(objects.bytes(parcel).is_some_and(|bytes| bytes == "of another machine"), || "it was replaced".into())?;
        check(scene.chain()?.state().live().is_empty(), || "it was completed".into())?;
        check(objects.unfinished().is_empty(), || "parts stayed".into())?;
    }
    Ok(())
}

/// FLINK-29913 (<https://github.com/apache/flink/pull/22669>): two checkpoints on their way had one file, uploaded by both under one key.
/// The registry kept one of the two and discarded the other, which a checkpoint used. Here the second one is so late that it
/// uploads again; then the first expires.
#[test]
fn two_checkpoints_on_their_way_that_upload_one_run_keep_both() -> Result<(), Stop> {
    let mut scene = started(7)?;
    scene.write(12)?;
    let (first, second) = (scene.begin()?, scene.begin()?);
    let of_first = scene.ship(&first)?;
    scene.pass_ms(GRACE_MS);
    scene.write(3)?;
    let of_second = scene.ship(&second)?;
    check(scene.reports.iter().any(|report| report.uploaded_runs > 1), || format!("{:?}", scene.reports))?;
    scene.complete(&first, of_first)?;
    scene.complete(&second, of_second)?;
    scene.check_clean()?;
    scene.expire_all_but(1)?;
    scene.check_clean()
}

/// What FLINK-29913 led to here: of two checkpoints on their way the newer one was completed first, and the older one after it. It
/// was the newest in the chain then, and a restart took the job back behind what had been told to be complete.
#[test]
fn a_checkpoint_is_not_completed_behind_a_newer_one() -> Result<(), Stop> {
    let mut scene = started(8)?;
    scene.write(12)?;
    let older = scene.begin()?;
    let of_older = scene.ship(&older)?;
    scene.write(12)?;
    let newer = scene.begin()?;
    let of_newer = scene.ship(&newer)?;
    scene.complete(&newer, of_newer)?;
    let Err(Stop::GaveUp(error)) = scene.complete(&older, of_older) else { panic!("the older one was completed") };
    check(error.kind() == ErrorKind::Fix && error.to_string().contains("newer"), || error.to_string())?;
    scene.give_up(&older);
    scene.start(1)?;
    scene.check_clean()
}

/// FLINK-30461 (<https://github.com/apache/flink/pull/21547>): a checkpoint was cancelled while it was uploaded; the files that were there
/// already stayed for ever, since nobody had told the coordinator of them. Here a worker is cancelled behind each of its
/// requests in turn, and the parts of an upload are given back as well.
#[test]
fn what_a_cancelled_checkpoint_uploaded_is_collected() -> Result<(), Stop> {
    for cancelled_at in 0.. {
        let mut scene = started(9)?;
        scene.write_noise(140 << 10)?;
        scene.work_in_background(4);
        scene.write(12)?;
        let barrier = scene.begin()?;
        scene.given_up.insert(barrier.checkpoint);
        let mut member = scene.members.remove(0);
        let frozen = member.store.freeze()?;
        let first = scene.objects.requests();
        scene.objects.choose(move |request| (request.index == first + cancelled_at).then_some(ObjectFault::Late));
        let mut shipping = Box::pin(member.worker.ship(frozen, &barrier, 0));
        let shipped = scene.until_late(shipping.as_mut()).transpose()?;
        drop(shipping);
        heal(&scene);
        scene.objects.let_go();
        drop(member);
        scene.settle();
        scene.start(2)?;
        scene.check_clean()?;
        check(scene.objects.unfinished().is_empty(), || format!("cancelled at {cancelled_at}: parts stayed"))?;
        if shipped.is_some() {
            check(cancelled_at > 6, || format!("{cancelled_at} requests in all"))?;
            return Ok(());
        }
    }
    Ok(())
}

/// SlateDB's RFC 26 (<https://github.com/slatedb/slatedb/blob/main/rfcs/0026-garbage-collector-boundary.md>): a writer reads that slot
/// `n` is next, and stands still. Others take the slot, go on, and it is deleted when it is old. The writer wakes up, creates it,
/// and believes that it has written. Here it is a coordinator on its way to complete.
#[test]
fn a_coordinator_that_stood_still_does_not_complete_in_a_slot_that_was_deleted() -> Result<(), Stop> {
    let mut scene = started(10)?;
    scene.write(12)?;
    let barrier = scene.begin()?;
    let claims = scene.ship(&barrier)?;
    scene.given_up.insert(barrier.checkpoint);
    let mut stopped = scene.epoch.take().expect("it was started");
    let slot = ObjectName::Slot(scene.job.clone(), stopped.state().next_slot()).to_string();
    let mut completing = Box::pin(stopped.complete(&barrier, claims));
    be_late(&scene, Operation::Create, "/chain/");
    check(scene.until_late(completing.as_mut()).is_none(), || "it did not stand still".into())?;
    heal(&scene);

    scene.start(2)?;
    check(scene.objects.bytes(&slot).is_some(), || format!("{slot} was not taken"))?;
    scene.write(12)?;
    scene.checkpoint()?;
    scene.expire_all_but(1)?;
    scene.mark_boundary()?;
    scene.pass_ms(8 * DAY_MS);
    scene.collect()?;
    check(scene.objects.bytes(&slot).is_none(), || format!("{slot} was not deleted"))?;

    scene.objects.let_go();
    let error = scene.runtime.block_on(completing).expect_err("it was replaced a week ago");
    check(error.kind() == ErrorKind::Fenced, || error.to_string())?;
    check(scene.objects.bytes(&slot).is_some(), || "it did not create the slot".into())?;
    scene.check_all()?;
    scene.write(12)?;
    scene.checkpoint()?;
    scene.check_clean()?;
    scene.pass_ms(8 * DAY_MS);
    scene.collect()?;
    check(scene.objects.bytes(&slot).is_none(), || format!("{slot} stays for ever"))?;
    scene.check_clean()
}

/// SlateDB's RFC 29 (<https://github.com/slatedb/slatedb/blob/main/rfcs/0029-gc-safe-sst-ulid-timestamps.md>): a file that was uploaded and
/// not yet published looked old, because others had been published since, and was deleted before it was. Here a worker stands
/// still behind each of its requests for a month, with a collection at each end.
#[test]
fn an_upload_that_is_not_yet_claimed_is_not_old() -> Result<(), Stop> {
    for stands_still_at in 0.. {
        let mut scene = started(11)?;
        scene.write(12)?;
        // Uploads that are used again are older than the lease under which they are.
        let aborted = scene.begin()?;
        scene.ship(&aborted)?;
        scene.give_up(&aborted);
        scene.write(12)?;
        let barrier = scene.begin()?;
        scene.frozen.insert(barrier.checkpoint, scene.state.clone());
        let mut claims = Vec::new();
        for index in [1, 0] {
            let mut member = scene.members.remove(index);
            let frozen = member.store.freeze()?;
            let mut shipping = Box::pin(member.worker.ship(frozen, &barrier, 0));
            let first = scene.objects.requests();
            scene.objects.choose(move |request| {
                (index == 0 && request.index == first + stands_still_at).then_some(ObjectFault::Late)
            });
            let shipped = scene.until_late(shipping.as_mut());
            heal(&scene);
            let is_over = shipped.is_some();
            let (claim, _) = match shipped {
                Some(shipped) => shipped?,
                None => {
                    scene.collect()?;
                    scene.pass_ms(30 * DAY_MS);
                    scene.collect()?;
                    scene.objects.let_go();
                    scene.runtime.block_on(shipping.as_mut())?
                }
            };
            drop(shipping);
            claims.push(claim);
            scene.members.insert(index, member);
            if index == 0 && is_over {
                check(stands_still_at > 4, || format!("{stands_still_at} requests in all"))?;
                return Ok(());
            }
        }
        scene.pass_ms(30 * DAY_MS);
        scene.collect()?;
        scene.complete(&barrier, claims)?;
        scene.check_clean()?;
    }
    Ok(())
}

/// An upload that ends when its checkpoint was given up long ago, and its job goes on under another coordinator: the worker even
/// claims. Nobody completes that, and a later collection finds it all.
#[test]
fn an_upload_that_ends_behind_the_end_of_its_checkpoint_is_collected() -> Result<(), Stop> {
    let mut scene = started(12)?;
    scene.write(12)?;
    let barrier = scene.begin()?;
    scene.given_up.insert(barrier.checkpoint);
    let mut zombie = scene.members.remove(0);
    let frozen = zombie.store.freeze()?;
    let mut shipping = Box::pin(zombie.worker.ship(frozen, &barrier, 0));
    be_late(&scene, Operation::Create, "/runs/");
    check(scene.until_late(shipping.as_mut()).is_none(), || "nothing was uploaded".into())?;
    heal(&scene);
    let mut replaced = scene.start(2)?.expect("there was one");
    scene.write(12)?;
    scene.checkpoint()?;
    scene.pass_ms(2 * GRACE_MS);
    scene.collect()?;

    scene.objects.let_go();
    let (claim, _) = scene.runtime.block_on(shipping.as_mut())?;
    let name = ObjectName::Claim(scene.job.clone(), barrier.checkpoint, claim.worker.clone(), claim.attempt);
    check(scene.objects.bytes(&name.to_string()).is_some(), || "the zombie has not claimed".into())?;
    let error = scene.runtime.block_on(replaced.begin()).expect_err("it was replaced");
    check(error.kind() == ErrorKind::Fenced, || error.to_string())?;
    scene.check_clean()
}

/// The answer to a put is lost, and the put has happened: every one of a job, at its first try. Nothing is done twice: no slot
/// is taken by an event that is there already.
#[test]
fn a_lost_answer_to_a_put_that_has_happened_does_nothing_twice() -> Result<(), Stop> {
    let mut slots = Vec::new();
    for fault in [None, Some(ObjectFault::FailAfter), Some(ObjectFault::HangAfter), Some(ObjectFault::Twice)] {
        let mut asked = std::collections::BTreeSet::new();
        let objects = FaultStore::new(move |request| {
            let is_first = asked.insert((request.operation, request.path.to_owned()));
            fault.filter(|fault| is_first && fault.touches(request.operation))
        });
        let mut scene = Scene::open(&objects, 13)?;
        scene.start(2)?;
        scene.write_noise(140 << 10)?;
        scene.write(40)?;
        scene.checkpoint()?;
        scene.write(12)?;
        scene.checkpoint()?;
        scene.start(1)?;
        scene.checkpoint()?;
        scene.expire_all_but(1)?;
        scene.mark_boundary()?;
        check(fault.is_none() || objects.faults() > 20, || format!("{} faults", objects.faults()))?;
        scene.check_clean()?;
        slots.push(scene.chain()?.state().next_slot());
    }
    check(slots.iter().all(|slot| *slot == slots[0]), || format!("{slots:?}"))
}

/// A job is stopped for longer than any age limit, while its repo is looked after: what it has is not old, because it is the newest.
/// It goes on from there, and uploads only what is new.
#[test]
fn a_job_that_was_stopped_for_a_year_goes_on() -> Result<(), Stop> {
    let mut scene = started(14)?;
    for _ in 0..3 {
        scene.write(8)?;
        scene.checkpoint()?;
    }
    scene.epoch = None;
    scene.members.clear();
    let retention = Retention { last: 1, within_ms: DAY_MS, hourly: 1, daily: 1 };
    for _ in 0..4 {
        scene.pass_ms(100 * DAY_MS);
        let mut chain = scene.chain()?;
        let expired = retention.expired(chain.state().live(), &std::collections::BTreeSet::new());
        scene.runtime.block_on(chain.expire(expired, "the retention"))?;
        scene.runtime.block_on(chain.mark_boundary_if_due())?;
        scene.mark_boundary()?;
        scene.collect()?;
    }
    scene.start(3)?;
    scene.write(2)?;
    scene.checkpoint()?;
    let uploaded: u64 = scene.reports.iter().map(|report| report.uploaded_bytes).sum();
    let claimed: u64 = scene.reports.iter().map(|report| report.claimed_bytes).sum();
    check(uploaded * 2 < claimed, || format!("{uploaded} of {claimed} bytes were uploaded again"))?;
    scene.check_clean()
}

/// A restore that stands still for a year: its checkpoint expires, and everything is collected, again and again. It is there
/// until the reader is done.
#[test]
fn a_checkpoint_that_is_read_for_a_year_stays() -> Result<(), Stop> {
    let mut scene = started(15)?;
    let first = *scene.completed.first().expect("one is complete");
    let (repo, job) = (scene.repo.clone(), scene.job.clone());
    let machine = MemoryFs::new();
    let pool = LocalPool::open(std::sync::Arc::new(machine.clone()), "local")?;
    let groups = KeyGroups::all(KEY_GROUPS);
    let options = RestoreOptions { start: Start::Latest, groups, holder: "slow".into(), runs_at_once: 1 };
    let mut reading = pin!(restore(&repo, &job, &options, &pool));
    be_late(&scene, Operation::Get, "/runs/");
    check(scene.until_late(reading.as_mut()).is_none(), || "nothing was read".into())?;
    heal(&scene);
    for _ in 0..4 {
        scene.write(60)?;
        scene.work_in_background(8);
        scene.checkpoint()?;
        scene.expire_all_but(1)?;
        scene.mark_boundary()?;
        scene.pass_ms(100 * DAY_MS);
        scene.collect()?;
    }
    scene.objects.let_go();
    let restored = scene.runtime.block_on(reading)?.expect("there was a checkpoint");
    let (mut store, _env) = scene.open_store(&machine)?;
    restored.adopt(&mut store)?;
    let found = store.scan(..)?.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    same_state("the reader", &found.collect::<Result<_, _>>()?, &scene.frozen[&first])?;
    scene.check_clean()
}
