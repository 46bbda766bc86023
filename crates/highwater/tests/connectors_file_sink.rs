//! The file sink is exactly-once: whatever happens to the machine, however often it commits, whoever goes on with its states.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::connectors::{FileSink, FileSource, FileWriter, PartFile};
use highwater_core::{CheckpointId, Clock, Error, ErrorKind, Parallelism, Result, SubtaskIndex};
use highwater_runtime::batch::NO_TIME;
use highwater_runtime::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater_runtime::source::{Source, SourceOutput, SourceReader};
use highwater_state::Data;
use highwater_storage::disk::{Disk, RealDisk};
use highwater_testing::{SimulatedDisk, SyncEffect};
use tempfile::TempDir;

type Lines = FileSink<u64, fn(&u64, &mut Vec<u8>)>;
type Writer = FileWriter<u64, fn(&u64, &mut Vec<u8>)>;

#[derive(Default)]
struct ManualClock(Mutex<Duration>);

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

const DIR: &str = "/data/out";

fn sink(disk: &SimulatedDisk) -> Lines {
    FileSink::lines(DIR).disk(Arc::new(disk.clone()))
}

fn context(subtask: u32, parallelism: u32, first_epoch: u64) -> SinkContext {
    SinkContext {
        subtask: SubtaskIndex(subtask),
        parallelism: Parallelism::new(parallelism).unwrap(),
        first_epoch: CheckpointId(first_epoch),
        referenced: Arc::default(),
        clock: Arc::new(ManualClock::default()),
    }
}

fn encoded(part: &PartFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    part.encode(&mut bytes);
    bytes
}

fn open(sink: &Lines) -> Writer {
    sink.open(&context(0, 1, 1), vec![]).unwrap()
}

fn write(writer: &mut Writer, records: impl IntoIterator<Item = u64>) -> Result<()> {
    records.into_iter().try_for_each(|record| writer.write(record, NO_TIME))
}

/// Prepares and makes durable.
fn prepare(writer: &mut Writer, id: u64, last: bool) -> Prepared<PartFile, PartFile> {
    let mut prepared = writer.prepare(CheckpointId(id), last).unwrap();
    if let Some(durable) = prepared.durable.take() {
        durable().unwrap();
    }
    prepared
}

fn names(disk: &dyn Disk) -> Vec<String> {
    let entries = disk.list(Path::new(DIR)).unwrap();
    entries.into_iter().map(|entry| entry.name.into_string().unwrap()).filter(|name| !name.ends_with(".lock")).collect()
}

/// The records that anyone can see, sorted.
fn visible(disk: &dyn Disk) -> Vec<u64> {
    let finished = names(disk).into_iter().filter(|name| !name.starts_with('.'));
    let read = |name| String::from_utf8(disk.read(&Path::new(DIR).join::<String>(name)).unwrap()).unwrap();
    let mut records: Vec<u64> =
        finished.map(read).collect::<String>().lines().map(|line| line.parse().unwrap()).collect();
    records.sort_unstable();
    records
}

fn expect_input_error<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error, though one with {parts:?} was due") };
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Input, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not all in: {text}");
}

#[test]
fn output_appears_with_its_checkpoint_and_not_before() {
    let disk = SimulatedDisk::new(0);
    let mut writer = open(&sink(&disk).suffix(".txt"));
    assert_eq!(names(&disk), [""; 0]);
    write(&mut writer, 0..10).unwrap();
    let first = prepare(&mut writer, 1, false);
    assert_eq!((first.committables.len(), first.states.len()), (0, 1));
    assert_eq!(names(&disk), [".part-0-1-0.txt.inprogress"]);
    write(&mut writer, 10..20).unwrap();
    let last = prepare(&mut writer, 2, true);
    assert_eq!((last.committables.len(), last.states.len()), (1, 0));
    assert_eq!(visible(&disk), [0; 0]);
    writer.commit(last.committables).unwrap();
    assert_eq!(names(&disk), ["part-0-1-0.txt"]);
    assert_eq!(visible(&disk), (0..20).collect::<Vec<_>>());
}

