//! Runs a job on one machine: sources, workers by key, timers, checkpoints, restarts. And shows how an engine is wired.
//!
//! ```text
//!   source a ─┬─ bounded ─► worker 0: engine, operator ─┐ claims      ┌──────────────┐
//!   source b ─┼─ channels ─► worker 1                    ├────────────►│ coordinator  │
//!             │              ⋮                           │             └──────┬───────┘
//!             └── barriers stand between the records ◄───┴── confirm, abort ──┘
//! ```
//!
//! One thread for each source and each worker, one for the coordinator, and a tokio runtime that ships beside them. Records go to the
//! worker that has the key group of their key; channels are bounded, so a slow worker slows the sources.
//!
//! A checkpoint is a barrier in the stream of each source. A worker that has met it in one stream does not read on there until it has
//! met it in all: then its state is that of a moment that all agree on, and it freezes it. Where each source stood comes with the
//! barrier and goes into the claim. Who starts from that checkpoint sets the sources back to there. So each record counts once in the
//! state, whatever fails.
//!
//! What fails, an error or a panic, ends the job with that error: the state goes back to a checkpoint only as a whole.

mod directories;
mod feed;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::Duration;

use bedload_lsm::{SystemTime, Time};
use bedload_snapshot::{CheckpointId, CheckpointPolicy, CollectOptions, Cuts, JobName, Repo, Retention, write_probe};
use crossbeam::channel::{Receiver, Sender, bounded, select, unbounded};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, Runtime};

use self::directories::remove_dropped;
use self::feed::{Feed, Item, Route, ToSource};
use self::task::{Beside, Input, InputState, Task};
use crate::coordinator::{Assignment, Coordinator, CoordinatorOptions, FromWorker, ToWorker};
use crate::engine::{Builder, Engine};
use crate::error::{Error, ErrorKind, Result, fix};
use crate::firing::Fired;
use crate::key_groups::KeyHash;
use crate::keyed::Keyed;
use crate::ordered::Ordered;
use crate::start::{Position, Start};

/// How many messages from a source wait for a worker.
const WAITING_MAX: usize = 8;

/// How long the coordinator waits at most when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Where records come from: a log that can be read again from a position.
///
/// One thread reads it. Set back to a position, it must give the same records that it gave behind that position before, in the same
/// order.
pub trait Source: Send {
    /// What it gives.
    type Record: Send;

    /// The next record. It must not wait for long: barriers pass only between two calls.
    ///
    /// # Errors
    /// Whatever ends the job.
    fn next(&mut self) -> Result<Polled<Self::Record>>;

    /// Where it is, behind the record that it gave last: some bytes, which stand in every claim.
    fn position(&self) -> Vec<u8>;

    /// Goes to where it was when [`Source::position`] gave these bytes; without bytes, to its beginning. Called once before anything is
    /// read in a run.
    ///
    /// # Errors
    /// When it cannot: what was there is gone.
    fn seek(&mut self, position: Option<&[u8]>) -> Result<()>;

    /// A time before which it gives nothing any more, in milliseconds (default 0: it knows no times). Asked for after some records.
    fn watermark(&self) -> u64 {
        0
    }
}

/// What a source gives when it is asked for the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled<R> {
    /// A record.
    Record(R),
    /// Nothing now: it is asked again in a millisecond.
    Nothing,
    /// Nothing any more. When all sources have ended, so does the job.
    End,
}

/// What a job does with records of type `R` under keys of type `K`. Each worker has its own, made when its engine is open.
pub trait Operator<K, R> {
    /// Takes a record. `key` is what [`Job::key_by`] gave for it: states of other keys are out of reach.
    ///
    /// # Errors
    /// Whatever ends the job.
    fn process(&mut self, engine: &mut Engine, key: &K, record: R) -> Result<()>;

    /// Takes a timer that fires (default nothing).
    ///
    /// # Errors
    /// Whatever ends the job.
    #[expect(unused_variables, reason = "the default does nothing")]
    fn on_timer(&mut self, key: &mut Keyed<'_>, timer: &Fired<'_>) -> Result<()> {
        Ok(())
    }

