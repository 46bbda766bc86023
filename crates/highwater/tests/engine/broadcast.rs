//! Broadcast state: a stream of rules that every subtask hears, and events that are matched against them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{ErrorKind, Result};
use highwater_checkpoint::Metadata;
use highwater_testing::Random;
use highwater_testing::harness::{Interruption, Stage, check, interrupted, sorted, uninterrupted};

use crate::restarts::Trouble;
use crate::support::{Numbers, Step, at_once, environment, returns, run};

/// From its time on, events whose value can be divided by the divisor are matched under the name of the rule; by 0: none are.
pub type Rule = (u8, u64, i64);

/// User, value and event time.
pub type Event = (u64, u64, i64);

/// User, time of the event, name and divisor of the rule, and how many matches the user has had.
pub type Match = (u64, i64, u8, u64, u64);

#[derive(OperatorState)]
pub struct Rules {
    /// The divisor by name and time: the newest that an event is not before counts.
    divisors: BroadcastState<(u8, i64), u64>,
    heard: BroadcastState<u8, u64>,
}

#[derive(KeyedState)]
pub struct User {
    waiting: MapState<i64, Vec<u64>>,
    matches: ValueState<u64>,
}

/// Matches each event when the watermark says that every rule of its time is known.
#[derive(Clone)]
pub struct MatchRules<F> {
    /// Called for each event: a place for failures.
    pub before: F,
}

impl<F: FnMut() -> UserResult + Clone + Send + Sync + 'static> KeyedBroadcastProcessFunction<u64, Event, Rule>
    for MatchRules<F>
{
    type State = User;
    type Broadcast = Rules;
    type Out = Match;

    fn process(
        &mut self,
        (_, value, time): Event,
        user: &mut User,
        _: &Rules,
        out: &mut Context<'_, u64, Match>,
    ) -> UserResult {
        (self.before)()?;
        user.waiting.update(time, |values| values.push(value));
        out.register_event_time_timer(time);
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        (name, divisor, time): Rule,
        rules: &mut Rules,
        _: &mut KeyedBroadcastContext<'_, u64, User, Match>,
    ) -> UserResult {
        rules.divisors.insert((name, time), divisor);
        rules.heard.update(name, |times| *times += 1);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        user: &mut User,
        rules: &Rules,
        out: &mut Context<'_, u64, Match>,
    ) -> UserResult {
        let time = timer.time_ms;
        assert!(out.watermark() >= time);
        let values = user.waiting.remove(&time).ok_or("a timer without its events")?;
        let heard: u64 = rules.heard.values().sum();
        assert_eq!(heard, rules.divisors.len() as u64, "each rule is heard once by each subtask");
        for name in rules.heard.keys() {
            let newest = rules.divisors.range((*name, i64::MIN)..=(*name, time)).next_back();
            let Some(divisor) = newest.map(|(_, divisor)| *divisor).filter(|divisor| *divisor > 0) else { continue };
            for _ in values.iter().filter(|value| value.is_multiple_of(divisor)) {
                let matches = user.matches.get_or_default() + 1;
                user.matches.set(matches);
                out.collect((*out.key(), time, *name, divisor, matches));
            }
        }
        Ok(())
    }
}

pub fn events(count: i64) -> Vec<Event> {
    let mut random = Random::new(3);
    (0..count).map(|i| (random.any() % 4, random.any() % 30, 10 * i)).collect()
}

pub fn rules(count: i64, step_ms: i64) -> Vec<Rule> {
    let mut random = Random::new(4);
    (0..count).map(|i| (random.any() as u8 % 3, random.any() % 5, step_ms * i + 5)).collect()
}

fn by_event_time() -> WatermarkStrategy<Event> {
    WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.2)
}

fn by_rule_time() -> WatermarkStrategy<Rule> {
    WatermarkStrategy::for_monotonous_timestamps(|rule: &Rule| rule.2)
}

/// What has to come out, by a plain loop.
fn expected(events: &[Event], rules: &[Rule]) -> Vec<Match> {
    let mut matches = std::collections::BTreeMap::<u64, u64>::new();
    let mut out = Vec::new();
    for (user, value, time) in events {
        for name in 0..3 {
            let newest = rules.iter().rfind(|rule| rule.0 == name && rule.2 <= *time);
            if let Some((_, divisor, _)) = newest
                && *divisor > 0
                && value.is_multiple_of(*divisor)
            {
                let count = matches.entry(*user).or_default();
                *count += 1;
                out.push((*user, *time, name, *divisor, *count));
            }
        }
    }
    out
}

fn matching(stage: &Stage, events: &[Event], rules: &[Rule]) -> DataStream<Match> {
    let rules = stage.records(rules.to_vec(), by_rule_time(), "rules");
    let events = stage.records(events.to_vec(), by_event_time(), "events");
    events.key_by(|event: &Event| event.0).connect(&rules.broadcast()).process(MatchRules { before: || Ok(()) })
}

