//! Child processes: started in this process's group, waited for with a limit, interrupted politely.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a child with a limit is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// A command that runs in the root of the workspace without standard input.
pub fn command(program: impl AsRef<std::ffi::OsStr>, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root).stdin(Stdio::null());
    hear_interrupts(&mut command);
    command
}

/// Who is started in the background by a shell ignores Ctrl-C, and so would its children: those started here do not.
fn hear_interrupts(command: &mut Command) {
    #[cfg(unix)]
    // SAFETY: between fork and exec only `signal` is called, which may be called there.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, || {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

/// The cargo that runs this program, so that all steps use one toolchain.
pub fn cargo(root: &Path) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), root)
}

/// A command line as a shell reads it, but as one process whose id is the program's: `exec`, then `cargo run` execs too.
pub fn shell(line: &str, root: &Path) -> Command {
    let mut command = command("sh", root);
    // `env` because a line may begin with `NAME=value`, which `exec` alone does not take.
    command.arg("-c").arg(format!("exec env {line}"));
    command
}

/// Runs `command` to its end, which must be exit code 0.
pub fn to_success(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|why| format!("cannot start {:?}: {why}", command.get_program()))?;
    success(status)
}

/// Runs `command` to its end, which must be exit code 0; what it says goes to standard error, for standard output has a result.
pub fn to_success_aside(command: &mut Command) -> Result<(), String> {
    to_success(command.stdout(std::io::stderr()))
}

/// Runs `command` to its end, which must be exit code 0, and returns what it says; its errors go to the end of `log`.
pub fn to_text(command: &mut Command, log: &Path) -> Result<String, String> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(|why| format!("cannot write {}: {why}", log.display()))?;
    let program = command.get_program().to_owned();
    let output = command.stderr(file).output().map_err(|why| format!("cannot start {program:?}: {why}"))?;
    success(output.status).map_err(|why| format!("{program:?}: {why}; its log is {}", log.display()))?;
    String::from_utf8(output.stdout).map_err(|_| format!("{program:?} did not say text"))
}

/// Runs `command`, which must end by itself with exit code 0 within `limit`.
pub fn to_success_within(command: &mut Command, limit: Duration) -> Result<(), String> {
    let mut child = Guard::spawn(command)?;
    match child.wait(limit)? {
        Some(status) => success(status),
        None => Err(format!("still running after {} s", limit.as_secs())),
    }
}

/// Runs the endless `command`, interrupts it `after` a while, and expects exit code 0 within `grace`.
pub fn to_interrupt(command: &mut Command, after: Duration, grace: Duration) -> Result<(), String> {
    let mut child = Guard::spawn(command)?;
    if let Some(status) = child.wait(after)? {
        return Err(format!("ended by itself ({status}) before it was interrupted"));
    }
    child.interrupt()?;
    match child.wait(grace)? {
        Some(status) => success(status).map_err(|why| format!("{why} when interrupted")),
        None => Err(format!("still running {} s after it was interrupted", grace.as_secs())),
    }
}

fn success(status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// A child that does not outlive the check that started it.
struct Guard(Child);

impl Guard {
    fn spawn(command: &mut Command) -> Result<Self, String> {
        command.spawn().map(Guard).map_err(|why| format!("cannot start {:?}: {why}", command.get_program()))
    }

    /// The status once it has ended, `None` if it has not within `limit`.
    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, String> {
        let start = Instant::now();
        loop {
            let ended = self.0.try_wait().map_err(|why| format!("cannot wait for process {}: {why}", self.0.id()))?;
            if ended.is_some() || start.elapsed() >= limit {
                return Ok(ended);
            }
            thread::sleep(POLL);
        }
    }

    /// What Ctrl-C does. The standard library cannot send it, and `kill` is a program only on some machines.
    fn interrupt(&self) -> Result<(), String> {
        let sent = Command::new("sh").args(["-c", "kill -INT \"$0\"", &self.0.id().to_string()]).status();
        sent.map_err(|why| why.to_string())
            .and_then(success)
            .map_err(|why| format!("cannot interrupt process {}: {why}", self.0.id()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only for a child that has ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough never to be reached by a command that ends at once.
    const LONG: Duration = Duration::from_secs(600);

    fn sh(line: &str) -> Command {
        shell(line, Path::new("."))
    }

    #[test]
    fn an_exit_code_is_a_result() {
        assert_eq!(to_success_within(&mut sh("true"), LONG), Ok(()));
        assert_eq!(to_success(&mut sh("CODE=3 sh -c 'exit $CODE'")), Err("exit status: 3".to_string()));
    }

    /// Standard output is the process's, so this test looks at itself in another process.
    #[test]
    fn what_a_command_says_aside_is_not_in_the_output() {
        const SAY: &str = "XTASK_TEST_SAYS_ASIDE";
        if std::env::var_os(SAY).is_some() {
            return to_success_aside(&mut sh("echo said")).unwrap();
        }
        let name = "child::tests::what_a_command_says_aside_is_not_in_the_output";
        let mut test = Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name, "--nocapture"]).env(SAY, "1").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().filter(|line| *line == "said").count();
        assert_eq!((text(&output.stdout), text(&output.stderr)), (0, 1), "{output:?}");
    }

    #[test]
    fn what_a_command_says_is_returned_and_its_errors_are_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(to_text(&mut sh("echo said"), &log), Ok("said\n".to_owned()));
        let error = to_text(&mut sh("sh -c 'echo why >&2; exit 3'"), &log).unwrap_err();
        assert_eq!(error, format!("\"sh\": exit status: 3; its log is {}", log.display()));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "why\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = to_success(&mut command("no-such-program", Path::new("."))).unwrap_err();
        assert!(error.starts_with("cannot start \"no-such-program\": "), "{error}");
    }

    #[test]
    fn a_limit_ends_the_command() {
        assert_eq!(to_success_within(&mut sh("sleep 600"), Duration::ZERO), Err("still running after 0 s".to_string()));
    }

    #[test]
    fn an_endless_command_must_not_end_by_itself() {
        assert_eq!(
            to_interrupt(&mut sh("true"), LONG, LONG),
            Err("ended by itself (exit status: 0) before it was interrupted".to_string())
        );
    }

    #[test]
    fn an_interrupt_is_not_a_graceful_end_unless_the_program_makes_it_one() {
        let error = to_interrupt(&mut sh("sleep 600"), Duration::ZERO, LONG).unwrap_err();
        assert_eq!(error, "signal: 2 (SIGINT) when interrupted");
    }
}
