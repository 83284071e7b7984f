//! Uploads of parcels: large, never read back whole, never under a name that was used before.
//!
//! What is long is uploaded in parts. An upload that fails, or is dropped because its checkpoint was cancelled, is given up in the
//! store. The parts of a process that was killed stay: in a directory they are files, which a collection removes; elsewhere no
//! listing of objects shows them, and a rule of the bucket for unfinished uploads has to.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

use super::{Meta, Published, Repo};
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::manifest::{Digest, Hex, digest_of};
use crate::names::ObjectName;

/// Bytes of one part of an upload in parts: S3 takes no smaller ones than 5 MiB, and 10,000 of them at most.
pub(super) const PART_BYTES: usize = 8 << 20;

/// How many parts are on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// What was uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uploaded {
    /// The length of the object.
    pub bytes: u64,
    /// BLAKE3 of the object.
    pub digest: Digest,
}

impl Repo {
    /// Uploads what `source` streams, in memory of a few parts; it is asked for another stream when an upload in parts has to
    /// be started anew. Each stream must have the same bytes.
    ///
    /// # Errors
    /// Those of the requests and of the stream; `Bug` when another object has the name.
    pub(crate) async fn upload<S>(&self, name: &ObjectName, source: impl Fn() -> S) -> Result<Uploaded>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let mut failures = 0;
        loop {
            let mut upload = self.open_upload(name);
            // Later it may be our own.
            upload.looks_first = failures == 0;
            let error = match upload.send_all(source()).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(error) => error,
            };
            failures += 1;
            let is_final = error.kind() != ErrorKind::Retry || failures >= self.0.patience.tries;
            // Nothing else was tried one time only.
            if !upload.give_up().await || is_final {
                return Err(error);
            }
            tracing::warn!(%error, failures, "an upload in parts failed and is started anew");
            self.pause(failures).await;
        }
    }

    /// Begins an upload whose bytes come piece by piece, over any time. What is shorter than a part is sent at its end, at once.
    pub(crate) fn open_upload(&self, name: &ObjectName) -> OpenUpload {
        let (rest, hasher) = (BytesMut::new(), blake3::Hasher::new());
        OpenUpload { repo: self.clone(), name: name.clone(), rest, hasher, bytes: 0, parts: None, looks_first: true }
    }

    async fn upload_whole(&self, name: &ObjectName, bytes: Bytes) -> Result<Uploaded> {
        let uploaded = Uploaded { bytes: bytes.len() as u64, digest: digest_of(&bytes) };
        match self.publish_once(name, &bytes).await? {
            Published::Ours => Ok(uploaded),
            Published::Theirs(found) => Err(self.taken(name, found.len() as u64)),
        }
    }

    fn taken(&self, name: &ObjectName, bytes: u64) -> Error {
        let message = format!("another object of {bytes} bytes has the name of an upload; please report this");
        Error::at(ErrorKind::Bug, self.place(name), None, message)
    }

    async fn start_parts(&self, name: &ObjectName) -> Result<Parts> {
        let path = self.path(&name.path());
        let start = async || self.0.store.put_multipart(&path).await;
        let upload = self.tried("start the upload of", name, start).await?;
        let upload = upload.ok_or_else(|| self.missing(name, "its bucket, container or directory does not exist"))?;
        let (repo, runtime) = (self.clone(), Handle::try_current().ok());
        Ok(Parts { repo, runtime, upload: Some(upload), on_their_way: FuturesUnordered::new() })
    }

    /// Takes note of what became of a part.
    fn settle_part(&self, name: &ObjectName, done: object_store::Result<()>) -> Result<()> {
        done.map_err(|cause| self.failed_parts("upload a part of", name, &cause))
    }

    /// The error of an upload in parts. One that the store does not know any more is started anew.
    fn failed_parts(&self, operation: &str, name: &ObjectName, cause: &object_store::Error) -> Error {
        if !matches!(cause, object_store::Error::NotFound { .. }) {
            return self.failed(operation, name, cause);
        }
        let message = format!(
            "{operation}: the object store has forgotten the parts; does a rule of the bucket remove unfinished uploads that are \
             younger than an upload takes?"
        );
        Error::at(ErrorKind::Retry, self.place(name), None, message)
    }

    /// Frees what the parts take in the store, as well as that can be done.
    async fn give_up(&self, mut upload: Box<dyn MultipartUpload>) {
        // What stays is removed by the store's own rule for unfinished uploads.
        self.limited(upload.abort()).await.ok();
    }

    async fn complete_parts(&self, name: &ObjectName, parts: &mut Parts, uploaded: Uploaded) -> Result<()> {
        let completed = self.limited(parts.upload().complete()).await;
        let Err(cause) = completed else {
            drop(parts.take());
            return Ok(());
        };
        // The answer may be lost and the object there.
        match self.head(name).await? {
            Some(Meta { bytes, .. }) if bytes == uploaded.bytes => {
                drop(parts.take());
                self.compare(name, uploaded).await
            }
            _ => Err(self.failed_parts("complete the upload of", name, &cause)),
        }
    }

    /// Reads an object through, in pieces, and compares it with what was uploaded.
    async fn compare(&self, name: &ObjectName, uploaded: Uploaded) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut start = 0;
        while start < uploaded.bytes {
            let end = uploaded.bytes.min(start + self.0.part_bytes as u64);
            let piece = self.read_range(name, start..end).await?;
            hasher.update(&piece.ok_or_else(|| self.missing(name, "it was there a moment ago"))?);
            start = end;
        }
        let found: Digest = Hex(*hasher.finalize().as_bytes());
        if found == uploaded.digest {
            return Ok(());
        }
        Err(damaged(&self.place(name), None, format_args!("digest {found}, expected {}", uploaded.digest)))
    }
}

