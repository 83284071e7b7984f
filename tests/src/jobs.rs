//! A whole job against plain maps: workers with stores, a coordinator, checkpoints, failures, restores, rescales.
//!
//! One seed makes one history: operations are drawn from it, background work is stepped, time stands still, and the object
//! store fails as its requests are counted. After each operation the chain is read without faults: every checkpoint that
//! exists must have been frozen, every one that was reported complete must exist until it expires, and one of them is restored,
//! onto another number of workers, and compared with the map of its moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_snapshot::testing::{FaultStore, ObjectFault, TestAmbient};
use bedload_snapshot::{
    Chain, CheckpointId, CollectOptions, CopyInto, CopyOptions, Deletes, Epoch, Error, ErrorKind, JobName, KeyGroups,
    LocalPool, ObjectName, Patience, PinName, Repo, RepoOptions, RestoreOptions, Restored, ShipOptions, ShipPolicy,
    Start, VerifyLevel, Why, Worker, WorkerName, collect, copy, pin, restore, unpin, verify, why,
};
use tokio::runtime::Runtime;

use crate::Random;
use crate::member::{Member, State, open_stepped};

/// How old an object must be to be collected.
const GRACE_MS: u64 = 40_000;

/// Bytes of one part of an upload in parts.
const PART_BYTES: usize = 700;

/// How a history runs.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions {
    /// How many operations.
    pub operations: usize,
    /// How many key groups the job has.
    pub key_groups: u32,
    /// One request in this many fails; 0: none.
    pub fault_one_in: u64,
}

/// Short stacks and small ratios, so that every rule applies; with every other seed nothing is so short that it is uploaded with
/// one checkpoint though it outweighs what changed.
fn ship_options(seed: u64) -> ShipOptions {
    let policy = ShipPolicy { ratio: 1.0, stack_max: 3, whole_max: if seed.is_multiple_of(2) { 0 } else { 1 << 20 } };
    ShipOptions { runs_at_once: 1, level: 1, policy, reuse_ms: GRACE_MS / 2 }
}

/// What a history did.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobTally {
    /// Checkpoints that were completed.
    pub completed: u64,
    /// Checkpoints that were given up, or failed.
    pub failed: u64,
    /// Tiles that were uploaded in the place of their deltas.
    pub rebased_tiles: u64,
    /// Runs that were uploaded to shorten stacks.
    pub shortening_runs: u64,
    /// Bytes of runs that were uploaded ahead of their use.
    pub ahead_bytes: u64,
    /// Claims that were taken from copies on the worker's machine.
    pub copied_claims: u64,
    /// Restores that were compared.
    pub restores: u64,
    /// Checkpoints that were copied to another job.
    pub copies: u64,
    /// Objects that were collected.
    pub deleted: u64,
    /// Requests to the object store.
    pub requests: u64,
    /// Requests that went wrong.
    pub faults: u64,
}

/// Runs the history of `seed`.
///
/// # Errors
/// What was wrong.
pub fn run_job(seed: u64, options: JobOptions) -> Result<JobTally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let mut job = Job::new(seed, options, runtime)?;
    for number in 0..options.operations {
        job.step().map_err(|what| format!("operation {number}: {what}"))?;
    }
    job.check_garbage().map_err(|what| format!("at the end: {what}"))?;
    job.tally.requests = job.objects.requests();
    job.tally.faults = job.objects.faults();
    Ok(job.tally)
}

type Checked<T = ()> = Result<T, String>;

struct Job {
    runtime: Runtime,
    objects: FaultStore,
    ambient: Arc<TestAmbient>,
    repo: Repo,
    name: JobName,
    options: JobOptions,
    seed: u64,
    random: Random,
    epoch: Option<Epoch>,
    workers: Vec<Member>,
    /// The disks of the machines, by worker.
    machines: Vec<MemoryFs>,
    state: State,
    /// The state at each checkpoint that was frozen.
    frozen: BTreeMap<CheckpointId, State>,
    /// Checkpoints that were reported complete, less those that expired.
    completed: BTreeSet<CheckpointId>,
    /// The checkpoints that pins keep, by the pin's number.
    pins: BTreeMap<u64, CheckpointId>,
    /// The job that checkpoints are copied to.
    copy_name: JobName,
    openings: u64,
    tally: JobTally,
}

