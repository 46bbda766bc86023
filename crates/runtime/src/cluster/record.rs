//! What a leader leaves in the log for the one after it: bytes to the log, with a form of their own.

use highwater_core::frame::{self, Kind};
use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use highwater_jobmaster::JobRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::job::JobEnd;

/// The frame around a [`Record`].
const RECORD: Kind = Kind { magic: *b"HWJR", version: 1, name: "record of an attempt" };

/// The frame around an [`Outcome`].
const OUTCOME: Kind = Kind { magic: *b"HWJE", version: 1, name: "record of a job's end" };

/// What was deployed, and which ids may have been used since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The newest attempt; `None` if none was deployed yet.
    pub job: Option<JobRecord>,
    /// Every checkpoint has an id below this one.
    pub ids_below: CheckpointId,
    /// The first checkpoint that the job has taken in this cluster: it goes back to none before, once it has one of its own.
    pub first_own: Option<CheckpointId>,
}

/// How the job has ended: well, or with an error of this kind.
pub(crate) type Outcome = std::result::Result<JobEnd, (ErrorKind, String)>;

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        seal(RECORD, self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        open(RECORD, bytes)
    }
}

pub(crate) fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    seal(OUTCOME, outcome)
}

pub(crate) fn decode_outcome(bytes: &[u8]) -> Result<Outcome> {
    open(OUTCOME, bytes)
}

fn seal(kind: Kind, value: &impl Serialize) -> Vec<u8> {
    let payload = postcard::to_stdvec(value).expect("postcard writes every record to memory");
    let mut bytes = Vec::new();
    frame::seal(kind, &payload, &mut bytes);
    bytes
}

fn open<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T> {
    let opened = frame::open(kind, bytes, "log of leaders")?;
    postcard::from_bytes(opened.payload).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("log of leaders: not a {}", kind.name)).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use highwater_core::Parallelism;
    use highwater_jobmaster::{AttemptToken, Deployment, Member, TaskManagerId};

    use super::*;

    /// As version 1 writes them: every later version must read them.
    #[test]
    fn records_of_version_1_are_read() {
        let member = Member { id: TaskManagerId(7), address: "10.0.0.1:7000".into() };
        let deployment = Deployment { token: AttemptToken::first_of(3), members: vec![member], workers: 2 };
        let job = JobRecord { deployment, rescaled_to: Parallelism::new(2) };
        let record = Record { job: Some(job), ids_below: CheckpointId(33), first_own: Some(CheckpointId(5)) };
        let outcome: Outcome = Err((ErrorKind::UserFunction, "it panicked".into()));
        let v1 = [include_str!("record/record-v1.hex"), include_str!("record/outcome-v1.hex")].map(unhex);
        assert_eq!(Record::decode(&v1[0]).unwrap(), record);
        assert_eq!(decode_outcome(&v1[1]).unwrap(), outcome);
        assert_eq!([record.encode(), encode_outcome(&outcome)], v1);
        for cut in 0..v1[0].len() {
            assert!(Record::decode(&v1[0][..cut]).is_err());
        }
        assert!(Record::decode(&v1[1]).is_err(), "one is not the other");
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }
}
