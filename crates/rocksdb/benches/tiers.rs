//! Tables in two tiers over RocksDB, beside what they are made of: RocksDB alone with the same options, and the table
//! alone, with as much memory as it takes. Counts per key, u64 to u64, keys drawn evenly.
//!
//! ```sh
//! cargo bench -p highwater-rocksdb --bench tiers -- [budget in MiB: 32] [state / budget: 10] [rounds: 3]
//! cargo bench -p highwater-rocksdb --bench tiers -- memory [budget in MiB: 256] [state / budget: 10] [seconds: 600]
//! ```
//!
//! The first compares. All begin with the same files, with a row for every key, and take turns in each round, so that what
//! else the machine does concerns all. What is compacted later is due to the rows of a turn as well, so a turn ends when
//! the process uses no processor any more. The second runs the two tiers alone and watches the memory of the process.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, and is never replayed")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_core::{KeyGroup, MaxParallelism};
use highwater_rocksdb::RocksDBRowStores;
use highwater_state::spill::{KeyBatch, LocalSnapshot, RowBatch, RowStore, RowStoreFactory};
use highwater_state::tier::{Failure, MemoryBudget, Relief, TieredTables};
use highwater_state::{Data, Plain};

const BATCH: usize = 1024;
/// Rows of a batch while the files are made that all begin with, and about how many are sorted at a time.
const LOADED: usize = 64 << 10;
const PART_KEYS: u64 = 4 << 20;
const GROUPS: u32 = 128;
/// What a row takes of a table: 24 bytes in a bucket of 64 with three, about two thirds full.
const ROW_BYTES: usize = 32;
/// What a row is in a store: key group, key, count.
const STORED_BYTES: f64 = 18.0;
/// How long one of them works in a round at least, and how many rows at least, as a part of all keys.
const TURN: Duration = Duration::from_secs(4);
const TURN_PART: u64 = 8;
/// Who uses no processor for so long has nothing left to do.
const IDLE: Duration = Duration::from_millis(100);

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
    name: &'static str,
    work: Work,
    /// Whether it is too slow for as many rows as the others do.
    is_slow: bool,
    turns: Vec<Turn>,
}

/// What the process did in one turn.
struct Turn {
    rows: f64,
    wall: Duration,
    cpu: Duration,
    written: u64,
    read: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (mode, numbers) = match arguments.split_first() {
        Some((first, rest)) if ["memory", "watch"].contains(&first.as_str()) => (first.as_str(), rest),
        _ => ("compare", &arguments[..]),
    };
    if let ("watch", [folder, budget, keys, seconds]) = (mode, numbers) {
        let number = |text: &str| text.parse::<f64>().expect("a number");
        return watch(Path::new(folder), number(budget) as usize, number(keys) as u64, number(seconds));
    }
    let number = |index: usize, default: f64| {
        numbers.get(index).map_or(default, |text| text.parse().expect("arguments are numbers"))
    };
    let is_memory = mode == "memory";
    let budget = (number(0, if is_memory { 256.0 } else { 32.0 }) as usize) << 20;
    let keys = (budget as f64 * number(1, 10.0)) as u64 / ROW_BYTES as u64;
    let folder = tempfile::tempdir().expect("a temporary folder");
    if is_memory {
        let loading = stores(folder.path(), budget / 4);
        let files = all_rows(&loading, keys);
        // In a process of its own, which has nothing from the loading.
        let child = std::env::current_exe().and_then(|this| {
            let [budget, keys] = [budget as u64, keys].map(|number| number.to_string());
            Command::new(this)
                .arg("watch")
                .arg(&files.folder)
                .args([budget, keys, number(2, 600.0).to_string()])
                .status()
        });
        assert!(child.expect("this program starts again").success(), "it has not come to its end");
    } else {
        compare(folder.path(), budget, keys, number(2, 3.0) as usize);
    }
}

