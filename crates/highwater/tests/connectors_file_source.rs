//! The file source reads what a plain reader reads: whatever the ranges, wherever it was interrupted.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use highwater::connectors::{FileReader, FileSource, FileSplit};
use highwater_core::{ErrorKind, Result};
use highwater_runtime::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater_state::Data;
use highwater_testing::Random;
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn append(path: &Path, content: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(content.as_bytes()).unwrap();
}

fn gzip(content: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Polls until nothing is at hand.
fn drain(reader: &mut FileReader) -> Result<(Vec<String>, SourceStatus)> {
    let mut lines = Vec::new();
    loop {
        let mut output = SourceOutput::default();
        let status = reader.poll(&mut output)?;
        lines.extend(output.take().into_iter().map(|(line, _)| line));
        if status != SourceStatus::More {
            return Ok((lines, status));
        }
    }
}

/// Polls for a single line.
fn poll_one(reader: &mut FileReader) -> Result<(Option<String>, SourceStatus)> {
    let mut output = SourceOutput::default();
    let filler = output.room() - 1;
    (0..filler).for_each(|_| output.emit(String::new()));
    let status = reader.poll(&mut output)?;
    Ok((output.take().into_iter().nth(filler).map(|(line, _)| line), status))
}

fn read_all(source: &FileSource) -> Result<Vec<String>> {
    let (lines, status) = drain(&mut source.reader(source.discover(1)?)?)?;
    assert_eq!(status, SourceStatus::End);
    Ok(lines)
}

/// As a checkpoint stores and restores them.
fn stored(splits: Vec<FileSplit>) -> Vec<FileSplit> {
    let restore = |split: FileSplit| {
        let mut bytes = Vec::new();
        split.encode(&mut bytes);
        FileSplit::decode(&mut bytes.as_slice()).unwrap()
    };
    splits.into_iter().map(restore).collect()
}

fn expect_input_error<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error, though one with {parts:?} was due") };
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Input, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not all in: {text}");
}

fn random_text(random: &mut Random, pieces: usize) -> String {
    let alphabet = ["a", "bc", "\n", "\n", "\r\n", "\r", "é", "…", "long line "];
    (0..pieces).map(|_| alphabet[random.up_to(alphabet.len() - 1)]).collect()
}

fn expected(text: &str) -> Vec<String> {
    text.lines().map(String::from).collect()
}

#[test]
fn every_line_belongs_to_exactly_one_range() {
    let dir = TempDir::new().unwrap();
    let mut random = Random::new(1);
    let mut texts: Vec<String> = (0..30).map(|pieces| random_text(&mut random, pieces)).collect();
    texts.extend(["", "\n", "\n\n", "a", "a\n", "\r\n", "\na", "a\r\nb", "a\n\n\nb\n"].map(String::from));
    for text in texts {
        let path = file(&dir, "input", &text);
        for split_bytes in (1..8).chain([10, 20, 1 << 40]) {
            let source = FileSource::lines(&path).split_bytes(split_bytes);
            let splits = source.discover(1).unwrap();
            assert_eq!(splits.len() as u64, (text.len() as u64).div_ceil(split_bytes));
            // By one reader each, as subtasks would, and all by one.
            let apart =
                splits.iter().flat_map(|split| drain(&mut source.reader(vec![split.clone()]).unwrap()).unwrap().0);
            assert_eq!(apart.collect::<Vec<_>>(), expected(&text), "{text:?} in ranges of {split_bytes}");
            assert_eq!(drain(&mut source.reader(splits).unwrap()).unwrap().0, expected(&text), "{text:?} by one");
        }
    }
}

#[test]
fn characters_and_lines_survive_the_borders_of_blocks_and_ranges() {
    let dir = TempDir::new().unwrap();
    let mut random = Random::new(2);
    // About 1.5 MiB, several blocks; the lines are of odd lengths, so that borders fall into characters and line ends.
    let text: String = (0..30_000).map(|n| format!("{n} {}\r\n", "é…".repeat(random.up_to(16)))).collect();
    let path = file(&dir, "input", &text);
    for split_bytes in [100_003, 262_144, 262_145, 16 << 20] {
        assert_eq!(
            read_all(&FileSource::lines(&path).split_bytes(split_bytes)).unwrap(),
            expected(&text),
            "{split_bytes}"
        );
    }
}

#[test]
fn a_line_may_be_longer_than_blocks_and_ranges() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "input", format!("a\n{}\nb\n", "x".repeat(1_000_000)));
    for split_bytes in [1000, 300_000, 999_999] {
        let lengths: Vec<_> =
            read_all(&FileSource::lines(&path).split_bytes(split_bytes)).unwrap().iter().map(String::len).collect();
        assert_eq!(lengths, [1, 1_000_000, 1], "{split_bytes}");
    }
}

#[test]
fn a_poll_fills_a_batch_and_no_more() {
    let dir = TempDir::new().unwrap();
    let source = FileSource::lines(file(&dir, "input", "x\n".repeat(5000)));
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    let mut output = SourceOutput::default();
    let room = output.room();
    assert_eq!(reader.poll(&mut output).unwrap(), SourceStatus::More);
    assert_eq!((output.room(), output.take().len()), (0, room));
}

