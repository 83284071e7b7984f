//! What everyone but the writer reads, and the one place where it changes.

mod board;
mod scan;
mod snapshot;
mod value;

pub(crate) use board::{Board, Delta, FrozenCell, FrozenState};
pub use scan::Scan;
pub(crate) use scan::ScanParts;
pub(crate) use snapshot::{SealedTable, Search, Seen, Snapshot};
pub use value::ValueRef;

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec::hash32;
use crate::entry::Clocks;
use crate::error::Result;
use crate::fold::Rules;
use crate::key::{KeyRange, KeyShape};

/// The store as it was when the view was taken.
///
/// `Send`, `Sync` and cheap to clone; get and scan on any thread, without a lock, while the writer goes on. What a view can
/// reach stays readable until the last clone is dropped: memtables stay in memory, files on disk. So do not keep one for
/// long. Expiry is judged by the clocks at the seal.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// let view = store.view()?;
/// store.put(b"a", b"2")?;
/// let other = std::thread::scope(|scope| scope.spawn(|| view.get(b"a").map(|v| v.unwrap().to_vec())).join().unwrap())?;
/// assert_eq!(other, b"1");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone)]
pub struct View {
    snapshot: Arc<Snapshot>,
    rules: Arc<dyn Rules>,
    shape: Arc<dyn KeyShape>,
}

impl View {
    pub(crate) fn new(snapshot: Arc<Snapshot>, rules: Arc<dyn Rules>, shape: Arc<dyn KeyShape>) -> View {
        View { snapshot, rules, shape }
    }

    /// The value of `key`. Costs what a get of the store costs.
    ///
    /// # Errors
    /// `Damaged` when a run is, `Fix` when the merge rules do not fit.
    pub fn get(&self, key: &[u8]) -> Result<Option<ValueRef<'_>>> {
        let search = Search::new(&*self.rules, &self.snapshot.clocks);
        Ok(self.snapshot.get(hash32(key), key, search)?.map(|seen| seen.value))
    }

    /// The entries of a range, in order. The first scan of a view that meets point keys sorts its memtables.
    pub fn scan(&self, range: impl Into<KeyRange>) -> Scan<'_> {
        let range = range.into();
        let (scanned_only, prefix_bytes) = scan_hints(&*self.shape, &range);
        let parts = ScanParts {
            snapshot: &self.snapshot,
            active: None,
            rules: &*self.rules,
            clocks: &self.snapshot.clocks,
            scanned_only,
            prefix_bytes,
        };
        Scan::new(Cow::Owned(range), parts)
    }

    /// The entries whose keys start with `prefix`, in order.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        self.scan(KeyRange::prefix(prefix))
    }

    /// The clocks at the seal.
    pub fn clocks(&self) -> &Clocks {
        &self.snapshot.clocks
    }
}

/// Whether only scanned keys can be inside `range`, and how many bytes of its start are the whole scan prefix that they share.
pub(crate) fn scan_hints(shape: &dyn KeyShape, range: &KeyRange) -> (bool, Option<usize>) {
    let common = range.common_prefix();
    match shape.scan_prefix_bytes(common) {
        Some(bytes) if bytes <= common.len() => (true, (bytes > 0).then_some(bytes)),
        _ => (false, None),
    }
}
