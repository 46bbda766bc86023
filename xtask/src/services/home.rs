//! The folders of the services, and the record of what runs: one file a service, `<home>/<service>.state`.
//!
//! ```text
//! process namenode 4711 8124563
//! variable HIGHWATER_TEST_HDFS hdfs://127.0.0.1:40123
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::process::Process;

/// Where services are installed, and where they run.
#[derive(Debug)]
pub struct Home {
    cache: PathBuf,
    home: PathBuf,
}

impl Home {
    /// The folders that the environment names, created if missing.
    pub fn open() -> Result<Self, String> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = named("HIGHWATER_SERVICES_CACHE").or_else(|| {
            let caches = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
            Some(caches.join("highwater/services"))
        });
        let cache = cache.ok_or("there is no HOME: set HIGHWATER_SERVICES_CACHE to a folder to install services in")?;
        let home = named("HIGHWATER_SERVICES_HOME").unwrap_or_else(|| cache.join("run"));
        for dir in [&cache, &home] {
            create_dir(dir)?;
        }
        Ok(Home { cache, home })
    }

    /// A folder of what is installed.
    pub fn installed(&self, name: &str) -> PathBuf {
        self.cache.join(name)
    }

    /// The folder in which a service runs.
    pub fn dir(&self, service: &str) -> PathBuf {
        self.home.join(service)
    }

    /// What is on record of a service. A record of processes that have all ended is none.
    pub fn service(&self, name: &str) -> Result<Option<Service>, String> {
        let path = self.state(name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let service = Service::parse(name, &text)
                    .ok_or_else(|| format!("{} is not a record of a service: remove it", path.display()))?;
                Ok(service.processes.iter().any(Process::runs).then_some(service))
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(format!("cannot read {}: {why}", path.display())),
        }
    }

    /// Everything that runs.
    pub fn services(&self) -> Result<Vec<Service>, String> {
        super::KINDS.iter().filter_map(|kind| self.service(kind.name).transpose()).collect()
    }

    /// Puts a service on record, whole or not at all.
    pub fn record(&self, service: &Service) -> Result<(), String> {
        let path = self.state(&service.name);
        let temp = path.with_extension("tmp");
        let written = fs::write(&temp, service.text()).and_then(|()| fs::rename(&temp, &path));
        written.map_err(|why| format!("cannot write {}: {why}", path.display()))
    }

    /// Takes a service off the record.
    pub fn forget(&self, name: &str) -> Result<(), String> {
        removed(fs::remove_file(self.state(name)), &self.state(name))
    }

    /// Removes what a service wrote.
    pub fn remove_data(&self, name: &str) -> Result<(), String> {
        remove_dir(&self.dir(name))
    }

    fn state(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.state"))
    }
}

/// A service that was started.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub processes: Vec<Process>,
    /// Empty until it answers.
    pub variables: Vec<(String, String)>,
}

impl Service {
    pub fn new(name: &str) -> Self {
        Service { name: name.to_owned(), processes: Vec::new(), variables: Vec::new() }
    }

    /// Whether it answered once and all of it still runs.
    pub fn is_complete(&self) -> bool {
        !self.variables.is_empty() && self.processes.iter().all(Process::runs)
    }

    /// Ends what of it still runs, last started first.
    pub fn stop(&self) {
        self.processes.iter().rev().for_each(Process::stop);
    }

    pub fn describe(&self) -> String {
        let state = if self.is_complete() { "up" } else { "partly down" };
        let mut text = format!("{}: {state}", self.name);
        for process in &self.processes {
            let state = if process.runs() { "" } else { ", has ended" };
            write!(text, "\n  {} is process {}{state}", process.name, process.id).expect("a string takes every write");
        }
        for (name, value) in &self.variables {
            write!(text, "\n  {name}={value}").expect("a string takes every write");
        }
        text
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Process { name, id, start } in &self.processes {
            writeln!(text, "process {name} {id} {start}").expect("a string takes every write");
        }
        for (name, value) in &self.variables {
            writeln!(text, "variable {name} {value}").expect("a string takes every write");
        }
        text
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut service = Service::new(name);
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ')?;
            match (kind, rest.splitn(3, ' ').collect::<Vec<_>>().as_slice()) {
                ("process", [name, id, start]) => {
                    let (name, id, start) = ((*name).to_owned(), id.parse().ok()?, (*start).to_owned());
                    service.processes.push(Process { name, id, start });
                }
                ("variable", [name, ..]) => {
                    // A value is a path, which may have spaces.
                    let value = rest[name.len()..].trim_start().to_owned();
                    service.variables.push(((*name).to_owned(), value));
                }
                _ => return None,
            }
        }
        Some(service)
    }
}

/// Creates a folder and those above it.
pub fn create_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|why| format!("cannot create {}: {why}", dir.display()))
}

/// Removes a folder with all that is in it, if there is one.
pub fn remove_dir(dir: &Path) -> Result<(), String> {
    removed(fs::remove_dir_all(dir), dir)
}

fn removed(result: std::io::Result<()>, path: &Path) -> Result<(), String> {
    match result {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {why}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let process = |name: &str, id| Process { name: name.into(), id, start: "8124563".into() };
        let service = Service {
            name: "hdfs".into(),
            processes: vec![process("namenode", 4711), process("datanode", 4712)],
            variables: vec![("HIGHWATER_TEST_HDFS".into(), "a b c d".into())],
        };
        assert_eq!(Service::parse("hdfs", &service.text()), Some(service));
        assert_eq!(Service::parse("hdfs", "process namenode x 1\n"), None);
    }
}
