//! Standard output, which somebody may have closed: `bedload ls | head -1` is no failure. And standard error, where somebody may look.

use std::io::{ErrorKind, IsTerminal, Write};

use bedload::{Error, Result};

/// Prints text as it is; `false` when nobody reads any more.
///
/// # Errors
/// Those of the system, such as a full disk.
pub fn print(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(cause) => Err(Error::io("write to", "standard output", cause)),
    }
}

/// Whether standard error is a terminal that can draw a line again.
pub fn has_progress() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
