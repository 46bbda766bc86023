//! A yardstick: the same count as a loop over a hash map on each thread. Nothing is exchanged: each thread counts its own rows, which
//! have keys of their own if the number of keys is a multiple of that of threads, else the result would be another.

use hashbrown::HashMap;

use crate::Failure;
use crate::probe::Probe;
use crate::rows::{Rows, share};
use crate::run::Run;

/// As many rows at a time as a batch of Highwater has.
const BATCH_ROWS: usize = 1024;

/// Runs the count once.
pub fn execute(run: &Run, probe: &Probe) -> Result<(), Failure> {
    if !run.keys.is_multiple_of(u64::from(run.workers)) {
        return Err("the plain loop needs a number of keys that is a multiple of the workers".into());
    }
    std::thread::scope(|scope| {
        for index in 0..run.workers {
            scope.spawn(move || probe.commit(index, count(run, index, probe)));
        }
    });
    Ok(())
}

fn count(run: &Run, index: u32, probe: &Probe) -> u64 {
    probe.begin();
    let workers = u64::from(run.workers);
    let mut rows = Rows::new(u64::from(index), workers, run.keys);
    let mut left = share(run.rows, u64::from(index), workers);
    let mut counts = HashMap::<u64, u64>::new();
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let mut sum = 0u64;
    while left > 0 {
        let size = left.min(BATCH_ROWS as u64);
        batch.extend((0..size).map(|_| rows.next_key()));
        for row in batch.drain(..) {
            let count = counts.entry(row).or_insert(0);
            *count += 1;
            sum = sum.wrapping_add(*count);
        }
        left -= size;
    }
    probe.received();
    sum
}
