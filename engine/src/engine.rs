//! The engine: a worker's states, opened from a checkpoint, and shipped with the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedload_lsm::fs::{DiskFs, Fs, FsLock};
use bedload_lsm::{Env, KeyRange, Store, Time};
use bedload_snapshot::{
    Barrier, Chain, CheckpointId, Fetcher, JobName, KEY_GROUPS_MAX, KeyGroups, LocalPool, Progress, Repo,
    RestoreOptions, Restored, ShipOptions, Worker, WorkerName, claims, restore, restore_lazily,
};
use tracing::{Instrument, info_span};

use crate::backend::Backend;
use crate::catalog::{Catalog, StateInfo, TimersInfo};
use crate::elements::has_living;
use crate::error::{Error, ErrorKind, Result, fix};
use crate::firing::{Fired, advance};
use crate::heap::Heap;
use crate::hex::HexBytes;
use crate::key_groups::{KeyHash, key_group};
use crate::keyed::{Core, Keyed};
use crate::migration::migrate_one;
use crate::operands::register;
use crate::operator_state::OperatorState;
use crate::ordered::Ordered;
use crate::shipment::{Content, Shipment};
use crate::spec::{Spec, State, StateKind};
use crate::start::{Opened, Position, Residence, Restoring, Start};
use crate::state_key::{GROUP_BYTES, HEAD_BYTES, Kind, StateRules, StateShape, Tag, parse};
use crate::stats::{RestoreStats, Stats, StoreStats};
use crate::tally::Tally;
use crate::timers::{Queue, Timers};
use crate::ttl::{Clock, Visibility};

/// How many keys a walk over a state reads before it writes.
const WALK_KEYS: usize = 256;

/// Threads that fetch for a lazy restore.
const FETCH_THREADS: usize = 2;

/// How an engine is opened.
pub struct Builder {
    directory: PathBuf,
    repo: Option<(Repo, String)>,
    index: u32,
    workers: u32,
    name: Option<String>,
    groups: Option<KeyGroups>,
    max_groups: u32,
    memory: usize,
    start: Start,
    residence: Residence,
    restoring: Restoring,
    hash: KeyHash,
    ship: ShipOptions,
    fs: Option<Arc<dyn Fs>>,
    env: Option<Env>,
    allows_remote: bool,
}

/// The states of a worker: some of the key groups of a job.
///
/// One thread has it. Shipping happens beside it: see [`Engine::checkpoint`].
pub struct Engine {
    core: Core,
    catalog: Catalog,
    residence: Residence,
    directory: PathBuf,
    fs: Arc<dyn Fs>,
    worker: Option<Arc<Worker>>,
    start: Option<Opened>,
    time: Arc<dyn Time>,
    positions: Vec<Position>,
    /// Fetches what a lazy restore left.
    fetcher: Option<Fetcher>,
    checkpoints: u64,
    job: String,
    /// The worker, as in claims.
    name: String,
    rules: StateRules,
    tally: Arc<Tally>,
    /// Memory of the environment, in bytes.
    memory: usize,
    /// Last, so that nothing is written when it is given up.
    _lock: Box<dyn FsLock>,
}

impl Engine {
    /// An engine whose working state lies in `directory`, which must be on a local disk.
    pub fn builder(directory: impl AsRef<Path>) -> Builder {
        Builder {
            directory: directory.as_ref().to_owned(),
            repo: None,
            index: 0,
            workers: 1,
            name: None,
            groups: None,
            max_groups: 128,
            memory: 256 << 20,
            start: Start::Latest,
            residence: Residence::Disk,
            restoring: Restoring::Whole,
            hash: KeyHash::Xxh3,
            ship: ShipOptions::default(),
            fs: None,
            env: None,
            allows_remote: false,
        }
    }
}

impl Builder {
    /// Where checkpoints go, and the name of the job. Without it there are none, and the engine starts [empty](Start::Empty).
    pub fn repo(mut self, repo: &Repo, job: &str) -> Builder {
        self.repo = Some((repo.clone(), job.to_owned()));
        self
    }

    /// Which of how many workers this is (default 0 of 1): decides its key groups, its name, and its part of operator lists.
    pub fn worker(mut self, index: u32, workers: u32) -> Builder {
        (self.index, self.workers) = (index, workers);
        self
    }

