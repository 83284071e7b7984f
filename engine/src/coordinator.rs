//! Runs the checkpoints of a job: says what workers start from, when they take part in a checkpoint, and when it exists.
//!
//! ```text
//!  coordinator                                  each worker
//!  start: fence, assignments ── Start ────────► opens its engine, writes a probe
//!  all probes are seen       ◄─ Ready ─────────
//!  due: lease                ── Checkpoint ───► Engine::checkpoint at the barrier, Shipment::ship beside
//!  all claims: completion    ◄─ Claimed ───────
//!                            ── Confirm ──────► Engine::confirm
//!  declined, or too slow     ── Abort ────────► Engine::abort
//!                            ── Stop ─────────► ends
//! ```
//!
//! The messages are plain data, for whatever carries them. They may be late, and answers may be missing; each worker's own must stay in
//! order. What decides is pure and stands in `rounds`; here is what acts. No time is read: it is passed in.
//!
//! A worker that is lost is not replaced in an epoch: start another coordinator, which fences this one off, and start all workers from
//! the newest checkpoint. That is the only way that is also right when the lost one was not dead.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bedload_snapshot::{
    Barrier, Chain, CheckpointId, CheckpointPolicy, ClaimRef, CollectOptions, Collected, Cuts, Epoch, JobName,
    KEY_GROUPS_MAX, KeyGroups, Repo, Retention, Verdict, WorkerName, WorkerProbe, collect, expire, plan_rescale,
    read_probes,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::engine::{Builder, Engine};
use crate::error::{Error, ErrorKind, Result, fix};
use crate::rounds::{Due, Rounds};
use crate::start::Start;
use crate::taking_over::{TakenOver, begin_taking_over};

/// How a job is coordinated.
#[derive(Clone, Debug)]
pub struct CoordinatorOptions {
    /// How many workers there are (default 1).
    pub workers: u32,
    /// How many key groups the job has (default 128): the most workers that it can ever have. Fixed by its first checkpoint.
    pub key_groups: u32,
    /// What the job starts from (default its newest checkpoint).
    pub start: Start,
    /// How its key groups are cut for the workers (default as many for each).
    pub cuts: Cuts,
    /// When checkpoints are taken, and how many may fail.
    pub policy: CheckpointPolicy,
    /// Which checkpoints stay (default the newest 3); `None` keeps all.
    pub retention: Option<Retention>,
    /// How often and how the repo is collected (default never): after a checkpoint, when this long has passed since the last time.
    pub collect: Option<(Duration, CollectOptions)>,
    /// Tells people who this is.
    pub holder: String,
}

impl Default for CoordinatorOptions {
    fn default() -> CoordinatorOptions {
        CoordinatorOptions {
            workers: 1,
            key_groups: 128,
            start: Start::Latest,
            cuts: Cuts::Groups,
            policy: CheckpointPolicy::default(),
            retention: Some(Retention::default()),
            collect: None,
            holder: "coordinator".to_owned(),
        }
    }
}

/// What a worker is, and what it starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The job.
    pub job: JobName,
    /// The epoch: what a worker of an earlier one says is not heard.
    pub epoch: u64,
    /// Which worker, from 0.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
    /// Its name in claims.
    pub name: WorkerName,
    /// Its key groups.
    pub groups: KeyGroups,
    /// How many the job has.
    pub key_groups: u32,
    /// What it starts from: a certain checkpoint, or nothing.
    pub start: Start,
}

impl Assignment {
    /// The engine of this worker, to be given more options and opened. `repo` must be that of the coordinator.
    pub fn engine(&self, directory: impl AsRef<Path>, repo: &Repo) -> Builder {
        Engine::builder(directory)
            .repo(repo, self.job.as_str())
            .worker(self.worker, self.workers)
            .name(self.name.as_str())
            .groups(self.groups)
            .max_groups(self.key_groups)
            .start(self.start.clone())
    }

    /// The checkpoint that it starts from.
    pub fn checkpoint(&self) -> Option<CheckpointId> {
        match self.start {
            Start::At(checkpoint) | Start::From(_, Some(checkpoint)) => Some(checkpoint),
            _ => None,
        }
    }
}

/// What the coordinator tells a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Open an engine. The answer is [`FromWorker::Ready`].
    Start(Assignment),
    /// Take part in this checkpoint, with everything that came before this barrier and nothing that came behind it. The answer is
    /// [`FromWorker::Claimed`] or [`FromWorker::Declined`].
    Checkpoint(Barrier),
    /// This checkpoint exists.
    Confirm(CheckpointId),
    /// This checkpoint was given up.
    Abort(CheckpointId),
    /// End: nothing more is wanted.
    Stop,
}

