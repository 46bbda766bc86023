//! Programs that services need, by the system's package manager.

use std::path::Path;
use std::process::Stdio;

use crate::child;

/// Sees that `program` can be started, and installs Debian's `package` if it cannot.
pub fn program(program: &str, probe: &str, package: &str, root: &Path) -> Result<(), String> {
    if works(program, probe, root) {
        return Ok(());
    }
    println!("installing {package} for {program}");
    let way_out = format!("install {program} (on Debian and Ubuntu: apt-get install {package})");
    let is_root = std::env::var("USER").is_ok_and(|user| user == "root") || !works("sudo", "--version", root);
    let (command, sudo): (&str, &[&str]) = if is_root { ("apt-get", &[]) } else { ("sudo", &["apt-get"]) };
    for args in [&["update", "-q"][..], &["install", "-y", "-q", "--no-install-recommends", package]] {
        child::to_success(child::command(command, root).args(sudo).args(args))
            .map_err(|why| format!("{why}: {way_out}"))?;
    }
    if works(program, probe, root) { Ok(()) } else { Err(format!("{program} does not run: {way_out}")) }
}

fn works(program: &str, probe: &str, root: &Path) -> bool {
    let tried = child::command(program, root).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
