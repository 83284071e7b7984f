//! Runs that serve before they are here: pieces are fetched when they are first read, the rest in the background.
//!
//! ```text
//!   store ──ensure(range)──► LazyRun ──missing chunks──► Fetcher (threads of its own) ──range GET──► parcel
//!            blocks                      bitmap ◄── sparse file ◄──── checked, decompressed ────────────┘
//! ```
//!
//! A [`LazyRun`] is a [`Source`]: the store opens it as any run, reads its footer and directory, and serves. What is read first is
//! fetched first: a fetcher's background work waits while somebody waits for a chunk. When every chunk is here, whoever brought
//! it, and the digest of the whole agrees, the file gets the run's name in the pool. Trouble that may pass, of the network or
//! for want of room, makes the background pause and go on, for half a day or as its repo's
//! [`Patience`](crate::Patience) says.
//!
//! `ensure` blocks the thread that calls it, on a condition and never on a runtime; requests are made by the fetcher's own
//! threads. From any thread. One lock a run, held for bookkeeping and never over a request or a file.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use bedload_lsm::fs::Source;
use futures_util::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{FetchedChunks, ShippedRun, off_thread};
use crate::lease::HeldLease;
use crate::manifest::ClaimedRun;
use crate::parcel::{CHUNK_BYTES, chunk_count, chunk_range};
use crate::partial::PartialFile;

/// How many chunks the background fetches in one request.
const BACKGROUND_CHUNKS: u64 = 64;

/// How many chunks are fetched for a reader at least: neighbours are likely to be read next, and a request costs its latency.
const READER_CHUNKS: u64 = 4;

/// How many requests of the background are on their way at once.
const BACKGROUND_REQUESTS: usize = 4;

/// How long [`Fetcher::end`] waits for leases to be ended.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Threads that fetch for lazy runs. Dropped, they end with what they are doing, and leases on what is not here yet stay: see
/// [`Fetcher::end`].
pub struct Fetcher {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    /// Those of restores that are not complete.
    leases: Arc<Mutex<Vec<HeldLease>>>,
}

struct Shared {
    /// How many readers wait: the background stands back meanwhile.
    waiting: AtomicUsize,
    background: Semaphore,
    progress: Progress,
}

/// How far the background is.
#[derive(Debug, Default)]
pub struct Progress {
    total_bytes: AtomicU64,
    here_bytes: AtomicU64,
    fetched_parcel_bytes: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<Error>>,
}

impl Progress {
    /// The length of all runs.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }

    /// How much of that is on this machine.
    pub fn here_bytes(&self) -> u64 {
        self.here_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that went over the network.
    pub fn fetched_parcel_bytes(&self) -> u64 {
        self.fetched_parcel_bytes.load(Ordering::Relaxed)
    }

    /// How often the background has failed, paused, and gone on.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Why it failed last.
    pub fn last_failure(&self) -> Option<Error> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_failure(&self, error: &Error) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Fetcher {
    /// Starts `threads` of them.
    ///
    /// # Errors
    /// `Retry` when the system has no threads left.
    pub fn start(threads: usize) -> Result<Fetcher> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("bedload-fetch")
            .enable_all()
            .build()
            .map_err(|cause| Error::new(ErrorKind::Retry, format!("start threads that fetch: {cause}")))?;
        let background = Semaphore::new(BACKGROUND_REQUESTS);
        let shared = Shared { waiting: AtomicUsize::new(0), background, progress: Progress::default() };
        Ok(Fetcher { runtime: Some(runtime), shared: Arc::new(shared), leases: Arc::default() })
    }

    /// How far the background is.
    pub fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// Gives up what is not here yet: ends the leases that keep it, within a few seconds, or leaves them to be declared void. Nothing may be
    /// read behind this that is not here. Waits for the repo, like a read.
    pub fn end(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let leases = std::mem::take(&mut *lock(&self.leases));
        if !leases.is_empty() {
            let (told, heard) = mpsc::channel();
            runtime.spawn(async move {
                for lease in leases {
                    lease.end().await.ok();
                }
                told.send(()).ok();
            });
            heard.recv_timeout(END_LIMIT).ok();
        }
        // May be called inside of a runtime, where waiting for this one is not allowed.
        runtime.shutdown_background();
    }

    /// Holds a lease until the restore that it is for is complete.
    pub(crate) fn hold(&self, lease: HeldLease) -> LeaseInUse {
        lock(&self.leases).push(lease.clone());
        LeaseInUse { lease, leases: Arc::clone(&self.leases) }
    }

    /// Where its work runs.
    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.as_ref().expect("it is taken by drop alone").handle()
    }