    /// Called when a checkpoint freezes the state, for what belongs to no key and is kept in the operator until then (default nothing).
    ///
    /// # Errors
    /// Whatever ends the job.
    #[expect(unused_variables, reason = "the default does nothing")]
    fn at_barrier(&mut self, engine: &mut Engine, checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    /// Called when a checkpoint exists: what was held back until now may be given out (default nothing). Not every checkpoint that
    /// exists is told: a crash may come between.
    ///
    /// # Errors
    /// Whatever ends the job.
    #[expect(unused_variables, reason = "the default does nothing")]
    fn confirmed(&mut self, checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

type KeyOf<R, K> = Arc<dyn Fn(&R) -> K + Send + Sync>;
type Open<O> = Arc<dyn Fn(&mut Engine) -> Result<O> + Send + Sync>;
type Configure = Arc<dyn Fn(Builder) -> Builder + Send + Sync>;

/// A job that runs in this process.
///
/// State counts each record once, whatever fails. Results that an operator gives out itself, through a channel that it holds, are given
/// at least once: those since the last checkpoint come again.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use bedload::{Engine, Job, Operator, Polled, Reducing, Repo, Result, Source, Spec, Start, State};
///
/// /// Some words, again and again.
/// struct Words(u64);
///
/// impl Source for Words {
///     type Record = &'static str;
///
///     fn next(&mut self) -> Result<Polled<&'static str>> {
///         if self.0 == 1_000 {
///             return Ok(Polled::End);
///         }
///         self.0 += 1;
///         Ok(Polled::Record(["sand", "silt", "gravel"][self.0 as usize % 3]))
///     }
///
///     fn position(&self) -> Vec<u8> {
///         self.0.to_be_bytes().to_vec()
///     }
///
///     fn seek(&mut self, position: Option<&[u8]>) -> Result<()> {
///         self.0 = position.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes were given")));
///         Ok(())
///     }
/// }
///
/// const COUNT: Spec<Reducing<i64>> = Reducing::sum("count");
///
/// struct Counting {
///     count: State<Reducing<i64>>,
///     results: std::sync::mpsc::Sender<(String, i64)>,
/// }
///
/// impl Operator<String, &'static str> for Counting {
///     fn process(&mut self, engine: &mut Engine, key: &String, _: &'static str) -> Result<()> {
///         let mut states = engine.with_key(key)?;
///         states.add(&self.count, 1)?;
///         let count = states.get(&self.count)?.expect("one was added");
///         self.results.send((key.clone(), count)).ok(); // nobody may be listening
///         Ok(())
///     }
/// }
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path();
/// let repo = Repo::open(&format!("file://{}/repo", directory.display())).await?;
/// let (results, found) = std::sync::mpsc::channel();
/// let mut job = Job::source("words", Words(0))
///     .key_by(|word: &&str| word.to_string())
///     .operator(move |engine| Ok(Counting { count: engine.state(COUNT)?, results: results.clone() }))
///     .parallelism(2)
///     .repo(&repo, "words")
///     .directory(directory.join("work"))
///     .start(Start::LatestOrEmpty);
/// let ended = job.run()?; // blocks; after an error, a call starts again from the last checkpoint
/// println!("ended with checkpoint {}", ended.checkpoint);
/// let last = found.try_iter().collect::<std::collections::BTreeMap<_, _>>();
/// assert_eq!(last.into_values().sum::<i64>(), 1_000);
/// # Ok::<(), bedload::Error>(()) }).unwrap();
/// ```
pub struct Job<R, K = (), O = ()> {
    sources: Vec<(String, Box<dyn Source<Record = R>>)>,
    key_of: KeyOf<R, K>,
    open: Open<O>,
    configure: Configure,
    repo: Option<(Repo, String)>,
    directory: Option<PathBuf>,
    hash: KeyHash,
    memory: usize,
    batch_records: usize,
    coordination: CoordinatorOptions,
    stop: (Sender<()>, Receiver<()>),
}

/// How a job ended that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its last checkpoint: everything that the sources gave is in it.
    pub checkpoint: CheckpointId,
    /// How many checkpoints were completed.
    pub completed: u64,
    /// How many failed.
    pub failed: u64,
}

/// Stops a job from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<()>);

impl Stopper {
    /// Lets the job end with a last checkpoint, where it is: a job that starts from there goes on. One that has not started ends as soon as
    /// it does.
    pub fn stop(&self) {
        // When one is there already, it is told to stop.
        self.0.try_send(()).ok();
    }
}

impl<R: Send + 'static> Job<R> {
    /// A job that reads `source`. Its name finds its position in a checkpoint.
    pub fn source(name: &str, source: impl Source<Record = R> + 'static) -> Job<R> {
        Job {
            sources: vec![(name.to_owned(), Box::new(source))],
            key_of: Arc::new(|_| ()),
            open: Arc::new(|_| Ok(())),
            configure: Arc::new(|builder| builder),
            repo: None,
            directory: None,
            hash: KeyHash::default(),
            memory: 256 << 20,
            batch_records: 512,
            coordination: CoordinatorOptions::default(),
            stop: bounded(1),
        }
    }

    /// Reads one more source beside.
    pub fn and_source(mut self, name: &str, source: impl Source<Record = R> + 'static) -> Job<R> {
        self.sources.push((name.to_owned(), Box::new(source)));
        self
    }

    /// The key of each record: records of one key meet in one state, in the order in which each source gave them.
    pub fn key_by<K: Ordered + Send + 'static>(self, key_of: impl Fn(&R) -> K + Send + Sync + 'static) -> Job<R, K> {
        let open: Open<()> = Arc::new(|_| Ok(()));
        self.with(Arc::new(key_of), open)
    }
}

