//! A source's thread: reads, routes records to workers, and puts barriers between them.
//!
//! Records are sent some at a time. Before anything else is sent, all records that were read are: so a barrier stands exactly at the
//! source's position, and a watermark behind the records that it speaks of.

use std::sync::Arc;
use std::time::Duration;

use bedload_snapshot::Barrier;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::{Event, Polled, Source};
use crate::error::{Error, Result};
use crate::key_groups::{KeyHash, key_group};
use crate::ordered::Ordered;

/// How long a source that has nothing is left alone.
const NOTHING_PAUSE: Duration = Duration::from_millis(1);

/// What a worker reads from a source.
pub enum Item<K, R> {
    Records(Vec<(K, R)>),
    /// All that the source has before this time was sent.
    Watermark(u64),
    /// A checkpoint, and where the source is.
    Barrier(Barrier, Vec<u8>),
    /// The source holds no watermark back any more. Barriers may follow.
    End,
}

/// What a source's thread is told.
pub enum ToSource {
    Barrier(Barrier),
    /// Read no more; barriers follow.
    Halt,
}

/// Which worker a record goes to.
pub struct Route<K, R> {
    pub key_of: Arc<dyn Fn(&R) -> K + Send + Sync>,
    pub hash: KeyHash,
    /// The worker of each key group.
    pub worker_of: Vec<u32>,
}

impl<K: Ordered, R> Route<K, R> {
    fn worker(&self, key: &K, bytes: &mut Vec<u8>) -> Result<usize> {
        bytes.clear();
        key.encode(bytes);
        let group = key_group(self.hash.hash(key, bytes)?, self.worker_of.len() as u32);
        Ok(self.worker_of[usize::from(group)] as usize)
    }
}

/// The other side is gone: what it has to say of that, it says itself.
struct Gone;

/// A source, and where its records go.
pub struct Feed<'a, K, R> {
    pub source: &'a mut dyn Source<Record = R>,
    pub route: &'a Route<K, R>,
    pub workers: Vec<Sender<Item<K, R>>>,
    pub told: Receiver<ToSource>,
    pub events: Sender<Event>,
    /// How many records are read before they are sent.
    pub batch_records: usize,
}

impl<K: Ordered, R: Send> Feed<'_, K, R> {
    /// Reads until it is told to halt, or until nobody tells it anything any more.
    ///
    /// # Errors
    /// Those of the source.
    pub fn run(mut self) -> Result<()> {
        match self.feed() {
            Ok(()) | Err(Stopped::Gone) => Ok(()),
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    fn feed(&mut self) -> Result<(), Stopped> {
        let mut batches = Batches { parts: self.workers.iter().map(|_| Vec::new()).collect(), records: 0 };
        let (mut watermark, mut bytes) = (0, Vec::new());
        loop {
            match self.told.try_recv() {
                Ok(told) if self.obey(&told, &mut batches)? => return self.only_barriers(&mut batches),
                Ok(_) => continue,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            match self.source.next()? {
                Polled::Record(record) => {
                    let key = (self.route.key_of)(&record);
                    batches.parts[self.route.worker(&key, &mut bytes)?].push((key, record));
                    batches.records += 1;
                    if batches.records >= self.batch_records {
                        self.send(&mut batches)?;
                        self.send_watermark(&mut watermark)?;
                    }
                }
                Polled::Nothing => {
                    self.send(&mut batches)?;
                    self.send_watermark(&mut watermark)?;
                    match self.told.recv_timeout(NOTHING_PAUSE) {
                        Ok(told) if self.obey(&told, &mut batches)? => return self.only_barriers(&mut batches),
                        Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    }
                }
                Polled::End => {
                    self.send(&mut batches)?;
                    self.send_watermark(&mut watermark)?;
                    self.send_all(|| Item::End)?;
                    self.events.send(Event::SourceEnded).map_err(|_| Gone)?;
                    return self.only_barriers(&mut batches);
                }
            }
        }
    }

    /// Nothing is read any more, and checkpoints still need its barriers.
    fn only_barriers(&mut self, batches: &mut Batches<K, R>) -> Result<(), Stopped> {
        while let Ok(told) = self.told.recv() {
            self.obey(&told, batches)?;
        }
        Ok(())
    }

    /// Whether it has to halt.
    fn obey(&mut self, told: &ToSource, batches: &mut Batches<K, R>) -> Result<bool, Stopped> {
        self.send(batches)?;
        let ToSource::Barrier(barrier) = told else { return Ok(true) };
        let position = self.source.position();
        self.send_all(|| Item::Barrier(barrier.clone(), position.clone()))?;
        Ok(false)
    }

    fn send(&mut self, batches: &mut Batches<K, R>) -> Result<(), Gone> {
        for (worker, part) in self.workers.iter().zip(&mut batches.parts) {
            if !part.is_empty() {
                worker.send(Item::Records(std::mem::take(part))).map_err(|_| Gone)?;
            }
        }
        batches.records = 0;
        Ok(())
    }

    fn send_watermark(&mut self, sent: &mut u64) -> Result<(), Gone> {
        let watermark = self.source.watermark();
        if watermark > *sent {
            *sent = watermark;
            self.send_all(|| Item::Watermark(watermark))?;
        }
        Ok(())
    }

    fn send_all(&self, item: impl Fn() -> Item<K, R>) -> Result<(), Gone> {
        self.workers.iter().try_for_each(|worker| worker.send(item()).map_err(|_| Gone))
    }
}

/// Records that were read and not sent, by worker.
struct Batches<K, R> {
    parts: Vec<Vec<(K, R)>>,
    records: usize,
}

/// Why a source's thread ends early.
enum Stopped {
    Gone,
    Failed(Error),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Stopped {
        Stopped::Gone
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Failed(error)
    }
}
