//! `bedload top`: figures of running jobs, again and again.

use std::io::IsTerminal;
use std::time::Duration;

use bedload::Result;
use clap::Args;
use terminal_size::terminal_size;

use crate::context::{Answer, Context};
use crate::disk::{Directory, LockState};
use crate::interrupt::Interrupt;
use crate::text::{ago, number, rfc3339, size, span, table};
use crate::watch::{DirectorySeen, JobSeen, Look, Newest, Watched, Watcher};
use crate::{exit, streams};

/// How wide a frame is at most.
const COLUMNS: usize = 100;
/// How much of a directory's path is shown in a table.
const PATH_COLUMNS: usize = 34;
/// How long the repo may take to answer before that is shown.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// Shows figures of running jobs, again and again: checkpoints, their sizes and timings, and working directories on this machine.
///
/// Bytes of a checkpoint, and new ones, are those of its runs' files; `bedload show` tells them as stored, too. All is seen from outside: in the repo, and in directories as `bedload stat` sees them. Nothing is changed anywhere. Ctrl-C ends it. Where
/// standard output is no terminal, one frame follows another as plain text.
#[derive(Debug, Args)]
#[command(
    after_help = "What has a slash or starts with a dot is a directory, all else is a job. Without a job, that of the settings is \
                        shown, and without that all jobs of the repo.\n\nExamples:\n  bedload top --repo s3://checkpoints/prod\n  \
                        bedload top board /var/state/op-3 --every 5s\n  bedload top --once"
)]
pub struct TopArguments {
    /// Jobs of the repo, and working directories of engines or stores on this machine.
    #[arg(value_name = "JOB|DIR")]
    watched: Vec<Watched>,
    /// How often it looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    every: Duration,
    /// Shows one frame and ends; when something could not be read, with the exit code that tells why.
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    let every = humantime::parse_duration(text).ok().filter(|every| *every >= Duration::from_millis(100));
    every.ok_or_else(|| "expected a time of at least 100ms, such as 1s or 2m".to_owned())
}

/// What a line of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Head,
    Failure,
}

/// Lines of a frame.
#[derive(Default)]
struct Frame(Vec<(Style, String)>);

