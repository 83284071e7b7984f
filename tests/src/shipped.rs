//! Damaged repos: what a restore may say about them. Right data or a located error; never a panic, never wrong data.
//!
//! A small job is run once: two workers, three checkpoints with deltas, one of them expired, a boundary in the chain, and the
//! machine of one worker with its copies. Its objects are changed as a list of bytes tells, and then restored, fetched first and
//! fetched as they are read. A manifest that was changed under a right digest says something else, so there is no right data any
//! more; then only panics, hangs, and errors without a place are wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bedload_lsm::fs::{Fs, MemoryFs, ReadMode};
use bedload_lsm::{Env, Store, Time, Tuning};
use bedload_snapshot::testing::{
    FaultStore, TestAmbient, alter_manifest, digest_of, edit_claim, edit_completions, renumber, repack, reseal_shipped,
};
use bedload_snapshot::{
    Chain, CheckpointId, Epoch, Error, ErrorKind, Fetcher, JobName, KeyGroups, LocalPool, ObjectName, Patience, Repo,
    RepoOptions, RestoreOptions, Restored, Start, Worker, WorkerName, restore, restore_lazily,
};
use tokio::runtime::Runtime;

use crate::GroupedKeys;

/// How many key groups the job has.
pub const KEY_GROUPS: u32 = 4;

/// How many bytes of a damage are one change.
pub const CHANGE_BYTES: usize = 8;

/// All entries of a state.
pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Time stands still: nothing in a driven store may depend on it.
struct Still;

impl Time for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// A small job in memory, and what its checkpoints hold.
pub struct ShippedSample {
    objects: FaultStore,
    /// The disk of the first worker.
    machine: MemoryFs,
    states: BTreeMap<CheckpointId, State>,
    job: JobName,
    runtime: Runtime,
    fetcher: Fetcher,
}

/// A damaged copy of a sample.
pub struct DamagedRepo<'a> {
    sample: &'a ShippedSample,
    objects: FaultStore,
    machine: MemoryFs,
    /// Whether something else was put under a right digest.
    is_resigned: bool,
    /// Whether the machine was started anew: its files are not trusted any more.
    is_rebooted: bool,
}

/// How a restore goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Restoring {
    /// Fetches as it is read.
    pub is_lazy: bool,
    /// On the machine of the first worker, with its copies.
    pub has_copies: bool,
    /// Reads runs from a map.
    pub is_mapped: bool,
    /// The key groups.
    pub groups: KeyGroups,
    /// Which checkpoint.
    pub start: Start,
}

/// What came of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The right data of a checkpoint.
    Right,
    /// An error that said where.
    Told,
    /// Something, from manifests that were changed under right digests.
    Something,
}

fn open_store(fs: Arc<dyn Fs>, opening: u64, read_mode: ReadMode, memory: usize) -> Result<Store, Error> {
    let number = std::sync::atomic::AtomicU64::new(opening << 10);
    let env = Env::builder()
        .fs(fs)
        .time(Arc::new(Still))
        .threads(0)
        .memory(memory)
        .random(move || number.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        .build()?;
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = memory / 4;
    tuning.block_bytes = 512;
    tuning.section_bytes = 4 << 10;
    tuning.tile_bytes_max = 64 << 10;
    let options = Store::options().env(&env).tuning(tuning).read_mode(read_mode).shape(GroupedKeys);
    options.open(format!("state-{opening}"))
}

fn key(group: u16, number: u32) -> Vec<u8> {
    let mut key = group.to_be_bytes().to_vec();
    key.extend(format!("stop-{number:03}").bytes());
    key
}

/// What is written before checkpoint `round`, newest last: a base of three chunks that zstd makes small, then changes.
fn writes(round: u32) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let line = |number: u32| format!("{round} {number} late by {} minutes; ", number * number % 17).into_bytes();
    match round {
        0 => {
            let small = (0..KEY_GROUPS * 12).map(|number| ((number % KEY_GROUPS) as u16, 100 + number, 1));
            let large = (0..18).map(|number| (0, number, 300));
            small
                .chain(large)
                .map(|(group, number, times)| (key(group, number), Some(line(number).repeat(times))))
                .collect()
        }
        _ => {
            let changed = (0..24).map(|number| 100 + number * round % 48);
            changed
                .map(|number| {
                    (key((number % KEY_GROUPS) as u16, number), (number % 5 != round).then(|| line(number).repeat(3)))
                })
                .collect()
        }
    }
}

impl ShippedSample {
    /// Runs the job.
    ///
    /// # Panics
    /// When something fails in memory.
    pub fn new() -> ShippedSample {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime for this thread");
        let sample = ShippedSample {
            objects: FaultStore::default(),
            machine: MemoryFs::new(),
            states: BTreeMap::new(),
            job: JobName::new("late-board").expect("a fine name"),
            runtime,
            fetcher: Fetcher::start(1).expect("threads can be had"),
        };
        sample.filled().expect("memory does not fail")
    }

