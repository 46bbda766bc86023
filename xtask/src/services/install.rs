//! Programs that services need, by the system's package manager.

use std::path::Path;

use crate::apt;

/// Sees that `program` can be started, and installs Debian's `package` if it cannot.
pub fn program(program: &str, probe: &str, package: &str, root: &Path) -> Result<(), String> {
    if apt::runs(program, probe, root) {
        return Ok(());
    }
    let way_out = format!("{program} is needed, on Debian and Ubuntu from the package {package}");
    apt::install(&[package], root).map_err(|why| format!("{why}: {way_out}"))?;
    if apt::runs(program, probe, root) { Ok(()) } else { Err(format!("{program} does not run: {way_out}")) }
}
