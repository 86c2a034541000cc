//! Pulsar's payload compressions: LZ4 as a raw block, ZLIB and ZSTD as streams, SNAPPY as a raw block.
//!
//! Source: Pulsar's `org.apache.pulsar.common.compression`; the size before compression travels in the metadata.

use crate::{Error, Result};
use bytes::Bytes;
use std::io::{Read, Write};
use wire::proto::CompressionType;

/// No payload is decompressed beyond this; the size a peer claims is checked first, so it can't make us allocate more.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// Compresses a payload (of one message, or of a whole batch).
#[must_use]
pub fn compress(kind: CompressionType, payload: &[u8]) -> Vec<u8> {
    // Writing to memory can't fail, and no encoder here has an error of its own for valid levels.
    match kind {
        CompressionType::None => payload.to_vec(),
        CompressionType::Lz4 => lz4_flex::block::compress(payload),
        CompressionType::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(payload).and_then(|()| encoder.finish()).expect("memory takes all writes")
        }
        CompressionType::Zstd => zstd::stream::encode_all(payload, 0).expect("memory takes all writes"),
        CompressionType::Snappy => {
            snap::raw::Encoder::new().compress_vec(payload).expect("payloads are below snappy's limit of 4 GiB")
        }
    }
}

/// Undoes [`compress`]; `size` is what the metadata says the payload measured before.
///
/// # Errors
/// [`Error::Decompress`]: the bytes are no such stream, or the size is not what was claimed, or is beyond
/// [`DECOMPRESSED_BYTES_MAX`].
pub fn decompress(kind: CompressionType, bytes: &Bytes, size: usize) -> Result<Bytes> {
    if kind == CompressionType::None {
        return Ok(bytes.clone());
    }
    if size > DECOMPRESSED_BYTES_MAX {
        return Err(fail(format!("{size} bytes claimed, over the limit of {DECOMPRESSED_BYTES_MAX}")));
    }
    let out = match kind {
        CompressionType::None => return Ok(bytes.clone()),
        CompressionType::Lz4 => lz4_flex::block::decompress(bytes, size).map_err(|e| fail(e.to_string()))?,
        CompressionType::Zlib => read_up_to(flate2::read::ZlibDecoder::new(&bytes[..]), size)?,
        CompressionType::Zstd => {
            read_up_to(zstd::stream::read::Decoder::new(&bytes[..]).map_err(|e| fail(e.to_string()))?, size)?
        }
        CompressionType::Snappy => {
            let claimed = snap::raw::decompress_len(bytes).map_err(|e| fail(e.to_string()))?;
            if claimed != size {
                return Err(fail(format!("{claimed} bytes in the stream's header, {size} in the metadata")));
            }
            snap::raw::Decoder::new().decompress_vec(bytes).map_err(|e| fail(e.to_string()))?
        }
    };
    if out.len() != size {
        return Err(fail(format!("{} bytes came out, {size} were claimed", out.len())));
    }
    Ok(out.into())
}

/// Reads one byte more than promised at most, so that a bomb is seen as a wrong size.
fn read_up_to(reader: impl Read, size: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(size);
    reader.take(size as u64 + 1).read_to_end(&mut out).map_err(|e| fail(e.to_string()))?;
    Ok(out)
}

fn fail(why: String) -> Error {
    Error::Decompress(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [CompressionType; 5] = [
        CompressionType::None,
        CompressionType::Lz4,
        CompressionType::Zlib,
        CompressionType::Zstd,
        CompressionType::Snappy,
    ];

    #[test]
    fn every_compression_returns_what_was_put_in() {
        for payload in [Vec::new(), b"orders".to_vec(), b"geminga".repeat(10_000)] {
            for kind in ALL {
                let packed = Bytes::from(compress(kind, &payload));
                assert_eq!(decompress(kind, &packed, payload.len()).unwrap(), payload, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_wrong_size_or_garbage_is_an_error() {
        let packed = |kind| Bytes::from(compress(kind, &[7; 1000]));
        for kind in &ALL[1..] {
            assert!(decompress(*kind, &packed(*kind), 999).is_err(), "{kind:?}");
            assert!(decompress(*kind, &packed(*kind), 1001).is_err(), "{kind:?}");
            assert!(decompress(*kind, &packed(*kind), usize::MAX).is_err(), "{kind:?}");
            assert!(decompress(*kind, &Bytes::from_static(&[0xff; 64]), 1000).is_err(), "{kind:?}");
        }
    }
}
