//! The commands, each with its arguments, its help, and what it answers.

pub mod config;
pub mod ls;
pub mod metrics;
pub mod stat;
pub mod top;