    /// The name of the worker in claims (default `w-` and its index).
    pub fn name(mut self, name: &str) -> Builder {
        self.name = Some(name.to_owned());
        self
    }

    /// Its key groups, in the place of those that its index gives: where they were cut by bytes.
    pub fn groups(mut self, groups: KeyGroups) -> Builder {
        self.groups = Some(groups);
        self
    }

    /// How many key groups the job has: the most workers that it can ever have, 1 to 32,768 (default 128). Fixed by its first
    /// checkpoint; more cost some bytes for each group and worker.
    pub fn max_groups(mut self, count: u32) -> Builder {
        self.max_groups = count;
        self
    }

    /// Memory for what was written last and for what is read often, in bytes (default 256 MiB); not for a [heap](Residence::Heap).
    pub fn memory(mut self, bytes: usize) -> Builder {
        self.memory = bytes;
        self
    }

    /// Shares memory, threads and file system with other stores and engines of this process, in the place of a budget of its own.
    pub fn env(mut self, env: &Env) -> Builder {
        self.env = Some(env.clone());
        self
    }

    /// What it starts from (default [`Start::Latest`]).
    pub fn start(mut self, start: Start) -> Builder {
        self.start = start;
        self
    }

    /// Where the state lies (default on disk).
    pub fn residence(mut self, residence: Residence) -> Builder {
        self.residence = residence;
        self
    }

    /// When it is open (default when all is here).
    pub fn restoring(mut self, restoring: Restoring) -> Builder {
        self.restoring = restoring;
        self
    }

    /// How keys are hashed into key groups (default [`KeyHash::Xxh3`]). Fixed for the life of a job.
    pub fn key_hash(mut self, hash: KeyHash) -> Builder {
        self.hash = hash;
        self
    }

    /// How checkpoints are uploaded.
    pub fn ship_options(mut self, options: ShipOptions) -> Builder {
        self.ship = options;
        self
    }

    /// The file system of the directory, for tests (default that of the [`Builder::env`], and without one the disk).
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Builder {
        self.fs = Some(fs);
        self
    }

    /// Accepts a directory on a network or FUSE file system, which is refused otherwise: as
    /// [`StoreOptions::allow_remote_directory`](bedload_lsm::StoreOptions::allow_remote_directory).
    pub fn allow_remote_directory(mut self) -> Builder {
        self.allows_remote = true;
        self
    }

    /// Opens it.
    ///
    /// What a former process left in the directory is no state to go on from: it is removed, but for the copy of the last confirmed
    /// checkpoint, which saves the download.
    ///
    /// # Errors
    /// `Missing` when the checkpoint does not exist; `Fix` when options do not fit the job, or when another process has the directory; those of
    /// restoring.
    pub async fn open(self) -> Result<Engine> {
        let span = info_span!(
            "open",
            directory = %self.directory.display(),
            job = self.repo.as_ref().map(|(_, job)| job.as_str()),
            worker = self.worker_name(),
        );
        let opened = self.open_in_span().instrument(span.clone()).await;
        span.in_scope(|| match &opened {
            Ok(engine) => match engine.start {
                Some(Opened { checkpoint, fetched_bytes, runs, local_runs, .. }) => {
                    tracing::info!(%checkpoint, fetched_bytes, runs, local_runs, "opened from a checkpoint");
                }
                None => tracing::info!("opened empty"),
            },
            Err(error) => tracing::error!(%error, "an engine could not be opened"),
        });
        opened
    }

