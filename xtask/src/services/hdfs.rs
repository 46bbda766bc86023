//! HDFS: a NameNode and a DataNode of Hadoop's own, each a JVM.
//!
//! Hadoop's jars come from Maven Central, with the checksums it has for them, without the distribution around them. Two
//! empty folders stand in for its web pages, which the servers look for at the start.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::home::create_dir;
use super::process::Process;
use super::{Starting, Variables, install};
use crate::child;

const VERSION: &str = "3.4.1";
/// The user who starts the NameNode, and so its superuser.
const USER: &str = "highwater";
/// A JVM starts in two seconds, and in many more on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

pub fn up(starting: &mut Starting<'_>) -> Result<Variables, String> {
    install::program("java", "-version", "openjdk-17-jre-headless", starting.root)?;
    let jars = installed_jars(starting)?;
    let dir = starting.home.dir("hdfs");
    starting.home.remove_data("hdfs")?;
    let port = free_port()?;
    let hadoop = Hadoop { conf: dir.join("conf"), logs: dir.join("log"), jars };
    hadoop.configure(&dir, port)?;
    hadoop.run("org.apache.hadoop.hdfs.server.namenode.NameNode", &["-format", "-nonInteractive"], "")?;
    for (name, class) in [
        ("namenode", "org.apache.hadoop.hdfs.server.namenode.NameNode"),
        ("datanode", "org.apache.hadoop.hdfs.server.datanode.DataNode"),
    ] {
        let process = Process::start(name, &mut hadoop.java(class), starting.lifetime, &hadoop.logs)?;
        starting.service.processes.push(process);
        starting.home.record(&starting.service)?;
    }
    wait_for_port(port, &starting.service.processes[0])?;
    let began = Instant::now();
    while let Err(why) = hadoop.write_and_read_back() {
        if began.elapsed() >= PATIENCE || !starting.service.processes.iter().all(Process::runs) {
            return Err(why);
        }
        thread::sleep(POLL);
    }
    let xtask = crate::PROGRAM.as_ref().map_err(|why| format!("cannot tell where this program is: {why}"))?;
    Ok(vec![
        // For tests that start an HDFS of their own.
        ("HIGHWATER_TEST_XTASK", xtask.display().to_string()),
        ("HIGHWATER_TEST_HDFS", format!("hdfs://127.0.0.1:{port}")),
        ("HIGHWATER_TEST_HDFS_CLASSPATH", hadoop.class_path()),
    ])
}