impl Answer for Look {
    fn text(&self) -> String {
        let lines = Frame::new(self, COLUMNS).0.into_iter().map(|(_, line)| line + "\n");
        lines.collect()
    }
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// `Fix` when there is nothing to watch.
pub async fn run(arguments: &TopArguments, context: &Context) -> Result<u8> {
    let mut interrupt = Interrupt::listen()?;
    let mut watcher = Watcher::new(context, &arguments.watched)?;
    let mut screen = (!arguments.once && !context.is_json() && std::io::stdout().is_terminal()).then(Screen::begin);
    let mut ticks = tokio::time::interval(arguments.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_first = true;
    loop {
        let next = async {
            ticks.tick().await;
            watcher.look(LOOK_LIMIT).await
        };
        let look = tokio::select! {
            look = next => look,
            () = interrupt.wait() => return Ok(exit::DONE),
        };
        let shown = match &mut screen {
            Some(screen) => screen.draw(&look, arguments.every),
            None => {
                let gap = if is_first || context.is_json() { "" } else { "\n" };
                streams::print(&format!("{gap}{}", plain(&look, context)))
            }
        };
        // Nobody reads any more: `bedload top | head`.
        if arguments.once || !shown? {
            let failure = look.failures().into_iter().next().filter(|_| arguments.once);
            return Ok(failure.map_or(exit::DONE, |(_, failure)| failure.exit_code));
        }
        is_first = false;
    }
}

fn plain(look: &Look, context: &Context) -> String {
    match context.is_json() {
        true => serde_json::to_string_pretty(look).expect("what was seen is plain data") + "\n",
        false => look.text(),
    }
}

/// The terminal, of which another screen is shown meanwhile.
struct Screen {
    has_color: bool,
}

impl Screen {
    fn begin() -> Screen {
        // The other screen, without a cursor. What can not be written shows at the first frame.
        streams::print("\x1b[?1049h\x1b[?25l").ok();
        Screen { has_color: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) }
    }

    fn draw(&mut self, look: &Look, every: Duration) -> Result<bool> {
        let (columns, rows) =
            terminal_size().map_or((COLUMNS, 24), |(columns, rows)| (columns.0.into(), rows.0.into()));
        let columns = columns.min(COLUMNS);
        let frame = Frame::new(look, columns);
        let mut text = String::from("\x1b[H");
        for (style, line) in frame.fitted(columns, rows, every) {
            let (before, after) = match style {
                _ if !self.has_color => ("", ""),
                Style::Plain => ("", ""),
                Style::Head => ("\x1b[1m", "\x1b[0m"),
                Style::Failure => ("\x1b[31m", "\x1b[0m"),
            };
            text.push_str(&format!("{before}{line}{after}\x1b[K\r\n"));
        }
        // Not a line more than there are rows, or all would move up.
        let text = format!("{}\x1b[J", text.trim_end_matches("\r\n"));
        streams::print(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        streams::print("\x1b[?25h\x1b[?1049l").ok();
    }
}

impl Frame {
    fn new(look: &Look, columns: usize) -> Frame {
        let mut frame = Frame::default();
        let repo = look.repo.as_ref().and_then(|repo| repo.repo.clone()).unwrap_or_default();
        frame.0.push((Style::Head, format!("{}  {repo}", rfc3339(look.now_ms)).trim_end().to_owned()));
        for (_, failure) in look.failures() {
            frame.failure(&failure.message, columns);
        }
        frame.table(job_rows(look));
        for job in &look.jobs {
            frame.table(worker_rows(job));
        }
        frame.table(directory_rows(&look.directories));
        frame
    }

    /// A table behind an empty line; the first row is its head.
    fn table(&mut self, rows: Vec<Vec<String>>) {
        if rows.len() < 2 {
            return;
        }
        self.0.push((Style::Plain, String::new()));
        for (index, line) in table(&rows).lines().enumerate() {
            self.0.push((if index == 0 { Style::Head } else { Style::Plain }, line.to_owned()));
        }
    }

    /// What could not be read, over as many lines as it needs.
    fn failure(&mut self, text: &str, columns: usize) {
        let mut line = String::from(" ");
        for word in text.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > columns && line.len() > 4 {
                self.0.push((Style::Failure, std::mem::replace(&mut line, String::from("   "))));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.0.push((Style::Failure, line));
    }

    /// The lines as a terminal has room for them, the last one with what can be done.
    fn fitted(&self, columns: usize, rows: usize, every: Duration) -> Vec<(Style, String)> {
        let cut = |line: &str| -> String { line.chars().take(columns).collect() };
        let room = rows.saturating_sub(2).max(1);
        let mut fitted: Vec<(Style, String)> =
            self.0.iter().take(room).map(|(style, line)| (*style, cut(line))).collect();
        let left_off = self.0.len().saturating_sub(room);
        let every = humantime::format_duration(every);
        let end = match left_off {
            0 => format!("every {every}; Ctrl-C ends"),
            _ => format!("every {every}; Ctrl-C ends; {left_off} more lines need a higher window"),
        };
        fitted.extend([(Style::Plain, String::new()), (Style::Plain, cut(&end))]);
        fitted
    }
}

fn job_rows(look: &Look) -> Vec<Vec<String>> {
    let heads = ["job", "newest", "complete", "bytes", "new", "pause", "upload", "workers", "kept", "pins", "leases"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for job in &look.jobs {
        let Some(figures) = &job.figures else { continue };
        let newest = |tell: &dyn Fn(&Newest) -> String| figures.newest.as_ref().map_or_else(|| "-".to_owned(), tell);
        let slowest = |us: fn(&crate::watch::WorkerFigures) -> u64| {
            newest(&|newest| microseconds(newest.workers.iter().map(us).max().unwrap_or(0)))
        };
        rows.push(vec![
            job.job.to_string(),
            newest(&|newest| newest.checkpoint.clone()),
            newest(&|newest| ago(newest.completed_at_ms, look.now_ms)),
            newest(&|newest| size(newest.bytes)),
            newest(&|newest| newest.new_bytes.map_or_else(|| "-".to_owned(), size)),
            slowest(|worker| worker.pause_us),
            slowest(|worker| worker.upload_us),
            newest(&|newest| number(newest.workers.len() as u64)),
            number(figures.checkpoints),
            number(figures.pins),
            number(figures.leases),
        ]);
    }
    rows
}

fn worker_rows(job: &JobSeen) -> Vec<Vec<String>> {
    let Some(newest) = job.newest() else { return Vec::new() };
    let name = format!("{}@{}", job.job, newest.checkpoint);
    let heads = [&name, "key groups", "runs", "bytes", "pause", "flush", "link", "upload", "verify"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for worker in &newest.workers {
        rows.push(vec![
            worker.worker.clone(),
            worker.key_groups.clone(),
            number(worker.runs),
            size(worker.bytes),
            microseconds(worker.pause_us),
            microseconds(worker.flush_us),
            microseconds(worker.link_us),
            microseconds(worker.upload_us),
            microseconds(worker.verify_us),
        ]);
    }
    rows
}

fn directory_rows(directories: &[DirectorySeen]) -> Vec<Vec<String>> {
    let heads = ["directory", "lock", "runs", "bytes", "stack", "entries", "copies", "disk free"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for Directory { directory, lock, store, local, disk, .. } in
        directories.iter().filter_map(|seen| seen.seen.as_ref())
    {
        let of_store =
            |tell: &dyn Fn(&crate::disk::StoreSeen) -> String| store.as_ref().map_or_else(|| "-".to_owned(), tell);
        let lock = match (lock.state, lock.process) {
            (LockState::Held, Some(process)) => process.to_string(),
            (LockState::Held, None) => "held".to_owned(),
            (LockState::Free, _) => "free".to_owned(),
            (LockState::Unknown, _) => "unknown".to_owned(),
        };
        rows.push(vec![
            end_of(directory, PATH_COLUMNS),
            lock,
            of_store(&|store| number(store.runs + store.other_runs)),
            of_store(&|store| size(store.run_bytes + store.other_bytes)),
            of_store(&|store| number(store.slices_of_a_tile_max)),
            of_store(&|store| number(store.entries)),
            local.as_ref().map_or_else(|| "-".to_owned(), |local| number(local.copies.len() as u64)),
            size(disk.free_bytes),
        ]);
    }
    rows
}

fn microseconds(us: u64) -> String {
    span(Duration::from_micros(us))
}

/// The last `columns` of a path.
fn end_of(path: &str, columns: usize) -> String {
    let length = path.chars().count();
    if length <= columns {
        return path.to_owned();
    }
    format!("…{}", path.chars().skip(length + 1 - columns).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Failure, RepoSeen};

    #[test]
    fn a_frame_fits_the_window() {
        let failure = Failure { message: format!("it is gone; {}", "look there ".repeat(30)), exit_code: 10 };
        let repo = Some(RepoSeen { repo: None, failure: Some(failure) });
        let frame = Frame::new(&Look { now_ms: 0, repo, jobs: Vec::new(), directories: Vec::new() }, COLUMNS);
        assert!(frame.0.len() > 4, "a long text takes several lines");
        assert!(frame.0.iter().all(|(_, line)| line.chars().count() <= COLUMNS));
        let fitted = frame.fitted(30, 4, Duration::from_secs(1));
        assert_eq!(fitted.len(), 4);
        assert!(fitted.iter().all(|(_, line)| line.chars().count() <= 30), "{fitted:?}");
        let fitted = frame.fitted(100, 5, Duration::from_secs(1));
        assert_eq!(fitted[4].1, "every 1s; Ctrl-C ends; 2 more lines need a higher window");
        assert_eq!(frame.fitted(100, 40, Duration::from_secs(2)).last().unwrap().1, "every 2s; Ctrl-C ends");
    }

    #[test]
    fn long_paths_show_their_end() {
        assert_eq!(end_of("/var/state/op-3", 20), "/var/state/op-3");
        assert_eq!(end_of("/var/state/op-3", 10), "…tate/op-3");
    }
}
