//! What was found: data for `--json`, lines for people.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::disk::Directory;
use super::place::Place;
use crate::context::Answer;
use crate::text::span;

/// The longest line, and where values stand in one.
const WIDTH: usize = 100;
const VALUES_AT: usize = 18;

#[derive(Debug, Serialize)]
pub struct Report {
    pub ready: bool,
    pub directory: Directory,
    pub repo: Option<Place>,
    #[serde(flatten)]
    pub findings: Findings,
}

/// What is wrong, and what is worth knowing.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub remarks: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Problem {
    pub found: String,
    pub advice: String,
}

impl Findings {
    pub fn problem(&mut self, found: impl Into<String>, advice: impl Into<String>) {
        self.problems.push(Problem { found: found.into(), advice: advice.into() });
    }

    pub fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }
}

/// How long something took, each time.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub count: usize,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Latency {
    /// None where nothing was measured.
    pub fn of(took: &[Duration]) -> Option<Latency> {
        let mut us: Vec<u64> = took.iter().map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)).collect();
        us.sort_unstable();
        // The least of those that so many of a hundred do not exceed.
        let share = |hundredths: usize| us[(us.len() * hundredths).div_ceil(100) - 1];
        let max_us = *us.last()?;
        Some(Latency { count: us.len(), p50_us: share(50), p99_us: share(99), max_us })
    }

    pub fn p99(&self) -> Duration {
        Duration::from_micros(self.p99_us)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of less than a hundred, the greatest is their p99.
        let (name, most_us) = if self.count < 100 { ("max", self.max_us) } else { ("p99", self.p99_us) };
        let [half, most] = [self.p50_us, most_us].map(|us| span(Duration::from_micros(us)));
        write!(out, "p50 {half}, {name} {most}")
    }
}

impl Answer for Report {
    fn text(&self) -> String {
        let mut text = self.directory.text();
        if let Some(repo) = &self.repo {
            text.push('\n');
            text += &repo.text();
        }
        let Findings { problems, remarks } = &self.findings;
        if !remarks.is_empty() {
            text += "\nto know:\n";
        }
        for remark in remarks {
            text += &wrapped("  - ", 4, remark);
        }
        if problems.is_empty() {
            return text + "\nready\n";
        }
        text += "\nto do:\n";
        for (index, Problem { found, advice }) in problems.iter().enumerate() {
            text += &wrapped(&format!("  {}. ", index + 1), 5, found);
            text += &wrapped("     -> ", 8, advice);
        }
        text
    }
}

/// A line of a name and a value.
pub fn line(name: &str, value: &str) -> String {
    wrapped(&format!("  {name:<width$}", width = VALUES_AT - 2), VALUES_AT, value)
}

/// Text behind a head, in lines that fit the width; all but the first begin with so many blanks. A longer word has a line of its own.
fn wrapped(head: &str, indent: usize, text: &str) -> String {
    let (mut lines, mut room) = (head.to_owned(), WIDTH.saturating_sub(head.chars().count()));
    let mut is_first = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let blank = usize::from(!is_first);
        if length + blank > room && !is_first {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            room = WIDTH - indent;
        } else if !is_first {
            lines.push(' ');
            room -= 1;
        }
        lines.push_str(word);
        room = room.saturating_sub(length);
        is_first = false;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_lose_no_word() {
        let text = "word ".repeat(60);
        let lines = wrapped("  1. ", 5, &text);
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH), "{lines}");
        assert_eq!(lines.matches("word").count(), 60);
        assert!(lines.lines().skip(1).all(|line| line.starts_with("     word")), "{lines}");
        let long = "x".repeat(200);
        assert_eq!(line("name", &format!("a {long}")), format!("  name            a\n{}{long}\n", " ".repeat(18)));
    }

    #[test]
    fn shares_are_of_what_was_measured() {
        let took: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let latency = Latency::of(&took).unwrap();
        assert_eq!((latency.p50_us, latency.p99_us, latency.max_us, latency.count), (100, 198, 200, 200));
        assert_eq!(latency.to_string(), "p50 100 µs, p99 198 µs");
        assert!(Latency::of(&[]).is_none());
    }
}
