//! What a user names, cut into the storage to open and the folder in it.

use std::fs::canonicalize;
use std::sync::Arc;

use highwater_core::Result;
use highwater_storage::layout::METADATA;
use highwater_storage::{CheckpointStorage, open_existing};

/// A path, or a URI with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Without a slash at the end, and without the name of the `_metadata` in it.
    path: String,
    /// From the question mark on; empty for what is on a file system.
    options: String,
}

impl Place {
    /// What `text` names. Of a local folder that exists the path is made absolute, so that every folder has a name and a parent.
    pub fn parse(text: &str) -> Place {
        let local = text.strip_prefix("file://").or_else(|| (!text.contains("://")).then_some(text));
        let (path, options) = match local {
            Some(path) => (path, ""),
            None => text.split_at(text.find('?').unwrap_or(text.len())),
        };
        let trimmed = path.trim_end_matches('/');
        let trimmed = match trimmed.strip_suffix(METADATA) {
            Some("") => ".",
            Some(folder) if folder.ends_with('/') => folder.trim_end_matches('/'),
            _ => trimmed,
        };
        let path = match (local, trimmed) {
            (Some(path), "") if path.starts_with('/') => "/".to_owned(),
            (Some(_), path) => {
                canonicalize(path).ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(path.into())
            }
            (None, path) => path.to_owned(),
        };
        Place { path, options: options.to_owned() }
    }

    /// The storage in this place.
    pub fn open(&self) -> Result<Arc<dyn CheckpointStorage>> {
        open_existing(&format!("{}{}", self.path, self.options))
    }

    /// The place around this one, and the name of this one in it; `None` if there is none around it.
    pub fn split(&self) -> Option<(Place, &str)> {
        let root = self.path.find("://").map_or(0, |at| at + "://".len());
        let (parent, name) = match self.path[root..].rsplit_once('/') {
            Some((parent, name)) => (&self.path[..root + parent.len()], name),
            None if root == 0 => (".", self.path.as_str()),
            None => return None,
        };
        let parent = if parent.is_empty() { "/" } else { parent };
        (!name.is_empty()).then(|| (Place { path: parent.to_owned(), options: self.options.clone() }, name))
    }

    /// Its name in the place around it.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<(String, String)> {
        let place = Place::parse(text);
        place.split().map(|(parent, name)| (format!("{}{}", parent.path, parent.options), name.to_owned()))
    }

    fn pair(parent: &str, name: &str) -> Option<(String, String)> {
        Some((parent.to_owned(), name.to_owned()))
    }

    #[test]
    fn folders_are_told_from_what_is_around_them() {
        assert_eq!(split("/no/such/job/chk-7"), pair("/no/such/job", "chk-7"));
        assert_eq!(split("file:///no/such/chk-7/_metadata"), pair("/no/such", "chk-7"));
        assert_eq!(split("no-such-chk"), pair(".", "no-such-chk"));
        assert_eq!(split("/no-such-chk//"), pair("/", "no-such-chk"));
        assert_eq!(split("/"), None);
        assert_eq!(split("s3://bucket/job/chk-7?region=x/y"), pair("s3://bucket/job?region=x/y", "chk-7"));
        assert_eq!(split("s3://bucket"), None);
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            split("."),
            pair(here.parent().unwrap().to_str().unwrap(), here.file_name().unwrap().to_str().unwrap())
        );
        assert_eq!(split("_metadata"), split("."));
    }
}
