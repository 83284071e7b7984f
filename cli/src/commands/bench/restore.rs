//! The restores of the last checkpoint into fresh folders: one that serves before all is here, and one that fetches all first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bedload::{CheckpointId, Engine, Error, ErrorKind, JobName, Repo, Restoring, Result, Start};
use tokio::time::Instant;

use super::Asked;
use super::load::{COUNTER, KEY_GROUPS};

/// How often somebody looks whether all is here.
const LOOK: Duration = Duration::from_millis(2);
/// How long nothing may arrive before a restore has failed.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What was measured.
pub struct Restored {
    pub lazy_opened: Duration,
    pub lazy_first_get: Duration,
    pub lazy_all_local: Duration,
    /// Bytes of all runs, and what of them went over the network.
    pub bytes: u64,
    pub fetched_bytes: u64,
    pub eager_opened: Duration,
    pub eager_first_get: Duration,
    /// Whether every counter is what it was at the checkpoint, in both.
    pub equal: bool,
}

/// Restores a checkpoint twice, and compares each with `counters`.
///
/// # Errors
/// Those of the engine and of the repo; `Closed` when `stop` was set meanwhile.
pub async fn run(
    asked: &Asked,
    repo: &Repo,
    job: &JobName,
    checkpoint: CheckpointId,
    counters: Vec<u64>,
    stop: &Arc<AtomicBool>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Restored> {
    let counters = Arc::new(counters);
    let open = |name: &str, restoring: Restoring| {
        let builder = Engine::builder(asked.folder.join(name)).repo(repo, job.as_str()).max_groups(KEY_GROUPS);
        builder.memory(asked.memory_bytes).start(Start::At(checkpoint)).restoring(restoring).open()
    };
    let key = asked.keys / 2;
    progress("restoring lazily");
    let start = Instant::now();
    let engine = open("lazy", Restoring::Lazily).await?;
    let lazy_opened = start.elapsed();
    let engine = first_get(engine, key).await?;
    let lazy_first_get = start.elapsed();
    wait_for_all(&engine, stop).await?;
    let lazy_all_local = start.elapsed();
    let (bytes, fetched_bytes) =
        engine.restoring().map_or((0, 0), |all| (all.total_bytes(), all.fetched_parcel_bytes()));
    progress("comparing what was restored");
    let lazy_equal = compare(engine, &counters, stop).await?;

    progress("restoring as a whole");
    let start = Instant::now();
    let engine = open("whole", Restoring::Whole).await?;
    let eager_opened = start.elapsed();
    let engine = first_get(engine, key).await?;
    let eager_first_get = start.elapsed();
    progress("comparing what was restored");
    let equal = compare(engine, &counters, stop).await? && lazy_equal;
    Ok(Restored {
        lazy_opened,
        lazy_first_get,
        lazy_all_local,
        bytes,
        fetched_bytes,
        eager_opened,
        eager_first_get,
        equal,
    })
}

/// Reads one counter, which may wait for the repo as threads do.
async fn first_get(mut engine: Engine, key: u64) -> Result<Engine> {
    let read = tokio::task::spawn_blocking(move || {
        let counter = engine.state(COUNTER)?;
        engine.with_key(&key)?.get(&counter)?;
        Ok(engine)
    });
    read.await.map_err(|cause| Error::new(ErrorKind::Bug, format!("reading a counter: {cause}")))?
}

async fn wait_for_all(engine: &Engine, stop: &AtomicBool) -> Result<()> {
    let Some(progress) = engine.restoring() else { return Ok(()) };
    let mut moved = (progress.here_bytes(), Instant::now());
    while progress.here_bytes() < progress.total_bytes() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "interrupted"));
        }
        if progress.here_bytes() > moved.0 {
            moved = (progress.here_bytes(), Instant::now());
        } else if moved.1.elapsed() > STANDSTILL {
            let nothing =
                || Error::new(ErrorKind::Retry, "nothing of the checkpoint arrives from the repo any more: try again");
            return Err(progress.last_failure().unwrap_or_else(nothing));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Whether all counters are these; closes the engine.
async fn compare(mut engine: Engine, counters: &Arc<Vec<u64>>, stop: &Arc<AtomicBool>) -> Result<bool> {
    let (counters, stop) = (Arc::clone(counters), Arc::clone(stop));
    let compared = tokio::task::spawn_blocking(move || {
        let counter = engine.state(COUNTER)?;
        let mut equal = true;
        for (key, expected) in (0u64..).zip(counters.iter()) {
            if key.is_multiple_of(1024) && stop.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Closed, "interrupted"));
            }
            equal &= engine.with_key(&key)?.get(&counter)? == Some(*expected);
        }
        engine.close().map(|()| equal)
    });
    compared.await.map_err(|cause| Error::new(ErrorKind::Bug, format!("comparing counters: {cause}")))?
}
