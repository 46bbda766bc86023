//! What is at both ends of a measured query: a source and a sink that are watched, and sinks that drop rows or keep them.
//!
//! A measurement ends with the first failure, so nothing here has to survive one.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use highwater::Record;
use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater_core::CheckpointId;
use highwater_nexmark::{Pace, Row};

use crate::probe::Probe;

/// What all sinks have seen.
pub struct Seen {
    /// When rows are due, if their latency is measured.
    pace: Option<Arc<Pace>>,
    rows_out: AtomicU64,
    latencies_ns: Mutex<Vec<u64>>,
    rows: Mutex<Vec<String>>,
}

impl Seen {
    pub fn new(pace: Option<Arc<Pace>>) -> Self {
        Seen { pace, rows_out: AtomicU64::new(0), latencies_ns: Mutex::default(), rows: Mutex::default() }
    }

    pub fn rows_out(&self) -> u64 {
        self.rows_out.load(Ordering::Relaxed)
    }

    pub fn take_latencies(&self) -> Vec<u64> {
        std::mem::take(&mut self.latencies_ns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn take_rows(&self) -> Vec<String> {
        std::mem::take(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A source or a sink that does what it does, and tells when.
pub struct Watched<S> {
    inner: S,
    probe: Probe,
    seen: Arc<Seen>,
}

impl<S> Watched<S> {
    pub fn new(inner: S, probe: &Probe, seen: &Arc<Seen>) -> Self {
        Watched { inner, probe: probe.clone(), seen: Arc::clone(seen) }
    }
}

impl<S: Source> Source for Watched<S> {
    type Record = S::Record;
    type Split = S::Split;
    type Reader = WatchedReader<S::Reader>;

    fn discover(&self, parallelism: u32) -> highwater::Result<Vec<S::Split>> {
        self.inner.discover(parallelism)
    }

    fn reader(&self, splits: Vec<S::Split>) -> highwater::Result<Self::Reader> {
        let probe = (!splits.is_empty()).then(|| self.probe.clone());
        Ok(WatchedReader { inner: self.inner.reader(splits)?, probe })
    }
}

pub struct WatchedReader<R> {
    inner: R,
    /// Until the first record.
    probe: Option<Probe>,
}

impl<R: SourceReader> SourceReader for WatchedReader<R> {
    type Record = R::Record;
    type Split = R::Split;

    fn poll(&mut self, output: &mut SourceOutput<R::Record>) -> highwater::Result<SourceStatus> {
        if let Some(probe) = self.probe.take() {
            probe.begin();
        }
        self.inner.poll(output)
    }

    fn snapshot(&self) -> Vec<R::Split> {
        self.inner.snapshot()
    }
}

impl<S: Sink> Sink for Watched<S> {
    type Record = S::Record;
    type Writer = WatchedWriter<S::Writer>;

    fn open(
        &self,
        context: &SinkContext,
        states: Vec<<S::Writer as SinkWriter>::State>,
    ) -> highwater::Result<Self::Writer> {
        Ok(WatchedWriter {
            inner: self.inner.open(context, states)?,
            probe: self.probe.clone(),
            seen: Arc::clone(&self.seen),
            rows: 0,
            due_ns: Vec::new(),
            latencies_ns: Vec::new(),
        })
    }
}

pub struct WatchedWriter<W> {
    inner: W,
    probe: Probe,
    seen: Arc<Seen>,
    rows: u64,
    /// Of the batch that is being written.
    due_ns: Vec<u64>,
    latencies_ns: Vec<u64>,
}

impl<W: SinkWriter> SinkWriter for WatchedWriter<W> {
    type Record = W::Record;
    type Committable = W::Committable;
    type State = W::State;

    #[inline]
    fn write(&mut self, record: W::Record, time: i64) -> highwater::Result<()> {
        self.rows += 1;
        if let Some(pace) = &self.seen.pace {
            self.due_ns.push(u64::try_from(pace.due(time).as_nanos()).unwrap_or(u64::MAX));
        }
        self.inner.write(record, time)
    }

    fn flush(&mut self) -> highwater::Result<()> {
        if let Some(pace) = &self.seen.pace {
            let now_ns = u64::try_from(pace.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // What is early is of a window that the end of the input closes.
            self.latencies_ns.extend(self.due_ns.drain(..).filter_map(|due_ns| now_ns.checked_sub(due_ns)));
        }
        self.inner.flush()
    }

    fn prepare(&mut self, id: CheckpointId, last: bool) -> highwater::Result<Prepared<W::Committable, W::State>> {
        let prepared = self.inner.prepare(id, last)?;
        if last {
            self.probe.received();
            self.seen.rows_out.fetch_add(std::mem::take(&mut self.rows), Ordering::Relaxed);
            let mut all = self.seen.latencies_ns.lock().unwrap_or_else(PoisonError::into_inner);
            all.append(&mut self.latencies_ns);
        }
        Ok(prepared)
    }

    fn commit(&mut self, committables: Vec<W::Committable>) -> highwater::Result<()> {
        self.inner.commit(committables)
    }
}

/// Drops rows.
pub struct Discard<R>(PhantomData<fn(R)>);

impl<R> Discard<R> {
    pub fn new() -> Self {
        Discard(PhantomData)
    }
}

impl<R: Record> Sink for Discard<R> {
    type Record = R;
    type Writer = Discard<R>;

    fn open(&self, _: &SinkContext, _: Vec<()>) -> highwater::Result<Discard<R>> {
        Ok(Discard::new())
    }
}

impl<R: Record> SinkWriter for Discard<R> {
    type Record = R;
    type Committable = ();
    type State = ();

    #[inline]
    fn write(&mut self, row: R, _: i64) -> highwater::Result<()> {
        std::hint::black_box(row);
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId, _: bool) -> highwater::Result<Prepared<(), ()>> {
        Ok(Prepared::default())
    }

    fn commit(&mut self, _: Vec<()>) -> highwater::Result<()> {
        Ok(())
    }
}

/// Keeps the rows that are left in the end. Rows with the same key come from one subtask, so each writer can fold its own.
pub struct Table<R> {
    seen: Arc<Seen>,
    rows: PhantomData<fn(R)>,
}

impl<R> Table<R> {
    pub fn new(seen: &Arc<Seen>) -> Self {
        Table { seen: Arc::clone(seen), rows: PhantomData }
    }
}

impl<R: Row> Sink for Table<R> {
    type Record = R;
    type Writer = TableWriter<R>;

    fn open(&self, _: &SinkContext, _: Vec<()>) -> highwater::Result<TableWriter<R>> {
        Ok(TableWriter { seen: Arc::clone(&self.seen), rows: Vec::new(), keyed: HashMap::new() })
    }
}

pub struct TableWriter<R> {
    seen: Arc<Seen>,
    rows: Vec<R>,
    keyed: HashMap<String, R>,
}

impl<R: Row> SinkWriter for TableWriter<R> {
    type Record = R;
    type Committable = ();
    type State = ();

    fn write(&mut self, row: R, _: i64) -> highwater::Result<()> {
        match row.key() {
            Some(key) => drop(self.keyed.insert(key, row)),
            None => self.rows.push(row),
        }
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId, last: bool) -> highwater::Result<Prepared<(), ()>> {
        if last {
            let left = self.rows.drain(..).chain(self.keyed.drain().map(|(_, row)| row));
            let mut all = self.seen.rows.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(left.map(|row| row.to_string()));
        }
        Ok(Prepared::default())
    }

    fn commit(&mut self, _: Vec<()>) -> highwater::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Clone)]
    struct Count(Option<&'static str>, u64);

    impl fmt::Display for Count {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.1.fmt(f)
        }
    }

    impl Row for Count {
        fn key(&self) -> Option<String> {
            self.0.map(str::to_owned)
        }
    }

    #[test]
    fn a_row_takes_the_place_of_the_one_with_its_key_and_others_stay() {
        let seen = Arc::new(Seen::new(None));
        let mut table = TableWriter { seen: Arc::clone(&seen), rows: Vec::new(), keyed: HashMap::new() };
        for row in [Count(Some("a"), 1), Count(None, 2), Count(Some("b"), 3), Count(Some("a"), 4), Count(None, 2)] {
            table.write(row, 0).unwrap();
        }
        table.prepare(CheckpointId(1), false).unwrap();
        assert!(seen.take_rows().is_empty(), "more may come");
        table.prepare(CheckpointId(2), true).unwrap();
        let mut rows = seen.take_rows();
        rows.sort_unstable();
        assert_eq!(rows, ["2", "2", "3", "4"]);
    }
}
