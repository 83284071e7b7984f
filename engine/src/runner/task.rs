//! A worker's thread: an engine and its operator, fed by all sources.
//!
//! ```text
//!   source a   r r r ▮ r r        a has delivered the barrier: it is not read until b has too,
//!   source b   r r r r r r ▮      so the state holds exactly what stands before all barriers
//! ```
//!
//! Event time is the least watermark of the sources that have not ended; when all have, the greatest. Processing time is that of this
//! machine's clock, and moves on between two messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bedload_snapshot::{Barrier, CheckpointId};
use crossbeam::channel::{Receiver, Select, Sender, unbounded};
use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::feed::Item;
use super::{Event, Operator, SourcePosition, encode_positions, now_ms};
use crate::coordinator::{FromWorker, ToWorker};
use crate::engine::{Confirmed, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::ordered::Ordered;
use crate::seeded::{Bug, is_seeded};
use crate::shipment::Shipment;
use crate::ttl::Clock;

/// How often processing time moves on when there is nothing to do, where there are timers by it.
const TICK: Duration = Duration::from_millis(10);

/// A source as a worker sees it.
pub struct Input<K, R> {
    pub name: String,
    pub items: Receiver<Item<K, R>>,
    pub state: InputState,
}

/// How far a source is, for a worker.
#[derive(Default)]
pub struct InputState {
    watermark: u64,
    has_ended: bool,
    is_gone: bool,
    /// Where the source is, when it has delivered the barrier that others have not.
    position: Option<Vec<u8>>,
}

/// A worker.
pub struct Task<K, R, O> {
    pub worker: u32,
    pub engine: Engine,
    pub operator: O,
    pub inputs: Vec<Input<K, R>>,
    pub told: Receiver<ToWorker>,
    pub events: Sender<Event>,
    pub runtime: Handle,
    pub beside: Beside,
    /// Checkpoints that were given up before this worker came to them.
    pub aborted: BTreeSet<CheckpointId>,
}

/// What goes on beside a worker's thread: it waits for the repo and for the disk.
pub struct Beside {
    /// The last shipment, which may be on its way.
    shipping: Option<JoinHandle<()>>,
    /// Ends shipments of checkpoints that are given up.
    cancels: BTreeMap<CheckpointId, oneshot::Sender<()>>,
    /// The last of what is done when a checkpoint exists, or was given up.
    settling: Option<JoinHandle<()>>,
    /// From there.
    confirmed: (Sender<Confirmed>, Receiver<Confirmed>),
}

impl Beside {
    pub fn new() -> Beside {
        Beside { shipping: None, cancels: BTreeMap::new(), settling: None, confirmed: unbounded() }
    }
}

impl<K: Ordered, R, O: Operator<K, R>> Task<K, R, O> {
    /// Works until it is told to stop, or until nobody tells it anything any more.
    ///
    /// # Errors
    /// Those of the operator and of the engine.
    pub fn run(&mut self) -> Result<()> {
        loop {
            self.advance_processing_time()?;
            let tick = self.has_processing_timers().then_some(TICK);
            let open: Vec<usize> = (0..self.inputs.len())
                .filter(|at| {
                    let state = &self.inputs[*at].state;
                    !state.is_gone && (state.position.is_none() || is_seeded(Bug::BarriersNotAligned))
                })
                .collect();
            let mut select = Select::new();
            select.recv(&self.told);
            select.recv(&self.beside.confirmed.1);
            for at in &open {
                select.recv(&self.inputs[*at].items);
            }
            let ready = match tick {
                None => select.select(),
                Some(tick) => match select.select_timeout(tick) {
                    Ok(ready) => ready,
                    Err(_) => continue,
                },
            };
            match ready.index() {
                0 => match ready.recv(&self.told) {
                    Ok(ToWorker::Stop) | Err(_) => {
                        self.settle_all();
                        return Ok(());
                    }
                    Ok(told) => self.obey(told)?,
                },
                1 => {
                    let confirmed = ready.recv(&self.beside.confirmed.1).expect("its sender is here too");
                    self.engine.release(confirmed);
                }
                number => {
                    let at = open[number - 2];
                    match ready.recv(&self.inputs[at].items) {
                        Ok(item) => self.take(at, item)?,
                        // Its thread has ended, and why is told elsewhere.
                        Err(_) => self.inputs[at].state.is_gone = true,
                    }
                }
            }
        }
    }

    fn obey(&mut self, told: ToWorker) -> Result<()> {
        match told {
            ToWorker::Confirm(checkpoint) => {
                self.beside.cancels = self.beside.cancels.split_off(&checkpoint);
                self.beside.cancels.remove(&checkpoint);
                let (confirmation, confirmed) = (self.engine.confirmation(checkpoint), self.beside.confirmed.0.clone());
                self.settle(async move {
                    if let Some(seal) = confirmation.await {
                        // Nobody listens any more when the job has ended.
                        confirmed.send(seal).ok();
                    }
                });
                self.operator.confirmed(checkpoint)
            }
            ToWorker::Abort(checkpoint) => {
                self.aborted.insert(checkpoint);
                if let Some(cancel) = self.beside.cancels.remove(&checkpoint) {
                    // One that has ended listens no more.
                    cancel.send(()).ok();
                }
                let abortion = self.engine.abortion(checkpoint);
                self.settle(abortion);
                Ok(())
            }
            // The first was done by who opened the engine, and barriers come through the sources.
            ToWorker::Start(_) | ToWorker::Checkpoint(_) | ToWorker::Stop => Ok(()),
        }
    }

    /// Does this beside, behind what was to be done for earlier checkpoints.
    fn settle(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let former = self.beside.settling.take();
        self.beside.settling = Some(self.runtime.spawn(async move {
            if let Some(former) = former {
                former.await.ok();
            }
            work.await;
        }));
    }

    fn settle_all(&mut self) {
        if let Some(settling) = self.beside.settling.take() {
            self.runtime.block_on(settling).ok();
        }
    }

    fn take(&mut self, at: usize, item: Item<K, R>) -> Result<()> {
        match item {
            Item::Records(records) => {
                for (key, record) in records {
                    self.operator.process(&mut self.engine, &key, record)?;
                }
                Ok(())
            }
            Item::Watermark(watermark) => {
                self.inputs[at].state.watermark = watermark;
                self.advance_watermark()
            }
            Item::End => {
                self.inputs[at].state.has_ended = true;
                self.advance_watermark()
            }
            Item::Barrier(barrier, position) => {
                self.inputs[at].state.position = Some(position);
                if self.inputs.iter().all(|input| input.state.position.is_some()) {
                    self.checkpoint(&barrier)?;
                }
                Ok(())
            }
        }
    }

    /// All sources have delivered the barrier.
    fn checkpoint(&mut self, barrier: &Barrier) -> Result<()> {
        let position = |input: &mut Input<K, R>| SourcePosition {
            source: input.name.clone(),
            bytes: input.state.position.take().expect("all sources have delivered the barrier"),
        };
        let positions: Vec<SourcePosition> = self.inputs.iter_mut().map(position).collect();
        self.aborted = self.aborted.split_off(&barrier.checkpoint);
        if self.aborted.remove(&barrier.checkpoint) {
            return Ok(());
        }
        self.operator.at_barrier(&mut self.engine, barrier.checkpoint)?;
        match self.engine.checkpoint(barrier, &encode_positions(&positions)?) {
            Ok(shipment) => self.ship(barrier.checkpoint, shipment),
            Err(error) => {
                let (worker, checkpoint, reason) = (self.worker, barrier.checkpoint, error.to_string());
                self.events.send(Event::Said(FromWorker::Declined { worker, checkpoint, reason })).ok();
            }
        }
        Ok(())
    }

    /// Ships beside, one shipment after the other: what an aborted one has uploaded is used by the next.
    fn ship(&mut self, checkpoint: CheckpointId, shipment: Shipment) {
        let (worker, events, former) = (self.worker, self.events.clone(), self.beside.shipping.take());
        let (cancel, cancelled) = oneshot::channel::<()>();
        self.beside.cancels.insert(checkpoint, cancel);
        self.beside.shipping = Some(self.runtime.spawn(async move {
            if let Some(former) = former {
                // It has told its own fate.
                former.await.ok();
            }
            // A task of its own, whose panic is told.
            let shipping = tokio::spawn(shipment.ship());
            let end = shipping.abort_handle();
            let shipped = match select(shipping, cancelled).await {
                Either::Left((shipped, _)) => shipped,
                Either::Right((Ok(()), shipping)) => {
                    end.abort();
                    shipping.await.ok();
                    return;
                }
                // The checkpoint exists, so it was shipped; or the worker is gone.
                Either::Right((Err(_), shipping)) => shipping.await,
            };
            let bug = |cause| Error::new(ErrorKind::Bug, format!("shipping: {cause}"));
            let said = match shipped.map_err(bug).and_then(|shipped| shipped) {
                Ok(shipped) => FromWorker::Claimed { worker, checkpoint, claim: shipped.claim },
                Err(error) => FromWorker::Declined { worker, checkpoint, reason: error.to_string() },
            };
            // Nobody listens any more when the job has ended.
            events.send(Event::Said(said)).ok();
        }));
    }

    fn advance_watermark(&mut self) -> Result<()> {
        let open = self.inputs.iter().filter(|input| !input.state.has_ended);
        let least = open.map(|input| input.state.watermark).min();
        let greatest = self.inputs.iter().map(|input| input.state.watermark).max();
        let watermark = least.or(greatest).unwrap_or(0);
        if watermark > self.engine.now(Clock::Event) {
            let operator = &mut self.operator;
            self.engine.advance_watermark(watermark, |key, timer| operator.on_timer(key, timer))?;
        }
        Ok(())
    }

    fn advance_processing_time(&mut self) -> Result<()> {
        let operator = &mut self.operator;
        self.engine.advance_processing_time(now_ms(), |key, timer| operator.on_timer(key, timer))?;
        Ok(())
    }

    fn has_processing_timers(&self) -> bool {
        self.engine.timer_names().iter().any(|timers| timers.clock == Clock::Processing)
    }
}
