//! An object store in memory that fails as asked, with a clock of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::fault::{Choose, ObjectFault, Operation, Request};
use super::fault_parts::{FaultParts, Unfinished, no_such_upload};

/// How often a slow change is asked before it happens.
const SLOW_POLLS: u32 = 3;

/// How often the reader of a slow listing asks in vain for each entry: a [`TestAmbient`](super::TestAmbient) bears one such wait in a
/// request, and no second one.
const SLOW_PAGE_POLLS: u32 = 2;

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
    /// Uploads in parts, by number.
    unfinished: BTreeMap<u64, Unfinished>,
    uploads: u64,
    late: Late,
    bytes_up: u64,
    bytes_down: u64,
}

/// Requests that wait on their way.
#[derive(Default)]
struct Late {
    waiting: usize,
    /// How often all that waited were let go.
    releases: u64,
    wakers: Vec<Waker>,
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
            unfinished: BTreeMap::new(),
            uploads: 0,
            late: Late::default(),
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

    /// Paths of the uploads in parts that were neither completed nor aborted, without a request.
    pub fn unfinished(&self) -> Vec<String> {
        self.state().unfinished.values().map(|upload| upload.path.clone()).collect()
    }

    /// Forgets all uploads in parts, as the rule of a bucket does for old ones; tells how many there were.
    pub fn forget_unfinished(&self) -> usize {
        std::mem::take(&mut self.state().unfinished).len()
    }

    /// How many requests are [late](ObjectFault::Late).
    pub fn late(&self) -> usize {
        self.state().late.waiting
    }

    /// Lets all requests go that are late.
    pub fn let_go(&self) {
        let late = std::mem::take(&mut self.state().late);
        self.state().late.releases = late.releases + 1;
        late.wakers.into_iter().for_each(Waker::wake);
    }

    /// The bytes of an object, without a request.
    pub fn bytes(&self, path: &str) -> Option<Bytes> {
        let result = self.inner.get(&Path::from(path)).now_or_never()?.ok()?;
        result.bytes().now_or_never()?.ok()
    }

    /// Replaces the bytes of an object, or makes it, without a request.
    pub fn overwrite(&self, path: &str, bytes: Bytes) {
        let (path, length) = (Path::from(path), bytes.len() as u64);
        let put = self.inner.put(&path, PutPayload::from_bytes(bytes));
        put.now_or_never().expect("memory answers at once").expect("memory does not fail");
        self.wrote(&path, length);
    }

    /// Removes an object, if there is one, without a request.
    pub fn remove(&self, path: &str) {
        if self.state().written.remove(path).is_some() {
            let delete = self.inner.delete(&Path::from(path)).now_or_never();
            delete.expect("memory answers at once").expect("it was written");
        }
    }

