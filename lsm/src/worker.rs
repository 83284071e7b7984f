//! The threads that flush and merge, for all stores of an environment; or none, and the caller steps.
//!
//! What is most urgent goes first: flushes, then young merges, then rebases (the order of SILK, ATC'19). A long merge asks
//! between blocks whether a flush waits and does it on the spot. Stores take turns. A store whose merges are too far behind
//! puts its flushes off ([`Class::LateFlush`]): a writer that outruns the merges fills its memory and waits, instead of
//! filling the disk with slices that every read must pass.
//!
//! Without threads ([`Pool::stepped`]) each [`Pool::step`] does one piece of work chosen by the caller's random numbers: a
//! test is then deterministic from its seed.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::options::Time;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How long a thread lets a store rest whose work has just failed.
pub(crate) const REST_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Classes of work, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Flush,
    YoungMerge,
    Rebase,
    /// Flushes that were put off: when no merge is to be had.
    LateFlush,
}

impl Class {
    const ALL: [Class; 4] = [Class::Flush, Class::YoungMerge, Class::Rebase, Class::LateFlush];
}

/// What came of a try to do work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was none of this class.
    Nothing,
    Done,
    /// It failed (the store knows how); it is worth a try later.
    Failed,
}

/// A store, as far as workers know it.
pub(crate) trait Work: Send + Sync {
    /// Does one piece of work of this class.
    fn work(&self, class: Class) -> Outcome;
}

/// Worker threads and the stores they serve.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    thread_count: usize,
}

struct Inner {
    state: Mutex<State>,
    wake: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    stores: Vec<Weak<dyn Work>>,
    /// Where the next turn starts.
    turn: usize,
    /// Counts wake-ups, so that none is lost between a fruitless look and the wait.
    wakes: u64,
}

impl Pool {
    /// A pool of `threads` threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(threads: usize) -> std::io::Result<Pool> {
        let mut pool = Pool::stepped();
        for index in 0..threads {
            let inner = Arc::clone(&pool.inner);
            let name = format!("bedload-{index}");
            let handle = thread::Builder::new().name(name).spawn(move || inner.run())?;
            pool.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
        pool.thread_count = threads;
        Ok(pool)
    }

    /// A pool without threads.
    pub fn stepped() -> Pool {
        let inner = Inner { state: Mutex::default(), wake: Condvar::new(), stop: AtomicBool::new(false) };
        Pool { inner: Arc::new(inner), threads: Mutex::default(), thread_count: 0 }
    }

    /// Whether work happens only in [`Pool::step`].
    pub fn is_stepped(&self) -> bool {
        self.thread_count == 0
    }

    /// Serves a store from now on, for as long as it lives.
    pub fn serve(&self, store: Weak<dyn Work>) {
        let mut state = self.inner.lock();
        state.stores.retain(|store| store.strong_count() > 0);
        state.stores.push(store);
    }

    /// How many stores are served.
    pub fn stores(&self) -> usize {
        self.inner.lock().stores.iter().filter(|store| store.strong_count() > 0).count()
    }

    /// Says that there may be work.
    pub fn wake(&self) {
        if self.is_stepped() {
            return;
        }
        self.inner.lock().wakes += 1;
        self.inner.wake.notify_all();
    }

    /// How often [`Pool::wake`] was called.
    #[cfg(test)]
    pub fn wakes(&self) -> u64 {
        self.inner.lock().wakes
    }

    /// Does the flushes that wait, of all stores, on the caller's thread: what a long merge does between blocks.
    pub fn flush_all(&self) {
        let stores: Vec<_> = self.inner.lock().stores.iter().filter_map(Weak::upgrade).collect();
        for store in stores {
            // Its failure is the store's own business.
            store.work(Class::Flush);
        }
    }

