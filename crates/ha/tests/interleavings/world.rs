//! Two JobManagers, the log they share, and what may happen next.
//!
//! The log is kept twice: as the store has it, and as it truly was: every entry that was the newest when it was created,
//! in order. Of the latter everything is asserted.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_core::{CheckpointId, Error, ErrorKind, JobName};
use highwater_ha::election::{Append, Command, Contender, Election, Event, Notice, RequestId};
use highwater_ha::log::Found;
use highwater_ha::{Change, Completed, Entry, Put, Token};
use highwater_storage::Outcome;

/// How much of each may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Requests that fail, in whatever way.
    pub faults: u8,
    /// Processes that die and are started again.
    pub crashes: u8,
    /// Times that a clock jumps by more than a leader holds.
    pub jumps: u8,
    /// Times that somebody looks for the next entry, or renews.
    pub wakes: u8,
    /// Checkpoints that complete.
    pub appends: u8,
}

/// What has been seen in some state: so that the test does not hold for want of anything happening.
#[derive(Debug, Default)]
pub struct Seen {
    pub recorded: bool,
    pub fenced: bool,
    pub in_doubt: bool,
    pub in_doubt_that_counts: bool,
    /// An entry that was created in the place of one that was removed.
    pub late_in_an_empty_place: bool,
    pub two_leaders: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    Answer(usize, Fate),
    Wake(usize),
    Jump(usize),
    Complete(usize),
    Crash(usize),
    /// A request that nobody waits for any more reaches the store.
    Arrive(usize),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Happens,
    HappensInDoubt,
    Fails,
    FailsInDoubt,
    /// Whoever asked is left in doubt, and it happens later.
    Delayed,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct World {
    budget: Budget,
    store: BTreeMap<u64, Entry>,
    truth: Vec<Entry>,
    late: Vec<Entry>,
    nodes: [Node; 2],
    checkpoints: Vec<Checkpoint>,
    writers: u128,
    ghost: bool,
}

/// A process, with a clock of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    election: Election,
    now: Duration,
    asked: Option<Ask>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Ask {
    Look(u64),
    Read(u64),
    Put(Box<Entry>),
}

/// A checkpoint that somebody wants to record, whose request has its number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Checkpoint {
    completed: Completed,
    answer: Option<Result<(), Outcome>>,
}

impl World {
    pub fn new(budget: Budget) -> Self {
        let node = |writer| Node { election: Election::new(contender(writer)), now: Duration::ZERO, asked: None };
        let (store, truth, late, checkpoints) = Default::default();
        let mut world =
            World { budget, store, truth, late, nodes: [node(1), node(2)], checkpoints, writers: 2, ghost: false };
        (0..2).for_each(|index| world.step(index, Event::Wake));
        world
    }

