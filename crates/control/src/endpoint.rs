//! The way to whichever JobManager leads.
//!
//! Everybody who wants the leader has the addresses of some JobManagers, tries one after the other, and goes where a standby sends it.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::network::{CONNECTION_WINDOW, OPENING, STREAM_WINDOW};
use crate::server::STANDBY;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(2);

/// The addresses of JobManagers, as a user gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<String>);

/// Trying each address once.
pub(crate) struct Round {
    left: VecDeque<String>,
    tried: Vec<(String, String)>,
}

/// Why an address was no use.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// A standby, which may know the leader.
    Standby(Option<String>),
    /// The leader, and its answer.
    Answered(Status),
    /// Nobody, or something else.
    Failed(String),
}

impl Addresses {
    /// Reads `host:port[,host:port..]`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(addresses: &str) -> Result<Addresses> {
        let addresses: Vec<_> = addresses.split(',').map(|address| address.trim().to_owned()).collect();
        match addresses.iter().find(|address| !is_address(address)) {
            Some(bad) => Err(Error::settings(format!(
                "{bad:?} is not the address of a JobManager: name each as host:port, with commas between them"
            ))),
            None => Ok(Addresses(addresses)),
        }
    }

    /// Each as host:port.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_host = !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0) && Endpoint::from_shared(uri(address)).is_ok()
}

fn uri(address: &str) -> String {
    format!("http://{address}")
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl Round {
    /// Over `addresses`, but first to `leader`, which led when it was last heard of.
    pub fn new(addresses: &Addresses, leader: Option<&str>) -> Round {
        let others = addresses.0.iter().filter(|address| Some(address.as_str()) != leader);
        Round { left: leader.map(str::to_owned).into_iter().chain(others.cloned()).collect(), tried: Vec::new() }
    }

    /// What to try next.
    pub fn next(&mut self) -> Option<String> {
        self.left.pop_front()
    }

    /// `address` was no use, and `why`. The leader that it names is next, unless it was tried.
    pub fn failed(&mut self, address: String, why: Unanswered) {
        let words = match why {
            Unanswered::Standby(Some(leader)) => {
                let words = format!("is a standby of {leader}");
                self.left.retain(|left| *left != leader);
                if address != leader && !self.tried.iter().any(|(tried, _)| *tried == leader) && is_address(&leader) {
                    self.left.push_front(leader);
                }
                words
            }
            Unanswered::Standby(None) => "is a standby, and knows no leader".to_owned(),
            Unanswered::Answered(status) => words(&status),
            Unanswered::Failed(words) => words,
        };
        self.tried.push((address, words));
    }

    /// Nobody leads who was looked for at `addresses` for so long.
    pub fn nobody(&self, addresses: &Addresses, searched: Duration) -> Error {
        let message = format!(
            "no leading JobManager at {addresses} for {searched:.1?} ({}): is one running, and is the address right?",
            self.report()
        );
        Error::new(ErrorKind::Cluster, message)
    }

    fn report(&self) -> String {
        let tried = self.tried.iter().map(|(address, why)| format!("{address}: {why}"));
        tried.collect::<Vec<_>>().join("; ")
    }
}

/// Connects to `address`.
pub(crate) async fn connect(address: &str) -> std::result::Result<Channel, Unanswered> {
    let failed = |error: tonic::transport::Error| Unanswered::Failed(chain(&error));
    let endpoint = Endpoint::from_shared(uri(address)).map_err(failed)?;
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(OPENING)
        .keep_alive_timeout(OPENING)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    endpoint.connect().await.map_err(failed)
}

impl From<Status> for Unanswered {
    fn from(status: Status) -> Self {
        let leader = status.metadata().get(STANDBY).and_then(|leader| leader.to_str().ok());
        match leader {
            Some(leader) => Unanswered::Standby(Some(leader.to_owned()).filter(|leader| !leader.is_empty())),
            None if status.source().is_some() => Unanswered::Failed(words(&status)),
            None => Unanswered::Answered(status),
        }
    }
}

/// What a status says, for people.
pub(crate) fn words(status: &Status) -> String {
    let cause = status.source().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
    match status.code() {
        tonic::Code::Unimplemented => "does not speak Highwater's protocol".to_owned(),
        _ => format!("{}{cause}", status.message()),
    }
}

/// An error with its causes; one that only repeats what its cause says is left out.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_anything_else_is_refused() {
        let addresses = Addresses::parse("10.0.0.1:6123, [::1]:7,jobs.example.org:80").unwrap();
        assert_eq!(addresses.to_string(), "10.0.0.1:6123, [::1]:7, jobs.example.org:80");
        for bad in ["", "host", "host:", ":80", "host:0", "host:70000", "a:1,,b:2", "http://a:80", "::1:80", "a b:80"] {
            let error = Addresses::parse(bad).unwrap_err().to_string();
            assert!(error.contains("host:port"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_round_goes_where_a_standby_sends_it_and_nowhere_twice() {
        let addresses = Addresses::parse("a:1,b:1,c:1").unwrap();
        let standby = |leader: &str| Unanswered::Standby(Some(leader.to_owned()));
        let mut round = Round::new(&addresses, None);
        for (expected, leader) in [("a:1", "c:1"), ("c:1", "d:1"), ("d:1", "a:1"), ("b:1", "d:1")] {
            let address = round.next().unwrap();
            assert_eq!(address, expected);
            round.failed(address, standby(leader));
        }
        assert_eq!(round.next(), None);
        assert!(round.report().starts_with("a:1: is a standby of c:1; c:1: "), "{}", round.report());
        let mut round = Round::new(&addresses, Some("b:1"));
        assert_eq!([round.next(), round.next()], [Some("b:1".to_owned()), Some("a:1".to_owned())]);
    }
}
