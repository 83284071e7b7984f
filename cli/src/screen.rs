//! What is shown while a job runs: lines of what happened on standard output, and one line on standard error that tells how far it is.
//!
//! The line of progress is there in a terminal alone. With `--json`, standard output has nothing but the report.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::{streams, text};

const BAR: usize = 24;
/// How often the line is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

pub struct Screen {
    shows_events: bool,
    has_bar: bool,
    has_color: bool,
    is_drawn: bool,
    drawn_at: Option<Duration>,
}

impl Screen {
    /// One for standard output and standard error as they are.
    pub fn new(is_json: bool) -> Screen {
        let has_color =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let has_bar = streams::has_progress();
        Screen { shows_events: !is_json, has_bar, has_color, is_drawn: false, drawn_at: None }
    }

    /// Text as it is, a line or more.
    pub fn print(&mut self, text: &str) {
        self.clear();
        if self.shows_events {
            // It goes on to its end, and puts away what it has, when nobody reads.
            streams::print(&format!("{}\n", text.trim_end())).ok();
        }
    }

    /// Something that happened, and when.
    pub fn event(&mut self, at: Duration, what: &str) {
        let time = format!("{:6.1} s", at.as_secs_f64());
        self.print(&if self.has_color { format!("\x1b[2m{time}\x1b[0m  {what}") } else { format!("{time}  {what}") });
    }

    /// How far it is: so much of so much.
    pub fn progress(&mut self, now: Duration, done: u64, total: u64, what: &str) {
        if !self.has_bar || self.drawn_at.is_some_and(|at| now.saturating_sub(at) < DRAWN_EVERY) {
            return;
        }
        self.drawn_at = Some(now);
        let share = done as f64 / total.max(1) as f64;
        let full = ((share * BAR as f64) as usize).min(BAR);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
        eprint!("\r\x1b[K[{bar}] {:3.0} %  {} of {} {what}", share * 100.0, text::number(done), text::number(total));
        std::io::stderr().flush().ok();
        self.is_drawn = true;
    }

    /// Takes the line of progress away.
    pub fn clear(&mut self) {
        if self.is_drawn {
            eprint!("\r\x1b[K");
            self.is_drawn = false;
        }
    }
}
