//! What goes wrong between a client and S3.

use highwater_storage::{Outcome, What};
use highwater_testing::{Fault, Proxy};

use crate::support::{
    CREATE, SHORT, USUAL, behind_a_proxy, fails, fresh, in_time, refused, s3, s3_at, s3_server, write,
};

const ALWAYS: u32 = u32::MAX;

#[test]
fn a_publish_whose_answer_was_lost_is_found_out() {
    for fault in [Fault::AnswerLost, Fault::AnswerCut, Fault::RequestCut] {
        let (proxy, storage, direct) = behind_a_proxy(&s3_server(), USUAL);
        proxy.fault(CREATE, fault, 1);
        in_time(|| storage.publish("job/_metadata", b"published"))
            .unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(proxy.faults_left(), 0, "{fault:?} happened");
        assert_eq!(direct.read("job/_metadata").unwrap(), b"published", "{fault:?}");
    }
}

#[test]
fn a_publish_without_any_answer_is_in_doubt() {
    for (fault, happened) in [(Fault::AnswerLost, true), (Fault::RequestCut, false), (Fault::Silence, false)] {
        let (proxy, storage, direct) = behind_a_proxy(&s3_server(), SHORT);
        proxy.fault(CREATE, fault, ALWAYS);
        let error = fails(|| storage.publish("job/_metadata", b"x"), What::Other, Outcome::MayHaveHappened);
        assert!(error.to_string().contains("/job/_metadata: tried "), "{error}");
        assert_eq!(direct.read("job/_metadata").is_ok(), happened, "{fault:?}");
    }
}

#[test]
fn garbage_is_told_from_an_answer() {
    let proxy = Proxy::new(s3());
    proxy.fault(&["/"], Fault::Garbage, ALWAYS);
    let text = refused(&s3_at(proxy.address(), &fresh(), SHORT));
    assert!(text.contains("its answer is not S3's"), "{text}");
}

#[test]
fn an_upload_survives_lost_answers() {
    let large = vec![5; 20_000_000];
    for request in [&["POST /", "uploads"][..], &["PUT /", "partNumber=1"], &["POST /", "uploadId="]] {
        for fault in [Fault::AnswerLost, Fault::RequestCut] {
            let (proxy, storage, direct) = behind_a_proxy(&s3_server(), USUAL);
            proxy.fault(request, fault, 1);
            in_time(|| write(&*storage, "job/data-0", &large))
                .unwrap_or_else(|error| panic!("{request:?} {fault:?}: {error:?}"));
            assert_eq!(proxy.faults_left(), 0, "{request:?} {fault:?} happened");
            assert!(direct.read("job/data-0").unwrap() == large, "{request:?} {fault:?}");
        }
    }
}

#[test]
fn an_upload_that_fails_shows_nothing() {
    let (proxy, storage, direct) = behind_a_proxy(&s3_server(), SHORT);
    proxy.fault(&["PUT /", "partNumber=1"], Fault::AnswerLost, ALWAYS);
    let mut writer = storage.create("job/data-0").unwrap();
    in_time(|| writer.append(&vec![5; 20_000_000])).expect_err("the part has no answer");
    writer.append(b"more").expect_err("a writer that failed goes on failing");
    drop(writer);
    assert_eq!(direct.list("job").unwrap(), []);
}

#[test]
fn removing_is_done_again_until_it_is_answered() {
    let (proxy, storage, direct) = behind_a_proxy(&s3_server(), USUAL);
    storage.create_dir("job/chk-1").unwrap();
    storage.publish("job/chk-1/_metadata", b"x").unwrap();
    proxy.fault(&["DELETE /"], Fault::AnswerLost, 1);
    in_time(|| storage.remove_file("job/chk-1/_metadata")).unwrap();
    proxy.fault(&["POST /", "delete"], Fault::AnswerLost, 1);
    in_time(|| storage.remove_dir_all("job/chk-1")).unwrap();
    assert_eq!(direct.list("job").unwrap(), []);
}

#[test]
fn what_is_wrong_at_the_start_is_told_with_the_way_out() {
    let bucket = s3_at(s3(), "x", SHORT).replace("s3://highwater/", "s3://no-such-bucket/");
    let text = refused(&bucket);
    assert!(text.contains("s3://no-such-bucket/x") && text.contains("create the bucket"), "{text}");

    let text = refused(&s3_at("127.0.0.1:1".parse().unwrap(), "x", SHORT));
    assert!(text.contains("nothing answers there: correct option endpoint"), "{text}");

    let text = refused(&s3_at(s3(), "x", "").replace("&allow_http=true", ""));
    assert!(text.contains("add allow_http=true"), "{text}");
}

#[test]
fn a_wrong_key_is_refused_with_the_way_out() {
    const CHILD: &str = "HIGHWATER_TEST_WRONG_KEY";
    if std::env::var_os(CHILD).is_some() {
        let text = refused(&s3_at(s3(), &fresh(), SHORT));
        assert!(text.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to valid ones"), "{text}");
        return;
    }
    // The environment belongs to a process, so that another one has the wrong key.
    let test = std::env::current_exe().unwrap();
    let name = "s3_faults::a_wrong_key_is_refused_with_the_way_out";
    let output = std::process::Command::new(test)
        .args(["--exact", name])
        .env(CHILD, "yes")
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
