//! How the subtasks of an origin of watermarks hear where the others stand: by announcements, over a timely channel of their own.
//!
//! Each origin has one channel between its subtasks, in this process and in others alike. What a worker hears goes into the list that
//! its origins share ([`Origins`]). A watermark is announced a few times a second, a change of state at once. Only origins that look
//! at each other have a link.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::Bincode;
use timely::communication::{Pull, Push};
use timely::scheduling::Activator;

use super::Standing;
use super::origins::{Origin, Origins, State};
use crate::graph::{Builder, Site};

/// How often a watermark is announced at most.
pub(crate) const ANNOUNCE_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Announcement {
    member: u64,
    state: State,
}

/// What the origins of one worker share.
pub(crate) type SharedOrigins = Rc<RefCell<Origins>>;

/// The place of an operator that is built among the origins of its worker.
pub(crate) struct OriginSite<'a> {
    pub origin: &'a Origin,
    pub origins: SharedOrigins,
}

/// How far a subtask may let event time go.
pub(crate) struct Settled {
    pub watermark: i64,
    /// Whether something remains to be announced, in [`ANNOUNCE_EVERY`].
    pub has_news: bool,
}

/// One subtask of an origin, and its way to the others.
pub(crate) struct Link {
    origins: SharedOrigins,
    member: usize,
    activator: Activator,
    others: Vec<Box<dyn Push<Bincode<Announcement>>>>,
    puller: Box<dyn Pull<Bincode<Announcement>>>,
    announced: Option<(State, Duration)>,
    max_drift_ms: Option<i64>,
}

impl Link {
    /// For the operator at `site`, whose address is `address`; none if it does not look at others. `max_drift` is how far it may be
    /// ahead of its group.
    pub fn open(
        builder: &Builder<'_>,
        site: &Site<'_>,
        address: Rc<[usize]>,
        max_drift: Option<Duration>,
    ) -> Option<Link> {
        let OriginSite { origin, origins } = site.origin.as_ref()?;
        let activator = builder.scope.activator_for(Rc::clone(&address));
        let worker = builder.scope.worker();
        let (mut others, puller) = worker.allocate::<Bincode<Announcement>>(worker.new_identifier(), address);
        let member = origins.borrow().member(origin, worker.index() as u32);
        others.remove(worker.index());
        let max_drift_ms = max_drift.map(|drift| i64::try_from(drift.as_millis()).unwrap_or(i64::MAX));
        Some(Link { origins: Rc::clone(origins), member, activator, others, puller, announced: None, max_drift_ms })
    }

    /// Takes in what the others have announced.
    pub fn hear(&mut self) {
        while let Some(announcement) = self.puller.pull() {
            self.origins.borrow_mut().set(announcement.member as usize, announcement.state);
        }
    }

    /// Says where this subtask stands `now`, in monotonic time, and how far it may go: an idle one as far as the others are.
    pub fn settle(&mut self, standing: Standing, now: Duration) -> Settled {
        let Standing { watermark, idle } = standing;
        if !idle {
            return Settled { watermark, has_news: self.announce(State::Active(watermark), now) };
        }
        let mut origins = self.origins.borrow_mut();
        origins.set(self.member, State::Idle(watermark));
        let watermark = watermark.max(origins.followed_by(self.member));
        origins.wait(self.member, &self.activator);
        drop(origins);
        Settled { watermark, has_news: self.announce(State::Idle(watermark), now) }
    }

    /// Says that this subtask will emit nothing more.
    pub fn end(&mut self) {
        self.announce(State::Ended, Duration::ZERO);
    }

    fn announce(&mut self, state: State, now: Duration) -> bool {
        self.origins.borrow_mut().set(self.member, state);
        if let Some((before, at)) = self.announced {
            let only_moved = std::mem::discriminant(&before) == std::mem::discriminant(&state);
            if before == state {
                return false;
            }
            if only_moved && now < at + ANNOUNCE_EVERY {
                return true;
            }
        }
        self.announced = Some((state, now));
        for other in &mut self.others {
            other.push(&mut Some(Bincode::from(Announcement { member: self.member as u64, state })));
            other.done();
        }
        false
    }

    /// Whether it is too far ahead of its group to read on; it is woken when that may have changed.
    pub fn is_ahead(&self, watermark: i64) -> bool {
        let Some(max_drift_ms) = self.max_drift_ms else { return false };
        let mut origins = self.origins.borrow_mut();
        let ahead = origins.group_minimum(self.member).is_some_and(|min| watermark > min.saturating_add(max_drift_ms));
        if ahead {
            origins.wait(self.member, &self.activator);
        }
        ahead
    }
}
