//! The command `bedload`: a demonstration on real data, and what an operator of jobs needs at a repo.
//!
//! ```text
//!  bedload demo             runs a job of several processes on a temporary repo, kills one of them, rescales, and compares
//!  bedload ls, show, diff   what there is: jobs, checkpoints, what two of them share
//!  bedload files, why       which objects there are, what for, and which may go
//!  bedload verify           whether checkpoints are whole, and what it costs where they are not
//!  bedload get, scan        what is in a checkpoint
//!  bedload gc, pin, leases  what is kept, and deletes the rest
//!  bedload copy, restore    checkpoints elsewhere, and on this machine
//!  bedload rescale plan     what another number of workers would fetch
//!  bedload doctor, bench    whether a disk and a repo are fit, and how fast
//!  bedload stat, top        what lies in a working directory, and how jobs are, again and again
//!  bedload metrics          the same for Prometheus
//!  bedload config show      which settings are in force, and where each came from
//! ```
//!
//! What people read stands on stdout, as text that fits a terminal or with `--json`; how far it is, on stderr, and nowhere when that is
//! no terminal. Exit codes are told in [`exit`](mod@exit).

pub mod exit;

mod exposition;
mod files;
mod flights;
mod interrupt;
mod settings;
mod streams;
mod text;
mod totals;

mod directory;
mod disk;
mod lines;
mod planes;
mod reference;

mod context;

mod protocol;
mod watch;

mod worker;

mod fleet;
mod report;
mod screen;

mod job;

mod commands;
mod demo;

mod arguments;

pub use arguments::main;