/// What a worker tells the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// Its engine is open.
    Ready {
        /// The epoch of its assignment.
        epoch: u64,
        /// Which worker.
        worker: u32,
        /// What it was [opened from](Engine::opened_from).
        opened_from: Option<CheckpointId>,
        /// What it has [written](bedload_snapshot::write_probe) to the repo.
        probe: WorkerProbe,
    },
    /// Its part of a checkpoint is in the repo.
    Claimed {
        /// Which worker.
        worker: u32,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// What it has shipped.
        claim: ClaimRef,
    },
    /// It cannot take part in a checkpoint.
    Declined {
        /// Which worker.
        worker: u32,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
}

/// What was cleaned after a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The checkpoints that expired.
    pub expired: Vec<CheckpointId>,
    /// What a collection found and did, where it was time for one.
    pub collected: Option<Collected>,
    /// What a collection found and did in the job whose place this one [takes](Start::TakeOver), where it was time for one.
    pub collected_there: Option<Collected>,
}

/// Runs the checkpoints of one job, from one start of all its workers to the next.
///
/// One task has it, inside a tokio runtime. It calls [`step`](Coordinator::step) when [`next_step`](Coordinator::next_step) says, and
/// [`receive`](Coordinator::receive) with what workers say; what both give is for all workers, in this order. An error ends the job: the
/// next coordinator starts from its newest checkpoint.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use bedload::{Coordinator, CoordinatorOptions, FromWorker, Reducing, Repo, Spec, Start, ToWorker, write_probe};
///
/// const COUNT: Spec<Reducing<i64>> = Reducing::sum("count");
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path();
/// let repo = Repo::open(&format!("file://{}/repo", directory.display())).await?;
/// let job = "board".parse()?;
/// let options = CoordinatorOptions { workers: 2, start: Start::LatestOrEmpty, ..CoordinatorOptions::default() };
/// let mut coordinator = Coordinator::start(&repo, &job, options).await?;
///
/// // Each worker opens what it is assigned. A runtime would send it as `ToWorker::Start`; here all are in one place.
/// let now = Duration::ZERO;
/// let mut engines = Vec::new();
/// for assigned in coordinator.assignments().to_vec() {
///     let engine = assigned.engine(directory.join(assigned.name.as_str()), &repo).memory(16 << 20).open().await?;
///     engines.push(engine);
///     let probe = write_probe(&repo, &job, &assigned.name).await?;
///     let (epoch, worker) = (assigned.epoch, assigned.worker);
///     coordinator.receive(FromWorker::Ready { epoch, worker, opened_from: None, probe }, now).await?;
/// }
/// assert!(coordinator.is_running());
///
/// let count = engines[1].state(COUNT)?;
/// let mine = (0u64..).find(|key| engines[1].with_key(key).is_ok()).expect("it has half of all keys");
/// engines[1].with_key(&mine)?.add(&count, 1)?;
///
/// // Ten seconds later a checkpoint is due.
/// let now = now + coordinator.next_step().expect("a checkpoint will be due");
/// for message in coordinator.step(now).await? {
///     let ToWorker::Checkpoint(barrier) = message else { continue };
///     for (worker, engine) in (0u32..).zip(&mut engines) {
///         let claim = engine.checkpoint(&barrier, b"where my sources are")?.ship().await?.claim;
///         let claimed = FromWorker::Claimed { worker, checkpoint: barrier.checkpoint, claim };
///         for message in coordinator.receive(claimed, now).await? {
///             assert_eq!(message, ToWorker::Confirm(barrier.checkpoint)); // after the last claim
///         }
///     }
///     for engine in &mut engines {
///         engine.confirm(barrier.checkpoint).await;
///     }
/// }
/// assert_eq!(coordinator.completed(), 1);
/// coordinator.finish().await;
/// # Ok::<(), bedload::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Coordinator {
    repo: Repo,
    job: JobName,
    epoch: Epoch,
    options: CoordinatorOptions,
    assignments: Vec<Assignment>,
    probes: BTreeMap<u32, WorkerProbe>,
    /// Once all workers are ready.
    rounds: Option<Rounds>,
    newest: Option<CheckpointId>,
    completed: u64,
    failed: u64,
    /// Expires and collects, beside.
    cleaning: Option<JoinHandle<Result<Cleaned>>>,
    cleaned: Option<Result<Cleaned>>,
    /// Whether a checkpoint was completed that the last cleaning may not have seen.
    is_behind: bool,
    last_collection: Duration,
    /// The job whose place this one takes, as long as something of it is there.
    taken: Option<TakenOver>,
}

