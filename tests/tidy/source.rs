//! Reads Rust as far as the rules need it: tokens, comments, and which tokens only tests see.
//!
//! Not a parser: text inside strings and comments is never taken for code, and that is all that is promised. A literal is
//! one token, `"`; a path separator is one token, `::`; every other mark stands alone.

use std::collections::BTreeSet;
use std::ops::Range;

use super::File;

/// A Rust file, cut up.
#[derive(Debug)]
pub struct Source {
    pub file: File,
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
    /// For each token, whether only tests see it.
    in_tests: Vec<bool>,
}

/// A word, a mark, or a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub first_line: usize,
    /// Differs from the first one for a literal over several lines.
    pub last_line: usize,
}

/// A comment, without the marks that open and close it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub text: String,
    pub line: usize,
    pub is_doc: bool,
}

impl Source {
    pub fn read(file: File) -> Source {
        let mut lexer = Lexer { text: &file.text, at: 0, line: 1, tokens: Vec::new(), comments: Vec::new() };
        lexer.run();
        let Lexer { tokens, comments, .. } = lexer;
        let mut in_tests = vec![false; tokens.len()];
        let mut at = 0;
        while at < tokens.len() {
            match test_item(&tokens, at) {
                Some(item) => {
                    at = item.end;
                    in_tests[item].fill(true);
                }
                None => at += 1,
            }
        }
        Source { file, tokens, comments, in_tests }
    }

    /// The tokens that not only tests see.
    pub fn product_tokens(&self) -> Vec<Token> {
        self.tokens.iter().zip(&self.in_tests).filter(|(_, test)| !**test).map(|(token, _)| token.clone()).collect()
    }

    /// The names of the modules that this file declares for tests alone.
    pub fn test_modules(&self) -> BTreeSet<String> {
        let pairs = self.tokens.windows(2).zip(&self.in_tests);
        pairs.filter(|(pair, test)| **test && pair[0].text == "mod").map(|(pair, _)| pair[1].text.clone()).collect()
    }

    /// How many lines hold code that not only tests see.
    pub fn product_lines(&self) -> usize {
        let lines = self.product_tokens();
        lines.iter().flat_map(|token| token.first_line..=token.last_line).collect::<BTreeSet<_>>().len()
    }

    /// The lines at which these tokens follow each other.
    pub fn lines_with(&self, pattern: &[&str]) -> Vec<usize> {
        let hits = self.tokens.windows(pattern.len());
        hits.filter(|tokens| tokens.iter().map(|token| token.text.as_str()).eq(pattern.iter().copied()))
            .map(|tokens| tokens[0].first_line)
            .collect()
    }
}

/// The item at `at` with its attributes, when the first one keeps it for tests: `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn test_item(tokens: &[Token], at: usize) -> Option<Range<usize>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let opens = |words: &[&str]| words.iter().enumerate().all(|(index, word)| text(at + index) == *word);
    if !opens(&["#", "[", "cfg", "(", "test", ")", "]"]) && !opens(&["#", "[", "cfg", "(", "all", "(", "test", ","]) {
        return None;
    }
    let mut end = at;
    while text(end) == "#" {
        end = closing(tokens, end + 1);
    }
    if text(end) == "pub" {
        end += 1;
        if text(end) == "(" {
            end = closing(tokens, end);
        }
    }
    let keywords =
        ["mod", "fn", "impl", "struct", "enum", "const", "static", "type", "trait", "unsafe", "async", "extern"];
    let (is_use, is_item) = (text(end) == "use", keywords.contains(&text(end)));
    while end < tokens.len() {
        match text(end) {
            ";" => return Some(at..end + 1),
            // A field, a variant or an arm.
            "," if !is_use && !is_item => return Some(at..end + 1),
            "}" | ")" | "]" => return Some(at..end),
            "{" if !is_use => return Some(at..closing(tokens, end)),
            "{" | "(" | "[" => end = closing(tokens, end),
            _ => end += 1,
        }
    }
    Some(at..end)
}

