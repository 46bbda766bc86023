//! Timers of one keyed task: per key, time and clock at most one, kept in checkpoints by key group.
//!
//! They fire in the order of their times; those of one time in the order of their keys' hashes, so that a run can be repeated.
//!
//! A snapshot is taken whole at the barrier, so it holds what changed since the one before, place by place, and of a few key
//! groups everything: each key group has a queue of its own, so that this does not have to look at all timers.

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, KeyHash, MaxParallelism, Result};
use highwater_state::table::{Chunk, ChunkKind};
use highwater_state::{Data, Key};

use crate::process::TimeDomain;

/// Where a timer is: its time and the hash of its key. Nearly always a place of one key.
type Place = (i64, KeyHash);

/// The timers of one key group and clock.
type Queue<K> = BTreeMap<Place, Vec<K>>;

/// The timers of one clock.
#[derive(Debug)]
struct Due<K> {
    queues: Vec<Queue<K>>,
    /// The first place of each queue that is not empty.
    heads: BTreeSet<Place>,
}

/// The timers of one task.
#[derive(Debug)]
pub struct Timers<K> {
    max: MaxParallelism,
    range: KeyGroupRange,
    event: Due<K>,
    processing: Due<K>,
    /// Places that changed since the last snapshot, once there was one; some several times.
    changed: Option<Vec<(TimeDomain, Place)>>,
    /// Past this number of changes those that are there several times are taken out.
    crowded: usize,
}

/// Up to this many changes are not looked through for repetitions.
const FEW_CHANGES: usize = 64 * 1024;

impl<K: Key> Timers<K> {
    /// No timers, for the key groups of `range`.
    pub fn new(max: MaxParallelism, range: KeyGroupRange) -> Self {
        let due = || Due { queues: range.iter().map(|_| Queue::new()).collect(), heads: BTreeSet::new() };
        Timers { max, range, event: due(), processing: due(), changed: None, crowded: FEW_CHANGES }
    }

    fn of(&mut self, domain: TimeDomain) -> &mut Due<K> {
        match domain {
            TimeDomain::EventTime => &mut self.event,
            TimeDomain::ProcessingTime => &mut self.processing,
        }
    }

    fn index_of(&self, hash: KeyHash) -> usize {
        self.range.index_of(hash.key_group(self.max))
    }

    /// Changes the queue that a place belongs to with `change`, which says whether it did; keeps everything else in step.
    fn change(&mut self, domain: TimeDomain, place: Place, change: impl FnOnce(&mut Queue<K>) -> bool) {
        let index = self.index_of(place.1);
        let due = self.of(domain);
        let queue = &mut due.queues[index];
        let head = queue.first_key_value().map(|(place, _)| *place);
        if !change(queue) {
            return;
        }
        let new_head = queue.first_key_value().map(|(place, _)| *place);
        if head != new_head {
            if let Some(head) = head {
                due.heads.remove(&head);
            }
            due.heads.extend(new_head);
        }
        if let Some(changed) = &mut self.changed {
            changed.push((domain, place));
            if changed.len() > self.crowded {
                changed.sort_unstable();
                changed.dedup();
                self.crowded = FEW_CHANGES.max(2 * changed.len());
            }
        }
    }

    /// Adds a timer, unless it is there.
    pub fn register(&mut self, domain: TimeDomain, time_ms: i64, key: &K) {
        let place = (time_ms, key.key_hash());
        self.change(domain, place, |queue| {
            let keys = queue.entry(place).or_default();
            let is_new = !keys.contains(key);
            if is_new {
                keys.push(key.clone());
            }
            is_new
        });
    }

    /// Removes a timer, if it is there.
    pub fn delete(&mut self, domain: TimeDomain, time_ms: i64, key: &K) {
        let place = (time_ms, key.key_hash());
        self.change(domain, place, |queue| {
            let Some(keys) = queue.get_mut(&place) else { return false };
            let before = keys.len();
            keys.retain(|other| other != key);
            let is_changed = keys.len() < before;
            if keys.is_empty() {
                queue.remove(&place);
            }
            is_changed
        });
    }

    fn next(&self, domain: TimeDomain) -> Option<Place> {
        let due = match domain {
            TimeDomain::EventTime => &self.event,
            TimeDomain::ProcessingTime => &self.processing,
        };
        due.heads.first().copied()
    }

