//! An object store in memory that fails as asked, with a clock of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// How often a slow change is asked before it happens.
const SLOW_POLLS: u32 = 3;

/// A way for a request to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFault {
    /// It fails and nothing has happened.
    FailBefore,
    /// It fails though it has happened.
    FailAfter,
    /// It is never answered, and nothing has happened.
    Hang,
    /// It has happened and is never answered.
    HangAfter,
    /// It succeeds when it has been asked for its answer some times.
    Slow,
    /// A body ends early, which the reader is told.
    CutBody,
    /// A body ends early, and looks complete.
    ShortBody,
    /// A bit of a body is wrong.
    WrongBytes,
    /// A listing misses what was written last.
    StaleList,
}

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To write an object, whatever was there.
    Put,
    /// To create an object.
    Create,
    /// To start an upload in parts.
    StartParts,
    /// To take a part.
    Part,
    /// To make an object of the parts.
    CompleteParts,
    /// To give the parts up.
    AbortParts,
    /// To read an object or a part of it.
    Get,
    /// To look at an object.
    Head,
    /// To list objects.
    List,
    /// To delete an object.
    Delete,
}

/// A request, when a fault is chosen for it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How many requests came before it.
    pub index: u64,
    /// What is asked.
    pub operation: Operation,
    /// About which object or prefix.
    pub path: &'a str,
    /// Which bytes of it.
    pub range: Option<Range<u64>>,
    /// A random number.
    pub random: u64,
}

/// Chooses how a request goes wrong, if it does.
pub type Choose = dyn FnMut(&Request<'_>) -> Option<ObjectFault> + Send;

/// Is told of an object that was written: its path, and its bytes.
pub type Witness = dyn Fn(&str, &PutPayload) + Send + Sync;

/// An object store in memory that fails as asked. Clones share the objects.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<InMemory>,
    state: Arc<Mutex<State>>,
    /// Called before a request takes effect and before it is answered: a scheduler of tests goes elsewhere meanwhile.
    switch: Arc<dyn Fn() + Send + Sync>,
    /// Told of each object that is written, in order.
    witness: Arc<Witness>,
    /// Whether `Create` overwrites, as servers do that ignore the condition.
    ignores_conditions: bool,
}

struct State {
    choose: Box<Choose>,
    requests: u64,
    surfaced: u64,
    random: u64,
    now_ms: u64,
    /// When each object was written, and by which mutation.
    written: BTreeMap<String, (u64, u64)>,
    mutations: u64,
    bytes_up: u64,
    bytes_down: u64,
}

impl Default for FaultStore {
    fn default() -> FaultStore {
        FaultStore::new(|_| None)
    }
}