    pub fn choices(&self) -> Vec<Choice> {
        let mut choices: Vec<Choice> = (0..self.late.len()).map(Choice::Arrive).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            choices.extend(self.fates(node).iter().map(|fate| Choice::Answer(index, *fate)));
            if self.budget.wakes > 0 && node.election.wake_at().is_some() {
                choices.push(Choice::Wake(index));
            }
            if self.budget.jumps > 0 && node.election.wake_at().is_some() {
                choices.push(Choice::Jump(index));
            }
            if self.budget.appends > 0 && node.election.token().is_some() {
                choices.push(Choice::Complete(index));
            }
            if self.budget.crashes > 0 {
                choices.push(Choice::Crash(index));
            }
        }
        choices
    }

    fn fates(&self, node: &Node) -> &'static [Fate] {
        match &node.asked {
            None => &[],
            Some(_) if self.budget.faults == 0 => &[Fate::Happens],
            Some(Ask::Look(_) | Ask::Read(_)) => &[Fate::Happens, Fate::Fails],
            Some(Ask::Put(_)) => &[Fate::Happens, Fate::HappensInDoubt, Fate::Fails, Fate::FailsInDoubt, Fate::Delayed],
        }
    }

    pub fn act(&mut self, choice: Choice) {
        match choice {
            Choice::Answer(index, fate) => self.answer(index, fate),
            Choice::Wake(index) => {
                self.budget.wakes -= 1;
                let node = &mut self.nodes[index];
                node.now = node.election.wake_at().map_or(node.now, |at| at.max(node.now));
                self.step(index, Event::Wake);
            }
            Choice::Jump(index) => {
                self.budget.jumps -= 1;
                self.nodes[index].now += Duration::from_secs(3);
                self.step(index, Event::Wake);
            }
            Choice::Complete(index) => self.complete(index),
            Choice::Crash(index) => {
                self.budget.crashes -= 1;
                self.writers += 1;
                let crashed =
                    std::mem::replace(&mut self.nodes[index].election, Election::new(contender(self.writers)));
                drop(crashed);
                // What it has asked for is on its way.
                if let Some(Ask::Put(entry)) = self.nodes[index].asked.take() {
                    self.late.push(*entry);
                }
                self.step(index, Event::Wake);
            }
            Choice::Arrive(index) => {
                let entry = self.late.remove(index);
                self.create(entry);
            }
        }
    }

    fn complete(&mut self, index: usize) {
        self.budget.appends -= 1;
        let token = self.nodes[index].election.token().expect("it leads");
        let id = CheckpointId(self.checkpoints.len() as u64 + 1);
        self.checkpoints.push(Checkpoint { completed: Completed { id, token }, answer: None });
        self.step(index, Event::Append { request: RequestId(id.0), token, append: Append::Completed(id) });
    }

    fn answer(&mut self, index: usize, fate: Fate) {
        let asked = self.nodes[index].asked.take().expect("something was asked");
        self.budget.faults -= u8::from(fate != Fate::Happens);
        let away = || Error::new(ErrorKind::Storage, "the store is away");
        let event = match (asked, fate) {
            (Ask::Look(known), Fate::Happens) => Event::Looked(Ok(self.look(known))),
            (Ask::Read(number), Fate::Happens) => Event::Read(Ok(self.store.get(&number).cloned())),
            (Ask::Look(_), _) => Event::Looked(Err(away())),
            (Ask::Read(_), _) => Event::Read(Err(away())),
            (Ask::Put(entry), fate) => Event::Put(self.put(*entry, fate)),
        };
        self.step(index, event);
    }

    fn put(&mut self, entry: Entry, fate: Fate) -> Result<Put, (Outcome, String)> {
        let doubt = Err((Outcome::MayHaveHappened, "no answer".to_owned()));
        match fate {
            Fate::Happens => Ok(self.create(entry)),
            Fate::HappensInDoubt => {
                self.create(entry);
                doubt
            }
            Fate::Fails => Err((Outcome::DidNotHappen, "refused".to_owned())),
            Fate::FailsInDoubt => doubt,
            Fate::Delayed => {
                self.late.push(entry);
                doubt
            }
        }
    }

    fn create(&mut self, entry: Entry) -> Put {
        if self.store.contains_key(&entry.number) {
            return Put::Exists;
        }
        if self.store.keys().next_back().is_none_or(|highest| *highest < entry.number) {
            assert_eq!(entry.number, self.truth.len() as u64 + 1, "the log has no gap");
            self.truth.push(entry.clone());
        } else {
            self.ghost = true;
        }
        self.store.insert(entry.number, entry);
        Put::Created
    }

    fn look(&self, known: u64) -> Found {
        let numbers: Vec<u64> = self.store.keys().copied().collect();
        let newest = self.store.values().next_back().filter(|newest| newest.number != known).cloned();
        Found { numbers, newest }
    }

    fn step(&mut self, index: usize, event: Event) {
        let node = &mut self.nodes[index];
        for command in node.election.step(event, node.now) {
            let ask = match command {
                Command::Look { known } => Ask::Look(known),
                Command::Read { number } => Ask::Read(number),
                Command::Put(entry) => {
                    assert_eq!(Entry::decode(&entry.encode(), entry.number, "here").unwrap(), entry);
                    Ask::Put(Box::new(entry))
                }
                Command::Remove(numbers) => {
                    numbers.iter().for_each(|number| drop(self.store.remove(number)));
                    continue;
                }
                Command::Answer { request: RequestId(id), result } => {
                    let answer = &mut self.checkpoints[id as usize - 1].answer;
                    assert_eq!(*answer, None, "checkpoint {id} is answered twice");
                    *answer = Some(result.map_err(|error| error.outcome()));
                    continue;
                }
                Command::Tell(Notice::Failed(error)) => panic!("{error}"),
                Command::Tell(_) => continue,
            };
            assert!(node.asked.replace(ask).is_none(), "two requests at a time");
        }
    }

    /// What must hold in every state.
    pub fn check(&self, seen: &mut Seen) {
        for (index, entry) in self.truth.iter().enumerate() {
            assert_eq!(entry.number, index as u64 + 1);
        }
        for pair in self.truth.windows(2) {
            let (before, after) = (&pair[0].state, &pair[1].state);
            assert!(after.leader.token >= before.leader.token, "a leader is back that was replaced");
            assert!(after.leader.token == before.leader.token || pair[1].change == Change::Leads);
            assert!(after.completed.starts_with(&before.completed), "a checkpoint that counted does not any more");
        }
        let nothing = Vec::new();
        let counts = self.truth.last().map_or(&nothing, |newest| &newest.state.completed);
        for Checkpoint { completed, answer } in &self.checkpoints {
            let times = counts.iter().filter(|counted| counted.id == completed.id).count();
            assert!(times <= 1 && (times == 0 || counts.contains(completed)), "{completed:?} in {counts:?}");
            match answer {
                Some(Ok(())) => assert_eq!(times, 1, "{completed:?} was reported, and does not count"),
                Some(Err(Outcome::DidNotHappen)) => assert_eq!(times, 0, "{completed:?} was refused, and counts"),
                Some(Err(Outcome::MayHaveHappened)) | None => {}
            }
            seen.recorded |= *answer == Some(Ok(()));
            seen.fenced |= *answer == Some(Err(Outcome::DidNotHappen));
            seen.in_doubt |= *answer == Some(Err(Outcome::MayHaveHappened));
            seen.in_doubt_that_counts |= *answer == Some(Err(Outcome::MayHaveHappened)) && times == 1;
        }
        let tokens: Vec<Token> = self.nodes.iter().filter_map(|node| node.election.token()).collect();
        assert!(tokens.len() < 2 || tokens[0] != tokens[1], "two leaders with one token");
        seen.two_leaders |= tokens.len() == 2;
        seen.late_in_an_empty_place |= self.ghost;
    }
}

fn contender(writer: u128) -> Contender {
    Contender {
        job: JobName::parse("visitors").unwrap(),
        cluster: "test".to_owned(),
        program: "graph".to_owned(),
        address: "here:1".to_owned(),
        holds_for: Contender::HOLDS_FOR,
        retained: 10,
        // So that requests which are late soon find an empty place.
        kept_entries: 0,
        writer,
    }
}