    /// Another store with the same objects, of the same age, where nothing fails.
    pub fn fork(&self) -> FaultStore {
        let fork = FaultStore { inner: Arc::new(self.inner.fork()), ..FaultStore::default() };
        {
            let (from, mut into) = (self.state(), fork.state());
            (into.now_ms, into.mutations) = (from.now_ms, from.mutations);
            into.written.clone_from(&from.written);
        }
        fork
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

    /// Waits until all that are late are let go.
    async fn be_late(&self) {
        let releases = {
            let mut state = self.state();
            state.late.waiting += 1;
            state.late.releases
        };
        let released = std::future::poll_fn(|context| {
            let late = &mut self.state().late;
            if late.releases != releases {
                return Poll::Ready(());
            }
            late.wakers.push(context.waker().clone());
            Poll::Pending
        });
        released.await;
    }

    /// Answers a request that changes something.
    pub(super) async fn change<T, F>(&self, operation: Operation, path: &str, change: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let fault = self.fault(operation, path);
        match fault {
            Some(ObjectFault::FailBefore) => return Err(injected("before")),
            Some(ObjectFault::Hang) => return std::future::pending().await,
            Some(ObjectFault::Late) => self.be_late().await,
            Some(ObjectFault::Slow) => polls(SLOW_POLLS).await,
            _ => {}
        }
        let mut done = change().await;
        if fault == Some(ObjectFault::Twice) && done.is_ok() {
            done = change().await;
        }
        (self.switch)();
        match fault {
            Some(ObjectFault::FailAfter) => Err(injected("after")),
            Some(ObjectFault::HangAfter) => std::future::pending().await,
            _ => done,
        }
    }

    pub(super) fn take_part(&self, upload: u64, number: usize, part: PutPayload) -> Result<()> {
        let mut state = self.state();
        let unfinished = state.unfinished.get_mut(&upload).ok_or_else(|| no_such_upload("a part"))?;
        unfinished.take_part(number, part);
        Ok(())
    }

    /// Makes an object of the first `count` parts of an upload, whatever has its name.
    pub(super) async fn complete_parts(&self, upload: u64, count: usize) -> Result<PutResult> {
        let (path, object) = {
            let state = self.state();
            let unfinished = state.unfinished.get(&upload).ok_or_else(|| no_such_upload("a completion"))?;
            let object = unfinished.object(count).ok_or_else(|| Error::Generic {
                store: "fault",
                source: format!("a part of {} has not arrived", unfinished.path).into(),
            })?;
            (Path::from(unfinished.path.as_str()), object)
        };
        let done = self.inner.put(&path, object.clone()).await?;
        self.state().unfinished.remove(&upload);
        self.wrote(&path, object.content_length() as u64);
        (self.witness)(path.as_ref(), &object);
        Ok(done)
    }

    pub(super) fn abort_parts(&self, upload: u64) -> Result<()> {
        self.state().unfinished.remove(&upload).map(drop).ok_or_else(|| no_such_upload("an abort"))
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
                Some(ObjectFault::FailBefore | ObjectFault::FailAfter) => {
                    return futures_util::stream::iter(vec![Err(injected("listing"))]).boxed();
                }
                Some(ObjectFault::Hang | ObjectFault::HangAfter) => return std::future::pending().await,
                Some(ObjectFault::Late) => store.be_late().await,
                _ => {}
            }
            let found: Vec<Result<ObjectMeta>> = list(&store.inner).collect().await;
            let found: Result<Vec<ObjectMeta>> = found.into_iter().collect();
            let listing = found.map(|found| store.listing(fault, found));
            (store.switch)();
            let mut listing = listing.unwrap_or_else(|error| vec![Err(error)]);
            if matches!(fault, Some(ObjectFault::CutBody | ObjectFault::StalledBody)) {
                listing.truncate(listing.len() / 2);
            }
            match fault {
                Some(ObjectFault::CutBody) => listing.push(Err(injected("listing"))),
                Some(ObjectFault::StalledBody) => return stalled(listing).boxed(),
                Some(ObjectFault::SlowBody) => return slow(listing, SLOW_PAGE_POLLS).boxed(),
                _ => {}
            }
            futures_util::stream::iter(listing).boxed()
        };
        found.flatten_stream().boxed()
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
        let operation = if creates { Operation::Create } else { Operation::Put };
        let (payload, options) = (&payload, &options);
        let put = || async move {
            let done = self.inner.put_opts(location, payload.clone(), options.clone()).await?;
            self.wrote(location, payload.content_length() as u64);
            (self.witness)(location.as_ref(), payload);
            Ok(done)
        };
        self.change(operation, location.as_ref(), put).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let start = || async move {
            let mut state = self.state();
            state.uploads += 1;
            let upload = state.uploads;
            state.unfinished.insert(upload, Unfinished::new(location.to_string()));
            Ok(upload)
        };
        let upload = self.change(Operation::StartParts, location.as_ref(), start).await?;
        Ok(Box::new(FaultParts { store: self.clone(), location: location.clone(), upload, count: 0 }))
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
            Some(ObjectFault::Late) => self.be_late().await,
            _ => {}
        }
        let is_head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        (self.switch)();
        let (meta, range, attributes) = (self.dated(found.meta.clone()), found.range.clone(), found.attributes.clone());
        let bytes = if is_head { Bytes::new() } else { found.bytes().await? };
        self.state().bytes_down += bytes.len() as u64;
        let payload = GetResultPayload::Stream(body(bytes, fault, self.state().random));
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
                let (from, path) = (&store, &location);
                let delete = || async move {
                    let known = from.state().written.remove(path.as_ref());
                    known.ok_or_else(|| Error::NotFound { path: path.to_string(), source: "no such object".into() })?;
                    from.inner.delete(path).await
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

/// A body as it is delivered.
fn body(bytes: Bytes, fault: Option<ObjectFault>, random: u64) -> BoxStream<'static, Result<Bytes>> {
    let half = bytes.len() / 2;
    let pieces = match fault {
        Some(ObjectFault::CutBody) => vec![Ok(bytes.slice(..half)), Err(injected("body"))],
        Some(ObjectFault::ShortBody) => vec![Ok(bytes.slice(..half))],
        Some(ObjectFault::StalledBody) => return stalled(vec![Ok(bytes.slice(..half))]).boxed(),
        Some(ObjectFault::SlowBody) => return slow(vec![Ok(bytes.slice(..half)), Ok(bytes.slice(half..))], 1).boxed(),
        Some(ObjectFault::WrongBytes) if !bytes.is_empty() => {
            let mut wrong = bytes.to_vec();
            let index = (random >> 8) as usize % wrong.len();
            wrong[index] ^= 1 << (random % 8);
            vec![Ok(wrong.into())]
        }
        _ => vec![Ok(bytes)],
    };
    futures_util::stream::iter(pieces).boxed()
}

