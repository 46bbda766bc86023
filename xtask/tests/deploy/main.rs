//! The files in `deploy` against the published schema of Kubernetes, each other, and the program they start.
//!
//! * [`manifests`]: every document as what its kind says, with no field that this kind does not have;
//! * [`objects`]: what names another object names one that is there, and selects what it is meant for;
//! * [`containers`]: flags, variables, ports, probes and privileges of the containers;
//! * [`units`]: the same of the units of systemd, as far as they have it;
//! * [`program`]: the flags and roles that there are, from the sources;
//! * [`mistakes`]: that each of these checks finds what it is for.
//!
//! A check returns what is wrong, for people; nothing wrong is an empty list.

mod containers;
mod manifests;
mod mistakes;
mod objects;
mod program;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manifests::Manifests;
use program::Program;

/// The text of each file of a folder in `deploy`, by its name.
type Files = BTreeMap<String, String>;

#[test]
fn the_manifests_are_valid_and_fit_together() {
    let problems = check_manifests(&files("kubernetes", ".yaml"), &program());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_units_start_what_there_is() {
    let files = files("systemd", ".service");
    assert_eq!(files.len(), 2, "one a role: {:?}", files.keys());
    let problems = units::check(&files, &program());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn check_manifests(files: &Files, program: &Program) -> Vec<String> {
    let (manifests, mut problems) = Manifests::read(files);
    // What could not be read is missing everywhere else.
    if problems.is_empty() {
        problems.extend(objects::check(&manifests));
        problems.extend(containers::check(&manifests, program));
    }
    problems
}

fn program() -> Program {
    Program::read(&|path| text(&root().join(path)))
}

fn files(folder: &str, extension: &str) -> Files {
    let folder = root().join("deploy").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        name.ends_with(extension).then(|| (name, text(&path)))
    });
    files.collect()
}

/// Asked when running: a test from a target directory that two checkouts share would have the path of the other.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    Path::new(&package).parent().expect("xtask lies in the workspace").to_path_buf()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
