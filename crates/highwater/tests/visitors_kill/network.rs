//! Hosts with a switch between them, as network namespaces.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hw{}n{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Network { name, hosts };
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

    /// From now on what a host sends is under way for milliseconds, and packets are lost where a few come at once: 4 Mbit/s, and a queue
    /// of less than three full packets.
    ///
    /// # Errors
    /// If this machine does not have it, with what it says.
    pub fn slow_down(&self, host: usize) -> Result<(), String> {
        tc(&self.host(host), "add dev net root tbf rate 4mbit burst 2kb limit 4kb").map(drop)
    }

    /// It is as fast as it was. How many packets were lost meanwhile.
    pub fn speed_up(&self, host: usize) -> u64 {
        let said = tc(&self.host(host), "show dev net").unwrap();
        tc(&self.host(host), "del dev net root").unwrap();
        let lost = said.split_once("(dropped ").and_then(|(_, rest)| rest.split_once(',')?.0.parse().ok());
        lost.unwrap_or_else(|| panic!("{said}"))
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

/// What a machine gave, unless it does not have it and need not.
pub fn had<T>(given: Result<T, String>) -> Option<T> {
    match given {
        Ok(given) => Some(given),
        Err(why) if std::env::var("HIGHWATER_NETWORK").is_ok_and(|wanted| wanted == "required") => panic!("{why}"),
        Err(why) => {
            println!("not tested, since this machine does not have such networks: {why}");
            None
        }
    }
}

/// Runs `ip` with these arguments.
fn ip(arguments: &str) -> Result<(), String> {
    run("ip", arguments).map(drop)
}

/// Runs `tc qdisc` on a host with these arguments, and returns what it says.
fn tc(host: &str, arguments: &str) -> Result<String, String> {
    run("tc", &format!("-s -n {host} qdisc {arguments}"))
}

fn run(program: &str, arguments: &str) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments.split(' ')).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
