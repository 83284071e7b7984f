//! The command `bedload`: a demonstration on real data, and what an operator of jobs needs at a repo.
//!
//! ```text
//!  bedload demo           runs a job of several processes on a temporary repo, kills one of them, rescales, and compares what was counted
//!  bedload ls             lists jobs and checkpoints
//!  bedload config show    tells which settings are in force, and where each came from
//!  bedload doctor         tries out whether a directory and a repo are fit for a job
//!  bedload bench          measures updates, checkpoints and restores on your own disk and repo
//!  bedload completions    prints what lets a shell complete this; `bedload man` prints or writes manual pages
//! ```
//!
//! What people read stands on stdout, as text that fits a terminal or with `--json`; how far it is, on stderr, and nowhere when that is
//! no terminal. Exit codes are told in [`exit`](mod@exit).

pub mod exit;

mod files;
mod flights;
mod interrupt;
mod settings;
mod text;
mod totals;

mod lines;
mod planes;
mod reference;

mod context;

mod protocol;

mod worker;

mod fleet;
mod report;
mod screen;

mod job;

mod commands;
mod demo;

mod arguments;

pub use arguments::main;
