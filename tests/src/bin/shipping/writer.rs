//! The writer: a thread that owns the store, updates it, and is asked for freezes.
//!
//! ```text
//!   coordinator ── Freeze, Shipped ──▶ [bounded channel] ──▶ writer   update update │freeze│ update update …
//!   coordinator ◀─ Froze ─────────────── [one answer] ────────────────────────────────┘
//! ```
//!
//! With [`Pace::Count`] it makes that many updates after each freeze, also while the checkpoint is shipped, and waits for the next
//! one then: what is uploaded does not depend on the machine's speed. With [`Pace::Rate`] it makes so many a second, whatever
//! happens beside.
//!
//! Only the call of an update and that of a freeze are on the clock. Nothing large is allocated or freed between them: a freeze behind
//! such a call pays for what the allocator puts off.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bedload_lsm::{Env, Frozen, Result, Slot, Store};
use tests::{GroupedKeys, Random};
use tokio::sync::oneshot;

use crate::latencies::Latencies;
use crate::{ENTRY_BYTES, GROUPS, Load, VALUE_BYTES, key, now};

/// How updates follow one another.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many behind each freeze, one after the other.
    Count(u64),
    /// So many a second.
    Rate(f64),
}

/// What the writer is asked.
pub enum Ask {
    /// To freeze the store: at once, or when the updates between two freezes are made.
    Freeze(oneshot::Sender<Result<Froze>>),
    /// To know that the last freeze is shipped, or given up; deltas up to this seal may go.
    Shipped(Option<u64>),
}

/// A freeze, as the writer saw it.
pub struct Froze {
    pub frozen: Frozen,
    /// Bytes of the different keys that were changed since the one before, and of their values.
    pub changed_bytes: u64,
    pub pause: Pause,
}

/// How long a freeze took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    pub whole: Duration,
    /// Of it: the thread could have run and had no processor.
    pub waited: Duration,
}

/// What the writer saw.
#[derive(Default)]
pub struct Written {
    /// Updates while a checkpoint was shipped.
    pub shipping: Latencies,
    /// All others.
    pub quiet: Latencies,
    /// The most that it was behind its pace.
    pub behind: Duration,
}

/// A running writer.
pub struct Writer {
    asks: SyncSender<Ask>,
    thread: JoinHandle<Result<Written>>,
}

impl Writer {
    /// Loads a store in `directory` and starts the thread.
    pub fn start(directory: &Path, load: &Load) -> Result<Writer> {
        let env = Env::builder().memory(load.memory).build()?;
        let mut store = Store::options().env(&env).shape(GroupedKeys).open(directory)?;
        for number in 0..load.keys {
            store.put(&key(number, GROUPS), &value(number))?;
        }
        let (asks, asked) = sync_channel(4);
        let work = Work {
            store,
            random: Random::new(1),
            keys: load.keys,
            groups: load.groups,
            pace: load.pace,
            changed_in: vec![0; load.keys as usize],
            freezes: 0,
            changed: load.keys,
            updates: 0,
            due: now(),
            freeze: None,
            is_shipping: false,
            written: Written::default(),
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || work.run(&asked));
        Ok(Writer { asks, thread: thread.expect("a thread can be had") })
    }

    /// Freezes the store.
    pub async fn freeze(&self) -> Result<Froze> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Freeze(answer));
        match answered.await {
            Ok(froze) => froze,
            Err(_) => panic!("the writer has failed: its last line tells why"),
        }
    }

    /// Tells the writer something, unless it has failed: its end tells why.
    pub fn ask(&self, ask: Ask) {
        self.asks.send(ask).ok();
    }

    /// Ends the thread and closes the store.
    pub fn stop(self) -> Result<Written> {
        drop(self.asks);
        self.thread.join().expect("the writer does not panic")
    }
}

/// The thread's own.
struct Work {
    store: Store,
    random: Random,
    keys: u64,
    groups: u64,
    pace: Pace,
    /// Behind which freeze each key was changed last.
    changed_in: Vec<u32>,
    freezes: u32,
    /// Different keys changed behind the last freeze; at first all that were loaded.
    changed: u64,
    /// Updates behind the last freeze, or since the start of the pace.
    updates: u64,
    /// When the next update is due.
    due: Instant,
    /// Who waits for a freeze.
    freeze: Option<oneshot::Sender<Result<Froze>>>,
    is_shipping: bool,
    written: Written,
}

