//! A worker process: does what it is told, line by line, until its standard input ends.
//!
//! One task has the engine and takes orders in turn; shipping happens beside it, in tasks that only speak. When the coordinator's process
//! is gone, so is the input, and the worker ends.

use std::io::Write;
use std::time::Duration;

use bedload::{
    Assignment, Barrier, Engine, Error, ErrorKind, FromWorker, KeyGroups, Repo, Restoring, Result, ToWorker,
    write_probe,
};
use bedload_snapshot::{RestorePlan, claims};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::protocol::{Opened, Operator, Order, Said, Setup, Shipped, What};

/// Orders that wait for their turn.
const ORDERS_MAX: usize = 64;
/// How often a worker without orders looks how far its restore is.
const LOOK: Duration = Duration::from_millis(10);

/// Runs one until its standard input ends.
///
/// # Errors
/// What ended it; the coordinator was told.
pub async fn run() -> Result<()> {
    let (sender, mut orders) = mpsc::channel(ORDERS_MAX);
    tokio::task::spawn_blocking(move || listen(&sender));
    let Some(Order::Setup(setup)) = next(&mut orders).await? else {
        return Err(Error::new(
            ErrorKind::Fix,
            "a worker process is started by `bedload demo`, which tells it what to do",
        ));
    };
    let repo = Repo::open(&setup.repo).await?;
    let mut worker = Worker { setup, repo, task: None };
    let ended = worker.work(&mut orders).await;
    if let Err(error) = &ended {
        say(worker.epoch(), What::Failed(error.to_string()));
    }
    ended
}

/// Gives every line as an order, until there are no more. Waits in the way of threads, not of tasks.
fn listen(orders: &mpsc::Sender<Result<Order>>) {
    for line in std::io::stdin().lines().map_while(|line| line.ok()) {
        let not_understood = |cause| Error::new(ErrorKind::Fix, format!("an order is not understood: {cause}"));
        if orders.blocking_send(serde_json::from_str(&line).map_err(not_understood)).is_err() {
            return;
        }
    }
}

async fn next(orders: &mut mpsc::Receiver<Result<Order>>) -> Result<Option<Order>> {
    orders.recv().await.transpose()
}

fn say(epoch: u64, what: What) {
    let mut line = serde_json::to_string(&Said { epoch, what }).expect("messages are plain data");
    line.push('\n');
    // Nobody listens: the coordinator is gone, and the end of the input says so too.
    std::io::stdout().lock().write_all(line.as_bytes()).ok();
}

struct Worker {
    setup: Setup,
    repo: Repo,
    task: Option<Task>,
}

/// What it is doing since it was started last.
struct Task {
    assignment: Assignment,
    engine: Engine,
    operator: Operator,
    /// The record it goes on with.
    position: u64,
    began: Instant,
    is_all_here: bool,
    shipping: Vec<JoinHandle<()>>,
}

impl Worker {
    fn epoch(&self) -> u64 {
        self.task.as_ref().map_or(0, |task| task.assignment.epoch)
    }

    async fn work(&mut self, orders: &mut mpsc::Receiver<Result<Order>>) -> Result<()> {
        loop {
            let order = match &self.task {
                Some(task) if !task.is_all_here => match tokio::time::timeout(LOOK, next(orders)).await {
                    Ok(order) => order?,
                    Err(_) => {
                        self.look();
                        continue;
                    }
                },
                _ => next(orders).await?,
            };
            match order {
                None | Some(Order::Coordinator(ToWorker::Stop)) => return self.end().await,
                Some(Order::Coordinator(ToWorker::Start(assignment))) => self.start(assignment).await?,
                Some(order) => match &mut self.task {
                    Some(task) => task.obey(order).await?,
                    None => return Err(Error::new(ErrorKind::Bug, "a worker was told to work before it was started")),
                },
            }
            self.look();
        }
    }

    fn look(&mut self) {
        if let Some(task) = &mut self.task {
            task.look();
        }
    }