#[test]
fn rules_are_known_to_every_subtask_when_the_watermark_has_passed_them() {
    // The rules end long before the events, or long after.
    for (events, rules) in [(events(80), rules(10, 40)), (events(12), rules(60, 40)), (events(60), rules(60, 10))] {
        let out = uninterrupted(|stage| matching(stage, &events, &rules));
        assert_eq!(sorted(out), sorted(expected(&events, &rules)));
    }
}

#[test]
fn matches_are_the_same_after_every_rescale() {
    let (events, rules) = (events(40), rules(14, 28));
    let expected = sorted(expected(&events, &rules));
    assert!(expected.len() > 20);
    for interruption in [Interruption::Stop, Interruption::Crash] {
        let runs = interrupted(interruption, &[1, 4, 3, 2], |stage| matching(stage, &events, &rules));
        assert_eq!(sorted(runs.output), expected, "{interruption:?}, {} runs", runs.count);
    }
    check(|stage| matching(stage, &events, &rules), |found| found.0);
}

/// The matching job with sources that fail and wait.
pub fn matching_numbers(
    env: &StreamExecutionEnvironment,
    count: u64,
    (wait_events, wait_rules): (
        impl Fn(u64) -> Step + Send + Sync + 'static,
        impl Fn(u64) -> Step + Send + Sync + 'static,
    ),
    before: impl FnMut() -> UserResult + Clone + Send + Sync + 'static,
) -> DataStream<Match> {
    let events = env
        .from_source(Numbers::new(count).when(wait_events), WatermarkStrategy::no_watermarks(), "events")
        .uid("events")
        .map(|number| Ok((number % 5, number % 30, number as i64)))
        .uid("timed");
    let rules = env
        .from_source(Numbers::new(30).when(wait_rules), WatermarkStrategy::no_watermarks(), "rules")
        .uid("rules")
        .map(|number| Ok((number as u8 % 3, number % 5, 20 * number as i64)));
    events
        .key_by(|event: &Event| event.0)
        .connect(&rules.broadcast())
        .process(MatchRules { before })
        .name("match")
        .uid("match")
}

/// What comes out of [`matching_numbers`], without the running counts: events of one user are not in order there.
pub fn assert_matched(committed: Vec<Match>, count: u64) {
    let events: Vec<Event> = (0..count).map(|number| (number % 5, number % 30, number as i64)).collect();
    let rules: Vec<Rule> = (0..30).map(|number| (number as u8 % 3, number % 5, 20 * number as i64)).collect();
    let without_counts = |matches: Vec<Match>| sorted(matches.into_iter().map(|m| (m.0, m.1, m.2, m.3)).collect());
    let counts = sorted(committed.iter().map(|found| (found.0, found.4)).collect::<Vec<_>>());
    let expected = expected(&events, &rules);
    assert_eq!(counts, sorted(expected.iter().map(|found| (found.0, found.4)).collect::<Vec<_>>()));
    assert_eq!(without_counts(committed), without_counts(expected));
}

#[test]
fn matches_are_exactly_once_whatever_fails_and_when() {
    const COUNT: u64 = 1500;
    for (seed, workers) in [(1, 1), (2, 2), (3, 3)] {
        // Either input is far ahead of the other.
        for slow_rules in [true, false] {
            let (attempts, committed) = returns(move || {
                let (env, sink) = (environment(workers), CollectSink::new());
                env.enable_checkpointing(Duration::from_millis(2)).set_restart_strategy(at_once(100));
                let trouble = Trouble::seeded(seed, 8, COUNT as usize);
                let (events_at, rules_at) = (env.status(), env.status());
                let after = |per_checkpoint: u64| {
                    move |completed: u64, number: u64| {
                        if number / per_checkpoint <= completed { Step::Emit } else { Step::Wait }
                    }
                };
                let (slow, fast) = (if slow_rules { 4 } else { 30 }, if slow_rules { 1000 } else { 100 });
                matching_numbers(
                    &env,
                    COUNT,
                    (
                        move |number| after(fast)(events_at.snapshot().completed, number),
                        move |number| after(slow)(rules_at.snapshot().completed, number),
                    ),
                    move || trouble.call(),
                )
                .sink_to(sink.clone());
                (run(&env).unwrap().attempts, sink.committed())
            });
            // More than there are failures would be assertions of the engine.
            assert!((4..=9).contains(&attempts), "{attempts} attempts");
            assert_matched(committed, COUNT);
        }
    }
}

