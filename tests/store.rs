//! Every test of the store that needs more than one module, in one binary, and those of the project's own text.

mod crash;
mod faults;
mod flips;
mod lazy;
mod memory;
mod model;
mod ownership;
mod regressions;
mod scripts;
mod tidy;
