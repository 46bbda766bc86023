//! Whether two files hold the same rows: a row a line, in any order, each as often as it occurs.

use std::fs;
use std::path::Path;

/// The number of rows, if both have the same; else the first row that only one has.
pub fn same(ours: &Path, theirs: &Path) -> Result<usize, String> {
    let (one, other) = (read(ours)?, read(theirs)?);
    let (one, other) = (sorted(&one), sorted(&other));
    if one == other {
        return Ok(one.len());
    }
    let equal = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    let (only, path) = match (one.get(equal), other.get(equal)) {
        (Some(row), Some(first)) if row < first => (*row, ours),
        (Some(row), None) => (*row, ours),
        (Some(_) | None, Some(row)) => (*row, theirs),
        (None, None) => return Ok(one.len()),
    };
    let counts = format!("Highwater has {} rows, Flink {}", one.len(), other.len());
    Err(format!("results differ: {counts}; the first that only one has is in {}: {only}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|why| format!("cannot read {}: {why}", path.display()))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = text.lines().collect();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(ours: &str, theirs: &str) -> Result<usize, String> {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["ours", "theirs"].map(|name| dir.path().join(name));
        for (path, text) in paths.iter().zip([ours, theirs]) {
            fs::write(path, text).unwrap();
        }
        let folder = format!("{}/", dir.path().display());
        same(&paths[0], &paths[1]).map_err(|why| why.replace(&folder, ""))
    }

    #[test]
    fn the_order_does_not_matter_and_the_number_does() {
        assert_eq!(compared("a\nb\na\n", "b\na\na\n"), Ok(3));
        assert_eq!(compared("", ""), Ok(0));
        for (ours, theirs, row) in [
            ("a\nb\na\n", "b\na\n", "ours: a"),
            ("a\n", "a\nb\n", "theirs: b"),
            ("b\n", "a\nb\n", "theirs: a"),
            ("a\nb\n", "b\nc\n", "ours: a"),
            ("", "a\n", "theirs: a"),
        ] {
            let error = compared(ours, theirs).unwrap_err();
            assert!(error.starts_with("results differ: Highwater has "), "{error}");
            assert!(error.ends_with(&format!("is in {row}")), "{error}");
        }
    }
}
