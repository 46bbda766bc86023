//! What goes wrong between a client and the NameNode. Calls are known by their method's name, which is in each.

use std::sync::Arc;

use highwater_storage::{CheckpointStorage, Outcome, What};

use crate::proxy::{Fault, Proxy};
use crate::support::{SHORT, USUAL, fails, fresh, hdfs, hdfs_at, in_time, open, refused, write};

const ALWAYS: u32 = u32::MAX;
const RENAME: &[&str] = &["rename2"];

/// A storage behind a proxy, and the same without.
fn behind_a_proxy(limits: &str) -> (Proxy, Arc<dyn CheckpointStorage>, Arc<dyn CheckpointStorage>) {
    let (proxy, folder) = (Proxy::new(hdfs()), fresh());
    let storage = open(&hdfs_at(proxy.address(), &folder, limits));
    storage.create_dir("job").unwrap();
    (proxy, storage, open(&hdfs_at(hdfs(), &folder, USUAL)))
}

#[test]
fn a_publish_whose_answer_was_lost_is_found_out() {
    for request in [&["create"][..], &["addBlock"], &["fsync"], &["complete"], RENAME] {
        for fault in [Fault::AnswerLost, Fault::AnswerCut, Fault::RequestCut] {
            let (proxy, storage, direct) = behind_a_proxy(USUAL);
            proxy.fault(request, fault, 1);
            in_time(|| storage.publish("job/_metadata", b"published"))
                .unwrap_or_else(|error| panic!("{request:?} {fault:?}: {error:?}"));
            assert_eq!(proxy.faults_left(), 0, "{request:?} {fault:?} happened");
            assert_eq!(direct.read("job/_metadata").unwrap(), b"published", "{request:?} {fault:?}");
            let names: Vec<String> = direct.list("job").unwrap().into_iter().map(|entry| entry.name).collect();
            assert_eq!(names, ["_metadata"], "{request:?} {fault:?}");
        }
    }
}

#[test]
fn another_publish_is_not_taken_for_ones_own() {
    let (proxy, storage, direct) = behind_a_proxy(USUAL);
    let other = Arc::clone(&direct);
    proxy.fault_and(RENAME, Fault::RequestCut, 1, move || other.publish("job/_metadata", b"same").unwrap());
    fails(|| storage.publish("job/_metadata", b"same"), What::AlreadyExists, Outcome::DidNotHappen);
}

#[test]
fn a_publish_is_in_doubt_only_if_its_rename_is() {
    for (request, outcome) in [(&["complete"][..], Outcome::DidNotHappen), (RENAME, Outcome::MayHaveHappened)] {
        for fault in [Fault::AnswerLost, Fault::RequestCut, Fault::Silence] {
            let (proxy, storage, direct) = behind_a_proxy(SHORT);
            // From this request on nothing is answered any more, so that nobody can look either.
            proxy.fault_and(request, fault, 1, proxy.deafen());
            let error = fails(|| storage.publish("job/_metadata", b"x"), What::Other, outcome);
            assert!(error.to_string().contains("/job/_metadata"), "{error}");
            let happened = request == RENAME && fault == Fault::AnswerLost;
            assert_eq!(direct.read("job/_metadata").is_ok(), happened, "{request:?} {fault:?}");
        }
    }
}

#[test]
fn a_name_node_that_goes_away_and_comes_back_costs_time_only() {
    let (proxy, storage, _) = behind_a_proxy(SHORT);
    storage.publish("job/file", b"content").unwrap();
    proxy.go_down();
    let error = fails(|| storage.read("job/file"), What::Other, Outcome::DidNotHappen);
    assert!(error.to_string().contains("tried "), "{error}");
    fails(|| storage.list("job"), What::Other, Outcome::DidNotHappen);
    proxy.heal();
    assert_eq!(storage.read("job/file").unwrap(), b"content");
}

#[test]
fn reading_survives_lost_and_cut_answers() {
    let (proxy, storage, direct) = behind_a_proxy(USUAL);
    let content = vec![7; 300_000];
    direct.publish("job/file", &content).unwrap();
    for fault in [Fault::AnswerLost, Fault::AnswerCut, Fault::RequestCut, Fault::Garbage, Fault::Silence] {
        proxy.fault(&["getBlockLocations"], fault, 1);
        assert!(in_time(|| storage.read("job/file")).unwrap() == content, "{fault:?}");
        assert_eq!(proxy.faults_left(), 0, "{fault:?} happened");
    }
}

#[test]
fn reading_ends_when_there_are_no_answers() {
    let (proxy, storage, direct) = behind_a_proxy(SHORT);
    direct.publish("job/file", b"content").unwrap();
    for fault in [Fault::AnswerLost, Fault::AnswerCut, Fault::RequestCut, Fault::Garbage, Fault::Silence] {
        proxy.fault(&["getBlockLocations"], fault, ALWAYS);
        fails(|| storage.read("job/file"), What::Other, Outcome::DidNotHappen);
        proxy.heal();
    }
}

#[test]
fn a_data_file_is_whole_or_not_there_whatever_is_lost() {
    for request in [&["create"][..], &["addBlock"], &["complete"], RENAME] {
        let (proxy, storage, direct) = behind_a_proxy(USUAL);
        proxy.fault(request, Fault::AnswerLost, 1);
        let written = in_time(|| write(&*storage, "job/data-0", &[3; 3_000_000]));
        assert_eq!(proxy.faults_left(), 0, "{request:?} happened");
        match written {
            Ok(()) => assert!(direct.read("job/data-0").unwrap() == [3; 3_000_000], "{request:?}"),
            Err(_) => assert_eq!(direct.list("job").unwrap(), [], "{request:?}"),
        }
    }
}

#[test]
fn what_is_wrong_at_the_start_is_told_with_the_way_out() {
    let text = refused(&hdfs_at("127.0.0.1:1".parse().unwrap(), "x", SHORT));
    assert!(text.contains("hdfs://127.0.0.1:1/x") && text.contains("start HDFS, or correct host and port"), "{text}");

    let text = refused(&format!("hdfs://no-such-host.invalid:9000/x?{SHORT}"));
    assert!(text.contains("the host's name is not known here"), "{text}");

    let text = refused(&hdfs_at(hdfs(), "x", SHORT).replace("user=highwater", "user=somebody"));
    assert!(text.contains("set HADOOP_USER_NAME or option user to one who may"), "{text}");
    assert!(!text.contains(".java:"), "no stack trace: {text}");

    let text = refused(&format!("hdfs://no-name-service/x?{SHORT}"));
    assert!(text.contains("HADOOP_CONF_DIR"), "{text}");
}

#[test]
fn garbage_is_told_from_an_answer() {
    let proxy = Proxy::new(hdfs());
    proxy.fault(&["hrpc"], Fault::Garbage, ALWAYS);
    let text = refused(&hdfs_at(proxy.address(), &fresh(), SHORT));
    assert!(text.contains("use the checkpoint directory") && text.contains("tried "), "{text}");
}
