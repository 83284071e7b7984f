//! Makes a version durable: the whole of it, written beside the old one and renamed over it.
//!
//! Its bytes are drawn in [`crate::format`].
//!
//! A version of twenty tiles and a few hundred slices is some KiB: writing all of it takes about as long as creating a file
//! does (tens of µs), happens once per flush or merge on a worker, and leaves nothing to replay, so there is no log of
//! edits. A reader finds either the old version or the new one; a `VERSION.new` is of an interrupted write and is removed.
//!
//! Synced stores write run, directory of the run, version, its name: what names another thing becomes durable after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{RunFile, Seals, Slice, Tile, Version};
use crate::codec::{Malformed, Reader, RunId, checksum, put_framed, put_varint};
use crate::entry::{CLOCKS_MAX, Clocks, KEY_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, ReadMode};
use crate::key::KeyShape;

/// The file that holds the current version.
pub(crate) const VERSION_FILE: &str = "VERSION";
/// A version while it is written.
pub(crate) const UNFINISHED_FILE: &str = "VERSION.new";

const MAGIC: &[u8; 8] = b"BEDLVER1";
const FORMAT: u32 = 1;
/// No version is longer.
const BYTES_MAX: u64 = 256 << 20;
/// The seed of the checksum: a version is not a run.
const SEED: RunId = RunId { opening: u64::from_le_bytes(*MAGIC), sequence: 0 };

/// A run as a version names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredRun {
    pub id: RunId,
    pub bytes: u64,
    pub digest: [u8; 32],
    /// Whether the file is not in the store's directories but read from a source that the opener must provide.
    pub foreign: bool,
}

/// A tile as it stands in the file: its start, and run indexes with seals.
type StoredTile = (Vec<u8>, Vec<(usize, Seals)>);

/// A version as it stands in the file: names instead of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredVersion {
    /// Whether the store was closed in order behind this version.
    pub clean: bool,
    pub number: u64,
    pub seal: u64,
    pub clocks: Clocks,
    pub shape: (String, u32),
    pub runs: Vec<StoredRun>,
    /// Start, and the slices as index into `runs` with their seals.
    pub tiles: Vec<StoredTile>,
}

/// How the store ends as far as a version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is in use: found at an open, it says that the store was not closed.
    Open,
    /// It was closed in order behind this version.
    Closed,
}

/// The owner of a directory's `VERSION`.
pub(crate) struct Manifest {
    directory: PathBuf,
    synced: bool,
    shape: (String, u32),
    /// Set by a failure after which nobody can say what is durable.
    broken: Option<Error>,
}

impl Manifest {
    /// The manifest of `directory`.
    pub fn new(directory: &Path, synced: bool, shape: &dyn KeyShape) -> Manifest {
        let shape = (shape.name().to_owned(), shape.version());
        Manifest { directory: directory.to_owned(), synced, shape, broken: None }
    }

    /// Makes `version` the one that the next open finds; returns the bytes written.
    ///
    /// # Errors
    /// After a failed sync or rename every later call fails with the same error: the disk may hold either version.
    pub fn write(&mut self, fs: &dyn Fs, version: &Version, ending: Ending) -> Result<u64> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let bytes = encode_version(version, ending, &self.shape);
        let unfinished = self.directory.join(UNFINISHED_FILE);
        self.write_unfinished(fs, &unfinished, &bytes)?;
        let published = fs
            .rename(&unfinished, &self.directory.join(VERSION_FILE))
            .and_then(|()| if self.synced { fs.sync_dir(&self.directory) } else { Ok(()) });
        if let Err(error) = published {
            let error =
                error.context("the version could not be published; the store is read-only until it is opened again");
            self.broken = Some(error.clone());
            return Err(error);
        }
        Ok(bytes.len() as u64)
    }

    fn write_unfinished(&mut self, fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = match fs.create_new(path) {
            Ok(file) => file,
            Err(error) if error.kind() != ErrorKind::Fix => return Err(error),
            Err(_) => {
                // A leftover of a write that failed half-way and could not be removed then: nothing names it.
                fs.remove(path)?;
                fs.create_new(path)?
            }
        };
        let mut result = file.append(bytes);
        if result.is_ok() && self.synced {
            result = file.sync_data().inspect_err(|error| {
                // A failed sync is final: the kernel may have dropped the bytes and would call a second one a success.
                self.broken = Some(
                    error
                        .clone()
                        .context("sync of the version failed; the store is read-only until it is opened again"),
                );
            });
        }
        let finished = file.finish();
        let result = result.and(finished);
        if result.is_err() {
            // Best effort: the next write or open removes it as well.
            fs.remove(path).ok();
        }
        result
    }

    /// The failure that made the store read-only.
    pub fn broken(&self) -> Option<&Error> {
        self.broken.as_ref()
    }
}

