//! What the words after `bench` ask for.

/// The part of the help that is about this command.
pub const HELP: &str = "\
Options of bench:
  --vs flink                  the system to compare with; Flink is installed if it is missing, 300 MB
  --query <names>             keyed-count, q0, .., separated by commas, or all [default: keyed-count,q0,q1,q2,q5,q8]
  --events <n>                events, or rows of keyed-count; k, M and G are allowed [default: 10M]
  --keys <n>                  keys of keyed-count [default: 1M]
  --rounds <n>                how often each is measured, in turn; medians are printed [default: 3]
  --parallelism <n>           worker threads, and slots of Flink [default: 2]
  --checkpoint-interval <t>   like 500ms or 1s, or off [default: 1s]
  --backend <name>            where the state is: memory (Flink's hashmap) or rocksdb [default: memory]
  --memory-budget <bytes>     for each worker: RocksDB's memory, and Flink's managed memory [default: 256M]
  --heap <size>               of Flink's JVM [default: 4g]
  --check-events <n>          how many events the results of queries are compared over, at most [default: 100k]
  --json                      print one JSON array instead of text
  --debug                     build Highwater without optimizations: to see that all works, not to compare figures
";

/// Where the state of both is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Memory,
    Rocksdb,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub queries: Vec<String>,
    pub events: u64,
    pub keys: u64,
    pub rounds: u32,
    pub parallelism: u32,
    pub checkpoint_interval_ms: Option<u64>,
    pub backend: Backend,
    pub memory_budget: u64,
    pub heap: String,
    pub check_events: u64,
    pub json: bool,
    pub debug: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            queries: ["keyed-count", "q0", "q1", "q2", "q5", "q8"].map(str::to_owned).to_vec(),
            events: 10_000_000,
            keys: 1_000_000,
            rounds: 3,
            parallelism: 2,
            checkpoint_interval_ms: Some(1_000),
            backend: Backend::Memory,
            memory_budget: 256_000_000,
            heap: "4g".to_owned(),
            check_events: 100_000,
            json: false,
            debug: false,
        }
    }
}

impl Options {
    /// The comparison that the words after `bench` stand for.
    pub fn parse(args: &[&str]) -> Result<Self, String> {
        let mut options = Options::default();
        let mut versus = None;
        let mut words = args.iter().flat_map(|word| match word.split_once('=') {
            Some((name, value)) => vec![name, value],
            None => vec![*word],
        });
        while let Some(name) = words.next() {
            match name {
                "--json" => options.json = true,
                "--debug" => options.debug = true,
                _ => {
                    let mut value = || words.next().ok_or_else(|| format!("{name} needs a value"));
                    if name == "--vs" {
                        versus = Some(value()?);
                    } else {
                        options.set(name, value)?;
                    }
                }
            }
        }
        match versus {
            Some("flink") => Ok(options),
            Some(other) => Err(format!("there is nothing to compare with {other:?}: give --vs flink")),
            None => Err("bench needs --vs flink, or recovery in front of all else".to_owned()),
        }
    }

    fn set<'a>(&mut self, name: &str, mut value: impl FnMut() -> Result<&'a str, String>) -> Result<(), String> {
        let mut whole = |limit: u64| {
            let value = value()?;
            count(value).filter(|number| *number <= limit).ok_or_else(|| {
                format!("{name} takes no {value:?}: give a whole number from 1 to {limit}, like 500k or 10M")
            })
        };
        const MOST: u64 = i64::MAX as u64;
        match name {
            "--events" => self.events = whole(MOST)?,
            "--keys" => self.keys = whole(MOST)?,
            "--check-events" => self.check_events = whole(MOST)?,
            "--memory-budget" => self.memory_budget = whole(1 << 48)?,
            "--rounds" => self.rounds = whole(1_000)? as u32,
            "--parallelism" => self.parallelism = whole(1_024)? as u32,
            "--query" => self.queries = value()?.split(',').map(str::to_owned).collect(),
            "--checkpoint-interval" => self.checkpoint_interval_ms = interval_ms(value()?)?,
            "--heap" => self.heap = heap(value()?)?,
            "--backend" => {
                self.backend = match value()? {
                    "memory" => Backend::Memory,
                    "rocksdb" => Backend::Rocksdb,
                    other => return Err(format!("there is no backend {other:?}: give memory or rocksdb")),
                }
            }
            other => return Err(format!("bench takes no argument {other:?}")),
        }
        Ok(())
    }

    /// The interval as `highwater-bench` takes it.
    pub fn checkpoint_interval(&self) -> String {
        self.checkpoint_interval_ms.map_or("off".to_owned(), |ms| format!("{ms}ms"))
    }
}

/// A whole number above 0, with a unit or not.
pub fn count(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().next_back()? {
        (end, 'k') => (&text[..end], 1_000),
        (end, 'M') => (&text[..end], 1_000_000),
        (end, 'G') => (&text[..end], 1_000_000_000),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|count| *count > 0)
}

fn interval_ms(text: &str) -> Result<Option<u64>, String> {
    if text == "off" {
        return Ok(None);
    }
    let ms = match text.strip_suffix("ms") {
        Some(ms) => ms.parse::<u64>().ok(),
        None => text.strip_suffix('s').and_then(|s| s.parse::<u64>().ok()?.checked_mul(1_000)),
    };
    // Flink takes none below 10 ms.
    ms.filter(|ms| (10..=86_400_000).contains(ms)).map(Some).ok_or_else(|| {
        format!("--checkpoint-interval takes no {text:?}: give a time from 10ms to a day, like 500ms or 1s, or off")
    })
}

/// As the JVM takes it.
fn heap(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['m', 'M', 'g', 'G']).and_then(|number| number.parse::<u32>().ok());
    number
        .filter(|number| *number > 0)
        .map(|_| text.to_owned())
        .ok_or_else(|| format!("--heap takes no {text:?}: give a size like 512m or 4g"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn every_option_is_understood() {
        assert_eq!(parsed("--vs flink"), Ok(Options::default()));
        let all = "--vs=flink --query q5,all --events 2M --keys 7 --rounds 5 --parallelism 4 --checkpoint-interval 500ms \
                   --backend rocksdb --memory-budget 64M --heap 512m --check-events 20k --json --debug";
        let expected = Options {
            queries: vec!["q5".into(), "all".into()],
            events: 2_000_000,
            keys: 7,
            rounds: 5,
            parallelism: 4,
            checkpoint_interval_ms: Some(500),
            backend: Backend::Rocksdb,
            memory_budget: 64_000_000,
            heap: "512m".into(),
            check_events: 20_000,
            json: true,
            debug: true,
        };
        assert_eq!(parsed(all), Ok(expected));
        assert_eq!(
            parsed("--vs flink --checkpoint-interval off").map(|options| options.checkpoint_interval_ms),
            Ok(None)
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, message) in [
            ("", "bench needs --vs flink, or recovery"),
            ("--vs", "--vs needs a value"),
            ("--vs spark", "there is nothing to compare with \"spark\": give --vs flink"),
            ("--vs flink --events 0", "--events takes no \"0\""),
            ("--vs flink --events 20000000000G", "--events takes no \"20000000000G\""),
            ("--vs flink --parallelism 5k", "--parallelism takes no \"5k\""),
            ("--vs flink --checkpoint-interval 1ms", "--checkpoint-interval takes no \"1ms\""),
            ("--vs flink --heap 4", "--heap takes no \"4\""),
            ("--vs flink --backend disk", "there is no backend \"disk\""),
            ("--vs flink --fast now", "bench takes no argument \"--fast\""),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }
}
