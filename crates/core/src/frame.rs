//! The envelope of every byte sequence that goes to storage.
//!
//! ```text
//! offset  size  field
//!      0     4  magic: which kind of content, e.g. b"HWMD"
//!      4     2  version of that kind's format, little endian
//!      6     2  reserved, zero
//!      8     8  length of the payload in bytes, little endian
//!     16     4  CRC-32C of bytes 0..16 and of the payload, little endian
//!     20     n  payload
//! ```
//!
//! Invariant I7: [`open`] is the only way to a payload, and it returns one only if all of it verifies.

use crate::error::{Error, ErrorKind, Result};

/// Bytes of the envelope before the payload.
pub const HEADER_LEN: usize = 20;

/// A kind of content: its magic and the newest version of its format that this build writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Four printable bytes at the start.
    pub magic: [u8; 4],
    /// Newest known version; older ones are still read.
    pub version: u16,
    /// For error messages, e.g. "checkpoint metadata".
    pub name: &'static str,
}

/// An opened frame: a payload that has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The version it was written in: at most the kind's.
    pub version: u16,
    /// What was sealed.
    pub payload: &'a [u8],
    /// Bytes of the whole frame, header included.
    pub len: usize,
}

/// Appends a frame around `payload` to `out`.
pub fn seal(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&header(kind, payload));
    out.extend_from_slice(payload);
}

/// The header of the frame around `payload`, for a writer that does not want to copy it.
pub fn header(kind: Kind, payload: &[u8]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&kind.magic);
    header[4..6].copy_from_slice(&kind.version.to_le_bytes());
    header[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..16]), payload);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Opens the frame at the start of `bytes` and verifies it; bytes after the frame are left alone.
///
/// `place` names file and offset for the error, e.g. `"chk-3/_metadata at byte 0"`.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is cut off, of another kind, or damaged; [`ErrorKind::Incompatible`] if it is of a newer version.
pub fn open<'a>(kind: Kind, bytes: &'a [u8], place: &str) -> Result<Opened<'a>> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("{place}: {what}"));
    let Some((header, rest)) = bytes.split_at_checked(HEADER_LEN) else {
        return Err(corrupt(format!("cut off: {} bytes where a {} begins", bytes.len(), kind.name)));
    };
    if header[..4] != kind.magic {
        return Err(corrupt(format!(
            "not a {}: it begins with {:02x?} instead of {:02x?}",
            kind.name,
            &header[..4],
            kind.magic
        )));
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    let len = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
    let Some(payload) = usize::try_from(len).ok().and_then(|len| rest.get(..len)) else {
        return Err(corrupt(format!("cut off: {} of {len} bytes of a {}", rest.len(), kind.name)));
    };
    let stored = u32::from_le_bytes(header[16..20].try_into().expect("four bytes"));
    let actual = crc32c::crc32c_append(crc32c::crc32c(&header[..16]), payload);
    if stored != actual {
        return Err(corrupt(format!("checksum of the {} is {actual:08x}, should be {stored:08x}", kind.name)));
    }
    // Only now: a flipped bit in the version is damage, not another version.
    if version > kind.version {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "{place}: {} of version {version}, this program reads up to {}: use the version of Highwater that wrote it, or a newer one",
                kind.name, kind.version
            ),
        ));
    }
    Ok(Opened { version, payload, len: HEADER_LEN + payload.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { magic: *b"TEST", version: 3, name: "test" };

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(KIND, payload, &mut out);
        out
    }

    #[test]
    fn what_was_sealed_opens() {
        let mut bytes = sealed(b"hello");
        bytes.extend_from_slice(b"next");
        let opened = open(KIND, &bytes, "here").unwrap();
        assert_eq!((opened.version, opened.payload, opened.len), (3, &b"hello"[..], HEADER_LEN + 5));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = sealed(b"some payload");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = open(KIND, &damaged, "here").expect_err("a flipped bit went unnoticed");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error}");
        }
    }

    #[test]
    fn every_cut_is_found() {
        let bytes = sealed(b"some payload");
        for len in 0..bytes.len() {
            assert_eq!(open(KIND, &bytes[..len], "here").unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = Vec::new();
        seal(Kind { version: 4, ..KIND }, b"x", &mut bytes);
        let error = open(KIND, &bytes, "chk-3/_metadata").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.to_string().contains("version 4"), "{error}");
    }
}
