//! Clusters whose storage is on another host than their processes, which are cut off from it one after the other: a leader,
//! in every way that there is, and a TaskManager. The output must be what a plain loop over the log counts.
//!
//! The hosts are network namespaces. Where those are not to be had the tests say so and end: `HIGHWATER_NETWORK=required`
//! makes it an error.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_core::JobName;
use highwater_ha::{HaStore, Log, open_store};
use highwater_testing::Random;

use crate::cluster::LASTING_LEASE;
use crate::hosts::{self, Processes, assert_counted, goes_on, wait};
use crate::input::Growing;
use crate::job::{Job, PATIENCE, free_addresses, number};
use crate::network::{Network, had};
use crate::variable;

const JOB_MANAGERS: Range<usize> = 0..2;
const TASK_MANAGERS: Range<usize> = 2..4;
const STORAGE: usize = 4;
/// Of the log, one for each time that something is cut off, the first and the last.
const PORTIONS: usize = 7;

/// Starts a server, and waits until it says that it answers.
fn serve(mut server: Command, folder: &Path, name: &str, answers: &str) -> Processes {
    let path = folder.join(format!("{name}.txt"));
    let output = File::create(&path).unwrap();
    server.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let process = Processes(vec![server.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"))]);
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(&path).unwrap();
        if said.contains(answers) {
            return process;
        }
        assert!(began.elapsed() < PATIENCE, "{name} does not answer:\n{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An S3 server on the host of the storage, with the bucket `highwater`: a folder of `s3` in `folder`.
fn serve_s3(network: &Network, folder: &Path) -> Processes {
    let data = folder.join("s3");
    fs::create_dir_all(data.join("highwater")).unwrap();
    let mut server = network.on(STORAGE);
    server.arg(variable("HIGHWATER_TEST_S3_PROGRAM")).arg(data).arg(format!("{}:9000", network.address(STORAGE)));
    serve(server, folder, "s3-server", "listening on")
}

/// An etcd with its data in `folder`, started by `enter`.
pub fn serve_etcd(mut enter: Command, folder: &Path, client: &str, peer: &str) -> Processes {
    let [client, peer] = [client, peer].map(|address| format!("http://{address}"));
    enter.args(["--name", "test", "--data-dir"]).arg(folder.join("etcd"));
    enter.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    enter.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    enter.args(["--initial-cluster", &format!("test={peer}")]);
    serve(enter, folder, "etcd", "ready to serve client requests")
}

#[test]
fn a_job_runs_on_while_its_leader_is_cut_off_from_s3() {
    let Some(network) = had(Network::new(STORAGE + 1)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ha_dir = format!("s3://highwater/ha?{}", s3_at(&network));
    let job = cut_off_in_turn(&network, folder.path(), &ha_dir);
    let files = folder.path().join("s3/highwater/ha");
    assert_one_led_at_a_time(&job, open_store(files.to_str().unwrap(), PATIENCE).unwrap());
}

#[test]
fn a_job_runs_on_while_its_leader_is_cut_off_from_etcd_and_s3() {
    let Some(network) = had(Network::new(STORAGE + 1)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [client, peer] = [2379, 2380].map(|port| format!("{}:{port}", network.address(STORAGE)));
    let mut etcd = network.on(STORAGE);
    etcd.arg(variable("HIGHWATER_TEST_ETCD_PROGRAM"));
    let etcd = serve_etcd(etcd, folder.path(), &client, &peer);
    let job = cut_off_in_turn(&network, folder.path(), &format!("etcd://{client}/ha"));
    drop(etcd);
    // Again with what it has, where this process reaches it.
    let addresses = free_addresses(2);
    let etcd = Command::new(variable("HIGHWATER_TEST_ETCD_PROGRAM"));
    let _etcd = serve_etcd(etcd, folder.path(), &addresses[0], &addresses[1]);
    assert_one_led_at_a_time(&job, open_store(&format!("etcd://{}/ha", addresses[0]), PATIENCE).unwrap());
}

fn s3_at(network: &Network) -> String {
    format!("endpoint=http://{}:9000&allow_http=true", network.address(STORAGE))
}

/// A job with its checkpoints in S3, whose leaders and TaskManager are cut off from the host of the storage and come back.
fn cut_off_in_turn(network: &Network, folder: &Path, ha_dir: &str) -> Job {
    let _s3 = serve_s3(network, folder);
    let log = folder.join("access.log");
    // Who has nothing new to write needs no storage.
    let mut growing = Growing::new(&log, &mut Random::new(29), 40_000, 3_000, PORTIONS);
    let options = ["--follow", "--checkpoint-interval", "200ms", "--roll-bytes", "100000", "--ha-dir", ha_dir];
    let tolerant = ["--tolerable-failed-checkpoints", "3", "--retained-checkpoints", "10000"];
    // It begins with both TaskManagers, and has no reason to begin again.
    let both = ["--parallelism", "2", "--min-parallelism", "2"];
    let job = Job::new("visitors", folder, &log, &[options.as_slice(), &tolerant, &both, &LASTING_LEASE].concat());
    // Within that time a checkpoint of a TaskManager that is cut off fails.
    let job = job.with_checkpoints_at(&format!("s3://highwater/checkpoints?{}&timeout=5s", s3_at(network)));
    let _processes = hosts::start(&job, network, JOB_MANAGERS, TASK_MANAGERS, &[]);
    goes_on(&job);
    for ways in [&[Way::There][..], &[Way::Back], &[Way::There, Way::Back]] {
        let (leader, known) = (leader(&job, network), job.messages().len());
        cut_off(network, leader, ways, || {
            wait_until_said(&job, known, "taking over the attempt, which runs on");
            growing.grow();
            goes_on(&job);
        });
        wait_until_said(&job, known, "another JobManager leads");
        goes_on(&job);
    }
    assert!(!job.messages().contains("the attempt ended, the next starts"), "{}", job.last_messages());
    for noticed in ["checkpoint failed", "the attempt ended, the next starts"] {
        let known = job.messages().len();
        cut_off(network, TASK_MANAGERS.start, &[Way::There, Way::Back], || {
            growing.grow();
            wait_until_said(&job, known, noticed);
        });
        goes_on(&job);
    }
    growing.complete();
    assert_counted(&job, &log);
    job
}

/// Between a host and the storage.
#[derive(Clone, Copy)]
enum Way {
    There,
    Back,
}

/// Cuts a host off from the storage while something goes on.
fn cut_off(network: &Network, host: usize, ways: &[Way], meanwhile: impl FnOnce()) {
    let ends = |way: &Way| match way {
        Way::There => (host, STORAGE),
        Way::Back => (STORAGE, host),
    };
    ways.iter().map(ends).for_each(|(from, to)| network.cut(from, to));
    meanwhile();
    ways.iter().map(ends).for_each(|(from, to)| network.heal(from, to));
}

/// The host of the JobManager that leads.
fn leader(job: &Job, network: &Network) -> usize {
    let last = job.leaders().pop().expect("one leads");
    let mut hosts = JOB_MANAGERS;
    hosts.find(|host| last.contains(&format!("{}:", network.address(*host)))).unwrap_or_else(|| panic!("{last}"))
}

/// Waits until something is said after what was `known`.
fn wait_until_said(job: &Job, known: usize, what: &str) {
    wait(job, what, || job.messages()[known..].contains(what));
}

/// Compares what leaders have said with their log: whose checkpoints count, and that nobody else's do.
fn assert_one_led_at_a_time(job: &Job, store: Arc<dyn HaStore>) {
    let log = Log::new(store, JobName::parse("visitors").unwrap());
    let state = log.look(0).unwrap().newest.expect("leaders have left a log").state;
    let led: Vec<u64> = job.leaders().iter().map(|line| number(line, "token")).collect();
    assert!(led.len() > 3 && led.is_sorted_by(|one, next| one < next), "each leader's token is greater: {led:?}");
    assert_eq!(state.leader.token.0, led[led.len() - 1], "the last of {led:?} leads");

    let counted = job.counted();
    assert!(counted.is_sorted_by(|one, next| one < next), "each checkpoint is one leader's: {counted:?}");
    let on_record: BTreeSet<u64> = state.completed.iter().map(|completed| completed.id.0).collect();
    let elsewhere: Vec<_> = counted.iter().filter(|id| !on_record.contains(id)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?} are said to have completed, and are not on record");
    // Reading it has checked that ids grow and that no leader's come after those of a later one.
    let tokens: BTreeSet<u64> = state.completed.iter().map(|completed| completed.token.0).collect();
    assert_eq!(tokens, led.into_iter().collect(), "each leader has completed checkpoints");
}
