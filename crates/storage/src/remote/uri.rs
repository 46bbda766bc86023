//! `scheme://authority/path?option=value&option=value`, taken apart.
//!
//! Invariant: an option that is not known, given twice or not readable is an error, never passed over.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_core::{Error, Result};

use super::Limits;

/// A checkpoint storage's URI. What is left in `options` in the end is unknown.
#[derive(Debug)]
pub(crate) struct RemoteUri<'a> {
    whole: &'a str,
    /// Between the scheme and the first slash of the path: host and port, or a bucket.
    pub(crate) authority: &'a str,
    /// Without slashes at its ends; empty for the root.
    pub(crate) path: &'a str,
    /// As given, with its question mark; empty if there are none.
    pub(crate) query: String,
    options: BTreeMap<String, String>,
}

impl<'a> RemoteUri<'a> {
    /// Takes `uri` apart, of which `rest` is what follows `scheme://`.
    pub(crate) fn parse(whole: &'a str, rest: &'a str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let with_mark = if query.is_empty() { String::new() } else { format!("?{query}") };
        let path = path.trim_matches('/');
        let mut uri = RemoteUri { whole, authority, path, query: with_mark, options: BTreeMap::new() };
        if uri.path.split('/').any(|part| matches!(part, "." | "..")) || uri.path.contains("//") {
            return Err(uri.unusable("a path has no '.', '..' or empty parts"));
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if uri.options.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(uri.unusable(&format!("option {name:?} is given twice")));
            }
        }
        Ok(uri)
    }

    /// The value of an option, which is known from now on.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    /// The value of an option that is `true` or `false`.
    #[cfg(feature = "s3")]
    pub(crate) fn take_flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.take_with(name, "true or false", |value| value.parse().ok())
    }

    /// The value of an option that is a whole number above zero.
    #[cfg(feature = "hdfs")]
    pub(crate) fn take_count(&mut self, name: &str) -> Result<Option<u32>> {
        self.take_with(name, "a whole number above zero", |value| value.parse().ok().filter(|count| *count > 0))
    }

    /// The options that every storage behind a network has: `timeout` and `lease`.
    pub(crate) fn take_limits(&mut self) -> Result<Limits> {
        let default = Limits::default();
        let expected = "a duration of at least 100ms, as in 500ms, 30s or 2m";
        let operation = self.take_with("timeout", expected, parse_duration)?;
        let lease = self.take_with("lease", expected, parse_duration)?;
        Ok(Limits::of(operation.unwrap_or(default.operation), lease.unwrap_or(default.lease)))
    }

    /// Refuses options that nobody took.
    pub(crate) fn nothing_left(&self, known: &str) -> Result<()> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.unusable(&format!("option {name:?} is not known; there are {known}"))),
        }
    }

    /// The error for a URI that cannot be used.
    pub(crate) fn unusable(&self, why: &str) -> Error {
        // Options may be secrets that somebody put there against all advice.
        let place = self.whole.split('?').next().unwrap_or_default();
        Error::settings(format!("checkpoint storage {place:?} is not usable: {why}"))
    }

    fn take_with<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.unusable(&format!("option {name} is {value:?}, should be {expected}"))),
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..unit_at].parse().ok()?;
    let ms = match &text[unit_at..] {
        "ms" => count,
        "s" => count.checked_mul(1000)?,
        "m" => count.checked_mul(60_000)?,
        _ => return None,
    };
    (ms >= 100).then(|| Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(uri: &str) -> Result<RemoteUri<'_>> {
        RemoteUri::parse(uri, uri.split_once("://").unwrap().1)
    }

    #[test]
    fn place_and_options_are_taken_apart() {
        let mut uri = parsed("s3://bucket/a/b/?endpoint=http://h:1&path_style=true&timeout=2m&lease=500ms").unwrap();
        assert_eq!((uri.authority, uri.path), ("bucket", "a/b"));
        assert_eq!(uri.take("endpoint").as_deref(), Some("http://h:1"));
        assert_eq!(uri.take_flag("path_style").unwrap(), Some(true));
        let limits = uri.take_limits().unwrap();
        assert_eq!((limits.operation.as_secs(), limits.lease.as_millis()), (120, 500));
        uri.nothing_left("none").unwrap();
        let uri = parsed("hdfs://host:9000").unwrap();
        assert_eq!((uri.authority, uri.path), ("host:9000", ""));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let told = |result: Result<()>, text: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        told(parsed("s3://b/a/../c").map(drop), "'..'");
        told(parsed("s3://b/a//c").map(drop), "empty parts");
        told(parsed("s3://b/?a=1&a=2").map(drop), "\"a\" is given twice");
        told(
            parsed("s3://b/?secret=x").and_then(|uri| uri.nothing_left("region")),
            "\"secret\" is not known; there are",
        );
        for lease in ["5", "s", "99ms", "1h", "-1s", ""] {
            let uri = format!("s3://b/?lease={lease}");
            told(parsed(&uri).and_then(|mut uri| uri.take_limits().map(drop)), "option lease is");
        }
        told(parsed("s3://b/?n=0").and_then(|mut uri| uri.take_count("n").map(drop)), "above zero");
    }
}
