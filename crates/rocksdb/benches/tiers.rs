//! Tables in two tiers over RocksDB, beside what they are made of: RocksDB alone with the same options, and the table
//! alone. Counts per key, u64 to u64, keys drawn evenly.
//!
//! ```sh
//! cargo bench -p highwater-rocksdb --bench tiers -- [budget in MiB, default 64] [rounds, default 5]
//! ```
//!
//! Each row is the median of some rounds, in which all take turns, so that what else the machine does concerns all.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, and is never replayed")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_core::{KeyGroup, MaxParallelism};
use highwater_rocksdb::RocksDBRowStores;
use highwater_state::spill::{KeyBatch, RowBatch, RowStore, RowStoreFactory};
use highwater_state::tier::{Failure, MemoryBudget, Relief, TieredTables};
use highwater_state::{Data, Plain};

const BATCH: usize = 1024;
const GROUPS: u32 = 128;
/// What a row takes of a table: 24 bytes in a bucket of 64 with three, about two thirds full.
const ROW_BYTES: usize = 32;
/// How long one of them works in a round.
const TURN: Duration = Duration::from_millis(1500);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Counts the keys of a batch.
type Work = Box<dyn FnMut(&[u64])>;

/// One that takes turns.
struct Contender {
    name: String,
    work: Work,
    keys: u64,
    rates: Vec<f64>,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let budget = numbers.next().unwrap_or(64) << 20;
    let rounds = numbers.next().unwrap_or(5);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Each has memory of its own for RocksDB, a quarter of the budget beside a table.
    let stores = |bytes| Arc::new(RocksDBRowStores::new(folder.path(), bytes).expect("the folder can be used"));
    let (whole, quarter) = (|| stores(budget), || stores(budget / 4));
    let (few, many) = ((budget / ROW_BYTES / 2) as u64, (budget / ROW_BYTES * 10) as u64);
    let small = |name: &str, work| Contender { name: format!("{name}, {few} keys"), work, keys: few, rates: vec![] };
    let large = |name: &str, work| Contender { name: format!("{name}, {many} keys"), work, keys: many, rates: vec![] };
    let mut contenders = [
        small("table alone", table(usize::MAX, &quarter())),
        small("two tiers", table(budget / 4 * 3, &quarter())),
        small("RocksDB, get and put a row", rocksdb_by_row(&whole())),
        small("RocksDB, multi-get and write a batch", rocksdb_by_batch(&whole())),
        large("two tiers", table(budget / 4 * 3, &quarter())),
        large("RocksDB, get and put a row", rocksdb_by_row(&whole())),
        large("RocksDB, multi-get and write a batch", rocksdb_by_batch(&whole())),
    ];
    for contender in &mut contenders {
        load(contender);
    }
    let mut random = Random(7);
    for _ in 0..rounds {
        for contender in &mut contenders {
            let rate = turn(contender, &mut random);
            contender.rates.push(rate);
        }
    }
    println!("budget {} MiB, {rounds} rounds, k rows/s: median (least to most)", budget >> 20);
    for Contender { name, mut rates, .. } in contenders {
        rates.sort_by(f64::total_cmp);
        let (least, median, most) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("{name:<55} {median:>9.0} ({least:.0} to {most:.0})");
    }
}

/// Inserts all keys, in no order.
fn load(contender: &mut Contender) {
    let began = Instant::now();
    let mut batch = Vec::with_capacity(BATCH);
    for number in 0..contender.keys {
        batch.push(key(number));
        if batch.len() == BATCH {
            (contender.work)(&batch);
            batch.clear();
        }
    }
    eprintln!("{}: loaded in {:.1} s", contender.name, began.elapsed().as_secs_f64());
}

fn key(number: u64) -> u64 {
    Random(number).next()
}

/// The rate in one turn, in thousands of rows a second.
fn turn(contender: &mut Contender, random: &mut Random) -> f64 {
    let (began, mut rows) = (Instant::now(), 0);
    let mut batch = vec![0; BATCH];
    while began.elapsed() < TURN {
        batch.iter_mut().for_each(|place| *place = key(random.next() % contender.keys));
        (contender.work)(&batch);
        rows += BATCH;
    }
    rows as f64 / began.elapsed().as_secs_f64() / 1e3
}

/// A table with as much memory as `budget`.
fn table(budget: usize, stores: &Arc<RocksDBRowStores>) -> Work {
    let max = MaxParallelism::new(GROUPS).expect("in bounds");
    let stores = Arc::clone(stores) as Arc<dyn RowStoreFactory>;
    let mut tables = match budget {
        usize::MAX => TieredTables::<u64, Plain<u64>>::in_memory(max, max.all()),
        budget => TieredTables::spilling(max, max.all(), &MemoryBudget::new(budget), stores, "bench"),
    };
    let mut hashes = Vec::new();
    Box::new(move |keys| {
        hashes.clear();
        hashes.extend(keys.iter().map(Data::key_hash));
        let done: Result<(), Failure<()>> = tables.for_each(keys, &hashes, |_, count| {
            count.0 += 1;
            Ok(())
        });
        done.expect("the store works");
        while tables.relieve().expect("the store works") == Relief::More {}
    })
}

fn group(key: u64) -> KeyGroup {
    key.key_hash().key_group(MaxParallelism::new(GROUPS).expect("in bounds"))
}

fn open(stores: &Arc<RocksDBRowStores>) -> Arc<dyn RowStore> {
    stores.open("bench").expect("a store opens")
}

fn count(row: &[u8]) -> u64 {
    u64::from_le_bytes(row.try_into().expect("eight bytes"))
}

/// What who knows nothing of batches does: a batch of one row each.
fn rocksdb_by_row(stores: &Arc<RocksDBRowStores>) -> Work {
    let mut work = rocksdb_by_batch(stores);
    Box::new(move |keys| keys.chunks(1).for_each(&mut work))
}

fn rocksdb_by_batch(stores: &Arc<RocksDBRowStores>) -> Work {
    let store = open(stores);
    let (mut looked_up, mut rows) = (KeyBatch::default(), RowBatch::default());
    let mut counts = vec![0; BATCH];
    Box::new(move |keys| {
        looked_up.clear();
        keys.iter().for_each(|key| looked_up.push(group(*key), |out| key.encode(out)));
        counts[..keys.len()].fill(0);
        let found = store.get_many(looked_up.sorted(), &mut |position, row| {
            counts[position] = count(row);
            Ok(())
        });
        found.expect("rows are read");
        rows.clear();
        // A key that comes twice in a batch is counted once here, which is less work than is due.
        for (position, _) in looked_up.sorted().iter() {
            let key = keys[position];
            rows.put(group(key), |out| key.encode(out), |out| (counts[position] + 1).encode(out));
        }
        store.write(rows.sorted()).expect("rows are written");
    })
}
