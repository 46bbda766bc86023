//! Where event time comes from: the sources of a job, and what each of them knows of the others.
//!
//! Every worker has a list of all origins of watermarks, kept up to date by [announcements](super::link). Two things are decided
//! from it, both purely:
//!
//! * **Idleness.** Timely's frontier knows no idle source: its mark holds back everything behind it. So an idle origin follows the
//!   others whose streams meet its own somewhere: their minimum, or the highest if all are idle.
//! * **Alignment.** An origin of a group that is too far ahead of the group's minimum pauses.
//!
//! Invariant: what a worker knows of an origin may be old, and is then only lower. A mark that an origin holds is never moved by
//! anyone else, so the frontier never passes an active origin, whatever the others believe of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::scheduling::Activator;

use super::Standing;
use crate::mark::NO_WATERMARK;

/// What a strategy says of how its operator and others look at each other.
#[derive(Clone, Debug)]
pub(crate) struct Relations {
    /// Whether it may become idle.
    pub may_be_idle: bool,
    /// Its alignment group.
    pub group: Option<Arc<str>>,
}

/// An operator in the job's graph: the streams that it reads and makes, and its relations if it gives event time.
pub(crate) struct Place<'a> {
    pub inputs: &'a [usize],
    pub outputs: &'a [usize],
    pub relations: Option<&'a Relations>,
}

/// An operator that gives event time and that looks at others, or they at it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Its place among such operators.
    pub index: u32,
    /// Streams of origins with the same number meet somewhere.
    pub component: u32,
    /// Its alignment group.
    pub group: Option<Arc<str>>,
}

/// Which of a job's operators, each after those it reads from, look at each other: those that may become idle, all whose streams meet
/// theirs somewhere, and those in an alignment group.
pub(crate) fn origins_of(operators: &[Place<'_>]) -> Vec<Option<Origin>> {
    let mut components: Vec<usize> = (0..operators.len()).collect();
    for (index, operator) in operators.iter().enumerate() {
        // What comes in to one that gives event time itself has no event time behind it.
        let inputs = if operator.relations.is_some() { &[] } else { operator.inputs };
        for input in inputs {
            let producer = operators.iter().position(|other| other.outputs.contains(input));
            let producer = producer.expect("a stream that is read is made by an operator");
            let (from, to) = (components[index], components[producer]);
            components.iter_mut().filter(|component| **component == from).for_each(|component| *component = to);
        }
    }
    let relations = |index: usize| operators[index].relations;
    let idle: BTreeSet<usize> = (0..operators.len())
        .filter(|index| relations(*index).is_some_and(|relations| relations.may_be_idle))
        .map(|index| components[index])
        .collect();
    let mut next = 0..;
    let origin = |index: usize| {
        let relations = relations(index)?;
        let (component, group) = (components[index], relations.group.clone());
        (group.is_some() || idle.contains(&component)).then(|| Origin {
            index: next.next().unwrap_or_default(),
            component: component as u32,
            group,
        })
    };
    (0..operators.len()).map(origin).collect()
}

/// Where a subtask of an origin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// At this watermark.
    Active(i64),
    /// At this watermark, which holds nothing back.
    Idle(i64),
    /// It will emit nothing more.
    Ended,
}

#[derive(Clone, Debug)]
struct Member {
    component: u32,
    group: Option<Arc<str>>,
    state: State,
}

/// All subtasks of all origins of a job that look at each other, as one worker knows them.
pub(crate) struct Origins {
    parallelism: u32,
    members: Vec<Member>,
    /// Members of this worker that wait for news of others.
    waiting: BTreeMap<usize, Activator>,
}

