//! The commands, each with its arguments, its help, and what it answers.

pub mod bench;
pub mod completions;
pub mod config;
pub mod copy;
pub mod diff;
pub mod doctor;
pub mod files;
pub mod gc;
pub mod leases;
pub mod ls;
pub mod man;
pub mod metrics;
pub mod pins;
pub mod read;
pub mod rescale;
pub mod restore;
pub mod show;
pub mod stat;
pub mod top;
pub mod verify;