impl Work {
    fn run(mut self, asks: &Receiver<Ask>) -> Result<Written> {
        let mut waited = Waited::open();
        self.due = now();
        loop {
            if self.freeze.is_some() && self.may_freeze() {
                self.answer(&mut waited);
            }
            match self.next_ask(asks) {
                Ok(Ask::Freeze(answer)) => self.freeze = Some(answer),
                Ok(Ask::Shipped(seal)) => {
                    self.is_shipping = false;
                    seal.into_iter().for_each(|seal| self.store.release(seal));
                }
                Err(TryRecvError::Empty) => self.update()?,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        self.store.close()?;
        Ok(self.written)
    }

    /// Whether the updates between two freezes are made. The first freeze is of what was loaded.
    fn may_freeze(&self) -> bool {
        match self.pace {
            Pace::Count(count) => self.freezes == 0 || self.updates == count,
            Pace::Rate(_) => true,
        }
    }

    /// What is asked before the next update, which is due now when there is nothing.
    fn next_ask(&self, asks: &Receiver<Ask>) -> std::result::Result<Ask, TryRecvError> {
        match self.pace {
            Pace::Count(count) if self.freezes == 0 || self.updates == count => {
                asks.recv().map_err(|_| TryRecvError::Disconnected)
            }
            Pace::Count(_) => asks.try_recv(),
            Pace::Rate(_) => match asks.recv_timeout(self.due.saturating_duration_since(now())) {
                Ok(ask) => Ok(ask),
                Err(RecvTimeoutError::Timeout) => Err(TryRecvError::Empty),
                Err(RecvTimeoutError::Disconnected) => Err(TryRecvError::Disconnected),
            },
        }
    }

    fn update(&mut self) -> Result<()> {
        // The group of a key is its number's remainder.
        let drawn = self.random.below(self.keys);
        let number = (drawn - drawn % GROUPS + drawn % self.groups).min(self.keys - 1);
        let place = &mut self.changed_in[number as usize];
        self.changed += u64::from(std::mem::replace(place, self.freezes) != self.freezes);
        let key = key(number, GROUPS);
        let start = now();
        self.store.update(&key, |slot: &mut Slot<'_>| {
            if let Some(value) = slot.value_mut() {
                value[0] = value[0].wrapping_add(1);
            }
        })?;
        let latencies = if self.is_shipping { &mut self.written.shipping } else { &mut self.written.quiet };
        latencies.record(start.elapsed());
        if let Pace::Rate(rate) = self.pace {
            self.written.behind = self.written.behind.max(start.saturating_duration_since(self.due));
            self.due += Duration::from_secs_f64(1.0 / rate);
        }
        self.updates += 1;
        Ok(())
    }

    /// Freezes for who waits for it.
    fn answer(&mut self, waited: &mut Waited) {
        let Some(answer) = self.freeze.take() else { return };
        let before = waited.read();
        let start = now();
        let frozen = self.store.freeze();
        let whole = start.elapsed();
        let pause = Pause { whole, waited: waited.read().saturating_sub(before).min(whole) };
        let changed_bytes = self.changed * ENTRY_BYTES;
        (self.changed, self.updates, self.is_shipping) = (0, 0, true);
        self.freezes += 1;
        let froze = frozen.map(|frozen| Froze { frozen, changed_bytes, pause });
        // Nobody listens when the command has failed meanwhile.
        answer.send(froze).ok();
    }
}

/// How long this thread has waited for a processor, by the system's count: nothing where there is none.
struct Waited(Option<File>);

impl Waited {
    #[expect(clippy::disallowed_methods, reason = "this file is the system's")]
    fn open() -> Waited {
        Waited(File::open("/proc/thread-self/schedstat").ok())
    }

    fn read(&mut self) -> Duration {
        let mut text = String::with_capacity(64);
        let read = self.0.as_mut().and_then(|file| {
            file.rewind().ok()?;
            file.read_to_string(&mut text).ok()
        });
        let nanoseconds = read.and_then(|_| text.split_whitespace().nth(1)?.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    }
}

/// Content that compresses to about two thirds, as that of serialized records does.
fn value(number: u64) -> [u8; VALUE_BYTES] {
    const TEXT: &[u8; 46] = b"carrier=WN;origin=LGA;dest=CHI;status=on-time;";
    let mut value = [0; VALUE_BYTES];
    let mut random = Random::new(number);
    for chunk in value[8..54].chunks_mut(8) {
        chunk.copy_from_slice(&random.draw().to_le_bytes()[..chunk.len()]);
    }
    value[54..].copy_from_slice(TEXT);
    value
}
