//! bedload-lsm

mod error;

mod codec;

mod entry;
mod key;

mod fold;

pub mod fs;
mod iter;

pub use codec::RunId;
pub use entry::{CLOCKS_MAX, ClockId, Clocks, Entry, Expiry, KEY_BYTES_MAX, Kind, VALUE_BYTES_MAX};
pub use error::{Error, ErrorKind, Place, Result};
pub use fold::{Fold, FoldFn, NoRules, Rule, Rules, frame, frames};
pub use key::{KeyRange, KeyShape, PointKeys, RangeSet, ScannedKeys};
