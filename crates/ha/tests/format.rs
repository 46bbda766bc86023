//! The stored form of an entry.

use highwater_core::frame::{self, Kind};
use highwater_core::{CheckpointId, ErrorKind};
use highwater_ha::{Attempt, Change, Completed, Ended, Entry, JobState, Leader, Token};

/// Written by version 1.
const VERSION_1: &[u8] = include_bytes!("fixtures/entry-v1.bin");

fn entry() -> Entry {
    let completed = |id, token| Completed { id: CheckpointId(id), token: Token(token) };
    Entry {
        number: 300,
        writer: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        sequence: 12,
        change: Change::Ended,
        state: JobState {
            leader: Leader {
                token: Token(290),
                cluster: "blue".to_owned(),
                program: "a1b2c3".to_owned(),
                address: "host-1:6123".to_owned(),
                holds_ms: 2000,
            },
            attempt: Some(Attempt { token: Token(290), content: b"deployed".to_vec() }),
            completed: vec![completed(41, 7), completed(42, 290)],
            ended: Some(Ended { token: Token(290), result: b"finished".to_vec() }),
        },
    }
}

#[test]
fn what_was_stored_is_read_and_is_still_written_so() {
    assert_eq!(Entry::decode(VERSION_1, 300, "here").unwrap(), entry());
    assert_eq!(entry().encode(), VERSION_1, "the format has changed: it needs a new version and a new fixture");
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    for bit in 0..VERSION_1.len() * 8 {
        let mut bytes = VERSION_1.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = Entry::decode(&bytes, 300, "ha/visitors/300").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}");
        assert!(
            error.to_string().contains("ha/visitors/300") && error.to_string().contains("remove the file"),
            "{error}"
        );
    }
    for len in 0..VERSION_1.len() {
        assert_eq!(
            Entry::decode(&VERSION_1[..len], 300, "here").unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{len} bytes"
        );
    }
    assert!(Entry::decode(&[VERSION_1, &[0]].concat(), 300, "here").is_err(), "something is behind it");
}

#[test]
fn an_entry_of_another_place_or_version_is_refused() {
    let error = Entry::decode(VERSION_1, 301, "here").unwrap_err();
    assert!(error.to_string().starts_with("here: it is entry 300, not 301"), "{error}");
    let mut newer = Vec::new();
    frame::seal(Kind { magic: *b"HWHA", version: 2, name: "test" }, &VERSION_1[frame::HEADER_LEN..], &mut newer);
    assert_eq!(Entry::decode(&newer, 300, "here").unwrap_err().kind(), ErrorKind::Incompatible);
}

/// What breaks an invariant of the log is damage too, whatever its checksum.
#[test]
fn an_entry_that_cannot_be_is_refused() {
    type Break = fn(&mut Entry);
    let broken: [(&str, Break); 6] = [
        ("a token of the future", |entry| entry.state.leader.token = Token(301)),
        ("no token", |entry| entry.state.leader.token = Token(0)),
        ("a leader that begins with another's token", |entry| entry.change = Change::Leads),
        ("a leader that has resigned and goes on", |entry| entry.state.leader.holds_ms = 0),
        ("checkpoints that go back", |entry| entry.state.completed.swap(0, 1)),
        ("a checkpoint of a later leader", |entry| entry.state.completed[1].token = Token(291)),
    ];
    for (what, change) in broken {
        let mut entry = entry();
        change(&mut entry);
        let mut bytes = Vec::new();
        let payload = postcard::to_stdvec(&entry).unwrap();
        frame::seal(Kind { magic: *b"HWHA", version: 1, name: "test" }, &payload, &mut bytes);
        assert_eq!(Entry::decode(&bytes, 300, "here").expect_err(what).kind(), ErrorKind::Corrupt, "{what}");
        assert!(std::panic::catch_unwind(|| entry.encode()).is_err(), "{what} was written");
    }
}
