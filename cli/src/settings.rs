//! Where settings come from: a flag, else the environment, else `bedload.toml`, else what is built in.
//!
//! ```text
//!  --repo URL  ►  BEDLOAD_REPO  ►  repo = "URL" in bedload.toml  ►  none
//! ```
//!
//! The file is `bedload.toml` of the folder that the command runs in, or what `--config` or `BEDLOAD_CONFIG` names. Keys that are unknown
//! are errors, there and in the environment: a misspelt setting must not be one that is passed over.

use std::path::{Path, PathBuf};

use bedload::{Error, ErrorKind, Result};
use clap::Args;
use serde::Serialize;

/// The file that is read when none is named.
const FILE: &str = "bedload.toml";
/// What names of variables begin with.
const PREFIX: &str = "BEDLOAD_";
/// Variables of that prefix that are no settings: one names the file of settings.
const OTHER_VARIABLES: [&str; 1] = ["BEDLOAD_CONFIG"];

/// A setting: its name in the file, what it is when nobody says anything, what it means.
struct Known {
    name: &'static str,
    built_in: Option<&'static str>,
    means: &'static str,
}

const KNOWN: [Known; 6] = [
    Known {
        name: "repo",
        built_in: None,
        means: "where checkpoints are: file:///folder, s3://bucket/folder, gs://, az://",
    },
    Known { name: "job", built_in: None, means: "the job that is meant where none is named" },
    Known { name: "holder", built_in: None, means: "who you are, in leases (default: this machine and process)" },
    Known { name: "transfers", built_in: Some("4"), means: "how many runs are read or written at once" },
    Known { name: "tries", built_in: Some("5"), means: "how often a request is made that fails" },
    Known { name: "request-limit", built_in: Some("60s"), means: "how long a request may take" },
];

/// Flags that all commands have.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Where checkpoints are: file:///folder, or s3://bucket/folder, gs:// and az:// where they are built in.
    #[arg(long, global = true, value_name = "URL", help_heading = "Options of all commands")]
    pub repo: Option<String>,
    /// Prints JSON in the place of text.
    #[arg(long, global = true, help_heading = "Options of all commands")]
    pub json: bool,
    /// The file of settings (default: bedload.toml of this folder, where there is one). `bedload config show` tells what is in force.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Options of all commands")]
    pub config: Option<PathBuf>,
}

/// Where the value of a setting came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(String),
    /// A file.
    File(PathBuf),
    /// Nobody said anything.
    BuiltIn,
}

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub name: &'static str,
    pub value: Option<String>,
    pub origin: Origin,
    pub means: &'static str,
}

/// All settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

impl Settings {
    /// Reads the environment and the file, below these flags.
    ///
    /// # Errors
    /// `Fix` for unknown keys, for values that are none, and for a file that was named and cannot be read.
    pub fn read(flags: &Flags) -> Result<Settings> {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let named = flags.config.clone().or_else(|| std::env::var_os("BEDLOAD_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(cause) if named.is_none() && cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(Error::io("read settings", &path, cause)),
        };
        Settings::from_parts(flags.repo.as_deref(), &variables, text.as_deref().map(|text| (&*path, text)))
    }

    fn from_parts(repo: Option<&str>, variables: &[(String, String)], file: Option<(&Path, &str)>) -> Result<Settings> {
        let table: toml::Table = match file {
            None => toml::Table::new(),
            Some((path, text)) => {
                text.parse().map_err(|flaw: toml::de::Error| fix(Some(path), flaw.to_string().trim_end().to_owned()))?
            }
        };
        let path = file.map(|(path, _)| path);
        if let Some(unknown) = table.keys().find(|key| known(key).is_none()) {
            return Err(fix(path, format!("unknown key {unknown:?}: expected one of {}", names())));
        }
        let variable_of = |name: &str| format!("{PREFIX}{}", name.to_uppercase().replace('-', "_"));
        let is_known = |name: &str| {
            OTHER_VARIABLES.contains(&name) || KNOWN.iter().any(|setting| variable_of(setting.name) == name)
        };
        if let Some((unknown, _)) = variables.iter().find(|(name, _)| !is_known(name)) {
            let variables: Vec<String> = KNOWN.iter().map(|setting| variable_of(setting.name)).collect();
            return Err(fix(None, format!("unknown variable {unknown}: expected one of {}", variables.join(", "))));
        }
        let mut settings = Vec::new();
        for Known { name, built_in, means } in KNOWN {
            let variable = variables.iter().find(|(variable, _)| *variable == variable_of(name));
            let (value, origin) = match (repo.filter(|_| name == "repo"), variable, table.get(name)) {
                (Some(flag), _, _) => (Some(flag.to_owned()), Origin::Flag("--repo")),
                (_, Some((variable, value)), _) => (Some(value.clone()), Origin::Environment(variable.clone())),
                (_, _, Some(value)) => {
                    let value = match value {
                        toml::Value::String(text) => text.clone(),
                        toml::Value::Integer(number) => number.to_string(),
                        other => return Err(fix(path, format!("{name}: a {} is no value of it", other.type_str()))),
                    };
                    (Some(value), Origin::File(path.unwrap_or(Path::new(FILE)).to_owned()))
                }
                _ => (built_in.map(str::to_owned), Origin::BuiltIn),
            };
            settings.push(Setting { name, value, origin, means });
        }
        let settings = Settings(settings);
        settings.transfers()?;
        settings.tries()?;
        settings.request_limit()?;
        Ok(settings)
    }

    /// All of them, in the order of their importance.
    pub fn all(&self) -> &[Setting] {
        &self.0
    }

    /// How many runs are read or written at once.
    pub fn transfers(&self) -> Result<usize> {
        let setting = self.of("transfers");
        Ok(setting.number(1, 256)? as usize)
    }

    /// How often a request is made that fails.
    pub fn tries(&self) -> Result<u32> {
        let setting = self.of("tries");
        Ok(setting.number(1, 100)? as u32)
    }

    /// How long a request may take.
    pub fn request_limit(&self) -> Result<std::time::Duration> {
        let setting = self.of("request-limit");
        let value = setting.value.as_deref().unwrap_or_default();
        let limit = humantime::parse_duration(value).map_err(|_| setting.wrong("a time such as 30s or 2m"))?;
        if limit.is_zero() { Err(setting.wrong("a time above zero")) } else { Ok(limit) }
    }

    /// The value of a setting; it may have none.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.of(name).value.as_deref()
    }

