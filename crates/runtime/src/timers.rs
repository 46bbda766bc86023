//! Timers of one keyed task: per key, time and clock at most one, kept in checkpoints by key group.
//!
//! They fire in the order of their times; those of one time in the order of their keys' hashes, so that a run can be repeated.

use std::collections::BTreeMap;

use highwater_core::{Error, ErrorKind, KeyGroup, KeyHash, MaxParallelism, Result};
use highwater_state::{Data, Key};

use crate::process::TimeDomain;

/// The keys of one time and hash: nearly always one.
type Due<K> = BTreeMap<(i64, KeyHash), Vec<K>>;

/// The timers of one task.
#[derive(Debug)]
pub struct Timers<K> {
    event: Due<K>,
    processing: Due<K>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { event: Due::new(), processing: Due::new() }
    }
}

impl<K: Key> Timers<K> {
    fn of(&mut self, domain: TimeDomain) -> &mut Due<K> {
        match domain {
            TimeDomain::EventTime => &mut self.event,
            TimeDomain::ProcessingTime => &mut self.processing,
        }
    }

    /// Adds a timer, unless it is there.
    pub fn register(&mut self, domain: TimeDomain, time_ms: i64, key: &K) {
        let keys = self.of(domain).entry((time_ms, key.key_hash())).or_default();
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }

    /// Removes a timer, if it is there.
    pub fn delete(&mut self, domain: TimeDomain, time_ms: i64, key: &K) {
        let place = (time_ms, key.key_hash());
        if let Some(keys) = self.of(domain).get_mut(&place) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.of(domain).remove(&place);
            }
        }
    }

    /// Whether a timer is due at `now_ms`.
    pub fn is_due(&self, domain: TimeDomain, now_ms: i64) -> bool {
        let due = match domain {
            TimeDomain::EventTime => &self.event,
            TimeDomain::ProcessingTime => &self.processing,
        };
        due.first_key_value().is_some_and(|((time_ms, _), _)| *time_ms <= now_ms)
    }

    /// Takes the next timer that is due at `now_ms`.
    pub fn pop_due(&mut self, domain: TimeDomain, now_ms: i64) -> Option<(i64, KeyHash, K)> {
        let due = self.of(domain);
        let mut first = due.first_entry()?;
        let (time_ms, hash) = *first.key();
        if time_ms > now_ms {
            return None;
        }
        let key = first.get_mut().pop().expect("no empty list of keys is kept");
        if first.get().is_empty() {
            first.remove();
        }
        Some((time_ms, hash, key))
    }

    /// When the next processing-time timer is due, in ms since the Unix epoch.
    pub fn next_processing_time(&self) -> Option<i64> {
        self.processing.first_key_value().map(|((time_ms, _), _)| *time_ms)
    }

    /// All timers, encoded by key group: domain, time and key of each, with how many there are.
    pub fn snapshot(&self, max: MaxParallelism) -> BTreeMap<KeyGroup, (u64, Vec<u8>)> {
        let mut groups = BTreeMap::<KeyGroup, (u64, Vec<u8>)>::new();
        for (is_event, due) in [(true, &self.event), (false, &self.processing)] {
            for ((time_ms, hash), keys) in due {
                let (count, bytes) = groups.entry(hash.key_group(max)).or_default();
                for key in keys {
                    *count += 1;
                    is_event.encode(bytes);
                    time_ms.encode(bytes);
                    key.encode(bytes);
                }
            }
        }
        groups
    }

    /// Puts the timers of one block back.
    ///
    /// # Errors
    /// If the block does not hold `entries` timers, or one of another key group.
    pub fn restore(&mut self, group: KeyGroup, entries: u64, mut bytes: &[u8], max: MaxParallelism) -> Result<()> {
        let mut found = 0;
        while !bytes.is_empty() {
            let entry: std::result::Result<(bool, i64, K), _> = Data::decode(&mut bytes);
            let (is_event, time_ms, key) = entry
                .map_err(|error| Error::new(ErrorKind::Corrupt, "a stored timer does not decode").with_source(error))?;
            if key.key_hash().key_group(max) != group {
                let what = format!("a stored timer's key {key:?} is not of key group {}", group.0);
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
            let domain = if is_event { TimeDomain::EventTime } else { TimeDomain::ProcessingTime };
            self.register(domain, time_ms, &key);
            found += 1;
        }
        if found != entries {
            let what = format!("{found} timers in key group {}, the metadata says {entries}", group.0);
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(timers: &mut Timers<String>, domain: TimeDomain, now: i64) -> Vec<(i64, String)> {
        std::iter::from_fn(|| timers.pop_due(domain, now)).map(|(time, _, key)| (time, key)).collect()
    }

    #[test]
    fn a_timer_fires_once_however_often_it_is_registered() {
        let mut timers = Timers::default();
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
    fn a_snapshot_restores_to_the_same_timers_by_key_group() {
        let max = MaxParallelism::new(8).unwrap();
        let mut timers = Timers::default();
        for i in 0..100 {
            timers.register(TimeDomain::EventTime, i % 7, &format!("key {i}"));
            timers.register(TimeDomain::ProcessingTime, i % 5, &format!("key {i}"));
        }
        let mut back = Timers::default();
        let mut total = 0;
        for (group, (count, bytes)) in timers.snapshot(max) {
            total += count;
            back.restore(group, count, &bytes, max).unwrap();
            let other = KeyGroup((group.0 + 1) % 8);
            assert!(Timers::<String>::default().restore(other, count, &bytes, max).is_err());
            assert!(Timers::<String>::default().restore(group, count + 1, &bytes, max).is_err());
        }
        assert_eq!(total, 200);
        for domain in [TimeDomain::EventTime, TimeDomain::ProcessingTime] {
            assert_eq!(drain(&mut back, domain, 100), drain(&mut timers, domain, 100));
        }
        assert!(back.restore(KeyGroup(0), 1, &[1, 2], max).is_err());
    }
}
