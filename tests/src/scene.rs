//! A job whose steps a test gives one by one, on a [`FaultStore`]: what each checkpoint must restore to is known, and so is what
//! its objects are, without asking the collector.
//!
//! Everything is deterministic from the seed: background work is stepped, time stands still until the test moves it, and
//! requests are made in one order. A step that meets an error stops with it; data that differ are never an error but
//! [`Stop::Wrong`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Env, Store};
use bedload_snapshot::testing::{FaultStore, TestAmbient, read_claim, read_lease};
use bedload_snapshot::{
    Barrier, Chain, CheckpointId, ClaimRef, CollectOptions, Collected, Completion, Deletes, Epoch, Error, JobName,
    KeyGroups, LocalPool, ObjectName, Patience, Repo, RepoOptions, RestoreOptions, Restored, ShipOptions, ShipPolicy,
    ShipReport, Start, Worker, WorkerName, collect, restore,
};
use tokio::runtime::Runtime;

use crate::Random;
use crate::member::{Member, State, open_stepped};

/// How many key groups the job has.
pub const KEY_GROUPS: u32 = 4;

/// How old an object must be to be collected.
pub const GRACE_MS: u64 = 40_000;

/// How often a request is made.
pub const TRIES: u32 = 3;

/// Bytes of one part of an upload in parts.
const PART_BYTES: usize = 48 << 10;

/// Why a step did not end well.
#[derive(Clone)]
pub enum Stop {
    /// An error was told.
    GaveUp(Error),
    /// Something is not as it must be.
    Wrong(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::GaveUp(error)
    }
}

/// As people read it: tests that end with one print it so.
impl fmt::Debug for Stop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::GaveUp(error) => write!(out, "error ({:?}): {error}", error.kind()),
            Stop::Wrong(what) => out.write_str(what),
        }
    }
}

/// Stops with what is wrong, unless `is_so`.
///
/// # Errors
/// [`Stop::Wrong`].
pub fn check(is_so: bool, wrong: impl FnOnce() -> String) -> Result<(), Stop> {
    if is_so { Ok(()) } else { Err(Stop::Wrong(wrong())) }
}

/// A job, its workers, and what is known of it.
pub struct Scene {
    /// What drives it.
    pub runtime: Runtime,
    /// What it is stored in.
    pub objects: FaultStore,
    /// Its time and randomness.
    pub ambient: Arc<TestAmbient>,
    /// The repo.
    pub repo: Repo,
    /// The name of the job.
    pub job: JobName,
    /// The newest coordinator.
    pub epoch: Option<Epoch>,
    /// The workers, by key groups.
    pub members: Vec<Member>,
    /// What the workers hold together.
    pub state: State,
    /// The state at each checkpoint that was frozen.
    pub frozen: BTreeMap<CheckpointId, State>,
    /// Checkpoints that were reported complete.
    pub completed: BTreeSet<CheckpointId>,
    /// Checkpoints that were given up before they could be completed.
    pub given_up: BTreeSet<CheckpointId>,
    /// Checkpoints that somebody wanted to expire: they may exist or not.
    pub expiring: BTreeSet<CheckpointId>,
    /// What the last shipping of each worker did.
    pub reports: Vec<ShipReport>,
    /// What workers upload at once, however little changed: see [`ShipPolicy`].
    pub whole_max: u64,
    random: Random,
    openings: u64,
}

