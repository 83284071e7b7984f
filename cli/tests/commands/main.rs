//! Every command, run as people run it, at a repo that a real job made.

mod bench;
mod completions;
mod doctor;
mod listing;
mod support;
