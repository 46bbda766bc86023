//! `cargo xtask bench recovery`: builds `highwater-bench` with RocksDB, and has it measure a cluster.

use std::path::Path;

use super::highwater;
use super::options::Backend;
use crate::child;

/// The part of the help that is about this command.
pub const HELP: &str = "\
Options of bench recovery:
  --rounds <n>                how often everything is measured, each time in a cluster of its own [default: 3]
  --keys <n>                  keys in the state [default: 1M]
  --rate <n>                  rows a second of each worker, while parts of the cluster are killed [default: 100k]
  --rows <n>                  rows of the runs that are measured for their throughput [default: 50M]
  --json                      print one JSON object instead of text
  --debug                     build Highwater without optimizations: to see that all works, not to compare figures
";

/// What is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    debug: bool,
    /// For `highwater-bench recovery`, which has the defaults.
    passed_on: Vec<String>,
}

impl Options {
    /// The measurement that the words after `bench recovery` stand for.
    pub fn parse(args: &[&str]) -> Result<Self, String> {
        let mut options = Options::default();
        let mut words = args.iter().flat_map(|word| match word.split_once('=') {
            Some((name, value)) => vec![name, value],
            None => vec![*word],
        });
        while let Some(name) = words.next() {
            match name {
                "--debug" => options.debug = true,
                "--json" => options.passed_on.push(name.to_owned()),
                "--rounds" | "--keys" | "--rate" | "--rows" => {
                    let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
                    super::options::count(value).ok_or_else(|| {
                        format!("{name} takes no {value:?}: give a whole number above 0, like 500k or 10M")
                    })?;
                    options.passed_on.extend([name, value].map(str::to_owned));
                }
                other => return Err(format!("bench recovery takes no argument {other:?}")),
            }
        }
        Ok(options)
    }
}

/// Measures, and prints what it showed.
pub fn run(options: &Options, root: &Path) -> Result<(), String> {
    highwater::build(options.debug, Backend::Rocksdb, root)?;
    let mut command = highwater::cargo("run", options.debug, Backend::Rocksdb, root);
    child::to_success(command.args(["-q", "--", "recovery"]).args(&options.passed_on))
        .map_err(|why| format!("highwater-bench recovery: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn what_the_benchmark_takes_is_passed_on() {
        assert_eq!(parsed(""), Ok(Options::default()));
        let all = "--rounds 5 --keys=20k --rate 5k --rows 1M --json";
        let passed_on = "--rounds 5 --keys 20k --rate 5k --rows 1M --json".split(' ').map(str::to_owned).collect();
        assert_eq!(parsed(&format!("--debug {all}")), Ok(Options { debug: true, passed_on }));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, message) in [
            ("--rounds", "--rounds needs a value"),
            ("--rounds 0", "--rounds takes no \"0\": give a whole number above 0, like 500k or 10M"),
            ("--keys many", "--keys takes no \"many\": give a whole number above 0, like 500k or 10M"),
            ("--fast", "bench recovery takes no argument \"--fast\""),
        ] {
            assert_eq!(parsed(line), Err(message.to_owned()), "{line}");
        }
    }
}
