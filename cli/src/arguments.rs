//! The arguments of the command, and its exit code.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::demo::{Demo, demo};
use crate::{exit, worker};

/// State of stream operators, checkpointed to an object store: see it work, and look after it.
///
/// Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "bedload", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArguments),
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
    /// Where checkpoints go: file:///folder, or s3://bucket/path, az:// and gs:// where they are built in. Nothing is deleted there.
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
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
    /// Prints the report as JSON, and nothing else.
    #[arg(long)]
    json: bool,
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
        Err(cause) => return failed(&cause),
    };
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Demo(asked) => demo(&asked.into()).await,
            Command::Worker => worker::run().await.map(|()| exit::DONE),
        }
    });
    // A thread may wait for standard input, and nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("bedload: {error}");
    ExitCode::from(exit::FAILED)
}

impl From<DemoArguments> for Demo {
    fn from(asked: DemoArguments) -> Demo {
        Demo {
            repo: asked.repo,
            years: asked.years,
            part: asked.part,
            from_pipe: asked.input.is_some(),
            memory_mib: asked.memory.into(),
            seed: asked.seed,
            keeps: asked.keep,
            is_json: asked.json,
            loses_a_record: asked.lose_a_record,
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