fn compare(folder: &Path, budget: usize, keys: u64, rounds: usize) {
    let fits = keys as usize * ROW_BYTES <= budget / 4 * 3;
    let mut contenders = if fits { within_budget(folder, budget, keys) } else { beyond_budget(folder, budget, keys) };
    let mut random = Random(7);
    for round in 0..=rounds {
        for contender in &mut contenders {
            let turn = turn(contender, keys, &mut random);
            eprintln!("{}: {:.0} k rows/s", contender.name, turn.rate());
            // The first fills the memory.
            if round > 0 {
                contender.turns.push(turn);
            }
        }
    }
    println!("budget {} MiB, {keys} keys, {rounds} rounds: median (least to most)", budget >> 20);
    println!("{:<38}{:>28}{:>28}{:>12}{:>12}", "", "k rows/s", "CPU us a row", "written x", "read B/row");
    for Contender { name, turns, .. } in &contenders {
        let rate = spread(turns, Turn::rate);
        let cpu = spread(turns, |turn| turn.cpu.as_secs_f64() * 1e6 / turn.rows);
        let rows: f64 = turns.iter().map(|turn| turn.rows).sum();
        let sum = |of: fn(&Turn) -> u64| turns.iter().map(of).sum::<u64>() as f64 / rows;
        let (written, read) = (sum(|turn| turn.written) / STORED_BYTES, sum(|turn| turn.read));
        println!("{name:<38}{rate:>28}{cpu:>28}{written:>12.1}{read:>12.0}");
    }
}

/// State that stays in memory.
fn within_budget(folder: &Path, budget: usize, keys: u64) -> Vec<Contender> {
    let tables = spilling(budget / 4 * 3, &stores(folder, budget / 4));
    vec![Contender::new("table alone", table_alone(keys)), Contender::new("two tiers", loaded(tables, keys))]
}

/// State of which the most is in RocksDB. Each has memory of its own for that, a quarter of the budget beside a table.
fn beyond_budget(folder: &Path, budget: usize, keys: u64) -> Vec<Contender> {
    let stores = |bytes| stores(folder, bytes);
    let loading = stores(budget);
    let files = all_rows(&loading, keys);
    let by_row = Contender::new("RocksDB, get and put a row", rocksdb_by_row(&stores(budget), &files.folder));
    vec![
        Contender::new("table alone", table_alone(keys)),
        Contender::new("two tiers", two_tiers(budget / 4 * 3, &stores(budget / 4), &files.folder)),
        Contender::new("RocksDB, multi-get and write a batch", rocksdb_by_batch(&stores(budget), &files.folder)),
        Contender { is_slow: true, ..by_row },
    ]
}

impl Contender {
    fn new(name: &'static str, work: Work) -> Self {
        Contender { name, work, is_slow: false, turns: Vec::new() }
    }
}

fn stores(folder: &Path, bytes: usize) -> Arc<RocksDBRowStores> {
    Arc::new(RocksDBRowStores::new(folder, bytes).expect("the folder can be used"))
}

impl Turn {
    /// Thousands of rows a second.
    fn rate(&self) -> f64 {
        self.rows / self.wall.as_secs_f64() / 1e3
    }
}

fn spread(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> String {
    let mut values: Vec<f64> = turns.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let (least, median, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    let digits = if median < 100.0 { 2 } else { 0 };
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

/// The memory of the process beyond what it began with, ten times a second, with the two tiers over `files` at work.
fn watch(files: &Path, budget: usize, keys: u64, seconds: f64) {
    let before = resident();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stores = stores(folder.path(), budget / 4);
    let mut work = two_tiers(budget / 4 * 3, &stores, files);
    let duration = Duration::from_secs_f64(seconds);
    let (began, mut random, mut rows) = (Instant::now(), Random(7), 0_u64);
    let (mut batch, mut most, mut next) = (vec![0; BATCH], 0, Duration::ZERO);
    while began.elapsed() < duration {
        batch.iter_mut().for_each(|place| *place = key(random.next() % keys));
        work(&batch);
        rows += BATCH as u64;
        if began.elapsed() >= next {
            let now = resident().saturating_sub(before);
            most = most.max(now);
            if next.as_millis() % 10_000 == 0 {
                eprintln!(
                    "{} s: {} MiB, {} MiB at most, {} k rows",
                    next.as_secs(),
                    now >> 20,
                    most >> 20,
                    rows / 1_000
                );
            }
            next += Duration::from_millis(100);
        }
    }
    let percent = most as f64 * 100.0 / budget as f64;
    println!("budget {} MiB, {keys} keys: {} MiB at most, {percent:.0} %", budget >> 20, most >> 20);
}

/// Bytes of the process in memory, without those of files that are mapped there, such as the program: they may go at any time.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<usize>().ok()).expect("a number of KiB") << 10
}

/// Bytes that the process has written and read, whether or not from the disk.
fn transferred() -> (u64, u64) {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let value = |name| io.lines().find_map(|line| line.strip_prefix(name)).and_then(|value| value.parse().ok());
    (value("wchar: ").expect("a number"), value("rchar: ").expect("a number"))
}

/// What all threads have used of the processors.
fn cpu() -> Duration {
    // SAFETY: plain numbers, which the call fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let duration = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn key(number: u64) -> u64 {
    Random(number).next()
}

/// The files of a store with a row for every key, as after a compaction of all.
fn all_rows(stores: &Arc<RocksDBRowStores>, keys: u64) -> LocalSnapshot {
    let began = Instant::now();
    let (store, mut rows) = (stores.open("bench").expect("a store opens"), RowBatch::default());
    // Of some key groups at a time, so that it takes no memory to speak of.
    let parts = u32::try_from(keys / PART_KEYS).map_or(GROUPS, |parts| (parts + 1).next_power_of_two()).min(GROUPS);
    for part in 0..parts {
        let keys = (0..keys).map(|number| (group(key(number)), key(number).to_le_bytes()));
        let mut keys: Vec<_> = keys.filter(|(group, _)| u32::from(group.0) * parts / GROUPS == part).collect();
        keys.sort_unstable();
        for keys in keys.chunks(LOADED) {
            rows.clear();
            keys.iter().for_each(|(group, key)| rows.put(*group, |out| out.extend(key), |out| 0_u64.encode(out)));
            store.write(rows.sorted()).expect("rows are written");
        }
    }
    settle();
    eprintln!("{keys} rows written in {:.1} s", began.elapsed().as_secs_f64());
    store.snapshot().expect("a snapshot is made")
}

fn open(stores: &Arc<RocksDBRowStores>, files: &Path) -> Arc<dyn RowStore> {
    let fill = &mut |folder: &Path| {
        for file in std::fs::read_dir(files).expect("a folder of files") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), folder.join(file.file_name())).expect("a file is copied");
        }
        Ok(())
    };
    stores.restore("bench", fill).expect("a store opens")
}

