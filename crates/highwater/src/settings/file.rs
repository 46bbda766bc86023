//! The settings file: one flat TOML table whose keys are the names of the settings.

use std::path::Path;

use highwater_core::{Error, Result};
use toml::de::{DeTable, DeValue};

use super::key::Key;
use super::sources::{Given, Origin};

/// What a settings file gives.
#[derive(Debug)]
pub(super) struct File {
    given: Vec<(Key, Given)>,
}

impl File {
    /// Reads `content`; `path` is for messages.
    ///
    /// # Errors
    /// If it is not TOML, or names something that is no setting.
    pub(super) fn parse(path: &Path, content: &str) -> Result<Self> {
        let refused =
            |at: usize, why: &str| Error::settings(format!("{}:{}: {why}", path.display(), line_of(content, at)));
        let table = DeTable::parse(content)
            .map_err(|error| refused(error.span().map_or(0, |span| span.start), error.message()))?
            .into_inner();
        // The table is ordered by name: report the first mistake of the file first.
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut given = Vec::new();
        for (name, value) in entries {
            let at = name.span().start;
            let key = Key::in_file(name.get_ref()).map_err(|why| refused(at, &why))?;
            let text = text_of(key, value.get_ref()).map_err(|why| refused(at, &why))?;
            let origin = Origin::File { path: path.to_path_buf(), line: line_of(content, at) };
            given.push((key, Given { text, origin }));
        }
        Ok(File { given })
    }

    /// The setting `key`, if the file gives it.
    pub(super) fn given(&self, key: Key) -> Option<&Given> {
        self.given.iter().find_map(|(name, given)| (*name == key).then_some(given))
    }
}

/// The line, from 1, of the byte at `offset`.
fn line_of(content: &str, offset: usize) -> usize {
    1 + content.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The value as the command line would have it.
fn text_of(key: Key, value: &DeValue<'_>) -> Result<String, String> {
    let name = key.name();
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        DeValue::Array(items) if key == Key::Jobmanager => {
            let items = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.as_ref()),
                other => Err(format!("{name} holds a value of type {}: give strings", other.type_str())),
            });
            Ok(items.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        DeValue::Array(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            Err(format!("{name} is of type {}: give it as on the command line, in quotes", value.type_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &str) -> Result<File> {
        File::parse(Path::new("job.toml"), content)
    }

    #[test]
    fn values_become_the_text_of_the_command_line() {
        let content =
            "workers = 1_0\ncheckpoint-interval = \"1s\"\n\nfresh = true\njobmanager = [\n  \"a:1\",\n  'b:2',\n]\n";
        let file = parse(content).unwrap();
        for (key, text, line) in [
            (Key::Workers, "10", 1),
            (Key::CheckpointInterval, "1s", 2),
            (Key::Fresh, "true", 4),
            (Key::Jobmanager, "a:1,b:2", 5),
        ] {
            let origin = Origin::File { path: "job.toml".into(), line };
            assert_eq!(file.given(key), Some(&Given { text: text.to_string(), origin }));
        }
        assert_eq!(file.given(Key::Slots), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (content, message) in [
            ("# jobs\nwokers = 2\n", "job.toml:2: there is no setting \"wokers\": did you mean workers?"),
            ("zeal = 1\nbravery = 2", "job.toml:1: there is no setting \"zeal\": the settings are workers, "),
            (
                "[checkpoint]\ninterval = \"1s\"",
                "job.toml:1: there is no setting \"checkpoint\": did you mean checkpoint-",
            ),
            ("\nworkers = [2]", "job.toml:2: workers is of type array: give it as on the command line, in quotes"),
            ("fresh = 2026-01-01", "job.toml:1: fresh is of type datetime: give it as on the command line, in quotes"),
            ("jobmanager.a = 1", "job.toml:1: jobmanager is of type table: give it as on the command line, in quotes"),
            ("jobmanager = [\"a:1\", 2]", "job.toml:1: jobmanager holds a value of type integer: give strings"),
            ("workers = 1\nworkers = 2", "job.toml:2: duplicate key"),
            ("workers = 1\nfresh = yes", "job.toml:2: "),
        ] {
            let error = parse(content).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
            assert_eq!(error.kind(), highwater_core::ErrorKind::Settings);
        }
    }
}
