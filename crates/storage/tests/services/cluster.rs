//! An HDFS of one's own, for faults that others must not see.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::variable;

/// A NameNode and a DataNode in a folder of their own; gone when dropped.
pub struct Cluster {
    home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Cluster {
    pub fn start() -> Self {
        let mut cluster = Cluster { home: tempfile::tempdir().unwrap(), variables: Vec::new() };
        let said = said(cluster.xtask("up").expect("run HIGHWATER_TEST_XTASK"));
        let exports = said.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        cluster.variables = exports.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        cluster
    }

    pub fn address(&self) -> SocketAddr {
        let uri = self.variable("HIGHWATER_TEST_HDFS");
        uri.strip_prefix("hdfs://").and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Where the DataNode keeps its blocks.
    pub fn blocks(&self) -> PathBuf {
        self.home.path().join("hdfs/data")
    }

    /// Runs `hdfs dfsadmin`.
    pub fn admin(&self, args: &[&str]) {
        let mut java = Command::new("java");
        java.args(["-cp", self.variable("HIGHWATER_TEST_HDFS_CLASSPATH"), "org.apache.hadoop.hdfs.tools.DFSAdmin"]);
        said(java.args(args).env("HADOOP_USER_NAME", "highwater").output().unwrap());
    }

    /// Kills a process of the cluster.
    pub fn kill(&self, name: &str) {
        let state = std::fs::read_to_string(self.home.path().join("hdfs.state")).unwrap();
        let id = state.lines().find_map(|line| line.strip_prefix(&format!("process {name} "))?.split(' ').next());
        said(Command::new("sh").args(["-c", &format!("kill -9 {}", id.expect("it is on record"))]).output().unwrap());
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(found, _)| found == name);
        &found.unwrap_or_else(|| panic!("`services up` printed no {name}")).1
    }

    fn xtask(&self, task: &str) -> std::io::Result<Output> {
        let mut xtask = Command::new(variable("HIGHWATER_TEST_XTASK"));
        xtask.args(["services", task, "hdfs"]).env("HIGHWATER_SERVICES_HOME", self.home.path());
        // The root of the workspace is found as if cargo had started it.
        xtask.env("CARGO_MANIFEST_DIR", Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask"));
        xtask.output()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = self.xtask("down");
        // A second panic would hide the first.
        if !std::thread::panicking() {
            said(down.unwrap());
        }
    }
}

/// What a program said that ended well.
fn said(output: Output) -> String {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    said.into_owned()
}
