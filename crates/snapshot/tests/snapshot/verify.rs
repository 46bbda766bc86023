//! Every flipped bit, every cut and every missing file is found and named.

use highwater_core::ErrorKind;
use highwater_snapshot::{Damage, Snapshot, Verifier};

use crate::support::{FOLDER, File, METADATA, SHARED, sample, storage};

const STORE: &str = "job/chk-2/sst";

fn open(metadata: &[u8], shared: Option<&[u8]>, store: &[u8]) -> highwater_core::Result<Snapshot> {
    let mut files = vec![(METADATA, metadata), (STORE, store)];
    files.extend(shared.map(|bytes| (SHARED, bytes)));
    Snapshot::open(&storage(&files), FOLDER)
}

fn damages(shared: Option<&[u8]>, store: &[u8]) -> Vec<Damage> {
    let snapshot = open(&sample().0.encode(), shared, store).unwrap();
    let damages = Verifier::default().damages(&snapshot).unwrap();
    // Without a look at the bytes it says the same of files that are missing or have another length.
    let is_length = |damage: &Damage| damage.offset.is_none() && !damage.what.contains("checksum");
    match snapshot.check_files() {
        Ok(()) => assert!(!damages.iter().any(is_length), "{damages:?}"),
        Err(error) => assert_eq!((error.kind(), error.to_string()), (ErrorKind::Corrupt, damages[0].to_string())),
    }
    damages
}

/// What is touched, as `operator/state first..end`.
fn touches(damage: &Damage) -> Vec<String> {
    let touched = damage.touches.iter();
    touched.map(|t| format!("{}/{} {}..{}", t.operator, t.state, t.range.start(), t.range.end())).collect()
}

#[track_caller]
fn assert_one(damages: &[Damage], path: &str, offset: Option<u64>, touched: &[&str]) {
    assert_eq!(damages.len(), 1, "{damages:?}");
    assert!(damages[0].path.ends_with(path), "{}", damages[0].path);
    assert_eq!((damages[0].offset, touches(&damages[0])), (offset, touched.iter().map(|t| t.to_string()).collect()));
}

#[test]
fn what_is_as_it_was_written_is_sound() {
    let (_, File { bytes, .. }) = sample();
    assert_eq!(damages(Some(&bytes), b"sst"), []);
}

#[test]
fn every_flipped_bit_of_a_file_of_blocks_is_named_with_its_block_and_what_it_touches() {
    let (_, File { bytes, first, unused, last }) = sample();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let found = damages(Some(&damaged), b"sst");
        // Key group 0 was written anew since: only 1 is lost with the first block.
        let (block, touched): (_, &[&str]) = match bit / 8 {
            at if first.contains(&at) => (&first, &["count/state 1..2"]),
            at if unused.contains(&at) => (&unused, &[]),
            _ => (&last, &["count/state 2..4"]),
        };
        assert_one(&found, SHARED, Some(block.start as u64), touched);
        assert_eq!(found[0].what.contains("nothing refers to"), touched.is_empty(), "{}", found[0]);
    }
}

#[test]
fn every_flipped_bit_of_the_metadata_is_found() {
    let (metadata, File { bytes, .. }) = sample();
    let metadata = metadata.encode();
    for bit in 0..metadata.len() * 8 {
        let mut damaged = metadata.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = open(&damaged, Some(&bytes), b"sst").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(METADATA), "{error}");
    }
    for len in 0..metadata.len() {
        assert_eq!(open(&metadata[..len], Some(&bytes), b"sst").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn damage_in_several_blocks_is_named_several_times() {
    let (_, File { bytes, first, unused, last }) = sample();
    let mut damaged = bytes;
    for block in [&first, &unused, &last] {
        damaged[block.end - 1] ^= 1;
    }
    let found: Vec<_> = damages(Some(&damaged), b"sst").iter().map(|damage| damage.offset).collect();
    assert_eq!(found, [first.start, unused.start, last.start].map(|start| Some(start as u64)));
}

#[test]
fn a_missing_file_touches_all_that_is_in_it() {
    let found = damages(None, b"sst");
    assert_one(&found, SHARED, None, &["count/state 1..4"]);
    assert_eq!(found[0].what, "the file is missing");
}

#[test]
fn a_file_that_was_cut_touches_what_lay_beyond() {
    let (_, File { bytes, first, last, .. }) = sample();
    for len in 0..bytes.len() {
        let touched = if len < first.end { "count/state 1..4" } else { "count/state 2..4" };
        let found = damages(Some(&bytes[..len]), b"sst");
        assert!(found[0].what.contains(&format!("ends after {len} of its {}", bytes.len())), "{}", found[0]);
        // The rest of the block that nothing refers to may be named as well.
        assert!(found[1..].iter().all(|damage| damage.touches.is_empty()), "{found:?}");
        assert_one(&found[..1], SHARED, None, &[touched]);
    }
    let mut damaged = bytes[..last.start].to_vec();
    damaged[first.start] ^= 1;
    let found = damages(Some(&damaged), b"sst");
    assert_one(&found[1..], SHARED, Some(0), &["count/state 1..2"]);
}

#[test]
fn bytes_behind_the_end_of_a_file_are_found() {
    let (_, File { mut bytes, .. }) = sample();
    bytes.push(0);
    let found = damages(Some(&bytes), b"sst");
    assert_one(&found, SHARED, None, &[]);
    assert!(found[0].what.starts_with("1 bytes follow"), "{}", found[0]);
}

#[test]
fn files_of_stores_are_verified_as_a_whole() {
    let (_, File { bytes, .. }) = sample();
    for (damaged, what) in [(&b"ssu"[..], "its checksum is"), (b"ss", "it ends after 2 of its 3"), (b"ssts", "1 bytes")]
    {
        let found = damages(Some(&bytes), damaged);
        let touched: &[&str] = if damaged.len() > 3 { &[] } else { &["large/state 0..4"] };
        assert_one(&found, STORE, None, touched);
        assert!(found[0].what.starts_with(what), "{}", found[0]);
    }
}

#[test]
fn a_file_that_several_snapshots_share_is_read_once() {
    let (metadata, File { bytes, .. }) = sample();
    let metadata = metadata.encode();
    let files: [(&str, &[u8]); 5] = [
        (METADATA, &metadata),
        (STORE, b"sst"),
        ("job/chk-3/_metadata", &metadata),
        ("job/chk-3/sst", b"sst"),
        (SHARED, &bytes),
    ];
    let storage = storage(&files);
    let mut read = 0;
    let mut verifier = Verifier::with_progress(|bytes| read += bytes);
    for folder in [FOLDER, "job/chk-3"] {
        assert_eq!(verifier.damages(&Snapshot::open(&storage, folder).unwrap()).unwrap(), []);
    }
    drop(verifier);
    assert_eq!(read, bytes.len() as u64 + 3 + 3);
}
