//! The protocol of the control socket: one JSON object a line.
//!
//! A client sends a [`Request`] with the [`VERSION`] of the protocol; the job sends [`Answer`]s, the last of which is `completed`,
//! `failed` or `status`. Then the client may send another. What is no request is answered with `failed`.
//!
//! Invariant: within a version, fields and answers are only ever added, so a reader passes over those that it does not know; what a
//! request must not be misunderstood in is refused by name.

use highwater_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol.
pub const VERSION: u64 = 1;

/// No honest line is longer, in bytes.
pub const LONGEST_LINE: u64 = 64 << 10;

/// What a job can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it goes.
    Status {},
    /// A checkpoint now.
    Checkpoint {},
    /// A savepoint; the job goes on.
    Savepoint(Savepoint),
    /// The end of the job, with everything up to it committed.
    Stop {
        /// Whether event-time timers fire as at the end of all input.
        #[serde(default)]
        drain: bool,
        /// The savepoint to end with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        savepoint: Option<Savepoint>,
    },
    /// The end of the job at once, without a last checkpoint.
    Cancel {},
    /// Another parallelism, from the next checkpoint on; the job goes on.
    Rescale {
        /// Workers of the job.
        parallelism: u32,
    },
}

/// Where a savepoint goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Savepoint {
    /// The directory in which it gets a folder, a path or URI; without, the one that the job was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a job answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It does what it was asked for.
    Accepted,
    /// The savepoint has begun.
    Started {
        /// Its number.
        checkpoint: u64,
    },
    /// The last checkpoint or savepoint exists; the job is about to end.
    Ending {
        /// What was taken.
        taken: Taken,
    },
    /// It is done. A job that was asked to stop has ended.
    Completed {
        /// What was taken, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken: Option<Taken>,
        /// Of another parallelism: how long no records flowed for it, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
    },
    /// It was not done, and will not be.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// How the job goes.
    Status(Status),
    /// One that a newer version has added.
    #[serde(other)]
    Unknown,
}

/// A checkpoint or savepoint that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its number.
    pub checkpoint: u64,
    /// Its folder.
    pub path: String,
    /// Bytes that were written for it.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// How a job goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub job: String,
    /// Its process.
    pub pid: u32,
    /// `starting`, `running`, `restarting`, `stopping` or `ended`.
    pub phase: String,
    /// Attempts begun.
    pub attempts: u64,
    /// Records emitted by the sources of the process.
    pub records: u64,
    /// Checkpoints completed.
    pub checkpoints_completed: u64,
    /// Checkpoints failed.
    pub checkpoints_failed: u64,
    /// Savepoints completed.
    pub savepoints: u64,
    /// The number of the newest completed checkpoint.
    pub last_checkpoint: Option<u64>,
    /// The snapshot that the current attempt has restored.
    pub restored: Option<String>,
}

impl Request {
    /// The line of it, with the version.
    pub fn line(&self) -> String {
        #[derive(Serialize)]
        struct Versioned<'a> {
            version: u64,
            #[serde(flatten)]
            request: &'a Request,
        }
        let line = serde_json::to_string(&Versioned { version: VERSION, request: self });
        format!("{}\n", line.expect("a request has nothing that JSON has not"))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// If it is no request, or one of a newer version, with what to send instead.
    pub fn parse(line: &[u8]) -> Result<Request> {
        let refuse = |what: String| Error::new(ErrorKind::Settings, format!("not a request: {what}"));
        let mut value: Value = serde_json::from_slice(line).map_err(|error| refuse(error.to_string()))?;
        let object = value.as_object_mut().ok_or_else(|| refuse("send one JSON object a line".to_owned()))?;
        match object.remove("version").and_then(|version| version.as_u64()) {
            Some(1..=VERSION) => {}
            Some(newer) => return Err(refuse(format!("version {newer} of the protocol, this job speaks {VERSION}"))),
            None => return Err(refuse(format!("send the version of the protocol, \"version\": {VERSION}"))),
        }
        serde_json::from_value(value).map_err(|error| refuse(error.to_string()))
    }
}

impl Answer {
    /// The line of it.
    pub fn line(&self) -> String {
        format!("{}\n", serde_json::to_string(self).expect("an answer has nothing that JSON has not"))
    }

    /// Whether no other answer follows.
    pub fn is_last(&self) -> bool {
        match self {
            Answer::Completed { .. } | Answer::Failed { .. } | Answer::Status(_) => true,
            Answer::Accepted | Answer::Started { .. } | Answer::Ending { .. } | Answer::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_pinned_and_survive_the_way() {
        let target = || Savepoint { target: Some("/savepoints".to_owned()) };
        for (request, line) in [
            (Request::Status {}, r#"{"version":1,"request":"status"}"#),
            (Request::Checkpoint {}, r#"{"version":1,"request":"checkpoint"}"#),
            (Request::Savepoint(Savepoint::default()), r#"{"version":1,"request":"savepoint"}"#),
            (Request::Savepoint(target()), r#"{"version":1,"request":"savepoint","target":"/savepoints"}"#),
            (Request::Stop { drain: false, savepoint: None }, r#"{"version":1,"request":"stop","drain":false}"#),
            (
                Request::Stop { drain: true, savepoint: Some(target()) },
                r#"{"version":1,"request":"stop","drain":true,"savepoint":{"target":"/savepoints"}}"#,
            ),
            (Request::Cancel {}, r#"{"version":1,"request":"cancel"}"#),
            (Request::Rescale { parallelism: 4 }, r#"{"version":1,"request":"rescale","parallelism":4}"#),
        ] {
            assert_eq!(request.line().trim_end(), line);
            assert_eq!(Request::parse(request.line().as_bytes()).unwrap(), request);
        }
        let short = Request::parse(br#"{"version":1,"request":"stop"}"#).unwrap();
        assert_eq!(short, Request::Stop { drain: false, savepoint: None });
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        for (line, why) in [
            ("", "EOF"),
            ("stop", "expected value"),
            ("[1]", "one JSON object"),
            (r#"{"request":"stop"}"#, "send the version"),
            (r#"{"version":2,"request":"stop"}"#, "version 2 of the protocol"),
            (r#"{"version":1}"#, "request"),
            (r#"{"version":1,"request":"fly"}"#, "fly"),
            (r#"{"version":1,"request":"stop","drian":true}"#, "drian"),
            (r#"{"version":1,"request":"savepoint","traget":"x"}"#, "traget"),
            (r#"{"version":1,"request":"savepoint","target":7}"#, "string"),
        ] {
            let error = Request::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(Request::parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn answers_are_pinned_and_unknown_ones_are_passed_over() {
        let taken = Taken { checkpoint: 7, path: "file:///s/x".to_owned(), bytes: 10, duration_ms: 5 };
        let line = Answer::Completed { taken: Some(taken), pause_ms: None }.line();
        let expected =
            r#"{"answer":"completed","taken":{"checkpoint":7,"path":"file:///s/x","bytes":10,"duration_ms":5}}"#;
        assert_eq!(line.trim_end(), expected);
        assert_eq!(Answer::Completed { taken: None, pause_ms: None }.line().trim_end(), r#"{"answer":"completed"}"#);
        let newer: Answer = serde_json::from_str(r#"{"answer":"half-way","percent":50}"#).unwrap();
        assert_eq!((newer.clone(), newer.is_last()), (Answer::Unknown, false));
    }
}
