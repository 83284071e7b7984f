//! Any text as the address of a repo, and addresses with a secret in each place where somebody may put one: what is told holds no
//! secret.
#![no_main]

use std::error::Error as _;

use bedload_snapshot::testing::repo_at;
use bedload_snapshot::{Error, ErrorKind};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2Hunter2";
const SCHEMES: [&str; 6] = ["s3", "gs", "az", "file", "memory", "ftp"];
/// Options with these names are no secrets.
const OPTIONS: [&str; 4] = ["endpoint", "region", "account", "allow_http"];

/// All that is said of an error.
fn texts(error: &Error) -> String {
    let mut texts = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    texts
}

// The first byte says where the secret is, the second is the scheme; the rest are pieces of text, with `|` between them.
fuzz_target!(|bytes: &[u8]| {
    let Some((&[form, scheme], rest)) = bytes.split_first_chunk::<2>() else { return };
    let text = String::from_utf8_lossy(rest);
    let scheme = SCHEMES[usize::from(scheme) % SCHEMES.len()];
    let mut pieces = text.split('|');
    let mut piece = || pieces.next().unwrap_or_default();
    let address = match form % 8 {
        0 => text.to_string(),
        // Behind a user: as it should be written, and as it is mistyped.
        form @ 1..=3 => {
            let separator = ["://", ":", ":/"][usize::from(form - 1)];
            // A slash would make a folder of what follows.
            let user = piece().replace(['/', '\\', '?', '#'], "");
            format!("{scheme}{separator}{user}:{}{SECRET}{}@{}", piece(), piece(), piece())
        }
        4 => {
            let keeps = |text: &str, more: &str| -> String {
                text.chars().filter(|mark| mark.is_ascii_alphanumeric() || more.contains(*mark)).collect()
            };
            let (name, host, path) = (keeps(piece(), "_-"), keeps(piece(), "."), keeps(piece(), "/._ @"));
            if OPTIONS.contains(&&*name) {
                return;
            }
            format!("{scheme}://{host}/{path}?{name}={}{SECRET}{}", piece(), piece())
        }
        // What follows an `&` would be another option.
        5 => {
            let user = format!("{}:{}{SECRET}{}", piece(), piece(), piece()).replace('&', "");
            format!("{scheme}://bucket/x?endpoint={user}@{}", piece())
        }
        6 => {
            let server = format!("{}/{}", piece(), piece()).replace('&', "");
            format!("{scheme}://bucket/x?endpoint=http://{server}%3Fsig={SECRET}{}", piece())
        }
        _ => format!("{scheme}://bucket/{}#{}{SECRET}{}", piece(), piece(), piece()),
    };
    let told = match repo_at(&address) {
        Ok(repo) => {
            assert!(form % 8 == 0, "{address:?} was taken");
            format!("{repo} {repo:?}")
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Fix, "{address:?}: {error:?}");
            texts(&error)
        }
    };
    assert!(form % 8 == 0 || !told.contains(SECRET), "{address:?}: {told}");
});
