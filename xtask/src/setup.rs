//! The parts of the toolchain that the steps need beyond what builds this program.

use std::path::Path;
use std::process::Stdio;

use crate::child;

/// A rustup component and the cargo command it brings.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// Installs the components that are missing.
pub fn run(root: &Path) -> Result<(), String> {
    for (component, command) in COMPONENTS {
        if works(command, root) {
            continue;
        }
        println!("installing the rustup component {component}");
        let way_out = format!("install {component} for this toolchain, or rustup from https://rustup.rs");
        child::to_success(child::command("rustup", root).args(["component", "add", component]))
            .map_err(|why| format!("{why}: {way_out}"))?;
        if !works(command, root) {
            return Err(format!("`cargo {command}` does not run although {component} was installed: {way_out}"));
        }
    }
    Ok(())
}

fn works(command: &str, root: &Path) -> bool {
    let probe = child::cargo(root).args([command, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}
