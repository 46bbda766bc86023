//! The key-group exchange: every record to the subtask that owns its key group, with counted flow control.
//!
//! The sender hashes each key once, looks up the owner of its key group, and gathers one [`KeyedBatch`] per target; timely's
//! exchange then moves whole batches ([`Route`]). Rows are counted *per pair of sender and target*: the target returns cumulative
//! consumed-counts over a channel of their own, and a sender with a full pair leaves its input unread.
//!
//! Why per pair: what waits in a target's stash counts as not consumed. A fast sender that is an epoch ahead is held back by its
//! own waiting rows, while the slow one, for whose barrier everybody waits, still has room. One count per target would deadlock
//! exactly there.
//!
//! Invariant I6: the rows between a sender and a target are bounded by the window the target grants, which follows what the target
//! consumes in about 100 ms ([`Window`]), plus one input batch.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use highwater_core::{KeyHash, MaxParallelism, Parallelism};
use highwater_state::Key;
use serde::{Deserialize, Serialize};
use timely::Bincode;
use timely::communication::{Pull, Push};
use timely::dataflow::Scope;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::operators::Capability;
use timely::progress::Stamp;

use crate::batch::{BATCH_ROWS, KeyedBatch};
use crate::mark::Mark;

/// Moves batches that know their target.
pub struct Route;

impl<K: Key, R: 'static> Distributor<KeyedBatch<K, R>> for Route {
    fn partition<T: Clone, P: Push<Message<T, KeyedBatch<K, R>>>>(
        &mut self,
        batch: &mut KeyedBatch<K, R>,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let target = batch.to as usize;
        Message::push_at(batch, stamp.clone(), &mut pushers[target]);
    }

    fn flush<T: Clone, P: Push<Message<T, KeyedBatch<K, R>>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

/// What a target tells a sender: how many of its rows it has consumed so far, and how many may be on the way.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Credit {
    target: u32,
    consumed: u64,
    window: u64,
}

/// Rows that may be on the way over one pair before its target has said what it consumes.
const FIRST_WINDOW_ROWS: u64 = 32 * BATCH_ROWS as u64;
/// However slow the target, so that a sender can fill a batch while another is processed.
const MIN_WINDOW_ROWS: u64 = 2 * BATCH_ROWS as u64;
/// However fast the target, so that memory stays bounded.
const MAX_WINDOW_ROWS: u64 = 256 * BATCH_ROWS as u64;
/// How long what is on the way should take to consume.
const WINDOW_TIME: Duration = Duration::from_millis(100);

type CreditPusher = Box<dyn Push<Bincode<Credit>>>;
type CreditPuller = Box<dyn Pull<Bincode<Credit>>>;

/// Makes the channel over which the targets of one exchange edge return credit to its senders.
///
/// `sender_address` is the address of the sending operator: timely schedules it when credit arrives.
pub(crate) fn credit_channel(scope: &Scope<'_, Mark>, sender_address: Rc<[usize]>) -> (Granted, Grants) {
    let worker = scope.worker();
    let (pushers, puller) = worker.allocate::<Bincode<Credit>>(worker.new_identifier(), sender_address);
    let pairs = vec![Pair::default(); worker.peers()];
    let grants = Grants { pushers, pairs: vec![Window::default(); worker.peers()], target: worker.index() as u32 };
    (Granted { puller, pairs }, grants)
}

/// One pair as its sender sees it.
#[derive(Clone, Debug)]
struct Pair {
    sent: u64,
    consumed: u64,
    window: u64,
}

impl Default for Pair {
    fn default() -> Self {
        Pair { sent: 0, consumed: 0, window: FIRST_WINDOW_ROWS }
    }
}

/// The sender's end of an exchange edge's accounting.
pub(crate) struct Granted {
    puller: CreditPuller,
    pairs: Vec<Pair>,
}

impl Granted {
    /// Reads the credit that has arrived; whether every pair has room.
    pub fn has_room(&mut self) -> bool {
        while let Some(credit) = self.puller.pull() {
            let pair = &mut self.pairs[credit.target as usize];
            // Cumulative, so a repeated or late message does no harm.
            pair.consumed = pair.consumed.max(credit.consumed);
            pair.window = credit.window;
        }
        self.pairs.iter().all(|pair| pair.sent - pair.consumed < pair.window)
    }

    /// Says that `rows` are on their way to worker `target`.
    pub fn sent(&mut self, target: u32, rows: usize) {
        self.pairs[target as usize].sent += rows as u64;
    }
}

/// One pair as its target sees it, with the window that follows the target's pace.
#[derive(Clone, Debug)]
struct Window {
    consumed: u64,
    reported: u64,
    rows: u64,
    /// When the pace was last measured, and `consumed` then.
    measured: Option<(Duration, u64)>,
}

impl Default for Window {
    fn default() -> Self {
        Window { consumed: 0, reported: 0, rows: FIRST_WINDOW_ROWS, measured: None }
    }
}

impl Window {
    /// Accounts for consumed rows; whether the sender should be told.
    fn consume(&mut self, rows: usize) -> bool {
        self.consumed += rows as u64;
        self.consumed - self.reported >= self.rows / 4
    }

    /// Half the old window, half what is consumed in [`WINDOW_TIME`].
    fn follow_pace(&mut self, now: Duration) {
        let Some((then, consumed)) = self.measured else {
            self.measured = Some((now, self.consumed));
            return;
        };
        let elapsed = now.saturating_sub(then).max(Duration::from_micros(100));
        let pace = (self.consumed - consumed) as f64 / elapsed.as_secs_f64();
        let wanted = (pace * WINDOW_TIME.as_secs_f64()) as u64;
        self.rows = ((self.rows + wanted) / 2).clamp(MIN_WINDOW_ROWS, MAX_WINDOW_ROWS);
        self.measured = Some((now, self.consumed));
    }
}