    /// Where that came from.
    pub fn origin(&self, name: &str) -> &Origin {
        &self.of(name).origin
    }

    fn of(&self, name: &str) -> &Setting {
        self.0.iter().find(|setting| setting.name == name).expect("every setting that is asked for is known")
    }
}

impl Setting {
    fn number(&self, least: u64, most: u64) -> Result<u64> {
        let number = self.value.as_deref().unwrap_or_default().parse().ok();
        let number = number.filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| self.wrong(&format!("a number from {least} to {most}")))
    }

    fn wrong(&self, expected: &str) -> Error {
        let value = self.value.as_deref().unwrap_or_default();
        let message = format!("{}: {value:?} from {}, expected {expected}", self.name, self.origin);
        Error::new(ErrorKind::Fix, message)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Flag(flag) => out.write_str(flag),
            Origin::Environment(variable) => out.write_str(variable),
            Origin::File(path) => write!(out, "{}", path.display()),
            Origin::BuiltIn => out.write_str("built in"),
        }
    }
}

fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|setting| setting.name == name)
}

fn names() -> String {
    KNOWN.map(|setting| setting.name).join(", ")
}

fn fix(path: Option<&Path>, message: String) -> Error {
    match path {
        Some(path) => Error::at(ErrorKind::Fix, path, None, message),
        None => Error::new(ErrorKind::Fix, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(repo: Option<&str>, variables: &[(&str, &str)], file: Option<&str>) -> Result<Settings> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_parts(repo, &variables, file.map(|text| (Path::new("bedload.toml"), text)))
    }

    #[test]
    fn the_nearest_word_counts() {
        let file = Some("repo = \"file:///file\"\ntransfers = 8");
        let variables = [("BEDLOAD_REPO", "file:///variable")];
        let repo = |settings: Settings| (settings.value("repo").map(str::to_owned), settings.of("repo").origin.clone());
        let path = PathBuf::from("bedload.toml");
        assert_eq!(repo(read(None, &[], None).unwrap()), (None, Origin::BuiltIn));
        assert_eq!(repo(read(None, &[], file).unwrap()), (Some("file:///file".into()), Origin::File(path)));
        let variable = Origin::Environment("BEDLOAD_REPO".into());
        assert_eq!(repo(read(None, &variables, file).unwrap()), (Some("file:///variable".into()), variable));
        let flag = (Some("file:///flag".into()), Origin::Flag("--repo"));
        assert_eq!(repo(read(Some("file:///flag"), &variables, file).unwrap()), flag);
        assert_eq!(read(None, &[], file).unwrap().transfers().unwrap(), 8);
    }

    #[test]
    fn what_is_not_known_is_an_error_that_says_what_is() {
        for (variables, file, told) in [
            (&[("BEDLOAD_REOP", "x")][..], None, "unknown variable BEDLOAD_REOP: expected one of BEDLOAD_REPO"),
            (&[], Some("reop = \"x\""), "bedload.toml: unknown key \"reop\": expected one of repo"),
            (&[], Some("transfers = 0"), "transfers: \"0\" from bedload.toml, expected a number from 1 to 256"),
            (
                &[("BEDLOAD_REQUEST_LIMIT", "soon")],
                None,
                "request-limit: \"soon\" from BEDLOAD_REQUEST_LIMIT, expected a time",
            ),
            (&[], Some("repo = ["), "bedload.toml"),
            (&[], Some("repo = 1.5"), "repo: a float is no value of it"),
        ] {
            let error = read(None, variables, file).unwrap_err().to_string();
            assert!(error.contains(told), "{error:?} does not tell {told:?}");
        }
        read(None, &[("BEDLOAD_CONFIG", "x")], None).unwrap();
    }
}
