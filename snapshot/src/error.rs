//! Errors of an object store, told as errors of ours: the caller's duty, the object, what to do.
//!
//! This crate has the error type of the store below it, so that `?` works across both. Here is the only place that looks into
//! errors of `object_store`; their text may quote requests, so secrets are struck out of it before it becomes ours.

pub use bedload_lsm::{Error, ErrorKind, Place, Result};

/// What stands in a text instead of a secret.
const STRUCK_OUT: &str = "[secret]";

/// The secrets of one repo's address and environment, to be struck out of texts.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Remembers a secret. Short ones are not: striking them out would say what they are.
    #[cfg(any(test, feature = "cloud"))]
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= 6 {
            self.0.push(secret.to_owned());
        }
    }

    /// `text` without the secrets.
    pub fn strike_out(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), STRUCK_OUT) } else { text }
        })
    }
}

/// Whether the same request may succeed later.
pub(crate) fn is_passing(cause: &object_store::Error) -> bool {
    !is_denied(cause) && matches!(cause, object_store::Error::Generic { .. } | object_store::Error::JoinError { .. })
}

/// Whether the disk below a directory that serves as a store has refused it: that is told as any other failure.
fn is_denied(cause: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Makes an error from a failed request: `operation` says what was tried, `place` is the address of the object.
pub(crate) fn object_error(operation: &str, place: &str, cause: &object_store::Error, secrets: &Secrets) -> Error {
    use object_store::Error as Cause;
    let (kind, advice) = match cause {
        Cause::NotFound { .. } => (ErrorKind::Missing, "does the bucket, container or directory exist?"),
        Cause::AlreadyExists { .. } | Cause::Precondition { .. } => (ErrorKind::Bug, "please report this"),
        Cause::PermissionDenied { .. } => {
            (ErrorKind::Denied, "may these credentials read, create, list and delete objects here?")
        }
        Cause::Unauthenticated { .. } => (ErrorKind::Denied, "check the credentials in the environment"),
        Cause::NotImplemented { .. } | Cause::NotSupported { .. } => {
            (ErrorKind::Fix, "this object store cannot serve as a repo")
        }
        Cause::UnknownConfigurationKey { .. } => (ErrorKind::Fix, "check the address of the repo"),
        Cause::InvalidPath { .. } => (ErrorKind::Fix, "nothing of a repo is named like that: move it elsewhere"),
        _ if is_denied(cause) => (ErrorKind::Denied, "may this user read and write here?"),
        _ => (ErrorKind::Retry, "is the object store reachable and healthy?"),
    };
    let message = secrets.strike_out(format!("{operation}: {}; {advice}", chain_of(cause)));
    Error::at(kind, place, None, message)
}

/// The text of an error and of its causes, each said once.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// How much is said of what was found in an object: that may be anything, and as long as the object.
const FOUND_CHARS_MAX: usize = 300;

/// Makes a `Damaged` error about an object: `what` says what was found and what was expected.
pub(crate) fn damaged(place: &str, offset: Option<u64>, what: impl std::fmt::Display) -> Error {
    let mut what = what.to_string();
    if let Some((end, _)) = what.char_indices().nth(FOUND_CHARS_MAX) {
        what.truncate(end);
        what.push('…');
    }
    let message =
        format!("{what}; the object is damaged: restore from another checkpoint, or bring it back from a copy");
    Error::at(ErrorKind::Damaged, place, offset, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_out() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2hunter2");
        let cause = object_store::Error::Generic { store: "S3", source: "GET /?token=hunter2hunter2 failed".into() };
        let error = object_error("read", "s3://b/x", &cause, &secrets);
        assert_eq!(
            error.to_string(),
            "s3://b/x: read: Generic S3 error: GET /?token=[secret] failed; is the object store reachable and healthy?"
        );
        assert_eq!(error.kind(), ErrorKind::Retry);
    }
}