impl<R, K> Job<R, K> {
    /// What is done with records. `open` is called for each worker, with its engine: it declares states and timers.
    pub fn operator<O: Operator<K, R> + 'static>(
        self,
        open: impl Fn(&mut Engine) -> Result<O> + Send + Sync + 'static,
    ) -> Job<R, K, O> {
        let key_of = Arc::clone(&self.key_of);
        self.with(key_of, Arc::new(open))
    }
}

impl<R, K, O> Job<R, K, O> {
    fn with<L, P>(self, key_of: KeyOf<R, L>, open: Open<P>) -> Job<R, L, P> {
        let Job { sources, configure, repo, directory, hash, memory, batch_records, coordination, stop, .. } = self;
        Job { sources, key_of, open, configure, repo, directory, hash, memory, batch_records, coordination, stop }
    }

    /// How many workers there are (default 1). May be another number in each run.
    pub fn parallelism(mut self, workers: u32) -> Job<R, K, O> {
        self.coordination.workers = workers;
        self
    }

    /// Where checkpoints go, and the name of the job. Needed.
    pub fn repo(mut self, repo: &Repo, job: &str) -> Job<R, K, O> {
        self.repo = Some((repo.clone(), job.to_owned()));
        self
    }

    /// A directory on a local disk for the working state of all workers, `w-0` and so on, and their copies of the last checkpoint.
    /// Needed. Directories of workers that a later run does not have are removed when its workers are open: what is in them is of
    /// an older checkpoint than whoever comes back needs.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Job<R, K, O> {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// What it starts from (default [`Start::Latest`]).
    pub fn start(mut self, start: Start) -> Job<R, K, O> {
        self.coordination.start = start;
        self
    }

    /// How many key groups it has (default 128): the most workers that it can ever have.
    pub fn max_groups(mut self, count: u32) -> Job<R, K, O> {
        self.coordination.key_groups = count;
        self
    }

    /// How key groups are cut for the workers (default as many for each).
    pub fn cuts(mut self, cuts: Cuts) -> Job<R, K, O> {
        self.coordination.cuts = cuts;
        self
    }

    /// How keys are hashed into key groups (default [`KeyHash::Xxh3`]).
    pub fn key_hash(mut self, hash: KeyHash) -> Job<R, K, O> {
        self.hash = hash;
        self
    }

    /// Memory for the stores of all workers together, in bytes (default 256 MiB).
    pub fn memory(mut self, bytes: usize) -> Job<R, K, O> {
        self.memory = bytes;
        self
    }