/// Restored after every line, from a stored snapshot, it reads what an uninterrupted reader reads.
fn check_restore_after_every_line(source: &FileSource, expected: &[String]) {
    let mut splits = source.discover(1).unwrap();
    let mut lines = Vec::new();
    loop {
        let mut reader = source.reader(stored(splits)).unwrap();
        let (line, status) = poll_one(&mut reader).unwrap();
        lines.extend(line);
        if status == SourceStatus::End {
            break;
        }
        splits = reader.snapshot();
    }
    assert_eq!(lines, expected);
}

#[test]
fn restored_after_every_line_it_goes_on_with_the_next() {
    let dir = TempDir::new().unwrap();
    let mut random = Random::new(3);
    for pieces in [1, 5, 40, 200] {
        let text = random_text(&mut random, pieces);
        let path = file(&dir, "input", &text);
        for split_bytes in [1, 2, 7, 50, 1000] {
            check_restore_after_every_line(&FileSource::lines(&path).split_bytes(split_bytes), &expected(&text));
        }
        let zipped = file(&dir, "input.gz", gzip(&text));
        check_restore_after_every_line(&FileSource::lines(zipped), &expected(&text));
    }
}

#[test]
fn gzip_is_told_by_the_name_or_by_hand_and_may_have_several_members() {
    let dir = TempDir::new().unwrap();
    let text: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let members = [gzip(&text), gzip("and\nmore")].concat();
    let mut all = expected(&text);
    all.extend(["and".into(), "more".into()]);
    assert_eq!(read_all(&FileSource::lines(file(&dir, "a.gz", &members))).unwrap(), all);
    assert_eq!(read_all(&FileSource::lines(file(&dir, "a.bin", &members)).gzip(true)).unwrap(), all);
    assert_eq!(read_all(&FileSource::lines(file(&dir, "plain.gz", "a\nb")).gzip(false)).unwrap(), ["a", "b"]);
}

#[test]
fn a_damaged_gzip_file_is_named() {
    let dir = TempDir::new().unwrap();
    let mut zipped = gzip(&"some line\n".repeat(1000));
    zipped.truncate(zipped.len() - 9);
    expect_input_error(read_all(&FileSource::lines(file(&dir, "cut.gz", zipped))), &["cut.gz", "at byte"]);
    expect_input_error(read_all(&FileSource::lines(file(&dir, "text.gz", "not zipped"))), &["text.gz", "gzip"]);
}

#[test]
fn a_line_that_is_too_long_is_named_with_its_place() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "input", "ok\n123456789\nok");
    expect_input_error(
        read_all(&FileSource::lines(&path).max_line_bytes(8)),
        &["input", "byte 3", "8 bytes", "max_line_bytes"],
    );
    assert_eq!(read_all(&FileSource::lines(&path).max_line_bytes(9)).unwrap().len(), 3);
    // Also where it is longer than everything that is read at once.
    let path = file(&dir, "endless", "x".repeat(3 << 20));
    expect_input_error(read_all(&FileSource::lines(&path).max_line_bytes(1 << 20)), &["endless", "byte 0"]);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let dir = TempDir::new().unwrap();
    assert_eq!(read_all(&FileSource::lines(file(&dir, "latin1", b"caf\xe9\nok\n"))).unwrap(), ["caf\u{fffd}", "ok"]);
}

#[test]
fn a_folder_stands_for_its_visible_files_in_order() {
    let dir = TempDir::new().unwrap();
    for name in ["b", "a", ".hidden", "c.gz"] {
        let line = format!("from {name}\n");
        file(&dir, name, if name.ends_with(".gz") { gzip(&line) } else { line.into_bytes() });
    }
    fs::create_dir(dir.path().join("subfolder")).unwrap();
    assert_eq!(read_all(&FileSource::lines(dir.path())).unwrap(), ["from a", "from b", "from c.gz"]);
    let both = FileSource::lines(dir.path().join("b")).and(dir.path().join("a"));
    assert_eq!(read_all(&both).unwrap(), ["from b", "from a"]);
}

#[test]
fn input_that_is_missing_is_named_with_the_way_out() {
    let dir = TempDir::new().unwrap();
    expect_input_error(FileSource::lines(dir.path().join("none")).discover(1), &["none", "check the path"]);
    expect_input_error(FileSource::lines(dir.path()).discover(1), &["holds no file", dir.path().to_str().unwrap()]);
    let zero = FileSource::lines(file(&dir, "input", "a")).split_bytes(0).discover(1);
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::Settings);
    let followed = FileSource::lines(file(&dir, "a.gz", gzip("a"))).follow(true).discover(1);
    assert_eq!(followed.unwrap_err().kind(), ErrorKind::Settings);
}

