//! Processes that outlive this program. One is known by its id *and* its start time: ids are used again.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Whom a process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Only with `down`: Ctrl-C in this terminal does not reach it.
    OfItsOwn,
    /// Ctrl-C in this terminal ends it too.
    WithThisGroup,
}

/// A process that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub name: String,
    pub id: u32,
    /// As the system tells it; only ever compared.
    pub start: String,
}

impl Process {
    /// Starts `command`, whose output goes to `<log_dir>/<name>.log`.
    pub fn start(name: &str, command: &mut Command, lifetime: Lifetime, log_dir: &Path) -> Result<Self, String> {
        super::home::create_dir(log_dir)?;
        let log = log_dir.join(format!("{name}.log"));
        let unable =
            |why: std::io::Error| format!("cannot start {:?} with log {}: {why}", command.get_program(), log.display());
        let output = File::create(&log).map_err(unable)?;
        let errors = output.try_clone().map_err(unable)?;
        let unable = format!("cannot start {:?}", command.get_program());
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        if lifetime == Lifetime::OfItsOwn {
            in_session_of_its_own(command);
        }
        let child = command.spawn().map_err(|why| format!("{unable}: {why}"))?;
        let id = child.id();
        let start = start_of(id).ok_or_else(|| format!("{name} ended at once"))?;
        Ok(Process { name: name.to_owned(), id, start })
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        start_of(self.id).is_some_and(|start| start == self.start)
    }

    /// Ends it: politely, and then for sure.
    pub fn stop(&self) {
        for signal in ["TERM", "KILL"] {
            let asked = Instant::now();
            while self.runs() {
                if asked.elapsed() >= GRACE {
                    break;
                }
                // Fails if it has just ended.
                let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {} 2>/dev/null", self.id)]).status();
                thread::sleep(POLL);
            }
        }
    }
}

/// When the process `id` was started; `None` if there is none, or it has ended and nobody has taken notice yet.
fn start_of(id: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // After the name, which may hold anything: state, and 19 fields on the start in clock ticks since boot.
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
        let state = fields.next()?;
        return (state != "Z").then(|| fields.nth(18).map(str::to_owned))?;
    }
    let output = Command::new("ps").args(["-o", "lstart=", "-p", &id.to_string()]).output().ok()?;
    let start = String::from_utf8_lossy(&output.stdout).trim().replace(' ', "_");
    (!start.is_empty()).then_some(start)
}

fn in_session_of_its_own(command: &mut Command) {
    #[cfg(unix)]
    // SAFETY: between fork and exec only `setsid` is called, which may be called there.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, || {
            libc::setsid();
            Ok(())
        });
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let dir = std::env::temp_dir().join(format!("highwater-xtask-{}", std::process::id()));
        let mut command = Command::new("sleep");
        let process = Process::start("sleeper", command.arg("600"), Lifetime::WithThisGroup, &dir).unwrap();
        let another = Process { start: "1".into(), ..process.clone() };
        assert!(process.runs() && !another.runs());
        another.stop();
        assert!(process.runs(), "another process of the same id is left alone");
        process.stop();
        assert!(!process.runs());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
