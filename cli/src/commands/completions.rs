//! `bedload completions`: what lets a shell complete this command.

use bedload::Result;
use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::{exit, streams};

/// Prints what lets a shell complete commands and options.
#[derive(Debug, Args)]
#[command(after_help = "Where to put it:
  bedload completions bash > ~/.local/share/bash-completion/completions/bedload
  bedload completions zsh > ~/.zfunc/_bedload          # with fpath+=~/.zfunc before compinit in ~/.zshrc
  bedload completions fish > ~/.config/fish/completions/bedload.fish
  bedload completions elvish >> ~/.config/elvish/rc.elv
  bedload completions powershell >> $PROFILE
A shell that is started then has it; run this again after an upgrade.")]
pub struct CompletionsArguments {
    /// The shell.
    shell: Shell,
}

/// Runs the command for the program that `command` describes; gives the exit code.
///
/// # Errors
/// Those of standard output.
pub fn run(arguments: &CompletionsArguments, command: &Command) -> Result<u8> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut visible(command), command.get_name(), &mut script);
    streams::print(&String::from_utf8_lossy(&script))?;
    Ok(exit::DONE)
}

/// The same without what is hidden: neither scripts nor pages leave that out by themselves.
pub fn visible(command: &Command) -> Command {
    // Names must live as long as the program: there are a few dozen.
    let mut shown = Command::new(&*command.get_name().to_owned().leak())
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommands(command.get_subcommands().filter(|below| !below.is_hide_set()).map(visible))
        .subcommand_required(command.is_subcommand_required_set())
        .disable_help_subcommand(true);
    if let Some(version) = command.get_version() {
        shown = shown.version(&*version.to_owned().leak());
    }
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(help) = command.get_after_help() {
        shown = shown.after_help(help.clone());
    }
    shown
}
