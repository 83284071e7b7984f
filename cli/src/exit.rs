//! What the command's exit codes mean.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed |
//! | 2 | used wrongly: an unknown option or setting, a value that is none, input that cannot be understood |
//! | 3 | problems were found |
//! | 4 | what was compared differs |
//! | 10 | what was named does not exist |
//! | 11 | another process owns it: locked, or fenced |
//! | 12 | credentials or rights are missing |
//! | 13 | passing trouble: try again later |
//! | 14 | refused for safety |
//! | 130 | interrupted |

use bedload::{Error, ErrorKind};

/// Done.
pub const DONE: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// Used wrongly.
pub const USAGE: u8 = 2;
/// Problems were found.
pub const PROBLEMS: u8 = 3;
/// What was compared differs.
pub const DIFFERS: u8 = 4;
/// What was named does not exist.
pub const NOT_FOUND: u8 = 10;
/// Another process owns it.
pub const OWNED: u8 = 11;
/// Credentials or rights are missing.
pub const DENIED: u8 = 12;
/// Passing trouble.
pub const LATER: u8 = 13;
/// Refused for safety.
pub const REFUSED: u8 = 14;
/// Interrupted by Ctrl-C or a signal to end.
pub const INTERRUPTED: u8 = 130;

/// What stands below each help text.
pub const HELP: &str = "Exit codes: 0 done, 1 failed, 2 used wrongly, 3 problems found, 4 differs, 10 not found, 11 locked or fenced, \
                        12 credentials, 13 retry later, 14 refused for safety, 130 interrupted";

/// The exit code for an error that ended a command.
pub fn code_of(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Fix => USAGE,
        ErrorKind::Retry | ErrorKind::Full => LATER,
        ErrorKind::Missing => NOT_FOUND,
        ErrorKind::Denied => DENIED,
        ErrorKind::Fenced => OWNED,
        ErrorKind::Damaged => PROBLEMS,
        _ => FAILED,
    }
}

/// What may be tried when a command ended with this error, where the error itself does not say it.
pub fn next_step(error: &Error) -> Option<&'static str> {
    (error.kind() == ErrorKind::Damaged).then_some(
        "`bedload verify JOB` tells all that is damaged and which checkpoints that costs; `bedload ls JOB` lists the others",
    )
}
