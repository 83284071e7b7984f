//! Compression of a block's body, and its reverse with a bounded output.
//!
//! A body that does not shrink is stored as it is; so the codec of a run is a wish, and each block says what it got.

use super::flaw::{Flaw, flaw};
pub use crate::options::Codec;

const NONE: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// The byte that stands for `codec` on disk.
pub(super) fn codec_byte(codec: Codec) -> u8 {
    match codec {
        Codec::None => NONE,
        #[cfg(feature = "lz4")]
        Codec::Lz4 => LZ4,
        #[cfg(feature = "zstd")]
        Codec::Zstd => ZSTD,
    }
}

/// Names a codec byte, also one that this build cannot read.
pub(super) fn codec_name(byte: u8) -> Option<&'static str> {
    match byte {
        NONE => Some("none"),
        LZ4 => Some("lz4"),
        ZSTD => Some("zstd"),
        _ => None,
    }
}

/// Compresses bodies one after the other.
pub(super) struct Packer {
    codec: Codec,
    out: Vec<u8>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub fn new(codec: Codec) -> Packer {
        Packer {
            codec,
            out: Vec::new(),
            #[cfg(feature = "zstd")]
            zstd: None,
        }
    }

    /// The compressed form of `body`; `None` when it would not be smaller.
    pub fn pack(&mut self, body: &[u8]) -> Option<&[u8]> {
        let bytes: Option<usize> = match self.codec {
            Codec::None => None,
            #[cfg(feature = "lz4")]
            Codec::Lz4 => {
                self.out.resize(lz4_flex::block::get_maximum_output_size(body.len()), 0);
                lz4_flex::block::compress_into(body, &mut self.out).ok()
            }
            #[cfg(feature = "zstd")]
            Codec::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Compressor::new(1).ok();
                }
                // What does not fit would not be smaller.
                self.out.resize(body.len(), 0);
                self.zstd.as_mut()?.compress_to_buffer(body, &mut self.out[..]).ok()
            }
        };
        bytes.filter(|bytes| *bytes < body.len()).map(|bytes| &self.out[..bytes])
    }
}

/// Fills `into` with what `packed` was made from; it must come out at exactly that length.
pub(super) fn unpack(codec: u8, packed: &[u8], into: &mut [u8]) -> Result<(), Flaw> {
    let expected = into.len();
    let result: Result<usize, String> = match codec {
        #[cfg(feature = "lz4")]
        LZ4 => lz4_flex::block::decompress_into(packed, into).map_err(|error| error.to_string()),
        #[cfg(feature = "zstd")]
        ZSTD => zstd::bulk::decompress_to_buffer(packed, into).map_err(|error| error.to_string()),
        _ => Err(format!("{} bytes of codec {codec}, which this build cannot read", packed.len())),
    };
    match result {
        Ok(bytes) if bytes == expected => Ok(()),
        Ok(bytes) => Err(flaw(format_args!("block of {bytes} bytes when decompressed, expected {expected}"))),
        Err(error) => Err(flaw(format_args!("block that does not decompress: {error}"))),
    }
}

/// Whether this build can read blocks of this codec.
pub(super) fn is_readable(codec: u8) -> bool {
    codec == NONE || (codec == LZ4 && cfg!(feature = "lz4")) || (codec == ZSTD && cfg!(feature = "zstd"))
}
