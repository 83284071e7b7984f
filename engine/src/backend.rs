//! Where the state lies: in a store, or in memory. What both offer is bytes under keys.

use bedload_lsm::{ClockId, Clocks, Cursor, Expiry, KeyRange, Slot, Store};

use crate::error::Result;
use crate::heap::Heap;
use crate::ttl::Visibility;

/// Where the state lies.
pub(crate) enum Backend {
    /// In a store on the local disk.
    Lsm(Box<Store>),
    /// In memory.
    Heap(Heap),
}

/// What an update did.
pub(crate) enum Change {
    /// Nothing.
    Keep,
    /// It wrote a value into the buffer that it was given; this is its end.
    Write(Option<Expiry>),
    /// It wrote a value into the buffer that it was given; its end stays.
    Rewrite,
    /// It removed the value.
    Delete,
}

/// A place in a range, which survives writes.
pub(crate) enum Place {
    Lsm(Box<Cursor>),
    /// The range starts behind the entry that was shown last: at its key and a zero.
    Heap {
        range: KeyRange,
        is_at: bool,
        value: Vec<u8>,
    },
}

impl Default for Place {
    fn default() -> Place {
        Place::Lsm(Box::default())
    }
}

/// The clocks of a reader for whom nothing has ended.
static BEFORE_ALL: Clocks = Clocks::BEFORE_ALL;

/// A reader's clocks.
fn clocks_of(store: &Store, visibility: Visibility) -> &Clocks {
    match visibility {
        Visibility::Living => store.clocks(),
        Visibility::UntilCleaned => &BEFORE_ALL,
    }
}

impl Backend {
    /// Looks at the value of `key`. What has ended is gone from a heap, whatever the visibility.
    #[inline]
    pub fn read<T>(
        &self,
        key: &[u8],
        visibility: Visibility,
        look: impl FnOnce(Option<&[u8]>) -> Result<T>,
    ) -> Result<T> {
        match self {
            Backend::Lsm(store) => look(store.get_by(key, clocks_of(store, visibility))?.as_deref()),
            Backend::Heap(heap) => look(heap.get(key).map(|kept| &kept.bytes[..])),
        }
    }

    /// Looks at the value of `key`; one that lives ends at `renewed` then, if given.
    #[inline]
    pub fn read_and_renew<T>(
        &mut self,
        key: &[u8],
        buffer: &mut Vec<u8>,
        renewed: Option<Expiry>,
        visibility: Visibility,
        look: impl FnOnce(Option<&[u8]>) -> Result<T>,
    ) -> Result<T> {
        let Some(renewed) = renewed else { return self.read(key, visibility, look) };
        if let (Backend::Lsm(store), Visibility::UntilCleaned) = (&mut *self, visibility) {
            let clocks = *store.clocks();
            return store.update_by(key, &BEFORE_ALL, |slot| {
                let result = look(slot.value())?;
                if slot.expiry().is_none_or(|expiry| !clocks.expired(expiry)) {
                    slot.set_expiry(Some(renewed));
                }
                Ok(result)
            })?;
        }
        self.update(key, buffer, Visibility::Living, |bytes, out| {
            let result = look(bytes)?;
            let Some(bytes) = bytes else { return Ok((Change::Keep, result)) };
            out.extend_from_slice(bytes);
            Ok((Change::Write(Some(renewed)), result))
        })
    }

    #[inline]
    pub fn put(&mut self, key: &[u8], value: &[u8], expiry: Option<Expiry>) -> Result<()> {
        match self {
            Backend::Lsm(store) => match expiry {
                None => store.put(key, value),
                Some(expiry) => store.put_until(key, value, expiry),
            },
            Backend::Heap(heap) => heap.put(key, value, expiry),
        }
    }