    /// A run that is fetched as it is read, into `file`, which has the chunks of `known`. `shipped` is its parcel.
    pub(crate) fn lazy_run(
        &self,
        run: &ClaimedRun,
        shipped: ShippedRun,
        file: PartialFile,
        known: Vec<u64>,
    ) -> Arc<LazyRun> {
        let count = chunk_count(run.bytes);
        let lazy = LazyRun {
            run: *run,
            shipped,
            file,
            here: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            is_complete: AtomicBool::new(false),
            state: Mutex::new(State { missing: count, fetching: Vec::new(), failed: None }),
            arrived: Condvar::new(),
            shared: Arc::clone(&self.shared),
            handle: self.handle().clone(),
        };
        self.shared.progress.total_bytes.fetch_add(run.bytes, Ordering::Relaxed);
        lazy.note(known, &mut lazy.state());
        Arc::new(lazy)
    }

    /// Fetches all of `runs` in the background, one after the other; `done` hears of the end. What may pass is tried again as
    /// often as the repo's patience says; meanwhile the other runs have their turn, and readers bring what they need.
    pub(crate) fn fetch_rest(
        &self,
        runs: Vec<Arc<LazyRun>>,
        span: Span,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let mut result = Ok(());
            let mut runs = VecDeque::from(runs);
            let mut failures: u32 = 0;
            let mut unsettled: Option<Arc<LazyRun>> = None;
            while let Some(run) = runs.pop_front() {
                let missing = run.state().missing;
                // The disk has the last run while the network has the next. What fails to be settled is not settled again: whether a
                // failed sync has lost something can not be asked a second time.
                let settle = settle_off_thread(unsettled.take());
                let (fetched, settled) = futures_util::future::join(run.fetch_missing(), settle).await;
                result = result.and(settled);
                match fetched {
                    Ok(()) => {
                        failures = 0;
                        tracing::debug!(run = %run.run.parcel.run, bytes = run.run.bytes, "fetched a run");
                        unsettled = Some(run);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full) => {
                        let is_further = run.state().missing < missing;
                        failures = if is_further { 1 } else { failures.saturating_add(1) };
                        if failures > run.shipped.repo().background_failures() {
                            done(Err(error));
                            return;
                        }
                        tracing::warn!(%error, failures, "fetching beside failed and goes on after a pause");
                        shared.progress.note_failure(&error);
                        runs.push_back(Arc::clone(&run));
                        run.shipped.repo().pause(failures).await;
                    }
                    Err(error) => result = result.and(Err(error)),
                }
            }
            result = result.and(settle_off_thread(unsettled).await);
            done(result);
        };
        self.handle().spawn(work.instrument(span));
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped inside of a runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fetcher").field("progress", self.progress()).finish_non_exhaustive()
    }
}

/// A lease that a fetcher ends when it is given up before the restore is complete.
pub(crate) struct LeaseInUse {
    lease: HeldLease,
    leases: Arc<Mutex<Vec<HeldLease>>>,
}

impl LeaseInUse {
    /// Ends it. A fetcher that is given up meanwhile ends it once more: this may never come to its end then.
    pub async fn end(self) {
        self.lease.end().await.ok();
        lock(&self.leases).retain(|lease| lease.id != self.lease.id);
    }
}

fn lock(leases: &Mutex<Vec<HeldLease>>) -> MutexGuard<'_, Vec<HeldLease>> {
    leases.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run whose bytes arrive as they are read.
pub(crate) struct LazyRun {
    run: ClaimedRun,
    shipped: ShippedRun,
    file: PartialFile,
    /// A bit for each chunk; set when its bytes stand in the file.
    here: Vec<AtomicU64>,
    is_complete: AtomicBool,
    state: Mutex<State>,
    /// Told when chunks have arrived, or have not.
    arrived: Condvar,
    shared: Arc<Shared>,
    handle: tokio::runtime::Handle,
}