    fn filled(mut self) -> Result<ShippedSample, Error> {
        let repo = self.repo(&self.objects, TestAmbient::new(1), RepoOptions::default())?;
        let other = MemoryFs::new();
        let mut workers = Vec::new();
        for (index, machine) in [&self.machine, &other].into_iter().enumerate() {
            let fs: Arc<dyn Fs> = Arc::new(machine.clone());
            let groups = KeyGroups::of_worker(KEY_GROUPS, 2, index as u32);
            let name = WorkerName::new(&format!("w-{index}"))?;
            let pool = LocalPool::open(Arc::clone(&fs), "local")?;
            let worker = Worker::new(&repo, &self.job, &name, groups, Arc::clone(&fs)).keep_copies(&pool);
            workers.push((open_store(fs, index as u64 + 1, ReadMode::Pread, 2 << 20)?, worker));
        }
        let mut state = State::new();
        let (runtime, states) = (&self.runtime, &mut self.states);
        let mut epoch = runtime.block_on(Epoch::start(&repo, &self.job, KEY_GROUPS, "test"))?;
        for round in 0..3 {
            for (key, value) in writes(round) {
                let owner = |(_, worker): &&mut (Store, Worker)| worker.groups().keys().contains(&key);
                let (store, _) = workers.iter_mut().find(owner).expect("every key group has a worker");
                if let Some(value) = value {
                    store.put(&key, &value)?;
                    state.insert(key, value);
                } else {
                    store.delete(&key)?;
                    state.remove(&key);
                }
            }
            let barrier = runtime.block_on(epoch.begin())?;
            let mut claims = Vec::new();
            for (store, worker) in &mut workers {
                claims.push(runtime.block_on(worker.ship(store.freeze()?, &barrier, 0))?.0);
            }
            runtime.block_on(epoch.complete(&barrier, claims))?;
            states.insert(barrier.checkpoint, state.clone());
            for (store, worker) in &mut workers {
                let seal = runtime.block_on(worker.confirmed(barrier.checkpoint)).expect("it was shipped a moment ago");
                store.release(seal);
            }
            if round == 1 {
                let mut chain = runtime.block_on(Chain::read(&repo, &self.job))?;
                let oldest = chain.state().live().keys().next().copied();
                runtime.block_on(chain.expire(oldest.into_iter().collect(), "age"))?;
                runtime.block_on(chain.mark_boundary())?;
            }
        }
        Ok(self)
    }

    fn repo(&self, objects: &FaultStore, ambient: TestAmbient, options: RepoOptions) -> Result<Repo, Error> {
        let options = options.ambient(Arc::new(ambient)).patience(Patience { tries: 2, ..Patience::default() });
        self.runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://"))
    }

    /// The paths of all objects.
    pub fn paths(&self) -> Vec<String> {
        self.objects.paths()
    }

    /// The bytes of an object.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        self.objects.bytes(path).expect("the sample has it").to_vec()
    }

    /// The checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<CheckpointId> {
        self.states.keys().copied().collect()
    }

    /// A copy, not damaged yet.
    pub fn copy(&self) -> DamagedRepo<'_> {
        let machine = self.machine.process_crash_image();
        DamagedRepo { sample: self, objects: self.objects.fork(), machine, is_resigned: false, is_rebooted: false }
    }
}

impl Default for ShippedSample {
    fn default() -> ShippedSample {
        ShippedSample::new()
    }
}

impl fmt::Debug for ShippedSample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ShippedSample").field("paths", &self.paths()).finish_non_exhaustive()
    }
}

/// Something that can be damaged.
#[derive(Clone, Debug)]
enum Thing {
    Object(String),
    /// A file of the machine's pool.
    File(PathBuf),
}

