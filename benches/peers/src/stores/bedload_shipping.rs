//! Our checkpoints, shipped into a repo in memory: a coordinator and a worker in one place.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use bedload_lsm::fs::DiskFs;
use bedload_snapshot::{
    Chain, CollectOptions, Deletes, Epoch, JobName, KeyGroups, Repo, Retention, Worker, WorkerName, collect,
};
use tokio::runtime::Runtime;

use crate::data::GROUPS;
use crate::store::Shipped;

/// After how many checkpoints those that expired are collected.
const COLLECT_EVERY: u64 = 8;

pub struct Shipping {
    runtime: Runtime,
    repo: Repo,
    job: JobName,
    epoch: Epoch,
    worker: Worker,
    number: u64,
}

impl Shipping {
    pub fn start() -> Result<Shipping> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.context("starting threads for uploads")?;
        let job = JobName::new("peers")?;
        let (repo, epoch) = runtime.block_on(async {
            let repo = Repo::open("memory://").await?;
            let epoch = Epoch::start(&repo, &job, u32::from(GROUPS), "peers").await?;
            Ok::<_, bedload_snapshot::Error>((repo, epoch))
        })?;
        let groups = KeyGroups::all(u32::from(GROUPS));
        let worker = Worker::new(&repo, &job, &WorkerName::new("w-0")?, groups, Arc::new(DiskFs));
        Ok(Shipping { runtime, repo, job, epoch, worker, number: 0 })
    }

    /// Freezes the store, ships what is frozen, and lets its deltas go.
    pub fn ship(&mut self, store: &mut bedload_lsm::Store) -> Result<Shipped> {
        self.number += 1;
        self.runtime.block_on(async {
            let barrier = self.epoch.begin().await?;
            let (claim, report) = self.worker.ship(store.freeze()?, &barrier, 0).await?;
            self.epoch.complete(&barrier, vec![claim]).await?;
            if let Some(seal) = self.worker.confirmed(barrier.checkpoint).await {
                store.release(seal);
            }
            if self.number.is_multiple_of(COLLECT_EVERY) {
                let mut chain = Chain::read(&self.repo, &self.job).await?;
                let retention = Retention { last: 1, ..Retention::default() };
                chain.expire(retention.expired(chain.state().live(), &BTreeSet::new()), "peers").await?;
                let options = CollectOptions { grace_ms: 0, deletes: Deletes::Everything };
                collect(&self.repo, &self.job, &options).await?;
            }
            Ok(Shipped {
                sent_bytes: report.uploaded_parcel_bytes,
                raw_bytes: Some(report.uploaded_bytes),
                held_bytes: report.claimed_bytes,
            })
        })
    }
}
