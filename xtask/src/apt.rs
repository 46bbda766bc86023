//! Packages of Debian and its kin.

use std::path::Path;
use std::process::Stdio;

use crate::child;

/// Installs `packages`, as root or through sudo; what is said about it goes to standard error.
pub fn install(packages: &[&str], root: &Path) -> Result<(), String> {
    eprintln!("installing {}", packages.join(" and "));
    let is_root = std::env::var("USER").is_ok_and(|user| user == "root") || !runs("sudo", "--version", root);
    let (command, sudo): (&str, &[&str]) = if is_root { ("apt-get", &[]) } else { ("sudo", &["apt-get"]) };
    // A fresh system has no lists of packages.
    for (args, packages) in
        [(&["update", "-q"][..], &[][..]), (&["install", "-y", "-q", "--no-install-recommends"], packages)]
    {
        child::to_success_aside(child::command(command, root).args(sudo).args(args).args(packages))
            .map_err(|why| format!("{why}: as root, run apt-get update && apt-get install {}", packages.join(" ")))?;
    }
    Ok(())
}

/// Whether `program` can be started.
pub fn runs(program: &str, probe: &str, root: &Path) -> bool {
    let tried = child::command(program, root).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
