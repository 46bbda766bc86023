//! Who leads: the decisions of one JobManager, pure. Answers of the store and the time go in, requests to the store and
//! what has changed come out. (The shape is that of [`checkpoint`'s coordinator], the idea of a log of leaders that of
//! Raft's terms, with put-if-absent in the place of votes.)
//!
//! * A **leader** appends an entry at least three times within the time it holds, and whenever it has something to
//!   record. Who cannot append in time gives up by itself.
//! * A **contender** follows the log. If no new entry has appeared for as long as the leader holds, it tries to append
//!   one with itself as the leader. Of several who try, one succeeds.
//! * An append counts if the entry was created *and was the newest afterwards*. Older entries are removed, so a request
//!   that was under way for long can create an entry where one was removed: that one is not the newest, and counts for
//!   nothing.
//! * An append in doubt is tried again with the same bytes, and settled by reading who wrote the entry. It is never
//!   guessed.
//!
//! No clocks are compared. A leader counts from *before* it asked for its newest entry, a contender from *after* it has
//! read it, and a tenth longer for clocks that do not run alike: so the leader's time is over first. If clocks do worse
//! than that two may think they lead for a moment, and still only one of them appends.
//!
//! Invariants:
//! * I8: an append is reported as recorded only if no newer leader's entry came before it;
//! * an append reported as [`DidNotHappen`](highwater_storage::Outcome::DidNotHappen) is in the log of nobody, ever;
//! * one request to the store is under way at a time, removals aside.
//!
//! [`checkpoint`'s coordinator]: https://docs.rs/highwater-checkpoint

mod contender;
mod placing;
mod protocol;

use std::collections::VecDeque;
use std::time::Duration;

use highwater_core::{CheckpointId, Error, ErrorKind};
use highwater_storage::Outcome;

use crate::entry::{Attempt, Change, Completed, Ended, Entry, JobState, Leader, Token};
use crate::log::Found;
use crate::not_recorded::NotRecorded;
use crate::store::Put;
pub use contender::Contender;
use placing::{Placing, Stage};
pub use protocol::{Append, Command, Event, Notice, PutAnswer, RequestId};

/// A leader appends this often within the time it holds, so that one or two requests may be lost.
const RENEWALS: u32 = 3;
/// A contender looks for the next entry this often within that time.
const LOOKS: u32 = 10;

/// The decisions of one JobManager about who leads. Starts with [`Event::Wake`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    me: Contender,
    role: Role,
    /// The newest entry that is known.
    head: Option<Entry>,
    /// When it was found to be the newest.
    seen_at: Duration,
    /// Nothing is asked of the store before: the last request has failed, or there is nothing to do.
    rest_until: Duration,
    under_way: Option<Request>,
    placing: Option<Placing>,
    waiting: VecDeque<(RequestId, Append)>,
    sequence: u64,
    /// The leader that was last told of.
    told: Option<Token>,
    /// Why the last request to the store failed; for people.
    trouble: Option<String>,
    resigning: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follows,
    Leads(Term),
    Over,
}

/// The time in which this JobManager leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Term {
    token: Token,
    until: Duration,
    renew_at: Duration,
}

/// A request to the store without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    /// Is there anything newer? If not, it is time to lead.
    Look,
    Read,
    Put,
    /// Is the entry that was put the newest, or whose is?
    Check,
}

impl Election {
    /// A contender that knows nothing of the log yet.
    pub fn new(me: Contender) -> Self {
        Election {
            me,
            role: Role::Follows,
            head: None,
            seen_at: Duration::ZERO,
            rest_until: Duration::ZERO,
            under_way: None,
            placing: None,
            waiting: VecDeque::new(),
            sequence: 0,
            told: None,
            trouble: None,
            resigning: false,
        }
    }