fn unexpected(error: &Error) -> String {
    format!("unexpected error ({:?}): {error}", error.kind())
}

impl Job {
    fn new(seed: u64, options: JobOptions, runtime: Runtime) -> Checked<Job> {
        let objects = FaultStore::default();
        let ambient = Arc::new(TestAmbient::new(seed));
        let patience = Patience { tries: 3, ..Patience::default() };
        let opened = RepoOptions::default().ambient(ambient.clone()).patience(patience).part_bytes(PART_BYTES);
        let repo = runtime.block_on(opened.open_store(Arc::new(objects.clone()), "memory://"));
        let repo = repo.map_err(|error| unexpected(&error))?;
        let name = JobName::new("job").expect("a fine name");
        let mut job = Job {
            runtime,
            objects,
            ambient,
            repo,
            name,
            options,
            seed,
            random: Random::new(seed),
            epoch: None,
            workers: Vec::new(),
            machines: Vec::new(),
            state: State::new(),
            frozen: BTreeMap::new(),
            completed: BTreeSet::new(),
            pins: BTreeMap::new(),
            copy_name: JobName::new("copy").expect("a fine name"),
            openings: seed << 20,
            tally: JobTally::default(),
        };
        let count = job.draw_workers();
        job.start(count)?;
        Ok(job)
    }

    fn draw_workers(&mut self) -> u32 {
        1 + self.random.below(u64::from(self.options.key_groups.min(16))) as u32
    }

    /// Lets requests fail from here on, or not.
    fn inject(&self, faults: bool) {
        let one_in = if faults { self.options.fault_one_in } else { 0 };
        self.objects.choose(move |request| {
            if one_in == 0 || !request.random.is_multiple_of(one_in) {
                return None;
            }
            let number = request.random / one_in;
            let faults = ObjectFault::KINDS.into_iter().filter(|fault| fault.touches(request.operation));
            let faults: Vec<ObjectFault> = faults.collect();
            Some(faults[number as usize % faults.len()])
        });
    }

    /// An error that faults explain, or one that nothing does.
    fn bear(&self, error: &Error) -> Checked {
        let kinds = [ErrorKind::Retry, ErrorKind::Damaged, ErrorKind::Fenced];
        let bearable = self.options.fault_one_in > 0 && kinds.contains(&error.kind());
        // Damage is told of objects; the local disks are sound.
        if bearable { Ok(()) } else { Err(unexpected(error)) }
    }

    /// Starts `count` workers from the newest checkpoint, under a new coordinator.
    fn start(&mut self, count: u32) -> Checked {
        self.epoch = None;
        self.workers.clear();
        let epoch = Epoch::start(&self.repo, &self.name, self.options.key_groups, "test");
        let mut epoch = match self.runtime.block_on(epoch) {
            Ok(epoch) => epoch,
            Err(error) => return self.bear(&error),
        };
        let mut members = Vec::new();
        let mut from = None;
        for index in 0..count {
            let groups = KeyGroups::of_worker(self.options.key_groups, count, index);
            let machine = self.machine(index as usize);
            let Some((member, checkpoint)) = self.restore(groups, Start::LatestOrEmpty, index, &machine)? else {
                return Ok(());
            };
            members.push(member);
            from = checkpoint;
        }
        self.state = from.map_or_else(State::new, |from| self.frozen[&from].clone());
        if let Some(from) = from {
            epoch.build_upon(from).map_err(|error| unexpected(&error))?;
        }
        self.epoch = Some(epoch);
        self.workers = members;
        self.check_workers()
    }

    /// What the workers hold together is the state.
    fn check_workers(&mut self) -> Checked {
        let mut found = State::new();
        for member in &mut self.workers {
            found.extend(member.contents().map_err(|error| unexpected(&error))?);
        }
        if found == self.state {
            return Ok(());
        }
        let wrong = self.state.iter().find(|(key, value)| found.get(*key) != Some(*value));
        Err(format!(
            "{} workers hold {} entries, expected {}; {wrong:?}",
            self.workers.len(),
            found.len(),
            self.state.len()
        ))
    }

