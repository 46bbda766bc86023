//! What goes wrong between a client and the NameNode. Calls are known by their method's name, which is in each.

use highwater_storage::{Outcome, What};
use highwater_testing::{Fault, Proxy};

use crate::support::{
    RENAME, SHORT, USUAL, behind_a_proxy, fails, fresh, hdfs, hdfs_at, hdfs_server, in_time, refused, write,
};

const ALWAYS: u32 = u32::MAX;

#[test]
fn a_publish_whose_answer_was_lost_is_found_out() {
    for request in [&["create"][..], &["addBlock"], &["fsync"], &["complete"], RENAME] {
        for fault in [Fault::AnswerLost, Fault::AnswerCut, Fault::RequestCut] {
            let (proxy, storage, direct) = behind_a_proxy(&hdfs_server(), USUAL);
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
fn a_publish_is_in_doubt_only_if_its_rename_is() {
    for (request, outcome) in [(&["complete"][..], Outcome::DidNotHappen), (RENAME, Outcome::MayHaveHappened)] {
        for fault in [Fault::AnswerLost, Fault::RequestCut, Fault::Silence] {
            let (proxy, storage, direct) = behind_a_proxy(&hdfs_server(), SHORT);
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
fn a_data_file_is_whole_or_not_there_whatever_is_lost() {
    for request in [&["create"][..], &["addBlock"], &["complete"], RENAME] {
        let (proxy, storage, direct) = behind_a_proxy(&hdfs_server(), USUAL);
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
