//! The storage that all processes share: folders of checkpoints, and the log of leaders.
//!
//! A request reaches it some time after it was asked, also when whoever asked is dead by then, or has been told that it failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use highwater_checkpoint::Metadata;
use highwater_core::{CheckpointId, Error, ErrorKind};
use highwater_ha::log::Found;
use highwater_ha::{Change, Entry, Put};

use crate::job::{self, Files, METADATA, Restored};

/// A request.
#[derive(Clone, Debug)]
pub enum Ask {
    Look { known: u64 },
    Read { number: u64 },
    Append(Box<Entry>),
    Remove(Vec<u64>),
    List,
    Locate(CheckpointId),
    Write { id: CheckpointId, name: String, bytes: Vec<u8> },
    Publish(Box<Metadata>),
    Open(CheckpointId),
    Discard(CheckpointId),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Look { known } => write!(f, "look at the log beyond {known}"),
            Ask::Read { number } => write!(f, "read entry {number}"),
            Ask::Append(entry) => write!(f, "append entry {} ({:?})", entry.number, entry.change),
            Ask::Remove(numbers) => write!(f, "remove entries {numbers:?}"),
            Ask::List => f.write_str("list checkpoints"),
            Ask::Locate(id) => write!(f, "locate {id}"),
            Ask::Write { id, name, .. } => write!(f, "write {name} of {id}"),
            Ask::Publish(metadata) => write!(f, "publish {}", metadata.id),
            Ask::Open(id) => write!(f, "open {id}"),
            Ask::Discard(id) => write!(f, "discard {id}"),
        }
    }
}

/// What it says.
#[derive(Clone, Debug)]
pub enum Answer {
    Looked(Found),
    Read(Option<Entry>),
    Appended(Put),
    Folders(Vec<CheckpointId>),
    Opened(Files),
    Done,
}

/// The storage, and what truly was in the log of leaders.
#[derive(Debug, Default)]
pub struct Storage {
    folders: BTreeMap<CheckpointId, Files>,
    log: BTreeMap<u64, Entry>,
    /// Every entry that was the newest when it was created, the last of them.
    pub newest: Option<Entry>,
    /// Every checkpoint that was ever recorded as completed.
    pub completed: BTreeSet<CheckpointId>,
}

impl Storage {
    /// Carries a request out.
    ///
    /// # Errors
    /// If what is asked for is not there.
    pub fn act(&mut self, ask: Ask) -> Result<Answer, Error> {
        Ok(match ask {
            Ask::Look { known } => Answer::Looked(self.look(known)),
            Ask::Read { number } => Answer::Read(self.log.get(&number).cloned()),
            Ask::Append(entry) => Answer::Appended(self.append(*entry)),
            Ask::Remove(numbers) => {
                numbers.iter().for_each(|number| drop(self.log.remove(number)));
                Answer::Done
            }
            Ask::List => Answer::Folders(self.folders.keys().copied().collect()),
            Ask::Locate(id) => {
                self.folders.entry(id).or_default();
                Answer::Done
            }
            Ask::Write { id, name, bytes } => {
                self.folders.entry(id).or_default().insert(name, bytes);
                Answer::Done
            }
            Ask::Publish(metadata) => self.publish(*metadata)?,
            Ask::Open(id) => Answer::Opened(self.read(id)?.clone()),
            Ask::Discard(id) => {
                self.folders.remove(&id);
                Answer::Done
            }
        })
    }

    fn look(&self, known: u64) -> Found {
        let numbers: Vec<u64> = self.log.keys().copied().collect();
        let newest = self.log.last_key_value().filter(|(number, _)| **number != known);
        Found { numbers, newest: newest.map(|(_, entry)| entry.clone()) }
    }

    fn append(&mut self, entry: Entry) -> Put {
        if self.log.contains_key(&entry.number) {
            return Put::Exists;
        }
        if self.log.last_key_value().is_none_or(|(last, _)| *last < entry.number) {
            if entry.change == Change::Completed {
                self.completed.extend(entry.state.newest_completed());
            }
            self.newest = Some(entry.clone());
        }
        self.log.insert(entry.number, entry);
        Put::Created
    }

    fn publish(&mut self, metadata: Metadata) -> Result<Answer, Error> {
        let folder = self.folders.entry(metadata.id).or_default();
        if folder.contains_key(METADATA) {
            return Err(Error::new(ErrorKind::Storage, format!("checkpoint {} exists", metadata.id)));
        }
        folder.insert(METADATA.to_owned(), metadata.encode());
        Ok(Answer::Done)
    }

    fn read(&self, id: CheckpointId) -> Result<&Files, Error> {
        let gone = || Error::new(ErrorKind::Corrupt, format!("checkpoint {id}: it is gone"));
        self.folders.get(&id).ok_or_else(gone)
    }

    /// All of a checkpoint, verified.
    ///
    /// # Errors
    /// If any of it is missing or differs from what its metadata says.
    pub fn open(&self, id: CheckpointId) -> Result<(Metadata, Restored), Error> {
        job::open(id, self.read(id)?)
    }
}
