//! The load: one thread has the engine and updates counters, while a checkpoint each second is shipped beside it, as a job does it.
//!
//! ```text
//!  writer        fill ─ wait ─ update update update │freeze│ update update ... stop
//!                        │                            │  ▲
//!  coordinator    first checkpoint          begin ────┘  └─ ship, complete, confirm;  again at the next whole second
//! ```
//!
//! Which key an update is of follows from its number and a seed, so that what the counters must be at a checkpoint is computed from the
//! number of updates before it, and nothing is written down while time is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bedload::{
    Barrier, CheckpointId, Confirmed, Engine, Error, ErrorKind, JobName, Repo, Result, Shipment, Spec, Start, State,
    Value,
};
use bedload_snapshot::Epoch;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Asked;
use super::spread::Spread;

pub const COUNTER: Spec<Value<u64>> = Value::named("counter");
/// Key groups of the job.
pub const KEY_GROUPS: u32 = 128;
/// How many updates pass between two looks at orders.
const BATCH: u64 = 64;
/// How long the parts of time are for which throughput is told.
pub const RATE_EVERY: Duration = Duration::from_millis(250);
/// Time between checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// What was measured.
pub struct Loaded {
    pub fill: Duration,
    pub updates: u64,
    pub took: Duration,
    pub latency: Spread,
    /// Updates in each part of time, the last of them shorter.
    pub rates: Vec<u64>,
    /// The first has all that was filled in.
    pub checkpoints: Vec<Checkpoint>,
    /// Updates before the last checkpoint.
    pub updates_before_last: u64,
    pub store_bytes: u64,
}

/// A checkpoint that exists.
pub struct Checkpoint {
    pub id: CheckpointId,
    /// When it began, since the updates began; zero for that before them.
    pub at: Duration,
    pub pause: Duration,
    pub took: Duration,
    pub uploaded_bytes: u64,
    pub claimed_bytes: u64,
}

