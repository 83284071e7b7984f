//! The commands, each with its arguments, its help, and what it answers.

pub mod bench;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod ls;
pub mod man;