/// An upload whose bytes come piece by piece. One that is dropped before its end is given up.
pub(crate) struct OpenUpload {
    repo: Repo,
    name: ObjectName,
    /// What was not sent yet: less than a part.
    rest: BytesMut,
    /// Of what was sent.
    hasher: blake3::Hasher,
    bytes: u64,
    /// `None` until there is enough for one.
    parts: Option<Parts>,
    /// Whether another object is looked for: parts replace what has their name, and cannot be told not to.
    looks_first: bool,
}

impl OpenUpload {
    async fn send_all<S>(&mut self, mut stream: S) -> Result<Uploaded>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        while let Some(piece) = self.meanwhile(stream.next()).await? {
            self.push(&piece?).await?;
        }
        self.finish().await
    }

    /// Takes more bytes, and sends those that fill a part.
    ///
    /// # Errors
    /// Those of the requests. The upload is of no use then.
    pub(crate) async fn push(&mut self, piece: &[u8]) -> Result<()> {
        self.rest.extend_from_slice(piece);
        let part_bytes = self.repo.0.part_bytes;
        while self.rest.len() >= part_bytes {
            let part = self.rest.split_to(part_bytes).freeze();
            self.add_part(part).await?;
        }
        Ok(())
    }

    async fn add_part(&mut self, part: Bytes) -> Result<()> {
        if self.parts.is_none() {
            if self.looks_first
                && let Some(found) = self.repo.head(&self.name).await?
            {
                return Err(self.repo.taken(&self.name, found.bytes));
            }
            self.parts = Some(self.repo.start_parts(&self.name).await?);
        }
        self.settle(PARTS_AT_ONCE - 1).await?;
        self.hasher.update(&part);
        self.bytes += part.len() as u64;
        let parts = self.parts.as_mut().expect("it was started");
        let request = parts.upload().put_part(PutPayload::from_bytes(part));
        let repo = self.repo.clone();
        // Its time begins when it is asked for the first time.
        parts.on_their_way.push(Box::pin(async move { repo.limited(request).await }));
        Ok(())
    }

    /// Waits until at most `count` parts are on their way. A request that nobody asks for its answer does not go on: whoever stops to
    /// push for a while waits for all.
    ///
    /// # Errors
    /// Those of the requests. The upload is of no use then.
    pub(crate) async fn settle(&mut self, count: usize) -> Result<()> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        while parts.on_their_way.len() > count {
            let done = parts.on_their_way.next().await.expect("some are on their way");
            self.repo.settle_part(&self.name, done)?;
        }
        Ok(())
    }

    /// Waits for something while parts are on their way: making the next one may take long.
    async fn meanwhile<T>(&mut self, made: impl Future<Output = T>) -> Result<T> {
        let mut made = pin!(made);
        if let Some(parts) = &mut self.parts {
            while !parts.on_their_way.is_empty() {
                match select(made.as_mut(), parts.on_their_way.next()).await {
                    Either::Left((made, _)) => return Ok(made),
                    Either::Right((done, _)) => {
                        self.repo.settle_part(&self.name, done.expect("some are on their way"))?;
                    }
                }
            }
        }
        Ok(made.await)
    }

    /// Makes an object of all that was pushed.
    ///
    /// # Errors
    /// Those of the requests; `Bug` when another object has the name. The upload is of no use then.
    pub(crate) async fn finish(&mut self) -> Result<Uploaded> {
        let rest = std::mem::take(&mut self.rest).freeze();
        if self.parts.is_none() {
            return self.repo.upload_whole(&self.name, rest).await;
        }
        // Some stores refuse an empty part.
        if !rest.is_empty() {
            self.add_part(rest).await?;
        }
        self.settle(0).await?;
        let uploaded = Uploaded { bytes: self.bytes, digest: Hex(*self.hasher.finalize().as_bytes()) };
        let parts = self.parts.as_mut().expect("it was started");
        self.repo.complete_parts(&self.name, parts, uploaded).await?;
        Ok(uploaded)
    }

    /// Gives up what the store has of it; false when nothing was sent in parts.
    async fn give_up(mut self) -> bool {
        let Some(mut parts) = self.parts.take() else { return false };
        if let Some(upload) = parts.take() {
            self.repo.give_up(upload).await;
        }
        true
    }
}

