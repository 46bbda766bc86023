//! The directory in which a user's jobs have their control sockets.
//!
//! Invariants: whoever can write to it can stop the jobs, so it belongs to the user and nobody else can write to it. A socket that
//! nobody listens on is what a killed job has left, and no job.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use highwater_core::{Error, ErrorKind, JobName, Result};

/// Bytes that the path of a socket may have, without the zero at its end.
const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The end of a socket's name.
const SUFFIX: &str = ".sock";

/// A user's directory of control sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// A job that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub socket: PathBuf,
}

impl RunDir {
    /// The directory at `path`, or the user's own if that is not given: `highwater` in `XDG_RUNTIME_DIR`, else
    /// `highwater-<user id>` in the directory for temporary files. It need not exist.
    pub fn at(path: Option<&str>) -> RunDir {
        let of_session = || std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        RunDir(match (path, of_session()) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(dir)) => Path::new(&dir).join("highwater"),
            (None, None) => std::env::temp_dir().join(format!("highwater-{}", rustix::process::geteuid().as_raw())),
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Creates it if it is missing, and makes sure that it is the user's alone.
    ///
    /// # Errors
    /// If it cannot be created, or others can write to it.
    pub fn create(&self) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| self.unusable("cannot create it", error))?;
        self.check().map(|_| ())
    }

    /// Whether it exists.
    ///
    /// # Errors
    /// If it exists and others can write to it.
    fn check(&self) -> Result<bool> {
        let metadata: Metadata = match fs::symlink_metadata(&self.0) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.unusable("cannot look at it", error)),
        };
        let is_ours = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
        if is_ours && metadata.mode() & 0o022 == 0 {
            return Ok(true);
        }
        Err(Error::settings(format!(
            "run directory {} is not a directory that is this user's and that nobody else can write to: remove it, or name \
             another with --run-dir",
            self.0.display()
        )))
    }

    /// The path of the socket of a job.
    ///
    /// # Errors
    /// If it is longer than the system allows.
    pub fn socket(&self, job: &JobName, pid: u32) -> Result<PathBuf> {
        let path = self.0.join(format!("{job}-{pid}{SUFFIX}"));
        let len = path.as_os_str().len();
        if len > LONGEST_PATH {
            return Err(Error::settings(format!(
                "the path of the control socket {} has {len} bytes where the system allows {LONGEST_PATH}: name a shorter \
                 directory with --run-dir, or give the job a shorter name",
                path.display()
            )));
        }
        Ok(path)
    }

    /// The jobs that listen, by name and process. What killed jobs have left is removed.
    ///
    /// # Errors
    /// If the directory cannot be read, or others can write to it.
    pub fn jobs(&self) -> Result<Vec<RunningJob>> {
        if !self.check()? {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.0).map_err(|error| self.unusable("cannot read it", error))?;
        let mut jobs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.unusable("cannot read it", error))?;
            jobs.extend(RunningJob::of(entry.path()).filter(RunningJob::listens));
        }
        jobs.sort_by(|a, b| (&a.name, a.pid).cmp(&(&b.name, b.pid)));
        Ok(jobs)
    }

    /// The job that a user means by `job`: its name, its name with its process as in `visitors-1234`, or the path of its socket.
    ///
    /// # Errors
    /// If there is none, or there are several.
    pub fn find(&self, job: &str) -> Result<RunningJob> {
        if job.contains('/') {
            let found = RunningJob::of(PathBuf::from(job)).filter(RunningJob::listens);
            return found.ok_or_else(|| Error::settings(format!("no job listens on {job}")));
        }
        let jobs = self.jobs()?;
        let is_meant = |found: &&RunningJob| found.name == job || found.full_name() == job;
        let meant: Vec<&RunningJob> = jobs.iter().filter(is_meant).collect();
        let names = |jobs: &[&RunningJob]| jobs.iter().map(|job| job.full_name()).collect::<Vec<_>>().join(", ");
        match meant[..] {
            [one] => Ok(one.clone()),
            [] if jobs.is_empty() => {
                Err(Error::settings(format!("no job named {job} is running: there is none in {}", self.0.display())))
            }
            [] => Err(Error::settings(format!(
                "no job named {job} is running: in {} there are {}",
                self.0.display(),
                names(&jobs.iter().collect::<Vec<_>>())
            ))),
            [..] => Err(Error::settings(format!("several jobs are named {job}: say which of {}", names(&meant)))),
        }
    }

    fn unusable(&self, what: &str, error: io::Error) -> Error {
        let message = format!("run directory {} is not usable: {what}; name another with --run-dir", self.0.display());
        Error::new(ErrorKind::Settings, message).with_source(error)
    }
}

impl RunningJob {
    /// The job whose socket is at `path`, from its name.
    fn of(path: PathBuf) -> Option<RunningJob> {
        let (name, pid) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.rsplit_once('-')?;
        Some(RunningJob { name: name.to_owned(), pid: pid.parse().ok()?, socket: path })
    }

    /// Its name and process, which are together its own.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.pid)
    }

    /// Whether it does listen; a socket that was left behind is removed.
    fn listens(&self) -> bool {
        match UnixStream::connect(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Whoever is first removes it.
                let _ = fs::remove_file(&self.socket);
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn job(name: &str) -> JobName {
        JobName::parse(name).unwrap()
    }

    fn run_dir(path: &Path) -> RunDir {
        RunDir::at(Some(path.join("run").to_str().unwrap()))
    }

    #[test]
    fn jobs_are_found_by_name_and_process_and_what_killed_ones_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = run_dir(folder.path());
        assert_eq!(dir.jobs().unwrap(), []);
        assert!(dir.find("visitors").unwrap_err().to_string().contains("there is none"));
        dir.create().unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
        let listen = |name, pid| UnixListener::bind(dir.socket(&job(name), pid).unwrap()).unwrap();
        let _alive = [listen("visitors", 1), listen("visitors", 2), listen("page-views", 3)];
        drop(listen("visitors", 4));
        fs::write(dir.path().join("notes.txt"), "not a job").unwrap();
        let names: Vec<_> = dir.jobs().unwrap().iter().map(RunningJob::full_name).collect();
        assert_eq!(names, ["page-views-3", "visitors-1", "visitors-2"]);
        assert!(!dir.socket(&job("visitors"), 4).unwrap().exists());
        assert_eq!(dir.find("page-views").unwrap().pid, 3);
        assert_eq!(dir.find("visitors-2").unwrap().pid, 2);
        assert_eq!(dir.find(dir.socket(&job("visitors"), 1).unwrap().to_str().unwrap()).unwrap().pid, 1);
        let several = dir.find("visitors").unwrap_err().to_string();
        assert!(several.contains("visitors-1, visitors-2"), "{several}");
        assert!(dir.find("views").unwrap_err().to_string().contains("page-views-3, visitors-1"));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = run_dir(folder.path());
        dir.create().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for error in [dir.create().unwrap_err(), dir.jobs().unwrap_err()] {
            assert!(error.to_string().contains("nobody else can write to"), "{error}");
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_before_the_system_does() {
        let folder = tempfile::tempdir().unwrap();
        let error = run_dir(folder.path()).socket(&job(&"x".repeat(100)), 1).unwrap_err();
        assert!(error.to_string().contains("--run-dir"), "{error}");
    }
}