    /// Takes in what has happened, and returns what is to be done, in order.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Command> {
        let mut out = Vec::new();
        self.expire(now, &mut out);
        if self.is_over() && !matches!(event, Event::Append { .. }) {
            return out;
        }
        match event {
            Event::Wake => {}
            Event::Looked(answer) => self.looked(answer, now, &mut out),
            Event::Read(answer) => self.read(answer, now, &mut out),
            Event::Put(answer) => self.put(answer, now),
            Event::Append { request, token, append } => self.append(request, token, append, &mut out),
            Event::Resign => self.resign(&mut out),
        }
        self.proceed(now, &mut out);
        out
    }

    /// When to call [`step`](Self::step) with [`Event::Wake`] if nothing else happens before.
    pub fn wake_at(&self) -> Option<Duration> {
        let idle = self.under_way.is_none();
        match self.role {
            Role::Over => None,
            Role::Leads(term) if idle => Some(self.next_append(term).min(term.until)),
            Role::Leads(term) => Some(term.until),
            Role::Follows => idle.then_some(self.rest_until),
        }
    }

    /// Whether there is nothing left to decide: the job has ended, this JobManager has resigned, or failed.
    pub fn is_over(&self) -> bool {
        self.role == Role::Over
    }

    /// The token of this JobManager, if it leads.
    pub fn token(&self) -> Option<Token> {
        match self.role {
            Role::Leads(term) => Some(term.token),
            Role::Follows | Role::Over => None,
        }
    }

    /// Asks the next thing of the store, if it is time.
    fn proceed(&mut self, now: Duration, out: &mut Vec<Command>) {
        if self.under_way.is_some() || now < self.rest_until {
            return;
        }
        if self.placing.is_none() {
            match self.role {
                Role::Over => return,
                Role::Leads(term) => self.begin_append(term, now, out),
                Role::Follows => return self.follow(now, out),
            }
        }
        if let Some(placing) = &mut self.placing {
            let (request, command) = placing.request(now);
            self.under_way = Some(request);
            out.push(command);
        }
    }

    /// As a follower: looks for the next entry, or, if the leader's time is over, whether there is really none.
    fn follow(&mut self, now: Duration, out: &mut Vec<Command>) {
        let known = self.head.as_ref().map_or(0, |head| head.number);
        let (request, command) = if now >= self.contend_at() {
            (Request::Look, Command::Look { known })
        } else {
            (Request::Read, Command::Read { number: known + 1 })
        };
        self.under_way = Some(request);
        out.push(command);
    }

    /// When it is time to lead, if there is no newer entry until then.
    fn contend_at(&self) -> Duration {
        let Some(head) = &self.head else { return Duration::ZERO };
        let leader = &head.state.leader;
        // What this process wrote is in nobody's way: it leads no longer, and knows it.
        if leader.has_resigned() || head.state.ended.is_some() || head.writer == self.me.writer {
            return Duration::ZERO;
        }
        self.seen_at + leader.holds_for() + leader.holds_for() / 10
    }

    fn looked(&mut self, answer: Result<Found, Error>, now: Duration, out: &mut Vec<Command>) {
        let request = self.under_way.take();
        let found = match answer {
            Ok(found) => found,
            Err(error) => return self.failed(error, now, out),
        };
        match (request, self.placing.take()) {
            (Some(Request::Check), Some(placing)) => self.checked(placing, found, now, out),
            (Some(Request::Look), placing) => {
                self.placing = placing;
                self.contend(found, now, out);
            }
            // The answer to a check of an append that was given up: the log is looked at again before anything else.
            (_, placing) => self.placing = placing,
        }
    }

    /// The leader's time is over: if nothing is newer, leads.
    fn contend(&mut self, found: Found, now: Duration, out: &mut Vec<Command>) {
        let known = self.head.as_ref().map_or(0, |head| head.number);
        match found.newest {
            _ if found.highest() < known => self.fail(gone(known, found.highest()), out),
            Some(newest) => self.adopt(newest, now, out),
            None if self.role == Role::Follows => {
                let leader = Leader { token: Token(known + 1), ..self.me.leader() };
                let state = match &self.head {
                    Some(head) => head.state.led_by(leader),
                    None => JobState { leader, attempt: None, completed: Vec::new(), ended: None },
                };
                self.place(Change::Leads, state, None);
            }
            None => {}
        }
    }

    fn read(&mut self, answer: Result<Option<Entry>, Error>, now: Duration, out: &mut Vec<Command>) {
        self.under_way = None;
        match answer {
            Ok(Some(entry)) => self.adopt(entry, now, out),
            Ok(None) => self.rest_until = self.contend_at().min(now + self.me.holds_for / LOOKS),
            Err(error) => self.failed(error, now, out),
        }
    }

    fn put(&mut self, answer: PutAnswer, now: Duration) {
        self.under_way = None;
        // Given up meanwhile: whether it happened shows in the log.
        let Some(placing) = &mut self.placing else { return };
        placing.answered(&answer);
        match answer {
            Ok(Put::Created | Put::Exists) => {}
            Err((Outcome::DidNotHappen, why)) => self.rest(why, now),
            Err((Outcome::MayHaveHappened, why)) => self.trouble = Some(why),
        }
    }

    /// Whether the entry that was put counts.
    fn checked(&mut self, mut placing: Placing, found: Found, now: Duration, out: &mut Vec<Command>) {
        let number = placing.entry.number;
        let ours = match (&found.newest, placing.stage) {
            (Some(newest), _) => newest.is_same(&placing.entry),
            (None, Stage::Created) => found.highest() == number,
            (None, Stage::Put | Stage::Unclear) => false,
        };
        match found.newest {
            _ if ours => self.counts(placing, &found.numbers, now, out),
            Some(newest) if newest.number >= number => self.replaced(placing, newest, now, out),
            None if placing.stage == Stage::Unclear && found.highest() + 1 == number => {
                let strange = || format!("entry {number} of the log is there for a writer and not for a reader");
                let why = self.trouble.take().unwrap_or_else(strange);
                placing.stage = Stage::Put;
                self.placing = Some(placing);
                self.rest(why, now);
            }
            Some(_) | None => {
                self.answer_in_doubt(placing, out);
                self.fail(gone(number, found.highest()), out);
            }
        }
    }

    /// The entry is the newest: what it says holds.
    fn counts(&mut self, placing: Placing, numbers: &[u64], now: Duration, out: &mut Vec<Command>) {
        let Placing { entry, began, request, .. } = placing;
        let oldest_kept = entry.number.saturating_sub(self.me.kept_entries);
        let old: Vec<u64> = numbers.iter().copied().filter(|number| *number < oldest_kept).collect();
        if !old.is_empty() {
            out.push(Command::Remove(old));
        }
        let until = began + self.me.holds_for;
        let term = Term { token: entry.state.leader.token, until, renew_at: began + self.me.holds_for / RENEWALS };
        (self.trouble, self.seen_at) = (None, now);
        match entry.change {
            // Else its time is over before it began, and there is nobody else's to wait for.
            Change::Leads if now < until => {
                self.role = Role::Leads(term);
                self.told = Some(term.token);
                out.push(Command::Tell(Notice::Granted { token: term.token, state: entry.state.clone() }));
            }
            Change::Leads => {}
            Change::Renews | Change::Attempt | Change::Completed => self.role = Role::Leads(term),
            Change::Ended | Change::Resigns => self.role = Role::Over,
        }
        self.head = Some(entry);
        if let Some(request) = request {
            out.push(Command::Answer { request, result: Ok(()) });
        }
        if self.role == Role::Over {
            self.refuse_waiting("the job has ended", out);
        }
    }

    /// Another's entry is where ours should be, or behind it.
    fn replaced(&mut self, placing: Placing, newest: Entry, now: Duration, out: &mut Vec<Command>) {
        let why = format!("another JobManager has taken over, at {}", newest.state.leader.address);
        if let Some(request) = placing.request {
            let result = match placing.shows_in(&newest) {
                Some(true) => Ok(()),
                Some(false) => Err(NotRecorded::fenced(why.as_str())),
                None => Err(NotRecorded::in_doubt(why.as_str())),
            };
            out.push(Command::Answer { request, result });
        }
        self.revoke(&why, out);
        self.adopt(newest, now, out);
    }

    /// Takes a newer entry of the log for the newest.
    fn adopt(&mut self, entry: Entry, now: Duration, out: &mut Vec<Command>) {
        let appeared = self.head.is_some();
        let leader = entry.state.leader.clone();
        let ended = entry.state.ended.clone();
        let leads = entry.writer != self.me.writer && ended.is_none() && !leader.has_resigned();
        (self.trouble, self.seen_at, self.rest_until) = (None, now, now);
        self.head = Some(entry);
        match (ended, self.me.differs_from(&leader)) {
            (Some(ended), _) if leader.cluster == self.me.cluster => {
                self.role = Role::Over;
                out.push(Command::Tell(Notice::Ended(ended)));
            }
            (_, None) if leads && self.told != Some(leader.token) => {
                self.told = Some(leader.token);
                out.push(Command::Tell(Notice::LeaderIs { token: leader.token, address: leader.address }));
            }
            // What has appeared since was written by one who lives.
            (_, Some(what)) if leads && appeared => self.fail(self.me.refused(&leader, what), out),
            _ => {}
        }
    }

    /// Gives up to lead once the time for it is over.
    fn expire(&mut self, now: Duration, out: &mut Vec<Command>) {
        if let Role::Leads(term) = self.role
            && now >= term.until
        {
            let trouble = self.trouble.as_deref().unwrap_or("the store did not answer, or this process stood still");
            let why = format!("could not renew the leadership within {:?}: {trouble}", self.me.holds_for);
            if let Some(placing) = self.placing.take() {
                self.answer_in_doubt(placing, out);
            }
            self.revoke(&why, out);
            if self.resigning {
                self.role = Role::Over;
            }
        }
    }

    fn revoke(&mut self, why: &str, out: &mut Vec<Command>) {
        if let Role::Leads(_) = self.role {
            self.role = Role::Follows;
            out.push(Command::Tell(Notice::Revoked { why: why.to_owned() }));
        }
        self.refuse_waiting(why, out);
    }

    fn answer_in_doubt(&self, placing: Placing, out: &mut Vec<Command>) {
        let Some(request) = placing.request else { return };
        let why = "the leadership was lost before the store confirmed it";
        let result = if placing.may_be_there() { NotRecorded::in_doubt(why) } else { NotRecorded::fenced(why) };
        out.push(Command::Answer { request, result: Err(result) });
    }

    fn refuse_waiting(&mut self, why: &str, out: &mut Vec<Command>) {
        for (request, _) in self.waiting.drain(..) {
            out.push(Command::Answer { request, result: Err(NotRecorded::fenced(why)) });
        }
    }

    /// A request to the store failed: it is asked again, unless what it holds is at fault.
    fn failed(&mut self, error: Error, now: Duration, out: &mut Vec<Command>) {
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Incompatible => {
                if let Some(placing) = self.placing.take() {
                    self.answer_in_doubt(placing, out);
                }
                self.fail(error, out);
            }
            ErrorKind::Settings
            | ErrorKind::Input
            | ErrorKind::UserFunction
            | ErrorKind::Storage
            | ErrorKind::Cluster
            | ErrorKind::Checkpoint
            | ErrorKind::Internal => {
                self.rest(error.to_string(), now);
            }
        }
    }

    fn rest(&mut self, why: String, now: Duration) {
        self.trouble = Some(why);
        self.rest_until = now + self.me.holds_for / LOOKS;
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Command>) {
        self.revoke(&error.to_string(), out);
        self.role = Role::Over;
        out.push(Command::Tell(Notice::Failed(error)));
    }
}

