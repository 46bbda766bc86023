//! What the output must be, counted by a loop that shares no code with the example, and what it is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// What is known of a client: requests, bytes, and time of the last request as ISO 8601.
type Last = (u64, u64, String);

/// What is known of every client at the end, and the lines that are no requests, sorted.
#[derive(Debug, Default)]
pub struct Counts {
    clients: HashMap<String, Last>,
    pub rejected: Vec<String>,
}

impl Counts {
    /// Counts the requests of a log.
    pub fn of_log(log: &Path) -> Self {
        let mut counts = Counts::default();
        for line in String::from_utf8_lossy(&std::fs::read(log).unwrap()).lines() {
            let Some((address, bytes, time)) = request(line) else {
                counts.rejected.push(line.into());
                continue;
            };
            let last = counts.clients.entry(address).or_default();
            *last = (last.0 + 1, last.1 + bytes, time.max(std::mem::take(&mut last.2)));
        }
        counts.rejected.sort();
        counts
    }

    /// How many requests there are.
    pub fn requests(&self) -> u64 {
        self.clients.values().map(|(requests, ..)| requests).sum()
    }

    /// Takes the last line of each client from the results, after a look at all of them: each client's requests are counted
    /// 1, 2, .. without a gap or a repetition, and what is known of it never goes back.
    pub fn of_results(results: &str) -> Self {
        let mut lines: HashMap<&str, Vec<(u64, u64, &str)>> = HashMap::new();
        for line in results.lines() {
            let columns: Vec<_> = line.split(',').collect();
            let [address, requests, bytes, time] = columns[..] else { panic!("{line:?} has not four columns") };
            let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} in {line:?}"));
            lines.entry(address).or_default().push((number(requests), number(bytes), time));
        }
        let mut counts = Counts::default();
        for (address, mut lines) in lines {
            lines.sort();
            for (index, line) in lines.iter().enumerate() {
                assert_eq!(line.0, index as u64 + 1, "request {} of {address} is missing or there twice", index + 1);
            }
            let grows = lines.windows(2).all(|pair| pair[0].1 <= pair[1].1 && pair[0].2 <= pair[1].2);
            assert!(grows, "bytes or time of {address} go back: {lines:?}");
            let (requests, bytes, time) = lines.pop().expect("an address comes with a line");
            counts.clients.insert(address.into(), (requests, bytes, time.into()));
        }
        counts
    }

    #[track_caller]
    pub fn assert_equals(&self, expected: &Counts) {
        for (address, last) in &expected.clients {
            assert_eq!(self.clients.get(address), Some(last), "{address}");
        }
        assert_eq!(self.clients.len(), expected.clients.len(), "addresses");
    }
}

/// Address, bytes and time of a line, by cutting it at its quotes.
fn request(line: &str) -> Option<(String, u64, String)> {
    let plain = match line.contains('\\') {
        true => Cow::Owned(line.replace("\\\\", "").replace("\\\"", "")),
        false => Cow::Borrowed(line),
    };
    let parts: Vec<_> = plain.split('"').collect();
    if parts.len() < 7 || !(parts[6].is_empty() || parts[6].starts_with(' ')) {
        return None;
    }
    let (address, _) = parts[0].split_once(' ')?;
    let stamp = parts[0].split_once('[')?.1.strip_suffix("] ")?;
    let bytes = match parts[2].split_whitespace().nth(1)? {
        "-" => 0,
        digits => digits.parse().ok()?,
    };
    Some((address.into(), bytes, iso(stamp)?))
}

/// `17/May/2015:10:05:03 +0000` as `2015-05-17T10:05:03Z`.
fn iso(stamp: &str) -> Option<String> {
    let (local, zone) = stamp.split_once(' ')?;
    assert_eq!(zone, "+0000", "this count knows only logs in UTC");
    let (date, time) = local.split_once(':')?;
    let parts: Vec<_> = date.split('/').collect();
    let [day, month, year] = parts[..] else { return None };
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month)? / 3 + 1;
    Some(format!("{year}-{month:02}-{day}T{time}Z"))
}
