//! `state`: the state table alone, on one thread, without a job around it.
//!
//! Each operation goes over all keys in the same scattered order, in batches of a thousand as a task gets them. The yardstick is
//! a plain hash map with the same keys and values. A wrong result is a failure.

use std::time::Instant;

use hashbrown::HashMap;
use highwater::state::keyed::ttl::{TtlClocks, TtlTimeCharacteristic};
use highwater::state::table::{Chunk, KeyGroupTables, Scope};
use highwater::state::{Data, KeyedState, MapState, Plain, Ttl, ValueState};
use highwater_core::{KeyGroup, KeyGroupRange, KeyHash, MaxParallelism};
use serde::Serialize;

use crate::Failure;
use crate::cli::StateOptions;
use crate::rows::splitmix64;
use crate::statistics::Spread;

/// Keys in a batch.
const BATCH: usize = 1024;

/// Entries of each map in `map iterate`, which has a tenth of the keys.
const MAP_ENTRIES: u64 = 10;

/// One in so many keys changes before the incremental snapshot.
const CHANGED: u64 = 100;

/// A value of a given size.
trait Value: Data + Default {
    fn sized(bytes: usize) -> Self;
    /// Changes it, and keeps its size.
    fn touch(&mut self) -> u64;
}

impl Value for u64 {
    fn sized(_: usize) -> Self {
        0
    }

    #[inline]
    fn touch(&mut self) -> u64 {
        *self += 1;
        *self
    }
}

impl Value for Vec<u8> {
    fn sized(bytes: usize) -> Self {
        vec![0; bytes]
    }

    #[inline]
    fn touch(&mut self) -> u64 {
        let Some(first) = self.first_mut() else { return 0 };
        *first = first.wrapping_add(1);
        u64::from(*first)
    }
}

