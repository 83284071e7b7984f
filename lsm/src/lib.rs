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
//! [`Store`] is `Send`: one thread at a time owns it; writes take `&mut self`, reads `&self`. [`View`] and [`Frozen`] are
//! `Send` and `Sync` and are read anywhere while the writer goes on. Stores of one process share an [`Env`]: worker threads,
//! block cache, one memory budget.
//!
//! # What operations cost
//!
//! | operation | cost |
//! |---|---|
//! | [`Store::update`], [`Store::put`], [`Store::merge`] | one hash probe; in place when the key is in the active memtable |
//! | [`Store::get`] | a probe for each memtable in memory, a filter test for each slice of one tile, one block |
//! | [`Store::delete`] | as a get that misses; leaves nothing behind where nothing older can hold the key |
//! | [`Store::scan`], [`Store::scan_prefix`] | a seek in each source, then a few comparisons an entry |
//! | [`Store::delete_range`], [`Store::pop_first`] | one range tombstone, however many entries |
//! | [`Store::view`], [`Store::freeze`] | microseconds, independent of the state's size |
//! | [`Store::adopt`], [`Store::clip_to`] | metadata only, beside the flush of what is in memory |
//!
//! # Errors
//!
//! One [`Error`] whose [`ErrorKind`] names the caller's duty. A write that fails has not happened. A failed sync of the
//! version is final: the store is read-only from then on. Damage is found by checksums, told with its place, and never
//! repaired in silence.

mod error;
pub mod format;
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

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use codec::RunId;
pub use entry::{CLOCKS_MAX, ClockId, Clocks, Expiry, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use error::{Error, ErrorKind, Place, Result};
pub use fold::{Fold, FoldFn, NoRules, Rule, Rules, frame, frames};
pub use key::{KeyRange, KeyShape, PointKeys, ScannedKeys};
pub use metrics::{Counter, Histogram, Metrics};
pub use options::{Codec, Durability, SystemTime, Time, Tuning};
pub use store::{
    AdoptedRun, AdoptedSource, AdoptedStack, Batch, Cursor, Delta, Env, EnvBuilder, Frozen, FrozenSlice, FrozenStacks,
    FrozenTile, RunRef, Slot, Stats, Store, StoreOptions, TileStats,
};
pub use view::{Scan, ValueRef, View};

/// The example of the README, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
