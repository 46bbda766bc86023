//! The files of q10 hold every bid once, in the folder of its minute, however often the job crashes.

use std::collections::BTreeMap;
use std::path::Path;

use highwater_nexmark::queries::q10::q10;
use highwater_nexmark::{Event, Generator, MinuteFiles, NexmarkSource};
use highwater_testing::harness::{Interruption, run_to_the_end};

use crate::Tempo;
use crate::time::{day, minute, timestamp};

const EVENTS: u64 = 6_000;

/// Six minutes.
const TEMPO: Tempo = Tempo { times: 600, most: u64::MAX };

/// The lines of the files that are visible, by the path of their folder.
fn visible(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let list = |dir: &Path| -> Vec<_> { dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect() };
    let mut lines = BTreeMap::<String, Vec<String>>::new();
    for folder in list(dir).iter().flat_map(|day| list(day)) {
        let name = folder.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        for file in list(&folder).iter().filter(|file| !file.file_name().unwrap().to_str().unwrap().starts_with('.')) {
            let text = std::fs::read_to_string(file).unwrap();
            lines.entry(name.clone()).or_default().extend(text.lines().map(str::to_owned));
        }
    }
    lines.values_mut().for_each(|lines| lines.sort_unstable());
    lines
}

#[test]
fn each_bid_is_in_the_folder_of_its_minute_once() {
    let dir = tempfile::tempdir().unwrap();
    run_to_the_end(Interruption::Crash, &[1, 3, 2], |stage| {
        let events = stage.source(NexmarkSource::new(EVENTS), TEMPO.watermarks(), "nexmark").uid("nexmark");
        let events = events.map(|event| Ok(TEMPO.stretch(event)));
        q10(&events).sink_to(MinuteFiles::new(dir.path())).uid("files");
    });
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    for event in Generator::new(EVENTS) {
        let Event::Bid(bid) = TEMPO.stretch(event) else { continue };
        let folder = format!("dt={}/hm={}", day(bid.date_time), minute(bid.date_time).replace(':', "%3A"));
        let line = format!("{},{},{},{},{}", bid.auction, bid.bidder, bid.price, timestamp(bid.date_time), bid.extra);
        expected.entry(folder).or_default().push(line);
    }
    expected.values_mut().for_each(|lines| lines.sort_unstable());
    let actual = visible(dir.path());
    assert_eq!(actual.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(actual.len() == 6 && actual == expected, "the rows differ in {} folders", actual.len());
}
