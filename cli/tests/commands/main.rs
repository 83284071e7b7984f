//! Every command, run as people run it, at a repo that a real job made: on the disk, or below `BEDLOAD_TEST_REPO`.

mod damage;
mod keeping;
mod listing;
mod moving;
mod reading;
mod support;