impl DamagedRepo<'_> {
    /// Replaces the bytes of an object.
    pub fn overwrite(&self, path: &str, bytes: Vec<u8>) {
        self.objects.overwrite(path, bytes.into());
    }

    /// Removes an object.
    pub fn remove(&self, path: &str) {
        self.objects.remove(path);
    }

    /// Says that something else was put under a right digest: there is no right data any more.
    pub fn resign(&mut self) {
        self.is_resigned = true;
    }

    /// The machine of the first worker starts anew.
    pub fn reboot(&mut self) {
        self.is_rebooted = true;
    }

    /// Changes things as `choices` tell, [`CHANGE_BYTES`] for each change: what is done, to which, where (two bytes, in 1/65536 of
    /// the length), and how.
    pub fn change(&mut self, choices: &[u8]) {
        for choice in choices.as_chunks::<CHANGE_BYTES>().0 {
            self.change_one(choice);
        }
    }

    fn things(&self) -> Vec<Thing> {
        let is_kept = |path: &PathBuf| path.starts_with("/local");
        let files = self.machine.paths().into_iter().filter(is_kept).map(Thing::File);
        self.objects.paths().into_iter().map(Thing::Object).chain(files).collect()
    }

    fn read(&self, thing: &Thing) -> Vec<u8> {
        match thing {
            Thing::Object(path) => self.objects.bytes(path).expect("it was listed").to_vec(),
            Thing::File(path) => self.machine.read(path).expect("it was listed"),
        }
    }

    fn write(&self, thing: &Thing, bytes: Vec<u8>) {
        match thing {
            Thing::Object(path) => self.objects.overwrite(path, bytes.into()),
            Thing::File(path) => self.machine.write(path, bytes).expect("the disk in memory takes it"),
        }
    }

    fn change_one(&mut self, &[what, which, low, high, how, more, other, last]: &[u8; CHANGE_BYTES]) {
        let things = self.things();
        let Some(thing) = things.get(usize::from(which) % things.len().max(1)) else { return };
        let mut bytes = self.read(thing);
        let at = bytes.len() * usize::from(u16::from_le_bytes([low, high])) / 65536;
        let another = &things[usize::from(other) % things.len()];
        match what % 12 {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= how;
                }
                self.write(thing, bytes);
            }
            2 => self.write(thing, bytes[..at].to_vec()),
            3 => {
                bytes.splice(at..at, vec![how; usize::from(more)]);
                self.write(thing, bytes);
            }
            4 => match thing {
                Thing::Object(path) => self.objects.remove(path),
                Thing::File(path) => self.machine.remove(path).expect("the disk in memory does"),
            },
            5 => {
                self.write(thing, self.read(another));
                self.write(another, bytes);
            }
            6 => self.write(another, bytes),
            7 | 8 => {
                let alterations = [low, high, how, more, other, last, how, more];
                if let Some(altered) = alter_manifest(&bytes, &alterations[..if what < 128 { 4 } else { 8 }]) {
                    self.write(thing, altered);
                    self.is_resigned = true;
                }
            }
            9 => self.change_stored(thing, bytes, at, how),
            10 => self.change_run(thing, &bytes, [low, high], how),
            _ => {
                self.renumber(thing, &bytes, u64::from(how) | if more % 2 == 0 { 0 } else { u64::MAX - 255 });
            }
        }
    }

    /// Changes a byte of a parcel, under right checksums of its chunks.
    fn change_stored(&self, thing: &Thing, mut parcel: Vec<u8>, at: usize, mask: u8) {
        let Thing::Object(path) = thing else { return };
        if let (Some(ObjectName::Parcel(_, name)), Some(byte)) = (ObjectName::parse(path), parcel.get_mut(at)) {
            *byte ^= mask;
            reseal_shipped(&mut parcel, name.run);
            self.write(thing, parcel);
        }
    }

    /// Changes a byte of a shipped run, under right digests in the claims, and under right digests of those.
    fn change_run(&self, thing: &Thing, parcel: &[u8], place: [u8; 2], mask: u8) {
        let Thing::Object(path) = thing else { return };
        let Some(ObjectName::Parcel(_, name)) = ObjectName::parse(path) else { return };
        let flip = |run: &mut Vec<u8>| {
            let at = run.len() * usize::from(u16::from_le_bytes(place)) / 65536;
            if let Some(byte) = run.get_mut(at) {
                *byte ^= mask;
            }
        };
        let Some((run, parcel)) = repack(parcel, name.run, flip) else { return };
        for claim in self.objects.paths().into_iter().filter(|path| path.contains("/checkpoints/")) {
            let edited = self.objects.bytes(&claim).and_then(|bytes| {
                edit_claim(&bytes, |claim| {
                    for claimed in claim.runs.iter_mut().filter(|claimed| claimed.parcel == name) {
                        (claimed.bytes, claimed.digest) = (run.len() as u64, digest_of(&run));
                        (claimed.parcel_bytes, claimed.parcel_digest) = (parcel.len() as u64, digest_of(&parcel));
                    }
                })
            });
            if let Some(edited) = edited {
                self.overwrite(&claim, edited);
            }
        }
        self.write(thing, parcel);
        self.renew_claims();
    }

    /// Puts a slot or a boundary under another number, its name and its body alike.
    fn renumber(&mut self, thing: &Thing, bytes: &[u8], number: u64) {
        let Thing::Object(path) = thing else { return };
        let name = match ObjectName::parse(path) {
            Some(ObjectName::Slot(job, _)) => ObjectName::Slot(job, number),
            Some(ObjectName::Boundary(job, _)) => ObjectName::Boundary(job, number),
            _ => return,
        };
        if let Some(renumbered) = renumber(bytes, number) {
            self.overwrite(&name.to_string(), renumbered);
            self.is_resigned = true;
        }
    }

    /// Lets completions name the claims that are there: what was changed in a claim is found behind its digest, or not.
    pub fn renew_claims(&self) {
        let paths = self.objects.paths();
        for path in paths.iter().filter(|path| path.contains("/chain/") || path.contains("/boundary/")) {
            let Some(bytes) = self.objects.bytes(path) else { continue };
            let renewed = edit_completions(&bytes, |completion| {
                for named in &mut completion.claims {
                    let (worker, attempt) = (named.worker.clone(), named.attempt);
                    let name = ObjectName::Claim(self.sample.job.clone(), completion.checkpoint, worker, attempt);
                    if let Some(claim) = self.objects.bytes(&name.to_string()) {
                        (named.bytes, named.digest) = (claim.len() as u64, digest_of(&claim));
                    }
                }
            });
            if let Some(renewed) = renewed {
                self.overwrite(path, renewed);
            }
        }
    }

    /// Restores a copy of it, and reads everything.
    ///
    /// # Errors
    /// What is wrong: data, or an error that is not about damage or names no place.
    pub fn restore(&self, how: Restoring) -> Result<Came, String> {
        let read = match self.read_all(how) {
            Ok(read) => read,
            Err(error) => return self.told(&error),
        };
        if !self.is_resigned {
            let keys = how.groups.keys();
            let state = self.sample.states.get(&read.checkpoint).ok_or("a checkpoint that never was")?;
            let expected: State = state
                .iter()
                .filter(|(key, _)| keys.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if read.found != expected {
                let wrong = expected.iter().find(|(key, value)| read.found.get(*key) != Some(*value));
                return Err(format!(
                    "wrong data of checkpoint {}: {} entries, expected {}; first wrong one: {wrong:?}",
                    read.checkpoint,
                    read.found.len(),
                    expected.len()
                ));
            }
        }
        match read.ended {
            Err(error) => self.told(&error),
            Ok(()) if self.is_resigned => Ok(Came::Something),
            Ok(()) => Ok(Came::Right),
        }
    }

    fn told(&self, error: &Error) -> Result<Came, String> {
        let is_of_kind = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Missing | ErrorKind::Fix);
        let is_told = is_of_kind && error.place().is_some();
        // A manifest may ask for what makes no sense, and no place is at fault.
        let is_refused = self.is_resigned && error.kind() == ErrorKind::Fix;
        if is_told || is_refused { Ok(Came::Told) } else { Err(format!("not a located error: {error:?}")) }
    }

    fn read_all(&self, how: Restoring) -> Result<Read, Error> {
        let sample = self.sample;
        let ambient = TestAmbient::new(99);
        if self.is_rebooted {
            ambient.reboot();
        }
        let repo = sample.repo(&self.objects.fork(), ambient, RepoOptions::default().read_only())?;
        let machine = if how.has_copies { self.machine.process_crash_image() } else { MemoryFs::new() };
        let fs: Arc<dyn Fs> = Arc::new(machine);
        let pool = LocalPool::open(Arc::clone(&fs), "local")?;
        let options = RestoreOptions { start: how.start, groups: how.groups, holder: "test".into(), runs_at_once: 2 };
        let read_mode = if how.is_mapped { ReadMode::Mmap } else { ReadMode::Pread };
        let store = open_store(fs, 7, read_mode, 64 << 10)?;
        if !how.is_lazy {
            let restored = sample.runtime.block_on(restore(&repo, &sample.job, &options, &pool))?;
            let restored = restored.expect("the start is no empty one");
            return Ok(Read { checkpoint: restored.checkpoint, found: adopt(&restored, store)?, ended: Ok(()) });
        }
        let (told, ended) = std::sync::mpsc::channel();
        let done = move |result| told.send(result).expect("somebody waits for it");
        let restored = restore_lazily(&repo, &sample.job, &options, &pool, &sample.fetcher, done);
        let restored = sample.runtime.block_on(restored)?.expect("the start is no empty one");
        let found = adopt(&restored, store);
        let ended = ended.recv().map_err(|_| Error::new(ErrorKind::Bug, "the background ended without a word"))?;
        Ok(Read { checkpoint: restored.checkpoint, found: found?, ended })
    }
}

/// All that a restore gave.
struct Read {
    checkpoint: CheckpointId,
    found: State,
    /// How the background ended.
    ended: Result<(), Error>,
}

fn adopt(restored: &Restored, mut store: Store) -> Result<State, Error> {
    restored.adopt(&mut store)?;
    store.scan(..)?.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

impl fmt::Debug for DamagedRepo<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DamagedRepo").field("is_resigned", &self.is_resigned).finish_non_exhaustive()
    }
}