impl FaultStore {
    /// An empty store whose requests fail as `choose` says.
    pub fn new(choose: impl FnMut(&Request<'_>) -> Option<ObjectFault> + Send + 'static) -> FaultStore {
        let state = State {
            choose: Box::new(choose),
            requests: 0,
            surfaced: 0,
            random: 1,
            now_ms: 1_000,
            written: BTreeMap::new(),
            mutations: 0,
            bytes_up: 0,
            bytes_down: 0,
        };
        let (inner, state) = (Arc::new(InMemory::new()), Arc::new(Mutex::new(state)));
        FaultStore { inner, state, switch: Arc::new(|| ()), witness: Arc::new(|_, _| ()), ignores_conditions: false }
    }

    /// Calls `switch` before each request takes effect and before it is answered.
    pub fn with_switch(mut self, switch: impl Fn() + Send + Sync + 'static) -> FaultStore {
        self.switch = Arc::new(switch);
        self
    }

    /// Tells `witness` of each object that is written whole, in order.
    pub fn with_witness(mut self, witness: impl Fn(&str, &PutPayload) + Send + Sync + 'static) -> FaultStore {
        self.witness = Arc::new(witness);
        self
    }

    /// Lets every creation succeed, as servers do that ignore the condition.
    pub fn ignoring_conditions(mut self) -> FaultStore {
        self.ignores_conditions = true;
        self
    }

    /// Chooses faults anew.
    pub fn choose(&self, choose: impl FnMut(&Request<'_>) -> Option<ObjectFault> + Send + 'static) {
        self.state().choose = Box::new(choose);
    }

    /// Moves the store's clock on.
    pub fn pass_ms(&self, milliseconds: u64) {
        self.state().now_ms += milliseconds;
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// How many requests went wrong.
    pub fn faults(&self) -> u64 {
        self.state().surfaced
    }

    /// Bytes of bodies written and read so far.
    pub fn traffic(&self) -> (u64, u64) {
        let state = self.state();
        (state.bytes_up, state.bytes_down)
    }

    /// Paths of all objects, without a request.
    pub fn paths(&self) -> Vec<String> {
        self.state().written.keys().cloned().collect()
    }

    /// The bytes of an object, without a request.
    pub fn bytes(&self, path: &str) -> Option<Bytes> {
        let result = self.inner.get(&Path::from(path)).now_or_never()?.ok()?;
        result.bytes().now_or_never()?.ok()
    }

    /// Replaces the bytes of an object, without a request.
    pub fn overwrite(&self, path: &str, bytes: Bytes) {
        let path = Path::from(path);
        let put = self.inner.put(&path, PutPayload::from_bytes(bytes));
        put.now_or_never().expect("memory answers at once").expect("memory does not fail");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics under this lock")
    }

    fn fault(&self, operation: Operation, path: &str) -> Option<ObjectFault> {
        self.fault_of(operation, path, None)
    }

    fn fault_of(&self, operation: Operation, path: &str, range: Option<Range<u64>>) -> Option<ObjectFault> {
        (self.switch)();
        let mut state = self.state();
        state.random = state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let request = Request { index: state.requests, operation, path, range, random: state.random >> 16 };
        state.requests += 1;
        let fault = (state.choose)(&request);
        state.surfaced += u64::from(fault.is_some());
        fault
    }

    fn wrote(&self, path: &Path, bytes: u64) {
        let mut state = self.state();
        state.mutations += 1;
        let entry = (state.now_ms, state.mutations);
        state.written.insert(path.to_string(), entry);
        state.bytes_up += bytes;
    }

    /// The store's own clock instead of the system's.
    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written = self.state().written.get(meta.location.as_ref()).map_or(0, |(now_ms, _)| *now_ms);
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_millis(written);
        meta.last_modified = date.into();
        meta
    }

    /// Answers a request that changes something.
    async fn change<T>(&self, operation: Operation, path: &str, change: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = self.fault(operation, path);
        match fault {
            Some(ObjectFault::FailBefore) => return Err(injected("before")),
            Some(ObjectFault::Hang) => return std::future::pending().await,
            Some(ObjectFault::Slow) => polls(SLOW_POLLS).await,
            _ => {}
        }
        let done = change.await;
        (self.switch)();
        match fault {
            Some(ObjectFault::FailAfter) => Err(injected("after")),
            Some(ObjectFault::HangAfter) => std::future::pending().await,
            _ => done,
        }
    }

    fn listing(&self, fault: Option<ObjectFault>, found: Vec<ObjectMeta>) -> Vec<Result<ObjectMeta>> {
        let state = self.state();
        let last = state.mutations;
        let stale = |meta: &ObjectMeta| {
            let written = state.written.get(meta.location.as_ref()).map_or(0, |(_, mutation)| *mutation);
            fault == Some(ObjectFault::StaleList) && written + 3 > last
        };
        let shown: Vec<ObjectMeta> = found.into_iter().filter(|meta| !stale(meta)).collect();
        drop(state);
        shown.into_iter().map(|meta| Ok(self.dated(meta))).collect()
    }

    fn list_with(
        &self,
        prefix: Option<&Path>,
        list: impl FnOnce(&InMemory) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let prefix = prefix.map(Path::to_string).unwrap_or_default();
        let found = async move {
            let fault = store.fault(Operation::List, &prefix);
            match fault {
                Some(ObjectFault::FailBefore | ObjectFault::FailAfter) => return vec![Err(injected("listing"))],
                Some(ObjectFault::Hang | ObjectFault::HangAfter) => return std::future::pending().await,
                _ => {}
            }
            let found: Vec<Result<ObjectMeta>> = list(&store.inner).collect().await;
            let found: Result<Vec<ObjectMeta>> = found.into_iter().collect();
            let listing = found.map(|found| store.listing(fault, found));
            (store.switch)();
            let mut listing = listing.unwrap_or_else(|error| vec![Err(error)]);
            if fault == Some(ObjectFault::CutBody) {
                listing.truncate(listing.len() / 2);
                listing.push(Err(injected("listing")));
            }
            listing
        };
        found.map(futures_util::stream::iter).flatten_stream().boxed()
    }
}

/// Is ready when it has been asked so often.
async fn polls(count: u32) {
    let mut left = count;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn injected(what: &'static str) -> Error {
    Error::Generic { store: "fault", source: format!("injected failure ({what})").into() }
}

#[async_trait::async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let creates = options.mode == PutMode::Create;
        if creates && self.ignores_conditions {
            options.mode = PutMode::Overwrite;
        }
        let (bytes, written) = (payload.content_length() as u64, payload.clone());
        let operation = if creates { Operation::Create } else { Operation::Put };
        let put = async {
            let done = self.inner.put_opts(location, payload, options).await?;
            self.wrote(location, bytes);
            (self.witness)(location.as_ref(), &written);
            Ok(done)
        };
        self.change(operation, location.as_ref(), put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let start = self.inner.put_multipart_opts(location, options);
        let inner = self.change(Operation::StartParts, location.as_ref(), start).await?;
        Ok(Box::new(FaultParts { store: self.clone(), location: location.clone(), inner, bytes: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { Operation::Head } else { Operation::Get };
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => Some(range.clone()),
            _ => None,
        };
        let fault = self.fault_of(operation, location.as_ref(), range);
        match fault {
            Some(ObjectFault::FailBefore | ObjectFault::FailAfter) => return Err(injected("read")),
            Some(ObjectFault::Hang | ObjectFault::HangAfter) => return std::future::pending().await,
            _ => {}
        }
        let is_head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        (self.switch)();
        let (meta, range, attributes) = (self.dated(found.meta.clone()), found.range.clone(), found.attributes.clone());
        let bytes = if is_head { Bytes::new() } else { found.bytes().await? };
        self.state().bytes_down += bytes.len() as u64;
        let pieces = damaged_body(bytes, fault, self.state().random);
        let payload = GetResultPayload::Stream(futures_util::stream::iter(pieces).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut found = Vec::new();
        for range in ranges {
            found.push(self.get_range(location, range.clone()).await?);
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let delete = async {
                    let known = store.state().written.remove(location.as_ref());
                    known.ok_or_else(|| Error::NotFound {
                        path: location.to_string(),
                        source: "no such object".into(),
                    })?;
                    store.inner.delete(&location).await
                };
                store.change(Operation::Delete, location.as_ref(), delete).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let wanted = prefix.cloned();
        self.list_with(prefix, move |inner| inner.list(wanted.as_ref()))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (wanted, offset) = (prefix.cloned(), offset.clone());
        self.list_with(prefix, move |inner| inner.list_with_offset(wanted.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn damaged_body(bytes: Bytes, fault: Option<ObjectFault>, random: u64) -> Vec<Result<Bytes>> {
    let half = bytes.len() / 2;
    match fault {
        Some(ObjectFault::CutBody) => vec![Ok(bytes.slice(..half)), Err(injected("body"))],
        Some(ObjectFault::ShortBody) => vec![Ok(bytes.slice(..half))],
        Some(ObjectFault::WrongBytes) if !bytes.is_empty() => {
            let mut wrong = bytes.to_vec();
            let index = (random >> 8) as usize % wrong.len();
            wrong[index] ^= 1 << (random % 8);
            vec![Ok(wrong.into())]
        }
        _ => vec![Ok(bytes)],
    }
}

/// An upload in parts that fails as asked.
#[derive(Debug)]
struct FaultParts {
    store: FaultStore,
    location: Path,
    inner: Box<dyn MultipartUpload>,
    bytes: u64,
}

#[async_trait::async_trait]
impl MultipartUpload for FaultParts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.bytes += data.content_length() as u64;
        let (store, location, part) = (self.store.clone(), self.location.clone(), self.inner.put_part(data));
        async move { store.change(Operation::Part, location.as_ref(), part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (store, location, bytes) = (self.store.clone(), self.location.clone(), self.bytes);
        let complete = async {
            let done = self.inner.complete().await?;
            store.wrote(&location, bytes);
            Ok(done)
        };
        store.change(Operation::CompleteParts, location.as_ref(), complete).await
    }

    async fn abort(&mut self) -> Result<()> {
        let (store, location) = (self.store.clone(), self.location.clone());
        store.change(Operation::AbortParts, location.as_ref(), self.inner.abort()).await
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FaultStore")
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FaultStore")
    }
}
