//! The demonstration's job, from its first worker to its last checkpoint: this process coordinates, others count.
//!
//! ```text
//!  Read ── Read ── Checkpoint ── Read ── Read ──►   the same to all workers, so a barrier lies at one record for all of them
//!          done up to here ◄── each worker          nobody is more than a window ahead of the slowest
//! ```
//!
//! After a kill or for a rescale another [`Coordinator`] starts all workers from a checkpoint, and reading goes on at its record: what was
//! counted behind it is gone from the state, and is counted again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bedload::{
    Barrier, CheckpointId, CheckpointPolicy, Coordinator, CoordinatorOptions, Cuts, Error, ErrorKind, JobName, Repo,
    Result, Start, ToWorker,
};
use bedload_snapshot::{claims, plan_rescale};
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::protocol::{Input, Order, Said, Setup, Shipped, What};
use crate::report::{CheckpointReport, KillReport, PlanReport, Report, RescaleReport, RestoreReport, WorkerReport};
use crate::screen::Screen;
use crate::text::number;
use crate::totals::Totals;

/// Key groups of the job.
pub const KEY_GROUPS: u32 = 128;
/// Checkpoints in all, about.
const CHECKPOINTS: u64 = 12;
/// Records of an order, at most.
const STEP_MAX: u64 = 10_000;
/// Orders that workers may be ahead of the slowest.
const WINDOW: u64 = 4;
/// How long it waits for somebody to say something before it looks at the time.
const LISTEN: Duration = Duration::from_millis(100);

/// When things happen, as counts of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub records: u64,
    pub kill_at: u64,
    /// Which of the two.
    pub victim: usize,
    pub rescale_at: u64,
    pub checkpoint_every: u64,
}

impl Schedule {
    /// One for so many records: the kill falls somewhere between 35 and 60 percent of them.
    pub fn new(records: u64, seed: u64) -> Schedule {
        // SplitMix64, so that neighbouring seeds differ.
        let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let permille = 350 + (mixed >> 1) % 250;
        Schedule {
            records,
            kill_at: records * permille / 1000,
            victim: usize::from(mixed & 1 == 1),
            rescale_at: records * 3 / 4,
            checkpoint_every: (records / CHECKPOINTS).max(1),
        }
    }
}

/// What a job is run with.
pub struct JobOptions {
    pub repo: Repo,
    pub name: JobName,
    pub input: Input,
    /// The folder of the workers' folders.
    pub folder: PathBuf,
    pub memory_bytes: usize,
    pub schedule: Schedule,
    pub loses_a_record: bool,
}

/// A checkpoint in the making.
struct Begun {
    at: Duration,
    record: u64,
    shipped: Vec<Shipped>,
}

/// The job while it runs.
pub struct Job<'a> {
    options: JobOptions,
    fleet: &'a mut Fleet,
    screen: &'a mut Screen,
    report: Report,
    began: Instant,
    coordinator: Coordinator,
    epoch: u64,
    restore: RestoreReport,
    /// Whether it was told already how the workers began.
    is_restore_told: bool,
    begun: BTreeMap<CheckpointId, Begun>,
    totals: Vec<Option<Totals>>,
    /// Records that were ordered.
    ordered: u64,
    /// Records that each worker has read.
    done: Vec<u64>,
    next_checkpoint: u64,
    /// Read before the last restore, and lost with it.
    lost: u64,
}

