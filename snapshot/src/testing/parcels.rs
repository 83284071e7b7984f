//! Parcels on their own, for benchmarks; and as hostile bytes, for fuzz targets.

use bedload_lsm::RunId;
use bytes::Bytes;

use crate::parcel::{CHUNK_BYTES, ParcelEncoder, ParcelTable, chunk_count, chunk_range, reseal, tail_bytes};

/// The name of the run that parcels are made of.
const RUN: RunId = RunId { opening: 1, sequence: 1 };

/// How many chunks are decoded at once.
const CHUNKS_AT_ONCE: u64 = 64;

/// The parcel of a run with these bytes.
pub fn encode_parcel(run: &[u8]) -> Vec<u8> {
    pack(run, RUN)
}

fn pack(run: &[u8], name: RunId) -> Vec<u8> {
    let mut encoder = ParcelEncoder::new(name, 1);
    let mut parcel = Vec::new();
    run.chunks(CHUNK_BYTES as usize).for_each(|chunk| encoder.push(chunk, &mut parcel));
    parcel.extend(encoder.finish());
    parcel
}

/// The run of `bytes` bytes that a parcel holds; `None` when it is damaged.
pub fn decode_parcel(parcel: &Bytes, bytes: u64) -> Option<Vec<u8>> {
    let tail = parcel.len().checked_sub(usize::try_from(tail_bytes(bytes)).ok()?)?;
    let table = ParcelTable::read(&parcel[tail..], RUN, bytes, parcel.len() as u64).ok()?;
    table.decode_all(0..chunk_count(bytes), &parcel.slice(..tail)).ok()
}

/// A parcel of a run of `bytes` bytes whose chunks are stored as `frames`, whatever these are, under right checksums.
pub fn frames_parcel(frames: &[Vec<u8>], bytes: u64) -> Vec<u8> {
    let mut encoder = ParcelEncoder::new(RUN, 1);
    let mut parcel = Vec::new();
    for (number, frame) in (0..).zip(frames) {
        let range = chunk_range(bytes, number);
        encoder.push_stored(frame, range.end.saturating_sub(range.start), &mut parcel);
    }
    parcel.extend(encoder.finish());
    parcel
}

/// Makes the checksums of a parcel with other bytes in it right: what is wrong is found behind them, or not.
pub fn reseal_parcel(parcel: &mut [u8], bytes: u64) {
    reseal(parcel, RUN, bytes);
}

/// As [`reseal_parcel`], for the parcel of `run`, whose length it tells itself.
pub fn reseal_shipped(parcel: &mut [u8], run: RunId) {
    let bytes = told_bytes(parcel);
    reseal(parcel, run, bytes.unwrap_or(u64::MAX));
}

/// The length of the run that a parcel tells.
fn told_bytes(parcel: &[u8]) -> Option<u64> {
    let at = parcel.len().checked_sub(32)?;
    parcel[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Changes the run in a parcel and packs it again; gives the run and the parcel, or `None` when it is not the parcel of `run`.
pub fn repack(parcel: &[u8], run: RunId, change: impl FnOnce(&mut Vec<u8>)) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = told_bytes(parcel)?;
    let tail = parcel.len().checked_sub(usize::try_from(tail_bytes(bytes)).ok()?)?;
    let table = ParcelTable::read(&parcel[tail..], run, bytes, parcel.len() as u64).ok()?;
    let mut raw = table.decode_all(0..chunk_count(bytes), &Bytes::copy_from_slice(&parcel[..tail])).ok()?;
    change(&mut raw);
    let parcel = pack(&raw, run);
    Some((raw, parcel))
}

/// What is wrong with a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParcelFlaw {
    /// The byte of the parcel.
    pub offset: u64,
    /// What was found and what was expected.
    pub what: String,
}

/// Reads bytes as the parcel of a run of `bytes` bytes, as a fetch does, and each chunk alone.
///
/// # Errors
/// What is wrong, and where.
///
/// # Panics
/// When a chunk is another one alone than among others.
pub fn read_parcel(parcel: &[u8], bytes: u64) -> Result<Vec<u8>, ParcelFlaw> {
    let told = |flaw: crate::parcel::ParcelFlaw| ParcelFlaw { offset: flaw.offset, what: flaw.what };
    let tail = parcel.len().saturating_sub(usize::try_from(tail_bytes(bytes)).unwrap_or(usize::MAX));
    let table = ParcelTable::read(&parcel[tail..], RUN, bytes, parcel.len() as u64).map_err(told)?;
    let stored = Bytes::copy_from_slice(parcel);
    let place = |chunks| {
        let span = table.span(chunks);
        span.start as usize..span.end as usize
    };
    let mut run = Vec::new();
    for first in (0..chunk_count(bytes)).step_by(CHUNKS_AT_ONCE as usize) {
        let chunks = first..chunk_count(bytes).min(first + CHUNKS_AT_ONCE);
        let decoded = table.decode_all(chunks.clone(), &stored.slice(place(chunks.clone())));
        let mut alone = Vec::new();
        let mut chunks = chunks.into_iter();
        let each = chunks.try_for_each(|chunk| table.decode(chunk, &parcel[place(chunk..chunk + 1)], &mut alone));
        assert_eq!(decoded, each.map(|()| alone), "chunks together and alone");
        run.extend(decoded.map_err(told)?);
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, Vec<u8>) {
        let run: Vec<u8> = (0..150_000).map(|index: usize| ((index * index) >> 7) as u8).collect();
        let parcel = encode_parcel(&run);
        (run, parcel)
    }

    #[test]
    fn a_whole_parcel_is_read_and_stays_whole_under_its_checksums() {
        let (run, parcel) = sample();
        assert_eq!(read_parcel(&parcel, 150_000).unwrap(), run);
        let mut again = parcel.clone();
        reseal_parcel(&mut again, 150_000);
        assert_eq!(again, parcel);
    }

    /// Behind right checksums damage is another run, which its digest finds, or told of by what follows.
    #[test]
    fn a_resealed_parcel_gets_behind_its_checksums() {
        let (run, parcel) = sample();
        let (mut other, mut told) = (0, std::collections::BTreeSet::new());
        for at in (0..parcel.len()).step_by(7).chain(parcel.len() - 88..parcel.len()) {
            let mut changed = parcel.clone();
            changed[at] ^= 0x11;
            reseal_parcel(&mut changed, 150_000);
            match read_parcel(&changed, 150_000) {
                Ok(found) => other += usize::from(found.len() == run.len() && found != run),
                Err(flaw) => drop(told.insert(flaw.what.split(' ').take(2).collect::<Vec<_>>().join(" "))),
            }
        }
        assert!(other > 100, "{other}");
        for what in ["chunk: ", "chunks of", "parcel of", "footer that"] {
            assert!(told.iter().any(|told| told.starts_with(what)), "{what}: {told:?}");
        }
    }

    #[test]
    fn a_frame_that_unpacks_to_more_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 1).unwrap();
        let whole = zstd::bulk::compress(&[7; 65_536], 1).unwrap();
        let parcel = frames_parcel(&[whole.clone(), bomb], 2 * CHUNK_BYTES);
        let flaw = read_parcel(&parcel, 2 * CHUNK_BYTES).unwrap_err();
        assert_eq!(flaw.offset, whole.len() as u64);
        assert!(flaw.what.starts_with("chunk: "), "{flaw:?}");
    }
}
