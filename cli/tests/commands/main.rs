//! Every command, run as people run it, at a repo that a real job made.

#![expect(clippy::disallowed_methods, reason = "files are prepared and looked at as people do it")]

mod bench;
mod completions;
mod doctor;
mod listing;
mod support;
