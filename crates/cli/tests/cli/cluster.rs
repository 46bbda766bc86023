//! Commands that ask a cluster: with a JobManager that says what it is told to.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use highwater_control::proto::v1;
use highwater_control::server::{Answers, Session};
use highwater_control::{
    Answer, Heartbeats, Identity, JobManagerHandler, Network, Notice, Rejection, Request, Savepoint, Server, Taken,
};
use highwater_core::Error;
use serde_json::{Value, json as value};

use crate::run::{highwater, json, refused, text};

/// A JobManager that does everything, or the standby of one.
#[derive(Default)]
struct Obedient {
    asked: Mutex<Vec<Request>>,
    leader: Option<String>,
}

impl Obedient {
    fn leads(&self) -> Result<(), Rejection> {
        match &self.leader {
            None => Ok(()),
            Some(leader) => Err(Rejection::Standby { leader: Some(leader.clone()) }),
        }
    }
}

impl JobManagerHandler for Obedient {
    fn register(&self, _: v1::Register, _: &Session) -> Result<u64, Rejection> {
        Err(Rejection::Refused { reason: "nobody registers here".to_owned() })
    }

    fn notice(&self, _: &Session, _: Notice) {}

    fn heartbeat(&self, _: &Session) {}

    fn lost(&self, _: &Session, _: Error) {}

    fn job(&self, checkpoints: usize) -> Result<v1::Job, Rejection> {
        self.leads()?;
        let checkpoint = v1::Checkpoint {
            id: 12,
            kind: "checkpoint".to_owned(),
            outcome: "completed".to_owned(),
            init_nanos: 1_000_000,
            prepare_nanos: 2_000_000,
            confirm_nanos: 3_000_000,
            complete_nanos: 4_000_000,
            bytes: 2048,
            acknowledged: 8,
            tasks: 8,
            ..v1::Checkpoint::default()
        };
        Ok(v1::Job {
            name: "visitors".to_owned(),
            phase: "waiting".to_owned(),
            reason: "2 of 4 slots are there".to_owned(),
            attempt: 7,
            attempts: 3,
            parallelism: 4,
            restarts: 2,
            leader: "10.0.0.1:6123".to_owned(),
            leader_token: 5,
            checkpoints: vec![checkpoint; checkpoints.min(1)],
            ..v1::Job::default()
        })
    }

    fn task_managers(&self) -> Result<Vec<v1::TaskManager>, Rejection> {
        self.leads()?;
        let (id, data_address, peer) = ("first".to_owned(), "10.0.0.2:7000".to_owned(), "10.0.0.2:40112".to_owned());
        let last_heartbeat_nanos = 1_500_000;
        Ok(vec![v1::TaskManager { id, data_address, pid: 7, slots: 4, used_slots: 2, last_heartbeat_nanos, peer }])
    }

    fn ask(&self, request: Request, answers: Answers) -> Result<(), Rejection> {
        self.leads()?;
        let pause_ms = matches!(request, Request::Rescale { .. }).then_some(230);
        let takes = !matches!(request, Request::Cancel {} | Request::Rescale { .. });
        self.asked.lock().unwrap().push(request);
        let taken = Taken { checkpoint: 13, path: "file:///c/visitors/chk-13".to_owned(), bytes: 9, duration_ms: 4 };
        answers.send(Answer::Accepted);
        answers.send(Answer::Completed { taken: takes.then_some(taken), pause_ms });
        Ok(())
    }
}

fn start(handler: &Arc<Obedient>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (highwater_version, graph) = ("0.1.0".to_owned(), v1::Graph::default());
    let identity = Identity { highwater_version, job: "visitors".to_owned(), graph };
    let handler: Arc<dyn JobManagerHandler> = Arc::clone(handler) as _;
    Server::start(&Network::start().unwrap(), listener, identity, Heartbeats::default(), handler).unwrap()
}

#[test]
fn a_cluster_is_asked_by_way_of_its_standby() {
    let handler = Arc::<Obedient>::default();
    let leader = start(&handler);
    let leads = Some(leader.address().to_string());
    let standby = start(&Arc::new(Obedient { leader: leads, ..Obedient::default() }));
    let address = standby.address().to_string();
    let ask = |args: &[&str]| text(0, &[args, &["--jobmanager", &address]].concat());
    assert_eq!(ask(&["checkpoint", "trigger", "visitors"]), "file:///c/visitors/chk-13\n");
    assert_eq!(ask(&["savepoint", "visitors", "s3://bucket/s"]), "file:///c/visitors/chk-13\n");
    assert_eq!(ask(&["stop", "visitors", "--drain"]), "file:///c/visitors/chk-13\n");
    assert_eq!(ask(&["cancel", "visitors"]), "");
    assert_eq!(ask(&["rescale", "visitors", "--parallelism", "8"]), "no records flowed for 230 ms\n");
    let done = json(0, &["rescale", "visitors", "--parallelism", "2", "--jobmanager", &address]);
    assert_eq!(done, value!({"job": "visitors", "jobmanager": address, "taken": null, "pause_ms": 230}));
    let expected = [
        Request::Checkpoint {},
        Request::Savepoint(Savepoint { target: Some("s3://bucket/s".to_owned()) }),
        Request::Stop { drain: true, savepoint: None },
        Request::Cancel {},
        Request::Rescale { parallelism: 8 },
        Request::Rescale { parallelism: 2 },
    ];
    assert_eq!(*handler.asked.lock().unwrap(), expected);
}

#[test]
fn a_cluster_is_shown() {
    let leader = start(&Arc::default());
    let address = leader.address().to_string();
    let ask = |args: &[&str]| text(0, &[args, &["--jobmanager", &address]].concat());
    let document = |args: &[&str]| json(0, &[args, &["--jobmanager", &address]].concat());
    let table = ask(&["list"]);
    assert!(table.starts_with("JOB       PHASE") && table.contains("visitors  waiting  4"), "{table}");
    let info = ask(&["info", "visitors"]);
    for words in ["waiting: 2 of 4 slots are there", "10.0.0.1:6123, token 5", "7, 3 begun", "10.000 ms", "2.0 KiB"] {
        assert!(info.contains(words), "{words}: {info}");
    }
    let info = document(&["info", "visitors"]);
    assert_eq!(
        (&info["phase"], &info["leader_token"], &info["restored"]),
        (&value!("waiting"), &value!(5), &Value::Null)
    );
    assert_eq!(info["checkpoints"][0]["total_ns"], 10_000_000);
    assert_eq!(document(&["info", "visitors", "--checkpoints", "0"])["checkpoints"], Value::Null);
    assert_eq!(document(&["list"])["jobs"][0]["job"], "visitors");
    assert!(ask(&["task-managers"]).contains("first  10.0.0.2:7000  7    4      2     1.500 ms ago"));
    assert_eq!(document(&["task-managers"])["task_managers"][0]["used_slots"], 2);
    refused(2, &["cancel", "views", "--jobmanager", &address], &["no job named views", "visitors"]);
}

#[test]
fn a_cluster_that_is_not_there_is_reported() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    refused(2, &["list", "--jobmanager", &nobody], &[&nobody, "onnection refused", "is the address right"]);
    refused(2, &["list", "--jobmanager", "somewhere"], &["host:port"]);
    refused(2, &["task-managers"], &["--jobmanager"]);
    assert_eq!(highwater(&["rescale", "visitors", "--parallelism", "0", "--jobmanager", &nobody]).code, 2);
}