impl Coordinator {
    /// Starts an epoch of `job`, which fences earlier coordinators off, and decides what its workers start from.
    ///
    /// # Errors
    /// `Fix` when the checkpoint to start from does not exist, or when options do not fit the job; those of the requests.
    pub async fn start(repo: &Repo, job: &JobName, options: CoordinatorOptions) -> Result<Coordinator> {
        let (workers, key_groups) = (options.workers, options.key_groups);
        if !(1..=KEY_GROUPS_MAX).contains(&key_groups) || !(1..=key_groups).contains(&workers) {
            return Err(fix(format!(
                "job {job}: {workers} workers for {key_groups} key groups: expected 1 to {KEY_GROUPS_MAX} groups, and one for each worker"
            )));
        }
        let mut epoch = Epoch::start(repo, job, key_groups, &options.holder).await?;
        // The fence stands: no other checkpoint of this job comes to exist any more.
        let (start, taken) = match &options.start {
            Start::TakeOver(other, checkpoint) => {
                let newest = epoch.state().newest().map(|(_, newest)| newest.checkpoint);
                begin_taking_over(repo, job, other, (*checkpoint, newest), key_groups).await?
            }
            start => (certain(repo, job, &epoch, start).await?, None),
        };
        if let Start::At(checkpoint) = start
            && epoch.state().find(checkpoint).is_some()
        {
            epoch.build_upon(checkpoint)?;
        }
        let parts = cut(repo, job, &start, &options).await?;
        let assignments = (0..).zip(parts).map(|(worker, groups)| {
            let name = WorkerName::new(&format!("w-{worker}"))?;
            let (job, epoch, start) = (job.clone(), epoch.number(), start.clone());
            Ok(Assignment { job, epoch, worker, workers, name, groups, key_groups, start })
        });
        Ok(Coordinator {
            repo: repo.clone(),
            job: job.clone(),
            assignments: assignments.collect::<Result<_>>()?,
            newest: epoch.state().newest().map(|(_, newest)| newest.checkpoint),
            epoch,
            options,
            probes: BTreeMap::new(),
            rounds: None,
            completed: 0,
            failed: 0,
            cleaning: None,
            cleaned: None,
            is_behind: false,
            last_collection: Duration::ZERO,
            taken,
        })
    }

    /// What each worker is and starts from: to be sent to it as [`ToWorker::Start`].
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// Whether all workers are ready, and were found to share the repo: records may flow.
    pub fn is_running(&self) -> bool {
        self.rounds.is_some()
    }

    /// The newest checkpoint that exists, as far as is known here.
    pub fn newest(&self) -> Option<CheckpointId> {
        self.newest
    }

    /// How many checkpoints were completed.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// What the last cleaning did. One that failed does not end the job: the next one does its work too.
    pub fn cleaned(&self) -> Option<&Result<Cleaned>> {
        self.cleaned.as_ref()
    }

    /// Asks for a checkpoint that begins from now on, and not when it would be due: before an end, an upgrade, a rescale.
    pub fn ask(&mut self) {
        if let Some(rounds) = &mut self.rounds {
            rounds.ask();
        }
    }

    /// The checkpoint that was asked for last, once it exists.
    pub fn answer(&self) -> Option<CheckpointId> {
        self.rounds.as_ref().and_then(Rounds::answer)
    }

    /// When [`step`](Coordinator::step) has something to do, unless a worker says something before: a time as those that are passed in,
    /// zero for at once. None as long as workers are not ready.
    pub fn next_step(&self) -> Option<Duration> {
        match self.rounds.as_ref()?.due(Duration::ZERO) {
            Due::Nothing(at) => at,
            Due::Begin | Due::GiveUp(_) => Some(Duration::ZERO),
        }
    }

    /// Does what is due: begins a checkpoint, gives one up.
    ///
    /// # Errors
    /// When more checkpoints failed in a row than are tolerated: that of the last one. `Fenced` when a newer coordinator has started.
    pub async fn step(&mut self, now: Duration) -> Result<Vec<ToWorker>> {
        self.note_cleaned().await;
        if self.is_behind {
            self.clean(now).await;
        }
        let mut told = Vec::new();
        while let Some(rounds) = &mut self.rounds {
            match rounds.due(now) {
                Due::Nothing(_) => break,
                Due::Begin => match self.epoch.begin().await {
                    Ok(barrier) => {
                        rounds.began(&barrier, now);
                        told.push(ToWorker::Checkpoint(barrier));
                    }
                    Err(error) => {
                        let verdict = rounds.not_begun(now);
                        self.judge(verdict, error.context("a checkpoint could not begin"))?;
                        break;
                    }
                },
                Due::GiveUp(checkpoint) => {
                    let reason = format!(
                        "not all workers had claimed it after {:?}; is the repo slow, or a worker stuck?",
                        self.options.policy.timeout
                    );
                    told.extend(self.give_up(checkpoint, Error::new(ErrorKind::Retry, reason), now).await?);
                }
            }
        }
        Ok(told)
    }

