//! The arguments of the command, and its exit code.

use std::process::ExitCode;

use bedload::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands::{
    bench, completions, config, copy, diff, doctor, files, gc, leases, ls, man, metrics, pins, read, rescale, restore,
    show, stat, top, verify,
};
use crate::context::{CLEAR, Context};
use crate::demo::{Demo, demo};
use crate::interrupt::Interrupt;
use crate::settings::Flags;
use crate::text::plain;
use crate::{exit, interrupt, streams, worker};

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
    Doctor(doctor::DoctorArguments),
    Bench(bench::BenchArguments),
    Ls(ls::LsArguments),
    Show(show::ShowArguments),
    Files(files::FilesArguments),
    Why(files::WhyArguments),
    Diff(diff::DiffArguments),
    Verify(verify::VerifyArguments),
    Gc(gc::GcArguments),
    Pin(pins::PinArguments),
    Unpin(pins::UnpinArguments),
    Copy(copy::CopyArguments),
    Restore(restore::RestoreArguments),
    Rescale(rescale::RescaleArguments),
    Leases(leases::LeasesArguments),
    Get(read::GetArguments),
    Scan(read::ScanArguments),
    Config(config::ConfigArguments),
    Stat(stat::StatArguments),
    Metrics(metrics::MetricsArguments),
    Top(top::TopArguments),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
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
/// All lies in one temporary folder, which is removed at the end and after Ctrl-C. TMPDIR says where; it should not be in memory. With --repo
/// checkpoints go there instead, under a job of their own, and stay.
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

fn part(text: &str) -> std::result::Result<f64, String> {
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
            Command::Completions(asked) => completions::run(&asked, &Arguments::command()),
            Command::Man(asked) => man::run(&asked, &Arguments::command()),
            // These have something to put away when they are interrupted, or end like that.
            Command::Doctor(asked) => doctor::run(&asked, &Context::new(&arguments.flags)?).await,
            Command::Bench(asked) => bench::run(&asked, &Context::new(&arguments.flags)?).await,
            Command::Get(asked) => read::get(&asked, &Context::new(&arguments.flags)?).await,
            Command::Scan(asked) => read::scan(&asked, &Context::new(&arguments.flags)?).await,
            Command::Metrics(asked) => metrics::run(&asked, &Context::new(&arguments.flags)?).await,
            Command::Top(asked) => top::run(&asked, &Context::new(&arguments.flags)?).await,
            // What these have begun is given up. A lease stays, which `bedload leases` shows.
            asked => {
                let has_lease = matches!(asked, Command::Restore(_) | Command::Copy(_));
                let mut interrupt = Interrupt::listen()?;
                tokio::select! {
                    ended = look_after(asked, &arguments.flags) => ended,
                    () = interrupt.wait() => {
                        if has_lease {
                            interrupt::tell_of_lease();
                        }
                        Ok(exit::INTERRUPTED)
                    }
                }
            }
        }
    });
    // A thread may wait for standard input, and nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let end = if streams::has_progress() { CLEAR } else { "" };
            eprintln!("{end}bedload: {}", plain(&error.to_string()));
            if let Some(next) = exit::next_step(&error) {
                eprintln!("  {next}");
            }
            ExitCode::from(exit::code_of(&error))
        }
    }
}

/// Runs a command that looks at a repo, or changes it; gives the exit code.
async fn look_after(asked: Command, flags: &Flags) -> Result<u8> {
    let context = &Context::new(flags)?;
    match asked {
        Command::Stat(asked) => stat::run(&asked, context),
        Command::Ls(asked) => ls::run(&asked, context).await,
        Command::Show(asked) => show::run(&asked, context).await,
        Command::Files(asked) => files::files(&asked, context).await,
        Command::Why(asked) => files::tell_why(&asked, context).await,
        Command::Diff(asked) => diff::run(&asked, context).await,
        Command::Verify(asked) => verify::run(&asked, context).await,
        Command::Gc(asked) => gc::run(&asked, context).await,
        Command::Pin(asked) => pins::pin(&asked, context).await,
        Command::Unpin(asked) => pins::unpin(&asked, context).await,
        Command::Copy(asked) => copy::run(&asked, context).await,
        Command::Restore(asked) => restore::run(&asked, context).await,
        Command::Rescale(asked) => rescale::run(&asked, context).await,
        Command::Leases(asked) => leases::run(&asked, context).await,
        Command::Config(asked) => config::run(&asked, context),
        Command::Demo(_)
        | Command::Doctor(_)
        | Command::Bench(_)
        | Command::Get(_)
        | Command::Scan(_)
        | Command::Metrics(_)
        | Command::Top(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Worker => unreachable!("they are run by `main`"),
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
    use super::*;

    #[test]
    fn arguments_are_declared_without_conflicts() {
        Arguments::command().debug_assert();
    }

    /// Asserts that a line of a shell that calls the command is understood, up to where its output goes on.
    fn check_call(line: &str) {
        let (mut words, mut word, mut quote) = (Vec::new(), None, None);
        for c in line.chars() {
            match (quote, c) {
                (Some(end), _) if c == end => quote = None,
                (None, '"' | '\'') => {
                    quote = Some(c);
                    word.get_or_insert_with(String::new);
                }
                (None, '|' | '#' | '>') => break,
                (None, ' ') => words.extend(word.take()),
                _ => word.get_or_insert_with(String::new).push(c),
            }
        }
        words.extend(word);
        if let Err(error) = Arguments::try_parse_from(words) {
            assert!(!error.use_stderr(), "{line}: {error}");
        }
    }

    #[test]
    fn every_example_is_understood() {
        let mut command = Arguments::command();
        command.build();
        let (mut commands, mut examples) = (vec![&command], 0);
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.find("bedload ").map(|start| &line[start..])) {
                check_call(line);
                examples += 1;
            }
        }
        assert!(examples > 25, "{examples}");
    }

    #[test]
    fn every_call_in_the_documents_is_understood() {
        for text in [include_str!("../../README.md"), include_str!("../../docs/operations.md")] {
            let calls: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ bedload ")).collect();
            assert!(!calls.is_empty());
            for call in calls {
                check_call(&format!("bedload {call}"));
            }
        }
    }
}
