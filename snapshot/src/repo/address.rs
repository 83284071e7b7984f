//! What the address of a repo says, without a look at anything else.
//!
//! An address ends up in logs and errors. So it holds no credentials, and where something may be meant as some, nothing of it is
//! quoted: not what is not understood, not what stands before an `@`, not the value of an option, and no name of an option that
//! does not look like one. Addresses are read strictly, because what is read leniently ends up in another part: without `//`, or
//! with a slash in a password, a user and a password look like a path.

use object_store::path::Path;
use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// The options that an address may have, by scheme.
const OPTIONS: [(&str, &[&str]); 5] = [
    ("file", &[]),
    ("s3", &["endpoint", "region", "allow_http"]),
    ("gs", &["endpoint"]),
    ("az", &["account", "endpoint", "allow_http"]),
    ("memory", &[]),
];

/// How long the name of an option may be that is quoted.
const OPTION_NAME_BYTES_MAX: usize = 40;

/// An address that was understood. Has no `Debug`: the path may be anything.
pub(super) struct Address {
    pub url: Url,
    /// The path below the bucket or container.
    pub root: Path,
    /// The address as people see it.
    pub text: String,
    #[cfg(feature = "cloud")]
    options: Vec<(String, String)>,
}

/// An address of a repo as it may be shown to people: what is not understood may hold credentials, and is not quoted.
pub fn shown_address(address: &str) -> String {
    Address::understand(address).map_or_else(|_| "(not understood, so not shown)".to_owned(), |address| address.text)
}

impl Address {
    /// # Errors
    /// `Fix` for what is no address of a repo, or may hold credentials.
    pub fn understand(text: &str) -> Result<Address> {
        if text.starts_with(['/', '.', '~']) {
            return Err(not_understood("a folder is written with file:// and its whole path"));
        }
        let url = Url::parse(text).map_err(|flaw| not_understood(&flaw.to_string()))?;
        check_host(&url, text)?;
        let host = url.host_str().unwrap_or_default();
        let text = format!("{}://{host}{}", url.scheme(), url.path().trim_end_matches('/'));
        let fix = |message: String| Error::at(ErrorKind::Fix, &*text, None, message);
        if url.fragment().is_some() {
            return Err(fix("an address has no part behind #".into()));
        }
        let Some((scheme, known)) = OPTIONS.iter().find(|(scheme, _)| *scheme == url.scheme()) else {
            return Err(fix(format!("{}:// is not understood: expected file, s3, gs or az", url.scheme())));
        };
        if *scheme == "file" && !host.is_empty() {
            return Err(fix(format!("file://{host} names a machine: write three slashes, as in file:///mnt/repo")));
        }
        let options: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        for (index, (name, value)) in options.iter().enumerate() {
            let fault = match options[..index].iter().any(|(other, _)| other == name) {
                false => option_fault(known, name, value),
                true => Some(format!("option {name:?} is given twice")),
            };
            if let Some(fault) = fault {
                return Err(fix(fault));
            }
        }
        let root = Path::from_url_path(url.path()).map_err(|flaw| fix(flaw.to_string()))?;
        Ok(Address {
            root,
            text,
            url,
            #[cfg(feature = "cloud")]
            options,
        })
    }

    /// The name of the bucket or container.
    #[cfg(feature = "cloud")]
    pub fn bucket(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The value of an option.
    #[cfg(feature = "cloud")]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// An error about it.
    pub fn fix(&self, message: impl Into<String>) -> Error {
        Error::at(ErrorKind::Fix, &*self.text, None, message.into())
    }
}

fn not_understood(flaw: &str) -> Error {
    let message = format!(
        "the address of the repo is not understood: {flaw}; expected one like file:///mnt/repo or s3://bucket/folder"
    );
    Error::new(ErrorKind::Fix, message)
}

/// Looks at what stands between `://` and the path, as it was written: it was read leniently.
fn check_host(url: &Url, text: &str) -> Result<()> {
    let behind_scheme = text.get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
    let behind_scheme = behind_scheme.ok_or_else(|| not_understood("no :// behind the first word"))?;
    let host = behind_scheme.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let fix = |message: &str| Err(Error::new(ErrorKind::Fix, format!("the address of the repo: {message}")));
    if host.contains('@') {
        return fix("credentials in an address end up in logs: put them into the environment");
    }
    if !host.chars().all(|mark| mark.is_ascii_alphanumeric() || "._-$".contains(mark)) {
        return fix(
            "behind :// stands the name of a bucket or container, of letters, digits and . _ - $; a server is named by \
             ?endpoint=, and credentials by the environment",
        );
    }
    if host.is_empty() && ["s3", "gs", "az"].contains(&url.scheme()) {
        return fix(&format!("no bucket or container: expected {}://name/folder", url.scheme()));
    }
    Ok(())
}

/// What is wrong with an option, in words without its value.
fn option_fault(known: &[&str], name: &str, value: &str) -> Option<String> {
    if !known.contains(&name) {
        let is_word =
            name.len() <= OPTION_NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let quoted = if is_word { format!(" {name:?}") } else { String::new() };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Some(format!("unknown option{quoted}; known here: {known}"));
    }
    match name {
        "allow_http" if !["true", "false"].contains(&value) => Some("allow_http: expected true or false".into()),
        "endpoint" => endpoint_fault(value),
        _ => None,
    }
}

/// Where the server is: like the address it ends up in logs.
fn endpoint_fault(endpoint: &str) -> Option<String> {
    let is_server = |url: &Url| {
        let behind_scheme = endpoint.get(url.scheme().len()..).unwrap_or_default();
        ["http", "https"].contains(&url.scheme()) && behind_scheme.starts_with("://")
    };
    let Some(url) = Url::parse(endpoint).ok().filter(is_server) else {
        return Some("endpoint: expected an address like http://host:9000".into());
    };
    // Behind an @ that is read as a part of the path may stand the host that somebody meant.
    let may_tell = endpoint.contains('@') || url.query().is_some() || url.fragment().is_some();
    may_tell.then(|| "credentials in an endpoint end up in logs: put them into the environment".into())
}
