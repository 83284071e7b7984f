//! Lines of a key and a value from a pipe, counted by key: the states, and the same in a plain map.
//!
//! A pipe can be read once, and a job reads again from its last checkpoint: so lines are kept in a file first, each as key, tab, value.
//!
//! Text that opens as `git log` does is taken as that of `git log --name-status`: what it names changed is the key, how it changed the
//! value. Of other text, each line with a tab is one record; its value is what stands behind the first tab. Other lines are passed over.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use bedload::{Engine, Error, ErrorKind, Reducing, Result, Spec, State};

use crate::totals::Totals;

/// Longer keys are no records: a store would refuse them.
const KEY_BYTES_MAX: usize = 32 << 10;

const LINES: Spec<Reducing<i64>> = Reducing::sum("lines");
const SUM: Spec<Reducing<i64>> = Reducing::sum("sum");

/// What the sums of [`Totals`] are of.
pub const SUMS: [&str; 3] = ["keys", "lines", "sum of values"];

/// What a line adds to the sum of its key: its value, where that is a whole number of a sensible size.
fn amount(value: &str) -> i64 {
    value.trim().parse::<i32>().map_or(0, i64::from)
}

fn add_to(key: &str, lines: i64, sum: i64, totals: &mut Totals) {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(b'\t');
    bytes.extend_from_slice(&lines.to_le_bytes());
    bytes.extend_from_slice(&sum.to_le_bytes());
    totals.add(&[1, lines, sum], &bytes);
}

/// How records stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `key<TAB>value`.
    Pairs,
    /// `git log --name-status`.
    Changes,
}

impl Form {
    fn of(first_line: &str) -> Form {
        if first_line.starts_with("commit ") { Form::Changes } else { Form::Pairs }
    }

    /// The key and the value in a line, where it is a record.
    fn record(self, line: &str) -> Option<(&str, &str)> {
        let (first, rest) = line.split_once('\t')?;
        let (key, value) = match self {
            Form::Pairs => (first, rest),
            // A rename has the old name and the new one.
            Form::Changes => (rest.rsplit('\t').next().unwrap_or(rest), first),
        };
        (key.len() <= KEY_BYTES_MAX).then_some((key, value))
    }
}

/// How many lines were kept and passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub records: u64,
    pub passed_over: u64,
}

/// Keeps the records of a text in a new file. `tell` hears of how many there are, now and then.
///
/// # Errors
/// Those of reading and writing.
pub fn keep(mut from: impl BufRead, path: &Path, mut tell: impl FnMut(u64)) -> Result<Kept> {
    let failed = |cause| Error::io("keep the input in", path, cause);
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    let mut file = BufWriter::new(file);
    let (mut kept, mut line, mut form) = (Kept::default(), Vec::new(), None);
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line).map_err(|cause| Error::io("read", "standard input", cause))? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        let form = *form.get_or_insert_with(|| Form::of(text));
        let Some((key, value)) = form.record(text) else {
            kept.passed_over += 1;
            continue;
        };
        writeln!(file, "{key}\t{value}").map_err(failed)?;
        kept.records += 1;
        if kept.records.is_multiple_of(100_000) {
            tell(kept.records);
        }
    }
    file.flush().map_err(failed)?;
    Ok(kept)
}

/// The kept records, from the first on.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    line: String,
}

impl Reader {
    fn open(path: &Path) -> Result<Reader> {
        let file = OpenOptions::new().read(true).open(path).map_err(|cause| Error::io("read", path, cause))?;
        Ok(Reader { path: path.to_owned(), file: BufReader::with_capacity(1 << 16, file), line: String::new() })
    }

    fn next(&mut self) -> Result<(&str, &str)> {
        self.line.clear();
        self.file.read_line(&mut self.line).map_err(|cause| Error::io("read", &self.path, cause))?;
        self.line.trim_end_matches('\n').split_once('\t').ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("{}: ends before the last record", self.path.display()))
        })
    }
}

