//! Runs: immutable sorted files with at most one entry per key.
//!
//! ```text
//!   ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//!   │ section 0: [extents][block] [block] …  │ section 1: [block] …  │ …                             │  data, in key order
//!   ├──────────────────────────────────────────────────────────────────────────────────────────────┤
//!   │ [zeros to a multiple of 64][filter 0][index 0]   [zeros][filter 1][index 1] …                   │  see `section`
//!   ├──────────────────────────────────────────────────────────────────────────────────────────────┤
//!   │ directory: sections, range tombstones, properties                                               │  see `directory`
//!   ├──────────────────────────────────────────────────────────────────────────────────────────────┤
//!   │ footer, 64 bytes: magic, version, id, where the directory is                                    │  see `footer`
//!   └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The bytes are drawn, field by field, in [`crate::format`]: who changes one changes that page. The footer's checksum
//! covers the footer, which has that of the directory, which has those of filters and indexes; each block has its own; a
//! block's entry has that of its long value (*extent*).
//!
//! Invariants: * every byte of the file is under exactly one checksum, or is one that another covers or that guards itself.
//!             * a run, once finished, never changes.
//!             * bytes from the file give entries or an error with a place: never a panic, never an allocation larger than
//!               the file (or, of a compressed block, than 1 MiB) or, where only a length is claimed, than 256 MiB.
//!             * a merge puts nothing under new checksums that it has not checked; see `check`.
//!
//! Why slotted blocks with a hash table and not rows with restarts: a point get in a block takes 51 ns hot and 274 cold
//! against 302 and 1,446 (measured), for a tenth more bytes. What was left out: a cache of decoded entries, learned indexes,
//! an Eytzinger layout of the index (no gain over `partition_point`).

mod block;
mod builder;
mod check;
mod compress;
mod cursor;
mod directory;
mod estimate;
mod filter;
mod flaw;
mod footer;
mod reader;
#[cfg(any(test, feature = "testing"))]
mod reseal;
mod section;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub(crate) use block::walk_block;
pub(crate) use cursor::{RunBlock, RunCursor};
pub(crate) use reader::{Found, Run, RunBytes};
#[cfg(any(test, feature = "testing"))]
pub(crate) use reseal::Seals;
pub(crate) use writer::{RunSettings, RunWriter};
