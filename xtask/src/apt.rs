//! Packages of Debian and its kin.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::child;

/// Installs `packages`, as root or through sudo; what is said about it goes to standard error.
pub fn install(packages: &[&str], root: &Path) -> Result<(), String> {
    eprintln!("installing {}", packages.join(" and "));
    // A fresh system has no lists of packages.
    for (args, packages) in
        [(&["update", "-q"][..], &[][..]), (&["install", "-y", "-q", "--no-install-recommends"], packages)]
    {
        child::to_success_aside(as_root(root).args(args).args(packages))
            .map_err(|why| format!("{why}: as root, run apt-get update && apt-get install {}", packages.join(" ")))?;
    }
    Ok(())
}

/// Downloads `package` into the folder `dir`, and returns its file.
pub fn download(package: &str, dir: &Path, root: &Path) -> Result<PathBuf, String> {
    eprintln!("downloading {package}");
    let fetch =
        || child::to_success(child::command("apt-get", root).args(["download", "-q", package]).current_dir(dir));
    if fetch().is_err() {
        // A fresh system has no lists of packages.
        child::to_success(as_root(root).args(["update", "-q"]))
            .map_err(|why| format!("{why}: as root, run apt-get update"))?;
        fetch().map_err(|why| format!("cannot download the package {package}: {why}"))?;
    }
    let files = std::fs::read_dir(dir).map_err(|why| format!("cannot list {}: {why}", dir.display()))?;
    let mut files = files.filter_map(|file| Some(file.ok()?.path()));
    files
        .find(|file| file.extension().is_some_and(|end| end == "deb"))
        .ok_or_else(|| format!("apt-get download {package} left nothing in {}", dir.display()))
}

fn as_root(root: &Path) -> Command {
    let is_root = std::env::var("USER").is_ok_and(|user| user == "root") || !runs("sudo", "--version", root);
    let (program, sudo): (&str, &[&str]) = if is_root { ("apt-get", &[]) } else { ("sudo", &["apt-get"]) };
    let mut command = child::command(program, root);
    command.args(sudo);
    command
}

/// Whether `program` can be started.
pub fn runs(program: &str, probe: &str, root: &Path) -> bool {
    let tried = child::command(program, root).arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