    /// The machine of a worker: the one it had, the same after a power loss, or a new one.
    fn machine(&mut self, index: usize) -> MemoryFs {
        while self.machines.len() <= index {
            self.machines.push(MemoryFs::new());
        }
        match self.random.below(8) {
            0 => self.machines[index] = MemoryFs::new(),
            1 => {
                let mut random = self.random.clone();
                self.machines[index] = self.machines[index].crash_image(&mut || random.draw());
                self.ambient.reboot();
            }
            _ => {}
        }
        self.machines[index].clone()
    }

    /// A worker with these key groups of a checkpoint; `None` when faults were in the way.
    fn restore(
        &mut self,
        groups: KeyGroups,
        start: Start,
        index: u32,
        machine: &MemoryFs,
    ) -> Checked<Option<(Member, Option<CheckpointId>)>> {
        self.openings += 1;
        let (mut store, env) = open_stepped(machine, self.openings).map_err(|error| unexpected(&error))?;
        let fs: Arc<dyn Fs> = Arc::new(machine.clone());
        let name = WorkerName::new(&format!("w-{index}")).expect("a fine name");
        let options = ship_options(self.seed);
        let pool = LocalPool::open(Arc::clone(&fs), "local").map_err(|error| unexpected(&error))?;
        let worker = Worker::new(&self.repo, &self.name, &name, groups, fs).ship_options(options).keep_copies(&pool);
        let options = RestoreOptions { start, groups, holder: name.to_string(), runs_at_once: 1 };
        let restored = self.runtime.block_on(restore(&self.repo, &self.name, &options, &pool));
        let restored: Option<Restored> = match restored {
            Ok(restored) => restored,
            Err(error) => return self.bear(&error).map(|()| None),
        };
        let mut checkpoint = None;
        if let Some(restored) = restored {
            let state = restored.adopt(&mut store).map_err(|error| unexpected(&error))?;
            worker.restored(restored.checkpoint, state);
            checkpoint = Some(restored.checkpoint);
            self.tally.copied_claims += restored.copied_claims() as u64;
        }
        Ok(Some((Member { store, env, worker }, checkpoint)))
    }

    fn step(&mut self) -> Checked {
        self.inject(true);
        let passed_ms = 1 << self.random.below(16);
        self.pass_ms(passed_ms);
        match self.random.below(24) {
            0..10 => self.write()?,
            10..15 => self.checkpoint()?,
            15 => self.expire()?,
            16 => self.collect()?,
            17 => self.mark_boundary()?,
            18..20 => {
                let count = self.draw_workers();
                self.start(count)?;
            }
            20 => self.pin()?,
            21 => self.copy()?,
            _ => self.work_in_background(),
        }
        self.inject(false);
        self.check()
    }

    fn pass_ms(&self, milliseconds: u64) {
        self.ambient.pass_ms(milliseconds);
        self.objects.pass_ms(milliseconds);
    }

    fn collect(&mut self) -> Checked {
        let options = CollectOptions { grace_ms: GRACE_MS, deletes: Deletes::Everything };
        match self.runtime.block_on(collect(&self.repo, &self.name, &options)) {
            Ok(collected) => {
                self.tally.deleted += collected.deleted as u64;
                Ok(())
            }
            Err(error) => self.bear(&error),
        }
    }

    /// Pins a checkpoint, or removes a pin.
    fn pin(&mut self) -> Checked {
        let number = self.random.below(3);
        let name = PinName::new(&format!("pin-{number}")).expect("a fine name");
        if self.pins.remove(&number).is_some() {
            let unpinned = self.runtime.block_on(unpin(&self.repo, &self.name, &name));
            self.inject(false);
            return match unpinned {
                Ok(()) => Ok(()),
                Err(error) => self.bear(&error).and_then(|()| self.remove_pin(&name)),
            };
        }
        let Some(checkpoint) = self.drawn_checkpoint() else { return Ok(()) };
        match self.runtime.block_on(pin(&self.repo, &self.name, &name, checkpoint, "a test said so")) {
            Ok(()) => {
                self.pins.insert(number, checkpoint);
                Ok(())
            }
            Err(error) => {
                self.bear(&error)?;
                self.inject(false);
                self.remove_pin(&name)
            }
        }
    }

