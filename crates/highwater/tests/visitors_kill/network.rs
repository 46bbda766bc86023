//! Hosts with a switch between them, as network namespaces.

use std::process::Command;

/// Hosts, and the switch that they are at. Gone when dropped.
pub struct Network {
    name: String,
    hosts: usize,
}

impl Network {
    /// So many hosts.
    ///
    /// # Errors
    /// If this machine does not allow it, with what it says.
    pub fn new(hosts: usize) -> Result<Self, String> {
        let network = Network { name: format!("hw{}", std::process::id()), hosts };
        let switch = network.switch();
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add switch type bridge"))?;
        ip(&format!("-n {switch} link set switch up"))?;
        for host in 0..hosts {
            let (namespace, address) = (network.host(host), network.address(host));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("-n {switch} link add port{host} type veth peer name net netns {namespace}"))?;
            ip(&format!("-n {switch} link set port{host} master switch up"))?;
            ip(&format!("-n {namespace} addr add {address}/24 dev net"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} link set net up"))?;
        }
        Ok(network)
    }

    fn switch(&self) -> String {
        format!("{}s", self.name)
    }

    fn host(&self, host: usize) -> String {
        format!("{}h{host}", self.name)
    }

    /// Where a host is.
    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// Runs the program that is its next argument, on a host.
    pub fn on(&self, host: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]);
        command
    }

    /// From now on whatever `from` sends to `to` is lost.
    pub fn cut(&self, from: usize, to: usize) {
        ip(&format!("-n {} route add blackhole {}/32", self.host(from), self.address(to))).unwrap();
    }

    /// It arrives again.
    pub fn heal(&self, from: usize, to: usize) {
        ip(&format!("-n {} route del blackhole {}/32", self.host(from), self.address(to))).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in (0..self.hosts).map(|host| self.host(host)).chain([self.switch()]) {
            // It may not have come to be.
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}

/// Runs `ip` with these arguments.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
