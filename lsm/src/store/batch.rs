//! Several writes at once.

use std::collections::HashSet;

use super::Store;
use super::write::check_lengths;
use crate::codec::hash32;
use crate::entry::Entry;
use crate::error::Result;
use crate::memtable::Memtable;

/// Writes to be applied together: no seal comes between them, so every view, checkpoint and reopening has all of them or
/// none.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// let mut batch = bedload_lsm::Batch::default();
/// batch.put(b"from", b"90");
/// batch.put(b"to", b"110");
/// batch.delete(b"pending");
/// store.apply(&batch)?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    writes: Vec<Write>,
}

/// One write: where its key and value lie in the bytes.
#[derive(Clone, Debug)]
struct Write {
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
    kind: WriteKind,
}

#[derive(Clone, Copy, Debug)]
enum WriteKind {
    Put,
    Delete,
    Merge,
}

impl Batch {
    /// Adds a [`Store::put`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.add(WriteKind::Put, key, value);
    }

    /// Adds a [`Store::delete`].
    pub fn delete(&mut self, key: &[u8]) {
        self.add(WriteKind::Delete, key, &[]);
    }

    /// Adds a [`Store::merge`].
    pub fn merge(&mut self, key: &[u8], operand: &[u8]) {
        self.add(WriteKind::Merge, key, operand);
    }

    /// How many writes there are.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Forgets all writes and keeps the memory for more.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
    }

    fn add(&mut self, kind: WriteKind, key: &[u8], value: &[u8]) {
        self.writes.push(Write { start: self.bytes.len(), key_bytes: key.len(), value_bytes: value.len(), kind });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    fn parts(&self, write: &Write) -> (&[u8], &[u8]) {
        self.bytes[write.start..write.start + write.key_bytes + write.value_bytes].split_at(write.key_bytes)
    }
}

impl Store {
    /// Applies all writes of `batch`, in their order, to one memtable.
    ///
    /// # Errors
    /// As [`Store::put`] and [`Store::merge`]; lengths, rules and room are checked before the first write.
    pub fn apply(&mut self, batch: &Batch) -> Result<()> {
        let mut bytes = 0;
        let mut outgrown = 0;
        let mut merged = HashSet::new();
        for write in &batch.writes {
            let (key, value) = batch.parts(write);
            check_lengths(key, value)?;
            // A value that is folded again and again takes up to four times its bytes while it doubles.
            bytes += 4 * Memtable::record_bytes(write.key_bytes, write.value_bytes);
            if let WriteKind::Merge = write.kind {
                self.rule_of(key)?.fold.check(value)?;
                if merged.insert(key) {
                    let older = self.active.get(hash32(key), key).map_or(0, |entry| entry.value.len());
                    outgrown += 4 * Memtable::record_bytes(write.key_bytes, older);
                }
            }
        }
        self.prepare()?;
        if !self.active.has_room(bytes + outgrown) {
            self.make_room(bytes)?;
        }
        for write in &batch.writes {
            let (key, value) = batch.parts(write);
            match write.kind {
                WriteKind::Put => self.insert(hash32(key), key, Entry::value(value, None))?,
                WriteKind::Delete => self.delete_prepared(key)?,
                WriteKind::Merge => self.merge_prepared(&self.rule_of(key)?, key, value, None)?,
            }
        }
        Ok(())
    }
}