fn encode_version(version: &Version, ending: Ending, shape: &(String, u32)) -> Vec<u8> {
    let runs = version.runs();
    let mut out = Vec::with_capacity(256 + runs.len() * 64);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.push(u8::from(ending == Ending::Closed));
    out.extend_from_slice(&version.number.to_le_bytes());
    out.extend_from_slice(&version.seal.to_le_bytes());
    for reading in version.clocks.readings() {
        out.extend_from_slice(&reading.to_le_bytes());
    }
    put_framed(&mut out, shape.0.as_bytes());
    out.extend_from_slice(&shape.1.to_le_bytes());
    put_varint(&mut out, runs.len() as u64);
    for run in &runs {
        out.extend_from_slice(&run.id().to_bytes());
        out.extend_from_slice(&run.bytes().to_le_bytes());
        out.extend_from_slice(&run.digest);
        out.push(u8::from(run.path.is_none()));
    }
    put_varint(&mut out, version.tiles().len() as u64);
    for tile in version.tiles() {
        put_framed(&mut out, &tile.start);
        put_varint(&mut out, tile.slices.len() as u64);
        for slice in &tile.slices {
            let index = runs.binary_search_by_key(&slice.run.id(), |run| run.id()).expect("runs() lists every run");
            put_varint(&mut out, index as u64);
            put_varint(&mut out, slice.seals.first);
            put_varint(&mut out, slice.seals.last - slice.seals.first);
        }
    }
    let crc = checksum(SEED, 0, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Decodes the bytes of a `VERSION`; `path` is for the error.
///
/// # Errors
/// `Damaged` for anything that [`Manifest::write`] cannot have written; `Fix` for a format of a later release.
pub(crate) fn decode_version(bytes: &[u8], path: &Path) -> Result<StoredVersion> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(Error::damaged(path, 0, format_args!("version of {} bytes, expected at least 4", bytes.len())));
    };
    let (found, expected) = (checksum(SEED, 0, body), u32::from_le_bytes(*crc));
    if found != expected {
        let what = format_args!("version checksum {found:08x}, expected {expected:08x}");
        return Err(Error::damaged(path, body.len() as u64, what));
    }
    let mut reader = Reader::new(body);
    let malformed = |reader: &Reader<'_>| {
        Error::damaged(path, (body.len() - reader.rest().len()) as u64, "version is malformed behind a good checksum")
    };
    if reader.bytes(8) != Ok(MAGIC) {
        return Err(Error::damaged(path, 0, "no version: its magic is missing"));
    }
    let format = reader.u32().map_err(|_| malformed(&reader))?;
    if format != FORMAT {
        let message = format!("format {format}, this release reads {FORMAT}: open it with a newer one");
        return Err(Error::at(ErrorKind::Fix, path, Some(8), message));
    }
    let mut rest = reader;
    decode_body(&mut rest).map_err(|_| malformed(&rest))
}

fn decode_body(reader: &mut Reader<'_>) -> Result<StoredVersion, Malformed> {
    let clean = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed),
    };
    let (number, seal) = (reader.u64()?, reader.u64()?);
    let mut readings = [0; CLOCKS_MAX];
    for reading in &mut readings {
        *reading = reader.u64()?;
    }
    let name = std::str::from_utf8(reader.framed(255)?).map_err(|_| Malformed)?.to_owned();
    let shape = (name, reader.u32()?);
    let runs = decode_runs(reader)?;
    let tiles = decode_tiles(reader, runs.len(), seal)?;
    reader.end()?;
    Ok(StoredVersion { clean, number, seal, clocks: Clocks::from_readings(readings), shape, runs, tiles })
}

fn decode_runs(reader: &mut Reader<'_>) -> Result<Vec<StoredRun>, Malformed> {
    let count = reader.varint_max(reader.rest().len() as u64 / 57)?;
    let mut runs: Vec<StoredRun> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = RunId::read(reader)?;
        let bytes = reader.u64()?;
        let digest = reader.bytes(32)?.try_into().map_err(|_| Malformed)?;
        let foreign = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        if runs.last().is_some_and(|last| last.id >= id) {
            return Err(Malformed);
        }
        runs.push(StoredRun { id, bytes, digest, foreign });
    }
    Ok(runs)
}