/// The target's end of an exchange edge's accounting.
pub(crate) struct Grants {
    pushers: Vec<CreditPusher>,
    pairs: Vec<Window>,
    target: u32,
}

impl Grants {
    /// Says that `rows` from worker `from` are dealt with; `now` is monotonic time.
    pub fn consumed(&mut self, from: u32, rows: usize, now: impl FnOnce() -> Duration) {
        let pair = &mut self.pairs[from as usize];
        if pair.consume(rows) {
            pair.follow_pace(now());
            pair.reported = pair.consumed;
            let credit = Credit { target: self.target, consumed: pair.consumed, window: pair.rows };
            self.pushers[from as usize].push(&mut Some(Bincode::from(credit)));
            self.pushers[from as usize].done();
        }
    }
}

/// Batches that were processed, kept for their memory: what a worker receives serves for what it sends next.
pub(crate) struct Pool<K, T>(Rc<RefCell<Vec<KeyedBatch<K, T>>>>);

/// Batches that a pool keeps: more than a worker has under way when it is not held up.
const POOL_BATCHES: usize = 64;

impl<K, T> Clone for Pool<K, T> {
    fn clone(&self) -> Self {
        Pool(Rc::clone(&self.0))
    }
}

impl<K, T> Pool<K, T> {
    pub fn new() -> Self {
        Pool(Rc::default())
    }

    fn take(&self, from: u32, to: u32) -> KeyedBatch<K, T> {
        let mut batch = self.0.borrow_mut().pop().unwrap_or_default();
        batch.readdress(from, to);
        batch
    }

    pub fn give(&self, batch: KeyedBatch<K, T>) {
        let mut batches = self.0.borrow_mut();
        if batches.len() < POOL_BATCHES {
            batches.push(batch);
        }
    }
}

/// Gathers records into batches for the owners of their key groups and sends them.
pub(crate) struct Partitioner<K: Key, T: 'static> {
    max_parallelism: MaxParallelism,
    /// Owner of each key group.
    owners: Vec<u16>,
    batches: Vec<KeyedBatch<K, T>>,
    port: Output<Mark, KeyedBatch<K, T>>,
    capability: Option<Capability<Mark>>,
    granted: Granted,
    pool: Pool<K, T>,
}

impl<K: Key, T: 'static> Partitioner<K, T> {
    pub fn new(
        max_parallelism: MaxParallelism,
        worker: u32,
        parallelism: Parallelism,
        port: Output<Mark, KeyedBatch<K, T>>,
        granted: Granted,
        pool: Pool<K, T>,
    ) -> Self {
        let owners = max_parallelism.all().iter().map(|group| max_parallelism.owner(group, parallelism).0 as u16);
        let batches = (0..parallelism.count()).map(|target| KeyedBatch::addressed(worker, target));
        Partitioner {
            max_parallelism,
            owners: owners.collect(),
            batches: batches.collect(),
            port,
            capability: None,
            granted,
            pool,
        }
    }

    /// Whether every pair has room for another batch.
    pub fn has_room(&mut self) -> bool {
        self.granted.has_room()
    }

    #[inline]
    pub fn push(&mut self, key: K, record: T, time: i64) {
        let hash = key.key_hash();
        let target = self.target(hash);
        let batch = &mut self.batches[target];
        batch.push(hash, key, record, time);
        if batch.rows.len() >= BATCH_ROWS {
            self.send(target);
        }
    }

    #[inline]
    fn target(&self, hash: KeyHash) -> usize {
        self.owners[hash.key_group(self.max_parallelism).0 as usize] as usize
    }

    #[inline(never)]
    fn send(&mut self, target: usize) {
        let batch = &mut self.batches[target];
        if batch.rows.is_empty() {
            return;
        }
        let empty = self.pool.take(batch.from, batch.to);
        let mut batch = std::mem::replace(batch, empty);
        self.granted.sent(batch.to, batch.rows.len());
        let capability = self.capability.as_ref().expect("a record is emitted under a capability");
        self.port.activate().give(capability, &mut batch);
    }

    /// Sends what has been gathered.
    pub fn flush(&mut self) {
        (0..self.batches.len()).for_each(|target| self.send(target));
    }

    /// Sends later records under `capability`, unless the one in use is of the same epoch.
    pub fn carry(&mut self, capability: impl FnOnce() -> Capability<Mark>, epoch: u64) {
        if self.capability.as_ref().is_none_or(|current| current.time().epoch != epoch) {
            self.flush();
            self.capability = Some(capability());
        }
    }

    /// Sends what is left and gives up the capability.
    pub fn release(&mut self) {
        self.flush();
        self.capability = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_pace_of_the_target() {
        let mut window = Window::default();
        let mut now = Duration::ZERO;
        window.follow_pace(now);
        for _ in 0..20 {
            now += Duration::from_millis(100);
            window.consume(100);
            window.follow_pace(now);
        }
        assert_eq!(window.rows, MIN_WINDOW_ROWS, "a target of 1000 rows/s gets the smallest window");
        for _ in 0..20 {
            now += Duration::from_millis(10);
            window.consume(1_000_000);
            window.follow_pace(now);
        }
        assert_eq!(window.rows, MAX_WINDOW_ROWS);
    }

    #[test]
    fn credit_is_returned_before_the_window_is_used_up() {
        let mut window = Window { rows: MIN_WINDOW_ROWS, ..Window::default() };
        assert!(!window.consume(MIN_WINDOW_ROWS as usize / 4 - 1));
        assert!(window.consume(1));
    }
}
