//! A place in an object store that holds jobs and their checkpoints, and the only way to talk to it.
//!
//! Every request has a time limit and is tried again a bounded number of times, with growing pauses, when its failure may
//! pass. What comes back is not trusted: lengths are compared here, digests by whoever knows them. The only condition that is
//! relied on is *create if absent*, in one function, [`Repo::publish_once`].
//!
//! May be called from any task; takes no lock.

mod address;
mod ambient;
mod leftovers;
mod open;
mod trial;
mod upload;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

pub use self::address::shown_address;
pub use self::ambient::{Ambient, SystemAmbient};
pub use self::open::RepoOptions;
pub use self::trial::{Trial, TrialStep, TriedStep};
pub(crate) use self::upload::{OpenUpload, Uploaded};
use crate::error::{Error, ErrorKind, Result, Secrets, damaged, is_passing, object_error};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, read, write};
use crate::names::ObjectName;
use crate::seeded::{Bug, is_seeded};

/// How much a store's times may be off, being whole seconds.
pub(crate) const ROUNDING_MS: u64 = 60 * 1000;

/// How often a request is made, and for how long.
#[derive(Clone, Debug)]
pub struct Patience {
    /// How often a request is tried in all (default 5).
    pub tries: u32,
    /// The pause behind the first failure (default 100 ms); it doubles with each further one, up to 5 s.
    pub first_pause: Duration,
    /// After how long a single request has failed (default 60 s).
    pub request_limit: Duration,
    /// How many failures in a row a lazy restore sits out in the background, with a pause behind each (default 10,000: some half of
    /// a day). Readers go on asking behind that.
    pub background_failures: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            tries: 5,
            first_pause: Duration::from_millis(100),
            request_limit: Duration::from_secs(60),
            background_failures: 10_000,
        }
    }
}

/// How many manifests of a folder are read at once.
const READS_AT_ONCE: usize = 16;

/// The longest pause between two tries of a request.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A place in an object store that holds jobs and their checkpoints. Cheap to clone.
#[derive(Clone)]
pub struct Repo(Arc<Inner>);

struct Inner {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// The address as people know it, without credentials.
    address: String,
    patience: Patience,
    ambient: Arc<dyn Ambient>,
    secrets: Secrets,
    /// The directory, where the repo is one.
    directory: Option<PathBuf>,
    /// Bytes of one part of an upload in parts.
    part_bytes: usize,
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// The object holds what was to be published.
    Ours,
    /// Somebody else's bytes stand under the name.
    Theirs(Bytes),
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Its length.
    pub bytes: u64,
    /// When it was written by the store's clock, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its path below the root of the repo.
    pub path: String,
    /// What is known of it.
    pub meta: Meta,
}

impl Repo {
    /// What time and randomness come from.
    pub fn ambient(&self) -> &dyn Ambient {
        &*self.0.ambient
    }

    /// The address of an object, for people.
    pub(crate) fn place(&self, name: &impl fmt::Display) -> String {
        format!("{}/{name}", self.0.address)
    }

    fn path(&self, below: &Path) -> Path {
        self.0.root.parts().chain(below.parts()).collect()
    }

