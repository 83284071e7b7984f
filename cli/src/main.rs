//! The command `bedload`: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bedload_cli::main()
}