#[test]
fn checkpoints_pass_an_input_that_is_idle_and_the_watermark_waits_for_it() {
    const COUNT: u64 = 300;
    let (before, committed) = returns(|| {
        let (env, sink) = (environment(2), CollectSink::new());
        env.enable_checkpointing(Duration::from_millis(2)).set_restart_strategy(RestartStrategy::None);
        let (status, emitted) = (env.status(), Arc::new(AtomicBool::new(false)));
        let (shown, all_emitted) = (sink.clone(), emitted.clone());
        let before = Arc::new(AtomicU64::new(u64::MAX));
        let (out_before, waited_for) = (before.clone(), Arc::new(AtomicU64::new(0)));
        let events = move |number| {
            all_emitted.fetch_or(number == COUNT - 1, Ordering::SeqCst);
            Step::Emit
        };
        // No rule comes until some checkpoints have completed after the last event.
        let rules = move |_| {
            if emitted.load(Ordering::SeqCst) {
                let completed = status.snapshot().completed;
                let _ = waited_for.compare_exchange(0, completed + 3, Ordering::SeqCst, Ordering::SeqCst);
                if completed >= waited_for.load(Ordering::SeqCst) {
                    out_before.fetch_min(shown.committed().len() as u64, Ordering::SeqCst);
                    return Step::Emit;
                }
            }
            Step::Wait
        };
        matching_numbers(&env, COUNT, (events, rules), || Ok(())).sink_to(sink.clone());
        let result = run(&env).unwrap();
        assert_eq!(result.checkpoints_failed, 0);
        (before.load(Ordering::SeqCst), sink.committed())
    });
    assert_eq!(before, 0, "no timer fires while the rules may still come");
    assert_matched(committed, COUNT);
}

/// How many elements of `state` each subtask of the operator "match" has in the one checkpoint in `dir`.
fn stored(dir: &Path, state: &str) -> Vec<usize> {
    let job = std::fs::read_dir(dir.join("engine-test")).unwrap().map(|entry| entry.unwrap().path());
    let metadata = job.map(|path| path.join("_metadata")).find(|path| path.exists()).expect("a checkpoint was taken");
    let metadata = Metadata::decode(&std::fs::read(metadata).unwrap(), "the checkpoint").unwrap();
    let operator = metadata.operators.iter().find(|operator| operator.uid.as_str() == "match").unwrap();
    let states = operator.subtasks.iter().map(|(_, task)| task.operator_state.iter().find(|found| found.name == state));
    states.map(|state| state.unwrap().elements.len()).collect()
}

#[test]
fn one_subtask_stores_the_broadcast_state_for_all() {
    let stored = returns(|| {
        let dir = tempfile::tempdir().unwrap();
        let env = environment(3);
        env.set_state_backend(FsStateBackend::new(dir.path().to_str().unwrap()));
        env.enable_checkpointing(Duration::from_secs(3600));
        // Only the last checkpoint is taken.
        matching_numbers(&env, 20, (|_| Step::Emit, |_| Step::Emit), || Ok(())).sink_to(CollectSink::new());
        run(&env).unwrap();
        ["divisors", "heard"].map(|state| stored(dir.path(), state))
    });
    assert_eq!(stored, [[30, 0, 0], [3, 0, 0]]);
}

/// Counts by itself what it reads, and raises each key's count by what is broadcast.
#[derive(Clone)]
struct RaiseAll;

#[derive(KeyedState)]
struct Raised {
    sum: ValueState<u64>,
}

#[derive(OperatorState)]
struct Raises {
    sum: BroadcastState<(), u64>,
}

impl KeyedBroadcastProcessFunction<u64, u64, u64> for RaiseAll {
    type State = Raised;
    type Broadcast = Raises;
    type Out = (u64, u64);

    fn process(
        &mut self,
        _: u64,
        raised: &mut Raised,
        _: &Raises,
        out: &mut Context<'_, u64, Self::Out>,
    ) -> UserResult {
        // A key that comes late starts at 0: every key is there before the first raise.
        raised.sum.set(raised.sum.get_or_default());
        out.register_event_time_timer(0);
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        raise: u64,
        raises: &mut Raises,
        context: &mut KeyedBroadcastContext<'_, u64, Raised, Self::Out>,
    ) -> UserResult {
        raises.sum.update((), |sum| *sum += raise);
        context.apply_to_keyed_state(|key, raised| {
            raised.sum.update(|sum| *sum += raise * (key + 1));
            Ok(())
        })
    }

    fn on_timer(
        &mut self,
        _: Timer,
        raised: &mut Raised,
        raises: &Raises,
        out: &mut Context<'_, u64, Self::Out>,
    ) -> UserResult {
        assert_eq!(raised.sum.get_or_default(), (out.key() + 1) * raises.sum.get(&()).ok_or("nothing raised")?);
        out.collect((*out.key(), raised.sum.get_or_default()));
        Ok(())
    }
}