    /// How many records of a source are sent at once (default 512): fewer come sooner, more cost less.
    pub fn batch(mut self, records: usize) -> Job<R, K, O> {
        self.batch_records = records.max(1);
        self
    }

    /// When checkpoints are taken, and how many may fail.
    pub fn checkpoints(mut self, policy: CheckpointPolicy) -> Job<R, K, O> {
        self.coordination.policy = policy;
        self
    }

    /// Which checkpoints stay (default the newest three); `None` keeps all.
    pub fn retention(mut self, retention: Option<Retention>) -> Job<R, K, O> {
        self.coordination.retention = retention;
        self
    }

    /// Collects the repo after a checkpoint, when this long has passed since the last time (default never).
    pub fn collect_every(mut self, every: Duration, options: CollectOptions) -> Job<R, K, O> {
        self.coordination.collect = Some((every, options));
        self
    }

    /// Changes how the engines are opened: where their state lies, how checkpoints are uploaded.
    pub fn engine(mut self, configure: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Job<R, K, O> {
        self.configure = Arc::new(configure);
        self
    }

    /// What stops it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.0.clone())
    }
}

impl<R, K, O> Job<R, K, O>
where
    R: Send + 'static,
    K: Ordered + Send + 'static,
    O: Operator<K, R> + 'static,
{
    /// Runs it, and blocks until it has ended with a last checkpoint: when all sources have ended, or when it was stopped.
    ///
    /// # Errors
    /// Those of sources, operators and engines, a panic of any of them as `Bug`; when more checkpoints failed in a row than are tolerated.
    /// Everything has stopped then. Another call starts again, from the newest checkpoint when that is where it starts from.
    pub fn run(&mut self) -> Result<Ended> {
        // On a thread of its own, so that it may be called inside a runtime too.
        thread::scope(|scope| {
            let coordinator =
                thread::Builder::new().name("bedload-job".into()).spawn_scoped(scope, || self.coordinate());
            let coordinator = coordinator.map_err(|cause| thread_error(&cause))?;
            coordinator.join().unwrap_or_else(|payload| Err(panicked("the job", payload.as_ref())))
        })
    }

    fn coordinate(&mut self) -> Result<Ended> {
        let (Some((repo, job)), Some(directory)) = (self.repo.clone(), self.directory.clone()) else {
            return Err(fix("a job without a repo or a directory: give it both"));
        };
        let names: BTreeSet<&String> = self.sources.iter().map(|(name, _)| name).collect();
        if names.len() < self.sources.len() {
            return Err(fix("two sources of one name: positions in checkpoints are found by it"));
        }
        let job = JobName::new(&job)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|cause| thread_error(&cause))?;
        let env = bedload_lsm::Env::builder().memory(self.memory).build()?;
        let coordinator = runtime.block_on(Coordinator::start(&repo, &job, self.coordination.clone()))?;
        let mut worker_of = Vec::new();
        for assigned in coordinator.assignments() {
            worker_of.resize(usize::from(assigned.groups.last) + 1, assigned.worker);
        }
        let route = Route { key_of: Arc::clone(&self.key_of), hash: self.hash, worker_of };
        let (events, heard) = unbounded();
        let runtime = &runtime;
        let desk = Desk { runtime, time: SystemTime::default(), coordinator, controls: Vec::new(), feeds: Vec::new() };
        thread::scope(|scope| {
            let mut desk = desk;
            let mut outs: Vec<Vec<Sender<Item<K, R>>>> = self.sources.iter().map(|_| Vec::new()).collect();
            for assigned in desk.coordinator.assignments().to_vec() {
                let mut inputs = Vec::new();
                for ((name, _), outs) in self.sources.iter().zip(&mut outs) {
                    let (out, items) = bounded(WAITING_MAX);
                    outs.push(out);
                    inputs.push(Input { name: name.clone(), items, state: InputState::default() });
                }
                let (control, told) = unbounded();
                desk.controls.push(control);
                let directory = directory.join(assigned.name.as_str());
                let builder = assigned.engine(directory, &repo).env(&env).key_hash(self.hash);
                let builder = (self.configure)(builder);
                let (open, runtime) = (Arc::clone(&self.open), runtime.handle().clone());
                let (repo, told_to) = (repo.clone(), events.clone());
                let name = format!("worker {}", assigned.worker);
                start_thread(scope, name, events.clone(), move || {
                    let opened = open_worker(&assigned, &repo, builder, &*open, &told_to, &runtime)?;
                    let (engine, operator) = opened;
                    let (worker, beside, aborted) = (assigned.worker, Beside::new(), BTreeSet::new());
                    let events = told_to;
                    Task { worker, engine, operator, inputs, told, events, runtime, beside, aborted }.run()
                })?;
            }
            let positions = desk.wait_for_workers(&heard)?;
            remove_dropped(&directory, desk.coordinator.assignments().len());
            if let Some(gone) = positions.keys().find(|known| !self.sources.iter().any(|(name, _)| name == *known)) {
                return Err(fix(format!(
                    "job {job}: its checkpoint has a source {gone}, and this job has none of that name: what that source has not \
                     given yet would be lost; add one that ends at once if nothing is to come"
                )));
            }
            for ((name, source), workers) in self.sources.iter_mut().zip(outs) {
                let position = positions.get(name.as_str()).map(Vec::as_slice);
                source.seek(position).map_err(|error| error.context(format_args!("source {name}")))?;
                let (feed, told) = unbounded();
                desk.feeds.push(feed);
                let (events, route, batch_records) = (events.clone(), &route, self.batch_records);
                let told_to = events.clone();
                let source = source.as_mut();
                start_thread(scope, format!("source {name}"), events, move || {
                    Feed { source, route, workers, told, events: told_to, batch_records }.run()
                })?;
            }
            desk.run(&heard, &self.stop.1)
        })
    }
}

