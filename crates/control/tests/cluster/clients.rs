//! What clients ask a cluster for.

use std::net::TcpListener;
use std::time::Duration;

use highwater_control::{Addresses, Answer, ClusterClient, Rejection, Request, Savepoint, Taken};
use highwater_core::ErrorKind;

use crate::peers::{CALM, JobManager};

/// Looks for a leader once.
fn client(addresses: &str) -> ClusterClient {
    ClusterClient::new(Addresses::parse(addresses).unwrap(), Duration::ZERO).unwrap()
}

fn requests() -> [Request; 7] {
    let target = |target: &str| Savepoint { target: Some(target.to_owned()) };
    [
        Request::Checkpoint {},
        Request::Savepoint(Savepoint::default()),
        Request::Savepoint(target("s3://bucket/s")),
        Request::Stop { drain: false, savepoint: None },
        Request::Stop { drain: true, savepoint: Some(target("/s")) },
        Request::Cancel {},
        Request::Rescale { parallelism: 4 },
    ]
}

fn answers() -> [Answer; 4] {
    let taken = || Taken { checkpoint: 7, path: "file:///s/x".to_owned(), bytes: 10, duration_ms: 5 };
    [
        Answer::Accepted,
        Answer::Started { checkpoint: 7 },
        Answer::Ending { taken: taken() },
        Answer::Completed { taken: Some(taken()), pause_ms: Some(12) },
    ]
}

#[test]
fn every_request_reaches_the_leader_and_every_answer_the_client() {
    let leader = JobManager::leading(3, CALM);
    let standby = JobManager::standby(Some(leader.address()));
    let mut client = client(&standby.address());
    for request in requests() {
        let mut stream = client.ask("visitors", &request).unwrap();
        let (asked, replies) = leader.asked();
        assert_eq!(asked, request);
        for answer in answers() {
            replies.send(answer.clone());
            assert_eq!(stream.next().unwrap().unwrap(), answer);
        }
        assert!(stream.next().is_none());
    }
    let mut stream = client.ask("", &Request::Checkpoint {}).unwrap();
    leader.asked().1.send(Answer::Failed { reason: "no storage".to_owned() });
    assert_eq!(stream.next().unwrap().unwrap(), Answer::Failed { reason: "no storage".to_owned() });
    let job = client.job("visitors", 3).unwrap();
    assert_eq!((job.leader_token, job.checkpoints.len()), (3, 3));
    assert_eq!(client.jobs().unwrap()[0].name, "visitors");
    assert_eq!(client.task_managers().unwrap()[0].slots, 2);
}

#[test]
fn what_cannot_be_done_is_said_and_not_tried_again() {
    let leader = JobManager::leading(3, CALM);
    let mut client = client(&leader.address());
    let error = client.job("views", 0).unwrap_err();
    assert_eq!(error.to_string(), "no job named views is in this cluster: its job is visitors");
    assert!(client.ask("views", &Request::Cancel {}).unwrap_err().to_string().contains("no job named views"));
    let error = client.ask("", &Request::Rescale { parallelism: 0 }).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("parallelism of 0")), (ErrorKind::Settings, true));
    assert!(leader.heard.try_recv().is_err(), "nobody heard of it");
    let busy = JobManager::start(CALM, Box::new(|| Err(Rejection::Refused { reason: "the job has ended".to_owned() })));
    let error = self::client(&busy.address()).ask("", &Request::Cancel {}).unwrap_err();
    assert!(error.to_string().contains("the job has ended"), "{error}");
}

#[test]
fn a_job_manager_that_goes_before_it_is_done_is_an_error() {
    let leader = JobManager::leading(3, CALM);
    let mut stream = client(&leader.address()).ask("", &Request::Checkpoint {}).unwrap();
    let (_, replies) = leader.asked();
    replies.send(Answer::Accepted);
    drop(replies);
    assert_eq!(stream.next().unwrap().unwrap(), Answer::Accepted);
    let error = stream.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("ended without an answer"), "{error}");
    assert!(stream.next().is_none());
}

#[test]
fn who_asks_where_nobody_leads_hears_what_was_tried() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let standby = JobManager::standby(None);
    let addresses = format!("{nobody},{}", standby.address());
    let error = client(&addresses).jobs().unwrap_err().to_string();
    for words in [&*nobody, "onnection refused", &standby.address(), "knows no leader", "is the address right"] {
        assert!(error.contains(words), "{words}: {error}");
    }
}
