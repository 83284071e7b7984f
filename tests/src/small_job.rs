//! A job of one worker and a few entries, on an object store in memory that fails as asked: for tests of single cases.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_lsm::{Env, Store};
use bedload_snapshot::testing::{FaultStore, TestAmbient};
use bedload_snapshot::{
    Barrier, Chain, CheckpointId, ClaimRef, CollectOptions, Collected, Deletes, Epoch, Error, JobName, KeyGroups,
    LocalPool, ObjectName, Patience, Repo, RepoOptions, RestoreOptions, Restored, Start, Worker, WorkerName, collect,
    restore,
};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;

use crate::GroupedKeys;

/// How many key groups it has.
const KEY_GROUPS: u32 = 4;

/// A job of one worker; what must succeed panics when it does not.
pub struct SmallJob {
    /// Where its futures run.
    pub runtime: Runtime,
    /// The object store.
    pub objects: FaultStore,
    /// Its time.
    pub ambient: Arc<TestAmbient>,
    /// The repo in that store.
    pub repo: Repo,
    /// The job.
    pub name: JobName,
    fs: Arc<dyn Fs>,
    store: Store,
    worker: Worker,
    epoch: Epoch,
}

impl SmallJob {
    /// On a store of its own.
    pub fn new() -> SmallJob {
        SmallJob::on(FaultStore::default())
    }

    /// On `objects`.
    pub fn on(objects: FaultStore) -> SmallJob {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ambient = Arc::new(TestAmbient::new(7));
        let options = RepoOptions::default().ambient(ambient.clone());
        let options = options.patience(Patience { tries: 2, ..Patience::default() });
        let repo = runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://")).expect("a fine store");
        let name = JobName::new("job").expect("a fine name");
        let fs: Arc<dyn Fs> = Arc::new(MemoryFs::new());
        let env = Env::builder().fs(Arc::clone(&fs)).threads(0).build().expect("no threads are started");
        let store = Store::options().env(&env).shape(GroupedKeys).open("state").expect("an empty disk opens");
        let worker_name = WorkerName::new("w-0").expect("a fine name");
        let worker = Worker::new(&repo, &name, &worker_name, KeyGroups::all(KEY_GROUPS), Arc::clone(&fs));
        let epoch = runtime.block_on(Epoch::start(&repo, &name, KEY_GROUPS, "test")).expect("nothing fails");
        SmallJob { runtime, objects, ambient, repo, name, fs, store, worker, epoch }
    }

    /// Writes an entry and ships it.
    ///
    /// # Errors
    /// Those of the worker.
    pub fn ship(&mut self, value: &[u8]) -> Result<(Barrier, ClaimRef), Error> {
        self.store.put(b"\0\x02ely", value)?;
        let barrier = self.runtime.block_on(self.epoch.begin())?;
        let (claim, _) = self.runtime.block_on(self.worker.ship(self.store.freeze()?, &barrier, 0))?;
        Ok((barrier, claim))
    }

    /// Writes an entry and makes a checkpoint of it.
    pub fn checkpoint(&mut self, value: &[u8]) -> CheckpointId {
        let (barrier, claim) = self.ship(value).expect("nothing fails");
        self.runtime.block_on(self.epoch.complete(&barrier, vec![claim])).expect("nothing fails");
        let seal = self.runtime.block_on(self.worker.confirmed(barrier.checkpoint));
        self.store.release(seal.expect("it was shipped a moment ago"));
        barrier.checkpoint
    }

    /// Restores all of a checkpoint.
    ///
    /// # Errors
    /// Those of [`restore`].
    pub fn restore(&self, checkpoint: CheckpointId) -> Result<Restored, Error> {
        let pool = LocalPool::open(Arc::clone(&self.fs), "local")?;
        let options = RestoreOptions {
            start: Start::At(checkpoint),
            groups: KeyGroups::all(KEY_GROUPS),
            holder: "w-1 on host b".into(),
            runs_at_once: 1,
        };
        let restored = self.runtime.block_on(restore(&self.repo, &self.name, &options, &pool))?;
        Ok(restored.expect("it was asked for by name"))
    }

    /// Lets a checkpoint that is not the newest expire.
    pub fn expire(&self, checkpoint: CheckpointId) {
        let mut chain = self.runtime.block_on(Chain::read(&self.repo, &self.name)).expect("nothing fails");
        let slot = chain.state().find(checkpoint).expect("it exists");
        let expired = self.runtime.block_on(chain.expire(vec![slot], "a test said so"));
        expired.expect("nothing fails").expect("it is not the newest");
    }

    /// Deletes what is garbage.
    ///
    /// # Errors
    /// Those of [`collect`].
    pub fn collect(&self) -> Result<Collected, Error> {
        let options = CollectOptions { deletes: Deletes::Everything, ..CollectOptions::default() };
        self.runtime.block_on(collect(&self.repo, &self.name, &options))
    }

    /// The path of the claim of a checkpoint.
    pub fn claim_of(&self, checkpoint: CheckpointId) -> String {
        let is_claim = |path: &&String| matches!(ObjectName::parse(path), Some(ObjectName::Claim(_, found, ..)) if found == checkpoint);
        self.objects.paths().iter().find(is_claim).cloned().expect("its claim is there")
    }

    /// The paths of all parcels.
    pub fn parcels(&self) -> Vec<String> {
        self.objects.paths().into_iter().filter(|path| path.ends_with(".parcel")).collect()
    }

    /// Writes an object, whatever was there.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        let path = Path::from(path);
        self.runtime.block_on(self.objects.put(&path, PutPayload::from(bytes))).expect("nothing fails");
    }

    /// Deletes an object.
    pub fn delete(&self, path: &str) {
        let path = Path::from(path);
        self.runtime.block_on(self.objects.delete(&path)).expect("it is there");
    }
}

impl Default for SmallJob {
    fn default() -> SmallJob {
        SmallJob::new()
    }
}

/// What a future gives that is ready when it is first asked, as those of an object store in memory are.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory answers at once"),
    }
}