#[derive(KeyedState)]
struct Expiring {
    #[state(ttl = "1h")]
    count: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct Mapped {
    entries: MapState<u64, u64>,
}

/// One operation in one round.
struct Timing {
    operation: &'static str,
    seconds: f64,
    /// Rows, or entries of maps.
    items: u64,
    /// Encoded bytes, where there are any.
    bytes: u64,
}

/// One operation over all rounds.
#[derive(Serialize)]
struct Line {
    operation: &'static str,
    items: u64,
    million_items_per_second: Spread,
    milliseconds: Spread,
    bytes: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// If a result is wrong.
pub fn measure(options: &StateOptions) -> Result<(), Failure> {
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        rounds.push(match options.value_bytes {
            8 => round::<u64>(options)?,
            _ => round::<Vec<u8>>(options)?,
        });
    }
    let lines: Vec<Line> = (0..rounds[0].len()).filter_map(|index| line(&rounds, index)).collect();
    if options.json {
        println!("{}", serde_json::to_string(&lines)?);
        return Ok(());
    }
    println!(
        "{} keys, values of {} bytes, one thread; medians of {} rounds",
        options.keys, options.value_bytes, options.rounds
    );
    println!("{:<24} {:>12} {:>10} {:>10}", "", "M items/s", "ms", "MB");
    for Line { operation, million_items_per_second: rate, milliseconds, bytes, .. } in &lines {
        println!("{operation:<24} {:>12.2} {:>10.1} {:>10.1}", rate.median, milliseconds.median, *bytes as f64 / 1e6);
    }
    Ok(())
}

fn line(rounds: &[Vec<Timing>], index: usize) -> Option<Line> {
    let timings = || rounds.iter().map(|round| &round[index]);
    let Timing { operation, items, bytes, .. } = *timings().next()?;
    Some(Line {
        operation,
        items,
        million_items_per_second: Spread::of(timings().map(|timing| timing.items as f64 / timing.seconds / 1e6))?,
        milliseconds: Spread::of(timings().map(|timing| timing.seconds * 1e3))?,
        bytes,
    })
}

fn round<V: Value>(options: &StateOptions) -> Result<Vec<Timing>, Failure> {
    let keys: Vec<u64> = (0..options.keys).map(splitmix64).collect();
    let mut timings = Vec::new();
    hash_map::<V>(&keys, options.value_bytes, &mut timings);
    let max = MaxParallelism::new(options.max_parallelism)?;
    let mut table = KeyGroupTables::<u64, Plain<V>>::new(max, max.all());
    let initial = V::sized(options.value_bytes);
    timings.push(timed("put, new keys", options.keys, || {
        let touched = for_each(&mut table, &keys, |state| {
            state.0 = initial.clone();
            state.0.touch()
        });
        (touched, 0)
    }));
    timings.push(timed("put", options.keys, || (for_each(&mut table, &keys, |state| state.0.touch()), 0)));
    timings.push(timed("get", options.keys, || {
        let found = keys.iter().filter(|key| table.get(key.key_hash(), key).is_some()).count() as u64;
        (found, 0)
    }));
    let chunks = snapshots(&mut table, &keys, max, &mut timings)?;
    restores::<V>(&chunks, max, options.keys, &mut timings)?;
    map_iterate(&keys, max, &mut timings);
    expiring(&keys, max, &mut timings)?;
    Ok(timings)
}

/// Times `run`, which returns something the compiler must not leave out, and the bytes it made.
fn timed(operation: &'static str, items: u64, run: impl FnOnce() -> (u64, u64)) -> Timing {
    let began = Instant::now();
    let (result, bytes) = run();
    let seconds = began.elapsed().as_secs_f64();
    std::hint::black_box(result);
    Timing { operation, seconds, items, bytes }
}

fn hash_map<V: Value>(keys: &[u64], value_bytes: usize, timings: &mut Vec<Timing>) {
    let initial = V::sized(value_bytes);
    let mut map = HashMap::<u64, V>::new();
    let mut put = || keys.iter().map(|key| map.entry(*key).or_insert_with(|| initial.clone()).touch()).sum();
    timings.push(timed("hash map: put, new keys", keys.len() as u64, || (put(), 0)));
    timings.push(timed("hash map: put", keys.len() as u64, || (put(), 0)));
    let get = || keys.iter().filter(|key| map.contains_key(*key)).count() as u64;
    timings.push(timed("hash map: get", keys.len() as u64, || (get(), 0)));
}

fn for_each<S: KeyedState>(table: &mut KeyGroupTables<u64, S>, keys: &[u64], mut f: impl FnMut(&mut S) -> u64) -> u64 {
    let (mut sum, mut hashes) = (0u64, Vec::<KeyHash>::with_capacity(BATCH));
    for batch in keys.chunks(BATCH) {
        hashes.clear();
        hashes.extend(batch.iter().map(u64::key_hash));
        let done = table.for_each(batch, &hashes, |_, state| {
            sum = sum.wrapping_add(f(state));
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = done;
    }
    sum
}

/// A full snapshot, whose chunks are returned, and one of what changed afterwards.
fn snapshots<V: Value>(
    table: &mut KeyGroupTables<u64, Plain<V>>,
    keys: &[u64],
    max: MaxParallelism,
    timings: &mut Vec<Timing>,
) -> Result<Vec<Chunk>, Failure> {
    let mut chunks = Vec::new();
    timings.push(timed("snapshot", keys.len() as u64, || take(table, Scope::Full, &mut chunks)));
    let changed: Vec<u64> = keys.iter().step_by(CHANGED as usize).copied().collect();
    for_each(table, &changed, |state| state.0.touch());
    let mut changes = Vec::new();
    timings.push(timed("snapshot, 1 % changed", changed.len() as u64, || take(table, Scope::Changed, &mut changes)));
    let entries: u64 = changes.iter().map(|chunk| chunk.entries).sum();
    if entries != changed.len() as u64 {
        return Err(
            format!("{entries} entries in the incremental snapshot of {} changes ({max})", changed.len()).into()
        );
    }
    Ok(chunks)
}

fn take<V: Value>(table: &mut KeyGroupTables<u64, Plain<V>>, scope: Scope, chunks: &mut Vec<Chunk>) -> (u64, u64) {
    table.begin_snapshot(|_| scope);
    table.advance_snapshot(usize::MAX, &mut |chunk| chunks.push(chunk));
    (chunks.iter().map(|chunk| chunk.entries).sum(), chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum())
}

/// The same snapshot restored by one subtask, and by one of two.
fn restores<V: Value>(
    chunks: &[Chunk],
    max: MaxParallelism,
    keys: u64,
    timings: &mut Vec<Timing>,
) -> Result<(), Failure> {
    let half = KeyGroupRange::new(0..max.count().div_ceil(2));
    for (operation, range) in [("restore", max.all()), ("restore, half of it", half)] {
        let mut table = KeyGroupTables::<u64, Plain<V>>::new(max, range);
        let owned = |group: KeyGroup| range.contains(group);
        let chunks: Vec<&Chunk> = chunks.iter().filter(|chunk| owned(chunk.group)).collect();
        let items = chunks.iter().map(|chunk| chunk.entries).sum();
        let mut failed = None;
        timings.push(timed(operation, items, || {
            for chunk in &chunks {
                failed = failed.take().or(table.load(chunk.group, chunk.kind, &chunk.bytes).err());
            }
            (0, chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum())
        }));
        if let Some(error) = failed {
            return Err(error.into());
        }
        if table.len() as u64 != items || (range == max.all() && items != keys) {
            return Err(format!("{} of {items} rows after the restore", table.len()).into());
        }
    }
    Ok(())
}

fn map_iterate(keys: &[u64], max: MaxParallelism, timings: &mut Vec<Timing>) {
    let keys = &keys[..(keys.len() / MAP_ENTRIES as usize).max(1)];
    let mut table = KeyGroupTables::<u64, Mapped>::new(max, max.all());
    for_each(&mut table, keys, |state| (0..MAP_ENTRIES).filter_map(|entry| state.entries.insert(entry, entry)).sum());
    timings.push(timed("map iterate", keys.len() as u64 * MAP_ENTRIES, || {
        (for_each(&mut table, keys, |state| state.entries.iter().map(|(_, value)| *value).sum()), 0)
    }));
}

fn expiring(keys: &[u64], max: MaxParallelism, timings: &mut Vec<Timing>) -> Result<(), Failure> {
    let clocks = TtlClocks::of::<Expiring>()?;
    let mut table = KeyGroupTables::<u64, Expiring>::new(max, max.all());
    let mut put = |now_ms| {
        clocks.set(TtlTimeCharacteristic::ProcessingTime, now_ms);
        for_each(&mut table, keys, |state| {
            state.follow(&clocks);
            state.count.update(|count| {
                *count += 1;
                *count
            })
        })
    };
    put(1);
    let hour_ms = 3_600_000;
    timings.push(timed("put with ttl", keys.len() as u64, || (put(2), 0)));
    let mut sum = 0;
    timings.push(timed("put with ttl, expired", keys.len() as u64, || {
        sum = put(hour_ms + 10);
        (sum, 0)
    }));
    if sum != keys.len() as u64 {
        return Err(format!("the counts of {} expired keys begin at {sum} in sum", keys.len()).into());
    }
    Ok(())
}
