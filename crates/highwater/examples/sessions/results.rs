//! What windows keep of hits, and what they make of it: lines of CSV.
//!
//! Invariant: an address has no character that would need quotes; a page may have any, and stands last.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use highwater::prelude::*;
use highwater::window::TimeWindow;

use super::hits::Hit;
use super::time::UnixSeconds;

/// What is kept of the hits of a session.
#[derive(Clone, Debug, Default, Data)]
pub struct SessionTotals {
    requests: u64,
    errors: u64,
}

impl Aggregate for SessionTotals {
    type In = Hit;
    type Accumulator = SessionTotals;
    type Out = SessionTotals;

    fn create() -> SessionTotals {
        SessionTotals::default()
    }

    fn add(totals: &mut SessionTotals, hit: Hit) {
        totals.requests += 1;
        totals.errors += u64::from(hit.is_error());
    }

    fn result(totals: &SessionTotals) -> SessionTotals {
        totals.clone()
    }

    fn merge(totals: &mut SessionTotals, other: SessionTotals) {
        totals.requests += other.requests;
        totals.errors += other.errors;
    }
}

/// A visit of a client from its first request to its last.
#[derive(Clone, Debug)]
pub struct Session {
    address: String,
    first_time: UnixSeconds,
    last_time: UnixSeconds,
    totals: SessionTotals,
}

impl Session {
    /// Of a window that ends `gap` after the last request.
    pub fn new(address: &str, window: TimeWindow, gap: Duration, totals: &SessionTotals) -> Self {
        let (first_time, UnixSeconds(end)) = (seconds(window.start_ms), seconds(window.end_ms));
        let last_time = UnixSeconds(end - gap.as_secs() as i64);
        Session { address: address.into(), first_time, last_time, totals: totals.clone() }
    }

    /// Appends the line `address,first_time,last_time,requests,errors`.
    pub fn append_csv(&self, out: &mut Vec<u8>) {
        let Session { address, first_time, last_time, totals: SessionTotals { requests, errors } } = self;
        writeln!(out, "{address},{first_time},{last_time},{requests},{errors}").expect("memory takes everything");
    }
}

/// How often a page was requested.
#[derive(Clone, Debug, Data)]
pub struct PageCount {
    pub page: String,
    pub requests: u64,
}

impl PageCount {
    /// Takes `more` into `top`, which keeps the `n` most requested, in their order.
    pub fn add_to_top(top: &mut Vec<PageCount>, more: Vec<PageCount>, n: NonZeroUsize) {
        top.extend(more);
        top.sort_by(|one, other| other.requests.cmp(&one.requests).then_with(|| one.page.cmp(&other.page)));
        top.truncate(n.get());
    }
}

/// A page with its place among those of an hour.
#[derive(Clone, Debug)]
pub struct TopPage {
    hour: UnixSeconds,
    /// From 1.
    rank: usize,
    count: PageCount,
}

impl TopPage {
    /// The pages of an hour, of which the first is the most requested.
    pub fn ranked(hour: TimeWindow, top: Vec<PageCount>) -> impl Iterator<Item = TopPage> {
        let hour = seconds(hour.start_ms);
        (1..).zip(top).map(move |(rank, count)| TopPage { hour, rank, count })
    }

    /// Appends the line `hour,rank,requests,page`.
    pub fn append_csv(&self, out: &mut Vec<u8>) {
        let TopPage { hour, rank, count: PageCount { page, requests } } = self;
        writeln!(out, "{hour},{rank},{requests},{page}").expect("memory takes everything");
    }
}

/// A window in which a client got too many errors.
#[derive(Clone, Debug)]
pub struct Burst {
    address: String,
    from: UnixSeconds,
    to: UnixSeconds,
    errors: u64,
}

impl Burst {
    pub fn new(address: &str, window: TimeWindow, errors: u64) -> Self {
        Burst { address: address.into(), from: seconds(window.start_ms), to: seconds(window.end_ms), errors }
    }

    /// Appends the line `address,from,to,errors`; `to` is the first time after the window.
    pub fn append_csv(&self, out: &mut Vec<u8>) {
        let Burst { address, from, to, errors } = self;
        writeln!(out, "{address},{from},{to},{errors}").expect("memory takes everything");
    }
}

/// The log knows whole seconds only, and windows are as long.
fn seconds(time_ms: i64) -> UnixSeconds {
    UnixSeconds(time_ms.div_euclid(1_000))
}
