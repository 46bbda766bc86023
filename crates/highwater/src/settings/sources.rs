//! Where settings come from, and which source wins.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env::{self, VarError};
use std::path::{Path, PathBuf};

use highwater_core::{Error, Result};

use super::args::JobArgs;
use super::file::File;
use super::key::Key;

/// The sources of one resolution.
pub(super) struct Sources<'a> {
    args: &'a JobArgs,
    file: Option<File>,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

/// A setting as it was given: text, and where that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    CommandLine,
    File { path: PathBuf, line: usize },
    Environment,
}

impl Origin {
    /// The place, and `key` as it is spelled there.
    pub(super) fn place(&self, key: Key) -> String {
        match self {
            Origin::CommandLine => format!("command line: --{}", key.name()),
            Origin::File { path, line } => format!("{}:{line}: {}", path.display(), key.name()),
            Origin::Environment => format!("environment: {}", key.variable()),
        }
    }
}

impl<'a> Sources<'a> {
    /// Reads the settings file, if one is named.
    pub(super) fn open(args: &'a JobArgs, environment: &'a dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut sources = Sources { args, file: None, environment };
        if let Some(Given { text, origin }) = sources.given(Key::Config) {
            let content = std::fs::read_to_string(&text).map_err(|cause| {
                Error::settings(format!("{} is {text:?}: cannot read that file", origin.place(Key::Config)))
                    .with_source(cause)
            })?;
            sources.file = Some(File::parse(Path::new(&text), &content)?);
        }
        Ok(sources)
    }

    /// The setting of the first source that gives it.
    fn given(&self, key: Key) -> Option<Given> {
        let args = || self.args.text(key).map(|text| Given { text: text.to_string(), origin: Origin::CommandLine });
        let file = || self.file.as_ref().and_then(|file| file.given(key).cloned());
        let environment = || {
            let text = (self.environment)(&key.variable()).filter(|text| !text.is_empty())?;
            Some(Given { text, origin: Origin::Environment })
        };
        args().or_else(file).or_else(environment)
    }

    /// The value of `key`, read by `parser`, whose error says what to give instead; `default` if no source gives it.
    pub(super) fn parse<T>(
        &self,
        key: Key,
        default: T,
        parser: impl FnOnce(&str) -> Result<T, Cow<'static, str>>,
    ) -> Result<T> {
        let Some(Given { text, origin }) = self.given(key) else {
            return Ok(default);
        };
        parser(&text).map_err(|why| Error::settings(format!("{} is {text:?}: {why}", origin.place(key))))
    }

    /// Where `key` was given.
    pub(super) fn place(&self, key: Key) -> String {
        self.given(key).map_or_else(|| format!("program: {}", key.name()), |given| given.origin.place(key))
    }
}

/// The variables of this process's environment that are settings: the door through which the environment comes in.
pub(super) fn environment() -> Result<HashMap<String, String>> {
    let mut variables = HashMap::new();
    for key in Key::ALL {
        let name = key.variable();
        match env::var(&name) {
            Ok(text) => drop(variables.insert(name, text)),
            Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(text)) => {
                return Err(Error::settings(format!("environment: {name} is {text:?}: give text in UTF-8")));
            }
        }
    }
    Ok(variables)
}