/// The key of an update.
fn key_of(seed: u64, update: u64, keys: u64) -> u64 {
    // SplitMix64, by Steele, Lea and Flood: a good spread of numbers that follow each other.
    let mut mixed = seed.wrapping_add(update.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % keys
}

/// What all counters are after so many updates.
pub fn counters_after(seed: u64, updates: u64, keys: u64) -> Vec<u64> {
    let mut counters = vec![0; usize::try_from(keys).expect("as many keys as were filled in")];
    for update in 0..updates {
        counters[key_of(seed, update, keys) as usize] += 1;
    }
    counters
}

/// What the writer is told.
enum Order {
    Measure,
    /// Gives the shipment, and the updates before it.
    Checkpoint(Barrier, oneshot::Sender<Result<(Shipment, u64)>>),
    Confirm(CheckpointId),
    Release(Confirmed),
    Stop,
}

/// Runs it in the folder of the engine.
///
/// # Errors
/// Those of the engine and of the repo; `Closed` when `stop` was set meanwhile.
pub async fn run(
    asked: &Asked,
    repo: &Repo,
    job: &JobName,
    stop: &Arc<AtomicBool>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Loaded> {
    let mut epoch = Epoch::start(repo, job, KEY_GROUPS, "bedload bench").await?;
    let builder = Engine::builder(asked.folder.join("load")).repo(repo, job.as_str()).max_groups(KEY_GROUPS);
    let engine = builder.memory(asked.memory_bytes).start(Start::Empty).open().await?;
    let (orders, receiver) = mpsc::channel();
    let filled = Arc::new(AtomicU64::new(0));
    let writer = Writer {
        keys: asked.keys,
        seed: asked.seed,
        stop: Arc::clone(stop),
        filled: Arc::clone(&filled),
        orders: receiver,
        sender: orders.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    let mut writer: JoinHandle<Result<Written>> = tokio::task::spawn_blocking(move || writer.run(engine));
    let coordinated = coordinate(asked, &mut epoch, &orders, &filled, progress);
    let checkpoints = tokio::select! {
        checkpoints = coordinated => checkpoints,
        // It ends before it is told to for an error alone.
        written = &mut writer => return Err(joined(written).err().unwrap_or_else(gone)),
    };
    let (checkpoints, updates_before_last) = match checkpoints {
        Ok(checkpoints) => checkpoints,
        Err(error) => {
            // Whatever it is doing: it may be far from its next order.
            stop.store(true, Ordering::Relaxed);
            let ended = joined(writer.await).err().filter(|ended| ended.kind() != ErrorKind::Closed);
            return Err(ended.unwrap_or(error));
        }
    };
    orders.send(Order::Stop).map_err(|_| gone())?;
    let written = joined(writer.await)?;
    let Written { fill, updates, took, latency, rates, store_bytes } = written;
    Ok(Loaded { fill, updates, took, latency, rates, checkpoints, updates_before_last, store_bytes })
}

fn joined(ended: std::result::Result<Result<Written>, tokio::task::JoinError>) -> Result<Written> {
    ended.map_err(|cause| Error::new(ErrorKind::Bug, format!("the writer of the measurement: {cause}")))?
}

fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the writer of the measurement has ended early")
}

/// Takes the first checkpoint, then one each second; gives them, and the updates before the last one.
async fn coordinate(
    asked: &Asked,
    epoch: &mut Epoch,
    orders: &mpsc::Sender<Order>,
    filled: &AtomicU64,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(Vec<Checkpoint>, u64)> {
    // The writer takes orders when all is filled in: until then, this waits for its shipment.
    let filling = async {
        loop {
            let part = filled.load(Ordering::Relaxed) * 100 / asked.keys;
            progress(&format!("filling in {} keys: {part} %", crate::text::number(asked.keys)));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (first, mut updates) = tokio::select! {
        first = checkpoint(epoch, orders, None) => first?,
        () = filling => unreachable!("it goes on for ever"),
    };
    let mut checkpoints = vec![first];
    orders.send(Order::Measure).map_err(|_| gone())?;
    let (start, end) = (Instant::now(), Duration::from_secs(asked.seconds));
    loop {
        // One that took longer than a second delays the next to the next whole second.
        let turn = start.elapsed().as_secs() as u32 + 1;
        let at = CHECKPOINT_EVERY * turn;
        if at > end {
            return Ok((checkpoints, updates));
        }
        tokio::time::sleep_until(start + at).await;
        progress(&format!("updating: {turn} of {} s, {} checkpoints", asked.seconds, checkpoints.len() - 1));
        let (done, before) = checkpoint(epoch, orders, Some(start)).await?;
        updates = before;
        checkpoints.push(done);
    }
}

/// One checkpoint from its beginning until it exists, and the updates before it.
async fn checkpoint(
    epoch: &mut Epoch,
    orders: &mpsc::Sender<Order>,
    since: Option<Instant>,
) -> Result<(Checkpoint, u64)> {
    let began = Instant::now();
    let at = since.map_or(Duration::ZERO, |since| began - since);
    let barrier = epoch.begin().await?;
    let (sender, shipment) = oneshot::channel();
    orders.send(Order::Checkpoint(barrier.clone(), sender)).map_err(|_| gone())?;
    let (shipment, updates) = shipment.await.map_err(|_| gone())??;
    let frozen = Instant::now();
    // Before the updates, filling in is no part of a checkpoint.
    let began = if since.is_some() { began } else { frozen };
    let shipped = shipment.ship().await?;
    let (report, pause) = (shipped.report, shipped.pause);
    epoch.complete(&barrier, vec![shipped.claim]).await?;
    let took = began.elapsed();
    orders.send(Order::Confirm(barrier.checkpoint)).map_err(|_| gone())?;
    let done = Checkpoint {
        id: barrier.checkpoint,
        at,
        pause,
        took,
        uploaded_bytes: report.uploaded_parcel_bytes,
        claimed_bytes: report.claimed_bytes,
    };
    Ok((done, updates))
}

/// What the writer has in the end.
struct Written {
    fill: Duration,
    updates: u64,
    took: Duration,
    latency: Spread,
    rates: Vec<u64>,
    store_bytes: u64,
}

/// The thread that has the engine.
struct Writer {
    keys: u64,
    seed: u64,
    stop: Arc<AtomicBool>,
    /// How many keys are filled in.
    filled: Arc<AtomicU64>,
    orders: mpsc::Receiver<Order>,
    /// For what is to be released, when the repo has heard of it.
    sender: mpsc::Sender<Order>,
    runtime: tokio::runtime::Handle,
}

impl Writer {
    fn run(self, mut engine: Engine) -> Result<Written> {
        let counter = engine.state(COUNTER)?;
        let start = Instant::now();
        for key in 0..self.keys {
            engine.with_key(&key)?.set(&counter, &0)?;
            if key.is_multiple_of(BATCH) {
                self.check_stop()?;
                self.filled.store(key, Ordering::Relaxed);
            }
        }
        let fill = start.elapsed();
        loop {
            self.check_stop()?;
            match self.orders.recv_timeout(Duration::from_millis(20)) {
                Ok(Order::Measure) => break,
                Ok(order) => self.obey(order, &mut engine, 0),
                Err(_) => {}
            }
        }
        let written = self.measure(&mut engine, &counter, fill)?;
        engine.close()?;
        Ok(written)
    }

    /// Updates until it is told to stop. The latency of an update has the pause in front of it: the operator waits for both.
    fn measure(&self, engine: &mut Engine, counter: &State<Value<u64>>, fill: Duration) -> Result<Written> {
        let (mut latency, mut rates) = (Spread::default(), Vec::new());
        let (start, mut updates) = (Instant::now(), 0);
        let mut last = start;
        loop {
            self.check_stop()?;
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order, Order::Stop) {
                    let store_bytes = engine.stats().store.map_or(0, |store| store.reached_bytes);
                    return Ok(Written { fill, updates, took: last - start, latency, rates, store_bytes });
                }
                self.obey(order, engine, updates);
            }
            for _ in 0..BATCH {
                let key = key_of(self.seed, updates, self.keys);
                engine.with_key(&key)?.update(counter, |count| *count.get_or_insert_default() += 1)?;
                updates += 1;
                let now = Instant::now();
                latency.record(now - last);
                last = now;
            }
            let part = ((last - start).as_millis() / RATE_EVERY.as_millis()) as usize;
            if rates.len() <= part {
                rates.resize(part + 1, 0);
            }
            rates[part] += BATCH;
        }
    }

    fn obey(&self, order: Order, engine: &mut Engine, updates: u64) {
        match order {
            Order::Checkpoint(barrier, sender) => {
                let shipment = engine.checkpoint(&barrier, &updates.to_be_bytes());
                // Nobody waits for it any more: the coordinator has failed, and says so.
                sender.send(shipment.map(|shipment| (shipment, updates))).ok();
            }
            Order::Confirm(checkpoint) => {
                let (confirmation, sender) = (engine.confirmation(checkpoint), self.sender.clone());
                self.runtime.spawn(async move {
                    if let Some(confirmed) = confirmation.await {
                        // The writer has stopped meanwhile: nothing is to be released.
                        sender.send(Order::Release(confirmed)).ok();
                    }
                });
            }
            Order::Release(confirmed) => engine.release(confirmed),
            // Taken by who reads orders; behind the first, they say nothing.
            Order::Measure | Order::Stop => {}
        }
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::new(ErrorKind::Closed, "interrupted")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hit_evenly_and_counted_as_they_are_hit() {
        let counters = counters_after(7, 100_000, 100);
        assert_eq!(counters.iter().sum::<u64>(), 100_000);
        assert!(counters.iter().all(|count| (800..1_200).contains(count)), "{counters:?}");
        assert_ne!(counters, counters_after(8, 100_000, 100));
        assert_eq!(counters_after(7, 0, 3), [0, 0, 0]);
    }
}
