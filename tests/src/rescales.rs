//! A job that is started again with another number of workers, and what that reads and writes.

use std::path::Path;
use std::sync::Arc;

use bedload_lsm::fs::{DiskFs, Fs};
use bedload_lsm::{Env, Store};
use bedload_snapshot::{
    Epoch, Error, JobName, KeyGroups, LocalPool, Repo, RestoreOptions, Result, Start, Worker, WorkerName, restore,
};

use crate::GroupedKeys;

/// What one start with another number of workers did, in bytes, of all workers together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rescaled {
    /// Fetched from the repo.
    pub fetched: u64,
    /// Written by flushes and merges until a store had its key groups.
    pub rewritten: u64,
    /// The same, until the checkpoint behind it was complete: what threads have merged in the background is in it.
    pub merged_meanwhile: u64,
    /// Of runs that this checkpoint uploaded, though nothing was written.
    pub uploaded: u64,
    /// Of runs that the checkpoint names.
    pub claimed: u64,
}

/// Starts `job` from its newest checkpoint with `workers` workers in `directory`, which nobody else uses, and completes a checkpoint
/// without a write before. `environment` has the threads and memory of all stores.
///
/// # Errors
/// Those of the restores and of the checkpoint.
pub async fn rescale(
    repo: &Repo,
    job: &JobName,
    key_groups: u32,
    workers: u32,
    directory: &Path,
    environment: &Env,
) -> Result<Rescaled> {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let mut epoch = Epoch::start(repo, job, key_groups, "rescale").await?;
    let mut members: Vec<(Store, Worker)> = Vec::new();
    let mut sum = Rescaled::default();
    for index in 0..workers {
        let groups = KeyGroups::of_worker(key_groups, workers, index);
        let name = WorkerName::new(&format!("w-{index}"))?;
        let home = directory.join(name.as_str());
        let pool = LocalPool::open(Arc::clone(&fs), home.join("local"))?;
        let options = RestoreOptions { start: Start::Latest, groups, holder: name.to_string(), runs_at_once: 4 };
        let restored = restore(repo, job, &options, &pool).await?.expect("the newest checkpoint, or an error");
        let mut store = Store::options().env(environment).shape(GroupedKeys).open(home.join("work"))?;
        let worker = Worker::new(repo, job, &name, groups, Arc::clone(&fs)).keep_copies(&pool);
        worker.restored(restored.checkpoint, restored.adopt(&mut store)?);
        if index == 0 {
            epoch.build_upon(restored.checkpoint)?;
        }
        sum.fetched += restored.fetched_bytes;
        sum.rewritten += written(&store);
        members.push((store, worker));
    }
    let barrier = epoch.begin().await?;
    let mut claims = Vec::new();
    for (store, worker) in &mut members {
        let (claim, report) = worker.ship(store.freeze()?, &barrier, 0).await?;
        sum.uploaded += report.uploaded_bytes;
        sum.claimed += report.claimed_bytes;
        claims.push(claim);
    }
    epoch.complete(&barrier, claims).await?;
    for (mut store, worker) in members {
        if let Some(seal) = worker.confirmed(barrier.checkpoint).await {
            store.release(seal);
        }
        sum.merged_meanwhile += written(&store);
        store.close()?;
    }
    Ok::<_, Error>(sum)
}

fn written(store: &Store) -> u64 {
    store.metrics().flush_bytes.get() + store.metrics().merge_bytes.get()
}