    /// Its name in claims.
    fn worker_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("w-{}", self.index))
    }

    async fn open_in_span(self) -> Result<Engine> {
        if !(1..=KEY_GROUPS_MAX).contains(&self.max_groups)
            || self.workers > self.max_groups
            || self.index >= self.workers
        {
            return Err(fix(format!(
                "worker {} of {} with {} key groups: expected an index below the workers, and a group for each (1 to {KEY_GROUPS_MAX})",
                self.index, self.workers, self.max_groups
            )));
        }
        let groups = self.groups.unwrap_or_else(|| KeyGroups::of_worker(self.max_groups, self.workers, self.index));
        let fs = self.file_system();
        fs.create_dir(&self.directory)?;
        let lock = fs.lock(&self.directory.join("LOCK"), "an engine of bedload")?;
        let state = self.directory.join("state");
        fs.create_dir(&state)?;
        for file in fs.read_dir(&state)? {
            fs.remove(&state.join(&file.name))?;
        }
        let env = match &self.env {
            Some(env) => env.clone(),
            None => Env::builder().memory(self.memory).fs(Arc::clone(&fs)).build()?,
        };
        let rules = StateRules::default();
        let mut options = Store::options().env(&env).shape(StateShape).rules(rules.clone());
        if self.allows_remote {
            options = options.allow_remote_directory();
        }
        let store = options.open(&state)?;
        let (job, name) = (self.repo.as_ref().map_or("", |(_, job)| job), self.worker_name());
        let mut engine = Engine {
            core: Core::new(Backend::Lsm(Box::new(store)), groups, self.max_groups, self.hash),
            catalog: Catalog::new(self.hash),
            residence: self.residence,
            directory: self.directory.clone(),
            fs,
            worker: None,
            start: None,
            time: Arc::clone(env.time()),
            positions: Vec::new(),
            fetcher: None,
            checkpoints: 0,
            rules,
            tally: Arc::new(Tally::new(job, &name)),
            job: job.to_owned(),
            name,
            memory: env.memory(),
            _lock: lock,
        };
        match &self.repo {
            Some((repo, job)) => {
                let restored = self.restore(repo, &JobName::new(job)?, &mut engine).await;
                if restored.is_err()
                    && let Some(fetcher) = engine.fetcher.take()
                {
                    // Nobody will read what its lease keeps.
                    fetcher.end();
                }
                restored?;
            }
            None if matches!(self.start, Start::Empty | Start::LatestOrEmpty) => {}
            None => return Err(fix("an engine without a repo can only start empty: give it a repo, or Start::Empty")),
        }
        if self.residence == Residence::Heap {
            engine.move_to_heap()?;
        }
        engine.publish();
        Ok(engine)
    }

    fn file_system(&self) -> Arc<dyn Fs> {
        match (&self.fs, &self.env) {
            (Some(fs), _) => Arc::clone(fs),
            (None, Some(env)) => Arc::clone(env.fs()),
            (None, None) => Arc::new(DiskFs),
        }
    }

    async fn restore(&self, repo: &Repo, job: &JobName, engine: &mut Engine) -> Result<()> {
        let name = self.worker_name();
        let worker_name = WorkerName::new(&name)?;
        let fs = Arc::clone(&engine.fs);
        let pool = LocalPool::open(Arc::clone(&fs), self.directory.join("local"))?;
        let groups = engine.core.groups;
        let mut worker = Worker::new(repo, job, &worker_name, groups, fs).ship_options(self.ship.clone());
        if self.residence == Residence::Disk {
            worker = worker.keep_copies(&pool);
        }
        let worker = Arc::new(worker);
        engine.worker = Some(Arc::clone(&worker));
        let (from, start) = match &self.start {
            Start::Empty => return Ok(()),
            Start::Latest => (job, bedload_snapshot::Start::Latest),
            Start::LatestOrEmpty => (job, bedload_snapshot::Start::LatestOrEmpty),
            Start::At(checkpoint) => (job, bedload_snapshot::Start::At(*checkpoint)),
            Start::From(other, None) => (other, bedload_snapshot::Start::Latest),
            Start::From(other, Some(checkpoint)) => (other, bedload_snapshot::Start::At(*checkpoint)),
            Start::TakeOver(other, _) => {
                return Err(fix(format!(
                    "one worker cannot take over job {other}: start a coordinator with it, and open what it assigns"
                )));
            }
        };
        check_key_groups(&Chain::read(repo, from).await?, self.max_groups)?;
        let options = RestoreOptions { start, groups, holder: name, runs_at_once: 4 };
        let restored = match self.restoring {
            Restoring::Whole => restore(repo, from, &options, &pool).await?,
            Restoring::Lazily => {
                let fetcher = Fetcher::start(FETCH_THREADS)?;
                let restored = restore_lazily(repo, from, &options, &pool, &fetcher, |_| ()).await?;
                engine.fetcher = Some(fetcher);
                restored
            }
        };
        let Some(restored) = restored else { return Ok(()) };
        // All claims: what belongs to no key is shared out among all workers.
        let claims = claims(repo, from, restored.checkpoint).await?;
        let mut former = Vec::new();
        for claim in &claims {
            let catalog = Catalog::read(claim)?;
            engine.catalog.join(&catalog)?;
            engine.positions.push(Position { groups: claim.groups, bytes: catalog.position.0 });
            former.push(catalog.operator);
        }
        engine.catalog.operator = OperatorState::share(&former, self.index as usize, self.workers as usize);
        engine.core.key_form = engine.catalog.keys.clone().map(Into::into);
        engine.adopt(&restored, &worker, from == job)
    }
}

