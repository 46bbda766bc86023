//! Telling inputs apart.

use std::path::Path;

/// The uid of a source that reads `path`. Another input has another one, since positions in one mean nothing in another: a
/// checkpoint of another input is refused instead of taken for one of this.
pub fn uid(path: &Path, follow: bool) -> String {
    format!("{}:{}", if follow { "follow" } else { "read" }, name_in_uid(path))
}

/// The end of the full path, as far as a uid may be long, and without the characters it must not have.
fn name_in_uid(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let text = full.to_string_lossy().replace(|c: char| c.is_whitespace() || c.is_control(), "_");
    let skip = text.chars().count().saturating_sub(150);
    text.chars().skip(skip).collect()
}
