//! Requests to the members of an etcd, one after the other until one answers.
//!
//! Invariant: a request that changes something is sent to another member only if it certainly did not happen. Else it is
//! reported as in doubt, and whoever asked looks.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};
use highwater_storage::{Outcome, What};
use reqwest::{Client, StatusCode, header};
use rustls::crypto::{CryptoProvider, ring};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// Members that do not answer are given up after this part of the patience.
const ATTEMPTS: u32 = 3;

/// Whether a request changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) what: What,
    pub(super) outcome: Outcome,
    pub(super) why: String,
}

impl Failed {
    fn refused(why: impl Into<String>) -> Self {
        Failed { what: What::Other, outcome: Outcome::DidNotHappen, why: why.into() }
    }

    fn in_doubt(why: impl Into<String>) -> Self {
        Failed { what: What::Other, outcome: Outcome::MayHaveHappened, why: why.into() }
    }
}

/// The members, and the thread that talks to them.
pub(super) struct Gateway {
    /// Taken only when dropped.
    runtime: Option<Runtime>,
    members: Arc<Members>,
    patience: Duration,
}

struct Members {
    client: Client,
    urls: Vec<String>,
    /// The one that answered last.
    first: AtomicUsize,
}

impl Gateway {
    /// Does not ask anybody yet.
    pub(super) fn new(endpoints: &[String], patience: Duration) -> Result<Self> {
        let unable = |what: &str| Error::new(ErrorKind::Internal, format!("cannot start {what} for etcd"));
        install_crypto();
        let attempt = patience / ATTEMPTS;
        let client = Client::builder().timeout(attempt).connect_timeout(attempt).no_proxy().build();
        let client = client.map_err(|source| unable("a client").with_source(source))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("highwater-etcd").enable_all().build();
        let runtime = runtime.map_err(|source| unable("threads").with_source(source))?;
        let urls = endpoints.iter().map(|endpoint| format!("http://{endpoint}")).collect();
        let members = Members { client, urls, first: AtomicUsize::new(0) };
        Ok(Gateway { runtime: Some(runtime), members: Arc::new(members), patience })
    }

    /// Blocks until a member has answered, or the patience is over.
    pub(super) fn ask(&self, effect: Effect, path: &'static str, body: &Value) -> Result<Value, Failed> {
        let (members, body, patience) = (Arc::clone(&self.members), body.to_string(), self.patience);
        let (sender, receiver) = mpsc::sync_channel(1);
        // On a thread of its own, so that the caller may be on any, also on one of another runtime.
        self.runtime.as_ref().expect("present until dropped").spawn(async move {
            let answer = tokio::time::timeout(patience, members.ask(effect, path, body)).await;
            // It is waited for below.
            let _ =
                sender.send(answer.unwrap_or_else(|_| Err(Failed::in_doubt(format!("no answer within {patience:?}")))));
        });
        let answer = receiver.recv().unwrap_or_else(|_| Err(Failed::in_doubt("the client panicked")));
        // What only reads leaves nothing in doubt.
        answer.map_err(|failed| match effect {
            Effect::Reads => Failed { outcome: Outcome::DidNotHappen, ..failed },
            Effect::Writes => failed,
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which is not allowed on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("members", &self.members.urls).finish_non_exhaustive()
    }
}

impl Members {
    async fn ask(&self, effect: Effect, path: &'static str, body: String) -> Result<Value, Failed> {
        let first = self.first.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for index in (0..self.urls.len()).map(|offset| (first + offset) % self.urls.len()) {
            let url = &self.urls[index];
            match self.ask_one(url, path, body.clone()).await {
                Ok(answer) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failed) if effect == Effect::Writes && failed.outcome == Outcome::MayHaveHappened => {
                    self.first.store((index + 1) % self.urls.len(), Ordering::Relaxed);
                    return Err(Failed { why: format!("{url}: {}", failed.why), ..failed });
                }
                Err(failed) => failures.push(Failed { why: format!("{url}: {}", failed.why), ..failed }),
            }
        }
        let why = failures.iter().map(|failed| failed.why.as_str()).collect::<Vec<_>>().join("; ");
        Err(failures.pop().map_or_else(|| Failed::refused("it has no members"), |last| Failed { why, ..last }))
    }

    async fn ask_one(&self, url: &str, path: &str, body: String) -> Result<Value, Failed> {
        let request =
            self.client.post(format!("{url}{path}")).header(header::CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await.map_err(|error| not_sent(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| Failed::in_doubt(chain(&error)))?;
        if status != StatusCode::OK {
            return Err(refusal(status, &text));
        }
        serde_json::from_str(&text).map_err(|error| Failed::in_doubt(format!("what answers there is no etcd: {error}")))
    }
}

/// Without a connection nothing was sent.
fn not_sent(error: &reqwest::Error) -> Failed {
    if error.is_connect() { Failed::refused(chain(error)) } else { Failed::in_doubt(chain(error)) }
}

/// What etcd says instead of doing it. Only what it says before it begins is certain.
fn refusal(status: StatusCode, text: &str) -> Failed {
    let said = serde_json::from_str::<Value>(text).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or(text).trim();
    let (what, outcome) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (What::Denied, Outcome::DidNotHappen),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => (What::Other, Outcome::DidNotHappen),
        StatusCode::TOO_MANY_REQUESTS => (What::Full, Outcome::DidNotHappen),
        _ => (What::Other, Outcome::MayHaveHappened),
    };
    Failed { what, outcome, why: format!("answers {status}: {said}") }
}

/// The message of a client's error says little without its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// The program may have chosen one; else it is the one that needs no CMake to build.
fn install_crypto() {
    if CryptoProvider::get_default().is_none() {
        // Fails only if another thread was faster.
        let _ = ring::default_provider().install_default();
    }
}
