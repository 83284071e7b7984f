//! Every test that needs more than one module, in one binary: it links once, and its parts are shared.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "these are tests: a panic is their way to fail")]

mod crash;
mod faults;
mod flips;
mod model;
mod ownership;
mod scripts;
mod tidy;
