//! A sorted store of bytes with one writer, for the working state of stream operators.
//!
//! An operator's state has one writer, replays its input after a crash, and needs a snapshot only at a checkpoint. So this
//! store has no write-ahead log, no sequence numbers, no locks and no copies on its write path: the writer changes values
//! *in place* in a memtable that nobody else sees. To look at the store from elsewhere is to *seal*: swap the memtable for
//! an empty one, in microseconds. From then on all that others see is immutable.
//!
//! ```
//! use bedload_lsm::{Result, ScannedKeys, Store};
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let directory = directory.path();
//! let mut store = Store::options().memory(64 << 20).shape(ScannedKeys).open(directory)?;
//! store.put(b"stop/1", b"Ely")?;
//! store.put(b"stop/2", b"March")?;
//! assert_eq!(store.scan_prefix(b"stop/")?.count(), 2);
//!
//! let frozen = store.freeze()?; // a checkpoint's synchronous part
//! store.put(b"stop/1", b"Cambridge")?; // goes on at once
//! let stacks = frozen.wait()?; // the runs of that very moment, to be shipped
//! store.release(stacks.seal());
//! store.close()?;
//! # Ok::<(), bedload_lsm::Error>(())
//! ```
//!
//! # Words
//!
//! *Entry*: a key with a value, a tombstone, or a merge operand. *Memtable*: the writer's buffer; *sealed* once swapped out.
//! *Run*: one immutable sorted file. *Slice*: a run seen through a key range. *Tile*: a key range with its stack of slices,
//! newest first. *Version*: the tiles at one moment. *View*: sealed memtables and a version. *Delta*: the run that one seal
//! became.
//!
//! # Who may call what
//!
//! [`Store`] is `Send`: one thread at a time owns it; writes take `&mut self`, reads `&self`. What a store itself reads
//! changes only in `&mut self` calls, so values are borrowed and not copied. [`View`], [`Frozen`], [`FrozenStacks`] and
//! [`RunRef`] are `Send` and `Sync` and are read anywhere while the writer goes on. Puts take no lock, nor do gets from
//! mapped runs; those from the block cache hold that of one of its shards for a moment.
//!
//! Stores of one process share an [`Env`]: worker threads, block cache, one memory budget. Workers flush and merge for all
//! of them, flushes first; they end with the last clone of the `Env` and the last store in it. With
//! [`EnvBuilder::threads`] 0 there are none, and background work happens in [`Env::step_background`], or where the writer
//! has to wait for it: a test is then deterministic.
//!
//! ```
//! fn anywhere<T: Send + Sync>() {}
//! fn one_at_a_time<T: Send>() {}
//!
//! one_at_a_time::<bedload_lsm::Store>();
//! anywhere::<bedload_lsm::Env>();
//! anywhere::<bedload_lsm::View>();
//! anywhere::<bedload_lsm::Frozen>();
//! anywhere::<bedload_lsm::FrozenStacks>();
//! anywhere::<bedload_lsm::RunRef>();
//! ```
//!
//! # What operations cost
//!
//! | operation | cost |
//! |---|---|
//! | [`Store::put`], [`Store::merge`] | one hash probe; in place when the key is in the active memtable and the value fits; a new scanned key also enters the ordered index |
//! | [`Store::update`] | the same when the key is in the active memtable; else a get, and a put of what was changed |
//! | [`Store::get`] | a probe for each memtable in memory, a filter test for each slice of one tile, and a block for each slice that a filter lets through: the one that holds the key, and one in a hundred others |
//! | [`Store::multi_get`] | a get for each key; filters, then blocks of all keys are on their way before the first is read: waits for memory overlap, reads from the disk too |
//! | [`Store::delete`] | the probes and filter tests of a get, and no block; leaves nothing behind where nothing older can hold the key |
//! | [`Store::apply`] | its writes, and at most one seal |
//! | [`Store::scan`], [`Store::scan_prefix`] | a seek in each memtable and in each slice of a tile, then a few comparisons an entry; the first one that meets point keys orders those of each memtable, some 100 ns an entry |
//! | [`Store::cursor`] | a scan for each 32 entries; for each entry when something else writes in between |
//! | [`Store::delete_range`], [`Store::set_low_mark`] | one range tombstone, however many entries lie on disk; also removes scanned keys from the active memtable one by one, and seals when that one holds point keys that may lie inside |
//! | [`Store::pop_first`] | a scan of what it hands out, then one range delete |
//! | [`Store::view`], [`Store::freeze`] | a seal: microseconds, independent of the state's size |
//! | [`Store::flush`], [`Store::close`] | sorts and writes what is in memory; waits for it |
//! | [`Store::adopt`], [`Store::clip_to`] | a flush, then metadata: a link, a footer and a directory for each run adopted; waits for running merges |
//! | [`Store::bytes_in`] | directories, and the indexes of sections at the edges of the range; no entry |
//! | [`Store::stats`], [`Store::pressure`] | a look at every tile's stack |
//! | [`StoreOptions::open`] | the version, and footer and directory of each run |
//! | [`inspect`] | the same, from outside and without the lock |
//!
//! # What survives
//!
//! After [`Store::close`]: everything. After the end of the process: the state of the last flush, as
//! [`Store::opened_clean`] tells. After a power loss: nothing is promised, closed or not, unless the store is
//! [`Durability::Synced`]; then the same. So go back to the last checkpoint and read the input again from there: a
//! checkpoint is what was frozen and shipped somewhere else.
//!
//! The bytes of the files are drawn in [`format`](mod@format); settings are told in [`Tuning`], [`StoreOptions`] and
//! [`EnvBuilder`].
//!
//! # Logs
//!
//! Openings, flushes and merges are told by the crate `tracing` at level `DEBUG`, work that failed and is tried again at `WARN`, what makes
//! the store read-only at `ERROR`. Nothing is told for an entry.
//!
//! # Errors
//!
//! One [`Error`] whose [`ErrorKind`] names the caller's duty. A write that fails has not happened. A failed sync of the
//! version is final: the store is read-only from then on. Damage is found by checksums, told with its place, and never
//! repaired in silence.

mod error;
pub mod format;
mod prefetch;
mod sync;

mod codec;

mod entry;
mod key;

mod fold;
mod metrics;
mod options;

mod cache;
pub mod fs;
mod iter;

mod memtable;
mod run;

mod version;

mod view;

mod compaction;
mod flush;

mod worker;

mod store;

mod inspect;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use codec::RunId;
pub use entry::{CLOCKS_MAX, ClockId, Clocks, Expiry, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use error::{Error, ErrorKind, Place, Result};
pub use fold::{Fold, FoldFn, NoRules, Rule, Rules, frame, frames};
pub use inspect::{InspectedRun, InspectedSlice, InspectedTile, Inspection, RunPlace, inspect};
pub use key::{KeyRange, KeyShape, PointKeys, ScannedKeys};
pub use metrics::{Counter, Histogram, Metrics};
pub use options::{Codec, Durability, SystemTime, Time, Tuning};
pub use store::{
    AdoptedRun, AdoptedSource, AdoptedStack, Batch, Cursor, Delta, Env, EnvBuilder, Frozen, FrozenSlice, FrozenStacks,
    FrozenTile, RunRef, Slot, Stats, Store, StoreOptions, TileStats,
};
pub use view::{Scan, ValueRef, View};
