//! A worker that is killed at any moment, and what must be true afterwards.
//!
//! The state is a function of how many steps were made: step `n` writes `n` under a key that follows from `n`, and the key of the
//! counter holds `n`. So whatever checkpoint is restored tells how far it is, and what it must hold.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bedload_lsm::Store;
use bedload_lsm::fs::{DiskFs, Fs};
use bedload_snapshot::{
    Chain, CollectOptions, Deletes, Epoch, Error, JobName, KeyGroups, LocalPool, Repo, RestoreOptions, Retention,
    Start, Worker, WorkerName, collect, restore,
};

use crate::{GroupedKeys, Random};

const KEY_GROUPS: u32 = 8;
const KEYS: u64 = 500;
const COUNTER: &[u8] = b"\x00\x00counter";

/// The job that is killed.
pub fn job() -> JobName {
    JobName::new("killed").expect("a fine name")
}

fn key(number: u64) -> Vec<u8> {
    let mut key = ((number % u64::from(KEY_GROUPS)) as u16).to_be_bytes().to_vec();
    key.extend(format!("{number:06}").bytes());
    key
}

fn step(number: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(number);
    let key = key(random.below(KEYS));
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + random.below(200) as usize, number as u8);
    (key, value)
}

/// What the state holds after this many steps.
pub fn state_after(steps: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state: BTreeMap<Vec<u8>, Vec<u8>> = (1..=steps).map(step).collect();
    if steps > 0 {
        state.insert(COUNTER.to_vec(), steps.to_be_bytes().to_vec());
    }
    state
}

fn options(holder: &str) -> RestoreOptions {
    RestoreOptions {
        start: Start::LatestOrEmpty,
        groups: KeyGroups::all(KEY_GROUPS),
        holder: holder.to_owned(),
        runs_at_once: 4,
    }
}

/// Restores the newest checkpoint into a new store in `directory`; gives how many steps it has, and everything it holds.
///
/// # Errors
/// Those of the restore.
pub async fn newest_state(repo: &Repo, directory: &Path) -> Result<(u64, BTreeMap<Vec<u8>, Vec<u8>>), Error> {
    let pool = LocalPool::open(Arc::new(DiskFs), directory.join("local"))?;
    let mut store = Store::options().shape(GroupedKeys).open(directory.join("state"))?;
    if let Some(restored) = restore(repo, &job(), &options("the test"), &pool).await? {
        restored.adopt(&mut store)?;
    }
    let steps = counter(&store)?;
    let found = store.scan(..)?.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    Ok((steps, found.collect::<Result<_, _>>()?))
}

fn counter(store: &Store) -> Result<u64, Error> {
    let found = store.get(COUNTER)?;
    Ok(found.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().expect("it was written with eight bytes"))))
}

/// Restores, then steps, takes checkpoints and collects until it is killed; says on standard output what is complete.
///
/// # Errors
/// Those of the store and the repo.
pub async fn work_until_killed(address: &str, directory: &Path, opening: u64) -> Result<(), Error> {
    let repo = Repo::open(address).await?;
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let groups = KeyGroups::all(KEY_GROUPS);
    let pool = LocalPool::open(Arc::clone(&fs), directory.join("local"))?;
    let worker = Worker::new(&repo, &job(), &WorkerName::new("w-0")?, groups, fs).keep_copies(&pool);
    let mut epoch = Epoch::start(&repo, &job(), KEY_GROUPS, "victim").await?;
    let mut store =
        Store::options().memory(8 << 20).shape(GroupedKeys).open(directory.join(format!("work-{opening}")))?;
    if let Some(restored) = restore(&repo, &job(), &options("victim"), &pool).await? {
        worker.restored(restored.checkpoint, restored.adopt(&mut store)?);
        epoch.build_upon(restored.checkpoint)?;
    }
    let mut steps = counter(&store)?;
    let mut random = Random::new(opening);
    loop {
        for _ in 0..1 + random.below(200) {
            steps += 1;
            let (key, value) = step(steps);
            store.put(&key, &value)?;
        }
        store.put(COUNTER, &steps.to_be_bytes())?;
        let barrier = epoch.begin().await?;
        let (claim, _) = worker.ship(store.freeze()?, &barrier, 0).await?;
        epoch.complete(&barrier, vec![claim]).await?;
        if let Some(seal) = worker.confirmed(barrier.checkpoint).await {
            store.release(seal);
        }
        let mut out = std::io::stdout().lock();
        // The parent may have stopped listening: it is about to kill.
        writeln!(out, "{steps}").and_then(|()| out.flush()).ok();
        drop(out);
        if random.below(4) == 0 {
            clean(&repo, Deletes::Everything).await?;
        }
    }
}

/// Lets all but the newest two checkpoints expire, and collects.
///
/// # Errors
/// Those of the repo.
pub async fn clean(repo: &Repo, deletes: Deletes) -> Result<bedload_snapshot::Collected, Error> {
    let mut chain = Chain::read(repo, &job()).await?;
    let retention = Retention { last: 2, ..Retention::default() };
    let expired = retention.expired(chain.state().live(), &std::collections::BTreeSet::new());
    chain.expire(expired, "two are enough").await?;
    collect(repo, &job(), &CollectOptions { grace_ms: 0, deletes }).await
}
