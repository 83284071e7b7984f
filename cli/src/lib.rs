//! The command `bedload`: a demonstration on real data.
//!
//! ```text
//!  bedload demo           runs a job of several processes on a temporary repo, kills one of them, rescales, and compares what was counted
//! ```
//!
//! What people read stands on stdout, as text that fits a terminal or with `--json`; how far it is, on stderr, and nowhere when that is
//! no terminal. Exit codes are told in [`exit`](mod@exit).

pub mod exit;

mod flights;
mod text;
mod totals;

mod lines;
mod planes;

mod protocol;

mod worker;

mod fleet;
mod report;
mod screen;

mod job;

mod demo;

mod arguments;

pub use arguments::main;
