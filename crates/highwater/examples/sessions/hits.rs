//! The requests of the log, as records.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use highwater::prelude::*;

use super::earlier;
use super::log::Request;
use super::tally::{Tally, Totals};
use super::time::UnixSeconds;

/// The first status that is an error: of the client up to 499, of the server from there.
const FIRST_ERROR: u16 = 400;

/// One request of a client. Shown as `time,address,status,page`.
#[derive(Clone, Debug, Data)]
pub struct Hit {
    pub address: String,
    time: i64,
    status: u16,
    /// Empty if the request names none.
    pub page: String,
}

impl Hit {
    pub fn is_error(&self) -> bool {
        self.status >= FIRST_ERROR
    }
}

impl From<Request<'_>> for Hit {
    fn from(request: Request<'_>) -> Self {
        let target = request.request.split_ascii_whitespace().nth(1).unwrap_or_default();
        let page = target.split_once('?').map_or(target, |(page, _)| page);
        let UnixSeconds(time) = request.time;
        Hit { address: request.address.into(), time, status: request.status, page: page.into() }
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hit { address, time, status, page } = self;
        write!(f, "{},{address},{status},{page}", UnixSeconds(*time))
    }
}

/// When the request of a line was received, in ms since the Unix epoch. A line that is none has no time: `i64::MIN`.
pub fn timestamp_of(line: &str) -> i64 {
    Request::parse(line).map_or(i64::MIN, |request| request.time.0 * 1_000)
}

/// Reads lines into hits, and counts them.
#[derive(Clone)]
pub struct ReadHits {
    folders: Vec<PathBuf>,
    rejected: OutputTag<String>,
    tally: Tally,
}

impl ReadHits {
    /// For a job whose output goes into `folders`; lines that do not fit the format go to `rejected`.
    pub fn new(folders: impl Into<Vec<PathBuf>>, rejected: &OutputTag<String>, totals: &Arc<Totals>) -> Self {
        ReadHits { folders: folders.into(), rejected: rejected.clone(), tally: Tally::of(totals) }
    }
}

impl ProcessFunction<String> for ReadHits {
    type State = ();
    type Out = Hit;

    /// The results of an earlier run would be there twice.
    fn open(&mut self, (): &mut (), context: &OpenContext) -> UserResult {
        earlier::refuse_output(&self.folders, context)
    }

    fn process(&mut self, line: String, (): &mut (), context: &mut ProcessContext<'_, Hit>) -> UserResult {
        let line_bytes = line.len() + 1;
        match Request::parse(&line) {
            Some(request) => {
                self.tally.accept(line_bytes);
                context.collect(request.into());
            }
            None => {
                self.tally.reject(line_bytes);
                context.side_output(&self.rejected, line);
            }
        }
        Ok(())
    }
}
