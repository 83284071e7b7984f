//! The lines of what was done to a disk, short enough to be reviewed as a golden text.

use std::collections::VecDeque;

/// A long random test must not fill the memory with lines that nobody reads.
const LINES_MAX: usize = 100_000;

/// What was done, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    lines: VecDeque<String>,
    /// The file that the last line appends to and how many bytes it tells.
    appending: Option<(String, u64)>,
}

impl Journal {
    /// Notes an operation.
    pub(super) fn note(&mut self, mut text: String, succeeded: bool) {
        if !succeeded {
            text.push_str(" failed");
        }
        self.appending = None;
        self.lines.push_back(text);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }

    /// Notes an append, in the last line when that is one of the same file.
    pub(super) fn note_append(&mut self, name: &str, bytes: u64, succeeded: bool) {
        let mut total = bytes;
        if let Some((_, before)) = self.appending.take_if(|(file, _)| succeeded && file == name) {
            total += before;
            self.lines.pop_back();
        }
        self.note(format!("append {name} {total}"), succeeded);
        self.appending = succeeded.then(|| (name.to_owned(), total));
    }

    /// All lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
