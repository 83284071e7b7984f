//! What a command was asked for: flags, and names with a value behind them.
//!
//! An option is known when the command's help names it, so that help and command cannot part.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// The arguments of a command.
#[derive(Clone, Debug)]
pub struct Arguments {
    given: Vec<String>,
}

impl Arguments {
    /// Those of this process.
    ///
    /// # Errors
    /// How to end instead: when help was asked for, which is printed then, or something that `help` does not name was given.
    pub fn read(help: &str) -> Result<Arguments, ExitCode> {
        Arguments::check(help, std::env::args().skip(1).collect())
    }

    fn check(help: &str, given: Vec<String>) -> Result<Arguments, ExitCode> {
        if given.iter().any(|argument| argument == "--help") {
            print!("{help}");
            return Err(ExitCode::SUCCESS);
        }
        let is_known = |name: &str| help.split_whitespace().any(|word| word == name);
        match given.iter().find(|argument| argument.starts_with("--") && !is_known(argument)) {
            Some(unknown) => {
                eprintln!("there is no option {unknown}; --help tells those there are");
                Err(ExitCode::from(2))
            }
            None => Ok(Arguments { given }),
        }
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.given.iter().any(|argument| argument == flag)
    }

    /// The value behind a name, if it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.given.iter().position(|argument| argument == name)?;
        self.given.get(at + 1).map(String::as_str)
    }

    /// The number behind a name.
    ///
    /// # Panics
    /// When what stands there is no such number.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number, found {text}")))
    }

    /// The directory behind a name; else a temporary one, which lives as long as what is given with it.
    pub fn directory(&self, name: &str) -> (PathBuf, Option<tempfile::TempDir>) {
        match self.text(name) {
            Some(path) => (PathBuf::from(path), None),
            None => {
                let temporary = tempfile::tempdir().expect("a temporary directory");
                (temporary.path().to_owned(), Some(temporary))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Options:\n  --keys N   how many\n  --json     as a line\n";

    fn check(given: &[&str]) -> Result<Arguments, ExitCode> {
        Arguments::check(HELP, given.iter().map(|argument| (*argument).to_owned()).collect())
    }

    #[test]
    fn names_have_values_and_flags_have_none() {
        let arguments = check(&["--json", "--keys", "7"]).unwrap();
        assert_eq!((arguments.number("--keys"), arguments.has("--json")), (Some(7u64), true));
        assert_eq!(check(&[]).unwrap().number::<u64>("--keys"), None);
    }

    #[test]
    fn what_help_does_not_name_is_refused() {
        assert!(check(&["--key", "7"]).is_err());
        assert!(check(&["--help"]).is_err());
    }
}
