//! Servers that tests need, as they are in production: `cargo xtask services up|down|status [name]`.
//!
//! * [`home`]: the folders, and the record of what runs;
//! * [`process`]: processes that outlive this program, known by id and start time;
//! * [`hdfs`], [`s3`], [`etcd`]: how each service is installed, started and asked whether it answers.
//!
//! What is installed goes to a cache that all checkouts share, what runs writes below a home folder. Both are outside the
//! checkout: `HIGHWATER_SERVICES_CACHE` and `HIGHWATER_SERVICES_HOME` name others.
//!
//! Invariant: a process is on record before anybody waits for it. So an interrupted `up` leaves nothing that `down` does
//! not find, and `down` ends nothing else.

mod etcd;
mod hdfs;
pub mod home;
pub mod install;
mod process;
mod s3;

use std::path::Path;

use home::{Home, Service};
use process::Lifetime;

/// How a service comes about.
struct Kind {
    name: &'static str,
    /// Installs it if it is missing and starts it; returns what tests need to know.
    up: fn(&mut Starting<'_>) -> Result<Variables, String>,
}

/// Names and values of environment variables.
type Variables = Vec<(&'static str, String)>;

const KINDS: [Kind; 3] =
    [Kind { name: "hdfs", up: hdfs::up }, Kind { name: "s3", up: s3::up }, Kind { name: "etcd", up: etcd::up }];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Up(Option<String>),
    Down(Option<String>),
    Status(Option<String>),
}

impl Task {
    /// The task that the words after `services` stand for.
    pub fn parse(args: &[&str]) -> Result<Self, String> {
        let name = match args {
            [_] => None,
            [_, name] if KINDS.iter().any(|kind| kind.name == *name) => Some((*name).to_owned()),
            [_, name] => return Err(format!("there is no service {name:?}: the services are {}", names())),
            [_, _, other, ..] => return Err(format!("services takes no argument {other:?}")),
            [] => return Err("services needs up, down or status".to_string()),
        };
        match args[0] {
            "up" => Ok(Task::Up(name)),
            "down" => Ok(Task::Down(name)),
            "status" => Ok(Task::Status(name)),
            other => Err(format!("services takes up, down or status, not {other:?}")),
        }
    }
}

/// Carries out a task of the command line.
pub fn run(task: &Task, root: &Path) -> Result<(), String> {
    let home = Home::open()?;
    match task {
        Task::Up(name) => {
            for kind in selected(name) {
                let (service, _) = up(kind, &home, root, Lifetime::OfItsOwn)?;
                println!("{}", service.describe());
            }
            println!("\nfor a shell that runs tests by hand:");
            for (name, value) in home.services()?.iter().flat_map(|service| &service.variables) {
                println!("export {name}={value}");
            }
            Ok(())
        }
        Task::Down(name) => selected(name).try_for_each(|kind| down(kind.name, &home)),
        Task::Status(name) => {
            for kind in selected(name) {
                match home.service(kind.name)? {
                    Some(service) => println!("{}", service.describe()),
                    None => println!("{}: down", kind.name),
                }
            }
            Ok(())
        }
    }
}

/// Services that a step of this program needs: those it started go down with this.
pub struct Needed {
    home: Home,
    started: Vec<&'static str>,
    variables: Vec<(String, String)>,
}

impl Needed {
    /// All services, up.
    pub fn up(root: &Path) -> Result<Self, String> {
        let mut needed = Needed { home: Home::open()?, started: Vec::new(), variables: Vec::new() };
        for kind in &KINDS {
            let (service, started) = up(kind, &needed.home, root, Lifetime::WithThisGroup)?;
            if started {
                needed.started.push(kind.name);
            }
            needed.variables.extend(service.variables);
        }
        Ok(needed)
    }

    /// What tests find the services by.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }
}

impl Drop for Needed {
    fn drop(&mut self) {
        for name in &self.started {
            if let Err(why) = down(name, &self.home) {
                eprintln!("warning: {why}");
            }
        }
    }
}

/// A service while it is started.
struct Starting<'a> {
    root: &'a Path,
    home: &'a Home,
    service: Service,
    lifetime: Lifetime,
}

/// Brings a service up unless it is; whether it was started now.
fn up(kind: &Kind, home: &Home, root: &Path, lifetime: Lifetime) -> Result<(Service, bool), String> {
    if let Some(service) = home.service(kind.name)? {
        if service.is_complete() {
            return Ok((service, false));
        }
        down(kind.name, home)?;
    }
    println!("{}: starting", kind.name);
    let mut starting = Starting { root, home, service: Service::new(kind.name), lifetime };
    let started = (kind.up)(&mut starting);
    let Starting { mut service, .. } = starting;
    match started {
        Ok(variables) => {
            service.variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            home.record(&service)?;
            Ok((service, true))
        }
        Err(why) => {
            let logs = home.dir(kind.name).join("log");
            // The logs stay: they say why.
            service.stop();
            home.forget(kind.name)?;
            Err(format!("{} did not start: {why}; logs are in {}", kind.name, logs.display()))
        }
    }
}

fn down(name: &str, home: &Home) -> Result<(), String> {
    match home.service(name)? {
        None => println!("{name}: down"),
        Some(service) => {
            service.stop();
            home.forget(name)?;
            home.remove_data(name)?;
            println!("{name}: stopped");
        }
    }
    Ok(())
}

fn selected(name: &Option<String>) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| name.as_ref().is_none_or(|name| name == kind.name))
}

fn names() -> String {
    KINDS.map(|kind| kind.name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        assert_eq!(Task::parse(&["up"]), Ok(Task::Up(None)));
        assert_eq!(Task::parse(&["down", "s3"]), Ok(Task::Down(Some("s3".into()))));
        assert_eq!(Task::parse(&["status", "hdfs"]), Ok(Task::Status(Some("hdfs".into()))));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (args, message) in [
            (&[][..], "services needs up, down or status"),
            (&["start"], "services takes up, down or status, not \"start\""),
            (&["up", "kafka"], "there is no service \"kafka\": the services are hdfs, s3, etcd"),
            (&["up", "s3", "now"], "services takes no argument \"now\""),
        ] {
            assert_eq!(Task::parse(args), Err(message.to_string()));
        }
    }
}