    /// Creates an object that must not exist: the one conditional write that anything relies on.
    ///
    /// `bytes` hold a nonce, so that the same bytes under this name can only be ours: a failure may hide a success, and a
    /// second try may meet the first one's object.
    ///
    /// # Errors
    /// Those of the requests. Whether the object was created is not known then; it may even appear later.
    pub(crate) async fn publish_once(&self, name: &ObjectName, bytes: &Bytes) -> Result<Published> {
        let path = self.path(&name.path());
        let mut failures = 0;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.0.store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
            let cause = match self.limited(put).await {
                Ok(_) => return Ok(Published::Ours),
                Err(cause) => cause,
            };
            let exists =
                matches!(cause, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. });
            if !exists && !is_passing(&cause) {
                return Err(self.failed("create", name, &cause));
            }
            if exists && is_seeded(Bug::FailuresBelieved) {
                return Ok(Published::Theirs(Bytes::new()));
            }
            match self.read_sound(name, MANIFEST_BYTES_MAX, bytes).await? {
                Some(found) if found == *bytes => return Ok(Published::Ours),
                Some(found) => return Ok(Published::Theirs(found)),
                // Not there, or not there any more.
                None => failures += 1,
            }
            if failures >= self.tries_max() {
                return Err(self.failed("create", name, &cause));
            }
            let error = self.failed("create", name, &cause);
            tracing::warn!(%error, failures, "a request failed and is made again");
            self.pause(failures).await;
        }
    }

    /// Reads what stands where `ours` was to be created; unequal bytes are read twice, since a read may deliver wrong ones.
    async fn read_sound(&self, name: &ObjectName, bytes_max: u64, ours: &Bytes) -> Result<Option<Bytes>> {
        let first = self.read(name, bytes_max).await?;
        match first {
            Some((found, _)) if found != *ours => Ok(self.read(name, bytes_max).await?.map(|(again, _)| again)),
            first => Ok(first.map(|(found, _)| found)),
        }
    }

    /// Creates a manifest that must not exist.
    pub(crate) async fn publish<T: Manifest>(&self, name: &ObjectName, body: &T) -> Result<(Published, Bytes)> {
        let bytes = write(body, self.ambient().random());
        Ok((self.publish_once(name, &bytes).await?, bytes))
    }

    /// Reads a whole object of at most `bytes_max`; `None` when there is none.
    pub(crate) async fn read(&self, name: &ObjectName, bytes_max: u64) -> Result<Option<(Bytes, Meta)>> {
        let path = self.path(&name.path());
        let read = async || {
            let found = self.0.store.get(&path).await?;
            let meta = Meta::of(&found.meta);
            if meta.bytes > bytes_max {
                return Ok(Err(meta));
            }
            let bytes = found.bytes().await?;
            if bytes.len() as u64 != meta.bytes {
                return Err(short(bytes.len(), meta.bytes));
            }
            Ok(Ok((bytes, meta)))
        };
        match self.tried("read", name, read).await? {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(meta)) => {
                let what = format_args!("{} bytes, expected at most {bytes_max}", meta.bytes);
                Err(damaged(&self.place(name), None, what))
            }
        }
    }

    /// Reads a manifest; `None` when there is none. Bytes that are not what was written are read once more.
    pub(crate) async fn read_manifest<T: Manifest>(&self, name: &ObjectName) -> Result<Option<(T, Meta)>> {
        self.read_checked(name, |bytes| read(bytes, &self.place(name))).await
    }

    /// Reads an object and has it checked by `check`; what does not pass is read once more.
    pub(crate) async fn read_checked<T>(
        &self,
        name: &ObjectName,
        check: impl Fn(&Bytes) -> Result<T>,
    ) -> Result<Option<(T, Meta)>> {
        for last in [false, true] {
            let Some((bytes, meta)) = self.read(name, MANIFEST_BYTES_MAX).await? else { return Ok(None) };
            match check(&bytes) {
                Err(error) if error.kind() == ErrorKind::Damaged && !last => {}
                checked => return checked.map(|body| Some((body, meta))),
            }
        }
        unreachable!("the second reading returns")
    }

    /// Reads `range` of an object; `None` when there is none.
    ///
    /// # Errors
    /// `Damaged` when the object ends before the range does; those of the requests.
    pub(crate) async fn read_range(&self, name: &ObjectName, range: std::ops::Range<u64>) -> Result<Option<Bytes>> {
        let path = self.path(&name.path());
        let expected = range.end - range.start;
        let read = async || {
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            let bytes = self.0.store.get_opts(&path, options).await?.bytes().await?;
            if bytes.len() as u64 != expected { Err(short(bytes.len(), expected)) } else { Ok(bytes) }
        };
        let failed = match self.tried("read", name, read).await {
            Err(failed) if failed.kind() == ErrorKind::Retry => failed,
            done => return done,
        };
        // Stores fail in one way when a body ends early and when the object does, and each in its own when it does not reach the range.
        match self.head(name).await {
            Ok(None) => Ok(None),
            Ok(Some(meta)) if meta.bytes < range.end => {
                let what = format_args!("{} bytes, expected at least {}", meta.bytes, range.end);
                Err(damaged(&self.place(name), Some(meta.bytes), what))
            }
            _ => Err(failed),
        }
    }

    /// What is known of an object; `None` when there is none.
    pub(crate) async fn head(&self, name: &ObjectName) -> Result<Option<Meta>> {
        let path = self.path(&name.path());
        let head = async || Ok(Meta::of(&self.0.store.head(&path).await?));
        self.tried("look at", name, head).await
    }

    /// Whether there is an object at a path below the root, whatever it is named.
    pub(crate) async fn has(&self, below: &Path) -> Result<bool> {
        let path = self.path(below);
        let head = async || self.0.store.head(&path).await;
        self.tried("look at", below, head).await.map(|found| found.is_some())
    }

    /// Deletes an object; success when there is none.
    pub(crate) async fn delete(&self, name: &ObjectName) -> Result<()> {
        let path = self.path(&name.path());
        let delete = async || self.0.store.delete(&path).await;
        self.tried("delete", name, delete).await.map(|_| ())
    }

    /// The objects below `folder` whose paths lie behind `after`, in no particular order.
    pub(crate) async fn list(&self, folder: &Path, after: Option<&ObjectName>) -> Result<Vec<Listed>> {
        let path = self.path(folder);
        let after = after.map(|name| self.path(&name.path()));
        let list = async || {
            let stream = match &after {
                Some(after) => self.0.store.list_with_offset(Some(&path), after),
                None => self.0.store.list(Some(&path)),
            };
            let (mut stream, mut found) = (stream, Vec::new());
            // A large folder has many pages: each has the time of a request.
            loop {
                match self.limited(stream.try_next()).await {
                    Ok(Some(meta)) => found.push(meta),
                    Ok(None) => return Ok(found),
                    Err(_) if is_seeded(Bug::CutListingsBelieved) => return Ok(found),
                    Err(cause) => return Err(cause),
                }
            }
        };
        let place = format!("{}/{folder}", self.0.address);
        let failed = |cause: &object_store::Error| object_error("list", &place, cause, &self.0.secrets);
        let found = self.again(list, failed).await.map_err(|cause| failed(&cause))?;
        let below_root = |location: &Path| -> String {
            let below = location.prefix_match(&self.0.root).map(|parts| parts.collect::<Path>());
            below.unwrap_or_else(|| location.clone()).to_string()
        };
        Ok(found.iter().map(|meta| Listed { path: below_root(&meta.location), meta: Meta::of(meta) }).collect())
    }

    /// The names of the folders of jobs, in their order.
    pub(crate) async fn job_folders(&self) -> Result<Vec<String>> {
        let path = self.path(&Path::from("jobs"));
        // One answer has a page of names, and the store goes on by itself: the time of a request is for all of them.
        let list = async || self.limited(self.0.store.list_with_delimiter(Some(&path))).await;
        let place = format!("{}/jobs", self.0.address);
        let failed = |cause: &object_store::Error| object_error("list", &place, cause, &self.0.secrets);
        let found = self.again(list, failed).await.map_err(|cause| failed(&cause))?;
        let mut names: Vec<String> =
            found.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Reads every manifest of a folder, with the store's time of each; those that are gone meanwhile are left out.
    ///
    /// # Errors
    /// Those of the requests; `Fix` when something there is named like nothing of ours.
    pub(crate) async fn read_folder<T: Manifest>(&self, folder: &Path) -> Result<Vec<(ObjectName, T, u64)>> {
        let parse = |object: Listed| {
            ObjectName::parse(&object.path).ok_or_else(|| {
                let message =
                    "this is named like nothing of ours, in a folder of manifests that keep others: remove it";
                Error::at(ErrorKind::Fix, format!("{}/{}", self.0.address, object.path), None, message)
            })
        };
        let names: Vec<ObjectName> = self.list(folder, None).await?.into_iter().map(parse).collect::<Result<_>>()?;
        let read = |name: ObjectName| async move {
            let found = self.read_manifest::<T>(&name).await?;
            Ok::<_, Error>(found.map(|(body, meta)| (name, body, meta.modified_ms)))
        };
        let reads = futures_util::stream::iter(names.into_iter().map(read)).buffered(READS_AT_ONCE);
        let found: Vec<Option<_>> = reads.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Makes a request until it succeeds or fails for good; `None` when there is no such object.
    async fn tried<T, F>(
        &self,
        operation: &str,
        name: &(impl fmt::Display + Sync),
        request: impl Fn() -> F,
    ) -> Result<Option<T>>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let failed = |cause: &object_store::Error| self.failed(operation, name, cause);
        match self.again(|| self.limited(request()), failed).await {
            Ok(value) => Ok(Some(value)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(failed(&cause)),
        }
    }

    /// Does something that has time limits of its own, until it succeeds or fails for good; `failed` says what did not succeed.
    async fn again<T, F>(
        &self,
        request: impl Fn() -> F,
        failed: impl Fn(&object_store::Error) -> Error,
    ) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut failures = 0;
        loop {
            match request().await {
                Err(cause) if is_passing(&cause) => {
                    failures += 1;
                    if failures >= self.tries_max() {
                        return Err(cause);
                    }
                    tracing::warn!(error = %failed(&cause), failures, "a request failed and is made again");
                    self.pause(failures).await;
                }
                done => return done,
            }
        }
    }

    /// How often a request is made.
    fn tries_max(&self) -> u32 {
        self.0.patience.tries * if is_seeded(Bug::PatienceForgotten) { 4 } else { 1 }
    }

    /// Ends a request that takes too long.
    async fn limited<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        let limit = self.0.patience.request_limit;
        match select(Box::pin(request), self.0.ambient.sleep(limit)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => {
                let source = format!("no answer within {} s", limit.as_secs()).into();
                Err(object_store::Error::Generic { store: "object store", source })
            }
        }
    }

    /// How many failures in a row a background sits out.
    pub(crate) fn background_failures(&self) -> u32 {
        self.0.patience.background_failures
    }

    /// Waits behind the `failures`-th failure: a random part of a time that doubles, so that workers do not come back at once.
    pub(crate) async fn pause(&self, failures: u32) {
        let full = self.0.patience.first_pause.saturating_mul(1 << (failures - 1).min(16)).min(PAUSE_MAX);
        let part = 0.5 + (self.ambient().random() % 1024) as f64 / 2048.0;
        self.0.ambient.sleep(full.mul_f64(part)).await;
    }

    fn failed(&self, operation: &str, name: &impl fmt::Display, cause: &object_store::Error) -> Error {
        object_error(operation, &self.place(name), cause, &self.0.secrets)
    }

    /// The error for an object that must be there and is not.
    pub(crate) fn missing(&self, name: &ObjectName, why: &str) -> Error {
        Error::at(ErrorKind::Damaged, self.place(name), None, format!("the object is missing: {why}"))
    }
}

impl Meta {
    fn of(meta: &object_store::ObjectMeta) -> Meta {
        Meta { bytes: meta.size, modified_ms: u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0) }
    }
}

/// A body that ended early, as a failure that may pass.
fn short(found: usize, expected: u64) -> object_store::Error {
    object_store::Error::Generic { store: "object store", source: format!("{found} bytes of {expected}").into() }
}

/// The address without credentials.
impl fmt::Display for Repo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.address)
    }
}

/// Says nothing of the store inside: its own text may hold credentials.
impl fmt::Debug for Repo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Repo").field("address", &self.0.address).finish_non_exhaustive()
    }
}
