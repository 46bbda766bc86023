//! Output of an earlier run.
//!
//! A job that starts from the beginning must not add to it: what it holds would be there twice.

use std::path::{Path, PathBuf};

use highwater::prelude::*;

/// Refuses to start a job from the beginning into `folders` if there is output in one of them.
pub fn refuse_output(folders: &[PathBuf], context: &OpenContext) -> UserResult {
    if context.is_restored {
        return Ok(());
    }
    for folder in folders {
        if let Some(file) = first_output(folder)? {
            let file = file.display();
            return Err(format!(
                "the job starts from the beginning, but {file} is output of an earlier run: give another --output, move that \
                 folder away, or go on from that run's checkpoints (the same --checkpoint-dir, without --fresh)"
            )
            .into());
        }
    }
    Ok(())
}

/// A visible file in `folder`, if there are any. A folder that is missing has none.
fn first_output(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.file_type()?.is_file() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
