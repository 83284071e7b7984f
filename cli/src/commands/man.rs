//! `bedload man`: the manual pages, made of the same text as `--help`.

use std::path::{Path, PathBuf};

use bedload::Result;
use bedload_lsm::fs::{DiskFs, Fs};
use clap::{Args, Command};
use clap_mangen::Man;

use super::completions::visible;
use crate::files::write_whole;
use crate::{exit, streams};

/// Prints the manual page, or writes one for each command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload man | man -l -\n  bedload man --to ~/.local/share/man/man1\n  man bedload-ls"
)]
pub struct ManArguments {
    /// Writes the pages of all commands into this folder, which is made when it is not there.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Runs the command for the program that `command` describes; gives the exit code.
///
/// # Errors
/// Those of the folder, and of standard output.
pub fn run(arguments: &ManArguments, command: &Command) -> Result<u8> {
    let mut program = visible(command);
    // Gives commands below others their whole name, and options of all commands to each.
    program.build();
    match &arguments.to {
        None => {
            streams::print(&String::from_utf8_lossy(&page(&Man::new(program).source(source()))))?;
        }
        Some(folder) => {
            DiskFs.create_dir(folder)?;
            write_pages(&program, folder)?;
        }
    }
    Ok(exit::DONE)
}

/// Writes the page of a command, and those of the commands below it.
fn write_pages(command: &Command, folder: &Path) -> Result<()> {
    let man = Man::new(command.clone()).source(source());
    write_whole(&folder.join(man.get_filename()), &page(&man))?;
    command.get_subcommands().try_for_each(|below| write_pages(below, folder))
}

/// What stands at the foot of pages.
fn source() -> String {
    format!("bedload {}", env!("CARGO_PKG_VERSION"))
}

fn page(man: &Man) -> Vec<u8> {
    let mut page = Vec::new();
    man.render(&mut page).expect("memory takes all that is written");
    // What stands below the help is called so on other pages.
    String::from_utf8_lossy(&page).replace(".SH EXTRA\n", ".SH NOTES\n").into_bytes()
}