/// A job has the key groups of its checkpoints.
fn check_key_groups(chain: &Chain, max_groups: u32) -> Result<()> {
    match chain.state().live().values().find(|live| live.key_groups != max_groups) {
        None => Ok(()),
        Some(live) => Err(fix(format!(
            "opened with {max_groups} key groups, and checkpoint {} of job {} has {}: their number is fixed by the first checkpoint; pass \
             max_groups({})",
            live.checkpoint,
            chain.job(),
            live.key_groups,
            live.key_groups
        ))),
    }
}

impl Engine {
    fn adopt(&mut self, restored: &Restored, worker: &Worker, is_own: bool) -> Result<()> {
        let Backend::Lsm(store) = &mut self.core.backend else { unreachable!("a restore goes into a store") };
        let shipped = restored.adopt(store)?;
        if is_own && self.residence == Residence::Disk {
            worker.restored(restored.checkpoint, shipped);
        } else {
            // Nothing of it lies in this job.
            store.release_all();
        }
        self.start = Some(Opened {
            checkpoint: restored.checkpoint,
            is_own,
            fetched_bytes: restored.fetched_bytes,
            runs: restored.plan.runs.len(),
            local_runs: restored.local_runs,
        });
        Ok(())
    }

    /// Takes what was restored into memory, and gives up the store.
    fn move_to_heap(&mut self) -> Result<()> {
        let Backend::Lsm(store) = &mut self.core.backend else { return Ok(()) };
        let mut heap = Heap::new(self.rules.clone());
        heap.advance_all(store.clocks());
        let mut cursor = store.cursor(self.core.groups.keys());
        let mut keys = Vec::new();
        while let Some((key, _)) = cursor.next(store)? {
            keys.push(key.to_vec());
        }
        for key in keys {
            store.update(&key, |slot| match slot.value() {
                Some(value) => heap.put(&key, value, slot.expiry()),
                None => Ok(()),
            })??;
        }
        self.core.backend = Backend::Heap(heap);
        Ok(())
    }

    /// What it was opened from; none when it started empty.
    pub fn opened_from(&self) -> Option<Opened> {
        self.start
    }

    /// How far a lazy restore is; none where there is none.
    pub fn restoring(&self) -> Option<&Progress> {
        self.fetcher.as_ref().map(Fetcher::progress)
    }

    /// Where the sources of all former workers were, in the order of their key groups.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Where its state lies.
    pub fn residence(&self) -> Residence {
        self.residence
    }

    /// Its key groups.
    pub fn groups(&self) -> KeyGroups {
        self.core.groups
    }

