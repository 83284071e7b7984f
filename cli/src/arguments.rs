//! The arguments of the command, and its exit code.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands::{config, ls, metrics, stat, top};
use crate::context::Context;
use crate::demo::{Demo, demo};
use crate::settings::Flags;
use crate::{exit, worker};

/// State of stream operators, checkpointed to an object store: see it work, and look after it.
#[derive(Debug, Parser)]
#[command(name = "bedload", version, max_term_width = 100, after_help = exit::HELP)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArguments),
    Ls(ls::LsArguments),
    Config(config::ConfigArguments),
    Stat(stat::StatArguments),
    Metrics(metrics::MetricsArguments),
    Top(top::TopArguments),
    #[command(name = crate::fleet::WORKER_COMMAND, hide = true)]
    Worker,
}

/// Counts flights by plane and day in several processes, kills one of them, rescales, and compares with a HashMap.
///
/// One coordinator and two worker processes read the flights out of New York in 2013, several times over, and keep counters, lists that are
/// forgotten after 90 days, and timers for idle planes, in far less memory than that takes. Checkpoints go to a repo. In the middle, one
/// worker is killed with SIGKILL and loses its disk: all go on from the last checkpoint, before the download is through. Later, three
/// workers take the place of two. At the end everything is compared with the same count in plain collections: exit code 1 when it differs.
///
/// All lies in one temporary folder, which is removed at the end and after Ctrl-C. TMPDIR says where; it should not be in memory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload demo\n  bedload demo --keep --seed 7\n  bedload demo --json | jq .checkpoints\n  \
                  git log --name-status | bedload demo --input -"
)]
struct DemoArguments {
    /// How many times the flights of the year are counted, as years one after the other.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    years: u64,
    /// Which part of each year, from its start.
    #[arg(long, default_value_t = 1.0, value_parser = part, value_name = "0..1")]
    part: f64,
    /// `-` counts lines from standard input in the place of flights: key<TAB>value, or the output of `git log --name-status`.
    #[arg(long, value_name = "-", value_parser = ["-"], conflicts_with_all = ["years", "part"])]
    input: Option<String>,
    /// Memory of each worker's state.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), value_name = "MIB")]
    memory: u16,
    /// Decides which worker is killed, and when (default another one each time).
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps the folder with the repo, and says where it is.
    #[arg(long)]
    keep: bool,
    /// For tests of the comparison: workers pass over one record after a restore.
    #[arg(long, hide = true)]
    lose_a_record: bool,
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "expected a number above 0, up to 1".to_owned())?;
    if part > 0.0 && part <= 1.0 { Ok(part) } else { Err("expected a number above 0, up to 1".to_owned()) }
}

/// Runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("bedload: threads could not be started: {cause}");
            return ExitCode::from(exit::FAILED);
        }
    };
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Demo(asked) => demo(&asked.with(arguments.flags)).await,
            Command::Worker => worker::run().await.map(|()| exit::DONE),
            Command::Ls(asked) => ls::run(&asked, &Context::new(&arguments.flags)?).await,
            Command::Config(asked) => config::run(&asked, &Context::new(&arguments.flags)?),
            Command::Stat(asked) => stat::run(&asked, &Context::new(&arguments.flags)?),
            Command::Metrics(asked) => metrics::run(&asked, &Context::new(&arguments.flags)?).await,
            Command::Top(asked) => top::run(&asked, &Context::new(&arguments.flags)?).await,
        }
    });
    // A thread may wait for standard input, and nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("bedload: {error}");
            ExitCode::from(exit::code_of(&error))
        }
    }
}

impl DemoArguments {
    fn with(self, flags: Flags) -> Demo {
        Demo {
            repo: flags.repo,
            years: self.years,
            part: self.part,
            from_pipe: self.input.is_some(),
            memory_mib: self.memory.into(),
            seed: self.seed,
            keeps: self.keep,
            is_json: flags.json,
            loses_a_record: self.lose_a_record,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_declared_without_conflicts() {
        Arguments::command().debug_assert();
    }
}
