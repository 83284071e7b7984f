//! The stores that are measured, by name.
//!
//! One file a store: how it is set up for this job and why, and how the operations of [`crate::store`] map to its own.

mod bedload;
mod bedload_shipping;
#[cfg(feature = "cobble")]
mod cobble;
mod fjall;
mod links;
mod lmdb;
mod maps;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "rocksdb")]
mod rocksdb_setups;

use anyhow::{Result, bail};

use crate::store::Store;

pub use links::{evict_files, list_files, share_directory, sync_files};

/// A store in one of its set-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// As the command line and the results call it.
    pub name: &'static str,
    kind: Kind,
    variant: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bedload,
    #[cfg(feature = "rocksdb")]
    RocksDb,
    Fjall,
    Redb,
    Lmdb,
    #[cfg(feature = "cobble")]
    Cobble,
    HashMap,
    BTreeMap,
}

/// All of them, in the order of the tables.
pub const CONTESTANTS: &[Contestant] = &[
    Contestant { name: "bedload", kind: Kind::Bedload, variant: 0 },
    #[cfg(feature = "rocksdb")]
    Contestant { name: "rocksdb-flink", kind: Kind::RocksDb, variant: rocksdb_setups::FLINK },
    #[cfg(feature = "rocksdb")]
    Contestant { name: "rocksdb-tuned", kind: Kind::RocksDb, variant: rocksdb_setups::TUNED },
    #[cfg(feature = "rocksdb")]
    Contestant { name: "rocksdb-outside", kind: Kind::RocksDb, variant: rocksdb_setups::OUTSIDE },
    #[cfg(feature = "rocksdb")]
    Contestant { name: "rocksdb-plain", kind: Kind::RocksDb, variant: rocksdb_setups::PLAIN },
    Contestant { name: "fjall", kind: Kind::Fjall, variant: 0 },
    Contestant { name: "redb", kind: Kind::Redb, variant: 0 },
    Contestant { name: "lmdb", kind: Kind::Lmdb, variant: 0 },
    #[cfg(feature = "cobble")]
    Contestant { name: "cobble", kind: Kind::Cobble, variant: 0 },
    Contestant { name: "hashmap", kind: Kind::HashMap, variant: 0 },
    Contestant { name: "btreemap", kind: Kind::BTreeMap, variant: 0 },
];

/// Work that is written once for every store.
pub trait ForEachStore {
    type Output;
    fn run<S: Store>(self) -> Result<Self::Output>;
}

impl Contestant {
    pub fn named(name: &str) -> Result<Contestant> {
        if let Some(found) = CONTESTANTS.iter().find(|contestant| contestant.name == name) {
            return Ok(*found);
        }
        let names: Vec<&str> = CONTESTANTS.iter().map(|contestant| contestant.name).collect();
        bail!("there is no store {name:?}; there are {}", names.join(", "))
    }

    pub fn variant(&self) -> u8 {
        self.variant
    }

    /// Does `work` with the type of this store.
    pub fn with<W: ForEachStore>(&self, work: W) -> Result<W::Output> {
        match self.kind {
            Kind::Bedload => work.run::<bedload::Bedload>(),
            #[cfg(feature = "rocksdb")]
            Kind::RocksDb => work.run::<rocksdb::RocksDb>(),
            Kind::Fjall => work.run::<fjall::Fjall>(),
            Kind::Redb => work.run::<redb::Redb>(),
            Kind::Lmdb => work.run::<lmdb::Lmdb>(),
            #[cfg(feature = "cobble")]
            Kind::Cobble => work.run::<cobble::Cobble>(),
            Kind::HashMap => work.run::<maps::Hashed>(),
            Kind::BTreeMap => work.run::<maps::Ordered>(),
        }
    }
}
