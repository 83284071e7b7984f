//! The standard maps: what memory alone could give.
//!
//! Keys are boxed and values are vectors, as a map of byte strings has them. Neither keeps anything on disk, so neither can be
//! checkpointed or opened; they are upper bounds and not alternatives. The hash map hashes with xxh3 (the hash that ours
//! uses), not with the slower default; it has no order, so it has no rows where prefixes are scanned.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::{Rest, Setup, Store, Turn, unsupported};

/// Hashes the bytes of a key; its length is the same for all and is left out.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
pub struct Hashed(HashMap<Box<[u8]>, Vec<u8>, BuildHasherDefault<KeyHasher>>);

#[derive(Default)]
pub struct Ordered(BTreeMap<Box<[u8]>, Vec<u8>>);

/// Writes the parts that both maps do alike.
macro_rules! memory_store {
    ($store:ident, $has_order:literal) => {
        impl Store for $store {
            type Turn<'a> = &'a mut $store;
            type Image = ();

            const HAS_FILES: bool = false;
            const HAS_ORDER: bool = $has_order;

            fn open(_setup: &Setup) -> Result<$store> {
                Ok($store::default())
            }

            fn turn<T>(&mut self, work: impl FnOnce(&mut &mut $store) -> Result<T>) -> Result<T> {
                let mut this = self;
                work(&mut this)
            }

            fn checkpoint(&mut self, _into: &Path) -> Result<Rest<()>> {
                unsupported("a checkpoint")
            }

            fn settle(&mut self) -> Result<()> {
                Ok(())
            }

            fn close(self) -> Result<()> {
                Ok(())
            }

            fn open_half(_image: &(), _half: usize, _setup: &Setup) -> Result<$store> {
                unsupported("opening a half")
            }

            fn merge(_images: &[(); 2], _whole: &Setup) -> Result<$store> {
                unsupported("merging")
            }
        }
    };
}

/// Writes the operations that both maps do alike.
macro_rules! memory_operations {
    () => {
        fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
            self.0.insert(key.into(), value.into());
            Ok(())
        }

        fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
            Ok(self.0.get(key).map(|value| read(value)))
        }

        fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
            Ok(self.0.get_mut(key).map(|value| change(value)).is_some())
        }

        fn delete(&mut self, key: &[u8]) -> Result<()> {
            self.0.remove(key);
            Ok(())
        }

        fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
            match self.0.get_mut(key) {
                Some(list) => list.extend_from_slice(element),
                None => {
                    self.0.insert(key.into(), element.into());
                }
            }
            Ok(())
        }

        fn take_list(&mut self, key: &[u8], mut read: impl FnMut(&[u8])) -> Result<()> {
            if let Some(list) = self.0.remove(key) {
                read(&list);
            }
            Ok(())
        }
    };
}

memory_store!(Hashed, false);
memory_store!(Ordered, true);

impl Turn for &mut Hashed {
    memory_operations!();

    fn scan_prefix(&mut self, _prefix: &[u8], _each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        unsupported("a scan in order")
    }

    fn pop_due(&mut self, _queue: &[u8], _behind: &[u8], _until: &[u8], _take: impl FnMut(&[u8])) -> Result<()> {
        unsupported("a scan in order")
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let inside = |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        self.0.iter().filter(|(key, _)| inside(key)).for_each(|(key, value)| each(key, value));
        Ok(())
    }
}

impl Turn for &mut Ordered {
    memory_operations!();

    fn scan_prefix(&mut self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let behind = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.0.range::<[u8], _>(behind).take_while(|(key, _)| key.starts_with(prefix));
        entries.for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn pop_due(&mut self, _queue: &[u8], behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        let due = (Bound::Included(behind), Bound::Excluded(until));
        let keys: Vec<Box<[u8]>> = self.0.range::<[u8], _>(due).map(|(key, _)| key.clone()).collect();
        for key in keys {
            take(&key);
            self.0.remove(&key);
        }
        Ok(())
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        self.0.range::<[u8], _>(bounds).for_each(|(key, value)| each(key, value));
        Ok(())
    }
}
