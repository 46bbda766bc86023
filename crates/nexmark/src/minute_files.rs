//! The files that q10 writes: a folder for each minute of event time, and in it the files of a [`FileSink`].
//!
//! Each folder has a writer of its own, opened when the first row of its minute comes, and dropped when a checkpoint has nothing more
//! of it. So what holds for `FileSink` holds here: a file without a leading dot is complete, and has rows of completed checkpoints
//! only. Unlike Flink's sink it marks no folder as complete.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use highwater::connectors::{FileSink, FileWriter, PartFile};
use highwater::sink::{MakeDurable, Prepared, Sink, SinkContext, SinkWriter};
use highwater::state::Data;
use highwater::{Error, ErrorKind, Result};
use highwater_core::CheckpointId;

use crate::calendar::{Date, TimeOfDay, Timestamp, day_of, minute_of};
use crate::queries::Q10;

/// Writes bids to `dt=2015-07-15/hm=00%3A00` and so on, as lines of CSV, in a folder that is created if missing. Exactly-once.
#[derive(Clone, Debug)]
pub struct MinuteFiles {
    dir: PathBuf,
}

impl MinuteFiles {
    /// Writes below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        MinuteFiles { dir: dir.into() }
    }

    /// Opens the folder of a minute.
    fn open_minute(&self, minute: Minute, context: &SinkContext, states: Vec<PartFile>) -> Result<LineWriter> {
        FileSink::new(self.dir.join(minute.folder()), append_line as Append).suffix(".csv").open(context, states)
    }
}

type Append = fn(&Q10, &mut Vec<u8>);
type LineWriter = FileWriter<Q10, Append>;

fn append_line(bid: &Q10, line: &mut Vec<u8>) {
    let Q10 { auction, bidder, price, date_time, extra } = bid;
    let mut digits = itoa::Buffer::new();
    for number in [*auction, *bidder, *price] {
        line.extend_from_slice(digits.format(number).as_bytes());
        line.push(b',');
    }
    Timestamp(*date_time).append(line);
    line.push(b',');
    line.extend_from_slice(extra.as_bytes());
    line.push(b'\n');
}

/// Minutes since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Data)]
pub struct Minute(i64);

impl Minute {
    const MS: i64 = 60_000;

    fn of(date_time: i64) -> Self {
        Minute(date_time.div_euclid(Self::MS))
    }

    fn folder(self) -> String {
        let begins = self.0 * Self::MS;
        // A colon is escaped in names of partitions, as Hive does.
        let minute = TimeOfDay(minute_of(begins)).to_string().replace(':', "%3A");
        format!("dt={}/hm={minute}", Date(day_of(begins)))
    }
}

impl Sink for MinuteFiles {
    type Record = Q10;
    type Writer = MinuteWriter;

    fn open(&self, context: &SinkContext, states: Vec<(Minute, PartFile)>) -> Result<MinuteWriter> {
        let mut referenced = BTreeMap::<Minute, Vec<Vec<u8>>>::new();
        for mut encoded in context.referenced.iter().map(Vec::as_slice) {
            let minute = Minute::decode(&mut encoded).map_err(|error| {
                let problem = "the restored checkpoint holds no states of a sink of files by the minute under this uid";
                Error::new(ErrorKind::Incompatible, problem).with_source(error)
            })?;
            // What is left is the part file, as a `FileSink` stores it.
            referenced.entry(minute).or_default().push(encoded.to_vec());
        }
        let mut writer =
            MinuteWriter { files: self.clone(), context: context.clone(), referenced, minutes: BTreeMap::new() };
        let mut by_minute = BTreeMap::<Minute, Vec<PartFile>>::new();
        states.into_iter().for_each(|(minute, part)| by_minute.entry(minute).or_default().push(part));
        for (minute, parts) in by_minute {
            writer.open(minute, parts)?;
        }
        Ok(writer)
    }
}

/// Writes the files of one subtask.
pub struct MinuteWriter {
    files: MinuteFiles,
    context: SinkContext,
    /// What the restored checkpoint has in each folder.
    referenced: BTreeMap<Minute, Vec<Vec<u8>>>,
    minutes: BTreeMap<Minute, OpenMinute>,
}

/// A folder that is being written to.
struct OpenMinute {
    writer: LineWriter,
    /// Whether rows came since the last checkpoint.
    written: bool,
}

impl MinuteWriter {
    fn open(&mut self, minute: Minute, states: Vec<PartFile>) -> Result<()> {
        let referenced = Arc::new(self.referenced.get(&minute).cloned().unwrap_or_default());
        let context = SinkContext { referenced, ..self.context.clone() };
        let writer = self.files.open_minute(minute, &context, states)?;
        self.minutes.insert(minute, OpenMinute { writer, written: false });
        Ok(())
    }

    fn at(&mut self, minute: Minute) -> Result<&mut OpenMinute> {
        if !self.minutes.contains_key(&minute) {
            self.open(minute, Vec::new())?;
        }
        Ok(self.minutes.get_mut(&minute).expect("it is open, or was opened right now"))
    }
}

impl fmt::Debug for MinuteWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes: Vec<_> = self.minutes.keys().collect();
        f.debug_struct("MinuteWriter").field("files", &self.files).field("open", &minutes).finish_non_exhaustive()
    }
}

impl SinkWriter for MinuteWriter {
    type Record = Q10;
    type Committable = (Minute, PartFile);
    type State = (Minute, PartFile);

    fn write(&mut self, bid: Q10, time: i64) -> Result<()> {
        let open = self.at(Minute::of(bid.date_time))?;
        open.written = true;
        open.writer.write(bid, time)
    }

    fn flush(&mut self) -> Result<()> {
        self.minutes.values_mut().try_for_each(|open| open.writer.flush())
    }

    fn prepare(&mut self, id: CheckpointId, last: bool) -> Result<Prepared<Self::Committable, Self::State>> {
        let (mut all, mut durable) = (Prepared::default(), Vec::<MakeDurable>::new());
        let mut over = Vec::new();
        for (minute, open) in &mut self.minutes {
            let prepared = open.writer.prepare(id, last)?;
            let is_empty = prepared.states.is_empty() && prepared.committables.is_empty() && prepared.durable.is_none();
            if !std::mem::take(&mut open.written) && is_empty {
                over.push(*minute);
            }
            all.committables.extend(prepared.committables.into_iter().map(|part| (*minute, part)));
            all.states.extend(prepared.states.into_iter().map(|part| (*minute, part)));
            durable.extend(prepared.durable);
        }
        over.iter().for_each(|minute| drop(self.minutes.remove(minute)));
        all.durable = Some(Box::new(move || durable.into_iter().try_for_each(|make| make())));
        Ok(all)
    }

    fn commit(&mut self, committables: Vec<(Minute, PartFile)>) -> Result<()> {
        for (minute, part) in committables {
            self.at(minute)?.writer.commit(vec![part])?;
        }
        Ok(())
    }
}