/// What a leader wants to record.
impl Election {
    fn append(&mut self, request: RequestId, token: Token, append: Append, out: &mut Vec<Command>) {
        let refused = match self.role {
            _ if self.resigning => Some("this JobManager has resigned".to_owned()),
            Role::Leads(term) if term.token == token => None,
            Role::Leads(term) => {
                Some(format!("token {token} is over: this JobManager leads again, with {}", term.token))
            }
            Role::Follows | Role::Over => Some("this JobManager does not lead any more".to_owned()),
        };
        match refused {
            None => self.waiting.push_back((request, append)),
            Some(why) => out.push(Command::Answer { request, result: Err(NotRecorded::fenced(why)) }),
        }
    }

    fn resign(&mut self, out: &mut Vec<Command>) {
        self.resigning = true;
        self.refuse_waiting("this JobManager has resigned", out);
        if self.role == Role::Follows {
            self.role = Role::Over;
        }
    }

    /// When a leader with nothing under way asks the store for the next thing.
    fn next_append(&self, term: Term) -> Duration {
        let busy = self.placing.is_some() || !self.waiting.is_empty() || self.resigning;
        if busy { self.rest_until } else { term.renew_at.max(self.rest_until) }
    }

    /// Begins what is next: something to record, a renewal, or the end of the leadership.
    fn begin_append(&mut self, term: Term, now: Duration, out: &mut Vec<Command>) {
        let Some(head) = &self.head else { return };
        let mut state = head.state.clone();
        while let Some((request, append)) = self.waiting.pop_front() {
            match record(&mut state, append, term.token, self.me.retained) {
                Ok(Some(change)) => return self.place(change, state, Some(request)),
                Ok(None) => out.push(Command::Answer { request, result: Ok(()) }),
                Err(why) => out.push(Command::Answer { request, result: Err(NotRecorded::fenced(why)) }),
            }
        }
        if self.resigning {
            state.leader.holds_ms = 0;
            self.place(Change::Resigns, state, None);
        } else if now >= term.renew_at {
            self.place(Change::Renews, state, None);
        }
    }