    /// Takes what a worker says.
    ///
    /// # Errors
    /// As [`Coordinator::step`]; `Fix` when a worker does not share the repo, or has opened something else than it was assigned.
    pub async fn receive(&mut self, said: FromWorker, now: Duration) -> Result<Vec<ToWorker>> {
        match said {
            FromWorker::Ready { epoch, worker, opened_from, probe } if epoch == self.epoch.number() => {
                self.ready(worker, opened_from, probe, now).await?;
                Ok(Vec::new())
            }
            FromWorker::Ready { .. } => Ok(Vec::new()),
            FromWorker::Claimed { worker, checkpoint, claim } => self.claimed(worker, checkpoint, claim, now).await,
            FromWorker::Declined { worker, checkpoint, reason } => {
                let error = Error::new(ErrorKind::Retry, format!("worker {worker}: {reason}"));
                self.give_up(checkpoint, error, now).await
            }
        }
    }

    async fn ready(
        &mut self,
        worker: u32,
        opened_from: Option<CheckpointId>,
        probe: WorkerProbe,
        now: Duration,
    ) -> Result<()> {
        let Some(assigned) = self.assignments.get(worker as usize) else {
            return Err(fix(format!("worker {worker} is ready, and the job has {}", self.assignments.len())));
        };
        if opened_from != assigned.checkpoint() {
            let text = |checkpoint: Option<CheckpointId>| checkpoint.map_or("nothing".to_owned(), |id| id.to_string());
            return Err(fix(format!(
                "worker {worker} was opened from {}, and was assigned {}: open it with `Assignment::engine`",
                text(opened_from),
                text(assigned.checkpoint())
            )));
        }
        self.probes.insert(worker, probe);
        if self.rounds.is_none() && self.probes.len() == self.assignments.len() {
            let probes: Vec<WorkerProbe> = self.probes.values().cloned().collect();
            read_probes(&self.repo, &self.job, &probes).await?;
            self.rounds = Some(Rounds::new(self.options.policy.clone(), self.options.workers, now));
            self.last_collection = now;
        }
        Ok(())
    }

    async fn claimed(
        &mut self,
        worker: u32,
        checkpoint: CheckpointId,
        claim: ClaimRef,
        now: Duration,
    ) -> Result<Vec<ToWorker>> {
        let Some(rounds) = &mut self.rounds else { return Ok(Vec::new()) };
        let Some((barrier, claims)) = rounds.claimed(worker, checkpoint, claim) else { return Ok(Vec::new()) };
        if let Err(error) = self.epoch.complete(&barrier, claims).await {
            return self.give_up(checkpoint, error, now).await;
        }
        let needless = rounds.completed(checkpoint, now);
        (self.newest, self.completed) = (Some(checkpoint), self.completed + 1);
        let mut told = vec![ToWorker::Confirm(checkpoint)];
        for barrier in needless {
            self.epoch.abort(&barrier).await;
            told.push(ToWorker::Abort(barrier.checkpoint));
        }
        self.clean(now).await;
        Ok(told)
    }

    async fn give_up(&mut self, checkpoint: CheckpointId, error: Error, now: Duration) -> Result<Vec<ToWorker>> {
        let Some((barrier, verdict)) = self.rounds.as_mut().and_then(|rounds| rounds.failed(checkpoint, now)) else {
            return Ok(Vec::new());
        };
        self.epoch.abort(&barrier).await;
        self.judge(verdict, error.context(format_args!("checkpoint {checkpoint}")))?;
        Ok(vec![ToWorker::Abort(checkpoint)])
    }

    fn judge(&mut self, verdict: Verdict, error: Error) -> Result<()> {
        self.failed += 1;
        tracing::warn!(job = %self.job, %error, failed = self.failed, "a checkpoint failed");
        match verdict {
            _ if error.kind() == ErrorKind::Fenced => Err(error),
            Verdict::GoOn => Ok(()),
            Verdict::Stop(failures) => {
                let tolerated = self.options.policy.tolerated_failures;
                Err(error.context(format_args!("{failures} checkpoints failed in a row, and {tolerated} may")))
            }
        }
    }