fn decode_tiles(reader: &mut Reader<'_>, runs: usize, seal: u64) -> Result<Vec<StoredTile>, Malformed> {
    let count = reader.varint_max(reader.rest().len() as u64 / 2)?;
    let mut tiles: Vec<StoredTile> = Vec::with_capacity(count);
    for _ in 0..count {
        // A tile may start right behind the longest key.
        let start = reader.framed(KEY_BYTES_MAX + 1)?.to_vec();
        let in_order = match tiles.last() {
            None => start.is_empty(),
            Some((before, _)) => *before < start,
        };
        let slice_count = reader.varint_max(reader.rest().len() as u64 / 3)?;
        let mut slices: Vec<(usize, Seals)> = Vec::with_capacity(slice_count);
        for _ in 0..slice_count {
            let run = reader.varint_max((runs as u64).checked_sub(1).ok_or(Malformed)?)?;
            let first = reader.varint()?;
            let last = first.checked_add(reader.varint()?).ok_or(Malformed)?;
            let older = slices.last().is_none_or(|(_, newer)| newer.first > last);
            if !older || last > seal {
                return Err(Malformed);
            }
            slices.push((run, Seals { first, last }));
        }
        if !in_order {
            return Err(Malformed);
        }
        tiles.push((start, slices));
    }
    if tiles.is_empty() { Err(Malformed) } else { Ok(tiles) }
}

impl StoredVersion {
    /// Reads the version of a directory; `None` when there is none.
    ///
    /// # Errors
    /// `Damaged` with the place, as [`decode_version`].
    pub fn read(fs: &dyn Fs, directory: &Path) -> Result<Option<StoredVersion>> {
        let path = directory.join(VERSION_FILE);
        if !fs.read_dir(directory)?.iter().any(|file| file.name == VERSION_FILE) {
            return Ok(None);
        }
        let source = fs.open(&path, ReadMode::Pread)?;
        if source.bytes() > BYTES_MAX {
            let what = format_args!("version of {} bytes, expected at most {BYTES_MAX}", source.bytes());
            return Err(Error::damaged(path, 0, what));
        }
        let mut bytes = vec![0; source.bytes() as usize];
        source.read_exact_at(&mut bytes, 0)?;
        decode_version(&bytes, &path).map(Some)
    }

    /// Puts opened runs, in the order of `self.runs`, in the place of their names.
    pub fn resolve(&self, runs: &[Arc<RunFile>]) -> Version {
        let end = |index: usize| self.tiles.get(index + 1).map(|(start, _)| start.clone());
        let tile = |(index, (start, slices)): (usize, &StoredTile)| {
            let range = crate::key::KeyRange { start: start.clone(), end: end(index) };
            let cut = |(run, seals): &(usize, Seals)| Slice::cut(&runs[*run], *seals, &range);
            Arc::new(Tile::new(start.clone(), slices.iter().filter_map(cut).collect()))
        };
        let tiles = self.tiles.iter().enumerate().map(tile).collect();
        Version::new(self.number, self.seal, self.clocks, tiles)
    }
}

/// Puts magic and format before a body and its checksum behind it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn seal_version(body: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), &FORMAT.to_le_bytes(), body].concat();
    let crc = checksum(SEED, 0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Vec<u8> {
        let version = Version::empty();
        encode_version(&version, Ending::Closed, &("points".to_owned(), 1))
    }

    #[test]
    fn an_empty_version_round_trips() {
        let decoded = decode_version(&stored(), Path::new("VERSION")).unwrap();
        assert!(decoded.clean);
        assert_eq!(decoded.tiles, [(Vec::new(), Vec::new())]);
        assert_eq!(decoded.shape, ("points".to_owned(), 1));
    }

    #[test]
    fn every_flip_and_every_cut_is_an_error() {
        let bytes = stored();
        for at in 0..bytes.len() {
            for mask in [1u8, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                let error = decode_version(&flipped, Path::new("VERSION")).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged);
            }
            assert!(decode_version(&bytes[..at], Path::new("VERSION")).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_behind_a_good_checksum_is_an_error_or_a_version(body: Vec<u8>) {
            let bytes = seal_version(&body);
            if let Err(error) = decode_version(&bytes, Path::new("VERSION")) {
                assert_eq!(error.kind(), ErrorKind::Damaged);
            }
        }
    }
}
