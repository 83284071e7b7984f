//! Hostile parcels: bytes as they come, a whole parcel with mutations, the same under right checksums, and any frames under right
//! checksums: the right run, or a flaw with its place; or, where checksums were set right, another run of the same length.
#![no_main]

use std::sync::OnceLock;

use bedload_snapshot::testing::{encode_parcel, frames_parcel, read_parcel, reseal_parcel};
use libfuzzer_sys::fuzz_target;

const CHUNK_BYTES: u64 = 64 << 10;
/// Two chunks and a part of a third.
const RUN_BYTES: u64 = 2 * CHUNK_BYTES + 1000;
/// How many frames a parcel is made of at most.
const FRAMES_MAX: usize = 8;

struct Sample {
    run: Vec<u8>,
    parcel: Vec<u8>,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        // Three frames of some hundred bytes: the fuzzer tries many of them in a second.
        let run: Vec<u8> = (0..RUN_BYTES).map(|index| ((index / 900) * (index / 900)) as u8).collect();
        let parcel = encode_parcel(&run);
        Sample { run, parcel }
    })
}

/// The sample with some bytes changed, three of `choices` for each: where (two bytes), and what.
fn changed(choices: &[u8]) -> Vec<u8> {
    let mut parcel = sample().parcel.clone();
    for [low, high, mask] in choices.as_chunks::<3>().0 {
        // Half of the places are in table and footer.
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        let at = if at % 2 == 0 { at / 2 % parcel.len() } else { parcel.len() - 1 - at / 2 % 88 };
        parcel[at] ^= mask;
    }
    parcel
}

/// Frames, each behind a byte: a length, or how large a heap of zeros it unpacks to.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let (Some((&head, rest)), true) = (bytes.split_first(), frames.len() < FRAMES_MAX) {
        let length = usize::from(head & 0x7f);
        if head & 0x80 != 0 {
            frames.push(zstd::bulk::compress(&vec![0; (length + 1) << 11], 1).expect("memory takes it"));
            bytes = rest;
        } else {
            let (frame, rest) = rest.split_at(length.min(rest.len()));
            frames.push(frame.to_vec());
            bytes = rest;
        }
    }
    frames
}

fn read(parcel: &[u8], bytes: u64) -> Option<Vec<u8>> {
    match read_parcel(parcel, bytes) {
        Ok(run) => {
            assert_eq!(run.len() as u64, bytes);
            Some(run)
        }
        Err(flaw) => {
            assert!(flaw.offset <= parcel.len() as u64, "{flaw:?} in {} bytes", parcel.len());
            None
        }
    }
}

// The first byte says what is read.
fuzz_target!(|bytes: &[u8]| {
    let Some((&form, rest)) = bytes.split_first() else { return };
    match form % 4 {
        0 => {
            let Some((length, parcel)) = rest.split_first_chunk() else { return };
            read(parcel, u64::from_le_bytes(*length));
        }
        1 => {
            let parcel = changed(rest);
            let found = read(&parcel, RUN_BYTES);
            let changes = parcel.iter().zip(&sample().parcel).filter(|(left, right)| left != right).count();
            // More than one may agree with a checksum by chance: the digest of the run is there for that.
            match changes {
                0 => assert_eq!(found.as_ref(), Some(&sample().run)),
                1 => assert_eq!(found, None, "a changed byte passed"),
                _ => {}
            }
        }
        2 => {
            let mut parcel = changed(rest);
            reseal_parcel(&mut parcel, RUN_BYTES);
            read(&parcel, RUN_BYTES);
        }
        _ => {
            let Some((&[low, high], rest)) = rest.split_first_chunk() else { return };
            let frames = frames(rest);
            let last = u64::from(u16::from_le_bytes([low, high])) + 1;
            let bytes = frames.len().saturating_sub(1) as u64 * CHUNK_BYTES + last;
            read(&frames_parcel(&frames, bytes), bytes);
        }
    }
});
