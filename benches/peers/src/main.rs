//! `peers`: other state stores beside ours, on the work of stream operators.
//!
//! `compare` starts `run` for each store, workload and repetition; `run` starts `fill` where a filled store is missing.
//! Stores stand behind [`store::Store`]; what they are asked to do is in [`workloads`]; results are lines of JSON
//! ([`record`]) that [`table`] and [`chart`] read.

mod chart;
mod cli;
mod compare;
mod data;
mod measure;
mod record;
mod runner;
mod store;
mod stores;
mod table;
mod workloads;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::cli::{Cli, Command};
use crate::record::Record;

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Quick(arguments) => compare::quick(&arguments),
        Command::Table(arguments) => {
            print!("{}", table::render(&Record::read_all(&arguments.results)?, arguments.markdown));
            Ok(())
        }
        Command::Chart(arguments) => {
            let svg = chart::render(&Record::read_all(&arguments.results)?);
            std::fs::write(&arguments.out, svg).with_context(|| format!("writing {}", arguments.out.display()))
        }
        Command::List => {
            let stores: Vec<&str> = stores::CONTESTANTS.iter().map(|store| store.name).collect();
            let workloads: Vec<&str> = workloads::WORKLOADS.iter().map(|workload| workload.name).collect();
            println!("stores:    {}\nworkloads: {}", stores.join(", "), workloads.join(", "));
            Ok(())
        }
        Command::Run(arguments) => {
            let record = runner::run(&arguments)?;
            println!("{}", serde_json::to_string(&record).context("writing the result as JSON")?);
            Ok(())
        }
        Command::Fill(arguments) => runner::fill(&arguments),
    }
}
