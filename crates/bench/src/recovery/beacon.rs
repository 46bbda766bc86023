//! The end of a measured job: a sink that tells the benchmark of the records that come through, at most once a millisecond.

use std::net::SocketAddr;

use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater::{Error, ErrorKind};
use highwater_core::CheckpointId;

use super::signal::{Flow, Sender, Signal, monotonic_ns};

/// Between two datagrams, at least.
const PAUSE_NS: u64 = 1_000_000;

/// Takes pairs whose second part is a count.
pub struct Beacon {
    pub to: SocketAddr,
}

/// The sink of one worker in one attempt.
pub struct BeaconWriter {
    sender: Sender,
    flow: Flow,
    /// When a datagram was last sent.
    sent_ns: u64,
    /// Rows at the last look at the clock.
    timed_rows: u64,
}

impl Sink for Beacon {
    type Record = (u64, u64);
    type Writer = BeaconWriter;

    fn open(&self, context: &SinkContext, _: Vec<()>) -> highwater::Result<BeaconWriter> {
        let sender = Sender::open(self.to).map_err(|error| failed(self.to).with_source(error))?;
        let (pid, opened_ns) = (std::process::id(), monotonic_ns());
        let flow = Flow { pid, worker: context.subtask.0, opened_ns, ..Flow::default() };
        Ok(BeaconWriter { sender, flow, sent_ns: 0, timed_rows: 0 })
    }
}

fn failed(to: SocketAddr) -> Error {
    Error::new(ErrorKind::Input, format!("cannot tell the benchmark at {to} of the records"))
}

impl BeaconWriter {
    fn send(&mut self) -> highwater::Result<()> {
        let sent = self.sender.send(&Signal::Flow(self.flow));
        self.flow.sequence += 1;
        sent.map_err(|error| failed(self.sender.to()).with_source(error))
    }
}

impl SinkWriter for BeaconWriter {
    type Record = (u64, u64);
    type Committable = ();
    type State = ();

    #[inline]
    fn write(&mut self, (_, count): (u64, u64), _: i64) -> highwater::Result<()> {
        self.flow.rows += 1;
        self.flow.new_keys += u64::from(count == 1);
        self.flow.sum = self.flow.sum.wrapping_add(count);
        Ok(())
    }

    /// A batch without records is no flow.
    fn flush(&mut self) -> highwater::Result<()> {
        if self.flow.rows == self.timed_rows {
            return Ok(());
        }
        self.timed_rows = self.flow.rows;
        self.flow.at_ns = monotonic_ns();
        if self.flow.at_ns < self.sent_ns + PAUSE_NS {
            return Ok(());
        }
        self.sent_ns = self.flow.at_ns;
        self.send()
    }

    /// The last datagram has what came after the one before.
    fn prepare(&mut self, _: CheckpointId, last: bool) -> highwater::Result<Prepared<(), ()>> {
        if last {
            self.send()?;
        }
        Ok(Prepared::default())
    }

    fn commit(&mut self, _: Vec<()>) -> highwater::Result<()> {
        Ok(())
    }
}