    fn place(&mut self, change: Change, state: JobState, request: Option<RequestId>) {
        let number = self.head.as_ref().map_or(0, |head| head.number) + 1;
        self.sequence += 1;
        let entry = Entry { number, writer: self.me.writer, sequence: self.sequence, change, state };
        self.placing = Some(Placing::new(entry, request));
    }
}

/// Puts what is to be recorded into `state`; `None` if it is there already.
fn record(state: &mut JobState, append: Append, token: Token, retained: usize) -> Result<Option<Change>, String> {
    match append {
        Append::Attempt(content) => {
            state.attempt = Some(Attempt { token, content });
            Ok(Some(Change::Attempt))
        }
        Append::Completed(id) if state.has_completed(id) => Ok(None),
        Append::Completed(id) => match state.newest_completed() {
            Some(newest) if newest > id => Err(behind(id, newest)),
            Some(_) | None => {
                state.completed.push(Completed { id, token });
                let surplus = state.completed.len().saturating_sub(retained.max(1));
                state.completed.drain(..surplus);
                Ok(Some(Change::Completed))
            }
        },
        Append::Ended(result) => {
            state.ended = Some(Ended { token, result });
            Ok(Some(Change::Ended))
        }
    }
}

fn behind(id: CheckpointId, newest: CheckpointId) -> String {
    format!("checkpoint {id} cannot complete after {newest}: ids never go back")
}

fn gone(known: u64, highest: u64) -> Error {
    Error::new(
        ErrorKind::Storage,
        format!(
            "entry {known} of the log is gone from the HA directory, the newest there is {highest}: nothing but JobManagers \
             may change what it holds; start this JobManager again"
        ),
    )
}
