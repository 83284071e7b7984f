//! A job of one worker with random entries, on an object store and a disk in memory: for tests of single features of checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_lsm::{Env, Store, Tuning};
use bedload_snapshot::testing::{FaultStore, TestAmbient};
use bedload_snapshot::{
    CheckpointId, Epoch, Error, JobName, KeyGroups, LocalPool, Repo, RepoOptions, RestoreOptions, ShipReport, Start,
    Worker, WorkerName, restore,
};

use crate::GroupedKeys;
use crate::Random;

/// How many key groups a random job has.
pub const RANDOM_JOB_GROUPS: u32 = 8;

/// A repo in memory with time of its own, and the objects in it.
pub async fn memory_repo(address: &str, seed: u64) -> (Repo, Arc<FaultStore>) {
    let objects = Arc::new(FaultStore::default());
    let options = RepoOptions::default().ambient(Arc::new(TestAmbient::new(seed)));
    let repo = options.open_store(objects.clone(), address).await.expect("nothing fails");
    (repo, objects)
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a thread can be had").block_on(future)
}

/// A store in memory of small memtables and tiles, whose background work is stepped.
///
/// # Errors
/// Those of the store.
pub fn small_store(fs: &Arc<dyn Fs>, directory: &str, opening: u64) -> Result<(Store, Env), Error> {
    let opening = AtomicU64::new(opening << 10);
    let env = Env::builder()
        .fs(Arc::clone(fs))
        .threads(0)
        .memory(256 << 10)
        .random(move || opening.fetch_add(1, Ordering::Relaxed))
        .build()?;
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = 8 << 10;
    tuning.block_bytes = 512;
    tuning.section_bytes = 1 << 10;
    tuning.tile_bytes_max = 16 << 10;
    tuning.fan_in = 3;
    let store = Store::options().env(&env).tuning(tuning).shape(GroupedKeys).open(directory)?;
    Ok((store, env))
}

/// Keys and values.
pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// A job of one worker.
pub struct RandomJob {
    /// Where it ships to.
    pub repo: Repo,
    /// Its name.
    pub name: JobName,
    /// Its store.
    pub store: Store,
    /// Its part in checkpoints.
    pub worker: Worker,
    /// What it holds.
    pub state: State,
    epoch: Epoch,
    env: Env,
    random: Random,
}

impl RandomJob {
    /// A job that has nothing yet.
    ///
    /// # Errors
    /// Those of the repo and the store.
    pub async fn start(repo: &Repo, name: &str, seed: u64) -> Result<RandomJob, Error> {
        let name = JobName::new(name)?;
        let fs: Arc<dyn Fs> = Arc::new(MemoryFs::new());
        let (store, env) = small_store(&fs, "state", seed)?;
        let worker = Worker::new(repo, &name, &WorkerName::new("w-0")?, KeyGroups::all(RANDOM_JOB_GROUPS), fs);
        let epoch = Epoch::start(repo, &name, RANDOM_JOB_GROUPS, "test").await?;
        let (state, random) = (State::new(), Random::new(seed));
        Ok(RandomJob { repo: repo.clone(), name, store, worker, state, epoch, env, random })
    }

    /// Writes `count` random entries into key groups below `groups`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn write(&mut self, count: usize, groups: u64) -> Result<(), Error> {
        for _ in 0..count {
            let mut key = (self.random.below(groups) as u16).to_be_bytes().to_vec();
            key.extend((self.random.below(500) as u32).to_be_bytes());
            let value: Vec<u8> = (0..6).flat_map(|_| self.random.draw().to_le_bytes()).collect();
            self.store.put(&key, &value)?;
            self.state.insert(key, value);
        }
        Ok(())
    }

    /// Takes a checkpoint, and does some background work.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub async fn checkpoint(&mut self) -> Result<(CheckpointId, ShipReport), Error> {
        for _ in 0..4 {
            self.env.step_background(&mut || self.random.draw());
        }
        let barrier = self.epoch.begin().await?;
        let (claim, report) = self.worker.ship(self.store.freeze()?, &barrier, 0).await?;
        self.epoch.complete(&barrier, vec![claim]).await?;
        if let Some(seal) = self.worker.confirmed(barrier.checkpoint).await {
            self.store.release(seal);
        }
        Ok((barrier.checkpoint, report))
    }
}

/// What a checkpoint holds of some key groups, and how many bytes were fetched for it; `pool` is where runs are and go to.
///
/// # Errors
/// Those of the restore and the store.
pub async fn restored_state(
    (repo, job): (&Repo, &JobName),
    start: Start,
    groups: KeyGroups,
    (fs, pool): (&Arc<dyn Fs>, &LocalPool),
) -> Result<(State, u64), Error> {
    let options = RestoreOptions { start, groups, holder: "test".into(), runs_at_once: 2 };
    let restored = restore(repo, job, &options, pool).await?.expect("a checkpoint is asked for");
    static OPENINGS: AtomicU64 = AtomicU64::new(1_000);
    let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
    let (mut store, _env) = small_store(fs, &format!("restored-{opening}"), opening)?;
    restored.adopt(&mut store)?;
    let state = store.scan(..)?.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    Ok((state.collect::<Result<State, Error>>()?, restored.fetched_bytes))
}
