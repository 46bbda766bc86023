//! The log that is read: generated from a seed, or given by the user.

use highwater_testing::Random;

use crate::calendar::{self, DAY};

/// 2016-02-28 00:00 UTC, shortly before a leap day.
const BEGIN: i64 = 1_456_617_600;
/// Time from one line to the next.
const STEP: i64 = 4;

/// A log of at least `lines` lines, with lines in between that are hours late, of clients of their own; with pages of their own, or
/// with none.
pub fn log(seed: u64, lines: usize, late_pages: bool) -> String {
    let lines: Vec<_> = match std::env::var("HIGHWATER_ACCESS_LOG") {
        Ok(given) => repeated(&given, lines),
        Err(_) => generated(seed, lines),
    };
    let mut log = String::new();
    for (index, line) in lines.iter().enumerate() {
        log += line;
        log.push('\n');
        if index % 250 == 249 && index > lines.len() / 3 {
            let stamp = stamp_of(&lines[index / 4]).expect("a line with a time");
            log += &late(index, stamp, late_pages);
        }
    }
    log
}

/// Lines of which none is later than by a minute.
pub fn generated(seed: u64, lines: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    (0..lines).map(|index| line(&mut random, index as i64)).collect()
}

/// `lines` lines of the first hour of a generated log, of clients of their own.
pub fn of_the_first_hour(lines: usize) -> String {
    (0..lines).map(|index| late(index, &calendar::stamp(BEGIN + (index * 3600 / lines) as i64), true)).collect()
}

fn late(index: usize, stamp: &str, has_page: bool) -> String {
    let request = if has_page { format!("GET /late/{index} HTTP/1.1") } else { "-".into() };
    format!("late-{index} - - [{stamp} +0000] \"{request}\" 408 - \"-\" \"-\"\n")
}

/// The given log as often as it takes, each time by some days later.
fn repeated(given: &str, lines: usize) -> Vec<String> {
    let text = std::fs::read(given).unwrap_or_else(|error| panic!("cannot read HIGHWATER_ACCESS_LOG={given}: {error}"));
    let text = String::from_utf8_lossy(&text).into_owned();
    let times: Vec<_> = text.lines().filter_map(|line| calendar::seconds(stamp_of(line)?)).collect();
    let (first, last) = (times.iter().min().expect("a line with a time"), times.iter().max().expect("as above"));
    let days = last / DAY - first / DAY + 1;
    let rounds = lines.div_ceil(text.lines().count());
    let later = |line: &str, round: i64| {
        let stamp = stamp_of(line)?;
        Some(line.replacen(stamp, &calendar::stamp(calendar::seconds(stamp)? + round * days * DAY), 1))
    };
    let rounds = (0..rounds as i64).flat_map(|round| text.lines().map(move |line| (line, round)));
    rounds.map(|(line, round)| later(line, round).unwrap_or_else(|| line.into())).collect()
}

/// `17/May/2015:10:05:03` of a line.
fn stamp_of(line: &str) -> Option<&str> {
    Some(line.split_once('[')?.1.split_once(" +0000]")?.0)
}

/// A line that is up to a minute late. Each client is there for 20 minutes of almost three hours, and may be there at any time.
fn line(random: &mut Random, index: i64) -> String {
    let now = BEGIN + index * STEP;
    let time = now - random.up_to(58) as i64;
    let client = match random.up_to(19) {
        0 => 1_000 + random.up_to(200),
        _ => random.up_to(19) * 8 + (now / 1200 % 8) as usize,
    };
    let status = match random.up_to(29) {
        _ if client % 11 == 0 => 404,
        0 => 500,
        1 => 404,
        _ => 200,
    };
    let page = random.up_to(60).min(random.up_to(60));
    let query = if random.chance(10) { "?from=\\\"here\\\"" } else { "" };
    let request = if random.chance(1) { "-".into() } else { format!("GET /page/{page}{query} HTTP/1.1") };
    let stamp = calendar::stamp(time);
    let line =
        format!("10.2.{}.{} - - [{stamp} +0000] \"{request}\" {status} 17 \"-\" \"-\"", client / 256, client % 256);
    if index % 700 == 1 { line[..line.len() - 20].into() } else { line }
}