/// The operator of a worker: reads all lines, and counts those of its key groups.
pub struct Keys {
    reader: Reader,
    next: u64,
    lines: State<Reducing<i64>>,
    sum: State<Reducing<i64>>,
}

impl Keys {
    /// # Errors
    /// Those of declaring states, and of the file.
    pub fn open(engine: &mut Engine, path: &Path, next: u64) -> Result<Keys> {
        let mut reader = Reader::open(path)?;
        for _ in 0..next {
            reader.next()?;
        }
        Ok(Keys { reader, next, lines: engine.state(LINES)?, sum: engine.state(SUM)? })
    }

    /// Counts lines up to this one, without it.
    ///
    /// # Errors
    /// Those of the engine, and of the file.
    pub fn read(&mut self, engine: &mut Engine, until: u64) -> Result<()> {
        let groups = engine.groups();
        while self.next < until {
            self.next += 1;
            let (key, value) = self.reader.next()?;
            let group = engine.group_of(key)?;
            if group < groups.first || group > groups.last {
                continue;
            }
            let mut keyed = engine.with_key(key)?;
            keyed.add(&self.lines, 1)?;
            keyed.add(&self.sum, amount(value))?;
        }
        Ok(())
    }

    /// Reads all that was counted.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn totals(&self, engine: &mut Engine) -> Result<Totals> {
        let mut keys: Vec<String> = Vec::new();
        engine.keys::<str, _>(&self.lines, |key, ()| {
            keys.push(key);
            Ok(())
        })?;
        let mut totals = Totals::default();
        for key in &keys {
            let mut keyed = engine.with_key(key.as_str())?;
            let (lines, sum) = (keyed.get(&self.lines)?.unwrap_or(0), keyed.get(&self.sum)?.unwrap_or(0));
            add_to(key, lines, sum, &mut totals);
        }
        Ok(totals)
    }
}

/// The same in a plain map.
///
/// # Errors
/// Those of the file.
pub fn count_plainly(path: &Path, records: u64) -> Result<Totals> {
    let mut reader = Reader::open(path)?;
    let mut keys: HashMap<String, (i64, i64)> = HashMap::new();
    for _ in 0..records {
        let (key, value) = reader.next()?;
        if !keys.contains_key(key) {
            keys.insert(key.to_owned(), (0, 0));
        }
        let (lines, sum) = keys.get_mut(key).expect("it was inserted");
        *lines += 1;
        *sum += amount(value);
    }
    let mut totals = Totals::default();
    for (key, (lines, sum)) in keys {
        add_to(&key, lines, sum, &mut totals);
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> (Kept, Totals) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let kept = keep(text.as_bytes(), &path, |_| ()).unwrap();
        (kept, count_plainly(&path, kept.records).unwrap())
    }

    #[test]
    fn pairs_are_counted_and_numbers_added() {
        let (kept, totals) = kept("a\t1\nb\t-7\r\nno tab\na\t2\tmore\nM\tx\n");
        assert_eq!(kept, Kept { records: 4, passed_over: 1 });
        assert_eq!(totals.sums, [3, 4, -6]);
    }

    #[test]
    fn text_of_git_is_counted_by_what_changed() {
        let text =
            "commit 1f0\nAuthor: A <a@b>\n\n    a subject\n\nM\tsrc/a.rs\nR100\tsrc/b.rs\tsrc/a.rs\nA\tsrc/c.rs\n";
        let (kept, totals) = kept(text);
        assert_eq!(kept, Kept { records: 3, passed_over: 5 });
        assert_eq!(totals.sums, [2, 3, 0]);
    }

    #[test]
    fn a_file_that_ends_early_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        keep(&b"a\t1\n"[..], &path, |_| ()).unwrap();
        assert_eq!(count_plainly(&path, 2).unwrap_err().kind(), ErrorKind::Damaged);
    }
}