#[test]
fn committing_again_changes_nothing() {
    let disk = SimulatedDisk::new(0);
    let mut writer = open(&sink(&disk).roll_bytes(4));
    write(&mut writer, 0..10).unwrap();
    let prepared = prepare(&mut writer, 1, true);
    assert_eq!(prepared.committables.len(), 5);
    for _ in 0..3 {
        writer.commit(prepared.committables.clone()).unwrap();
        assert_eq!(visible(&disk), (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn files_roll_by_size_and_by_age() {
    let disk = SimulatedDisk::new(0);
    let clock = Arc::new(ManualClock::default());
    let sink = sink(&disk).roll_bytes(20).roll_interval(Duration::from_secs(10));
    let mut writer = sink.open(&SinkContext { clock: clock.clone(), ..context(0, 1, 1) }, vec![]).unwrap();
    write(&mut writer, 0..9).unwrap();
    assert_eq!(names(&disk).len(), 1);
    write(&mut writer, 9..10).unwrap();
    assert_eq!(names(&disk).len(), 1, "ten lines of two bytes have made it full, and there is no next one yet");
    write(&mut writer, 10..11).unwrap();
    assert_eq!(names(&disk).len(), 2);
    *clock.0.lock().unwrap() += Duration::from_secs(9);
    writer.flush().unwrap();
    write(&mut writer, 11..12).unwrap();
    assert_eq!(names(&disk).len(), 2);
    *clock.0.lock().unwrap() += Duration::from_secs(1);
    writer.flush().unwrap();
    let prepared = prepare(&mut writer, 1, false);
    assert_eq!(prepared.committables.iter().map(PartFile::len).collect::<Vec<_>>(), [20, 6]);
    assert_eq!(prepared.states, []);
    // A checkpoint looks at the age too: a source that says nothing sends no batches.
    write(&mut writer, 12..13).unwrap();
    *clock.0.lock().unwrap() += Duration::from_secs(10);
    assert_eq!(prepare(&mut writer, 2, false).committables.len(), 1);
    // Nothing written, nothing to commit.
    assert_eq!(prepare(&mut writer, 3, true).committables, []);
}

#[test]
fn a_record_may_have_no_bytes() {
    let disk = SimulatedDisk::new(0);
    let sink = FileSink::new(DIR, |_: &u64, _: &mut Vec<u8>| {}).disk(Arc::new(disk.clone()));
    let mut writer = sink.open(&context(0, 1, 1), vec![]).unwrap();
    writer.write(1, NO_TIME).unwrap();
    let prepared = writer.prepare(CheckpointId(1), false).unwrap();
    assert_eq!((prepared.committables, prepared.states), (vec![], vec![]));
    let prepared = writer.prepare(CheckpointId(2), true).unwrap();
    writer.commit(prepared.committables).unwrap();
    assert_eq!(names(&disk), [""; 0]);
}

/// A checkpoint as its storage keeps it: outside the machine that dies.
#[derive(Clone, Default)]
struct Checkpoint {
    position: u64,
    states: Vec<PartFile>,
    committables: Vec<PartFile>,
}

/// A job of numbered records and a file sink, with the runtime's rules of two-phase commit.
#[derive(Default)]
struct Job {
    completed: Checkpoint,
    last_id: u64,
}

const TOTAL: u64 = 120;
const RECORDS_PER_EPOCH: u64 = 17;

fn share<T: Clone>(all: &[T], subtask: u32, parallelism: u32) -> Vec<T> {
    all.iter().skip(subtask as usize).step_by(parallelism as usize).cloned().collect()
}

impl Job {
    /// One attempt: restores the last completed checkpoint and goes on up to record `until`, with a last checkpoint.
    fn attempt(&mut self, disk: &SimulatedDisk, parallelism: u32, until: u64) -> Result<()> {
        let mut writers = self.restore(disk, parallelism)?;
        let mut position = self.completed.position;
        let mut waiting = VecDeque::new();
        loop {
            let end = until.min(position + RECORDS_PER_EPOCH);
            self.last_id += 1;
            let (id, last) = (self.last_id, end == until);
            Self::write(&mut writers, position..end - (end - position) / 3)?;
            // The barrier is not at the end of what is written before it completes.
            let barrier = end - (end - position) / 3;
            let barrier = if last { Self::write(&mut writers, barrier..end).map(|()| end)? } else { barrier };
            let mut checkpoint = Checkpoint { position: barrier, ..Checkpoint::default() };
            let mut durable = Vec::new();
            for writer in &mut writers {
                let prepared = writer.prepare(CheckpointId(id), last)?;
                waiting.extend(prepared.committables);
                checkpoint.states.extend(prepared.states);
                durable.extend(prepared.durable);
            }
            checkpoint.committables = waiting.iter().cloned().collect();
            if !last {
                Self::write(&mut writers, barrier..end)?;
            }
            position = end;
            // Every third checkpoint is aborted, and what would have made it durable is forgotten.
            if id % 3 == 0 && !last {
                continue;
            }
            durable.into_iter().try_for_each(|durable| durable())?;
            self.completed = checkpoint;
            for (n, part) in waiting.drain(..).enumerate() {
                writers[n % parallelism as usize].commit(vec![part])?;
            }
            if last {
                return Ok(());
            }
        }
    }

    fn write(writers: &mut [Writer], records: std::ops::Range<u64>) -> Result<()> {
        records.into_iter().try_for_each(|record| {
            let writer = &mut writers[record as usize % writers.len()];
            writer.write(record, NO_TIME)?;
            writer.flush()
        })
    }

    fn restore(&mut self, disk: &SimulatedDisk, parallelism: u32) -> Result<Vec<Writer>> {
        // No epoch is used by two attempts.
        self.last_id += 1;
        let Checkpoint { states, committables, .. } = &self.completed;
        let referenced = Arc::new(states.iter().chain(committables).map(encoded).collect::<Vec<_>>());
        let open = |subtask| {
            let context = context(subtask, parallelism, self.last_id);
            let context = SinkContext { referenced: referenced.clone(), ..context };
            let mut writer = sink(disk).roll_bytes(40).open(&context, share(states, subtask, parallelism))?;
            writer.commit(share(committables, subtask, parallelism))?;
            Ok(writer)
        };
        (0..parallelism).map(open).collect()
    }

    /// Nothing is visible twice, and nothing that no completed checkpoint covers.
    fn check_visible(&self, disk: &SimulatedDisk) {
        if disk.metadata(Path::new(DIR)).is_err() {
            return;
        }
        let records = visible(disk);
        assert!(records.windows(2).all(|pair| pair[0] < pair[1]), "twice: {records:?}");
        assert!(records.last().is_none_or(|last| *last < self.completed.position), "uncovered: {records:?}");
    }

    /// Runs to the end, and looks whether every record is visible exactly once and nothing else is left.
    fn check_finish(mut self, disk: &SimulatedDisk, parallelism: u32) {
        self.attempt(disk, parallelism, TOTAL).unwrap();
        assert_eq!(visible(disk), (0..TOTAL).collect::<Vec<_>>());
        assert!(names(disk).iter().all(|name| !name.starts_with('.')), "left over: {:?}", names(disk));
    }
}

#[test]
fn after_a_crash_at_any_sync_every_record_is_visible_once() {
    let disk = SimulatedDisk::new(0);
    Job::default().check_finish(&disk, 2);
    let syncs = disk.syncs();
    assert!(syncs > 30, "{syncs} syncs are no test");
    for n in 1..=syncs {
        for (seed, effect) in [(n, SyncEffect::Took), (n + 1000, SyncEffect::Lost)] {
            let disk = SimulatedDisk::new(seed);
            disk.crash_at_sync(n, effect);
            let mut job = Job::default();
            job.attempt(&disk, 2, TOTAL).expect_err("the machine died");
            let disk = disk.reboot();
            job.check_visible(&disk);
            // And once more, early in the restored attempt, which has another parallelism.
            disk.crash_at_sync(1 + n % 7, effect);
            let finished = job.attempt(&disk, 1, TOTAL).is_ok();
            let disk = disk.reboot();
            job.check_visible(&disk);
            if finished {
                // Nobody will commit again.
                assert_eq!(visible(&disk), (0..TOTAL).collect::<Vec<_>>());
            } else {
                job.check_finish(&disk, 3);
            }
        }
    }
}

#[test]
fn what_was_committed_survives_also_if_nothing_follows() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        Job::default().check_finish(&disk, 2);
        assert_eq!(visible(&disk.reboot()), (0..TOTAL).collect::<Vec<_>>());
    }
}

#[test]
fn after_the_process_was_killed_every_record_is_visible_once() {
    // Everything that was written is still there: also what no checkpoint covers.
    for until in 1..TOTAL {
        let disk = SimulatedDisk::new(until);
        let mut job = Job::default();
        let mut writers = job.restore(&disk, 1).unwrap();
        Job::write(&mut writers, 0..until).unwrap();
        let abandoned = writers[0].prepare(CheckpointId(1), false).unwrap();
        job.last_id = 1;
        drop((abandoned, writers));
        job.check_finish(&disk.restart(), 2);
    }
}

#[test]
fn states_move_from_one_subtask_to_three_to_two() {
    let disk = SimulatedDisk::new(7);
    let mut job = Job::default();
    for parallelism in [1, 3, 2] {
        let mut writers = job.restore(&disk, parallelism).unwrap();
        let begin = job.completed.position;
        Job::write(&mut writers, begin..begin + 4).unwrap();
        job.last_id += 1;
        let mut checkpoint = Checkpoint { position: begin + 4, ..Checkpoint::default() };
        for writer in &mut writers {
            let prepared = prepare(writer, job.last_id, false);
            checkpoint.states.extend(prepared.states);
            checkpoint.committables.extend(prepared.committables);
        }
        job.completed = checkpoint;
        // What no checkpoint covers.
        Job::write(&mut writers, 1000..1010).unwrap();
    }
    assert_eq!((job.completed.position, job.completed.states.len()), (12, 2));
    job.check_finish(&disk, 2);
}

#[test]
fn a_restored_file_is_cut_and_never_appended_to() {
    let disk = SimulatedDisk::new(0);
    let sink = sink(&disk);
    let mut writer = open(&sink);
    write(&mut writer, 0..5).unwrap();
    let checkpoint = prepare(&mut writer, 1, false);
    write(&mut writer, 5..100).unwrap();
    prepare(&mut writer, 2, false);
    drop(writer);
    for epoch in [3, 4] {
        // The second time its checkpoint is restored again, after a later one had committed the file.
        let referenced = Arc::new(checkpoint.states.iter().map(encoded).collect());
        let context = SinkContext { referenced, ..context(0, 1, epoch) };
        let mut writer = sink.open(&context, checkpoint.states.clone()).unwrap();
        write(&mut writer, 5..10).unwrap();
        let prepared = prepare(&mut writer, epoch, false);
        assert_eq!((&prepared.committables, prepared.states.len()), (&checkpoint.states, 1));
        writer.commit(prepared.committables).unwrap();
        assert_eq!(visible(&disk), (0..5).collect::<Vec<_>>());
    }
}

#[test]
fn a_checkpoint_older_than_the_output_is_refused() {
    let disk = SimulatedDisk::new(0);
    let sink = sink(&disk);
    let mut writer = open(&sink);
    write(&mut writer, 0..5).unwrap();
    let first = prepare(&mut writer, 1, false);
    write(&mut writer, 5..10).unwrap();
    let second = prepare(&mut writer, 2, true);
    writer.commit(second.committables).unwrap();
    drop(writer);
    expect_input_error(
        sink.open(&context(0, 1, 3), first.states),
        &["part-0-1-0 already holds 20 bytes, but 10", "restore that one"],
    );
}

#[test]
fn output_that_was_taken_away_before_it_was_finished_is_an_error_with_a_way_out() {
    let disk = SimulatedDisk::new(0);
    let mut writer = open(&sink(&disk));
    write(&mut writer, 0..5).unwrap();
    let prepared = prepare(&mut writer, 1, true);
    writer.commit(prepared.committables.clone()).unwrap();
    disk.remove_file(&Path::new(DIR).join("part-0-1-0")).unwrap();
    expect_input_error(writer.commit(prepared.committables.clone()), &["part-0-1-0 is gone", "create an empty file"]);
    disk.create_new(&Path::new(DIR).join("part-0-1-0")).unwrap();
    writer.commit(prepared.committables).unwrap();
    assert_eq!(visible(&disk), [0; 0]);
}

#[test]
fn a_pending_file_of_another_length_is_not_published() {
    let disk = SimulatedDisk::new(0);
    let mut writer = open(&sink(&disk));
    write(&mut writer, 0..5).unwrap();
    let prepared = prepare(&mut writer, 1, true);
    disk.truncate(&Path::new(DIR).join(".part-0-1-0.inprogress"), 7).unwrap();
    expect_input_error(writer.commit(prepared.committables), &["part-0-1-0", "7 bytes instead of 10"]);
    assert_eq!(visible(&disk), [0; 0]);
}

#[test]
fn only_leftovers_of_earlier_attempts_are_swept() {
    let disk = SimulatedDisk::new(0);
    drop(open(&sink(&disk)));
    let (left, kept) = (
        [".part-0-4-0.inprogress", ".part-9-1-12.inprogress"],
        [
            ".hidden",
            ".other-0-1-0.inprogress",
            ".part-0-1-0.csv.inprogress",
            ".part-0-5-0.inprogress",
            ".part-1-4-0.inprogress",
            "notes",
            "part-0-1-0",
        ],
    );
    for name in left.iter().chain(&kept) {
        disk.create_new(&Path::new(DIR).join(name)).unwrap();
    }
    // As a checkpoint stores it: the length of the name, the name, the length of the file.
    let referenced = [&[10, 0, 0, 0], b"part-1-4-0".as_slice(), &[0; 8]].concat();
    let context = |subtask| SinkContext { referenced: Arc::new(vec![referenced.clone()]), ..context(subtask, 2, 5) };
    sink(&disk).open(&context(1), vec![]).unwrap();
    assert_eq!(names(&disk).len(), left.len() + kept.len(), "one subtask sweeps for all");
    sink(&disk).open(&context(0), vec![]).unwrap();
    assert_eq!(names(&disk), kept);
}

#[test]
fn a_fresh_job_adds_to_the_output_of_an_earlier_one() {
    let disk = SimulatedDisk::new(0);
    for run in 0..3 {
        let mut writer = open(&sink(&disk));
        write(&mut writer, run * 10..run * 10 + 10).unwrap();
        let prepared = prepare(&mut writer, 1, true);
        writer.commit(prepared.committables).unwrap();
    }
    assert_eq!(visible(&disk), (0..30).collect::<Vec<_>>());
    assert_eq!(names(&disk), ["part-0-1-0", "part-0-1-1", "part-0-1-2"]);
}

#[test]
fn two_sinks_of_the_same_names_are_kept_apart() {
    let disk = SimulatedDisk::new(0);
    let running = open(&sink(&disk));
    expect_input_error(sink(&disk).open(&context(0, 1, 1), vec![]), &[DIR, "its own folder or prefix"]);
    sink(&disk).prefix("errors").open(&context(0, 1, 1), vec![]).unwrap();
    drop(running);
    sink(&disk).open(&context(0, 1, 1), vec![]).unwrap();
}

#[test]
fn a_full_disk_is_an_error_with_the_file_and_the_way_out() {
    let disk = SimulatedDisk::new(0).with_capacity(100_000);
    let mut writer = open(&sink(&disk).roll_bytes(10_000));
    let filled = write(&mut writer, 0..1_000_000);
    expect_input_error(filled, &["/data/out/.part-0-1-", "no space is left; free some"]);
    assert_eq!(visible(&disk), [0; 0]);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_when_the_sink_opens() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let unusable: Lines = FileSink::lines(file.join("out"));
    expect_input_error(unusable.open(&context(0, 1, 1), vec![]), &["cannot write output to", "file/out"]);
    let misnamed: Lines = FileSink::lines(dir.path()).prefix("a/b");
    assert_eq!(misnamed.open(&context(0, 1, 1), vec![]).unwrap_err().kind(), ErrorKind::Settings);
}

#[test]
fn a_folder_that_is_removed_under_way_is_an_error() -> Result<(), Error> {
    let dir = TempDir::new().unwrap();
    let sink: Lines = FileSink::lines(dir.path().join("out"));
    let mut writer = open(&sink);
    write(&mut writer, 0..5)?;
    RealDisk.remove_dir_all(&dir.path().join("out"))?;
    let prepared = writer.prepare(CheckpointId(1), true)?;
    expect_input_error(prepared.durable.unwrap()(), &["cannot write output to", "out"]);
    Ok(())
}

#[test]
fn what_is_unfinished_is_not_read_as_input() {
    let dir = TempDir::new().unwrap();
    let sink = FileSink::<String, _>::lines(dir.path()).roll_bytes(1);
    let mut writer = sink.open(&context(0, 1, 1), vec![]).unwrap();
    writer.write("visible".into(), NO_TIME).unwrap();
    let prepared = writer.prepare(CheckpointId(1), false).unwrap();
    prepared.durable.unwrap()().unwrap();
    writer.commit(prepared.committables).unwrap();
    writer.write("hidden".into(), NO_TIME).unwrap();
    let source = FileSource::lines(dir.path());
    let mut output = SourceOutput::default();
    source.reader(source.discover(1).unwrap()).unwrap().poll(&mut output).unwrap();
    assert_eq!(output.take().records(), ["visible"]);
}
