//! Several writes at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Store;
use super::write::check_lengths;
use crate::codec::hash32;
use crate::entry::{self, Kind};
use crate::error::Result;
use crate::fold::Fold;
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
    /// As [`Store::put`] and [`Store::merge`]; lengths, forms, rules and room are checked before the first write. Only a
    /// [`Fold::User`](crate::Fold::User) whose result outgrows a value fails half-way.
    pub fn apply(&mut self, batch: &Batch) -> Result<()> {
        let mut bytes = 0;
        let mut outgrown = 0;
        let mut folded: HashMap<&[u8], usize> = HashMap::new();
        for write in &batch.writes {
            let (key, value) = batch.parts(write);
            check_lengths(key, value.len())?;
            // A value that is folded again and again takes up to four times its bytes while it doubles.
            bytes += 4 * Memtable::record_bytes(write.key_bytes, write.value_bytes);
            if let WriteKind::Merge = write.kind {
                let fold = self.rule_of(key)?.fold;
                fold.check(value)?;
                let length = match folded.entry(key) {
                    Entry::Occupied(length) => length.into_mut(),
                    Entry::Vacant(place) => {
                        let older = self.active.get(hash32(key), key).filter(|entry| entry.kind != Kind::Tombstone);
                        let older = older.map_or(&[][..], |entry| entry.value);
                        if !older.is_empty() {
                            fold.check(older)?;
                        }
                        outgrown += 4 * Memtable::record_bytes(write.key_bytes, older.len());
                        place.insert(older.len())
                    }
                };
                if matches!(fold, Fold::Append) {
                    *length += value.len();
                    check_lengths(key, *length)?;
                }
            } else {
                if let WriteKind::Put = write.kind {
                    self.check_form(key, value)?;
                }
                if let Some(length) = folded.get_mut(key) {
                    *length = value.len();
                }
            }
        }
        self.prepare(bytes + outgrown)?;
        if !self.active.has_room(bytes + outgrown) {
            self.seal_active(false)?;
        }
        for write in &batch.writes {
            let (key, value) = batch.parts(write);
            match write.kind {
                WriteKind::Put => self.insert(hash32(key), key, entry::Entry::value(value, None))?,
                WriteKind::Delete => self.delete_prepared(key)?,
                WriteKind::Merge => self.merge_prepared(&self.rule_of(key)?, key, value, None)?,
            }
        }
        Ok(())
    }
}