/// These, and then nothing, without an end.
fn stalled<T>(first: Vec<T>) -> impl Stream<Item = T> {
    futures_util::stream::iter(first).chain(futures_util::stream::pending())
}

/// These, each after so many polls in vain.
fn slow<T>(items: Vec<T>, polls: u32) -> impl Stream<Item = T> {
    futures_util::stream::iter(items).then(move |item| async move {
        let mut left = polls;
        let wait = std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        wait.await;
        item
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::TryStreamExt;
    use object_store::MultipartUpload;

    use super::*;

    const BODY: &[u8] = b"twelve bytes";

    fn ours() -> Path {
        Path::from("a/old")
    }

    fn new() -> Path {
        Path::from("a/new")
    }

    /// A store with four objects, whose requests for `operation` go wrong.
    async fn failing(operation: Operation, fault: ObjectFault) -> FaultStore {
        let store = FaultStore::default();
        for name in ["a/older", "a/old", "b/newer", "b/newest"] {
            store.put(&Path::from(name), BODY.into()).await.unwrap();
        }
        store.choose(move |request| (request.operation == operation).then_some(fault));
        store
    }

    /// What comes within some time.
    async fn within<T>(done: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        tokio::time::timeout(Duration::from_millis(30), done).await.ok()
    }

    fn create() -> PutOptions {
        PutOptions { mode: PutMode::Create, ..PutOptions::default() }
    }

    async fn read(store: &FaultStore) -> Result<Bytes> {
        store.get(&ours()).await?.bytes().await
    }

    #[tokio::test]
    async fn what_changes_something_has_happened_or_not_as_asked() {
        for (fault, is_told, is_there) in [
            (ObjectFault::FailBefore, true, false),
            (ObjectFault::FailAfter, true, true),
            (ObjectFault::Hang, false, false),
            (ObjectFault::HangAfter, false, true),
        ] {
            let store = failing(Operation::Create, fault).await;
            let told = within(store.put_opts(&new(), BODY.into(), create())).await;
            assert_eq!(told.is_some_and(|told| told.is_err()), is_told, "{fault:?}");
            assert_eq!(store.bytes("a/new").is_some(), is_there, "{fault:?}");
            assert_eq!(store.faults(), 1);

            let store = failing(Operation::Delete, fault).await;
            let told = within(store.delete(&ours())).await;
            assert_eq!(told.is_some_and(|told| told.is_err()), is_told, "{fault:?}");
            assert_eq!(store.bytes("a/old").is_none(), is_there, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn what_happens_twice_answers_as_the_second_time() {
        let store = failing(Operation::Create, ObjectFault::Twice).await;
        let told = store.put_opts(&new(), BODY.into(), create()).await;
        assert!(matches!(told, Err(Error::AlreadyExists { .. })) && store.bytes("a/new").is_some(), "{told:?}");
        let told = store.put_opts(&ours(), BODY.into(), create()).await;
        assert!(matches!(told, Err(Error::AlreadyExists { .. })), "{told:?}");
        let store = failing(Operation::Delete, ObjectFault::Twice).await;
        let told = store.delete(&ours()).await;
        assert!(matches!(told, Err(Error::NotFound { .. })) && store.bytes("a/old").is_none(), "{told:?}");
    }

    #[tokio::test]
    async fn a_body_is_cut_or_short_or_wrong_or_slow_or_stands_still() {
        let of = async |fault| within(read(&failing(Operation::Get, fault).await)).await;
        assert!(of(ObjectFault::CutBody).await.unwrap().is_err());
        assert_eq!(of(ObjectFault::ShortBody).await.unwrap().unwrap(), &BODY[..6]);
        let wrong = of(ObjectFault::WrongBytes).await.unwrap().unwrap();
        let bits: u32 = wrong.iter().zip(BODY).map(|(found, ours)| (found ^ ours).count_ones()).sum();
        assert_eq!((wrong.len(), bits), (12, 1));
        assert_eq!(of(ObjectFault::SlowBody).await.unwrap().unwrap(), BODY);
        assert!(of(ObjectFault::StalledBody).await.is_none());
        let pieces = failing(Operation::Get, ObjectFault::SlowBody).await.get(&ours()).await.unwrap();
        assert_eq!(pieces.into_stream().count().await, 2);
    }

    #[tokio::test]
    async fn a_listing_is_cut_or_old_or_slow_or_stands_still() {
        let of = async |fault| within(failing(Operation::List, fault).await.list(None).try_collect::<Vec<_>>()).await;
        assert!(of(ObjectFault::CutBody).await.unwrap().is_err());
        assert_eq!(of(ObjectFault::StaleList).await.unwrap().unwrap().len(), 1, "the last three are missing");
        assert_eq!(of(ObjectFault::SlowBody).await.unwrap().unwrap().len(), 4);
        assert!(of(ObjectFault::StalledBody).await.is_none());
        let store = failing(Operation::List, ObjectFault::StalledBody).await;
        assert_eq!(store.list(None).take(2).count().await, 2, "half of it comes");
    }

    #[tokio::test]
    async fn what_is_late_happens_when_it_is_let_go() {
        let store = failing(Operation::Create, ObjectFault::Late).await;
        let name = new();
        let mut put = store.put_opts(&name, BODY.into(), create());
        assert!((&mut put).now_or_never().is_none());
        assert_eq!((store.late(), store.bytes("a/new")), (1, None));
        store.let_go();
        put.await.unwrap();
        assert!(store.late() == 0 && store.bytes("a/new").is_some());
    }

    #[tokio::test]
    async fn parts_are_an_object_when_all_have_arrived_and_are_completed() {
        let store = failing(Operation::Head, ObjectFault::Hang).await;
        let mut upload = store.put_multipart(&new()).await.unwrap();
        let (first, second) = (upload.put_part(BODY.into()), upload.put_part("!".into()));
        second.await.unwrap();
        upload.complete().await.expect_err("the first has not arrived");
        assert_eq!((store.unfinished(), store.bytes("a/new")), (vec!["a/new".to_owned()], None));
        first.await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.bytes("a/new").unwrap(), "twelve bytes!");
        assert!(store.unfinished().is_empty());
        assert!(matches!(upload.complete().await, Err(Error::NotFound { .. })), "it is known no more");
    }

    #[tokio::test]
    async fn parts_go_wrong_like_other_requests() {
        let start = async |operation, fault| {
            let store = failing(operation, fault).await;
            let upload: Option<Box<dyn MultipartUpload>> = store.put_multipart(&new()).await.ok();
            (store, upload)
        };
        let (store, upload) = start(Operation::StartParts, ObjectFault::FailAfter).await;
        assert!(upload.is_none() && store.unfinished().len() == 1, "nobody knows its number");
        let (store, upload) = start(Operation::Part, ObjectFault::FailBefore).await;
        let mut upload = upload.unwrap();
        upload.put_part(BODY.into()).await.unwrap_err();
        upload.complete().await.expect_err("the part has not arrived");
        upload.abort().await.unwrap();
        assert!(store.unfinished().is_empty());
        for (fault, is_there) in
            [(ObjectFault::FailAfter, true), (ObjectFault::Twice, true), (ObjectFault::FailBefore, false)]
        {
            let (store, upload) = start(Operation::CompleteParts, fault).await;
            let mut upload = upload.unwrap();
            upload.put_part(BODY.into()).await.unwrap();
            upload.complete().await.unwrap_err();
            assert_eq!(store.bytes("a/new").is_some(), is_there, "{fault:?}");
        }
        let (store, upload) = start(Operation::AbortParts, ObjectFault::FailBefore).await;
        upload.unwrap().abort().await.unwrap_err();
        assert_eq!(store.unfinished().len(), 1);
    }

    #[test]
    fn each_fault_touches_what_it_can() {
        use Operation::*;
        let all = [Put, Create, StartParts, Part, CompleteParts, AbortParts, Get, Head, List, Delete];
        let touched =
            |operation: Operation| ObjectFault::KINDS.into_iter().filter(|fault| fault.touches(operation)).count();
        assert_eq!(all.map(touched), [5, 5, 5, 5, 5, 5, 7, 2, 6, 5]);
    }
}
