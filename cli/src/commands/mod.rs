//! The commands, each with its arguments, its help, and what it answers.

pub mod config;
pub mod ls;