    /// Gives up what it did and begins anew, from what it is assigned.
    async fn start(&mut self, assignment: Assignment) -> Result<()> {
        self.end().await?;
        let began = Instant::now();
        let builder = assignment.engine(self.setup.directory.join("engine"), &self.repo);
        let mut engine = builder.memory(self.setup.memory_bytes).restoring(Restoring::Lazily).open().await?;
        let position = position(&engine)?;
        let first = if self.setup.loses_a_record && position > 0 { position + 1 } else { position };
        let operator = Operator::open(&mut engine, &self.setup.input, first)?;
        let serving_after_ms = millis(began);
        let missing_bytes = missing_bytes(&engine);
        let (epoch, worker) = (assignment.epoch, assignment.worker);
        let opened_from = engine.opened_from().map(|opened| opened.checkpoint);
        let state_bytes = match opened_from {
            Some(checkpoint) => {
                let claims = claims(&self.repo, &assignment.job, checkpoint).await?;
                RestorePlan::new(&claims, assignment.groups)?.runs.iter().map(|run| run.bytes).sum()
            }
            None => 0,
        };
        let local_bytes = state_bytes.saturating_sub(missing_bytes);
        say(epoch, What::Opened(Opened { position, serving_after_ms, state_bytes, local_bytes }));
        let probe = write_probe(&self.repo, &assignment.job, &assignment.name).await?;
        say(epoch, What::Coordinator(FromWorker::Ready { epoch, worker, opened_from, probe }));
        let is_all_here = opened_from.is_none();
        self.task = Some(Task { assignment, engine, operator, position, began, is_all_here, shipping: Vec::new() });
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        let Some(task) = self.task.take() else { return Ok(()) };
        for shipping in task.shipping {
            shipping.abort();
            // It was given up: whether it had ended before makes no difference.
            shipping.await.ok();
        }
        task.engine.close()
    }
}

impl Task {
    async fn obey(&mut self, order: Order) -> Result<()> {
        let epoch = self.assignment.epoch;
        match order {
            Order::Read(until) => {
                self.operator.read(&mut self.engine, until)?;
                self.position = until;
                say(epoch, What::Read(until));
            }
            Order::Coordinator(ToWorker::Checkpoint(barrier)) => self.checkpoint(barrier)?,
            Order::Coordinator(ToWorker::Confirm(checkpoint)) => self.engine.confirm(checkpoint).await,
            Order::Coordinator(ToWorker::Abort(checkpoint)) => self.engine.abort(checkpoint).await,
            Order::Count => say(epoch, What::Counted(self.operator.totals(&mut self.engine)?)),
            Order::Setup(_) | Order::Coordinator(ToWorker::Start(_) | ToWorker::Stop) => {
                unreachable!("taken by the worker")
            }
        }
        Ok(())
    }

    fn look(&mut self) {
        if !self.is_all_here && missing_bytes(&self.engine) == 0 {
            self.is_all_here = true;
            say(self.assignment.epoch, What::AllHere { after_ms: millis(self.began) });
        }
    }

    fn checkpoint(&mut self, barrier: Barrier) -> Result<()> {
        let (epoch, worker, checkpoint) = (self.assignment.epoch, self.assignment.worker, barrier.checkpoint);
        let shipment = self.engine.checkpoint(&barrier, self.position.to_string().as_bytes())?;
        self.shipping.retain(|shipping| !shipping.is_finished());
        self.shipping.push(tokio::spawn(async move {
            match shipment.ship().await {
                Ok(shipped) => {
                    let report = &shipped.report;
                    say(
                        epoch,
                        What::Shipped(Shipped {
                            checkpoint,
                            pause_us: u64::try_from(shipped.pause.as_micros()).unwrap_or(u64::MAX),
                            new_bytes: report.uploaded_bytes,
                            new_parcel_bytes: report.uploaded_parcel_bytes,
                            claimed_bytes: report.claimed_bytes,
                            ahead_bytes: report.ahead_bytes,
                        }),
                    );
                    let claim = shipped.claim;
                    say(epoch, What::Coordinator(FromWorker::Claimed { worker, checkpoint, claim }));
                }
                Err(error) => {
                    let reason = error.to_string();
                    say(epoch, What::Coordinator(FromWorker::Declined { worker, checkpoint, reason }));
                }
            }
        }));
        Ok(())
    }
}

/// The record that the checkpoint was taken before; zero without one.
fn position(engine: &Engine) -> Result<u64> {
    let mut found = None;
    for position in engine.positions() {
        let text = String::from_utf8_lossy(&position.bytes);
        let record = text.parse::<u64>().map_err(|_| {
            let KeyGroups { first, last } = position.groups;
            Error::new(ErrorKind::Damaged, format!("key groups {first} to {last}: {text:?} is no position"))
        })?;
        if found.is_some_and(|found| found != record) {
            return Err(Error::new(ErrorKind::Damaged, "the parts of a checkpoint were taken at different records"));
        }
        found = Some(record);
    }
    Ok(found.unwrap_or(0))
}

fn missing_bytes(engine: &Engine) -> u64 {
    engine.restoring().map_or(0, |progress| progress.total_bytes().saturating_sub(progress.here_bytes()))
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