    /// Removes a pin of which it is not known whether it is there.
    fn remove_pin(&mut self, name: &PinName) -> Checked {
        match self.runtime.block_on(unpin(&self.repo, &self.name, name)) {
            Err(error) if error.kind() != ErrorKind::Missing => Err(unexpected(&error)),
            _ => Ok(()),
        }
    }

    fn drawn_checkpoint(&mut self) -> Option<CheckpointId> {
        let completed: Vec<CheckpointId> = self.completed.iter().copied().collect();
        (!completed.is_empty()).then(|| completed[self.random.below(completed.len() as u64) as usize])
    }

    /// Copies a checkpoint to another job, which has it then.
    fn copy(&mut self) -> Checked {
        let Some(source) = self.drawn_checkpoint() else { return Ok(()) };
        let start = Start::At(source);
        let options = CopyOptions { start, into: CopyInto::AnyJob, holder: "test".into(), runs_at_once: 1 };
        let copied = copy((&self.repo, &self.name), (&self.repo, &self.copy_name), &options, &|_| ());
        let copied = match self.runtime.block_on(copied) {
            Ok(copied) => copied.expect("the checkpoint is named"),
            Err(error) => return self.bear(&error),
        };
        self.inject(false);
        self.tally.copies += 1;
        let name = std::mem::replace(&mut self.name, self.copy_name.clone());
        let found = self.state_at(copied.checkpoint, KeyGroups::all(self.options.key_groups), 0);
        self.name = name;
        if found? == self.frozen[&source] {
            return Ok(());
        }
        Err(format!("the copy of checkpoint {source} differs"))
    }

    fn mark_boundary(&mut self) -> Checked {
        let marked = self.runtime.block_on(async {
            let mut chain = Chain::read(&self.repo, &self.name).await?;
            chain.mark_boundary().await
        });
        marked.map_or_else(|error| self.bear(&error), |_| Ok(()))
    }

    /// When all but the newest checkpoint has expired and everybody is gone, only that one stays.
    fn check_garbage(&mut self) -> Checked {
        self.inject(false);
        self.options.fault_one_in = 0;
        self.workers.clear();
        self.start(1)?;
        for number in std::mem::take(&mut self.pins).into_keys() {
            self.remove_pin(&PinName::new(&format!("pin-{number}")).expect("a fine name"))?;
        }
        self.check_objects()?;
        let ended = self.runtime.block_on(async {
            let mut chain = Chain::read(&self.repo, &self.name).await?;
            let live = chain.state().live().keys().copied().collect();
            chain.expire(live, "the end of a test").await?;
            for path in self.objects.paths() {
                if let Some(ObjectName::Lease(job, lease)) = ObjectName::parse(&path)
                    && job == self.name
                {
                    chain.void(lease, "the end of a test").await?;
                }
            }
            chain.mark_boundary().await?;
            Ok::<_, Error>(chain.state().newest().map(|(_, completion)| completion.claims.len()))
        });
        let claims = ended.map_err(|error| unexpected(&error))?;
        self.completed = self.completed.last().copied().into_iter().collect();
        // Slots before a boundary stay for a week.
        self.pass_ms(8 * 24 * 3600 * 1000);
        self.collect()?;
        self.pass_ms(GRACE_MS);
        self.collect()?;
        let mut count = [0; 4];
        let folder = format!("jobs/{}/", self.name);
        for path in self.objects.paths().into_iter().filter(|path| path.starts_with(&folder)) {
            match ObjectName::parse(&path) {
                Some(ObjectName::Claim(..)) => count[0] += 1,
                Some(ObjectName::Lease(..)) => count[1] += 1,
                Some(ObjectName::Slot(..)) => count[2] += 1,
                Some(ObjectName::Boundary(..)) => count[3] += 1,
                _ => {}
            }
        }
        if count != [claims.unwrap_or(0), 0, 0, 1] {
            return Err(format!(
                "{count:?} claims, leases, slots and boundaries stayed, for {claims:?} claims that exist"
            ));
        }
        self.check()?;
        let collected = self.runtime.block_on(collect(&self.repo, &self.name, &CollectOptions::default()));
        let collected = collected.map_err(|error| unexpected(&error))?;
        // The last record of deletions is young.
        if collected.garbage.is_empty() && collected.unknown.is_empty() {
            return Ok(());
        }
        Err(format!("garbage stays: {collected:?}"))
    }

