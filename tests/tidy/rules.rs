//! The rules that look at one file at a time.

use super::source::Source;
use super::{File, Finding, Rule};

/// The longest file, in lines.
const LINES_MAX: usize = 900;

/// The longest file, in lines that hold code and are not for tests alone.
const CODE_LINES_MAX: usize = 600;

/// Outside of the store: a test that must be an allocator to count allocations, and a peer whose binding can only be opened
/// by a promise.
const UNSAFE_ELSEWHERE: [&str; 2] = ["tests/allocations.rs", "benches/peers/src/stores/lmdb.rs"];
/// The modules of the store that may say `unsafe`.
const UNSAFE_MODULES: [&str; 3] = ["lsm/src/memtable/arena.rs", "lsm/src/fs/mmap.rs", "lsm/src/prefetch.rs"];

/// Words that name a heap of things instead of one thing.
const EMPTY_WORDS: [&str; 7] = ["util", "utils", "helper", "helpers", "misc", "manager", "managers"];

/// Where people and programs keep what exists on their own machine alone.
const MACHINE_DIRECTORIES: [&str; 4] = ["home", "root", "work", "Users"];

fn report(path: &str, line: usize, rule: Rule, message: impl Into<String>, found: &mut Vec<Finding>) {
    found.push(Finding { path: path.to_owned(), line, rule, message: message.into() });
}

/// No text names a directory of one machine.
pub fn machine_path(file: &File, found: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        for directory in MACHINE_DIRECTORIES {
            let path = format!("/{directory}/");
            // Behind a name it is a part of a relative path or of an address.
            let starts_path =
                |at: usize| !line[..at].ends_with(|mark: char| mark.is_alphanumeric() || "_-.~}>".contains(mark));
            if line.match_indices(&path).any(|(at, _)| starts_path(at)) {
                report(
                    &file.path,
                    index + 1,
                    Rule::MachinePath,
                    format!("names {path}, a directory of one machine"),
                    found,
                );
            }
        }
    }
}

/// Each dependency from elsewhere has a comment, on its line or above it.
pub fn dependency(file: &File, found: &mut Vec<Finding>) {
    let mut inside = false;
    let mut above = "";
    for (index, line) in file.text.lines().enumerate() {
        let mut entry = None;
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            inside = section.ends_with("dependencies");
            entry = section.split_once("dependencies.").map(|(_, name)| name);
        } else if inside && line.starts_with(|mark: char| mark.is_alphanumeric() || mark == '"') {
            entry = line.split(['=', '.', ' ']).next();
        }
        let is_ours = |name: &str| name.starts_with("bedload");
        // What is taken over from the workspace is explained there.
        let is_explained = has_comment(line) || above.starts_with("# ") || line.contains("workspace = true");
        if let Some(name) = entry.filter(|name| !is_ours(name) && !is_explained) {
            report(
                &file.path,
                index + 1,
                Rule::Dependency,
                format!("`{name}` has no comment that says what it is for"),
                found,
            );
        }
        above = line;
    }
}

/// Whether a line of TOML carries a comment.
fn has_comment(line: &str) -> bool {
    // Even pieces stand outside of quotes.
    line.split('"').step_by(2).any(|piece| piece.split_once('#').is_some_and(|(_, comment)| comment.trim().len() > 2))
}

/// File and module names are in snake case, and none names a heap.
pub fn names(source: &Source, found: &mut Vec<Finding>) {
    let path = &source.file.path;
    let is_snake =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    if !is_snake(stem) {
        report(path, 1, Rule::Names, format!("`{stem}` is not in snake case"), found);
    }
    let directories = path.split('/').rev().skip(1);
    let in_path = directories.chain([stem]).map(|name| (1, name));
    let declared = source.tokens.windows(2).filter(|pair| pair[0].text == "mod");
    let declared = declared.map(|pair| (pair[1].first_line, pair[1].text.as_str()));
    for (line, name) in in_path.chain(declared) {
        if let Some(word) = name.split('_').find(|word| EMPTY_WORDS.contains(word)) {
            report(path, line, Rule::Names, format!("`{name}`: `{word}` does not say what it is"), found);
        }
    }
}

