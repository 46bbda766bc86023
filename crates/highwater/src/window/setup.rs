//! What is set of windows, and the operator that it makes, for one input or two.

use std::time::Duration;

use highwater_runtime::{KeyedProcessFunction, OutputTag, Record};
use highwater_state::{Data, Key};

use super::assigner::WindowAssigner;
use super::contents::Contents;
use super::operator::{Lateness, WindowOperator};
use super::panes::PaneOperator;
use super::trigger::Trigger;
use crate::stream::{DataStream, KeyedStream};

/// What is set of windows of records `T`.
pub(super) struct Setup<T, A, Tr> {
    assigner: A,
    trigger: Tr,
    lateness: Lateness<T>,
}

/// Where an operator over windows gets its records from.
pub(super) trait Input<K: Key, T> {
    /// The output of an operator with this function.
    fn operator<P: KeyedProcessFunction<K, T>>(&self, name: &str, function: P) -> DataStream<P::Out>;
}

impl<K: Key, T: Data, F: Fn(&T) -> K + Clone + Send + Sync + 'static> Input<K, T> for KeyedStream<K, T, F> {
    fn operator<P: KeyedProcessFunction<K, T>>(&self, name: &str, function: P) -> DataStream<P::Out> {
        self.add(name, function)
    }
}

impl<T, A: WindowAssigner<T>> Setup<T, A, A::DefaultTrigger> {
    pub fn new(assigner: A) -> Self {
        let trigger = assigner.default_trigger();
        Setup { assigner, trigger, lateness: Lateness { allowed_ms: 0, tag: None } }
    }
}

impl<T, A, Tr> Setup<T, A, Tr> {
    pub fn trigger<Tr2>(self, trigger: Tr2) -> Setup<T, A, Tr2> {
        Setup { assigner: self.assigner, trigger, lateness: self.lateness }
    }

    pub fn allowed_lateness(&mut self, lateness: Duration) {
        self.lateness.allowed_ms = i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX);
    }

    pub fn side_output_late_data(&mut self, tag: &OutputTag<T>)
    where
        T: Record,
    {
        self.lateness.tag = Some(tag.clone());
    }

    /// Adds the operator: one that shares panes between windows, if they fire at regular times and keep nothing else.
    pub fn add<K, C>(self, input: &impl Input<K, T>, name: &str, contents: C) -> DataStream<C::Out>
    where
        K: Key,
        T: Data + Sync,
        A: WindowAssigner<T>,
        Tr: Trigger<T, A::Window>,
        C: Contents<K, T, A::Window>,
    {
        let Setup { assigner, trigger, lateness } = self;
        let sliced = assigner.slices().map_or(Ok(()), |(slices, _)| slices.check());
        let problem = sliced.and_then(|()| assigner.check()).and_then(|()| trigger.check()).err();
        let has_panes = Tr::FIRES_AT_END == Some(assigner.domain()) && size_of::<C::Kept>() == 0;
        let out = match assigner.slices().filter(|_| has_panes) {
            Some(slices) if problem.is_none() => {
                input.operator(name, PaneOperator::new(assigner.domain(), slices, contents, lateness))
            }
            _ => input.operator(name, WindowOperator::new(assigner, trigger, contents, lateness)),
        };
        match problem {
            Some(problem) => out.rejected(&problem),
            None => out,
        }
    }
}