    /// Does one piece of work on the caller's thread, of a store and class that `random` chooses; false when there is none.
    pub fn step(&self, random: &mut dyn FnMut() -> u64) -> bool {
        let stores: Vec<_> = self.inner.lock().stores.iter().filter_map(Weak::upgrade).collect();
        let choices = stores.len() * Class::ALL.len();
        if choices == 0 {
            return false;
        }
        let start = random() as usize % choices;
        (0..choices).map(|offset| (start + offset) % choices).any(|choice| {
            stores[choice / Class::ALL.len()].work(Class::ALL[choice % Class::ALL.len()]) == Outcome::Done
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        self.inner.lock().wakes += 1;
        self.inner.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let me = thread::current().id();
        for thread in threads {
            // The last owner may be a worker itself, which cannot wait for its own end.
            if thread.thread().id() != me {
                thread.join().expect("a worker catches the panics of its work");
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let (stores, seen) = {
                let mut state = self.lock();
                let mut stores: Vec<_> = state.stores.iter().filter_map(Weak::upgrade).collect();
                state.turn = state.turn.wrapping_add(1);
                let count = stores.len().max(1);
                stores.rotate_left(state.turn % count);
                (stores, state.wakes)
            };
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let mut failed = false;
            // One that fails takes no turn from the others.
            let done = Class::ALL.iter().any(|class| {
                stores.iter().any(|store| {
                    let outcome = store.work(*class);
                    failed |= outcome == Outcome::Failed;
                    outcome == Outcome::Done
                })
            });
            drop(stores);
            if !done {
                self.wait(seen, failed.then_some(REST_AFTER_FAILURE));
            }
        }
    }

    fn wait(&self, seen: u64, rest: Option<Duration>) {
        let state = self.lock();
        let stop = || self.stop.load(Ordering::Acquire);
        match rest {
            Some(rest) => {
                let waits = |_: &mut State| !stop();
                drop(self.wake.wait_timeout_while(state, rest, waits).unwrap_or_else(PoisonError::into_inner));
            }
            None => {
                let waits = |state: &mut State| state.wakes == seen && !stop();
                drop(self.wake.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}

/// A token bucket over the bytes that merges write; one for all stores of an environment.
pub(crate) struct IoRate {
    bytes_per_second: AtomicU64,
    /// The time, in ns, up to which the bytes written so far are paid for.
    paid_until_ns: AtomicU64,
    time: Arc<dyn Time>,
}

impl IoRate {
    /// At most this many bytes a second; 0: as many as the disk takes.
    pub fn new(bytes_per_second: u64, time: Arc<dyn Time>) -> IoRate {
        IoRate { bytes_per_second: AtomicU64::new(bytes_per_second), paid_until_ns: AtomicU64::new(0), time }
    }

    /// Pays for `bytes`; returns how long the caller should rest before it writes more.
    pub fn pay(&self, bytes: u64) -> Duration {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return Duration::ZERO;
        }
        let now = u64::try_from(self.time.now().as_nanos()).unwrap_or(u64::MAX);
        let price = (u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64;
        let pay = |paid: u64| Some(paid.max(now).saturating_add(price));
        let before = self.paid_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        let paid = before.unwrap_or_else(|paid| paid).max(now).saturating_add(price);
        Duration::from_nanos(paid - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Duration);

    impl Time for Fixed {
        fn now(&self) -> Duration {
            self.0
        }
    }

    #[test]
    fn the_rate_makes_writers_rest_in_proportion() {
        let rate = IoRate::new(1_000_000, Arc::new(Fixed(Duration::from_secs(1))));
        assert_eq!(rate.pay(500_000), Duration::from_millis(500));
        assert_eq!(rate.pay(500_000), Duration::from_secs(1));
        let free = IoRate::new(0, Arc::new(Fixed(Duration::ZERO)));
        assert_eq!(free.pay(u64::MAX), Duration::ZERO);
    }

    struct Counting(AtomicU64);

    impl Work for Counting {
        fn work(&self, class: Class) -> Outcome {
            if class != Class::YoungMerge || self.0.load(Ordering::SeqCst) == 0 {
                return Outcome::Nothing;
            }
            self.0.fetch_sub(1, Ordering::SeqCst);
            Outcome::Done
        }
    }

    #[test]
    fn a_stepped_pool_works_only_when_stepped() {
        let pool = Pool::stepped();
        let store = Arc::new(Counting(AtomicU64::new(2)));
        let as_work: Arc<dyn Work> = store.clone();
        pool.serve(Arc::downgrade(&as_work));
        let mut random = || 7;
        assert!(pool.step(&mut random) && pool.step(&mut random));
        assert!(!pool.step(&mut random));
    }

    #[test]
    fn threads_do_the_work_and_end_with_the_pool() {
        let pool = Pool::start(2).unwrap();
        let store = Arc::new(Counting(AtomicU64::new(100)));
        let as_work: Arc<dyn Work> = store.clone();
        pool.serve(Arc::downgrade(&as_work));
        pool.wake();
        while store.0.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        drop(pool);
    }
}
