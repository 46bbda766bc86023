//! A JobManager that keeps what it hears, and TaskManagers.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_control::proto::v1;
use highwater_control::server::{Answers, Session};
use highwater_control::{
    Addresses, Connected, Connector, Heartbeats, Identity, JobManagerHandler, Network, NotConnected, Notice,
    PROTOCOL_VERSION, Rejection, Request, Server,
};
use highwater_core::Error;

/// How long anything may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Heartbeats that never matter.
pub const CALM: Heartbeats = Heartbeats { interval: Duration::from_secs(10), timeout: Duration::from_secs(60) };

/// Heartbeats that are missed soon.
pub const BRISK: Heartbeats = Heartbeats { interval: Duration::from_millis(50), timeout: Duration::from_secs(2) };

/// What a JobManager hears.
#[derive(Debug)]
pub enum Heard {
    Registered(v1::Register, Session),
    Notice(Notice),
    Lost(Error),
    Asked(Request, Answers),
}

/// Whether it leads, and with which token.
pub type Verdict = Box<dyn Fn() -> Result<u64, Rejection> + Send + Sync>;

struct Recorder {
    heard: Mutex<Sender<Heard>>,
    verdict: Verdict,
    /// Held while nobody is to be heard.
    gate: Arc<Mutex<()>>,
}

impl Recorder {
    fn hear(&self, heard: Heard) {
        let _ = self.heard.lock().unwrap().send(heard);
    }
}

impl JobManagerHandler for Recorder {
    fn register(&self, register: v1::Register, session: &Session) -> Result<u64, Rejection> {
        let verdict = (self.verdict)()?;
        self.hear(Heard::Registered(register, session.clone()));
        Ok(verdict)
    }

    fn notice(&self, _: &Session, notice: Notice) {
        let _open = self.gate.lock().unwrap();
        self.hear(Heard::Notice(notice));
    }

    fn heartbeat(&self, _: &Session) {}

    fn lost(&self, _: &Session, why: Error) {
        self.hear(Heard::Lost(why));
    }

    fn job(&self, checkpoints: usize) -> Result<v1::Job, Rejection> {
        let leader_token = (self.verdict)()?;
        let checkpoint = |id| v1::Checkpoint { id, kind: "checkpoint".to_owned(), ..v1::Checkpoint::default() };
        let checkpoints = (0..checkpoints as u64).map(checkpoint).collect();
        Ok(v1::Job {
            name: identity().job,
            phase: "running".to_owned(),
            leader_token,
            checkpoints,
            ..v1::Job::default()
        })
    }

    fn task_managers(&self) -> Result<Vec<v1::TaskManager>, Rejection> {
        (self.verdict)()?;
        Ok(vec![v1::TaskManager { id: "first".to_owned(), slots: 2, ..v1::TaskManager::default() }])
    }

    fn ask(&self, request: Request, answers: Answers) -> Result<(), Rejection> {
        (self.verdict)()?;
        self.hear(Heard::Asked(request, answers));
        Ok(())
    }
}

/// A process with a JobManager.
pub struct JobManager {
    pub server: Server,
    pub heard: Receiver<Heard>,
    pub gate: Arc<Mutex<()>>,
}

impl JobManager {
    pub fn start(heartbeats: Heartbeats, verdict: Verdict) -> Self {
        let network = Network::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, heard) = channel();
        let gate = Arc::<Mutex<()>>::default();
        let recorder = Recorder { heard: Mutex::new(sender), verdict, gate: Arc::clone(&gate) };
        let server = Server::start(&network, listener, identity(), heartbeats, Arc::new(recorder)).unwrap();
        JobManager { server, heard, gate }
    }

    /// One that leads with `token`.
    pub fn leading(token: u64, heartbeats: Heartbeats) -> Self {
        JobManager::start(heartbeats, Box::new(move || Ok(token)))
    }

    pub fn standby(leader: Option<String>) -> Self {
        JobManager::start(CALM, Box::new(move || Err(Rejection::Standby { leader: leader.clone() })))
    }

    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    pub fn hear(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("something is heard")
    }

    pub fn registered(&self) -> Session {
        match self.hear() {
            Heard::Registered(_, session) => session,
            other => panic!("not a registration: {other:?}"),
        }
    }

    pub fn notice(&self) -> Notice {
        match self.hear() {
            Heard::Notice(notice) => notice,
            other => panic!("not a notice: {other:?}"),
        }
    }

    pub fn asked(&self) -> (Request, Answers) {
        match self.hear() {
            Heard::Asked(request, answers) => (request, answers),
            other => panic!("not a request: {other:?}"),
        }
    }

    /// Why the session is lost.
    pub fn lost(&self) -> String {
        match self.hear() {
            Heard::Lost(why) => why.to_string(),
            other => panic!("not lost: {other:?}"),
        }
    }
}

pub fn identity() -> Identity {
    let operator = |uid: &str, kind: &str| v1::Operator {
        uid: uid.to_owned(),
        name: uid.to_owned(),
        kind: kind.to_owned(),
        inputs: Vec::new(),
    };
    let graph = v1::Graph { digest: 7, operators: vec![operator("lines", "source"), operator("out", "sink")] };
    Identity { highwater_version: "0.1.0".to_owned(), job: "visitors".to_owned(), graph }
}

pub fn register() -> v1::Register {
    let Identity { highwater_version, job, graph } = identity();
    v1::Register {
        protocol_version: PROTOCOL_VERSION,
        highwater_version,
        job,
        graph: Some(graph),
        task_manager_id: "first".to_owned(),
        data_address: "10.0.0.1:7000".to_owned(),
        slots: 2,
        running: None,
        pid: 7,
    }
}

/// A process with a TaskManager.
pub struct TaskManager {
    pub connector: Connector,
}

impl TaskManager {
    pub fn of(addresses: &[&str]) -> Self {
        let addresses = Addresses::parse(&addresses.join(",")).unwrap();
        TaskManager { connector: Connector::new(&Network::start().unwrap(), addresses) }
    }

    /// Registers, however long it takes.
    pub fn connect(&mut self) -> Connected {
        self.connector.connect(&register(), &|| false).unwrap()
    }

    /// Goes once over all addresses.
    pub fn try_once(&mut self, register: &v1::Register) -> Result<Connected, NotConnected> {
        self.connector.connect(register, &|| true)
    }

    /// Why it is refused.
    pub fn refused(&mut self, register: &v1::Register) -> String {
        match self.try_once(register) {
            Err(NotConnected::Refused(error)) => error.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Why nobody takes it in.
    pub fn given_up(&mut self) -> String {
        match self.try_once(&register()) {
            Err(NotConnected::GivenUp(error)) => error.to_string(),
            other => panic!("not given up: {other:?}"),
        }
    }
}
