//! Jobs of Flink, from sources in `xtask/flink`: each run is a JVM with a cluster in it, of one task manager.
//!
//! The jars are those that PyPI has for Python programs, as its packages are checked against the index. They are installed
//! once, in the cache that the services have too; the sources are compiled for each comparison.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::options::{Backend, Options};
use super::report::{Checkpoints, Measured, median};
use super::{KEYED_COUNT, Work};
use crate::child;
use crate::services::home::{Home, create_dir, remove_dir};
use crate::services::install;

const VERSION: &str = "2.3.0";

/// Where the SQL of the queries is, from the root of the workspace.
pub const SQL: &str = "xtask/flink/sql";
const SOURCES: &str = "xtask/flink/src/highwater/bench";
const RESOURCES: &str = "xtask/flink/resources";

/// What Flink reaches by reflection.
const OPEN_PACKAGES: [&str; 6] =
    ["java.lang", "java.net", "java.nio", "java.time", "java.util", "java.util.concurrent"];

/// Flink, installed, with the jobs compiled.
pub struct Flink {
    root: PathBuf,
    class_path: String,
}

impl Flink {
    /// Installs what is missing, and compiles the jobs.
    pub fn prepare(home: &Home, work: &Work, root: &Path) -> Result<Self, String> {
        install::program("javac", "-version", "openjdk-17-jdk-headless", root)?;
        let jars = installed_jars(home, root)?;
        let classes = work.dir.join("classes");
        compile(&jars, &classes, root)?;
        let resources = root.join(RESOURCES);
        let class_path = format!("{}:{}:{}/*", classes.display(), resources.display(), jars.display());
        Ok(Flink { root: root.to_owned(), class_path })
    }

    /// Runs a job once.
    pub fn measure(&self, job: &str, options: &Options, work: &Work) -> Result<Measured, String> {
        let mut java = self.java(job, options.events, options.parallelism, options, &work.scratch()?);
        let said = child::to_text(&mut java, &work.log("flink", job))?;
        measured(job, &said).ok_or_else(|| format!("the job {job} of Flink said what is not understood: {said}"))
    }

    /// The file with the rows of a query's result.
    pub fn result(&self, job: &str, events: u64, options: &Options, work: &Work) -> Result<PathBuf, String> {
        let path = work.results("flink")?.join(format!("{job}.txt"));
        let mut java = self.java(job, events, 1, options, &work.scratch()?);
        java.arg(format!("output={}", path.display()));
        child::to_text(&mut java, &work.log("flink", job))?;
        Ok(path)
    }