/// Runs a job; gives what was seen, and what was counted.
///
/// # Errors
/// Those of the coordinator, of the repo and of worker processes.
pub async fn run(options: JobOptions, fleet: &mut Fleet, screen: &mut Screen) -> Result<(Report, Totals)> {
    let began = Instant::now();
    let coordinator = coordinator(&options, 2, Start::Empty).await?;
    let mut job = Job {
        fleet,
        screen,
        report: Report::default(),
        began,
        coordinator,
        epoch: 0,
        restore: RestoreReport::default(),
        is_restore_told: false,
        begun: BTreeMap::new(),
        totals: Vec::new(),
        ordered: 0,
        done: Vec::new(),
        next_checkpoint: 0,
        lost: 0,
        options,
    };
    let Schedule { records, kill_at, victim, rescale_at, .. } = job.options.schedule;
    job.start_workers().await?;
    let may_go_on = |job: &Job<'_>| job.coordinator.completed() > 0 || job.slowest() >= rescale_at;
    job.flow(rescale_at, |job| job.slowest() >= kill_at && may_go_on(job)).await?;
    if job.coordinator.completed() == 0 {
        // There are so few records that none was asked for between them.
        job.checkpoint().await?;
    }
    job.kill(victim).await?;
    job.flow(rescale_at, |job| job.slowest() >= rescale_at).await?;
    job.rescale(3).await?;
    job.flow(records, |job| job.slowest() >= records).await?;
    job.checkpoint().await?;
    let seconds = job.began.elapsed().as_secs_f64();
    let totals = job.count().await?;
    job.coordinator.finish().await;
    job.fleet.tell_all(&Order::Coordinator(ToWorker::Stop)).await?;

    let mut report = job.report;
    report.seconds = seconds;
    report.records_read = records + job.lost;
    report.records_per_second = (report.records_read as f64 / seconds) as u64;
    Ok((report, totals))
}

async fn coordinator(options: &JobOptions, workers: u32, start: Start) -> Result<Coordinator> {
    // Checkpoints are asked for, by records: so that a run of any length shows as many.
    let policy = CheckpointPolicy { interval: Duration::MAX, tolerated_failures: 3, ..CheckpointPolicy::default() };
    let holder = "bedload demo".to_owned();
    let coordinated =
        CoordinatorOptions { workers, key_groups: KEY_GROUPS, start, policy, holder, ..CoordinatorOptions::default() };
    Coordinator::start(&options.repo, &options.name, coordinated).await
}