/// The index behind the bracket that closes the one at `open`.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<Comment>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) {
        while let Some(next) = self.rest().chars().next() {
            let rest = self.rest();
            if rest.starts_with("//") {
                self.line_comment();
            } else if rest.starts_with("/*") {
                self.block_comment();
            } else if let Some((open, hashes)) = raw_string(rest) {
                let close = format!("\"{}", "#".repeat(hashes));
                let bytes = rest[open..].find(&close).map_or(rest.len(), |found| open + found + close.len());
                self.token("\"", bytes);
            } else if let Some(open) = quoted(rest) {
                self.token("\"", end_of_quoted(rest, open));
            } else if next == '\'' {
                self.char_or_lifetime();
            } else if next.is_alphanumeric() || next == '_' {
                let bytes = rest.find(|mark: char| !mark.is_alphanumeric() && mark != '_').unwrap_or(rest.len());
                self.token(&rest[..bytes], bytes);
            } else if rest.starts_with("::") {
                self.token("::", 2);
            } else if next.is_whitespace() {
                self.skip(next.len_utf8());
            } else {
                self.token(next.encode_utf8(&mut [0; 4]), next.len_utf8());
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes on by `bytes`; returns what they were.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let skipped = &self.rest()[..bytes];
        self.line += skipped.matches('\n').count();
        self.at += bytes;
        skipped
    }

    fn token(&mut self, text: &str, bytes: usize) {
        let first_line = self.line;
        self.skip(bytes);
        self.tokens.push(Token { text: text.to_owned(), first_line, last_line: self.line });
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let bytes = self.rest().find('\n').unwrap_or(self.rest().len());
        let text = self.skip(bytes);
        let is_doc = text.starts_with("//!") || (text.starts_with("///") && !text.starts_with("////"));
        let text = text.trim_start_matches(['/', '!']).trim().to_owned();
        self.comments.push(Comment { text, line, is_doc });
    }

    fn block_comment(&mut self) {
        let (rest, first) = (self.rest(), self.line);
        let (mut depth, mut bytes) = (1, 2);
        while depth > 0 && bytes < rest.len() {
            if rest[bytes..].starts_with("*/") {
                (depth, bytes) = (depth - 1, bytes + 2);
            } else if rest[bytes..].starts_with("/*") {
                (depth, bytes) = (depth + 1, bytes + 2);
            } else {
                bytes += rest[bytes..].chars().next().map_or(1, char::len_utf8);
            }
        }
        let text = self.skip(bytes);
        let is_doc = text.starts_with("/**") || text.starts_with("/*!");
        for (line, text) in text.lines().enumerate() {
            let text = text.trim().trim_matches(['/', '*', '!']).trim().to_owned();
            self.comments.push(Comment { text, line: first + line, is_doc });
        }
    }

    /// `'x'` and `'\n'` are literals; `'a` is a lifetime or a label.
    fn char_or_lifetime(&mut self) {
        let rest = self.rest();
        let mut marks = rest[1..].chars();
        let (first, second) = (marks.next(), marks.next());
        if first == Some('\\') {
            // The escaped mark may itself be a quote.
            let bytes = rest.get(3..).and_then(|tail| tail.find('\'')).map_or(rest.len(), |close| close + 4);
            self.token("\"", bytes);
        } else if let (Some(first), Some('\'')) = (first, second) {
            self.token("\"", 2 + first.len_utf8());
        } else {
            self.token("'", 1);
        }
    }
}

/// Where the text of a raw string starts, and how many hashes close it.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| rest.strip_prefix(prefix).is_some_and(|tail| tail.trim_start_matches('#').starts_with('"')))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    Some((prefix.len() + hashes + 1, hashes))
}

/// Where the text of an ordinary string, or of a byte in quotes, starts.
fn quoted(rest: &str) -> Option<usize> {
    ["\"", "b\"", "c\"", "b'"].into_iter().find(|open| rest.starts_with(open)).map(str::len)
}

/// The first byte behind a literal whose text starts at `open`.
fn end_of_quoted(rest: &str, open: usize) -> usize {
    let bytes = rest.as_bytes();
    let (quote, mut at) = (bytes[open - 1], open);
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Source {
        Source::read(File { path: "a.rs".to_owned(), text: text.to_owned() })
    }

    fn words(text: &str) -> String {
        read(text).tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn literals_and_comments_are_not_code() {
        assert_eq!(
            words(r##"a("x // \" y", r#"z " w"#, b'\'', '"', '\'', "é") // b"##),
            "a ( \" , \" , \" , \" , \" , \" )"
        );
        assert_eq!(words("fn f<'a>(x: &'a str) { 'outer: loop {} }").matches('\'').count(), 3);
        assert_eq!(words("a /* b /* c */ d */ e"), "a e");
        assert_eq!(words("crate::a r#type"), "crate :: a r # type");
    }

    #[test]
    fn lines_are_counted_through_literals() {
        let source = read("a\n\"x\ny\"\n/* z\n*/ b\n");
        let lines: Vec<_> = source.tokens.iter().map(|token| (token.first_line, token.last_line)).collect();
        assert_eq!(lines, [(1, 1), (2, 3), (5, 5)]);
        assert_eq!(source.product_lines(), 4);
    }

    #[test]
    fn what_only_tests_see_is_left_out() {
        let text = "#[cfg(test)] use a::{b, c}; d; #[cfg(test)] #[x] pub(crate) fn e<T, U>() { f } g; #[cfg(all(test, h))] mod i; \
                    S { #[cfg(test)] j: k, l } #[cfg(any(test, feature = \"testing\"))] m;";
        let left: Vec<String> = read(text).product_tokens().into_iter().map(|token| token.text).collect();
        let expected = "d ; g ; S { l } # [ cfg ( any ( test , feature = \" ) ) ] m ;";
        assert_eq!(left.join(" "), expected);
        assert_eq!(read(text).test_modules(), BTreeSet::from(["i".to_owned()]));
    }
}