impl Scene {
    /// Opens the repo in `objects`.
    ///
    /// # Errors
    /// Those of the opening.
    pub fn open(objects: &FaultStore, seed: u64) -> Result<Scene, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Stop::Wrong(format!("no runtime: {cause}")))?;
        let ambient = Arc::new(TestAmbient::new(seed));
        let patience = Patience { tries: TRIES, background_failures: 0, ..Patience::default() };
        let options = RepoOptions::default().ambient(ambient.clone()).patience(patience).part_bytes(PART_BYTES);
        let repo = runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://"))?;
        Ok(Scene {
            runtime,
            objects: objects.clone(),
            ambient,
            repo,
            job: JobName::new("job").expect("a fine name"),
            epoch: None,
            members: Vec::new(),
            state: State::new(),
            frozen: BTreeMap::new(),
            completed: BTreeSet::new(),
            given_up: BTreeSet::new(),
            expiring: BTreeSet::new(),
            reports: Vec::new(),
            whole_max: ShipPolicy::default().whole_max,
            random: Random::new(seed),
            openings: seed << 20,
        })
    }

    /// Moves all clocks on.
    pub fn pass_ms(&self, milliseconds: u64) {
        self.ambient.pass_ms(milliseconds);
        self.objects.pass_ms(milliseconds);
    }

    /// Goes on with `future` until it ends, which gives what it gives, or until a request of it is late: it stands still
    /// from then on, as a process does that is stopped.
    pub fn until_late<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let objects = self.objects.clone();
        self.runtime.block_on(std::future::poll_fn(move |context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if objects.late() > 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }))
    }

    /// Lets what was left to the runtime come to its end.
    pub fn settle(&self) {
        self.runtime.block_on(async {
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Short stacks and small ratios, so that every rule applies.
    pub fn ship_options(&self) -> ShipOptions {
        let policy = ShipPolicy { ratio: 1.0, stack_max: 3, whole_max: self.whole_max };
        ShipOptions { runs_at_once: 1, level: 1, policy, reuse_ms: GRACE_MS / 2 }
    }

    /// A new coordinator takes the place of the old one, which is given back.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn coordinate(&mut self) -> Result<Option<Epoch>, Stop> {
        let epoch = self.runtime.block_on(Epoch::start(&self.repo, &self.job, KEY_GROUPS, "test"))?;
        Ok(self.epoch.replace(epoch))
    }

    /// Opens a store on `machine`, in a directory of its own.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open_store(&mut self, machine: &MemoryFs) -> Result<(Store, Env), Stop> {
        self.openings += 1;
        Ok(open_stepped(machine, self.openings)?)
    }

    /// A worker with `groups` on `machine` that has shipped nothing yet.
    pub fn worker(&self, groups: KeyGroups, machine: &MemoryFs) -> Worker {
        let name = WorkerName::new(&format!("w-{}", groups.first)).expect("a fine name");
        let worker = Worker::new(&self.repo, &self.job, &name, groups, Arc::new(machine.clone()));
        worker.ship_options(self.ship_options())
    }

    /// Opens a store on `machine` and gives it `groups` of a checkpoint, as `restore` does it.
    ///
    /// # Errors
    /// Those of the restore.
    pub fn join(
        &mut self,
        machine: &MemoryFs,
        groups: KeyGroups,
        start: Start,
        restore: impl FnOnce(&Scene, &RestoreOptions, &LocalPool) -> Result<Option<Restored>, Stop>,
    ) -> Result<(Member, Option<CheckpointId>), Stop> {
        let (mut store, env) = self.open_store(machine)?;
        let pool = LocalPool::open(Arc::new(machine.clone()), "local")?;
        let worker = self.worker(groups, machine);
        let options = RestoreOptions { start, groups, holder: "test".into(), runs_at_once: 1 };
        let mut checkpoint = None;
        if let Some(restored) = restore(self, &options, &pool)? {
            worker.restored(restored.checkpoint, restored.adopt(&mut store)?);
            checkpoint = Some(restored.checkpoint);
        }
        Ok((Member { store, env, worker }, checkpoint))
    }

    /// Starts `count` workers from the newest checkpoint, under a new coordinator; gives the old one.
    ///
    /// # Errors
    /// Those of the requests; [`Stop::Wrong`] when they do not hold the state of the newest checkpoint.
    pub fn start(&mut self, count: u32) -> Result<Option<Epoch>, Stop> {
        let old = self.coordinate()?;
        self.members.clear();
        let mut from = BTreeSet::new();
        for index in 0..count {
            let groups = KeyGroups::of_worker(KEY_GROUPS, count, index);
            let (member, checkpoint) = self.join(&MemoryFs::new(), groups, Start::LatestOrEmpty, eagerly)?;
            self.members.push(member);
            from.insert(checkpoint);
        }
        self.started_from(&from)?;
        Ok(old)
    }

    /// The workers have started from this: the next checkpoint is built upon it.
    ///
    /// # Errors
    /// [`Stop::Wrong`] when it is not the newest checkpoint, or they hold something else.
    pub fn started_from(&mut self, from: &BTreeSet<Option<CheckpointId>>) -> Result<(), Stop> {
        let newest = self.completed.last().copied();
        check(from.iter().all(|from| *from == newest), || format!("started from {from:?}, the newest is {newest:?}"))?;
        if let (Some(newest), Some(epoch)) = (newest, &mut self.epoch) {
            epoch.build_upon(newest)?;
        }
        self.state = newest.map_or_else(State::new, |newest| self.frozen[&newest].clone());
        let mut found = State::new();
        for member in &mut self.members {
            found.extend(member.contents()?);
        }
        same_state(&format!("{} workers", self.members.len()), &found, &self.state)
    }

    /// Writes `count` small entries of random key groups, and deletes some.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn write(&mut self, count: usize) -> Result<(), Stop> {
        for _ in 0..count {
            let group = self.random.below(u64::from(KEY_GROUPS)) as u16;
            let key = [&group.to_be_bytes()[..], format!("{:02}", self.random.below(24)).as_bytes()].concat();
            if self.random.below(5) == 0 {
                self.put(group, key, None)?;
            } else {
                let value = vec![self.random.draw() as u8; self.random.below(160) as usize];
                self.put(group, key, Some(value))?;
            }
        }
        Ok(())
    }

    /// Writes a value of `bytes` bytes that nothing compresses.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn write_noise(&mut self, bytes: usize) -> Result<(), Stop> {
        let value = (0..bytes.div_ceil(8)).flat_map(|_| self.random.draw().to_le_bytes()).collect();
        self.put(1, b"\0\x01noise".to_vec(), Some(value))
    }

    fn put(&mut self, group: u16, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Stop> {
        let wanted = KeyGroups { first: group, last: group };
        let member = self.members.iter_mut().find(|member| member.worker.groups().covers(wanted));
        let store = &mut member.expect("some worker has each key group").store;
        match value {
            Some(value) => {
                store.put(&key, &value)?;
                self.state.insert(key, value);
            }
            None => {
                store.delete(&key)?;
                self.state.remove(&key);
            }
        }
        Ok(())
    }

    /// Lets the stores flush and merge.
    pub fn work_in_background(&mut self, steps: u64) {
        for member in &self.members {
            member.work_in_background(steps, &mut self.random);
        }
    }

    /// The coordinator.
    pub fn epoch(&mut self) -> &mut Epoch {
        self.epoch.as_mut().expect("the job was started")
    }

    /// Begins a checkpoint.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn begin(&mut self) -> Result<Barrier, Stop> {
        let epoch = self.epoch.as_mut().expect("the job was started");
        Ok(self.runtime.block_on(epoch.begin())?)
    }

    /// Freezes and ships all workers.
    ///
    /// # Errors
    /// Those of the stores and of the requests.
    pub fn ship(&mut self, barrier: &Barrier) -> Result<Vec<ClaimRef>, Stop> {
        self.frozen.insert(barrier.checkpoint, self.state.clone());
        self.reports.clear();
        let mut claims = Vec::new();
        for member in &mut self.members {
            let frozen = member.store.freeze()?;
            let (claim, report) = self.runtime.block_on(member.worker.ship(frozen, barrier, 0))?;
            claims.push(claim);
            self.reports.push(report);
        }
        Ok(claims)
    }

    /// Completes a checkpoint and tells the workers.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn complete(&mut self, barrier: &Barrier, claims: Vec<ClaimRef>) -> Result<(), Stop> {
        let epoch = self.epoch.as_mut().expect("the job was started");
        self.runtime.block_on(epoch.complete(barrier, claims))?;
        self.completed.insert(barrier.checkpoint);
        for member in &mut self.members {
            if let Some(seal) = self.runtime.block_on(member.worker.confirmed(barrier.checkpoint)) {
                member.store.release(seal);
            }
        }
        Ok(())
    }

    /// Gives a checkpoint up.
    pub fn give_up(&mut self, barrier: &Barrier) {
        self.given_up.insert(barrier.checkpoint);
        let epoch = self.epoch.as_mut().expect("the job was started");
        self.runtime.block_on(epoch.abort(barrier));
        for member in &self.members {
            self.runtime.block_on(member.worker.aborted(barrier.checkpoint));
        }
    }

    /// Makes a checkpoint.
    ///
    /// # Errors
    /// Those of the stores and of the requests.
    pub fn checkpoint(&mut self) -> Result<CheckpointId, Stop> {
        let barrier = self.begin()?;
        let claims = self.ship(&barrier)?;
        self.complete(&barrier, claims)?;
        Ok(barrier.checkpoint)
    }

    /// Reads the chain.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn chain(&self) -> Result<Chain, Stop> {
        Ok(self.runtime.block_on(Chain::read(&self.repo, &self.job))?)
    }

    /// Lets all but the newest `last` checkpoints expire.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn expire_all_but(&mut self, last: usize) -> Result<(), Stop> {
        let mut chain = self.chain()?;
        let live: Vec<(u64, CheckpointId)> =
            chain.state().live().iter().map(|(slot, live)| (*slot, live.checkpoint)).collect();
        let old = &live[..live.len().saturating_sub(last)];
        self.expiring.extend(old.iter().map(|(_, checkpoint)| *checkpoint));
        let slots = old.iter().map(|(slot, _)| *slot).collect();
        self.runtime.block_on(chain.expire(slots, "the test"))?;
        Ok(())
    }

    /// Declares all leases void that are there.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn void_leases(&mut self) -> Result<(), Stop> {
        let mut chain = self.chain()?;
        for path in self.objects.paths() {
            if let Some(ObjectName::Lease(_, lease)) = ObjectName::parse(&path) {
                self.runtime.block_on(chain.void(lease, "the test"))?;
            }
        }
        Ok(())
    }

    /// Makes a boundary.
    ///
    /// # Errors
    /// Those of the requests.
    pub fn mark_boundary(&mut self) -> Result<(), Stop> {
        let mut chain = self.chain()?;
        self.runtime.block_on(chain.mark_boundary())?;
        Ok(())
    }

    /// What exists is there and restores, and behind the grace time nothing else is.
    ///
    /// # Errors
    /// Those of the steps; [`Stop::Wrong`] with what stayed for nothing.
    pub fn check_clean(&mut self) -> Result<(), Stop> {
        self.check_all()?;
        self.pass_ms(2 * GRACE_MS);
        self.collect()?;
        let (left, reached) = (self.objects_of_checkpoints(), self.reached()?);
        check(left == reached, || format!("{:?} stayed for nothing", left.difference(&reached).collect::<Vec<_>>()))?;
        self.check_all().map(drop)
    }

    /// Deletes all garbage.
    ///
    /// # Errors
    /// Those of the collection.
    pub fn collect(&self) -> Result<Collected, Stop> {
        Ok(self.runtime.block_on(collect(&self.repo, &self.job, &collect_options()))?)
    }

    /// The claims and parcels that are there.
    pub fn objects_of_checkpoints(&self) -> BTreeSet<String> {
        let is_asked =
            |path: &String| matches!(ObjectName::parse(path), Some(ObjectName::Claim(..) | ObjectName::Parcel(..)));
        self.objects.paths().into_iter().filter(is_asked).collect()
    }

    /// The leases that are there.
    pub fn leases(&self) -> usize {
        let is_lease = |path: &&String| matches!(ObjectName::parse(path), Some(ObjectName::Lease(..)));
        self.objects.paths().iter().filter(is_lease).count()
    }

    /// Whether there is a lease on `checkpoint` of somebody who reads it.
    ///
    /// # Errors
    /// Those of leases that cannot be read.
    pub fn is_read(&self, checkpoint: CheckpointId) -> Result<bool, Stop> {
        for path in self.objects.paths() {
            if let (Some(ObjectName::Lease(..)), Some(bytes)) = (ObjectName::parse(&path), self.objects.bytes(&path)) {
                let reading = read_lease(&bytes)?.reading;
                if reading.is_some_and(|reading| reading.completion.checkpoint == checkpoint) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The claims and parcels of a checkpoint: read from its claims without a request.
    ///
    /// # Errors
    /// [`Stop::Wrong`] when a claim is missing or is none.
    pub fn objects_of(&self, completion: &Completion) -> Result<BTreeSet<String>, Stop> {
        let mut objects = BTreeSet::new();
        for claim in &completion.claims {
            let (checkpoint, worker) = (completion.checkpoint, claim.worker.clone());
            let path = ObjectName::Claim(self.job.clone(), checkpoint, worker, claim.attempt).to_string();
            let bytes = self.objects.bytes(&path);
            let bytes = bytes.ok_or_else(|| Stop::Wrong(format!("checkpoint {checkpoint}: {path} is missing")))?;
            let claim = read_claim(&bytes)?;
            objects.insert(path);
            let parcels = claim.runs.iter().map(|run| ObjectName::Parcel(self.job.clone(), run.parcel).to_string());
            objects.extend(parcels);
        }
        Ok(objects)
    }

    /// The claims and parcels of all checkpoints that exist.
    ///
    /// # Errors
    /// Those of the requests; [`Stop::Wrong`] when a claim is missing or is none.
    pub fn reached(&self) -> Result<BTreeSet<String>, Stop> {
        let chain = self.chain()?;
        let mut reached = BTreeSet::new();
        for completion in chain.state().live().values() {
            reached.extend(self.objects_of(completion)?);
        }
        Ok(reached)
    }

    /// Restores a checkpoint into one new store, and compares.
    ///
    /// # Errors
    /// Those of the restore; [`Stop::Wrong`] when it is not what was frozen.
    pub fn check_restore(&mut self, checkpoint: CheckpointId) -> Result<(), Stop> {
        let (mut member, _) =
            self.join(&MemoryFs::new(), KeyGroups::all(KEY_GROUPS), Start::At(checkpoint), eagerly)?;
        let frozen = self.frozen.get(&checkpoint);
        let frozen = frozen.ok_or_else(|| Stop::Wrong(format!("checkpoint {checkpoint} was never frozen")))?;
        same_state(&format!("checkpoint {checkpoint}"), &member.contents()?, frozen)
    }

    /// What was complete exists unless it has expired; what exists is whole and restores to what was frozen. Gives what exists.
    ///
    /// # Errors
    /// Those of the restores; [`Stop::Wrong`] when something of this is not so.
    pub fn check_all(&mut self) -> Result<Vec<CheckpointId>, Stop> {
        let chain = self.chain()?;
        let live: Vec<CheckpointId> = chain.state().live().values().map(|live| live.checkpoint).collect();
        let lost = self.completed.iter().find(|one| !live.contains(one) && !self.expiring.contains(one));
        check(lost.is_none(), || format!("checkpoint {lost:?} was complete and does not exist"))?;
        let risen = live.iter().find(|one| self.given_up.contains(one));
        check(risen.is_none(), || format!("checkpoint {risen:?} was given up and exists"))?;
        check(live.is_sorted(), || format!("{live:?} were not completed in order"))?;
        for checkpoint in &live {
            self.check_restore(*checkpoint)?;
        }
        Ok(live)
    }
}

/// As collections of a scene are made.
pub fn collect_options() -> CollectOptions {
    CollectOptions { grace_ms: GRACE_MS, deletes: Deletes::Everything }
}

/// Restores by fetching everything first.
///
/// # Errors
/// Those of the restore.
pub fn eagerly(scene: &Scene, options: &RestoreOptions, pool: &LocalPool) -> Result<Option<Restored>, Stop> {
    Ok(scene.runtime.block_on(restore(&scene.repo, &scene.job, options, pool))?)
}

/// Compares what `who` holds with what it must hold.
///
/// # Errors
/// [`Stop::Wrong`] when they differ.
pub fn same_state(who: &str, found: &State, expected: &State) -> Result<(), Stop> {
    check(found == expected, || {
        let missing = expected.iter().find(|(key, value)| found.get(*key) != Some(*value)).map(|(key, _)| key);
        let extra = found.keys().find(|key| !expected.contains_key(*key));
        let (found, expected) = (found.len(), expected.len());
        format!("{who}: {found} entries, expected {expected}; first wrong one: {missing:?}, first too many: {extra:?}")
    })
}
