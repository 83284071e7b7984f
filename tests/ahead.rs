//! Tiles that outweigh what a checkpoint changes are uploaded over several checkpoints, and used when all of them is there.

use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation};
use bedload_snapshot::{ErrorKind, ShipReport};
use tests::scene::{GRACE_MS, Scene, Stop, check};

/// Bytes of a tile.
const TILE_BYTES: u64 = 220_000;

/// A chunk of a run: what is sent ahead ends at the end of one.
const CHUNK_BYTES: u64 = 64 << 10;

/// A job with one worker, whose tile has a local base newer than the one that is in the repo, and must be rebased.
fn due(seed: u64) -> Result<Scene, Stop> {
    let mut scene = Scene::open(&FaultStore::default(), seed)?;
    scene.whole_max = 0;
    scene.start(1)?;
    for _ in 0..2 {
        scene.write_noise(TILE_BYTES as usize)?;
        scene.checkpoint()?;
        scene.work_in_background(200);
    }
    Ok(scene)
}

/// A checkpoint of little; gives what it did.
fn small_checkpoint(scene: &mut Scene) -> Result<ShipReport, Stop> {
    scene.write(12)?;
    scene.checkpoint()?;
    Ok(scene.reports[0])
}

/// Takes checkpoints until the tile is rebased in the repo; gives what each did.
fn until_rebased(scene: &mut Scene) -> Result<Vec<ShipReport>, Stop> {
    let mut reports = Vec::new();
    while reports.last().is_none_or(|report: &ShipReport| report.rebased_tiles == 0) {
        check(reports.len() < 40, || format!("{reports:?}"))?;
        reports.push(small_checkpoint(scene)?);
    }
    Ok(reports)
}

/// Takes checkpoints until all of the tile has been sent.
fn until_sent(scene: &mut Scene) -> Result<(), Stop> {
    let mut ahead = 0;
    while ahead < TILE_BYTES {
        ahead += small_checkpoint(scene)?.ahead_bytes;
    }
    Ok(())
}

#[test]
fn a_tile_that_outweighs_what_changed_is_uploaded_over_several_checkpoints() -> Result<(), Stop> {
    let mut scene = due(1)?;
    let reports = until_rebased(&mut scene)?;
    let most = reports.iter().map(|report| report.uploaded_bytes).max();
    check(most < Some(3 * CHUNK_BYTES), || format!("{most:?} bytes at once"))?;
    let ahead: u64 = reports.iter().map(|report| report.ahead_bytes).sum();
    check((TILE_BYTES..TILE_BYTES * 11 / 10).contains(&ahead), || format!("{ahead} bytes ahead: {reports:?}"))?;
    let (first, last) = (reports[0].claimed_bytes, reports[reports.len() - 1].claimed_bytes);
    check(last + TILE_BYTES < first + 100_000, || format!("{first} bytes before, {last} behind"))?;
    scene.start(2)?;
    small_checkpoint(&mut scene)?;
    scene.expire_all_but(1)?;
    scene.check_clean()
}

/// The checkpoint that would have used it fails: the next one does.
#[test]
fn what_was_uploaded_ahead_outlives_a_checkpoint_that_is_given_up() -> Result<(), Stop> {
    let mut scene = due(2)?;
    until_sent(&mut scene)?;
    let barrier = scene.begin()?;
    scene.ship(&barrier)?;
    check(scene.reports[0].rebased_tiles == 1, || format!("{:?}", scene.reports))?;
    scene.give_up(&barrier);
    let report = small_checkpoint(&mut scene)?;
    check(report.rebased_tiles == 1 && report.ahead_bytes == 0, || format!("{report:?}"))?;
    scene.check_clean()
}

/// What nobody used for long may be gone, or be collected: it is uploaded again.
#[test]
fn what_was_uploaded_ahead_and_is_old_is_not_used() -> Result<(), Stop> {
    let mut scene = due(3)?;
    until_sent(&mut scene)?;
    scene.pass_ms(2 * GRACE_MS);
    scene.collect()?;
    let report = small_checkpoint(&mut scene)?;
    check(report.uploaded_bytes > TILE_BYTES, || format!("{report:?}"))?;
    scene.check_clean()
}

/// S3 dates an object by the start of its upload. Where checkpoints are rare, a tile was old when the last of it had been sent, and was
/// sent again, for ever.
#[test]
fn what_would_be_old_before_it_is_used_is_uploaded_at_once() -> Result<(), Stop> {
    let mut scene = due(6)?;
    scene.pass_ms(GRACE_MS / 6);
    let report = small_checkpoint(&mut scene)?;
    check(report.rebased_tiles == 1 && report.ahead_bytes == 0, || format!("{report:?}"))?;
    scene.check_clean()
}

#[test]
fn an_upload_ahead_that_takes_long_is_ended() -> Result<(), Stop> {
    let mut scene = due(7)?;
    let first = small_checkpoint(&mut scene)?;
    check(first.ahead_bytes > 0 && first.ahead_bytes < TILE_BYTES / 2, || format!("{first:?}"))?;
    scene.pass_ms(GRACE_MS / 4 + 1);
    let second = small_checkpoint(&mut scene)?;
    check(second.ahead_bytes + first.ahead_bytes >= TILE_BYTES, || format!("{second:?}"))?;
    let third = small_checkpoint(&mut scene)?;
    check(third.rebased_tiles == 1, || format!("{third:?}"))?;
    scene.check_clean()
}

#[test]
fn an_upload_ahead_that_fails_begins_anew_and_spares_the_checkpoint() -> Result<(), Stop> {
    let mut scene = due(4)?;
    small_checkpoint(&mut scene)?;
    let mut failed = false;
    scene.objects.choose(move |request| {
        let fails = request.operation == Operation::Part && !std::mem::replace(&mut failed, true);
        fails.then_some(ObjectFault::FailBefore)
    });
    let reports = until_rebased(&mut scene)?;
    check(scene.objects.faults() == 1, || format!("{} faults", scene.objects.faults()))?;
    let ahead: u64 = reports.iter().map(|report| report.ahead_bytes).sum();
    check(ahead >= TILE_BYTES, || format!("{ahead} bytes ahead"))?;
    scene.check_clean()
}

/// Deltas would pile up in the repo, and nobody would know.
#[test]
fn uploads_ahead_that_always_fail_are_told() -> Result<(), Stop> {
    let mut scene = due(5)?;
    scene.objects.choose(|request| (request.operation == Operation::Part).then_some(ObjectFault::FailBefore));
    let mut fine = 0;
    let error = loop {
        match small_checkpoint(&mut scene) {
            Ok(_) => fine += 1,
            Err(Stop::GaveUp(error)) => break error,
            Err(stop) => return Err(stop),
        }
        check(fine < 20, || "nothing is told".into())?;
    };
    check(error.kind() == ErrorKind::Retry && fine >= 4, || format!("{error} after {fine} checkpoints"))?;
    scene.objects.choose(|_| None);
    scene.start(1)?;
    small_checkpoint(&mut scene)?;
    scene.check_clean()
}
