//! Every command, run as people run it, at a repo that a real job made.

mod listing;
mod metrics;
mod stat;
mod support;
mod top;
