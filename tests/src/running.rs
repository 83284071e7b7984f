//! A job in the runner of `bedload`, for tests of what it does beside counting: two sources give numbers, each key counts them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bedload::{
    CheckpointId, CheckpointPolicy, Engine, Error, ErrorKind, Job, Operator, Polled, Reducing, Repo, Result, Retention,
    Source, Spec, Start, State,
};
use bedload_snapshot::testing::FaultStore;
use bedload_snapshot::{Patience, RepoOptions};
use tokio::runtime::Runtime;

const KEYS: u64 = 50;
const COUNT: Spec<Reducing<i64>> = Reducing::sum("count");

/// Numbers, some at a time; after as many as `fails_after` counts down to, an error.
struct Numbers {
    at: u64,
    count: u64,
    pace: u64,
    is_paused: bool,
    fails_after: Arc<AtomicI64>,
}

impl Source for Numbers {
    type Record = u64;

    fn next(&mut self) -> Result<Polled<u64>> {
        if self.at == self.count {
            return Ok(Polled::End);
        }
        self.is_paused = !self.is_paused && self.at.is_multiple_of(self.pace);
        if self.is_paused {
            return Ok(Polled::Nothing);
        }
        if self.fails_after.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Retry, "as planned"));
        }
        self.at += 1;
        Ok(Polled::Record(self.at))
    }

    fn position(&self) -> Vec<u8> {
        self.at.to_be_bytes().to_vec()
    }

    fn seek(&mut self, position: Option<&[u8]>) -> Result<()> {
        self.at = position.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes were given")));
        Ok(())
    }
}

/// Counts numbers by key.
pub struct Counting {
    count: State<Reducing<i64>>,
    confirmed: Arc<dyn Fn() + Send + Sync>,
}

impl Operator<u64, u64> for Counting {
    fn process(&mut self, engine: &mut Engine, key: &u64, _: u64) -> Result<()> {
        engine.with_key(key)?.add(&self.count, 1)
    }

    fn confirmed(&mut self, _: CheckpointId) -> Result<()> {
        (self.confirmed)();
        Ok(())
    }
}

/// Where jobs of the runner work: an object store in memory, whose time the test owns.
pub struct RunningPlace {
    /// The object store.
    pub objects: FaultStore,
    /// The repo in it.
    pub repo: Repo,
    /// What asks the repo.
    pub runtime: Runtime,
}

impl RunningPlace {
    /// A place of its own.
    pub fn new() -> RunningPlace {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads start");
        let objects = FaultStore::default();
        let options = RepoOptions::default().patience(Patience { tries: 1, ..Patience::default() });
        let opened = runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://"));
        RunningPlace { objects, repo: opened.expect("a fine store"), runtime }
    }

    /// A job over two sources of `counts` numbers. `confirmed` is called when a checkpoint exists, by each worker.
    pub fn job(
        &self,
        directory: &Path,
        counts: [u64; 2],
        fails_after: &Arc<AtomicI64>,
        confirmed: impl Fn() + Send + Sync + 'static,
    ) -> Job<u64, u64, Counting> {
        let source = |count, pace| {
            let fails_after = Arc::clone(fails_after);
            Numbers { at: 0, count, pace, is_paused: false, fails_after }
        };
        let confirmed: Arc<dyn Fn() + Send + Sync> = Arc::new(confirmed);
        let interval = Duration::from_millis(2);
        Job::source("few at once", source(counts[0], 20))
            .and_source("many at once", source(counts[1], 50))
            .key_by(|number: &u64| number % KEYS)
            .operator(move |engine| Ok(Counting { count: engine.state(COUNT)?, confirmed: Arc::clone(&confirmed) }))
            .repo(&self.repo, "numbers")
            .directory(directory)
            .memory(16 << 20)
            .batch(8)
            .start(Start::LatestOrEmpty)
            .checkpoints(CheckpointPolicy { interval, ..CheckpointPolicy::default() })
            .retention(Some(Retention { last: 2, ..Retention::default() }))
    }

    /// What the newest checkpoint has counted, all keys together.
    pub fn counted(&self, directory: &Path) -> i64 {
        let builder = Engine::builder(directory).repo(&self.repo, "numbers").memory(16 << 20).start(Start::Latest);
        let mut engine = self.runtime.block_on(builder.open()).expect("a checkpoint exists");
        let count = engine.state(COUNT).expect("it is as it was");
        let counts = (0..KEYS).map(|key| {
            let mut keyed = engine.with_key(&key).expect("it has all keys");
            keyed.get(&count).expect("nothing is damaged").unwrap_or(0)
        });
        counts.sum()
    }
}

impl Default for RunningPlace {
    fn default() -> RunningPlace {
        RunningPlace::new()
    }
}

/// Runs a job that fails on its way, and once more to its end: each number counts once.
///
/// # Errors
/// What was counted instead.
pub fn run_twice(seed: u64) -> std::result::Result<(), String> {
    let place = RunningPlace::new();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let counts = [1_500, 2_500];
    let fails_after = Arc::new(AtomicI64::new(1_000 + seed as i64 * 131 % 2_000));
    let mut job = place.job(&directory.path().join("work"), counts, &fails_after, || ()).parallelism(2);
    let first = job.run().err().map(|error| error.to_string()).unwrap_or_default();
    if !first.contains("as planned") {
        return Err(format!("it should have failed as planned: {first}"));
    }
    job.run().map_err(|error| error.to_string())?;
    let (found, expected) = (place.counted(&directory.path().join("found")), counts.iter().sum::<u64>() as i64);
    if found == expected { Ok(()) } else { Err(format!("{found} were counted, of {expected}")) }
}
