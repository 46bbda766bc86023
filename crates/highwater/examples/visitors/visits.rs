//! What is known of each client: declared as state, and kept up to date by a process function.

use std::io::Write;
use std::path::PathBuf;

use highwater::prelude::*;

use super::earlier;
use super::log::Request;
use super::time::UnixSeconds;

/// One request of a client.
#[derive(Clone, Debug, Data)]
pub struct Visit {
    pub address: String,
    bytes: u64,
    time: i64,
}

impl Visit {
    /// The request of a log line; gives the line back if it does not fit the format.
    pub fn of(mut line: String) -> Result<Self, String> {
        let Some(Request { address, time: UnixSeconds(time), bytes, .. }) = Request::parse(&line) else {
            return Err(line);
        };
        // The line begins with the address, so its memory serves for it.
        line.truncate(address.len());
        Ok(Visit { address: line, bytes, time })
    }
}

/// What is known of a client with one of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitCount {
    address: String,
    requests: u64,
    bytes: u64,
    last_time: UnixSeconds,
}

impl VisitCount {
    /// Appends the line `address,requests,bytes,last_time`. An address has no character that would need quotes.
    pub fn append_csv(&self, out: &mut Vec<u8>) {
        let VisitCount { address, requests, bytes, last_time } = self;
        writeln!(out, "{address},{requests},{bytes},{last_time}").expect("memory takes everything");
    }
}

/// The state of one client.
#[derive(KeyedState)]
pub struct Visitor {
    requests: ValueState<u64>,
    bytes: ValueState<u64>,
    /// The latest time stamp so far, in Unix seconds: lines are not in order.
    last_time: ValueState<i64>,
}

/// Counts the requests of each client.
#[derive(Clone)]
pub struct CountVisits {
    folders: Vec<PathBuf>,
}

impl CountVisits {
    /// For a job whose output goes into `folders`.
    pub fn into_folders(folders: impl Into<Vec<PathBuf>>) -> Self {
        CountVisits { folders: folders.into() }
    }
}

impl KeyedProcessFunction<String, Visit> for CountVisits {
    type State = Visitor;
    type Out = VisitCount;

    /// Counting from 1 again into a folder that holds the counts of an earlier run would give every request twice.
    fn open(&mut self, context: &OpenContext) -> UserResult {
        earlier::refuse_output(&self.folders, context)
    }

    fn process(&mut self, visit: Visit, state: &mut Visitor, out: &mut Context<'_, String, VisitCount>) -> UserResult {
        let requests = state.requests.get_or_default() + 1;
        let bytes = state.bytes.get_or_default().saturating_add(visit.bytes);
        let last_time = state.last_time.get().map_or(visit.time, |last| visit.time.max(*last));
        state.requests.set(requests);
        state.bytes.set(bytes);
        state.last_time.set(last_time);
        out.collect(VisitCount { address: visit.address, requests, bytes, last_time: UnixSeconds(last_time) });
        Ok(())
    }
}
