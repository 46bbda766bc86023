//! The stored form of where a savepoint is.

use highwater_checkpoint::SavepointLocation;
use highwater_core::ErrorKind;
use highwater_core::frame::{self, Kind};

/// Written by version 1.
const VERSION_1: &[u8] = include_bytes!("fixtures/savepoint-v1.bin");

fn location() -> SavepointLocation {
    SavepointLocation {
        storage: "s3://bucket/savepoints?region=eu-west-1".to_owned(),
        folder: "savepoint-visitors-12-19aac0b4b3e".to_owned(),
    }
}

#[test]
fn what_was_stored_is_read_and_is_still_written_so() {
    assert_eq!(SavepointLocation::decode(VERSION_1, "here").unwrap(), location());
    assert_eq!(location().encode(), VERSION_1, "the format has changed: it needs a new version and a new fixture");
    assert_eq!(location().to_string(), "s3://bucket/savepoints/savepoint-visitors-12-19aac0b4b3e?region=eu-west-1");
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    for bit in 0..VERSION_1.len() * 8 {
        let mut bytes = VERSION_1.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SavepointLocation::decode(&bytes, "here").is_err(), "bit {bit}");
    }
    for len in 0..VERSION_1.len() {
        let error = SavepointLocation::decode(&VERSION_1[..len], "here").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{len} bytes");
    }
    let longer = [VERSION_1, &[0]].concat();
    assert!(SavepointLocation::decode(&longer, "here").is_err(), "something is behind it");
}

#[test]
fn a_frame_of_something_else_is_refused() {
    let kind = Kind { magic: *b"HWSP", version: 2, name: "test" };
    for (payload, version, expected) in [
        (&b"\x01s\x01f"[..], 2, ErrorKind::Incompatible),
        (b"\x01s\x01f\x00", 1, ErrorKind::Corrupt),
        (b"\x01s\x00", 1, ErrorKind::Corrupt),
        (b"\x02\xff\xff\x01f", 1, ErrorKind::Corrupt),
        (b"", 1, ErrorKind::Corrupt),
    ] {
        let mut bytes = Vec::new();
        frame::seal(Kind { version, ..kind }, payload, &mut bytes);
        let error = SavepointLocation::decode(&bytes, "here").unwrap_err();
        assert_eq!(error.kind(), expected, "{payload:?}: {error}");
        assert!(error.to_string().contains("here"), "{error}");
    }
}