/// What the coordinator's thread hears.
pub(crate) enum Event {
    Said(FromWorker),
    /// A worker is open, and has said so; the positions of the sources in the checkpoint that it was opened from.
    Opened(FromWorker, Vec<Position>),
    SourceEnded,
    Failed(Error),
}

/// The coordinator's thread. When it is dropped, nobody tells the other threads anything any more, and they end.
struct Desk<'a> {
    runtime: &'a Runtime,
    time: SystemTime,
    coordinator: Coordinator,
    /// To the workers. Few messages for each checkpoint, of which few are on their way: need no bound.
    controls: Vec<Sender<ToWorker>>,
    /// To the sources.
    feeds: Vec<Sender<ToSource>>,
}

impl Desk<'_> {
    /// Waits until all workers are ready; gives where the sources were.
    fn wait_for_workers(&mut self, heard: &Receiver<Event>) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut positions: Option<Vec<SourcePosition>> = None;
        while !self.coordinator.is_running() {
            match heard.recv().map_err(|_| all_gone())? {
                Event::Opened(ready, found) => {
                    for position in &found {
                        let found = decode_positions(position)?;
                        if positions.get_or_insert_with(|| found.clone()) != &found {
                            return Err(Error::new(
                                ErrorKind::Damaged,
                                "the claims of one checkpoint have sources at several positions; start from another one",
                            ));
                        }
                    }
                    self.runtime.block_on(self.coordinator.receive(ready, self.time.now()))?;
                }
                Event::Failed(error) => return Err(error),
                Event::Said(_) | Event::SourceEnded => {}
            }
        }
        Ok(positions.into_iter().flatten().map(|position| (position.source, position.bytes)).collect())
    }

    /// Coordinates until the last checkpoint exists.
    fn run(&mut self, heard: &Receiver<Event>, stop: &Receiver<()>) -> Result<Ended> {
        let mut running = self.feeds.len();
        let mut is_ending = false;
        loop {
            let told = self.runtime.block_on(self.coordinator.step(self.time.now()))?;
            self.tell(told);
            if let Some(checkpoint) = self.coordinator.answer().filter(|_| is_ending) {
                return self.end(checkpoint);
            }
            let wait = self.coordinator.next_step().map_or(IDLE, |at| at.saturating_sub(self.time.now()).min(IDLE));
            let event = select! {
                recv(heard) -> event => event.map_err(|_| all_gone())?,
                recv(stop) -> _ => {
                    for feed in &self.feeds {
                        // One that is gone has told why.
                        feed.send(ToSource::Halt).ok();
                    }
                    running = 0;
                    if !is_ending {
                        is_ending = true;
                        self.coordinator.ask();
                    }
                    continue;
                }
                default(wait) => continue,
            };
            match event {
                Event::Said(said) | Event::Opened(said, _) => {
                    let told = self.runtime.block_on(self.coordinator.receive(said, self.time.now()))?;
                    self.tell(told);
                }
                Event::SourceEnded => {
                    running = running.saturating_sub(1);
                    if running == 0 && !is_ending {
                        is_ending = true;
                        self.coordinator.ask();
                    }
                }
                Event::Failed(error) => return Err(error),
            }
        }
    }

    /// Passes on what the coordinator says: barriers to the sources, everything else to the workers. One that is gone has told why.
    fn tell(&self, told: Vec<ToWorker>) {
        for message in told {
            match message {
                ToWorker::Checkpoint(barrier) => {
                    self.feeds.iter().for_each(|feed| drop(feed.send(ToSource::Barrier(barrier.clone()))));
                }
                message => self.controls.iter().for_each(|control| drop(control.send(message.clone()))),
            }
        }
    }

    fn end(&mut self, checkpoint: CheckpointId) -> Result<Ended> {
        self.tell(vec![ToWorker::Stop]);
        self.runtime.block_on(self.coordinator.finish());
        Ok(Ended { checkpoint, completed: self.coordinator.completed(), failed: self.coordinator.failed() })
    }
}