struct State {
    /// How many chunks are not here.
    missing: u64,
    /// Chunks that somebody is fetching.
    fetching: Vec<Range<u64>>,
    /// Which chunks failed last, and why; who waits for one of them takes it.
    failed: Option<(Range<u64>, Error)>,
}

/// Ends a fetch that was never finished, because its thread is gone: who waits for it must not wait for ever.
struct Unfinished {
    run: Arc<LazyRun>,
    chunks: Range<u64>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut state = self.run.state();
        let count = state.fetching.len();
        state.fetching.retain(|range| *range != self.chunks);
        if state.fetching.len() < count {
            let message = "fetching has ended: its Fetcher was dropped; keep it for as long as the store is open";
            state.failed = Some((self.chunks.clone(), Error::new(ErrorKind::Closed, message)));
            self.run.arrived.notify_all();
        }
    }
}

impl LazyRun {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_here(&self, chunk: u64) -> bool {
        let word = self.here[(chunk / 64) as usize].load(Ordering::Acquire);
        word >> (chunk % 64) & 1 == 1
    }

    /// The first of `chunks` that is not here.
    fn first_missing(&self, chunks: Range<u64>) -> Option<u64> {
        chunks.into_iter().find(|chunk| !self.is_here(*chunk))
    }

    /// Fetches some chunks, checks them, puts them into the file, and tells who waits.
    async fn fetch(self: &Arc<Self>, chunks: Range<u64>) -> Result<()> {
        let fetched = self.fetch_into_file(&chunks).await;
        {
            let mut state = self.state();
            state.fetching.retain(|range| *range != chunks);
            match &fetched {
                Ok(()) => self.note(chunks, &mut state),
                Err(error) => state.failed = Some((chunks, error.clone())),
            }
        }
        self.arrived.notify_all();
        fetched
    }

    /// Takes note that some chunks are here.
    fn note(&self, chunks: impl IntoIterator<Item = u64>, state: &mut State) {
        let mut arrived = 0;
        for chunk in chunks {
            if !self.is_here(chunk) {
                self.here[(chunk / 64) as usize].fetch_or(1 << (chunk % 64), Ordering::Release);
                state.missing -= 1;
                let range = chunk_range(self.run.bytes, chunk);
                arrived += range.end - range.start;
            }
        }
        self.shared.progress.here_bytes.fetch_add(arrived, Ordering::Relaxed);
    }

    async fn fetch_into_file(self: &Arc<Self>, chunks: &Range<u64>) -> Result<()> {
        let bytes = self.shipped.chunks(chunks.clone()).await?;
        self.put(chunks, bytes).await
    }

    /// Puts chunks that were fetched into the file.
    async fn put(self: &Arc<Self>, chunks: &Range<u64>, bytes: Vec<u8>) -> Result<()> {
        let stored_bytes = self.shipped.stored_bytes(chunks.clone());
        self.shared.progress.fetched_parcel_bytes.fetch_add(stored_bytes, Ordering::Relaxed);
        let (run, chunks) = (Arc::clone(self), chunks.clone());
        off_thread(move || run.file.write(chunks, &bytes)).await
    }

    /// Fetches whatever is missing, in several requests at once. Behind a failure nothing more is asked for, and what was is waited for.
    async fn fetch_missing(self: &Arc<Self>) -> Result<()> {
        let count = chunk_count(self.run.bytes);
        let has_failed = AtomicBool::new(false);
        let mut next = 0;
        let pieces = std::iter::from_fn(|| {
            let first = self.first_missing(next..count).filter(|_| !has_failed.load(Ordering::Relaxed))?;
            let limit = count.min(first + BACKGROUND_CHUNKS);
            next = (first..limit).find(|chunk| self.is_here(*chunk)).unwrap_or(limit);
            Some(first..next)
        });
        let fetch = |chunks: Range<u64>| self.fetch_beside(chunks);
        let mut fetched = futures_util::stream::iter(pieces.map(fetch)).buffer_unordered(BACKGROUND_REQUESTS);
        let mut result = Ok(());
        while let Some(piece) = fetched.next().await {
            has_failed.fetch_or(piece.is_err(), Ordering::Relaxed);
            result = result.and(piece);
        }
        result
    }