impl Job<'_> {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn slowest(&self) -> u64 {
        self.done.iter().copied().min().unwrap_or(0)
    }

    fn event(&mut self, what: &str) {
        let now = self.now();
        self.screen.event(now, what);
    }

    /// Starts what the coordinator has assigned, on processes that are there or new ones, and waits until all serve.
    async fn start_workers(&mut self) -> Result<()> {
        let decided = self.now();
        let assignments = self.coordinator.assignments().to_vec();
        self.epoch = assignments[0].epoch;
        self.begun.clear();
        let checkpoint = assignments[0].checkpoint().map(|checkpoint| checkpoint.to_string());
        self.restore = RestoreReport { checkpoint, ..RestoreReport::default() };
        self.is_restore_told = false;
        for (worker, assignment) in assignments.into_iter().enumerate() {
            if worker == self.fleet.len() {
                self.fleet.add(self.setup(worker)).await?;
            }
            self.fleet.tell(worker, &Order::Coordinator(ToWorker::Start(assignment))).await?;
        }
        let workers = self.fleet.len();
        while !self.coordinator.is_running() || self.restore.workers.len() < workers {
            self.listen().await?;
        }
        self.restore.workers.sort_by_key(|worker| worker.worker);
        let after = self.now().saturating_sub(decided);
        self.restore.all_serving_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.ordered = self.restore.from_record;
        self.done = vec![self.ordered; workers];
        self.next_checkpoint = self.ordered + self.options.schedule.checkpoint_every;
        if self.restore.checkpoint.is_some() {
            for report in self.restore.workers.clone() {
                self.event(&format!("  {}", report.line()));
                if let Some(after_ms) = report.all_here_after_ms {
                    self.tell_all_here(report.worker, after_ms);
                }
            }
        }
        self.is_restore_told = true;
        Ok(())
    }

    fn setup(&self, worker: usize) -> Setup {
        let JobOptions { repo, input, folder, memory_bytes, loses_a_record, .. } = &self.options;
        Setup {
            directory: folder.join(format!("worker-{worker}")),
            repo: repo.to_string(),
            memory_bytes: *memory_bytes,
            input: input.clone(),
            loses_a_record: *loses_a_record,
        }
    }

    /// Lets records flow up to `limit`, until it is through.
    async fn flow(&mut self, limit: u64, is_through: impl Fn(&Job<'_>) -> bool) -> Result<()> {
        loop {
            self.order(limit).await?;
            if is_through(self) {
                return Ok(());
            }
            self.listen().await?;
        }
    }

    /// Orders records as far as the slowest worker lets it, and checkpoints between them.
    async fn order(&mut self, limit: u64) -> Result<()> {
        let step = (self.options.schedule.checkpoint_every / 8).clamp(1, STEP_MAX);
        let ahead = self.slowest() + WINDOW * step;
        loop {
            // At the limit somebody asks for one of their own.
            if self.ordered >= self.next_checkpoint && self.ordered < limit {
                self.next_checkpoint = self.ordered + self.options.schedule.checkpoint_every;
                self.coordinator.ask();
            }
            self.step().await?;
            if self.ordered >= limit.min(ahead) {
                return Ok(());
            }
            self.ordered = (self.ordered + step).min(limit).min(self.next_checkpoint);
            self.fleet.tell_all(&Order::Read(self.ordered)).await?;
        }
    }

    /// Does what is due.
    async fn step(&mut self) -> Result<()> {
        let now = self.now();
        if self.coordinator.next_step().is_some_and(|at| at <= now) {
            let told = self.coordinator.step(now).await?;
            self.tell(told).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, told: Vec<ToWorker>) -> Result<()> {
        for message in told {
            self.fleet.tell_all(&Order::Coordinator(message.clone())).await?;
            match message {
                ToWorker::Checkpoint(Barrier { checkpoint, .. }) => {
                    let begun = Begun { at: self.now(), record: self.ordered, shipped: Vec::new() };
                    self.begun.insert(checkpoint, begun);
                }
                ToWorker::Confirm(checkpoint) => self.completed(checkpoint).await?,
                ToWorker::Abort(checkpoint) => {
                    self.begun.remove(&checkpoint);
                    self.event(&format!("checkpoint {checkpoint} was given up"));
                }
                ToWorker::Start(_) | ToWorker::Stop => {}
            }
        }
        Ok(())
    }

    /// Waits for somebody to say something, or for some time to pass.
    async fn listen(&mut self) -> Result<()> {
        let now = self.now();
        let until_step = self.coordinator.next_step().map_or(LISTEN, |at| at.saturating_sub(now));
        if let Ok((worker, said)) = tokio::time::timeout(LISTEN.min(until_step), self.fleet.hear()).await {
            let Some(said) = said else {
                let what = format!("worker {worker} has ended by itself; it says why on standard error");
                return Err(Error::new(ErrorKind::Closed, what));
            };
            self.hear(worker, said).await?;
        }
        let (records, noun) = (self.options.schedule.records, self.options.input.noun());
        let what = format!("{noun}, {} workers, {} checkpoints", self.fleet.len(), self.report.checkpoints.len());
        self.screen.progress(now, self.slowest(), records, &what);
        Ok(())
    }

    async fn hear(&mut self, worker: usize, said: Said) -> Result<()> {
        match said.what {
            What::Failed(reason) => {
                return Err(Error::new(ErrorKind::Closed, format!("worker {worker}: {reason}")));
            }
            _ if said.epoch != self.epoch => {}
            What::Coordinator(said) => {
                let told = self.coordinator.receive(said, self.now()).await?;
                self.tell(told).await?;
            }
            What::Opened(opened) => {
                if self.restore.workers.is_empty() {
                    self.restore.from_record = opened.position;
                } else if self.restore.from_record != opened.position {
                    return Err(Error::new(ErrorKind::Damaged, "workers started at different records"));
                }
                let (state_bytes, local_bytes) = (opened.state_bytes, opened.local_bytes);
                self.restore.workers.push(WorkerReport {
                    worker,
                    serving_after_ms: opened.serving_after_ms,
                    state_bytes,
                    local_bytes,
                    local_percent: local_bytes as f64 * 100.0 / state_bytes.max(1) as f64,
                    all_here_after_ms: None,
                });
            }
            What::AllHere { after_ms } => self.all_here(worker, after_ms),
            What::Read(until) => self.done[worker] = until,
            What::Shipped(shipped) => {
                if let Some(begun) = self.begun.get_mut(&shipped.checkpoint) {
                    begun.shipped.push(shipped);
                }
            }
            What::Counted(totals) => self.totals[worker] = Some(totals),
        }
        Ok(())
    }

    /// A worker has fetched all that its restore had left.
    fn all_here(&mut self, worker: usize, after_ms: u64) {
        // The report of a restore is taken when all serve; what is fetched behind that belongs to it too.
        let reports = [
            self.report.kill.as_mut().map(|kill| &mut kill.restore),
            self.report.rescale.as_mut().map(|rescale| &mut rescale.restore),
        ];
        let current = self.restore.checkpoint.clone();
        let same = reports.into_iter().flatten().filter(|restore| restore.checkpoint == current);
        for restore in same.chain([&mut self.restore]) {
            for report in restore.workers.iter_mut().filter(|report| report.worker == worker) {
                report.all_here_after_ms = Some(after_ms);
            }
        }
        if self.is_restore_told {
            self.tell_all_here(worker, after_ms);
        }
    }

    fn tell_all_here(&mut self, worker: usize, after_ms: u64) {
        self.event(&format!("  worker {worker}: all of its state is here after {after_ms} ms"));
    }

    /// A checkpoint exists: tells what it was.
    async fn completed(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let Some(begun) = self.begun.remove(&checkpoint) else { return Ok(()) };
        let took = self.now().saturating_sub(begun.at);
        let claims = claims(&self.options.repo, &self.options.name, checkpoint).await?;
        let timings = || claims.iter().map(|claim| &claim.timings);
        let shipped = &begun.shipped;
        let sum = |bytes: fn(&Shipped) -> u64| shipped.iter().map(bytes).sum::<u64>();
        let claimed = sum(|shipped| shipped.claimed_bytes);
        let new = sum(|shipped| shipped.new_bytes);
        self.report.state_bytes = claimed;
        let report = CheckpointReport {
            checkpoint: checkpoint.to_string(),
            at_record: begun.record,
            workers: shipped.len(),
            pause_us: shipped.iter().map(|shipped| shipped.pause_us).max().unwrap_or(0),
            new_bytes: new,
            new_compressed_bytes: sum(|shipped| shipped.new_parcel_bytes),
            // What is uploaded for later checkpoints is no part of this one.
            reused_bytes: claimed.saturating_sub(new - sum(|shipped| shipped.ahead_bytes)),
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            flush_us: timings().map(|timings| timings.flush_us).max().unwrap_or(0),
            upload_us: timings().map(|timings| timings.upload_us).max().unwrap_or(0),
            verify_us: timings().map(|timings| timings.verify_us).max().unwrap_or(0),
            link_us: timings().map(|timings| timings.link_us).max().unwrap_or(0),
        };
        self.event(&report.line());
        self.report.checkpoints.push(report);
        Ok(())
    }

    /// Takes a checkpoint now, and waits for it.
    async fn checkpoint(&mut self) -> Result<CheckpointId> {
        let ordered = self.ordered;
        // One that is on its way began before, and is no answer.
        self.flow(ordered, |job| job.begun.is_empty()).await?;
        self.coordinator.ask();
        self.flow(ordered, |job| job.coordinator.answer().is_some()).await?;
        Ok(self.coordinator.answer().expect("it was waited for"))
    }

    /// Kills a worker, and starts all from the newest checkpoint.
    async fn kill(&mut self, worker: usize) -> Result<()> {
        let (process, at_record) = (self.fleet.process_id(worker), self.done[worker]);
        let read = self.done.iter().copied().max().unwrap_or(0);
        self.fleet.kill(worker).await?;
        let noun = self.options.input.noun();
        self.event(&format!(
            "kill -9 {process}: worker {worker} is gone behind {} {noun}, and its folder was deleted",
            number(at_record)
        ));
        self.coordinator = coordinator(&self.options, 2, Start::Latest).await?;
        self.fleet.replace(worker).await?;
        self.start_workers().await?;
        let records_again = read.saturating_sub(self.ordered);
        self.lost += records_again;
        let from = number(self.ordered);
        let again = number(records_again);
        self.event(&format!("  all go on behind {from} {noun}, where the checkpoint was: {again} are read again"));
        let restore = self.restore.clone();
        self.report.kill = Some(KillReport { worker, process, at_record, records_again, restore });
        Ok(())
    }

    /// Goes over to so many workers, with a checkpoint before and behind it.
    async fn rescale(&mut self, to: usize) -> Result<()> {
        let from = self.fleet.len();
        let newest = self.checkpoint().await?;
        self.coordinator.finish().await;
        let (repo, name) = (self.options.repo.clone(), self.options.name.clone());
        let workers = u32::try_from(to).expect("a few workers");
        let start = bedload_snapshot::Start::At(newest);
        let plan = plan_rescale(&repo, &name, start, workers, Cuts::Groups, None).await?;
        let plan = plan.ok_or_else(|| Error::new(ErrorKind::Bug, "a checkpoint that exists gave no plan"))?;
        let parts = plan.workers.iter().enumerate().map(|(worker, part)| PlanReport {
            worker,
            first_group: part.groups.first,
            last_group: part.groups.last,
            content_bytes: part.content_bytes,
            runs: part.runs,
            clipped_runs: part.clipped_runs,
        });
        let mut rescale = RescaleReport {
            from,
            to,
            plan: parts.collect(),
            shared_runs: plan.shared_runs,
            rewritten_bytes: 0,
            restore: RestoreReport::default(),
        };
        self.event(&format!("rescale {from} -> {to} from checkpoint {newest}; {} runs are shared", plan.shared_runs));
        self.screen.print(&rescale.table());
        self.coordinator = coordinator(&self.options, workers, Start::At(newest)).await?;
        self.start_workers().await?;
        rescale.restore = self.restore.clone();
        self.report.rescale = Some(rescale);
        // Before any record is read: all that this one uploads is what the rescale has written.
        self.checkpoint().await?;
        let written = self.report.checkpoints.last().map_or(0, |checkpoint| checkpoint.new_bytes);
        if let Some(rescale) = &mut self.report.rescale {
            rescale.rewritten_bytes = written;
        }
        self.event(&format!("  {to} workers, and {written} bytes were rewritten for it"));
        Ok(())
    }

    /// Lets all workers read all that they hold.
    async fn count(&mut self) -> Result<Totals> {
        self.totals = vec![None; self.fleet.len()];
        self.event("every worker reads all that it has counted");
        self.fleet.tell_all(&Order::Count).await?;
        while self.totals.iter().any(Option::is_none) {
            self.listen().await?;
        }
        let mut all = Totals::default();
        self.totals.iter().flatten().for_each(|totals| all.join(totals));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_when_the_kill_comes_and_whom_it_meets() {
        let schedules: Vec<Schedule> = (0..64).map(|seed| Schedule::new(1_000_000, seed)).collect();
        assert_eq!(Schedule::new(1_000_000, 7), schedules[7]);
        assert!(schedules.iter().all(|schedule| (350_000..600_000).contains(&schedule.kill_at)));
        let victims: usize = schedules.iter().map(|schedule| schedule.victim).sum();
        assert!((16..48).contains(&victims), "{victims} of 64");
        let mut times: Vec<u64> = schedules.iter().map(|schedule| schedule.kill_at).collect();
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 48, "{} different times", times.len());
    }
}