/// Opens a worker's engine and operator, and says so.
fn open_worker<O>(
    assigned: &Assignment,
    repo: &Repo,
    builder: Builder,
    open: &(dyn Fn(&mut Engine) -> Result<O> + Send + Sync),
    events: &Sender<Event>,
    runtime: &Handle,
) -> Result<(Engine, O)> {
    let mut engine = runtime.block_on(builder.open())?;
    let operator = open(&mut engine)?;
    let probe = runtime.block_on(write_probe(repo, &assigned.job, &assigned.name))?;
    let opened_from = engine.opened_from().map(|opened| opened.checkpoint);
    let ready = FromWorker::Ready { epoch: assigned.epoch, worker: assigned.worker, opened_from, probe };
    // Nobody listens any more when another worker could not be opened: the next message ends this one.
    events.send(Event::Opened(ready, engine.positions().to_vec())).ok();
    Ok((engine, operator))
}

/// Starts a thread whose error or panic ends the job.
fn start_thread<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    events: Sender<Event>,
    work: impl FnOnce() -> Result<()> + Send + 'scope,
) -> Result<()> {
    let builder = thread::Builder::new().name(name.clone());
    let started = builder.spawn_scoped(scope, move || {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let error = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.context(&name),
            Err(payload) => panicked(&name, payload.as_ref()),
        };
        // Nobody listens any more when the job has ended already.
        events.send(Event::Failed(error)).ok();
    });
    started.map(drop).map_err(|cause| thread_error(&cause))
}

fn panicked(who: &str, payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(ErrorKind::Bug, format!("{who} panicked: {text}"))
}

fn thread_error(cause: &std::io::Error) -> Error {
    Error::new(ErrorKind::Full, format!("a thread could not be started: {cause}; may this process have more?"))
}

fn all_gone() -> Error {
    Error::new(ErrorKind::Bug, "all threads of a job are gone, and none said why; please report this")
}

/// Where a source is: what stands in claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourcePosition {
    source: String,
    bytes: Vec<u8>,
}

fn encode_positions(positions: &[SourcePosition]) -> Result<Vec<u8>> {
    postcard::to_allocvec(positions)
        .map_err(|cause| Error::new(ErrorKind::Bug, format!("the positions of sources: {cause}")))
}

fn decode_positions(position: &Position) -> Result<Vec<SourcePosition>> {
    postcard::from_bytes(&position.bytes).map_err(|cause| {
        let groups = position.groups;
        fix(format!("the position of key groups {groups} is not one that a `Job` wrote: {cause}; was this checkpoint made by other means?"))
    })
}

#[expect(clippy::disallowed_methods, reason = "processing time is this machine's clock")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
