//! The last 64 bytes of a run's file: where an open starts.
//!
//! Drawn in [`crate::format`].

use super::flaw::{Flaw, flaw};
use crate::codec::{Reader, RunId, checksum};

pub(super) const FOOTER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"BEDLRUN1";

/// The version that is written. Readers know all that were ever released.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Where the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// Anything but [`FORMAT_VERSION`]: the rest is not known.
    pub version: u32,
    pub directory_offset: u64,
    pub directory_bytes: u64,
    pub directory_crc: u32,
}

impl Footer {
    /// The bytes of the footer that ends the file of run `id`.
    pub fn to_bytes(self, id: RunId) -> [u8; FOOTER_BYTES] {
        let offset = self.directory_offset + self.directory_bytes;
        let mut out = [0; FOOTER_BYTES];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..28].copy_from_slice(&id.to_bytes());
        out[32..40].copy_from_slice(&self.directory_offset.to_le_bytes());
        out[40..48].copy_from_slice(&self.directory_bytes.to_le_bytes());
        out[48..52].copy_from_slice(&self.directory_crc.to_le_bytes());
        out[52..60].copy_from_slice(&(offset + FOOTER_BYTES as u64).to_le_bytes());
        let crc = checksum(id, offset, &out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the footer of run `id`, which ends a file of `file_bytes`.
    pub fn read(bytes: &[u8; FOOTER_BYTES], id: RunId, file_bytes: u64) -> Result<Footer, Flaw> {
        let mut reader = Reader::new(bytes);
        let magic = reader.bytes(8)?;
        if magic != MAGIC {
            return Err(flaw(format_args!(
                "footer that starts with {:?}, expected {MAGIC:?}",
                magic.escape_ascii().to_string()
            )));
        }
        let version = reader.u32()?;
        let found = RunId::read(&mut reader)?;
        if found != id {
            return Err(flaw(format_args!("footer of run {found}, expected {id}")));
        }
        let reserved = reader.u32()?;
        let (directory_offset, directory_bytes) = (reader.u64()?, reader.u64()?);
        let (directory_crc, length, crc) = (reader.u32()?, reader.u64()?, reader.u32()?);
        let offset = file_bytes - FOOTER_BYTES as u64;
        let expected = checksum(id, offset, &bytes[..60]);
        if crc != expected {
            return Err(flaw(format_args!("footer checksum {crc:08x}, expected {expected:08x}")));
        }
        if version != FORMAT_VERSION {
            // What follows may mean something else there; the caller says so.
            return Ok(Footer { version, directory_offset: 0, directory_bytes: 0, directory_crc: 0 });
        }
        if reserved != 0 || length != file_bytes || directory_offset.checked_add(directory_bytes) != Some(offset) {
            return Err(flaw(format_args!("footer of a file of {length} bytes in one of {file_bytes}")));
        }
        Ok(Footer { version, directory_offset, directory_bytes, directory_crc })
    }
}
