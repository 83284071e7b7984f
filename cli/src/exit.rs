//! What the command's exit codes mean.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed |
//! | 2 | used wrongly: an unknown option, a value that is none |
//! | 130 | interrupted |

/// Done.
pub const DONE: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// Used wrongly.
pub const USAGE: u8 = 2;
/// Interrupted by Ctrl-C or a signal to end.
pub const INTERRUPTED: u8 = 130;