#[test]
fn a_file_that_was_replaced_is_not_read_on() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "input", "first\nsecond\nthird\n");
    let source = FileSource::lines(&path).split_bytes(8);
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    assert_eq!(poll_one(&mut reader).unwrap().0.as_deref(), Some("first"));
    let splits = reader.snapshot();
    file(&dir, "input", "other\nsecond\nthird\n");
    expect_input_error(source.reader(splits.clone()), &["input", "no longer the file", "start the job fresh"]);
    file(&dir, "input", "first\nsecond\n");
    expect_input_error(source.reader(splits.clone()), &["input", "no longer the file", "it has 13 bytes"]);
    fs::remove_file(&path).unwrap();
    expect_input_error(source.reader(splits.clone()), &["input", "check that it exists"]);
    // It may have grown, though: only what was there at the start is divided into ranges.
    file(&dir, "input", "first\nsecond\nthird\nfourth\n");
    assert_eq!(drain(&mut source.reader(splits).unwrap()).unwrap().0, ["second", "third"]);
}

#[test]
fn a_file_that_is_truncated_while_it_is_read_is_an_error() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "input", "line\n".repeat(200_000));
    let source = FileSource::lines(&path);
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    poll_one(&mut reader).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(300_000).unwrap();
    expect_input_error(drain(&mut reader), &["input", "it ends at byte 300000, before 1000000"]);
}

#[test]
fn a_file_that_was_read_to_its_end_may_be_removed() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "input", "a\nb");
    let source = FileSource::lines(&path);
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    drain(&mut reader).unwrap();
    let splits = reader.snapshot();
    assert_eq!(splits.len(), 1, "also what is read to the end is in the snapshot");
    fs::remove_file(&path).unwrap();
    assert_eq!(drain(&mut source.reader(stored(splits)).unwrap()).unwrap(), (vec![], SourceStatus::End));
}

#[test]
fn a_followed_file_may_grow() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "log", "");
    let source = FileSource::lines(&path).follow(true);
    let mut reader = source.reader(source.discover(4).unwrap()).unwrap();
    let expect = |reader: &mut FileReader, lines: &[&str]| {
        let (read, status) = drain(reader).unwrap();
        assert_eq!(read, lines);
        assert!(matches!(status, SourceStatus::Idle(_)));
    };
    expect(&mut reader, &[]);
    append(&path, "one\ntw");
    expect(&mut reader, &["one"]);
    append(&path, "o");
    expect(&mut reader, &[]);
    // The beginning of a line is not lost when the job is restored.
    let mut reader = source.reader(stored(reader.snapshot())).unwrap();
    expect(&mut reader, &[]);
    append(&path, "\nthree\n");
    expect(&mut reader, &["two", "three"]);
}

#[test]
fn several_followed_files_are_read_in_turns() {
    let dir = TempDir::new().unwrap();
    file(&dir, "a", "a\n".repeat(2000));
    let quiet = file(&dir, "b", "b\n");
    let source = FileSource::lines(dir.path()).follow(true);
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    let mut output = SourceOutput::default();
    reader.poll(&mut output).unwrap();
    output.take();
    reader.poll(&mut output).unwrap();
    assert_eq!(output.take().records().first().map(String::as_str), Some("b"), "a busy file keeps another waiting");
    drain(&mut reader).unwrap();
    append(&quiet, "more\n");
    assert_eq!(drain(&mut reader).unwrap().0, ["more"]);
}

#[test]
fn a_followed_file_that_is_truncated_replaced_or_removed_is_an_error() {
    let dir = TempDir::new().unwrap();
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 4] = [
        ("it has 2 bytes", |path| fs::write(path, "o\n").unwrap()),
        ("begins with other bytes", |path| fs::write(path, "1234567890").unwrap()),
        ("another file took its place", |path| {
            fs::rename(path, path.with_extension("1")).unwrap();
            fs::write(path, "one\ntwo\n").unwrap();
        }),
        ("check that it exists", |path| fs::remove_file(path).unwrap()),
    ];
    for (message, change) in changes {
        let path = file(&dir, "log", "");
        let source = FileSource::lines(&path).follow(true);
        let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
        drain(&mut reader).unwrap();
        append(&path, "one\ntw");
        drain(&mut reader).unwrap();
        change(&path);
        expect_input_error(drain(&mut reader), &["log", message]);
    }
}

#[test]
fn a_followed_file_must_not_lose_the_beginning_of_a_line() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "log", "line\n".repeat(1000));
    let source = FileSource::lines(&path).follow(true);
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    append(&path, "the begin");
    drain(&mut reader).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(5003).unwrap();
    expect_input_error(drain(&mut reader), &["log", "it has 5003 bytes, after 5009 had been read"]);
}

#[test]
fn what_a_followed_file_began_with_is_remembered_across_a_restore() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "log", "");
    let source = FileSource::lines(&path).follow(true);
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    drain(&mut reader).unwrap();
    append(&path, "one\ntwo\n");
    drain(&mut reader).unwrap();
    let splits = stored(reader.snapshot());
    fs::write(&path, "eins\nzwei\ndrei\n").unwrap();
    expect_input_error(source.reader(splits), &["log", "begins with other bytes"]);
}
