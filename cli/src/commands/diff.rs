//! `bedload diff`: what two checkpoints share.

use bedload::Result;
use bedload_snapshot::diff as compare;
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::reference::Reference;
use crate::text::{number, size, table};

/// Tells what two checkpoints share, and what only one of them has: by run, by key group, in bytes.
///
/// Runs never change, so two checkpoints hold the same bytes where they have the same runs. A run that was merged into another counts as
/// different, though its entries may be the same. Bytes are those of the runs' files, and as stored in the repo, compressed. Exit code 4 when
/// they differ.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload diff late-board@latest~1 late-board@latest\n  bedload diff late-board@3-18 trial@latest"
)]
pub struct DiffArguments {
    /// The one that is compared.
    first: Reference,
    /// What it is compared with: mostly the later one.
    second: Reference,
}

#[derive(Serialize)]
struct Differences {
    first: String,
    second: String,
    is_same: bool,
    kept: Sum,
    dropped: Sum,
    added: Sum,
    groups: Vec<GroupsLine>,
}

#[derive(Serialize)]
struct Sum {
    runs: usize,
    bytes: u64,
    stored_bytes: u64,
}

#[derive(Serialize)]
struct GroupsLine {
    first_group: u16,
    last_group: u16,
    kept_bytes: u64,
    dropped_bytes: u64,
    added_bytes: u64,
}

impl Answer for Differences {
    fn text(&self) -> String {
        let Differences { first, second, .. } = self;
        let mut rows = vec![["", "runs", "bytes", "stored"].map(str::to_owned).to_vec()];
        let only = |name: &str| format!("only in {name}");
        let mut sums = vec![("in both".to_owned(), &self.kept)];
        if first != second {
            sums.extend([(only(first), &self.dropped), (only(second), &self.added)]);
        }
        for (what, sum) in sums {
            rows.push(vec![what, number(sum.runs as u64), size(sum.bytes), size(sum.stored_bytes)]);
        }
        let mut text = format!("{first} and {second}\n");
        text.push_str(&table(&rows));
        let heads = ["key groups", "same", "dropped", "added"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for line in &self.groups {
            rows.push(vec![
                format!("{}..={}", line.first_group, line.last_group),
                size(line.kept_bytes),
                size(line.dropped_bytes),
                size(line.added_bytes),
            ]);
        }
        if self.is_same {
            text.push_str("the same\n");
        } else {
            text.push('\n');
            text.push_str(&table(&rows));
        }
        text
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &DiffArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let first = context.find(&repo, &arguments.first).await?;
    let second = context.find(&repo, &arguments.second).await?;
    let found = compare(&repo, (&first.job, first.id()), (&second.job, second.id())).await?;
    let sum = |runs: &[bedload_snapshot::ClaimedRun]| Sum {
        runs: runs.len(),
        bytes: runs.iter().map(|run| run.bytes).sum(),
        stored_bytes: runs.iter().map(|run| run.parcel_bytes).sum(),
    };
    let groups = found.groups.iter().map(|part| GroupsLine {
        first_group: part.groups.first,
        last_group: part.groups.last,
        kept_bytes: part.kept_bytes,
        dropped_bytes: part.dropped_bytes,
        added_bytes: part.added_bytes,
    });
    let is_same = found.dropped.is_empty() && found.added.is_empty() && found.groups.iter().all(|part| part.is_same());
    context.print(&Differences {
        first: first.to_string(),
        second: second.to_string(),
        is_same,
        kept: sum(&found.kept),
        dropped: sum(&found.dropped),
        added: sum(&found.added),
        groups: groups.collect(),
    })?;
    Ok(if is_same { exit::DONE } else { exit::DIFFERS })
}
