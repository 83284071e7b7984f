//! Standard output, which somebody may have closed: `bedload ls | head -1` is no failure.

use std::io::{ErrorKind, Write};

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
