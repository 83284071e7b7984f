//! Any bytes as each kind of manifest: as they are, as a body under a right digest, and as alterations of a whole one under a right
//! digest. What reads is written and reads as the same; what does not is told in few words, with its place.
#![no_main]

use std::sync::OnceLock;

use bedload_snapshot::ErrorKind;
use bedload_snapshot::testing::{ManifestKind, alter_manifest, sample_manifests};
use libfuzzer_sys::fuzz_target;

/// How long an error may be, however long what it tells of is.
const TOLD_BYTES_MAX: usize = 2000;

fn samples() -> &'static [(ManifestKind, Vec<u8>)] {
    static SAMPLES: OnceLock<Vec<(ManifestKind, Vec<u8>)>> = OnceLock::new();
    SAMPLES.get_or_init(sample_manifests)
}

fn check(kind: ManifestKind, bytes: &[u8], format: u32) {
    let Err(error) = kind.check(bytes) else {
        assert!(format <= 1, "a newer format was read");
        return;
    };
    assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix), "{error:?}");
    assert!(error.place().is_some(), "{error:?}");
    let told = error.to_string();
    assert!(told.len() <= TOLD_BYTES_MAX, "{} bytes of error: {told}", told.len());
}

// Of the first byte, three bits are the kind, or the sample; two say how the rest is read; one asks for a newer format.
fuzz_target!(|bytes: &[u8]| {
    let Some((&head, rest)) = bytes.split_first() else { return };
    let kind = ManifestKind::ALL[usize::from(head & 7)];
    let format = 1 + u32::from(head >> 5 & 1);
    match head >> 3 & 3 {
        0 => check(kind, rest, 1),
        1 => {
            let body = std::str::from_utf8(rest).ok();
            if let Some(signed) = body.and_then(|body| kind.sign(format, body)) {
                check(kind, &signed, format);
            }
        }
        // There are a few more samples than kinds.
        more => {
            let (kind, sample) = &samples()[(usize::from(head & 7) + 8 * usize::from(more - 2)) % samples().len()];
            check(*kind, &alter_manifest(sample, rest).expect("a sample is a manifest"), 1);
        }
    }
});
