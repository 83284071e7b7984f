//! Every command, run as people run it, at a repo that a real job made: on the disk, or below `BEDLOAD_TEST_REPO`.

#![expect(clippy::disallowed_methods, reason = "files are prepared and looked at as people do it")]

mod bench;
mod completions;
mod damage;
mod doctor;
mod keeping;
mod listing;
mod metrics;
mod moving;
mod reading;
mod stat;
mod support;
mod top;