    /// Looks at the value of `key` and writes what `change` puts into `buffer`, in one descent.
    #[inline]
    pub fn update<T>(
        &mut self,
        key: &[u8],
        buffer: &mut Vec<u8>,
        visibility: Visibility,
        change: impl FnOnce(Option<&[u8]>, &mut Vec<u8>) -> Result<(Change, T)>,
    ) -> Result<T> {
        buffer.clear();
        match self {
            Backend::Lsm(store) => {
                let apply = |slot: &mut Slot<'_>| {
                    let (change, result) = change(slot.value(), buffer)?;
                    match change {
                        Change::Keep => {}
                        Change::Write(expiry) => {
                            slot.put(buffer);
                            slot.set_expiry(expiry);
                        }
                        Change::Rewrite => slot.put(buffer),
                        Change::Delete => slot.delete(),
                    }
                    Ok(result)
                };
                match visibility {
                    Visibility::Living => store.update(key, apply)?,
                    Visibility::UntilCleaned => store.update_by(key, &BEFORE_ALL, apply)?,
                }
            }
            Backend::Heap(heap) => {
                let (change, result) = change(heap.get(key).map(|kept| &kept.bytes[..]), buffer)?;
                match change {
                    Change::Keep => {}
                    Change::Write(expiry) => heap.put(key, buffer, expiry)?,
                    Change::Rewrite => heap.put(key, buffer, heap.get(key).and_then(|kept| kept.expiry))?,
                    Change::Delete => heap.delete(key),
                }
                Ok(result)
            }
        }
    }

    #[inline]
    pub fn merge(&mut self, key: &[u8], operand: &[u8], expiry: Option<Expiry>) -> Result<()> {
        match self {
            Backend::Lsm(store) => match expiry {
                None => store.merge(key, operand),
                Some(expiry) => store.merge_until(key, operand, expiry),
            },
            Backend::Heap(heap) => heap.merge(key, operand, expiry),
        }
    }

    #[inline]
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        match self {
            Backend::Lsm(store) => store.delete(key),
            Backend::Heap(heap) => {
                heap.delete(key);
                Ok(())
            }
        }
    }

    pub fn delete_range(&mut self, range: &KeyRange) -> Result<()> {
        match self {
            Backend::Lsm(store) => store.delete_range_of(range),
            Backend::Heap(heap) => {
                heap.delete_range(range);
                Ok(())
            }
        }
    }

    /// Shows entries of a range in order, until `look` says that it has seen enough.
    pub fn scan(
        &self,
        range: &KeyRange,
        visibility: Visibility,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        match self {
            Backend::Lsm(store) => {
                let mut scan = store.scan_by(range, clocks_of(store, visibility))?;
                while let Some((key, value)) = scan.next_entry()? {
                    if !look(key, value)? {
                        break;
                    }
                }
            }
            Backend::Heap(heap) => {
                for (key, kept) in heap.range(range) {
                    if !look(key, &kept.bytes)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Brings a place before the first entry whose key starts with `prefix`; it shows only such entries.
    pub fn go_to(&self, place: &mut Place, prefix: &[u8], visibility: Visibility) {
        match (self, place) {
            (Backend::Lsm(_), Place::Lsm(cursor)) => {
                let clocks = (visibility == Visibility::UntilCleaned).then_some(&BEFORE_ALL);
                cursor.restart(prefix, clocks);
            }
            (Backend::Lsm(store), place) => {
                *place = Place::Lsm(Box::new(store.cursor(KeyRange::all())));
                self.go_to(place, prefix, visibility);
            }
            (Backend::Heap(_), place) => {
                *place = Place::Heap { range: KeyRange::prefix(prefix), is_at: false, value: Vec::new() };
            }
        }
    }

    /// The next entry from a place on, as the state is now.
    pub fn next<'a>(&self, place: &'a mut Place) -> Result<Option<(&'a [u8], &'a [u8])>> {
        match (self, place) {
            (Backend::Lsm(store), Place::Lsm(cursor)) => cursor.next(store),
            (Backend::Heap(heap), Place::Heap { range, is_at, value }) => {
                let Some((key, kept)) = heap.first(range) else {
                    *is_at = false;
                    return Ok(None);
                };
                value.clone_from(&kept.bytes);
                range.start.clone_from(key);
                range.start.push(0);
                *is_at = true;
                Ok(Some((&range.start[..key.len()], value)))
            }
            _ => unreachable!("a place is used with the backend that made it"),
        }
    }

    /// Removes the entry at a place.
    pub fn remove_at(&mut self, place: &mut Place) -> Result<()> {
        match (self, place) {
            (Backend::Lsm(store), Place::Lsm(cursor)) => store.remove_at(cursor),
            (Backend::Heap(heap), Place::Heap { range, is_at, .. }) => {
                if !std::mem::take(is_at) {
                    return Err(crate::error::fix("the cursor stands at no entry: call next first, remove once"));
                }
                heap.delete(&range.start[..range.start.len() - 1]);
                Ok(())
            }
            _ => unreachable!("a place is used with the backend that made it"),
        }
    }

    /// The first keys of a range: for walks that write on their way.
    pub fn some(&self, range: &KeyRange, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        self.scan(range, Visibility::Living, |key, _| {
            keys.push(key.to_vec());
            Ok(keys.len() < count)
        })?;
        Ok(keys)
    }

    pub fn clocks(&self) -> &Clocks {
        match self {
            Backend::Lsm(store) => store.clocks(),
            Backend::Heap(heap) => heap.clocks(),
        }
    }

    pub fn set_clock(&mut self, clock: ClockId, now: u64) -> Result<()> {
        match self {
            Backend::Lsm(store) => store.set_clock(clock, now),
            Backend::Heap(heap) => {
                heap.set_clock(clock, now);
                Ok(())
            }
        }
    }
}
