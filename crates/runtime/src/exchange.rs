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
//! consumes in about 100 ms ([`Incoming`]), plus one input batch.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use highwater_core::flow::{Credit, Incoming, Limits, Outgoing};
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

/// What a target tells a sender over their channel.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Report {
    target: u32,
    credit: Credit,
}

/// How many rows may be on the way over one pair.
const LIMITS: Limits = {
    let batch = BATCH_ROWS as u64;
    Limits { first: 32 * batch, min: 2 * batch, max: 256 * batch }
};

type CreditPusher = Box<dyn Push<Bincode<Report>>>;
type CreditPuller = Box<dyn Pull<Bincode<Report>>>;

/// Makes the channel over which the targets of one exchange edge return credit to its senders.
///
/// `sender_address` is the address of the sending operator: timely schedules it when credit arrives.
pub(crate) fn credit_channel(scope: &Scope<'_, Mark>, sender_address: Rc<[usize]>) -> (Granted, Grants) {
    let worker = scope.worker();
    let (pushers, puller) = worker.allocate::<Bincode<Report>>(worker.new_identifier(), sender_address);
    let pairs = vec![Outgoing::new(LIMITS); worker.peers()];
    let incoming = vec![Incoming::new(LIMITS); worker.peers()];
    let grants = Grants { pushers, pairs: incoming, target: worker.index() as u32 };
    (Granted { puller, pairs }, grants)
}

/// The sender's end of an exchange edge's accounting.
pub(crate) struct Granted {
    puller: CreditPuller,
    pairs: Vec<Outgoing>,
}

impl Granted {
    /// Reads the credit that has arrived; whether every pair has room.
    pub fn has_room(&mut self) -> bool {
        while let Some(report) = self.puller.pull() {
            self.pairs[report.target as usize].credited(report.credit);
        }
        self.pairs.iter().all(Outgoing::has_room)
    }

    /// Says that `rows` are on their way to worker `target`.
    pub fn sent(&mut self, target: u32, rows: usize) {
        self.pairs[target as usize].sent(rows);
    }
}

/// The target's end of an exchange edge's accounting.
pub(crate) struct Grants {
    pushers: Vec<CreditPusher>,
    pairs: Vec<Incoming>,
    target: u32,
}

impl Grants {
    /// Says that `rows` from worker `from` are dealt with; `now` is monotonic time.
    pub fn consumed(&mut self, from: u32, rows: usize, now: impl FnOnce() -> Duration) {
        if let Some(credit) = self.pairs[from as usize].consumed(rows, now) {
            let report = Report { target: self.target, credit };
            self.pushers[from as usize].push(&mut Some(Bincode::from(report)));
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
