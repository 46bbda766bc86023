//! The log of one job in a store: `<job>/<number>`, the number with 20 digits, so that names sort as numbers do.
//!
//! Invariant: the entry with the highest number is never removed, so the highest number never goes down. By that an
//! entry that was created late, in the place of one removed long ago, is told from one that counts: it is not the
//! highest when it is looked for afterwards.

use std::sync::Arc;

use highwater_core::{Error, ErrorKind, JobName, Result};

use crate::entry::Entry;
use crate::store::{HaStore, Put};

/// An entry that vanishes between listing and reading has newer ones: looking again this often, one holds still.
const LOOKS: u32 = 8;

/// The log of a job.
#[derive(Clone, Debug)]
pub struct Log {
    store: Arc<dyn HaStore>,
    job: JobName,
}

/// What a look at the whole log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The numbers there are, in order.
    pub numbers: Vec<u64>,
    /// The entry with the highest, unless it was known.
    pub newest: Option<Entry>,
}

impl Found {
    /// The highest number; 0 if there is no entry.
    pub fn highest(&self) -> u64 {
        self.numbers.last().copied().unwrap_or(0)
    }
}

impl Log {
    /// The log of `job` in `store`.
    pub fn new(store: Arc<dyn HaStore>, job: JobName) -> Self {
        Log { store, job }
    }

    /// Looks which entries there are, and reads the newest unless its number is `known`.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if the store fails, [`ErrorKind::Corrupt`] or [`ErrorKind::Incompatible`] if what it holds is
    /// not an entry that this version reads.
    pub fn look(&self, known: u64) -> Result<Found> {
        for _ in 0..LOOKS {
            let names = self.store.list(self.job.as_str())?;
            let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_number(name)).collect();
            numbers.sort_unstable();
            let highest = numbers.last().copied().unwrap_or(0);
            if highest == 0 || highest == known {
                return Ok(Found { numbers, newest: None });
            }
            if let Some(newest) = self.read(highest)? {
                return Ok(Found { numbers, newest: Some(newest) });
            }
        }
        Err(Error::new(
            ErrorKind::Storage,
            format!("{}/{}: its newest entry vanishes again and again", self.store.uri(), self.job),
        ))
    }

    /// Reads an entry; `None` if there is none.
    ///
    /// # Errors
    /// As of [`look`](Self::look).
    pub fn read(&self, number: u64) -> Result<Option<Entry>> {
        let name = self.name(number);
        let Some(bytes) = self.store.get(&name)? else { return Ok(None) };
        Entry::decode(&bytes, number, &format!("{}/{name}", self.store.uri())).map(Some)
    }

    /// Creates an entry if there is none of its number.
    pub fn put(&self, entry: &Entry) -> highwater_storage::Result<Put> {
        self.store.put_if_absent(&self.name(entry.number), &entry.encode())
    }

    /// Removes an entry, which must not be the newest.
    pub fn remove(&self, number: u64) -> highwater_storage::Result<()> {
        self.store.remove(&self.name(number))
    }

    fn name(&self, number: u64) -> String {
        format!("{}/{number:020}", self.job)
    }
}

/// `parse` also takes "+7" and fewer digits, which would be second names of the same entry.
fn parse_number(name: &str) -> Option<u64> {
    let number = name.parse().ok()?;
    (number > 0 && format!("{number:020}") == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_name() {
        assert_eq!(parse_number("00000000000000000007"), Some(7));
        assert_eq!(parse_number("18446744073709551615"), Some(u64::MAX));
        for other in ["7", "+0000000000000000007", "00000000000000000000", "000000000000000000007", "x"] {
            assert_eq!(parse_number(other), None, "{other:?}");
        }
    }
}