    /// Whether a timer is due at `now_ms`.
    pub fn is_due(&self, domain: TimeDomain, now_ms: i64) -> bool {
        self.next(domain).is_some_and(|(time_ms, _)| time_ms <= now_ms)
    }

    /// Takes the next timer that is due at `now_ms`.
    pub fn pop_due(&mut self, domain: TimeDomain, now_ms: i64) -> Option<(i64, KeyHash, K)> {
        let place = self.next(domain).filter(|(time_ms, _)| *time_ms <= now_ms)?;
        let mut popped = None;
        self.change(domain, place, |queue| {
            let mut first = queue.first_entry().expect("a queue has its head");
            popped = first.get_mut().pop();
            if first.get().is_empty() {
                first.remove();
            }
            true
        });
        popped.map(|key| (place.0, place.1, key))
    }

    /// When the next processing-time timer is due, in ms since the Unix epoch.
    pub fn next_processing_time(&self) -> Option<i64> {
        self.next(TimeDomain::ProcessingTime).map(|(time_ms, _)| time_ms)
    }

    /// All timers of the key groups for which `full` holds, in the order of the range, and of the others the places that changed
    /// since the last snapshot: what was removed first, and then what is there.
    pub fn snapshot(&mut self, full: &[bool]) -> Vec<Chunk> {
        let mut chunks = Chunks::default();
        let mut changed = self.changed.replace(Vec::new()).unwrap_or_default();
        changed.sort_unstable();
        changed.dedup();
        for (domain, place) in changed {
            let index = self.index_of(place.1);
            if !full[index] {
                let group = place.1.key_group(self.max);
                chunks.removed(group, domain, place);
                let keys = self.of(domain).queues[index].get(&place);
                keys.into_iter().flatten().for_each(|key| chunks.timer(group, domain, place.0, key));
            }
        }
        for (index, group) in self.range.iter().enumerate().filter(|(index, _)| full[*index]) {
            self.all_of(index, group, &mut chunks);
        }
        chunks.named()
    }

    /// All timers, aside from the other snapshots: what has changed is left to the next.
    pub fn snapshot_aside(&self) -> Vec<Chunk> {
        let mut chunks = Chunks::default();
        self.range.iter().enumerate().for_each(|(index, group)| self.all_of(index, group, &mut chunks));
        chunks.named()
    }

    fn all_of(&self, index: usize, group: KeyGroup, chunks: &mut Chunks) {
        for (domain, due) in [(TimeDomain::EventTime, &self.event), (TimeDomain::ProcessingTime, &self.processing)] {
            for ((time_ms, _), keys) in &due.queues[index] {
                keys.iter().for_each(|key| chunks.timer(group, domain, *time_ms, key));
            }
        }
    }