    /// Lets checkpoints expire and collects, beside; when that is still going on, once more behind it.
    async fn clean(&mut self, now: Duration) {
        self.note_cleaned().await;
        self.is_behind = self.cleaning.is_some();
        if self.is_behind {
            return;
        }
        let is_due = |every: &Duration| now.saturating_sub(self.last_collection) >= *every;
        let collection = self.options.collect.as_ref().filter(|(every, _)| is_due(every));
        let collection = collection.map(|(_, options)| options.clone());
        if collection.is_some() {
            self.last_collection = now;
        }
        self.start_cleaning(collection);
    }

    fn start_cleaning(&mut self, collection: Option<CollectOptions>) {
        let retention = self.options.retention.clone();
        if retention.is_none() && collection.is_none() && self.taken.is_none() {
            return;
        }
        let (repo, job, taken) = (self.repo.clone(), self.job.clone(), self.taken.clone());
        self.cleaning = Some(tokio::spawn(async move {
            let expired = match retention {
                Some(retention) => expire(&repo, &job, &retention, "the coordinator's retention").await?,
                None => Vec::new(),
            };
            let collected = match &collection {
                Some(options) => Some(collect(&repo, &job, options).await?),
                None => None,
            };
            let collected_there = match taken {
                Some(taken) => taken.let_go(&repo, collection.as_ref()).await?,
                None => None,
            };
            Ok(Cleaned { expired, collected, collected_there })
        }));
    }

    async fn note_cleaned(&mut self) {
        if self.cleaning.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end_cleaning().await;
        }
    }

    async fn end_cleaning(&mut self) {
        if let Some(cleaning) = self.cleaning.take() {
            let done = cleaning.await;
            let bug = |cause| Error::new(ErrorKind::Bug, format!("expiring and collecting: {cause}"));
            self.cleaned = Some(done.map_err(bug).and_then(|cleaned| cleaned));
        }
    }

    /// Ends it in order: gives up what is being made, and waits for a cleaning, so that no more checkpoints are left than its retention says.
    /// One that is dropped leaves leases, which end with the next epoch.
    pub async fn finish(&mut self) {
        let in_flight: Vec<Barrier> = self.rounds.iter().flat_map(|rounds| rounds.in_flight().cloned()).collect();
        for barrier in in_flight {
            self.epoch.abort(&barrier).await;
        }
        self.rounds = None;
        self.end_cleaning().await;
        if std::mem::take(&mut self.is_behind) {
            self.start_cleaning(None);
            self.end_cleaning().await;
        }
    }
}

/// Which checkpoint is meant, named, so that all workers open the same one.
async fn certain(repo: &Repo, job: &JobName, epoch: &Epoch, start: &Start) -> Result<Start> {
    let newest = epoch.state().newest().map(|(_, newest)| newest.checkpoint);
    match (start, newest) {
        (Start::Latest | Start::LatestOrEmpty, Some(newest)) => Ok(Start::At(newest)),
        (Start::LatestOrEmpty, None) => Ok(Start::Empty),
        (Start::Latest, None) => Err(fix(format!(
            "job {job} in {repo}: no checkpoint exists; is this the right job? To begin without one, start with `LatestOrEmpty`"
        ))),
        (Start::From(other, None), _) => {
            let chain = Chain::read(repo, other).await?;
            let newest = chain.state().newest().map(|(_, newest)| newest.checkpoint);
            let newest = newest.ok_or_else(|| {
                fix(format!("job {other} in {repo}: no checkpoint exists for job {job} to start from"))
            })?;
            Ok(Start::From(other.clone(), Some(newest)))
        }
        _ => Ok(start.clone()),
    }
}

/// The key groups of each worker.
async fn cut(repo: &Repo, job: &JobName, start: &Start, options: &CoordinatorOptions) -> Result<Vec<KeyGroups>> {
    let (workers, key_groups) = (options.workers, options.key_groups);
    let from = match start {
        Start::At(checkpoint) => Some((job, *checkpoint)),
        Start::From(other, Some(checkpoint)) => Some((other, *checkpoint)),
        _ => None,
    };
    if let (Cuts::Bytes, Some((job, checkpoint))) = (options.cuts, from) {
        let start = bedload_snapshot::Start::At(checkpoint);
        if let Some(plan) = plan_rescale(repo, job, start, workers, Cuts::Bytes, None).await? {
            return Ok(plan.workers.into_iter().map(|worker| worker.groups).collect());
        }
    }
    Ok((0..workers).map(|worker| KeyGroups::of_worker(key_groups, workers, worker)).collect())
}