impl Origins {
    pub fn new<'a>(origins: impl Iterator<Item = &'a Origin>, parallelism: u32) -> Self {
        let member = |origin: &Origin| Member {
            component: origin.component,
            group: origin.group.clone(),
            state: State::Active(NO_WATERMARK),
        };
        let members = origins.flat_map(|origin| vec![member(origin); parallelism as usize]).collect();
        Origins { parallelism, members, waiting: BTreeMap::new() }
    }

    /// The member that is this subtask of `origin`.
    pub fn member(&self, origin: &Origin, subtask: u32) -> usize {
        (origin.index * self.parallelism + subtask) as usize
    }

    /// Notes where a member stands, and wakes who waits for it.
    pub fn set(&mut self, member: usize, state: State) {
        let previous = std::mem::replace(&mut self.members[member].state, state);
        if previous != state {
            self.waiting.retain(|waiting, activator| {
                if *waiting != member {
                    activator.activate();
                }
                *waiting == member
            });
        }
    }

    /// Has `activator` called when another member has moved.
    pub fn wait(&mut self, member: usize, activator: &Activator) {
        self.waiting.entry(member).or_insert_with(|| activator.clone());
    }

    /// The watermark that an idle `member` may go up to.
    pub fn followed_by(&self, member: usize) -> i64 {
        let component = self.members[member].component;
        let standing = |member: &Member| match member.state {
            State::Active(watermark) => Some(Standing { watermark, idle: false }),
            State::Idle(watermark) => Some(Standing { watermark, idle: true }),
            State::Ended => None,
        };
        let related = self.members.iter().filter(|member| member.component == component);
        Standing::of(related.filter_map(standing)).map_or(NO_WATERMARK, |together| together.watermark)
    }

    /// The minimum watermark of the active members of `member`'s alignment group.
    pub fn group_minimum(&self, member: usize) -> Option<i64> {
        let group = self.members[member].group.as_ref()?;
        let in_group = self.members.iter().filter(|other| other.group.as_ref() == Some(group));
        let active = |member: &Member| match member.state {
            State::Active(watermark) => Some(watermark),
            State::Idle(_) | State::Ended => None,
        };
        in_group.filter_map(active).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(inputs: &'a [usize], outputs: &'a [usize], relations: Option<&'a Relations>) -> Place<'a> {
        Place { inputs, outputs, relations }
    }

    #[test]
    fn origins_look_at_each_other_if_their_streams_meet_behind_them() {
        let idle = Relations { may_be_idle: true, group: None };
        let plain = Relations { may_be_idle: false, group: None };
        let grouped = Relations { may_be_idle: false, group: Some("group".into()) };
        let operators = [
            place(&[], &[1], Some(&idle)),
            place(&[], &[2], Some(&plain)),
            // Meets nobody before its stream is given watermarks anew.
            place(&[], &[3], Some(&plain)),
            place(&[], &[4], Some(&grouped)),
            place(&[3], &[5], Some(&plain)),
            place(&[1], &[6], None),
            place(&[6, 5], &[7], None),
            place(&[7, 2], &[], None),
            place(&[4], &[], None),
        ];
        let origins = origins_of(&operators);
        let known = |index: usize| origins[index].as_ref().map(|origin| (origin.index, origin.component));
        let (Some((0, idle)), Some((1, plain)), Some((2, grouped)), Some((3, assigner))) =
            (known(0), known(1), known(3), known(4))
        else {
            panic!("{origins:?}")
        };
        assert!(idle == plain && idle == assigner && idle != grouped, "{origins:?}");
        assert!(known(2).is_none() && (5..9).all(|index| known(index).is_none()), "{origins:?}");
    }

    #[test]
    fn an_idle_origin_follows_the_slowest_that_is_active_else_the_highest() {
        let origin = |index, component, group: Option<&str>| Origin { index, component, group: group.map(Arc::from) };
        let all = [origin(0, 0, Some("g")), origin(1, 0, Some("g")), origin(2, 7, Some("g"))];
        let mut origins = Origins::new(all.iter(), 2);
        let member = |origins: &Origins, index: usize, subtask| origins.member(&all[index], subtask);
        let (a, b, c, d) = (0, 1, 2, 3);
        assert_eq!([member(&origins, 0, 1), member(&origins, 1, 0)], [b, c]);
        origins.set(a, State::Idle(5));
        assert_eq!((origins.followed_by(a), origins.group_minimum(a)), (NO_WATERMARK, Some(NO_WATERMARK)));
        for (member, state) in [(b, State::Active(30)), (c, State::Active(20)), (d, State::Ended)] {
            origins.set(member, state);
        }
        assert_eq!(origins.followed_by(a), 20);
        // Of another component, and of the group.
        (4..6).for_each(|member| origins.set(member, State::Active(10)));
        assert_eq!((origins.followed_by(a), origins.group_minimum(a)), (20, Some(10)));
        origins.set(c, State::Idle(25));
        assert_eq!(origins.followed_by(a), 30);
        origins.set(b, State::Idle(30));
        assert_eq!(origins.followed_by(a), 30, "all are idle");
        origins.set(b, State::Ended);
        assert_eq!(origins.followed_by(a), 25, "what has ended has no watermark to follow");
        (4..6).for_each(|member| origins.set(member, State::Idle(10)));
        assert_eq!(origins.group_minimum(a), None);
    }
}