    fn member_of(&mut self, group: u16) -> Option<&mut Member> {
        let wanted = KeyGroups { first: group, last: group };
        self.workers.iter_mut().find(|member| member.worker.groups().covers(wanted))
    }

    fn write(&mut self) -> Checked {
        for _ in 0..self.random.below(40) {
            let group = self.random.below(u64::from(self.options.key_groups)) as u16;
            let mut key = group.to_be_bytes().to_vec();
            key.extend(format!("{:02}", self.random.below(12)).bytes());
            let deletes = self.random.below(4) == 0;
            let value = vec![self.random.draw() as u8; self.random.below(120) as usize];
            let Some(member) = self.member_of(group) else { return Ok(()) };
            let written = if deletes { member.store.delete(&key) } else { member.store.put(&key, &value) };
            written.map_err(|error| unexpected(&error))?;
            if deletes {
                self.state.remove(&key)
            } else {
                self.state.insert(key, value)
            };
        }
        Ok(())
    }

    fn work_in_background(&mut self) {
        let mut random = self.random.clone();
        for member in &self.workers {
            let steps = random.below(4);
            member.work_in_background(steps, &mut random);
        }
        self.random = random;
    }

    fn checkpoint(&mut self) -> Checked {
        let Some(epoch) = &mut self.epoch else { return Ok(()) };
        let barrier = match self.runtime.block_on(epoch.begin()) {
            Ok(barrier) => barrier,
            Err(error) => {
                self.tally.failed += 1;
                return self.bear(&error);
            }
        };
        self.frozen.insert(barrier.checkpoint, self.state.clone());
        let mut claims = Vec::new();
        let gives_up = self.random.below(6) == 0;
        let last = if gives_up { self.random.below(self.workers.len() as u64) as usize } else { self.workers.len() };
        let mut failed = gives_up;
        for member in &mut self.workers[..last] {
            let frozen = member.store.freeze().map_err(|error| unexpected(&error))?;
            match self.runtime.block_on(member.worker.ship(frozen, &barrier, 0)) {
                Ok((claim, report)) => {
                    self.tally.rebased_tiles += report.rebased_tiles as u64;
                    self.tally.ahead_bytes += report.ahead_bytes;
                    self.tally.shortening_runs += report.shortening_runs as u64;
                    claims.push(claim);
                }
                Err(error) => {
                    failed = true;
                    if self.options.fault_one_in == 0 {
                        return Err(unexpected(&error));
                    }
                    break;
                }
            }
        }
        let epoch = self.epoch.as_mut().expect("it has begun the checkpoint");
        let completed =
            if failed { Ok(None) } else { self.runtime.block_on(epoch.complete(&barrier, claims)).map(Some) };
        match completed {
            Ok(Some(_)) => {
                self.tally.completed += 1;
                self.completed.insert(barrier.checkpoint);
                for member in &mut self.workers {
                    if let Some(seal) = self.runtime.block_on(member.worker.confirmed(barrier.checkpoint)) {
                        member.store.release(seal);
                    }
                }
                Ok(())
            }
            not_completed => {
                self.tally.failed += 1;
                self.runtime.block_on(epoch.abort(&barrier));
                for member in &mut self.workers {
                    self.runtime.block_on(member.worker.aborted(barrier.checkpoint));
                }
                not_completed.map_or_else(|error| self.bear(&error), |_| Ok(()))
            }
        }
    }

    fn expire(&mut self) -> Checked {
        let expired = self.runtime.block_on(async {
            let mut chain = Chain::read(&self.repo, &self.name).await?;
            let live: Vec<u64> = chain.state().live().keys().copied().collect();
            let chosen = live.into_iter().filter(|_| self.random.below(3) == 0).collect();
            chain.expire(chosen, "a test said so").await
        });
        if let Err(error) = expired {
            self.bear(&error)?;
        }
        // What exists now is what the chain says, whatever the answer was.
        self.inject(false);
        let chain = self.runtime.block_on(Chain::read(&self.repo, &self.name)).map_err(|error| unexpected(&error))?;
        let live: BTreeSet<CheckpointId> = chain.state().live().values().map(|live| live.checkpoint).collect();
        if let Some(newest) = self.completed.last().filter(|newest| !live.contains(newest)) {
            return Err(format!("checkpoint {newest} was the newest and has expired"));
        }
        self.completed.retain(|checkpoint| live.contains(checkpoint));
        Ok(())
    }

