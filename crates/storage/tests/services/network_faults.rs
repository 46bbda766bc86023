//! What goes wrong between a client and either server.

use std::sync::Arc;

use highwater_storage::{Outcome, What};
use highwater_testing::Fault;

use crate::support::{SHORT, USUAL, behind_a_proxy, fails, hdfs_server, in_time, s3_server};

const ALWAYS: u32 = u32::MAX;
const FAULTS: [Fault; 5] = [Fault::AnswerLost, Fault::AnswerCut, Fault::RequestCut, Fault::Garbage, Fault::Silence];

#[test]
fn another_publish_is_not_taken_for_ones_own() {
    for server in [hdfs_server(), s3_server()] {
        let (proxy, storage, direct) = behind_a_proxy(&server, USUAL);
        let other = Arc::clone(&direct);
        let publish = move || other.publish("job/_metadata", b"same").unwrap();
        proxy.fault_and(server.publishes, Fault::RequestCut, 1, publish);
        fails(|| storage.publish("job/_metadata", b"same"), What::AlreadyExists, Outcome::DidNotHappen);
    }
}

#[test]
fn a_server_that_goes_away_and_comes_back_costs_time_only() {
    for server in [hdfs_server(), s3_server()] {
        let (proxy, storage, _) = behind_a_proxy(&server, SHORT);
        storage.publish("job/file", b"content").unwrap();
        proxy.go_down();
        let error = fails(|| storage.read("job/file"), What::Other, Outcome::DidNotHappen);
        assert!(error.to_string().contains("tried "), "{error}");
        fails(|| storage.list("job"), What::Other, Outcome::DidNotHappen);
        proxy.heal();
        assert_eq!(storage.read("job/file").unwrap(), b"content");
    }
}

#[test]
fn reading_survives_lost_and_cut_answers() {
    for server in [hdfs_server(), s3_server()] {
        let (proxy, storage, direct) = behind_a_proxy(&server, USUAL);
        let content = vec![7; 300_000];
        direct.publish("job/file", &content).unwrap();
        for fault in FAULTS {
            proxy.fault(server.reads, fault, 1);
            assert!(in_time(|| storage.read("job/file")).unwrap() == content, "{fault:?}");
            assert_eq!(proxy.faults_left(), 0, "{fault:?} happened");
        }
    }
}

#[test]
fn reading_ends_when_there_are_no_answers() {
    for server in [hdfs_server(), s3_server()] {
        let (proxy, storage, direct) = behind_a_proxy(&server, SHORT);
        direct.publish("job/file", b"content").unwrap();
        for fault in FAULTS {
            proxy.fault(server.reads, fault, ALWAYS);
            fails(|| storage.read("job/file"), What::Other, Outcome::DidNotHappen);
            proxy.heal();
        }
    }
}
