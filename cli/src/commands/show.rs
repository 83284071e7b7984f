//! `bedload show`: what one checkpoint is.

use bedload::{Contents, Result};
use bedload_snapshot::{Chain, Claim, Difference, claims, pins};
use clap::Args;
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::reference::{Found, Reference};
use crate::text::{counted, life, moment, number, size, span_us, table};

/// Shows a checkpoint: its workers, its states, its bytes, and how long it took.
///
/// Bytes are counted in three ways: those of entries, keys and values as they are read, each once for each worker; those of the runs' files,
/// which share beginnings of keys and may hold entries that nobody reads any more; and as stored in the repo, where runs are compressed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bedload show late-board\n  bedload show late-board@latest~1 --json | jq .workers")]
pub struct ShowArguments {
    /// The checkpoint: JOB@3-18, JOB@latest, JOB@latest~2, or JOB for its latest.
    checkpoint: Reference,
}

#[derive(Serialize)]
struct Shown {
    job: String,
    checkpoint: String,
    slot: u64,
    completed_at_ms: u64,
    now_ms: u64,
    key_groups: u32,
    /// The checkpoint whose runs it may use again.
    built_upon: Option<String>,
    pins: Vec<String>,
    runs: usize,
    entry_bytes: u64,
    run_bytes: u64,
    stored_bytes: u64,
    new: Option<New>,
    workers: Vec<WorkerLine>,
    key_form: Option<String>,
    states: Vec<bedload::StateInfo>,
    timers: Vec<bedload::TimersInfo>,
}

/// What it has that the checkpoint before it has not.
#[derive(Serialize)]
struct New {
    since: String,
    runs: usize,
    run_bytes: u64,
    stored_bytes: u64,
}

#[derive(Serialize)]
struct WorkerLine {
    worker: String,
    first_group: u16,
    last_group: u16,
    runs: usize,
    entry_bytes: u64,
    stored_bytes: u64,
    timings: bedload_snapshot::Timings,
}

impl Answer for Shown {
    fn text(&self) -> String {
        let mut text = format!("{}@{}\n", self.job, self.checkpoint);
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<12}{value}\n"));
        line("completed", moment(self.completed_at_ms, self.now_ms));
        line("slot", number(self.slot));
        line("key groups", number(self.key_groups));
        line("built upon", self.built_upon.clone().unwrap_or_else(|| "nothing".to_owned()));
        line("pins", if self.pins.is_empty() { "none".to_owned() } else { self.pins.join(", ") });
        let (runs, entries, stored) = (number(self.runs as u64), size(self.entry_bytes), size(self.stored_bytes));
        line(
            "holds",
            format!("{runs} runs: {entries} of entries, in files of {}, stored in {stored}", size(self.run_bytes)),
        );
        if let Some(New { since, runs, run_bytes, stored_bytes }) = &self.new {
            let (runs, files, stored) = (counted(*runs, "run"), size(*run_bytes), size(*stored_bytes));
            line("new", format!("{runs}, files of {files}, stored in {stored}, since {since}"));
        }
        let heads = ["worker", "key groups", "runs", "entries", "stored", "pause", "flush", "link", "upload", "verify"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for worker in &self.workers {
            let times = &worker.timings;
            let mut row = vec![
                worker.worker.clone(),
                format!("{}..={}", worker.first_group, worker.last_group),
                number(worker.runs as u64),
                size(worker.entry_bytes),
                size(worker.stored_bytes),
            ];
            row.extend([times.pause_us, times.flush_us, times.link_us, times.upload_us, times.verify_us].map(span_us));
            rows.push(row);
        }
        text.push('\n');
        text.push_str(&table(&rows));
        if self.states.is_empty() && self.timers.is_empty() {
            return text;
        }
        let mut rows = vec![["state", "kind", "codec", "key of map", "namespace", "life"].map(str::to_owned).to_vec()];
        for state in &self.states {
            let life = state.ttl.map(|ttl| life(ttl.life()));
            let map_key = state.forms.map_key.clone();
            rows.push(vec![
                state.name.clone(),
                state.kind.clone(),
                format!("{} v{}", state.forms.codec, state.version),
                map_key.unwrap_or_else(|| "-".to_owned()),
                if state.forms.namespace == "()" { "-".to_owned() } else { state.forms.namespace.clone() },
                life.unwrap_or_else(|| "for ever".to_owned()),
            ]);
        }
        for timers in &self.timers {
            let clock = format!("{:?} time", timers.clock).to_lowercase();
            rows.push(vec![timers.name.clone(), "timers".to_owned(), clock]);
        }
        text.push_str(&format!("\n  keys are {}\n\n", self.key_form.as_deref().unwrap_or("of no form yet")));
        text.push_str(&table(&rows));
        text
    }
}