    /// The newest checkpoint is whole, and of each object it is told right whether it may go.
    fn check_objects(&mut self) -> Checked {
        let asked = self.runtime.block_on(async {
            let chain = Chain::read(&self.repo, &self.name).await?;
            let Some((_, newest)) = chain.state().newest() else { return Ok(None) };
            let verified = verify(&self.repo, &self.name, newest.checkpoint, VerifyLevel::Everything).await?;
            let options = CollectOptions { grace_ms: 0, ..CollectOptions::default() };
            let collected = collect(&self.repo, &self.name, &options).await?;
            let garbage: BTreeSet<String> = collected.garbage.into_iter().map(|(path, _)| path).collect();
            let mut wrong = None;
            let folder = format!("jobs/{}/", self.name);
            let paths = self.objects.paths().into_iter().filter(|path| path.starts_with(&folder));
            for path in paths.step_by(5) {
                let is_asked = matches!(ObjectName::parse(&path), Some(ObjectName::Claim(..) | ObjectName::Parcel(..)));
                let is_reached = matches!(why(&self.repo, &path).await?, Why::Reached(_));
                // A checkpoint in the making keeps what is younger than it, and nothing is being made here.
                if is_asked && is_reached == garbage.contains(&path) {
                    wrong = Some(path);
                }
            }
            Ok::<_, Error>(Some((verified, wrong)))
        });
        match asked.map_err(|error| unexpected(&error))? {
            Some((verified, _)) if !verified.faults.is_empty() => {
                Err(format!("the newest checkpoint: {:?}", verified.faults))
            }
            Some((_, Some(wrong))) => Err(format!("{wrong} is garbage to one and reached to the other")),
            _ => Ok(()),
        }
    }

    /// What exists restores to what was frozen.
    fn check(&mut self) -> Checked {
        let chain = self.runtime.block_on(Chain::read(&self.repo, &self.name)).map_err(|error| unexpected(&error))?;
        let live: Vec<CheckpointId> = chain.state().live().values().map(|live| live.checkpoint).collect();
        if let Some(lost) = self.completed.iter().find(|checkpoint| !live.contains(checkpoint)) {
            return Err(format!("checkpoint {lost} was complete and does not exist"));
        }
        // A pin keeps one that has expired.
        let kept: Vec<CheckpointId> = live.into_iter().chain(self.pins.values().copied()).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let checkpoint = kept[self.random.below(kept.len() as u64) as usize];
        let count = self.draw_workers();
        let index = self.random.below(u64::from(count)) as u32;
        let groups = KeyGroups::of_worker(self.options.key_groups, count, index);
        let found = self.state_at(checkpoint, groups, index)?;
        let keys = groups.keys();
        let expected =
            self.frozen.get(&checkpoint).ok_or_else(|| format!("checkpoint {checkpoint} was never frozen"))?;
        let expected: State = expected
            .iter()
            .filter(|(key, _)| keys.contains(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.tally.restores += 1;
        if found == expected {
            return Ok(());
        }
        let missing = expected.iter().find(|(key, value)| found.get(*key) != Some(*value));
        let extra = found.iter().find(|(key, _)| !expected.contains_key(*key));
        Err(format!(
            "checkpoint {checkpoint}, key groups {groups}: {} entries, expected {}; first wrong one: {missing:?}, first one \
             too many: {extra:?}",
            found.len(),
            expected.len()
        ))
    }

    /// What a new machine restores of a checkpoint, while nothing fails.
    fn state_at(&mut self, checkpoint: CheckpointId, groups: KeyGroups, index: u32) -> Checked<State> {
        let faults = std::mem::replace(&mut self.options.fault_one_in, 0);
        let restored = self.restore(groups, Start::At(checkpoint), index, &MemoryFs::new());
        self.options.fault_one_in = faults;
        let (mut member, _) = restored?.expect("nothing fails now");
        member.contents().map_err(|error| unexpected(&error))
    }
}