    /// Fetches some chunks for the background, when no reader waits.
    async fn fetch_beside(self: &Arc<Self>, chunks: Range<u64>) -> Result<()> {
        let _permit = self.shared.background.acquire().await;
        while self.shared.waiting.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.fetch(chunks).await
    }

    /// Compares the digest of the whole and gives the file its name.
    fn settle(&self) -> Result<()> {
        self.file.settle(self.run.digest)?;
        self.is_complete.store(true, Ordering::Release);
        Ok(())
    }

    /// Sees to it that some chunks are here, for somebody who will read them soon: `fetched` has come with the run's table.
    pub async fn bring(self: &Arc<Self>, chunks: Range<u64>, fetched: Option<FetchedChunks>) -> Result<()> {
        if self.first_missing(chunks.clone()).is_none() {
            return Ok(());
        }
        match fetched.filter(|fetched| fetched.chunks == chunks) {
            Some(fetched) => {
                self.put(&chunks, fetched.bytes).await?;
                self.note(chunks, &mut self.state());
                Ok(())
            }
            None => self.fetch(chunks).await,
        }
    }

    /// Waits until some chunks are here, and has them fetched.
    fn wait_for(self: &Arc<Self>, chunks: Range<u64>) -> Result<()> {
        let _waiting = Waiting::new(&self.shared);
        let count = chunk_count(self.run.bytes);
        // What failed before this reader asked is tried again.
        let (mut tries, mut tries_began) = (0, false);
        let mut state = self.state();
        while let Some(first) = self.first_missing(chunks.clone()) {
            let failed = state.failed.take_if(|(chunks, _)| chunks.contains(&first));
            if let Some((_, error)) = failed.filter(|_| tries_began) {
                tries += 1;
                if tries > 1 || error.kind() != ErrorKind::Retry {
                    return Err(error);
                }
            }
            tries_began = true;
            if state.fetching.iter().any(|range| range.contains(&first)) {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let wanted = first..count.min(chunks.end.max(first + READER_CHUNKS));
            state.fetching.push(wanted.clone());
            // Without threads that fetch the task is dropped here and now, which takes the lock.
            drop(state);
            let unfinished = Unfinished { run: Arc::clone(self), chunks: wanted };
            // What it says is told by the condition.
            self.handle.spawn(async move { unfinished.run.fetch(unfinished.chunks.clone()).await.ok() });
            state = self.state();
        }
        Ok(())
    }
}

/// Settles a run, if there is one, on a thread for what blocks.
async fn settle_off_thread(run: Option<Arc<LazyRun>>) -> Result<()> {
    match run {
        Some(run) => off_thread(move || run.settle()).await,
        None => Ok(()),
    }
}

/// Counts a waiting reader for as long as it lives.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Waiting<'a> {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A lazy run as the store holds it.
#[derive(Debug)]
pub(crate) struct LazySource(pub Arc<LazyRun>);

impl Source for LazySource {
    fn bytes(&self) -> u64 {
        self.0.run.bytes
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.ensure(offset..offset.saturating_add(into.len() as u64))?;
        self.0.file.read_exact_at(into, offset)
    }

    fn ensure(&self, range: Range<u64>) -> Result<()> {
        if self.0.is_complete.load(Ordering::Acquire) || range.is_empty() {
            return Ok(());
        }
        let last = range.end.min(self.0.run.bytes).div_ceil(CHUNK_BYTES);
        let chunks = range.start / CHUNK_BYTES..last;
        match self.0.first_missing(chunks.clone()) {
            None => Ok(()),
            Some(_) => self.0.wait_for(chunks),
        }
    }

    fn is_complete(&self) -> bool {
        self.0.is_complete.load(Ordering::Acquire)
    }

    fn path(&self) -> &Path {
        self.0.file.path()
    }
}

impl fmt::Debug for LazyRun {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LazyRun({}, {} chunks missing)", self.run.parcel.run, self.state().missing)
    }
}