    fn java(&self, job: &str, events: u64, generators: u32, options: &Options, dir: &Path) -> Command {
        let mut java = child::command("java", &self.root);
        let Options { heap, parallelism, keys, memory_budget, .. } = options;
        java.args([format!("-Xms{heap}"), format!("-Xmx{heap}"), "-XX:+UseG1GC".to_owned()]);
        // Flink leaves jars of 70 MB there.
        java.arg(format!("-Djava.io.tmpdir={}", dir.display()));
        java.args(OPEN_PACKAGES.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
        java.arg(format!(
            "-Dlog4j.configurationFile={}",
            self.root.join(RESOURCES).join("log4j2.properties").display()
        ));
        java.args(["-cp", &self.class_path, "highwater.bench.Main"]);
        let backend = match options.backend {
            Backend::Memory => "hashmap",
            Backend::Rocksdb => "rocksdb",
        };
        let managed = memory_budget * u64::from(*parallelism);
        java.args([format!("job={job}"), format!("events={events}"), format!("keys={keys}")]);
        java.args([format!("parallelism={parallelism}"), format!("generators={generators}")]);
        java.args([format!("backend={backend}"), format!("managed={managed}")]);
        java.arg(format!("checkpoint-interval-ms={}", options.checkpoint_interval_ms.unwrap_or(0)));
        java.args([format!("dir={}", dir.display()), format!("sql={}", self.root.join(SQL).display())]);
        java
    }
}

/// The folder with Flink's jars, filled if it is not there.
fn installed_jars(home: &Home, root: &Path) -> Result<PathBuf, String> {
    let jars = home.installed(&format!("flink-{VERSION}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    install::program("pip3", "--version", "python3-pip", root)?;
    eprintln!("installing Flink {VERSION} from PyPI, 330 MB");
    let part = home.installed(&format!("flink-{VERSION}.part"));
    remove_dir(&part)?;
    create_dir(&part)?;
    let mut pip = child::command("pip3", root);
    pip.args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]).arg(&part);
    pip.arg(format!("apache-flink-libraries=={VERSION}"));
    child::to_success_aside(&mut pip).map_err(|why| format!("cannot install Flink with pip3: {why}"))?;
    let wheel = part.join(format!("apache_flink_libraries-{VERSION}-py2.py3-none-any.whl"));
    let mut unpack = child::command("python3", root);
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(part.join("wheel"));
    child::to_success_aside(&mut unpack).map_err(|why| format!("cannot unpack {}: {why}", wheel.display()))?;
    // By a rename, so that an installation that was interrupted is none.
    let lib = part.join("wheel/pyflink/lib");
    fs::rename(&lib, &jars).map_err(|why| format!("cannot move {} to {}: {why}", lib.display(), jars.display()))?;
    remove_dir(&part)?;
    Ok(jars)
}

fn compile(jars: &Path, classes: &Path, root: &Path) -> Result<(), String> {
    create_dir(classes)?;
    let folder = root.join(SOURCES);
    let entries = fs::read_dir(&folder).map_err(|why| format!("cannot read {}: {why}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut javac = child::command("javac", root);
    javac.args(["-nowarn", "-proc:none", "--release", "17", "-d"]).arg(classes);
    javac.args(["-cp", &format!("{}/*", jars.display())]);
    javac.args(paths.filter(|path| path.extension().is_some_and(|extension| extension == "java")));
    child::to_success_aside(&mut javac).map_err(|why| format!("cannot compile the jobs of Flink: {why}"))
}

/// What the JSON of a run says.
fn measured(job: &str, said: &str) -> Option<Measured> {
    let said: Value = serde_json::from_str(said).ok()?;
    let figure = |name: &str| said.get(name)?.as_f64();
    let times = said.get("checkpoints_ms")?.as_array()?;
    let mut times: Vec<f64> = times.iter().map(Value::as_f64).collect::<Option<_>>()?;
    times.sort_unstable_by(f64::total_cmp);
    let checkpoints = median(&times).zip(times.last().copied()).map(|(p50_ms, max_ms)| Checkpoints {
        completed: times.len() as f64,
        p50_ms,
        max_ms,
    });
    Some(Measured {
        rows_per_s: figure("rows_per_s")?,
        cpu_seconds: figure("cpu_seconds")?,
        peak_bytes: figure("peak_bytes")?,
        checkpoints,
        sum: if job == KEYED_COUNT { Some(said.get("sum_of_counts")?.as_u64()?) } else { None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_go_to_the_folder_of_the_run() {
        let flink = Flink { root: PathBuf::new(), class_path: String::new() };
        let java = flink.java("q0", 1, 1, &Options::default(), Path::new("/scratch"));
        let before_main = java.get_args().take_while(|word| *word != "highwater.bench.Main");
        assert!(before_main.into_iter().any(|word| word == "-Djava.io.tmpdir=/scratch"), "{java:?}");
    }

    #[test]
    fn what_a_run_says_is_understood() {
        let said = r#"{"rows_per_s":5.5,"cpu_seconds":2,"peak_bytes":7,"sum_of_counts":9,"checkpoints_ms":[4, 1]}"#;
        let checkpoints = Some(Checkpoints { completed: 2.0, p50_ms: 2.5, max_ms: 4.0 });
        let expected = Measured { rows_per_s: 5.5, cpu_seconds: 2.0, peak_bytes: 7.0, checkpoints, sum: Some(9) };
        assert_eq!(measured(KEYED_COUNT, said), Some(expected.clone()));
        let without = said.replace("[4, 1]", "[]");
        assert_eq!(measured("q5", &without), Some(Measured { checkpoints: None, sum: None, ..expected }));
        assert_eq!(measured("q5", "{}"), None);
    }
}
