//! The lock of a job where there is no lock of a kernel.

use std::time::{Duration, Instant};

use highwater_storage::{Outcome, What};
use highwater_testing::Proxy;

use crate::support::{Server, USUAL, fails, fresh, hdfs_server, in_time, open, s3_server};

#[test]
fn a_second_run_is_kept_out_until_the_first_has_gone() {
    for Server { address, uri, .. } in [hdfs_server(), s3_server()] {
        let uri = uri(address, &fresh(), USUAL);
        let (first, second) = (open(&uri), open(&uri));
        let lock = first.lock("job").unwrap();
        let error = fails(|| second.lock("job"), What::Locked, Outcome::DidNotHappen);
        assert!(error.to_string().contains("/job") && error.to_string().contains("stop that run"), "{error}");
        // Longer than the lease holds without being renewed.
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until {
            fails(|| second.lock("job"), What::Locked, Outcome::DidNotHappen);
        }
        first.create_dir("job/chk-1").expect("it is renewed");
        drop(lock);
        let began = Instant::now();
        let lock = second.lock("job").expect("the first has given it back");
        assert!(began.elapsed() < Duration::from_secs(3), "nothing to wait for");
        drop(lock);
    }
}

#[test]
fn a_run_that_lost_its_connection_is_replaced_and_changes_nothing_any_more() {
    for Server { address, uri, .. } in [hdfs_server(), s3_server()] {
        let (proxy, folder) = (Proxy::new(address), fresh());
        let (first, second) = (open(&uri(proxy.address(), &folder, USUAL)), open(&uri(address, &folder, USUAL)));
        let _lock = first.lock("job").unwrap();
        first.create_dir("job/chk-1").unwrap();
        proxy.go_down();
        let lock = in_time(|| second.lock("job")).expect("its time runs out");
        proxy.heal();
        fails(|| first.publish("job/chk-1/_metadata", b"late"), What::Locked, Outcome::DidNotHappen);
        fails(|| first.remove_file("job/chk-1/_metadata"), What::Locked, Outcome::DidNotHappen);
        second.publish("job/chk-1/_metadata", b"new").expect("the second holds it");
        assert_eq!(first.read("job/chk-1/_metadata").unwrap(), b"new", "reading needs no lease");
        drop(lock);
    }
}

#[test]
fn of_many_who_ask_at_once_one_is_given_it() {
    for Server { address, uri, .. } in [hdfs_server(), s3_server()] {
        let uri = uri(address, &fresh(), USUAL);
        let storages: Vec<_> = (0..4).map(|_| open(&uri)).collect();
        for _ in 0..3 {
            let locks: Vec<_> = std::thread::scope(|scope| {
                let asking: Vec<_> = storages.iter().map(|storage| scope.spawn(|| storage.lock("job"))).collect();
                asking.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let given = locks.iter().filter(|lock| lock.is_ok()).count();
            assert_eq!(given, 1, "{locks:?}");
        }
    }
}