#[test]
fn the_broadcast_side_reaches_the_state_of_every_key() {
    let mut runs = 0;
    for parallelism in [&[1][..], &[1, 4, 3, 2]] {
        // One source, so that the keys are there first: what is below 100 is a key, all else is broadcast.
        let out = interrupted(Interruption::Stop, parallelism, |stage| {
            let numbers: Vec<u64> = (0..20).chain(100..110).collect();
            let numbers = stage.records(numbers, WatermarkStrategy::no_watermarks(), "numbers");
            let keys = numbers.filter(|number| Ok(*number < 100)).key_by(|number: &u64| *number);
            keys.connect(&numbers.filter(|number| Ok(*number >= 100)).broadcast()).process(RaiseAll)
        });
        let sum: u64 = (100..110).sum();
        assert_eq!(sorted(out.output), (0..20).map(|key| (key, sum * (key + 1))).collect::<Vec<_>>());
        runs += out.count;
    }
    assert!(runs > 50);
}

/// Sums what is broadcast, and adds the sum to each record that is not.
#[derive(Clone)]
struct AddSum;

impl BroadcastProcessFunction<u64, u64> for AddSum {
    type Broadcast = Raises;
    type Out = u64;

    fn process(&mut self, record: u64, raises: &Raises, out: &mut ProcessContext<'_, u64>) -> UserResult {
        out.collect(record + raises.sum.get(&()).copied().unwrap_or_default());
        Ok(())
    }

    fn process_broadcast(&mut self, record: u64, raises: &mut Raises, _: &mut ProcessContext<'_, u64>) -> UserResult {
        raises.sum.update((), |sum| *sum += record);
        Ok(())
    }
}

#[test]
fn a_function_without_keys_has_broadcast_state_too() {
    for interruption in [Interruption::Stop, Interruption::Crash] {
        let runs = interrupted(interruption, &[1, 4, 3, 2], |stage| {
            let numbers: Vec<u64> = (1..=9).chain(1000..1020).collect();
            let numbers = stage.records(numbers, WatermarkStrategy::no_watermarks(), "numbers");
            let broadcast = numbers.filter(|number| Ok(*number < 1000)).broadcast();
            numbers.filter(|number| Ok(*number >= 1000)).connect(&broadcast).process(AddSum)
        });
        assert_eq!(sorted(runs.output), (1045..1065).collect::<Vec<u64>>(), "{interruption:?}");
    }
}

/// Fails where it is told to.
#[derive(Clone)]
struct Fails(&'static str);

impl KeyedBroadcastProcessFunction<u64, u64, u64> for Fails {
    type State = Raised;
    type Broadcast = Raises;
    type Out = u64;

    fn process(&mut self, _: u64, _: &mut Raised, _: &Raises, _: &mut Context<'_, u64, u64>) -> UserResult {
        if self.0 == "keyed" { Err("on purpose".into()) } else { Ok(()) }
    }

    fn process_broadcast(
        &mut self,
        _: u64,
        _: &mut Raises,
        _: &mut KeyedBroadcastContext<'_, u64, Raised, u64>,
    ) -> UserResult {
        match self.0 {
            "error" => Err("on purpose".into()),
            "panic" => panic!("on purpose"),
            _ => Ok(()),
        }
    }
}

fn fails(place: &'static str) -> Result<()> {
    let env = environment(2);
    let keyed = env.from_collection(0..9u64).key_by(|_: &u64| 7);
    let broadcast = env.from_collection(0..9u64).broadcast();
    keyed.connect(&broadcast).process(Fails(place)).name("fails").sink_to(CollectSink::new());
    run(&env).map(drop)
}

#[test]
fn an_error_says_on_which_side_it_was() {
    for (place, words) in [
        ("error", "operator fails (fails-2[0]) failed on its broadcast side"),
        ("panic", "panicked on its broadcast side"),
        ("keyed", "failed for key 7"),
    ] {
        let error = returns(move || fails(place)).expect_err("it fails always");
        assert_eq!(error.kind(), ErrorKind::UserFunction);
        let text = error.to_string().replace("[1]", "[0]");
        assert!(text.contains(words) && text.contains("on purpose"), "{place}: {error}");
    }
}

#[test]
fn a_description_has_keyed_and_broadcast_state() {
    let env = environment(1);
    matching_numbers(&env, 1, (|_| Step::Emit, |_| Step::Emit), || Ok(())).sink_to(CollectSink::new());
    let description = env.describe("engine-test").unwrap();
    let operator = description.operators.iter().find(|operator| operator.uid.as_str() == "match").unwrap();
    let states = operator.operator_state.iter().map(|state| format!("{}: {}", state.name, state.schema));
    assert_eq!(states.collect::<Vec<_>>(), ["divisors: ((u8, i64), u64)", "heard: (u8, u64)"]);
    assert_eq!(operator.keyed.as_ref().unwrap().states.len(), 2);
}
