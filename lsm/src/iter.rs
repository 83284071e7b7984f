//! Ordered reading: what a memtable and a run both offer.

use crate::entry::Entry;
use crate::error::Result;

/// A position in a sorted sequence of entries with unique keys. A new cursor stands nowhere: seek first.
///
/// After an error the position is undefined; seek again.
pub(crate) trait Cursor {
    /// Goes to the first key that is not smaller than `key`.
    fn seek(&mut self, key: &[u8]) -> Result<()>;

    /// Goes to the last key that is smaller than `bound`, or to the last key of all.
    fn seek_before(&mut self, bound: Option<&[u8]>) -> Result<()>;

    /// Goes to the next larger key. Only from a key.
    fn next(&mut self) -> Result<()>;

    /// Goes to the next smaller key. Only from a key.
    fn prev(&mut self) -> Result<()>;

    /// The key here; `None` behind either end.
    fn key(&self) -> Option<&[u8]>;

    /// The entry here. Only at a key.
    fn entry(&self) -> Result<Entry<'_>>;
}
