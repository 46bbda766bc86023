//! The control socket of a job: answers the requests of other programs of its user.
//!
//! A thread accepts connections, and each has one of its own that reads requests and passes them on to the job's client. Invariants:
//! a client that is slow, silent, gone or talks nonsense keeps nothing from the job; a request that was taken is answered before
//! the process ends; the socket is gone when the job is.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater_control::protocol::LONGEST_LINE;
use highwater_control::{Answer, Request, RunDir, Savepoint, Status};
use highwater_core::{Error, ErrorKind, JobName, Result};
use highwater_runtime::JobClient;
use highwater_runtime::client::{JobRequest, SavepointTarget};

/// Clients at a time: more than anybody needs, and few enough threads.
const MOST_CLIENTS: usize = 32;

/// How long a client may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(2);

/// A socket on which a job listens for as long as this lives.
pub struct ControlSocket {
    path: PathBuf,
    desk: Arc<Desk>,
    accepting: Option<JoinHandle<()>>,
}

/// Why a job without a cluster keeps its parallelism.
const NO_CLUSTER: &str = "only a job in a cluster can be given another parallelism while it runs: stop this one, and start it again \
                          with another --workers";

/// What the threads share.
struct Desk {
    job: JobName,
    client: JobClient,
    is_closing: AtomicBool,
    visitors: Mutex<Vec<(UnixStream, JoinHandle<()>)>>,
}

impl ControlSocket {
    /// Listens in `dir` for requests to `job`.
    ///
    /// # Errors
    /// If the directory or the socket cannot be used.
    pub fn open(dir: &RunDir, job: &JobName, client: &JobClient) -> Result<Self> {
        dir.create()?;
        let path = dir.socket(job, std::process::id())?;
        let listener = listen(&path)?;
        let desk = Arc::new(Desk {
            job: job.clone(),
            client: client.clone(),
            is_closing: AtomicBool::new(false),
            visitors: Mutex::default(),
        });
        let accepting = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("highwater-control".into())
            .spawn(move || accepting.accept(&listener))
            .map_err(|error| Error::internal("cannot start the thread of the control socket").with_source(error))?;
        tracing::debug!(socket = %path.display(), "listening for requests");
        Ok(ControlSocket { path, desk, accepting: Some(thread) })
    }
}

/// Binds the socket, in the place of one that a process of the same number has left.
///
/// It gets its name when it listens: whoever finds a socket that nobody listens on takes it for what a killed job has left, and
/// removes it.
fn listen(path: &Path) -> Result<UnixListener> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot listen on the control socket {}: name another --run-dir", path.display());
        Error::new(ErrorKind::Settings, message).with_source(error)
    };
    if UnixStream::connect(path).is_ok() {
        return Err(failed(std::io::ErrorKind::AddrInUse.into()));
    }
    let hidden = path.with_file_name(format!(".{}", path.file_stem().unwrap_or_default().display()));
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(failed)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&hidden, path).map_err(failed)?;
    Ok(listener)
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.desk.is_closing.store(true, Ordering::SeqCst);
        // The thread waits for a connection, and looks up at this one.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.accepting.take().filter(|_| woken) {
            let _ = thread.join();
        }
        let visitors = std::mem::take(&mut *self.desk.visitors());
        for (stream, thread) in visitors {
            // It takes no more requests, but finishes the answer that it is at: the job has ended, so there is one.
            let _ = stream.shutdown(Shutdown::Read);
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn visitors(&self) -> std::sync::MutexGuard<'_, Vec<(UnixStream, JoinHandle<()>)>> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            if self.is_closing.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            if let Err(error) = self.admit(stream) {
                tracing::debug!(%error, "a client of the control socket was not served");
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) -> std::io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut visitors = self.visitors();
        visitors.retain(|(_, thread)| !thread.is_finished());
        if visitors.len() >= MOST_CLIENTS {
            return say(&stream, &failed(format!("{MOST_CLIENTS} clients are connected already: try again later")));
        }
        let (desk, serving) = (Arc::clone(self), stream.try_clone()?);
        let serve = move || {
            // A client that is gone needs no answer.
            let _ = desk.serve(&serving);
            let _ = serving.shutdown(Shutdown::Both);
        };
        let thread = std::thread::Builder::new().name("highwater-client".into()).spawn(serve)?;
        visitors.push((stream, thread));
        Ok(())
    }

    /// Answers requests until the client has no more.
    fn serve(&self, stream: &UnixStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            (&mut reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(());
            }
            if line.len() as u64 > LONGEST_LINE {
                return say(stream, &failed(format!("not a request: a line of more than {LONGEST_LINE} bytes")));
            }
            match Request::parse(&line) {
                Ok(request) => self.answer(request, stream)?,
                Err(error) => say(stream, &failed(error.to_string()))?,
            }
        }
    }

    fn answer(&self, request: Request, stream: &UnixStream) -> std::io::Result<()> {
        let target = |savepoint: Savepoint| savepoint.target.map_or(SavepointTarget::Configured, SavepointTarget::Dir);
        let request = match request {
            Request::Status {} => return say(stream, &Answer::Status(self.status())),
            Request::Checkpoint {} => JobRequest::Checkpoint,
            Request::Savepoint(savepoint) => JobRequest::Savepoint(target(savepoint)),
            Request::Stop { drain, savepoint } => JobRequest::Stop { drain, savepoint: savepoint.map(target) },
            Request::Cancel {} => JobRequest::Cancel,
            Request::Rescale { .. } => return say(stream, &failed(NO_CLUSTER.to_owned())),
        };
        self.client.ask(request).try_for_each(|answer| say(stream, &answer.into()))
    }

    fn status(&self) -> Status {
        let numbers = self.client.status().snapshot();
        Status {
            job: self.job.to_string(),
            pid: std::process::id(),
            phase: numbers.phase.to_string(),
            attempts: numbers.attempts,
            records: numbers.records,
            checkpoints_completed: numbers.completed,
            checkpoints_failed: numbers.failed,
            savepoints: numbers.savepoints,
            last_checkpoint: numbers.last_completed.map(|report| report.id.0),
            restored: numbers.restored.map(|(_, path)| path),
        }
    }
}

fn failed(reason: String) -> Answer {
    Answer::Failed { reason }
}

fn say(mut stream: &UnixStream, answer: &Answer) -> std::io::Result<()> {
    stream.write_all(answer.line().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_for_jobs_takes_no_socket_from_one_that_starts() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::at(folder.path().join("run").to_str());
        dir.create().unwrap();
        let socket = |pid| dir.socket(&JobName::parse("visitors").unwrap(), pid).unwrap();
        std::thread::scope(|scope| {
            let starts = scope.spawn(|| {
                for pid in 0..500 {
                    let _listener = listen(&socket(pid)).unwrap();
                    assert!(UnixStream::connect(socket(pid)).is_ok());
                }
            });
            while !starts.is_finished() {
                dir.jobs().unwrap();
            }
        });
        assert_eq!(dir.jobs().unwrap(), []);
        assert!(!socket(0).exists(), "what was left is removed");
        drop(listen(&socket(0)).unwrap());
        assert!(listen(&socket(0)).is_ok(), "what is left is replaced");
    }
}