/// An upload in parts. One that is dropped before its end, because its checkpoint was cancelled, is given up on the runtime.
struct Parts {
    repo: Repo,
    /// Where it was started.
    runtime: Option<Handle>,
    /// `None` behind its end.
    upload: Option<Box<dyn MultipartUpload>>,
    on_their_way: FuturesUnordered<futures_util::future::BoxFuture<'static, object_store::Result<()>>>,
}

impl Parts {
    fn upload(&mut self) -> &mut dyn MultipartUpload {
        self.upload.as_deref_mut().expect("nobody asks behind the end")
    }

    fn take(&mut self) -> Option<Box<dyn MultipartUpload>> {
        self.on_their_way.clear();
        self.upload.take()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let (Some(upload), Some(runtime)) = (self.take(), &self.runtime) {
            let repo = self.repo.clone();
            runtime.spawn(async move { repo.give_up(upload).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Poll;
    use std::time::Duration;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::names::{JobName, ParcelName, Upload};
    use crate::repo::{Ambient, Patience, RepoOptions};
    use crate::testing::{FaultStore, ObjectFault, Operation};

    /// How often a sleep is asked before it is over though nothing moves the time.
    const POLLS: u32 = 10_000;

    /// Time that the test moves.
    #[derive(Debug, Default)]
    struct MovedTime(Arc<AtomicU64>);

    impl Ambient for MovedTime {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }

        fn elapsed_us(&self) -> u64 {
            self.now_ms() * 1_000
        }

        fn random(&self) -> u64 {
            7
        }

        fn boot(&self) -> String {
            String::new()
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let (now, end) = (Arc::clone(&self.0), self.now_ms() + duration.as_millis() as u64);
            let mut polls = 0;
            Box::pin(std::future::poll_fn(move |context| {
                polls += 1;
                if now.load(Ordering::SeqCst) >= end || polls > POLLS {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            }))
        }
    }

    fn name() -> ObjectName {
        let parcel = ParcelName { run: bedload_lsm::RunId { opening: 1, sequence: 1 }, upload: Upload(1) };
        ObjectName::Parcel(JobName::new("job").unwrap(), parcel)
    }

    /// Uploads `parts` parts, each of which takes two minutes to be made; parts of an upload fail as `fault` says.
    async fn upload_slowly(parts: u64, fault: Option<ObjectFault>) -> Result<Uploaded> {
        let time = MovedTime::default();
        let now = Arc::clone(&time.0);
        let store = FaultStore::new(move |request| fault.filter(|_| request.operation == Operation::Part));
        let patience = Patience { tries: 1, ..Patience::default() };
        let options = RepoOptions::default().ambient(Arc::new(time)).patience(patience);
        let repo = options.open_store(Arc::new(store), "memory://").await.unwrap();
        let slow = || {
            let now = Arc::clone(&now);
            let (mut made, mut polls) = (0, 0);
            futures_util::stream::poll_fn(move |context| {
                if made == parts {
                    return Poll::Ready(None);
                }
                polls += 1;
                if polls % 10 > 0 {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                now.fetch_add(120_000, Ordering::SeqCst);
                made += 1;
                Poll::Ready(Some(Ok(Bytes::from(vec![made as u8; PART_BYTES]))))
            })
        };
        repo.upload(&name(), slow).await
    }

    /// The time of a part's request began when the part was made, and the request was not asked for its answer before four
    /// more were made: where that took a minute, a healthy store had "not answered".
    #[tokio::test]
    async fn the_time_to_make_a_part_is_not_the_time_of_its_request() {
        let uploaded = upload_slowly(6, Some(ObjectFault::Slow)).await.unwrap();
        assert_eq!(uploaded.bytes, 6 * PART_BYTES as u64);
    }

    /// Parts of a run whose bytes turned out to be wrong stayed in the store, where nobody sees them and somebody pays for them.
    #[tokio::test]
    async fn what_cannot_be_made_is_given_up() {
        let aborts = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&aborts);
        let store = FaultStore::new(move |request| {
            seen.fetch_add(u64::from(request.operation == Operation::AbortParts), Ordering::SeqCst);
            None
        });
        let repo = RepoOptions::default().open_store(Arc::new(store), "memory://").await.unwrap();
        let part = |number: u8| match number {
            4 => Err(Error::new(ErrorKind::Damaged, "a damaged run")),
            number => Ok(Bytes::from(vec![number; PART_BYTES])),
        };
        let error = repo.upload(&name(), || futures_util::stream::iter((0..9).map(part))).await.unwrap_err();
        assert_eq!((error.kind(), aborts.load(Ordering::SeqCst)), (ErrorKind::Damaged, 1));
    }

    #[tokio::test]
    async fn a_part_that_is_not_answered_ends_the_upload() {
        let error = upload_slowly(6, Some(ObjectFault::Hang)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry);
        assert!(error.to_string().contains("no answer within 60 s"), "{error}");
    }
}