/// Runs the command; gives the exit code.
pub async fn run(arguments: &ShowArguments, context: &Context) -> Result<u8> {
    let repo = context.repo().await?;
    let found = context.find(&repo, &arguments.checkpoint).await?;
    let parts = claims(&repo, &found.job, found.id()).await?;
    let chain = Chain::read(&repo, &found.job).await?;
    let live = chain.state().live();
    let before = live.range(..found.live.slot).next_back().map(|(_, completion)| completion.checkpoint);
    let new = match before {
        None => None,
        Some(since) => {
            let added = Difference::new(&claims(&repo, &found.job, since).await?, &parts).added;
            Some(New {
                since: format!("{}@{since}", found.job),
                runs: added.len(),
                run_bytes: added.iter().map(|run| run.bytes).sum(),
                stored_bytes: added.iter().map(|run| run.parcel_bytes).sum(),
            })
        }
    };
    let base = found.live.completion.base;
    let built_upon = base.map(|slot| match live.get(&slot) {
        Some(base) => format!("{}@{}", found.job, base.checkpoint),
        None => format!("the checkpoint of slot {slot}, which has expired"),
    });
    let pins = pins(&repo, &found.job).await?;
    let pins = pins.iter().filter(|(_, pin)| pin.checkpoint.slot == found.live.slot).map(|(name, _)| name.to_string());
    let shown = shown(&found, &parts, built_upon, pins.collect(), new, repo.ambient().now_ms())?;
    context.print(&shown)?;
    Ok(exit::DONE)
}

fn shown(
    found: &Found,
    claims: &[Claim],
    built_upon: Option<String>,
    pins: Vec<String>,
    new: Option<New>,
    now_ms: u64,
) -> Result<Shown> {
    let contents = Contents::of(claims)?;
    let difference = Difference::new(&[], claims);
    let workers = claims.iter().map(|claim| WorkerLine {
        worker: claim.worker.to_string(),
        first_group: claim.groups.first,
        last_group: claim.groups.last,
        runs: claim.runs.len(),
        entry_bytes: claim.content_bytes(),
        stored_bytes: claim.runs.iter().map(|run| run.parcel_bytes).sum(),
        timings: claim.timings,
    });
    Ok(Shown {
        job: found.job.to_string(),
        checkpoint: found.id().to_string(),
        slot: found.live.slot,
        completed_at_ms: found.live.completion.completed_at_ms,
        now_ms,
        key_groups: found.live.completion.key_groups,
        built_upon,
        pins,
        runs: difference.added.len(),
        entry_bytes: claims.iter().map(Claim::content_bytes).sum(),
        run_bytes: difference.added.iter().map(|run| run.bytes).sum(),
        stored_bytes: difference.added.iter().map(|run| run.parcel_bytes).sum(),
        new,
        workers: workers.collect(),
        key_form: contents.as_ref().and_then(|contents| contents.key_form.clone()),
        states: contents.as_ref().map(|contents| contents.states.clone()).unwrap_or_default(),
        timers: contents.map(|contents| contents.timers).unwrap_or_default(),
    })
}