    /// The key group of a key: for who routes records to workers.
    ///
    /// # Errors
    /// `Fix` when the key has no hash of the kind that was chosen.
    pub fn group_of<K: Ordered + ?Sized>(&self, key: &K) -> Result<u16> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        Ok(key_group(self.core.hash.hash(key, &bytes)?, self.core.max_groups))
    }

    /// Declares a state.
    ///
    /// # Errors
    /// `Fix` when what is stored under its name is not what it declares: another kind, other types, a later version, another merge
    /// function.
    pub fn state<S: StateKind + 'static>(&mut self, spec: Spec<S>) -> Result<State<S>> {
        let now = spec.ttl.map_or(0, |ttl| self.now(ttl.which_clock()));
        let ends_until = self.catalog.declare(&spec, now)?;
        register(&self.rules.functions, &spec);
        Ok(State { spec, tag: spec.tag(), ends_until })
    }

    /// Declares timers by event time. Those of a checkpoint fire from then on.
    ///
    /// # Errors
    /// `Fix` when they are known with another clock.
    pub fn timers<N: Ordered + ?Sized>(&mut self, name: &str) -> Result<Timers<N>> {
        self.declare_timers(name, Clock::Event)
    }

    /// Declares timers by processing time.
    ///
    /// # Errors
    /// As [`Engine::timers`].
    pub fn processing_timers<N: Ordered + ?Sized>(&mut self, name: &str) -> Result<Timers<N>> {
        self.declare_timers(name, Clock::Processing)
    }

    fn declare_timers<N: Ordered + ?Sized>(&mut self, name: &str, clock: Clock) -> Result<Timers<N>> {
        self.catalog.declare_timers(name, clock)?;
        let known = self.core.queues.iter().position(|queue| *queue.name == *name);
        let queue = known.unwrap_or_else(|| {
            self.core.queues.push(Queue::new(name, clock, self.core.groups));
            self.core.queues.len() - 1
        });
        Ok(Timers { tag: self.core.queues[queue].tag, queue, namespace: std::marker::PhantomData })
    }

    /// Goes to a key: hashes it once, for all operations on its states.
    ///
    /// # Errors
    /// `Fix` when its key group is not of this worker, or when keys of this job are of another type.
    #[inline]
    pub fn with_key<K: Ordered + ?Sized>(&mut self, key: &K) -> Result<Keyed<'_>> {
        self.core.with_key(key)
    }

    /// The state that belongs to no key.
    pub fn operator_state(&mut self) -> &mut OperatorState {
        &mut self.catalog.operator
    }

    /// The reading of a clock, in milliseconds.
    pub fn now(&self, clock: Clock) -> u64 {
        self.core.backend.clocks().now(clock.id())
    }

    /// Moves event time on, and fires the timers that are due by it, in the order of their times; gives how many. `fire` may use all
    /// states of the timer's key. An earlier watermark changes nothing.
    ///
    /// # Errors
    /// Those of the store, and of `fire`: what has fired by then does not fire again.
    pub fn advance_watermark(
        &mut self,
        watermark: u64,
        fire: impl FnMut(&mut Keyed<'_>, &Fired<'_>) -> Result<()>,
    ) -> Result<usize> {
        advance(&mut self.core, Clock::Event, watermark, fire)
    }

    /// Moves processing time on, and fires what is due by it.
    ///
    /// # Errors
    /// As [`Engine::advance_watermark`].
    pub fn advance_processing_time(
        &mut self,
        now: u64,
        fire: impl FnMut(&mut Keyed<'_>, &Fired<'_>) -> Result<()>,
    ) -> Result<usize> {
        advance(&mut self.core, Clock::Processing, now, fire)
    }

    /// The states that are known: declared here, or named by the checkpoint.
    pub fn states(&self) -> &[StateInfo] {
        &self.catalog.states
    }

    /// The timers that are known.
    pub fn timer_names(&self) -> &[TimersInfo] {
        &self.catalog.timers
    }

    /// The names of states and timers, by the tags of their keys.
    pub(crate) fn names(&self) -> Result<BTreeMap<Tag, String>> {
        let states = self.catalog.states.iter().map(|info| Ok((info.tag()?, info.name.clone())));
        let timers = self.catalog.timers.iter();
        let timers = timers.map(|info| Ok((Tag::new(Kind::Timer, Some(info.clock), &info.name), info.name.clone())));
        states.chain(timers).collect()
    }

    /// The form of its keys, once there was one.
    pub(crate) fn key_form(&self) -> Option<&str> {
        self.core.key_form.as_deref()
    }

    /// How keys become key groups, and how many of those the job has.
    pub(crate) fn key_groups(&self) -> (KeyHash, u32) {
        (self.core.hash, self.core.max_groups)
    }

    /// Shows what it holds in `range`, until `look` says that it has seen enough.
    pub(crate) fn scan(&self, range: &KeyRange, look: impl FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        self.core.backend.scan(range, Visibility::Living, look)
    }

    /// Shows the keys that have something in a state, with the namespace; each once, in the order of key groups.
    ///
    /// # Errors
    /// Those of the store and of `look`; `Damaged` when keys or namespaces are of other types.
    pub fn keys<K: Ordered + ?Sized, S: StateKind>(
        &self,
        state: &State<S>,
        mut look: impl FnMut(K::Owned, <S::Namespace as Ordered>::Owned) -> Result<()>,
    ) -> Result<()>
    where
        S::Namespace: Ordered,
    {
        let mut last = Vec::new();
        let is_list = state.spec.kind == Kind::List;
        let now = state.spec.ttl.filter(|_| is_list).map(|ttl| self.now(ttl.which_clock()));
        for group in self.core.groups.first..=self.core.groups.last {
            self.core.backend.scan(&self.range(state, group), Visibility::Living, |key, value| {
                // A list may outlive its elements, where their life was made shorter.
                if let Some(now) = now
                    && !has_living(state, value, now)?
                {
                    return Ok(true);
                }
                let parts = parse(key)?;
                let record = &key[..key.len() - parts.map_key.len()];
                if last != record {
                    last.clear();
                    last.extend_from_slice(record);
                    look(K::decode(&mut &*parts.key)?, S::Namespace::decode(&mut &*parts.namespace)?)?;
                }
                Ok(true)
            })?;
        }
        Ok(())
    }

    fn range<S: StateKind>(&self, state: &State<S>, group: u16) -> KeyRange {
        let mut prefix = Vec::with_capacity(HEAD_BYTES);
        prefix.extend_from_slice(&group.to_be_bytes());
        prefix.extend_from_slice(&state.tag.0);
        debug_assert_eq!(prefix.len() - GROUP_BYTES, state.tag.0.len());
        KeyRange::prefix(&prefix)
    }

    /// Writes all items of a state anew that are of an earlier version; gives how many. From the next checkpoint on, programs that do not
    /// read that version can start from it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn migrate<S: StateKind>(&mut self, state: &State<S>) -> Result<usize> {
        let mut migrated = 0;
        for group in self.core.groups.first..=self.core.groups.last {
            let mut range = self.range(state, group);
            loop {
                let keys = self.core.backend.some(&range, WALK_KEYS)?;
                let Some(last) = keys.last() else { break };
                range.start = last.clone();
                range.start.push(0);
                for key in &keys {
                    migrated += migrate_one(&mut self.core.backend, state, key)?;
                }
            }
        }
        self.catalog.migrated(&state.spec);
        Ok(migrated)
    }

    /// Freezes the state for a checkpoint, in microseconds, and gives what ships it: a task that may run anywhere, while the engine goes
    /// on. `position` says where the sources are, for who starts from this checkpoint.
    ///
    /// # Errors
    /// `Fix` without a repo; `Full` when memory is.
    pub fn checkpoint(&mut self, barrier: &Barrier, position: &[u8]) -> Result<Shipment> {
        let Some(worker) = self.worker.clone() else {
            return Err(fix("an engine without a repo takes no checkpoints: open it with one"));
        };
        let span =
            info_span!("checkpoint", job = %worker.job(), worker = %worker.name(), checkpoint = %barrier.checkpoint);
        let freeze = info_span!(parent: &span, "freeze").entered();
        let start = self.time.now();
        let frozen = match &mut self.core.backend {
            Backend::Lsm(store) => Content::Frozen(Box::new(store.freeze()?)),
            Backend::Heap(heap) => {
                self.checkpoints += 1;
                Content::Copied {
                    entries: heap.live().map(|(key, kept)| (key.clone(), kept.clone())).collect(),
                    clocks: *heap.clocks(),
                    directory: self.directory.join(format!("heap-{}", self.checkpoints % 2)),
                    fs: Arc::clone(&self.fs),
                }
            }
        };
        let pause = self.time.now().saturating_sub(start);
        self.tally.checkpoints().begun += 1;
        drop(freeze);
        self.catalog.keys = self.core.key_form.as_ref().map(|form| form.clone().into_owned());
        self.catalog.position = HexBytes(position.to_vec());
        let attachment = serde_json::to_value(&self.catalog)
            .map_err(|cause| Error::new(ErrorKind::Bug, format!("what a claim says of states: {cause}")))?;
        let tally = Arc::clone(&self.tally);
        Ok(Shipment { worker, barrier: barrier.clone(), content: frozen, attachment, pause, tally, span })
    }

    /// Says that a checkpoint exists. Removes the local copy of the one before, and may wait for the repo: an operator that must not wait
    /// runs [`Engine::confirmation`] beside.
    pub async fn confirm(&mut self, checkpoint: CheckpointId) {
        if let Some(confirmed) = self.confirmation(checkpoint).await {
            self.release(confirmed);
        }
    }

    /// What [`Engine::confirm`] does that takes time, for a task beside the operator: one after the other, in the order of the
    /// checkpoints. What it gives is [released](Engine::release) then.
    pub fn confirmation(&self, checkpoint: CheckpointId) -> impl Future<Output = Option<Confirmed>> + Send + use<> {
        let worker = self.worker.clone();
        async move {
            let worker = worker?;
            tracing::info!(job = %worker.job(), worker = %worker.name(), %checkpoint, "heard that a checkpoint exists");
            worker.confirmed(checkpoint).await.map(Confirmed)
        }
    }

    /// Lets go of what was kept for a checkpoint until it existed. Takes no time; with the feature `metrics`, that of [`Engine::stats`].
    pub fn release(&mut self, Confirmed(seal): Confirmed) {
        if let Backend::Lsm(store) = &mut self.core.backend {
            store.release(seal);
        }
        self.tally.checkpoints().confirmed += 1;
        self.publish();
    }

    /// Says that a checkpoint was given up. Nothing is deleted: the next one uses what was uploaded. May wait for the repo: an operator that
    /// must not wait runs [`Engine::abortion`] beside.
    pub async fn abort(&mut self, checkpoint: CheckpointId) {
        self.abortion(checkpoint).await;
        self.publish();
    }

    /// [`Engine::abort`] for a task beside the operator, in the order of the checkpoints.
    pub fn abortion(&self, checkpoint: CheckpointId) -> impl Future<Output = ()> + Send + use<> {
        let (worker, tally) = (self.worker.clone(), Arc::clone(&self.tally));
        async move {
            tally.checkpoints().aborted += 1;
            if let Some(worker) = worker {
                let (job, name) = (worker.job(), worker.name());
                tracing::warn!(%job, worker = %name, %checkpoint, "heard that a checkpoint was given up");
                worker.aborted(checkpoint).await;
            }
        }
    }

    /// What it holds and has done since it was opened, as plain data. Costs a look at every tile's stack; of a
    /// [heap](Residence::Heap), a look at every entry.
    pub fn stats(&self) -> Stats {
        let (store, heap) = match &self.core.backend {
            Backend::Lsm(store) => (Some(StoreStats::new(store, self.memory)), None),
            Backend::Heap(heap) => (None, Some(heap.stats())),
        };
        Stats {
            job: self.job.clone(),
            worker: self.name.clone(),
            first_group: self.core.groups.first,
            last_group: self.core.groups.last,
            checkpoints: self.tally.checkpoints().clone(),
            refused_merges: self.rules.functions.refused(),
            restore: self.restoring().map(RestoreStats::new),
            store,
            heap,
        }
    }

    /// Gives all figures to the recorder of metrics, as the opening and each end of a checkpoint do: for who wants them more often. Costs
    /// what [`Engine::stats`] does.
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        self.publish();
    }

    fn publish(&self) {
        #[cfg(feature = "metrics")]
        self.tally.publish(&self.stats());
    }

    /// Ends it. What was not shipped is gone. Where a lazy restore was not complete, this tells the repo so, and waits for it for a few
    /// seconds at most.
    ///
    /// # Errors
    /// Those of the store.
    pub fn close(self) -> Result<()> {
        let closed = match self.core.backend {
            Backend::Lsm(store) => store.close(),
            Backend::Heap(_) => Ok(()),
        };
        if let Some(fetcher) = self.fetcher {
            fetcher.end();
        }
        closed
    }
}

/// A checkpoint that exists, for [`Engine::release`].
#[derive(Clone, Copy, Debug)]
pub struct Confirmed(u64);
