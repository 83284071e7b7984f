//! The shape of keys: the only thing the store knows about what its keys mean.

/// Names the parts of a key that the store can make use of. A pure function of the key's bytes.
///
/// Given at open with a name and a version that every run carries: filters answer questions about prefixes only under the
/// shape they were built with.
///
/// ```
/// use bedload_lsm::KeyShape;
///
/// /// Two bytes of tenant, then a session id of eight bytes, then whatever is scanned within a session.
/// struct Sessions;
/// impl KeyShape for Sessions {
///     fn name(&self) -> &str { "sessions" }
///     fn version(&self) -> u32 { 1 }
///     fn partition_bytes(&self, key: &[u8]) -> usize { key.len().min(2) }
///     fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> { (key.len() >= 10).then_some(10) }
/// }
/// ```
pub trait KeyShape: Send + Sync + 'static {
    /// Names the shape: at most 255 bytes.
    fn name(&self) -> &str;

    /// Changes whenever the answers below change for any key.
    fn version(&self) -> u32;

    /// How many leading bytes name the key's partition: the unit at which files are cut and ranges move. At most the key's
    /// length; all keys that start with a partition's bytes belong to it.
    fn partition_bytes(&self, key: &[u8]) -> usize;

    /// How many leading bytes scans of this key's neighbourhood have in common, or `None` for a key that is only ever looked
    /// up whole (a *point key*). At most the key's length. The answer is decided by those leading bytes alone: every key that
    /// starts with them gets the same answer.
    ///
    /// Scanned keys enter an ordered index when written; a scan over point keys works too, but orders them first.
    fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize>;

    /// Whether a scanned key is an entry of a queue: put, consumed in order, hardly ever looked up whole. In memory such a key
    /// is found through the ordered index alone, which makes puts and [`Store::pop_first`](crate::Store::pop_first) faster and
    /// lookups slower. Says nothing about what is on disk: it may change without a new version.
    fn is_queued(&self, _key: &[u8]) -> bool {
        false
    }
}

/// One partition, only point keys: the shape of a plain map.
///
/// ```
/// use bedload_lsm::Store;
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().open(directory.path())?; // the default shape
/// store.put(b"user/42", b"Ann")?;
/// assert!(store.get(b"user/42")?.is_some());
/// assert_eq!(store.scan(..)?.count(), 1); // works, and orders what is in memory first
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PointKeys;

impl KeyShape for PointKeys {
    fn name(&self) -> &str {
        "points"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, _key: &[u8]) -> usize {
        0
    }

    fn scan_prefix_bytes(&self, _key: &[u8]) -> Option<usize> {
        None
    }
}

/// One partition, every key scanned, no common prefix: the shape of a plain ordered map.
///
/// ```
/// use bedload_lsm::{ScannedKeys, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().shape(ScannedKeys).open(directory.path())?;
/// for stop in ["Ely", "Cambridge", "March"] {
///     store.put(stop.as_bytes(), b"")?;
/// }
/// let (first, _) = store.scan(..)?.next().expect("there are three")?;
/// assert_eq!(first, b"Cambridge");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ScannedKeys;

impl KeyShape for ScannedKeys {
    fn name(&self) -> &str {
        "scanned"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, _key: &[u8]) -> usize {
        0
    }

    fn scan_prefix_bytes(&self, _key: &[u8]) -> Option<usize> {
        Some(0)
    }
}
