//! Courses of an election, told one by one: who leads when, and what everybody is told.

use std::time::Duration;

use highwater_core::{CheckpointId, Error, ErrorKind, JobName};
use highwater_ha::election::{Append, Command, Contender, Election, Event, Notice, RequestId};
use highwater_ha::log::Found;
use highwater_ha::{Attempt, Change, Entry, JobState, Put, Token};
use highwater_storage::Outcome;

/// JobManagers over one log, with one clock, whose requests are answered at once.
struct Stage {
    log: Vec<Entry>,
    now: Duration,
    away: bool,
    told: Vec<String>,
    answers: Vec<(u64, Result<(), Outcome>)>,
}

impl Stage {
    fn new() -> Self {
        Stage { log: Vec::new(), now: Duration::from_secs(100), away: false, told: Vec::new(), answers: Vec::new() }
    }

    /// Lets `election` do all it wants to do now.
    fn run(&mut self, election: &mut Election, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for command in election.step(event, self.now) {
                events.extend(self.carry_out(command));
            }
        }
    }

    /// Lets time pass, and everything happen that is due in it.
    fn pass(&mut self, time: Duration, elections: &mut [&mut Election]) {
        let end = self.now + time;
        while let Some(at) = elections.iter().filter_map(|election| election.wake_at()).min().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            for election in elections.iter_mut().filter(|election| election.wake_at() == Some(at)) {
                self.run(election, Event::Wake);
            }
        }
        self.now = end;
    }

    fn carry_out(&mut self, command: Command) -> Option<Event> {
        let away = || Error::new(ErrorKind::Storage, "the store is away");
        let highest = self.log.len() as u64;
        match command {
            Command::Look { .. } if self.away => Some(Event::Looked(Err(away()))),
            Command::Look { known } => {
                let newest = self.log.last().filter(|newest| newest.number != known).cloned();
                Some(Event::Looked(Ok(Found { numbers: (1..=highest).collect(), newest })))
            }
            Command::Read { .. } if self.away => Some(Event::Read(Err(away()))),
            Command::Read { number } => Some(Event::Read(Ok(self.log.get(number as usize - 1).cloned()))),
            Command::Put(_) if self.away => Some(Event::Put(Err((Outcome::DidNotHappen, "away".to_owned())))),
            Command::Put(entry) if entry.number <= highest => Some(Event::Put(Ok(Put::Exists))),
            Command::Put(entry) => {
                self.log.push(entry);
                Some(Event::Put(Ok(Put::Created)))
            }
            Command::Remove(_) => None,
            Command::Answer { request, result } => {
                self.answers.push((request.0, result.map_err(|error| error.outcome())));
                None
            }
            Command::Tell(notice) => {
                self.told.push(match notice {
                    Notice::Granted { token, .. } => format!("granted {token}"),
                    Notice::Revoked { why } => format!("revoked: {why}"),
                    Notice::LeaderIs { token, address } => format!("{address} leads with {token}"),
                    Notice::Ended(ended) => format!("ended: {}", String::from_utf8_lossy(&ended.result)),
                    Notice::Failed(error) => format!("failed: {error}"),
                });
                None
            }
        }
    }

    fn append(&mut self, election: &mut Election, request: u64, append: Append) {
        let token = election.token().unwrap_or(Token(1));
        self.run(election, Event::Append { request: RequestId(request), token, append });
    }

    fn state(&self) -> &JobState {
        &self.log.last().expect("an entry").state
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn contender(writer: u128) -> Contender {
    Contender {
        job: JobName::parse("visitors").unwrap(),
        cluster: "blue".to_owned(),
        program: "graph".to_owned(),
        address: format!("host-{writer}:6123"),
        holds_for: Duration::from_secs(2),
        retained: 2,
        kept_entries: 8,
        writer,
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_leads_and_the_second_stands_in_once_it_is_gone() {
    let (mut stage, mut first, mut second) = (Stage::new(), Election::new(contender(1)), Election::new(contender(2)));
    stage.run(&mut first, Event::Wake);
    stage.run(&mut second, Event::Wake);
    assert_eq!(stage.told(), ["granted 1", "host-1:6123 leads with 1"]);
    stage.append(&mut first, 1, Append::Attempt(b"deployed".to_vec()));
    stage.append(&mut first, 2, Append::Completed(CheckpointId(7)));
    stage.pass(60 * SECOND, &mut [&mut first, &mut second]);
    assert_eq!(stage.told(), [""; 0], "it leads for as long as it lives");
    assert_eq!(stage.answers, [(1, Ok(())), (2, Ok(()))]);

    // Killed.
    let killed_at = stage.now;
    while stage.told.is_empty() {
        stage.pass(Duration::from_millis(100), &mut [&mut second]);
    }
    let token = second.token().expect("it leads").0;
    assert_eq!(stage.told(), [format!("granted {token}")]);
    assert!(stage.now - killed_at < Duration::from_millis(2600), "it took {:?}", stage.now - killed_at);
    let state = stage.state();
    assert_eq!((&state.leader.address[..], state.newest_completed()), ("host-2:6123", Some(CheckpointId(7))));
    assert_eq!(state.attempt, Some(Attempt { token: Token(1), content: b"deployed".to_vec() }), "it may still run");

    // It was not killed, its process only stood still.
    stage.append(&mut first, 3, Append::Completed(CheckpointId(8)));
    assert_eq!(stage.answers.last(), Some(&(3, Err(Outcome::DidNotHappen))));
    stage.pass(SECOND, &mut [&mut first, &mut second]);
    let told = stage.told();
    assert!(told[0].starts_with("revoked: could not renew the leadership within 2s"), "{told:?}");
    assert_eq!(told[1..], [format!("host-2:6123 leads with {token}")]);
}

#[test]
fn a_leader_renews_at_least_three_times_within_the_time_it_holds() {
    let (mut stage, mut leader) = (Stage::new(), Election::new(contender(1)));
    stage.run(&mut leader, Event::Wake);
    stage.pass(20 * SECOND, &mut [&mut leader]);
    let renewals = stage.log.iter().filter(|entry| entry.change == Change::Renews).count();
    assert!((30..=31).contains(&renewals), "{renewals}");
}

#[test]
fn who_resigns_is_followed_at_once() {
    let (mut stage, mut first, mut second) = (Stage::new(), Election::new(contender(1)), Election::new(contender(2)));
    stage.run(&mut first, Event::Wake);
    stage.run(&mut second, Event::Wake);
    stage.run(&mut first, Event::Resign);
    assert!(first.is_over());
    stage.pass(Duration::from_millis(250), &mut [&mut second]);
    assert_eq!(second.token(), Some(Token(3)));
    stage.append(&mut first, 1, Append::Completed(CheckpointId(1)));
    assert_eq!(stage.answers, [(1, Err(Outcome::DidNotHappen))]);
}

#[test]
fn a_leader_whose_store_is_away_gives_up_and_leads_again_when_it_is_back() {
    let (mut stage, mut leader, mut other) = (Stage::new(), Election::new(contender(1)), Election::new(contender(2)));
    stage.run(&mut leader, Event::Wake);
    stage.run(&mut other, Event::Wake);
    stage.told();
    stage.away = true;
    stage.append(&mut leader, 1, Append::Completed(CheckpointId(1)));
    stage.pass(Duration::from_millis(1900), &mut [&mut leader]);
    assert_eq!(leader.token(), Some(Token(1)), "it may still come back in time");
    assert_eq!(stage.answers, []);
    stage.pass(60 * SECOND, &mut [&mut leader]);
    assert_eq!(stage.told(), ["revoked: could not renew the leadership within 2s: away"]);
    assert_eq!(stage.answers, [(1, Err(Outcome::DidNotHappen))], "it was refused, never in doubt");
    stage.away = false;
    stage.pass(SECOND, &mut [&mut leader]);
    assert_eq!(stage.told(), ["granted 2"], "nobody has to be waited for");
}

#[test]
fn the_end_of_a_job_is_told_to_all_and_it_is_not_run_again() {
    let (mut stage, mut leader, mut other) = (Stage::new(), Election::new(contender(1)), Election::new(contender(2)));
    stage.run(&mut leader, Event::Wake);
    stage.run(&mut other, Event::Wake);
    stage.append(&mut leader, 1, Append::Ended(b"done".to_vec()));
    stage.append(&mut leader, 2, Append::Completed(CheckpointId(9)));
    assert_eq!(stage.answers, [(1, Ok(())), (2, Err(Outcome::DidNotHappen))]);
    assert!(leader.is_over());
    stage.told();
    stage.pass(SECOND, &mut [&mut other]);
    let mut later = Election::new(Contender { program: "newer graph".to_owned(), ..contender(3) });
    stage.run(&mut later, Event::Wake);
    assert_eq!(stage.told(), ["ended: done", "ended: done"]);
    // Another cluster runs it anew, without waiting for anybody.
    let mut anew = Election::new(Contender { cluster: "green".to_owned(), ..contender(4) });
    stage.run(&mut anew, Event::Wake);
    assert_eq!((stage.told(), &stage.state().ended), (vec!["granted 3".to_owned()], &None));
}

#[test]
fn another_program_or_cluster_is_refused_while_the_leader_lives_and_takes_over_when_it_is_gone() {
    let green = Contender { cluster: "green".to_owned(), ..contender(2) };
    let newer = Contender { program: "newer graph".to_owned(), ..contender(2) };
    for (stranger, why) in [
        (green, "job visitors is led by another cluster, \"blue\", at host-1:6123, and this one is"),
        (
            newer,
            "job visitors is led from host-1:6123 by a program with another graph, graph, and this one is newer graph: to replace it",
        ),
    ] {
        let (mut stage, mut leader) = (Stage::new(), Election::new(contender(1)));
        stage.run(&mut leader, Event::Wake);
        stage.append(&mut leader, 1, Append::Attempt(b"deployed".to_vec()));
        let mut refused = Election::new(stranger.clone());
        stage.told();
        stage.run(&mut refused, Event::Wake);
        stage.pass(5 * SECOND, &mut [&mut leader, &mut refused]);
        let told = stage.told();
        assert!(told.len() == 1 && told[0].starts_with(&format!("failed: {why}")), "{told:?}");
        assert!(refused.is_over() && leader.token().is_some());

        let mut later = Election::new(stranger);
        stage.run(&mut later, Event::Wake);
        stage.pass(3 * SECOND, &mut [&mut later]);
        assert!(later.token().is_some(), "{:?}", stage.told);
        assert_eq!(stage.state().attempt, None, "what another program has deployed is not attached to");
        stage.told();
        stage.pass(SECOND, &mut [&mut leader]);
        let told = stage.told();
        assert!(told[0].starts_with("revoked") && told[1].starts_with("failed: job visitors is led"), "{told:?}");
    }
}

#[test]
fn ids_of_checkpoints_never_go_back_and_one_counts_once() {
    let (mut stage, mut leader) = (Stage::new(), Election::new(contender(1)));
    stage.run(&mut leader, Event::Wake);
    for (request, id) in [(1, 3), (2, 5), (3, 5), (4, 4), (5, 6)] {
        stage.append(&mut leader, request, Append::Completed(CheckpointId(id)));
    }
    let refused = Err(Outcome::DidNotHappen);
    assert_eq!(stage.answers, [(1, Ok(())), (2, Ok(())), (3, Ok(())), (4, refused), (5, Ok(()))]);
    let ids: Vec<u64> = stage.state().completed.iter().map(|completed| completed.id.0).collect();
    assert_eq!(ids, [5, 6], "two are retained");
    assert_eq!(stage.log.len(), 4, "what is on record is not recorded again");
}

#[test]
fn a_log_that_went_back_or_does_not_verify_ends_it() {
    let (mut stage, mut leader) = (Stage::new(), Election::new(contender(1)));
    stage.run(&mut leader, Event::Wake);
    let mut other = Election::new(contender(2));
    stage.run(&mut other, Event::Wake);
    stage.told();
    stage.log.clear();
    stage.pass(3 * SECOND, &mut [&mut other]);
    let told = stage.told();
    assert!(told[0].starts_with("failed: entry 1 of the log is gone from the HA directory"), "{told:?}");

    let mut third = Election::new(contender(3));
    let looks = third.step(Event::Wake, stage.now);
    assert!(matches!(looks[..], [Command::Look { known: 0 }]));
    let damaged = Error::new(ErrorKind::Corrupt, "visitors/1: checksum");
    stage.run(&mut third, Event::Looked(Err(damaged)));
    assert_eq!(stage.told(), ["failed: visitors/1: checksum"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    assert!(contender(1).check().is_ok());
    let bad = [
        Contender { holds_for: Duration::from_millis(50), ..contender(1) },
        Contender { cluster: String::new(), ..contender(1) },
        Contender { address: String::new(), ..contender(1) },
    ];
    assert!(bad.iter().all(|contender| contender.check().unwrap_err().kind() == ErrorKind::Settings));
}