    /// Takes in a section of a snapshot.
    ///
    /// # Errors
    /// If it does not hold `entries` timers or places, or one of another key group.
    pub fn restore(&mut self, group: KeyGroup, kind: ChunkKind, entries: u64, bytes: &[u8]) -> Result<()> {
        let found = match kind {
            ChunkKind::Rows => self.restore_timers(group, bytes)?,
            ChunkKind::Removed => self.restore_removed(group, bytes)?,
        };
        if found != entries {
            let what = format!("{found} timers in key group {}, the metadata says {entries}", group.0);
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        Ok(())
    }

    fn restore_timers(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<u64> {
        let mut found = 0;
        while !bytes.is_empty() {
            let entry: std::result::Result<(bool, i64, K), _> = Data::decode(&mut bytes);
            let (is_event, time_ms, key) = entry.map_err(undecodable)?;
            self.check_group(group, key.key_hash())?;
            self.register(domain_of(is_event), time_ms, &key);
            found += 1;
        }
        Ok(found)
    }

    fn restore_removed(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<u64> {
        let mut found = 0;
        while !bytes.is_empty() {
            let entry: std::result::Result<(bool, i64, u64), _> = Data::decode(&mut bytes);
            let (is_event, time_ms, hash) = entry.map_err(undecodable)?;
            let place = (time_ms, KeyHash(hash));
            self.check_group(group, place.1)?;
            self.change(domain_of(is_event), place, |queue| queue.remove(&place).is_some());
            found += 1;
        }
        Ok(found)
    }

    fn check_group(&self, group: KeyGroup, hash: KeyHash) -> Result<()> {
        if hash.key_group(self.max) == group {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, format!("a stored timer is not of key group {}", group.0)))
    }
}

fn domain_of(is_event: bool) -> TimeDomain {
    if is_event { TimeDomain::EventTime } else { TimeDomain::ProcessingTime }
}

fn undecodable(error: highwater_state::DecodeError) -> Error {
    Error::new(ErrorKind::Corrupt, "a stored timer does not decode").with_source(error)
}

/// Entries by key group, what was removed before what is there.
#[derive(Default)]
struct Chunks(BTreeMap<(KeyGroup, bool), Entries>);

#[derive(Default)]
struct Entries {
    count: u64,
    bytes: Vec<u8>,
}

impl Chunks {
    fn named(self) -> Vec<Chunk> {
        self.0.into_iter().map(|((group, kind), chunk)| chunk.named(group, kind)).collect()
    }

    fn removed(&mut self, group: KeyGroup, domain: TimeDomain, (time_ms, hash): Place) {
        self.add(group, false, domain, time_ms).extend_from_slice(&hash.0.to_le_bytes());
    }

    fn timer<K: Key>(&mut self, group: KeyGroup, domain: TimeDomain, time_ms: i64, key: &K) {
        key.encode(self.add(group, true, domain, time_ms));
    }

    fn add(&mut self, group: KeyGroup, is_there: bool, domain: TimeDomain, time_ms: i64) -> &mut Vec<u8> {
        let Entries { count, bytes } = self.0.entry((group, is_there)).or_default();
        *count += 1;
        (domain == TimeDomain::EventTime).encode(bytes);
        time_ms.encode(bytes);
        bytes
    }
}

impl Entries {
    fn named(self, group: KeyGroup, is_there: bool) -> Chunk {
        let kind = if is_there { ChunkKind::Rows } else { ChunkKind::Removed };
        Chunk { group, kind, entries: self.count, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max() -> MaxParallelism {
        MaxParallelism::new(8).unwrap()
    }

    fn timers() -> Timers<String> {
        Timers::new(max(), max().all())
    }

    fn drain(timers: &mut Timers<String>, domain: TimeDomain, now: i64) -> Vec<(i64, String)> {
        std::iter::from_fn(|| timers.pop_due(domain, now)).map(|(time, _, key)| (time, key)).collect()
    }

    fn load(into: &mut Timers<String>, chunks: &[Chunk]) {
        for Chunk { group, kind, entries, bytes } in chunks {
            into.restore(*group, *kind, *entries, bytes).unwrap();
        }
    }

    #[test]
    fn a_timer_fires_once_however_often_it_is_registered() {
        let mut timers = timers();
        for time in [20, 10, 10, 30] {
            timers.register(TimeDomain::EventTime, time, &"a".to_string());
        }
        timers.register(TimeDomain::ProcessingTime, 5, &"a".to_string());
        assert_eq!(drain(&mut timers, TimeDomain::EventTime, 20), [(10, "a".into()), (20, "a".into())]);
        timers.delete(TimeDomain::EventTime, 30, &"a".to_string());
        assert_eq!(drain(&mut timers, TimeDomain::EventTime, 100), []);
        assert_eq!(timers.next_processing_time(), Some(5));
    }

    #[test]
    fn timers_fire_in_the_order_of_time_and_hash_over_all_key_groups() {
        let mut timers = timers();
        let mut expected = Vec::new();
        for i in 0..200i64 {
            let key = format!("key {i}");
            expected.push((i * 37 % 11, key.key_hash(), key.clone()));
            timers.register(TimeDomain::EventTime, i * 37 % 11, &key);
        }
        expected.sort_unstable();
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(TimeDomain::EventTime, 100)).collect();
        assert_eq!(fired, expected);
    }

    #[test]
    fn a_snapshot_restores_to_the_same_timers_by_key_group() {
        let mut timers = timers();
        for i in 0..100 {
            timers.register(TimeDomain::EventTime, i % 7, &format!("key {i}"));
            timers.register(TimeDomain::ProcessingTime, i % 5, &format!("key {i}"));
        }
        let chunks = timers.snapshot(&[true; 8]);
        assert_eq!(chunks.iter().map(|chunk| chunk.entries).sum::<u64>(), 200);
        for Chunk { group, kind, entries, bytes } in &chunks {
            let other = KeyGroup((group.0 + 1) % 8);
            assert!(self::timers().restore(other, *kind, *entries, bytes).is_err());
            assert!(self::timers().restore(*group, *kind, entries + 1, bytes).is_err());
        }
        let mut back = self::timers();
        load(&mut back, &chunks);
        for domain in [TimeDomain::EventTime, TimeDomain::ProcessingTime] {
            assert_eq!(drain(&mut back, domain, 100), drain(&mut timers, domain, 100));
        }
        assert!(back.restore(KeyGroup(0), ChunkKind::Rows, 1, &[1, 2]).is_err());
        assert!(back.restore(KeyGroup(0), ChunkKind::Removed, 1, &[1, 2]).is_err());
    }

    /// Whatever happens between them, the snapshots together are the timers as they were at the last one.
    #[test]
    fn changes_replayed_in_order_give_the_same_timers() {
        let (mut timers, mut restored) = (timers(), timers());
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for round in 0..60 {
            for _ in 0..next(80) {
                let (key, time) = (format!("key {}", next(30)), next(20) as i64);
                let domain = if next(2) == 0 { TimeDomain::EventTime } else { TimeDomain::ProcessingTime };
                match next(5) {
                    0 => timers.delete(domain, time, &key),
                    1 => drop(timers.pop_due(domain, time)),
                    _ => timers.register(domain, time, &key),
                }
            }
            let full: Vec<bool> = (0..8).map(|_| round == 0 || next(4) == 0).collect();
            let chunks = timers.snapshot(&full);
            for (group, _) in max().all().iter().zip(&full).filter(|(_, full)| **full) {
                for due in [&mut restored.event, &mut restored.processing] {
                    due.queues[group.0 as usize].clear();
                    due.heads.retain(|(_, hash)| hash.key_group(max()) != group);
                }
            }
            load(&mut restored, &chunks);
            assert_eq!(restored.event.queues, timers.event.queues, "round {round}");
            assert_eq!(restored.processing.queues, timers.processing.queues, "round {round}");
            assert_eq!(restored.event.heads, timers.event.heads);
        }
    }

    #[test]
    fn a_snapshot_aside_has_all_timers_and_leaves_the_changes_to_the_next() {
        let mut timers = timers();
        (0..100).for_each(|i| timers.register(TimeDomain::EventTime, i, &format!("key {i}")));
        timers.snapshot(&[true; 8]);
        timers.register(TimeDomain::ProcessingTime, 7, &"new".to_string());
        timers.delete(TimeDomain::EventTime, 3, &"key 3".to_string());
        let mut restored = self::timers();
        load(&mut restored, &timers.snapshot_aside());
        assert_eq!(restored.event.queues, timers.event.queues);
        assert_eq!(restored.processing.queues, timers.processing.queues);
        let changes = timers.snapshot(&[false; 8]);
        let entries = |kind| changes.iter().filter(|chunk| chunk.kind == kind).map(|chunk| chunk.entries).sum::<u64>();
        assert_eq!(
            (entries(ChunkKind::Removed), entries(ChunkKind::Rows)),
            (2, 1),
            "of both places what was there may be old"
        );
    }

    #[test]
    fn what_did_not_change_is_not_in_the_next_snapshot() {
        let mut timers = timers();
        (0..100).for_each(|i| timers.register(TimeDomain::EventTime, i, &format!("key {i}")));
        timers.snapshot(&[true; 8]);
        timers.register(TimeDomain::EventTime, 50, &"key 50".to_string());
        assert!(timers.snapshot(&[false; 8]).is_empty(), "it was there already");
        timers.register(TimeDomain::EventTime, 51, &"key 50".to_string());
        timers.pop_due(TimeDomain::EventTime, 0).unwrap();
        let entries = timers.snapshot(&[false; 8]).iter().map(|chunk| chunk.entries).sum::<u64>();
        assert_eq!(entries, 3, "one place with a timer, and one without");
    }
}
