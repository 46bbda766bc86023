//! A yardstick: the same count on timely itself, with a hash map, and no state that could survive anything.
//!
//! 8192 rows a batch and 8 batches under way were the best of the settings that were tried.

use std::collections::VecDeque;

use hashbrown::HashMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Operator, Probe as _};
use timely::dataflow::{ProbeHandle, Scope, Stream};

use crate::Failure;
use crate::probe::Probe;
use crate::rows::{Rows, share};
use crate::run::Run;

const BATCH_ROWS: u64 = 8192;
const BATCHES_UNDER_WAY: usize = 8;

/// Runs the count once.
pub fn execute(run: &Run, probe: &Probe) -> Result<(), Failure> {
    let (run, probe) = (run.clone(), probe.clone());
    let workers = timely::execute(timely::Config::process(run.workers as usize), move |worker| {
        let index = worker.index() as u64;
        worker.dataflow::<u64, _, _>(|scope| {
            let passed = ProbeHandle::new();
            let rows = source(scope, index, &run, passed.clone(), probe.clone());
            count_and_sum(rows, index as u32, probe.clone(), &passed);
        });
    })?;
    workers.join().into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

fn source<'s>(
    scope: Scope<'s, u64>,
    index: u64,
    run: &Run,
    passed: ProbeHandle<u64>,
    probe: Probe,
) -> Stream<'s, u64, Vec<u64>> {
    let workers = u64::from(run.workers);
    let (mut left, mut rows) = (share(run.rows, index, workers), Rows::new(index, workers, run.keys));
    let mut builder = OperatorBuilder::new("rows".into(), scope);
    let (output, stream) = builder.new_output::<Vec<u64>>();
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<u64>>>::from(output);
    let activator = scope.activator_for(builder.operator_info().address);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        let mut under_way = VecDeque::new();
        probe.begin();
        move |_| {
            let Some(held) = capability.as_mut() else { return };
            while under_way.front().is_some_and(|time| !passed.less_equal(time)) {
                under_way.pop_front();
            }
            if under_way.len() < BATCHES_UNDER_WAY {
                let count = left.min(BATCH_ROWS);
                let mut output = output.activate();
                let mut session = output.session(&*held);
                for _ in 0..count {
                    session.give(rows.next_key());
                }
                session.flush();
                drop(session);
                drop(output);
                left -= count;
                under_way.push_back(*held.time());
                let next = *held.time() + 1;
                held.downgrade(&next);
            }
            if left == 0 {
                capability = None;
            }
            activator.activate();
        }
    });
    stream
}

fn count_and_sum(rows: Stream<'_, u64, Vec<u64>>, index: u32, probe: Probe, passed: &ProbeHandle<u64>) {
    let by_key = Exchange::new(|row: &u64| *row >> 32);
    let counts = rows.unary::<CapacityContainerBuilder<Vec<(u64, u64)>>, _, _, _>(by_key, "count", |_, _| {
        let mut counts = HashMap::<u64, u64>::new();
        move |input, output| {
            input.for_each(|time, rows| {
                let mut session = output.session(&time);
                for row in rows.drain(..) {
                    let count = counts.entry(row).or_insert(0);
                    *count += 1;
                    session.give((row, *count));
                }
            });
        }
    });
    let sums = counts.unary::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(Pipeline, "sum", move |_, _| {
        let mut total = Total { index, sum: 0, probe };
        move |input, _| {
            input.for_each(|_, counts| {
                total.sum = counts.drain(..).fold(total.sum, |sum, (_, count)| sum.wrapping_add(count));
                total.probe.received();
            });
        }
    });
    sums.probe_with(passed);
}

/// Says its sum when the dataflow has ended.
struct Total {
    index: u32,
    sum: u64,
    probe: Probe,
}

impl Drop for Total {
    fn drop(&mut self) {
        self.probe.commit(self.index, self.sum);
    }
}