fn turn(contender: &mut Contender, keys: u64, random: &mut Random) -> Turn {
    let (began, cpu_before, before) = (Instant::now(), cpu(), transferred());
    let (mut batch, mut rows) = (vec![0; BATCH], 0);
    while began.elapsed() < TURN || !contender.is_slow && rows < keys / TURN_PART {
        batch.iter_mut().for_each(|place| *place = key(random.next() % keys));
        (contender.work)(&batch);
        rows += BATCH as u64;
    }
    settle();
    let (cpu, wall, after) = (cpu() - cpu_before, began.elapsed() - IDLE, transferred());
    Turn { rows: rows as f64, wall, cpu, written: after.0 - before.0, read: after.1 - before.1 }
}

/// Waits until the process has no work left.
fn settle() {
    loop {
        let before = cpu();
        std::thread::sleep(IDLE);
        if cpu() - before < IDLE / 50 {
            return;
        }
    }
}

fn counting(mut tables: TieredTables<u64, Plain<u64>>) -> Work {
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

fn table_alone(keys: u64) -> Work {
    let max = MaxParallelism::new(GROUPS).expect("in bounds");
    loaded(TieredTables::in_memory(max, max.all()), keys)
}

/// With a row for every key, inserted in no order.
fn loaded(tables: TieredTables<u64, Plain<u64>>, keys: u64) -> Work {
    let mut work = counting(tables);
    let all: Vec<u64> = (0..keys).map(key).collect();
    all.chunks(BATCH).for_each(&mut work);
    work
}

/// Tables with as much memory as `budget`.
fn spilling(budget: usize, stores: &Arc<RocksDBRowStores>) -> TieredTables<u64, Plain<u64>> {
    let max = MaxParallelism::new(GROUPS).expect("in bounds");
    let factory = Arc::clone(stores) as Arc<dyn RowStoreFactory>;
    TieredTables::spilling(max, max.all(), &MemoryBudget::new(budget), factory, "bench")
}

fn two_tiers(budget: usize, stores: &Arc<RocksDBRowStores>, files: &Path) -> Work {
    let mut tables = spilling(budget, stores);
    tables.restore_store(open(stores, files));
    counting(tables)
}

fn group(key: u64) -> KeyGroup {
    key.key_hash().key_group(MaxParallelism::new(GROUPS).expect("in bounds"))
}

fn count(row: &[u8]) -> u64 {
    u64::from_le_bytes(row.try_into().expect("eight bytes"))
}

/// What who knows nothing of batches does: a batch of one row each.
fn rocksdb_by_row(stores: &Arc<RocksDBRowStores>, files: &Path) -> Work {
    let mut work = rocksdb_by_batch(stores, files);
    Box::new(move |keys| keys.chunks(1).for_each(&mut work))
}

fn rocksdb_by_batch(stores: &Arc<RocksDBRowStores>, files: &Path) -> Work {
    let store = open(stores, files);
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