/// The folder with Hadoop's jars, filled if it is not there.
fn installed_jars(starting: &Starting<'_>) -> Result<PathBuf, String> {
    let jars = starting.home.installed(&format!("hadoop-{VERSION}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    install::program("mvn", "-version", "maven", starting.root)?;
    println!("installing Hadoop {VERSION} from Maven Central, 60 MB");
    let work = starting.home.installed(&format!("hadoop-{VERSION}.part"));
    create_dir(&work)?;
    let pom = work.join("pom.xml");
    fs::write(&pom, project()).map_err(|why| format!("cannot write {}: {why}", pom.display()))?;
    let mut maven = child::command("mvn", starting.root);
    // Strict: a jar that is not what its checksum says is refused.
    maven.args(["-B", "-q", "--strict-checksums", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg("-f").arg(&pom).arg(format!("-DoutputDirectory={}", work.join("jars").display()));
    child::to_success(&mut maven).map_err(|why| format!("cannot install Hadoop with mvn: {why}"))?;
    // By a rename, so that an installation that was interrupted is none.
    fs::rename(work.join("jars"), &jars).map_err(|why| format!("cannot create {}: {why}", jars.display()))?;
    fs::remove_dir_all(&work).map_err(|why| format!("cannot remove {}: {why}", work.display()))?;
    Ok(jars)
}

fn project() -> String {
    let dependency = |artifact: &str| {
        format!(
            "<dependency><groupId>org.apache.hadoop</groupId><artifactId>{artifact}</artifactId>\
             <version>{VERSION}</version></dependency>"
        )
    };
    let dependencies = ["hadoop-common", "hadoop-hdfs", "hadoop-hdfs-client"].map(dependency).concat();
    // Hadoop's own list of versions: by distance alone, Maven picks some that do not go together.
    let versions = format!(
        "<dependencyManagement><dependencies><dependency><groupId>org.apache.hadoop</groupId>\
         <artifactId>hadoop-project</artifactId><version>{VERSION}</version><type>pom</type><scope>import</scope>\
         </dependency></dependencies></dependencyManagement>"
    );
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>highwater</groupId><artifactId>hdfs</artifactId><version>1</version>\
         {versions}<dependencies>{dependencies}</dependencies></project>\n"
    )
}

/// Hadoop's programs with one configuration.
struct Hadoop {
    conf: PathBuf,
    logs: PathBuf,
    jars: PathBuf,
}

impl Hadoop {
    fn configure(&self, dir: &Path, port: u16) -> Result<(), String> {
        for folder in [self.conf.join("webapps/hdfs"), self.conf.join("webapps/datanode"), self.logs.clone()] {
            create_dir(&folder)?;
        }
        let folder = |name: &str| format!("file://{}", dir.join(name).display());
        let core = [("fs.defaultFS", format!("hdfs://127.0.0.1:{port}"))];
        let any = || "127.0.0.1:0".to_string();
        let hdfs = [
            ("dfs.replication", "1".to_string()),
            ("dfs.namenode.name.dir", folder("name")),
            ("dfs.datanode.data.dir", folder("data")),
            ("dfs.namenode.http-address", any()),
            ("dfs.datanode.address", any()),
            ("dfs.datanode.http.address", any()),
            ("dfs.datanode.ipc.address", any()),
            // A DataNode that has gone is known to be within seconds.
            ("dfs.heartbeat.interval", "1".to_string()),
            ("dfs.namenode.heartbeat.recheck-interval", "1000".to_string()),
            ("dfs.namenode.safemode.extension", "0".to_string()),
        ];
        self.write("core-site.xml", &xml(&core))?;
        self.write("hdfs-site.xml", &xml(&hdfs))?;
        self.write("log4j.properties", LOGGING)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.conf.join(name);
        fs::write(&path, text).map_err(|why| format!("cannot write {}: {why}", path.display()))
    }

    fn class_path(&self) -> String {
        format!("{}:{}/*", self.conf.display(), self.jars.display())
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-cp", &self.class_path(), class]).env("HADOOP_USER_NAME", USER);
        command
    }

    /// Runs a program to its end and returns what it said. Its log is kept under the name of its class.
    fn run(&self, class: &str, args: &[&str], input: &str) -> Result<String, String> {
        let name = class.rsplit('.').next().unwrap_or(class);
        let unable = |why: std::io::Error| format!("cannot run {name}: {why}");
        let mut command = self.java(class);
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(unable)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(unable)?;
        }
        let output = child.wait_with_output().map_err(unable)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let log = self.logs.join(format!("{}{}.log", name.to_lowercase(), args.first().unwrap_or(&"")));
        fs::write(&log, errors.as_bytes()).map_err(unable)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{name} {} ended with {}", args.join(" "), output.status))
    }

    fn write_and_read_back(&self) -> Result<(), String> {
        const SHELL: &str = "org.apache.hadoop.fs.FsShell";
        self.run(SHELL, &["-put", "-f", "-", "/ready"], "ready")?;
        match self.run(SHELL, &["-cat", "/ready"], "")?.as_str() {
            "ready" => Ok(()),
            other => Err(format!("wrote a file with `ready` and read {other:?}")),
        }
    }
}

const LOGGING: &str = "\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n
";

fn xml(properties: &[(&str, String)]) -> String {
    let property =
        |(name, value): &(&str, String)| format!("  <property><name>{name}</name><value>{value}</value></property>\n");
    format!("<configuration>\n{}</configuration>\n", properties.iter().map(property).collect::<String>())
}

/// A port that nobody listens on.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|why| format!("there is no free port: {why}"))
}

/// Waits until `process` listens.
pub fn wait_for_port(port: u16, process: &Process) -> Result<(), String> {
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if !process.runs() {
            return Err(format!("{} ended before it listened on port {port}", process.name));
        }
        if began.elapsed() >= PATIENCE {
            return Err(format!("{} does not listen on port {port} after {} s", process.name, PATIENCE.as_secs()));
        }
        thread::sleep(POLL);
    }
    Ok(())
}
