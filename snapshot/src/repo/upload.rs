//! Uploads of parcels: large, never read back whole, never under a name that was used before.

use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use super::{Meta, Published, Repo};
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::manifest::{Digest, Hex};
use crate::names::ObjectName;

/// Bytes of one part of an upload in parts: S3 takes no smaller ones than 5 MiB, and 10,000 of them at most.
const PART_BYTES: usize = 8 << 20;

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
    /// Uploads what `source` streams, in memory of a few parts; it is asked for another stream when the upload has to be
    /// started anew. Each stream must have the same bytes.
    ///
    /// # Errors
    /// Those of the requests and of the stream; `Bug` when another object has the name.
    pub(crate) async fn upload<S>(&self, name: &ObjectName, source: impl Fn() -> S) -> Result<Uploaded>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let mut failures = 0;
        loop {
            let error = match self.upload_once(name, source()).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(error) => error,
            };
            failures += 1;
            if error.kind() != ErrorKind::Retry || failures >= self.0.patience.tries {
                return Err(error);
            }
            self.pause(failures).await;
        }
    }

    async fn upload_once<S>(&self, name: &ObjectName, mut stream: S) -> Result<Uploaded>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let mut hasher = blake3::Hasher::new();
        let mut rest = BytesMut::new();
        let mut bytes = 0;
        let mut first = None;
        let mut parts = None;
        loop {
            let part = next_part(&mut stream, &mut rest).await?;
            hasher.update(&part);
            bytes += part.len() as u64;
            let is_last = part.len() < PART_BYTES;
            match (&mut parts, first.take()) {
                (None, None) if is_last => {
                    let uploaded = Uploaded { bytes, digest: Hex(*hasher.finalize().as_bytes()) };
                    return self.upload_whole(name, part, uploaded).await;
                }
                (None, None) => first = Some(part),
                (None, Some(before)) => {
                    let parts = parts.insert(self.start_parts(name).await?);
                    self.add_part(name, parts, before).await?;
                    if !part.is_empty() {
                        self.add_part(name, parts, part).await?;
                    }
                }
                // A stream that ends with a full part is followed by an empty one, which some stores refuse.
                (Some(_), _) if part.is_empty() => {}
                (Some(parts), _) => self.add_part(name, parts, part).await?,
            }
            if is_last {
                break;
            }
        }
        let uploaded = Uploaded { bytes, digest: Hex(*hasher.finalize().as_bytes()) };
        let parts = parts.expect("a first part that is not the last one is followed by another");
        self.finish_parts(name, parts, uploaded).await
    }

    async fn upload_whole(&self, name: &ObjectName, bytes: Bytes, uploaded: Uploaded) -> Result<Uploaded> {
        match self.publish_once(name, &bytes).await? {
            Published::Ours => Ok(uploaded),
            Published::Theirs(found) => {
                let message =
                    format!("another object of {} bytes has the name of an upload; please report this", found.len());
                Err(Error::at(ErrorKind::Bug, self.place(name), None, message))
            }
        }
    }

    async fn start_parts(&self, name: &ObjectName) -> Result<Parts> {
        let path = self.path(&name.path());
        let start = async || self.0.store.put_multipart(&path).await;
        let upload = self.tried("start the upload of", name, start).await?;
        let upload = upload.ok_or_else(|| self.missing(name, "its bucket, container or directory does not exist"))?;
        Ok(Parts { upload, on_their_way: FuturesUnordered::new() })
    }

    async fn add_part(&self, name: &ObjectName, parts: &mut Parts, part: Bytes) -> Result<()> {
        while parts.on_their_way.len() >= PARTS_AT_ONCE {
            self.settle_part(name, parts).await?;
        }
        let request = parts.upload.put_part(PutPayload::from_bytes(part));
        let sleep = self.0.ambient.sleep(self.0.patience.request_limit);
        parts.on_their_way.push(Box::pin(async move {
            match futures_util::future::select(request, sleep).await {
                futures_util::future::Either::Left((done, _)) => done,
                futures_util::future::Either::Right(_) => {
                    let source = "no answer to a part of an upload".into();
                    Err(object_store::Error::Generic { store: "object store", source })
                }
            }
        }));
        Ok(())
    }

    async fn settle_part(&self, name: &ObjectName, parts: &mut Parts) -> Result<()> {
        match parts.on_their_way.next().await {
            None | Some(Ok(())) => Ok(()),
            Some(Err(cause)) => {
                self.give_up(parts).await;
                Err(self.failed("upload a part of", name, &cause))
            }
        }
    }

    /// Frees what the parts take in the store, as well as that can be done.
    async fn give_up(&self, parts: &mut Parts) {
        parts.on_their_way.clear();
        // What stays is removed by the store's own rule for unfinished uploads.
        self.limited(parts.upload.abort()).await.ok();
    }

    async fn finish_parts(&self, name: &ObjectName, mut parts: Parts, uploaded: Uploaded) -> Result<Uploaded> {
        while !parts.on_their_way.is_empty() {
            self.settle_part(name, &mut parts).await?;
        }
        let Err(cause) = self.limited(parts.upload.complete()).await else { return Ok(uploaded) };
        // The answer may be lost and the object there.
        match self.head(name).await? {
            Some(Meta { bytes, .. }) if bytes == uploaded.bytes => {
                self.compare(name, uploaded).await?;
                Ok(uploaded)
            }
            _ => {
                self.give_up(&mut parts).await;
                Err(self.failed("complete the upload of", name, &cause))
            }
        }
    }

    /// Reads an object through, in pieces, and compares it with what was uploaded.
    async fn compare(&self, name: &ObjectName, uploaded: Uploaded) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut start = 0;
        while start < uploaded.bytes {
            let end = uploaded.bytes.min(start + PART_BYTES as u64);
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

/// An upload in parts.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    on_their_way: FuturesUnordered<futures_util::future::BoxFuture<'static, object_store::Result<()>>>,
}

/// Takes the next part of a stream, of exactly [`PART_BYTES`] unless the stream ends; `rest` holds what came too much.
async fn next_part<S>(stream: &mut S, rest: &mut BytesMut) -> Result<Bytes>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    while rest.len() < PART_BYTES {
        let Some(piece) = stream.next().await else { break };
        rest.extend_from_slice(&piece?);
    }
    Ok(rest.split_to(rest.len().min(PART_BYTES)).freeze())
}
