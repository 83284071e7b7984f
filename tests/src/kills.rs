//! A worker that is killed at any moment, and what must be true afterwards.
//!
//! The state is a function of how many steps were made: step `n` writes `n` under a key that follows from `n`, and the key of the
//! counter holds `n`. So whatever checkpoint is restored tells how far it is, and what it must hold.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bedload_lsm::Store;
use bedload_lsm::fs::{DiskFs, Fs};
use bedload_snapshot::testing::list_paths;
use bedload_snapshot::{
    Chain, CollectOptions, Deletes, Epoch, Error, JobName, KeyGroups, LocalPool, ObjectName, Repo, RepoOptions,
    RestoreOptions, Retention, Start, VerifyLevel, Why, Worker, WorkerName, collect, restore, verify, why,
};

use crate::{GroupedKeys, Random};

const KEY_GROUPS: u32 = 8;
const KEYS: u64 = 500;
const COUNTER: &[u8] = b"\x00\x00counter";

/// Bytes of one part of an upload in parts: so small that whole states are uploaded in some.
const PART_BYTES: usize = 2 << 10;

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
    let repo = RepoOptions::default().part_bytes(PART_BYTES).open(address).await?;
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

/// What is killed, and when.
pub struct Kills<'a> {
    /// The program: `victim`.
    pub victim: &'a Path,
    /// The repo.
    pub address: &'a str,
    /// Where stores work.
    pub directory: &'a Path,
    /// How often.
    pub kills: u64,
    /// How many milliseconds after its start.
    pub after_ms: Range<u64>,
}

impl Kills<'_> {
    /// Kills a worker again and again. Each time the newest checkpoint must be at least the last one that was told to be
    /// complete, and hold what its number of steps says. At the end all that nothing reaches is found by a collection. Gives the
    /// steps that were made.
    ///
    /// # Errors
    /// Those of the repo; what is wrong is a panic.
    pub fn check(&self) -> Result<u64, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
        let repo = runtime.block_on(Repo::open(self.address))?;
        let mut random = Random::new(self.kills);
        let mut complete = 0;
        for kill in 0..self.kills {
            let after_ms = self.after_ms.start + random.below(self.after_ms.end - self.after_ms.start);
            complete = complete.max(self.run_and_kill(kill, after_ms));
            let directory = self.directory.join(format!("check-{kill}"));
            let (steps, state) = runtime.block_on(newest_state(&repo, &directory))?;
            assert!(steps >= complete, "kill {kill}: {steps} steps came back, {complete} were complete");
            assert_eq!(state, state_after(steps), "kill {kill}: the state after {steps} steps");
            complete = steps;
        }
        runtime.block_on(nothing_is_overlooked(&repo))?;
        Ok(complete)
    }

    /// Runs a worker and kills it after some milliseconds; gives the steps of the last checkpoint that it said was complete.
    #[expect(clippy::disallowed_methods, reason = "the moment of a kill is what is random here")]
    fn run_and_kill(&self, opening: u64, after_ms: u64) -> u64 {
        let mut child = Command::new(self.victim)
            .args([self.address, &self.directory.display().to_string(), &opening.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (told, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let end = Instant::now() + Duration::from_millis(after_ms);
        let mut complete = 0;
        let note = |line: String| line.parse().expect("the worker tells numbers");
        while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            complete = note(line);
        }
        let ended = child.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the worker ended by itself: see its error above");
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        // What it said before the kill.
        complete = lines.iter().map(note).last().unwrap_or(complete);
        reader.join().expect("reading lines does not panic").ok();
        complete
    }
}

async fn nothing_is_overlooked(repo: &Repo) -> Result<(), Error> {
    let mut chain = Chain::read(repo, &job()).await?;
    for path in list_paths(repo).await? {
        if let Some(ObjectName::Lease(_, lease)) = ObjectName::parse(&path) {
            chain.void(lease, "its holder was killed").await?;
        }
    }
    chain.catch_up().await?;
    let (_, newest) = chain.state().newest().expect("many were completed");
    let verified = verify(repo, &job(), newest.checkpoint, VerifyLevel::Everything).await?;
    assert!(verified.faults.is_empty(), "{verified:?}");
    // Times of a repo are whole seconds to a collector, and what is younger than a minute is written while it looks.
    let collected = clean(repo, Deletes::Everything).await?;
    assert!(collected.unknown.is_empty(), "{:?}", collected.unknown);
    let mut parcels = 0;
    for path in list_paths(repo).await? {
        if let Some(ObjectName::Parcel(..) | ObjectName::Claim(..)) = ObjectName::parse(&path) {
            assert!(matches!(why(repo, &path).await?, Why::Reached(_)), "{path} is garbage that was not collected");
            parcels += 1;
        }
    }
    assert!(parcels > 0, "a checkpoint has some");
    Ok(())
}
