//! The names of part files: the one place that builds and parses them.

use highwater_core::{CheckpointId, Error, Result, SubtaskIndex};
use highwater_state::Data;

const IN_PROGRESS: &str = ".inprogress";

/// A part file as a checkpoint remembers it: in progress with its length then, or pending.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub struct PartFile {
    pub(super) name: String,
    pub(super) len: u64,
}

impl PartFile {
    /// The name it has when it is finished.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// How the part files of one sink are called.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    prefix: String,
    suffix: String,
}

impl Naming {
    /// Names that begin with `prefix` and end with `suffix`.
    pub(super) fn parse(prefix: &str, suffix: &str) -> Result<Self> {
        let stays_in_folder = |part: &str| !part.contains(['/', '\\', '\0']);
        if prefix.is_empty() || prefix.starts_with('.') || !stays_in_folder(prefix) || !stays_in_folder(suffix) {
            return Err(Error::settings(format!(
                "part files cannot be called {prefix}..{suffix}: give a prefix that does not start with a dot, and no slashes"
            )));
        }
        Ok(Naming { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    /// The name of a finished part file.
    pub(super) fn part(&self, subtask: SubtaskIndex, epoch: CheckpointId, counter: u64) -> String {
        format!("{}-{subtask}-{epoch}-{counter}{}", self.prefix, self.suffix)
    }

    /// The name of the lock that keeps two sinks of the same names apart.
    pub(super) fn lock(&self) -> String {
        format!(".{}{}.lock", self.prefix, self.suffix)
    }

    /// If `file_name` is that of an unfinished part file of this sink: its finished name, and its epoch.
    pub(super) fn parse_in_progress<'a>(&self, file_name: &'a str) -> Option<(&'a str, CheckpointId)> {
        let name = file_name.strip_prefix('.')?.strip_suffix(IN_PROGRESS)?;
        let numbers = name.strip_prefix(&self.prefix)?.strip_prefix('-')?.strip_suffix(&self.suffix)?;
        let mut numbers = numbers.split('-').map(str::parse);
        let (subtask, epoch, counter) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let (subtask, epoch) = (SubtaskIndex(u32::try_from(subtask).ok()?), CheckpointId(epoch));
        // Built anew and compared, so that nothing passes that this sink would not have written: `+1`, `007`, a fourth number.
        (self.part(subtask, epoch, counter) == name).then_some((name, epoch))
    }
}

/// The name of a part file before it is finished.
pub(super) fn in_progress(name: &str) -> String {
    format!(".{name}{IN_PROGRESS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_this_sink_would_write_are_its_own() {
        let naming = Naming::parse("part", ".csv").unwrap();
        let name = naming.part(SubtaskIndex(2), CheckpointId(17), 30);
        assert_eq!(name, "part-2-17-30.csv");
        assert_eq!(naming.parse_in_progress(&in_progress(&name)), Some((name.as_str(), CheckpointId(17))));
        for other in [
            "part-2-17-30.csv",
            ".part-2-17-30.csv",
            ".part-2-17-30.inprogress",
            ".part-2-17.csv.inprogress",
            ".part-2-17-30-1.csv.inprogress",
            ".part-x-17-30.csv.inprogress",
            ".part-02-17-30.csv.inprogress",
            ".part-+2-17-30.csv.inprogress",
            ".part-4294967296-17-30.csv.inprogress",
            ".part-a-2-17-30.csv.inprogress",
            ".other-2-17-30.csv.inprogress",
        ] {
            assert_eq!(naming.parse_in_progress(other), None, "{other}");
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_or_hide_output_are_refused() {
        for (prefix, suffix) in [("", ""), (".part", ""), ("a/b", ""), ("part", "/../x"), ("a\\b", "")] {
            assert!(Naming::parse(prefix, suffix).is_err(), "{prefix:?} {suffix:?}");
        }
    }
}