/// A file is at most so long.
pub fn length(source: &Source, found: &mut Vec<Finding>) {
    let path = &source.file.path;
    let (lines, code) = (source.file.text.lines().count(), source.product_lines());
    if lines > LINES_MAX {
        report(path, LINES_MAX + 1, Rule::Length, format!("{lines} lines, at most {LINES_MAX}: split it"), found);
    }
    if code > CODE_LINES_MAX {
        let message = format!("{code} lines of code without comments and tests, at most {CODE_LINES_MAX}: split it");
        report(path, 1, Rule::Length, message, found);
    }
}

/// A file opens with `//!` and a sentence.
pub fn head(source: &Source, found: &mut Vec<Finding>) {
    let first = source.file.text.lines().next().unwrap_or_default();
    if first.strip_prefix("//! ").is_none_or(|head| head.trim().is_empty()) {
        report(&source.file.path, 1, Rule::Head, "does not open with `//!` and what it is, in one sentence", found);
    }
}

/// Nothing is left for later, switched off, or waited for by the clock.
pub fn leftover(source: &Source, found: &mut Vec<Finding>) {
    let path = &source.file.path;
    let in_code: [(&[&str], &str); 6] = [
        (&["todo", "!"], "`todo!`: do it now or leave it out"),
        (&["unimplemented", "!"], "`unimplemented!`: do it now or leave it out"),
        (&["dbg", "!"], "`dbg!`: take it out"),
        (&["#", "[", "ignore"], "an ignored test holds nothing"),
        (&["thread", "::", "sleep"], "`thread::sleep`: wait on a condition"),
        (&["thread", "::", "{", "sleep"], "`thread::sleep`: wait on a condition"),
    ];
    for (pattern, message) in in_code {
        for line in source.lines_with(pattern) {
            report(path, line, Rule::Leftover, message, found);
        }
    }
    for comment in &source.comments {
        let mut words = comment.text.split(|mark: char| !mark.is_alphanumeric());
        if let Some(word) = words.find(|word| ["FIXME", "XXX", "TODO"].contains(word)) {
            report(path, comment.line, Rule::Leftover, format!("{word}: do it now or tell it in the commit"), found);
        }
        if comment.is_doc && comment.text.starts_with("```") && comment.text.contains("ignore") {
            report(path, comment.line, Rule::Leftover, "an ignored example holds nothing", found);
        }
    }
}

/// Comments are sentences.
pub fn commented_out(source: &Source, found: &mut Vec<Finding>) {
    for comment in source.comments.iter().filter(|comment| !comment.is_doc) {
        let text = comment.text.as_str();
        let starts =
            ["let ", "fn ", "pub ", "use ", "return ", "if ", "for ", "match ", "impl ", "assert", "self.", "#["];
        let is_statement = starts.iter().any(|start| text.starts_with(start)) && text.ends_with([';', '{', ']']);
        if is_statement || text.ends_with(");") || ["}", "};", "})", "})?;"].contains(&text) {
            report(&source.file.path, comment.line, Rule::CommentedOut, format!("code in a comment: `{text}`"), found);
        }
    }
}

/// `unsafe` stays in three small modules.
pub fn unsafety(source: &Source, found: &mut Vec<Finding>) {
    let path = &source.file.path;
    if UNSAFE_MODULES.contains(&path.as_str()) || UNSAFE_ELSEWHERE.contains(&path.as_str()) {
        return;
    }
    for line in source.lines_with(&["unsafe"]) {
        report(path, line, Rule::Unsafe, format!("`unsafe` outside of {}", UNSAFE_MODULES.join(", ")), found);
    }
}
