//! etcd: one member, of Debian's package `etcd-server`.
//!
//! The package is unpacked rather than installed where there is no etcd, because installing it starts a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::hdfs::free_port;
use super::home::{create_dir, remove_dir};
use super::process::Process;
use super::{Starting, Variables};
use crate::{apt, child};

const PACKAGE: &str = "etcd-server";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

pub fn up(starting: &mut Starting<'_>) -> Result<Variables, String> {
    let program = installed(starting)?;
    let dir = starting.home.dir("etcd");
    starting.home.remove_data("etcd")?;
    let [client, peer] = [free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
    let log_dir = dir.join("log");
    let process = Process::start("member", &mut member(&program, &dir, &client, &peer), starting.lifetime, &log_dir)?;
    starting.service.processes.push(process);
    starting.home.record(&starting.service)?;
    wait_until_ready(&log_dir.join("member.log"), &starting.service.processes[0])?;
    Ok(vec![
        ("HIGHWATER_TEST_ETCD", client),
        // For tests that start an etcd of their own.
        ("HIGHWATER_TEST_ETCD_PROGRAM", program.display().to_string()),
    ])
}

fn member(program: &Path, dir: &Path, client: &str, peer: &str) -> Command {
    let [client, peer] = [client, peer].map(|address| format!("http://{address}"));
    let mut command = Command::new(program);
    command.args(["--name", "member", "--data-dir"]).arg(dir.join("data"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("member={peer}")]);
    command
}

/// It listens before it has a leader, and says when it serves.
fn wait_until_ready(log: &Path, process: &Process) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains("ready to serve client requests") {
            return Ok(());
        }
        if !process.runs() {
            return Err("etcd ended before it was ready".to_owned());
        }
        if began.elapsed() >= PATIENCE {
            return Err(format!("etcd is not ready after {} s", PATIENCE.as_secs()));
        }
        thread::sleep(POLL);
    }
}

/// The program, unpacked if it is not there.
fn installed(starting: &Starting<'_>) -> Result<PathBuf, String> {
    let unpacked = starting.home.installed("etcd");
    let program = unpacked.join("usr/bin/etcd");
    if program.is_file() {
        return Ok(program);
    }
    if apt::runs("etcd", "--version", starting.root) {
        return Ok(PathBuf::from("etcd"));
    }
    let part = starting.home.installed("etcd.part");
    remove_dir(&part)?;
    create_dir(&part)?;
    let package = apt::download(PACKAGE, &part, starting.root)?;
    let mut unpack = child::command("dpkg-deb", starting.root);
    child::to_success(unpack.arg("-x").arg(&package).arg(part.join("root")))
        .map_err(|why| format!("cannot unpack {}: {why}", package.display()))?;
    // By a rename, so that an installation that was interrupted is none.
    fs::rename(part.join("root"), &unpacked).map_err(|why| format!("cannot create {}: {why}", unpacked.display()))?;
    remove_dir(&part)?;
    Ok(program)
}
