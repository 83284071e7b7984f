//! Another number of workers rewrites nothing and uploads nothing.

use std::sync::Arc;

use bedload_lsm::fs::DiskFs;
use bedload_lsm::{Env, Error, Store, Tuning};
use bedload_snapshot::{Epoch, JobName, KeyGroups, Repo, Worker, WorkerName};
use tests::rescales::rescale;
use tests::{GroupedKeys, Random};

const GROUPS: u32 = 12;

fn key(number: u64) -> Vec<u8> {
    let mut key = ((number % u64::from(GROUPS)) as u16).to_be_bytes().to_vec();
    key.extend(Random::new(number).draw().to_be_bytes());
    key
}

/// A job with one worker, many small tiles, and deltas above them in the repo.
async fn grown_job(repo: &Repo, job: &JobName, directory: &std::path::Path) -> Result<(), Error> {
    let mut tuning = Tuning::default();
    tuning.tile_bytes_max = 128 << 10;
    tuning.block_bytes = 1 << 10;
    tuning.section_bytes = 8 << 10;
    let mut store = Store::options().memory(8 << 20).tuning(tuning).shape(GroupedKeys).open(directory)?;
    let worker = Worker::new(repo, job, &WorkerName::new("w-0")?, KeyGroups::all(GROUPS), Arc::new(DiskFs));
    let mut epoch = Epoch::start(repo, job, GROUPS, "test").await?;
    let mut random = Random::new(1);
    for number in 0..20_000 {
        store.put(&key(number), &[1; 100])?;
    }
    for _ in 0..12 {
        let barrier = epoch.begin().await?;
        let (claim, _) = worker.ship(store.freeze()?, &barrier, 0).await?;
        epoch.complete(&barrier, vec![claim]).await?;
        if let Some(seal) = worker.confirmed(barrier.checkpoint).await {
            store.release(seal);
        }
        for _ in 0..2_000 {
            store.put(&key(random.below(20_000)), &[2; 100])?;
        }
    }
    // What was written last belongs to no checkpoint.
    store.close()
}

/// A checkpoint behind a restore uploaded a tile of 64 MB, though nothing was written: the threshold for what the repo holds was
/// met, and the first tile that was due went whatever the checkpoint uploaded otherwise.
#[test]
fn rescales_rewrite_nothing_and_upload_nothing() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    runtime.block_on(async {
        let repo = Repo::open("memory://").await?;
        let job = JobName::new("job")?;
        grown_job(&repo, &job, &directory.path().join("grown")).await?;
        for (threads, workers) in [(0, 2), (0, 3), (0, 1), (1, 2), (1, 3), (1, 1)] {
            // Without threads nothing is merged in the background: what is written then, the rescale needed.
            let env = Env::builder().memory(8 << 20).threads(threads).build()?;
            let place = directory.path().join(format!("{threads}-{workers}"));
            let rescaled = rescale(&repo, &job, GROUPS, workers, &place, &env).await?;
            println!("to {workers} workers with {threads} threads: {rescaled:?}");
            assert!(rescaled.fetched > 0 && rescaled.claimed > 2_000_000, "{rescaled:?}");
            assert_eq!(rescaled.uploaded, 0, "{rescaled:?}");
            assert!(threads > 0 || rescaled.merged_meanwhile == 0, "{rescaled:?}");
        }
        Ok(())
    })
}
