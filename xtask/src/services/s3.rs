//! S3: `xtask/s3-server`, a small server over a folder, built with this toolchain.

use std::fs;
use std::process::Command;

use super::hdfs::{free_port, wait_for_port};
use super::home::create_dir;
use super::process::Process;
use super::{Starting, Variables};
use crate::child;

/// Of no value anywhere else.
const KEY: &str = "highwater";
const SECRET: &str = "highwater-secret";
/// A bucket that is there from the start; each is a folder.
const BUCKET: &str = "highwater";

pub fn up(starting: &mut Starting<'_>) -> Result<Variables, String> {
    let target = starting.home.installed("s3-server");
    let mut cargo = child::cargo(starting.root);
    cargo.args(["build", "--locked", "--manifest-path", "xtask/s3-server/Cargo.toml", "--target-dir"]).arg(&target);
    child::to_success(&mut cargo).map_err(|why| format!("cannot build xtask/s3-server: {why}"))?;

    let dir = starting.home.dir("s3");
    starting.home.remove_data("s3")?;
    create_dir(&dir.join("data").join(BUCKET))?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let program = target.join("debug/highwater-s3-server");
    let mut server = Command::new(&program);
    server.arg(dir.join("data")).arg(&address).env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    let process = Process::start("server", &mut server, starting.lifetime, &dir.join("log"))?;
    starting.service.processes.push(process);
    starting.home.record(&starting.service)?;
    wait_for_port(port, &starting.service.processes[0])?;
    let log = dir.join("log/server.log");
    match fs::read_to_string(&log) {
        Ok(said) if said.contains("listening on") => {}
        _ => return Err(format!("somebody else answers on port {port}, see {}", log.display())),
    }
    Ok(vec![
        ("HIGHWATER_TEST_S3", format!("http://{address}")),
        // For tests that start an S3 server of their own.
        ("HIGHWATER_TEST_S3_PROGRAM", program.display().to_string()),
        ("AWS_ACCESS_KEY_ID", KEY.to_string()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_string()),
    ])
}
