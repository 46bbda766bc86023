//! A sink that adds up counts and says the sum once, when it is final.
//!
//! What has been added so far is writer state; the last checkpoint (or the end of a job without checkpoints) turns it into a
//! committable.

use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater_core::CheckpointId;

use crate::probe::Probe;

/// Adds up the counts of (key, count) pairs.
pub struct SumSink {
    pub probe: Probe,
}

/// The part of one subtask.
pub struct SumWriter {
    subtask: u32,
    sum: u64,
    probe: Probe,
}

impl Sink for SumSink {
    type Record = (u64, u64);
    type Writer = SumWriter;

    fn open(&self, context: &SinkContext, states: Vec<u64>) -> highwater::Result<SumWriter> {
        let sum = states.into_iter().fold(0, u64::wrapping_add);
        Ok(SumWriter { subtask: context.subtask.0, sum, probe: self.probe.clone() })
    }
}

impl SinkWriter for SumWriter {
    type Record = (u64, u64);
    /// Subtask and sum: so a second commit of the same changes nothing.
    type Committable = (u32, u64);
    type State = u64;

    #[inline]
    fn write(&mut self, (_, count): (u64, u64), _: i64) -> highwater::Result<()> {
        self.sum = self.sum.wrapping_add(count);
        Ok(())
    }

    fn flush(&mut self) -> highwater::Result<()> {
        self.probe.received();
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId, last: bool) -> highwater::Result<Prepared<(u32, u64), u64>> {
        let (committables, states) =
            if last { (vec![(self.subtask, self.sum)], Vec::new()) } else { (Vec::new(), vec![self.sum]) };
        Ok(Prepared { committables, states, durable: None })
    }

    fn commit(&mut self, committables: Vec<(u32, u64)>) -> highwater::Result<()> {
        committables.into_iter().for_each(|(subtask, sum)| self.probe.commit(subtask, sum));
        Ok(())
    }
}
