//! The parts of the toolchain that the steps need beyond what builds this program.
//!
//! RocksDB comes from the system, because building it from source takes longer than all steps together.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{apt, child};

/// A rustup component and the cargo command it brings.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// Packages of Debian and its kin: RocksDB, and the library with which its interface is read.
const ROCKSDB: [&str; 2] = ["librocksdb-dev", "libclang-dev"];
/// With which tests have clocks that jump.
const FAKETIME: &str = "libfaketime";

/// Where systems keep libraries.
const LIB_DIRS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/opt/homebrew/lib",
];

/// Installs what is missing.
pub fn run(root: &Path) -> Result<(), String> {
    components(root)?;
    packages(&[FAKETIME], root)?;
    rocksdb(root)
}

/// The folder of the system's RocksDB.
pub fn rocksdb_lib_dir() -> Option<PathBuf> {
    let has_library =
        |folder: &PathBuf| ["so", "dylib"].iter().any(|end| folder.join("librocksdb").with_extension(end).exists());
    let named = std::env::var_os("ROCKSDB_LIB_DIR").map(PathBuf::from);
    named.or_else(|| LIB_DIRS.iter().map(PathBuf::from).find(has_library))
}

/// Installs RocksDB if it is missing.
pub fn rocksdb(root: &Path) -> Result<(), String> {
    packages(&ROCKSDB, root)?;
    rocksdb_lib_dir().map(|_| ()).ok_or_else(|| {
        "there is no librocksdb: install RocksDB (7.8 or newer) with its headers, and libclang, and name the folder \
         of the library with ROCKSDB_LIB_DIR"
            .to_owned()
    })
}

/// Whether packages can be installed here.
pub fn is_debian(root: &Path) -> bool {
    succeeds(child::command("dpkg", root).arg("--version"))
}

/// Installs packages that are missing, on Debian and its kin.
fn packages(names: &[&str], root: &Path) -> Result<(), String> {
    let missing = |package: &&&str| !succeeds(child::command("dpkg", root).args(["--status", package]));
    let missing: Vec<&str> = names.iter().filter(missing).copied().collect();
    if !is_debian(root) || missing.is_empty() {
        return Ok(());
    }
    apt::install(&missing, root)
}

fn components(root: &Path) -> Result<(), String> {
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
    succeeds(child::cargo(root).args([command, "--version"]))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
