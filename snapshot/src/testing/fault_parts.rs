//! Uploads in parts of a [`FaultStore`]: kept apart from the objects until they are completed, as servers do.

use std::fmt;

use bytes::Bytes;
use futures_util::FutureExt;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::fault::Operation;
use super::fault_store::FaultStore;

/// An upload in parts that was neither completed nor aborted: its parts take room, and no listing of objects shows them.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// What the object would be called.
    pub path: String,
    /// Parts by number, as far as they have arrived.
    parts: Vec<Option<PutPayload>>,
}

impl Unfinished {
    pub fn new(path: String) -> Unfinished {
        Unfinished { path, parts: Vec::new() }
    }

    pub fn take_part(&mut self, number: usize, part: PutPayload) {
        if self.parts.len() <= number {
            self.parts.resize(number + 1, None);
        }
        self.parts[number] = Some(part);
    }

    /// The object of the first `count` parts; `None` when one of them has not arrived.
    pub fn object(&self, count: usize) -> Option<PutPayload> {
        let parts: Option<Vec<&PutPayload>> = (0..count).map(|number| self.parts.get(number)?.as_ref()).collect();
        let pieces = parts?.into_iter().flat_map(|part| part.iter().cloned());
        Some(pieces.collect::<Vec<Bytes>>().into_iter().collect())
    }
}

/// An upload in parts that fails as asked.
pub(super) struct FaultParts {
    pub store: FaultStore,
    pub location: Path,
    pub upload: u64,
    pub count: usize,
}

impl fmt::Debug for FaultParts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FaultParts({})", self.location)
    }
}

pub(super) fn no_such_upload(path: &str) -> Error {
    Error::NotFound { path: path.to_owned(), source: "no such upload in parts".into() }
}

#[async_trait::async_trait]
impl MultipartUpload for FaultParts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = self.count;
        self.count += 1;
        let (store, location, upload) = (self.store.clone(), self.location.clone(), self.upload);
        async move {
            let store = &store;
            let take = || {
                let data = data.clone();
                async move { store.take_part(upload, number, data) }
            };
            store.change(Operation::Part, location.as_ref(), take).await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (store, upload, count) = (&self.store, self.upload, self.count);
        let complete = || async move { store.complete_parts(upload, count).await };
        store.change(Operation::CompleteParts, self.location.as_ref(), complete).await
    }

    async fn abort(&mut self) -> Result<()> {
        let (store, upload) = (&self.store, self.upload);
        let abort = || async move { store.abort_parts(upload) };
        store.change(Operation::AbortParts, self.location.as_ref(), abort).await
    }
}
