//! What the output must be, by loops that share no code with the example.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::{iso, seconds};

/// The end of its window, and its line.
pub type Result = (i64, String);

const GAP: i64 = 30 * 60;
const BURST: i64 = 5 * 60;

/// One request.
#[derive(Clone, Debug)]
pub struct Hit {
    address: String,
    time: i64,
    status: u16,
    page: String,
}

impl Hit {
    pub fn time(&self) -> i64 {
        self.time
    }

    /// As it stands among the late ones.
    pub fn row(&self) -> String {
        format!("{},{},{},{}", iso(self.time), self.address, self.status, self.page)
    }

    /// Whether the line was put into the log to be late.
    pub fn is_made_late(&self) -> bool {
        self.address.starts_with("late-")
    }

    /// Cuts a line at the quotes that are no part of what they enclose.
    fn parse(line: &str) -> Option<Hit> {
        let (mut parts, mut escaped) = (vec![String::new()], false);
        for character in line.chars() {
            if character == '"' && !escaped {
                parts.push(String::new());
                continue;
            }
            escaped = character == '\\' && !escaped;
            parts.last_mut()?.push(character);
        }
        let [head, request, response, _, _, _, _, ..] = &parts[..] else { return None };
        let (stamp, zone) = head.split_once('[')?.1.strip_suffix("] ")?.split_once(' ')?;
        assert_eq!(zone, "+0000", "these loops know only logs in UTC");
        let target = request.split(' ').filter(|word| !word.is_empty()).nth(1).unwrap_or("");
        Some(Hit {
            address: head.split(' ').next()?.into(),
            time: seconds(stamp)?,
            status: response.split_whitespace().next()?.parse().ok()?,
            page: target.split('?').next()?.into(),
        })
    }
}

/// The requests of a log, and the lines that are none.
pub fn hits(log: &str) -> (Vec<Hit>, Vec<String>) {
    let (mut hits, mut rejected) = (Vec::new(), Vec::new());
    for line in log.lines() {
        match Hit::parse(line) {
            Some(hit) => hits.push(hit),
            None => rejected.push(line.to_string()),
        }
    }
    (hits, rejected)
}

/// `address,first_time,last_time,requests,errors`
pub fn sessions(hits: &[Hit]) -> Vec<Result> {
    let mut sorted: Vec<_> = hits.iter().map(|hit| (&hit.address, hit.time, hit.status)).collect();
    sorted.sort();
    let same_session = |one: &(&String, i64, u16), next: &(&String, i64, u16)| one.0 == next.0 && next.1 - one.1 <= GAP;
    let sessions = sorted.chunk_by(same_session).map(|session| {
        let (first, last) = (session[0], session[session.len() - 1]);
        let errors = session.iter().filter(|hit| hit.2 >= 400).count();
        (last.1 + GAP, format!("{},{},{},{},{errors}", first.0, iso(first.1), iso(last.1), session.len()))
    });
    sessions.collect()
}

/// `hour,rank,requests,page`
pub fn top_pages(hits: &[Hit]) -> Vec<Result> {
    let mut hours: BTreeMap<i64, BTreeMap<&str, i64>> = BTreeMap::new();
    for hit in hits.iter().filter(|hit| !hit.page.is_empty()) {
        *hours.entry(hit.time / 3600).or_default().entry(&hit.page).or_default() += 1;
    }
    let mut rows = Vec::new();
    for (hour, pages) in hours {
        let top: BTreeSet<_> = pages.into_iter().map(|(page, requests)| (-requests, page)).collect();
        let row = |rank, requests: i64, page| format!("{},{rank},{},{page}", iso(hour * 3600), -requests);
        let ranked = top.into_iter().zip(1..=10);
        rows.extend(ranked.map(|((requests, page), rank)| ((hour + 1) * 3600, row(rank, requests, page))));
    }
    rows
}

/// `address,from,to,errors`
pub fn bursts(hits: &[Hit]) -> Vec<Result> {
    let mut windows: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    for hit in hits.iter().filter(|hit| hit.status >= 400) {
        let minute = hit.time / 60;
        for from in (minute - 10..=minute).map(|minute| minute * 60) {
            if from + BURST > hit.time {
                *windows.entry((&hit.address, from)).or_default() += 1;
            }
        }
    }
    let bursts = windows.into_iter().filter(|(_, errors)| *errors >= 5);
    let row = |address, from, errors| format!("{address},{},{},{errors}", iso(from), iso(from + BURST));
    bursts.map(|((address, from), errors)| (from + BURST, row(address, from, errors))).collect()
}
