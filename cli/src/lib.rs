//! The command `bedload`: a demonstration on real data, and what an operator of jobs needs at a repo.
//!
//! ```text
//!  bedload demo           runs a job of several processes on a temporary repo, kills one of them, rescales, and compares what was counted
//!  bedload ls             lists jobs and checkpoints
//!  bedload config show    tells which settings are in force, and where each came from
//!  bedload stat           shows what lies in a working directory, also while a process works there
//!  bedload metrics        serves figures of running jobs to Prometheus
//!  bedload top            shows them, again and again
//! ```
//!
//! What people read stands on stdout, as text that fits a terminal or with `--json`; how far it is, on stderr, and nowhere when that is
//! no terminal. Exit codes are told in [`exit`](mod@exit).

pub mod exit;

mod exposition;
mod flights;
mod settings;
mod text;
mod totals;

mod disk;
mod lines;
mod planes;
mod reference;

mod context;

mod watch;

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
