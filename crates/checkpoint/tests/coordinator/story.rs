//! A small language in which a test of the coordinator reads as a story: `<ms> <event> -> <command>; <command>`.

use highwater_checkpoint::{
    CheckpointConfig, CheckpointKind, CheckpointReport, Command, Coordinator, Event, FailureReason, Outcome,
    RequestKind,
};
use highwater_core::CheckpointId;

use crate::job::{acknowledgement, coordinator, file, ms, request, task};

/// Tells the story to a new coordinator, whose first id is 1.
pub fn story(config: &CheckpointConfig, lines: &str) {
    story_after(config, 1, &[], lines);
}

/// Tells the story to a coordinator that goes on after `restored`.
pub fn story_after(config: &CheckpointConfig, next_id: u64, restored: &[u64], lines: &str) {
    let restored = restored.iter().copied().map(CheckpointId).collect();
    let mut coordinator = coordinator(config, CheckpointId(next_id), restored);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (told, expected) = line.split_once("->").unwrap_or((line, ""));
        let expected: Vec<&str> = expected.split(';').map(str::trim).filter(|command| !command.is_empty()).collect();
        assert_eq!(tell(&mut coordinator, told.trim()), expected, "at: {line}");
    }
}

fn tell(coordinator: &mut Coordinator, told: &str) -> Vec<String> {
    if told == "wake" {
        return vec![coordinator.next_wake().map_or("never".to_owned(), |at| at.as_millis().to_string())];
    }
    let (at, told) = told.split_once(char::is_whitespace).expect("a time and an event");
    let at = ms(at.parse().expect("milliseconds"));
    events(told).into_iter().flat_map(|event| coordinator.step(event, at)).map(render).collect()
}

fn events(told: &str) -> Vec<Event> {
    let words: Vec<&str> = told.split_whitespace().collect();
    let id = |word: &str| CheckpointId(word.parse().expect("a checkpoint id"));
    let index = |word: &str| word.parse::<u32>().expect("a task");
    let event = match words[..] {
        ["running"] => Event::Running,
        ["tick"] => Event::Tick,
        ["shutdown"] => Event::Shutdown,
        ["request", "manual"] => request(RequestKind::Manual),
        ["request", "savepoint"] => request(RequestKind::Savepoint),
        ["request", "final"] => request(RequestKind::Final),
        ["request", "final", "savepoint"] => request(RequestKind::FinalSavepoint),
        ["located", n] => Event::Located { id: id(n), created_unix_ms: 1_700_000_000_000 },
        ["locate", "failed", n] => Event::LocateFailed { id: id(n), error: "denied".to_owned() },
        ["prepared", n, t] => Event::Prepared { id: id(n), task: task(index(t)) },
        ["ack", n, "all"] => return (0..3).map(|t| acknowledgement(id(n), t, vec![])).collect(),
        ["ack", n, t] => acknowledgement(id(n), index(t), vec![]),
        ["ack", n, t, "with", name] => acknowledgement(id(n), index(t), vec![file(name)]),
        ["declined", n, t] => Event::Declined { id: id(n), task: task(index(t)), reason: "disk full".to_owned() },
        ["published", n] => Event::Published { id: id(n) },
        ["publish", "failed", n] => publish_failed(id(n), false),
        ["publish", "doubtful", n] => publish_failed(id(n), true),
        _ => panic!("no such event: {told}"),
    };
    vec![event]
}

fn publish_failed(id: CheckpointId, may_have_happened: bool) -> Event {
    Event::PublishFailed { id, error: "timed out".to_owned(), may_have_happened }
}

fn render(command: Command) -> String {
    match command {
        Command::Locate { id, savepoint } => format!("locate {id}{}", savepoint.map_or("", |_| " savepoint")),
        Command::Trigger { id, kind } => format!("trigger {id} {}", kind_word(kind)),
        Command::Publish { metadata, .. } => format!("publish {}", metadata.id),
        Command::NotifyComplete { id } => format!("notify complete {id}"),
        Command::NotifyAborted { id, reason } => format!("notify aborted {id} {}", reason_word(&reason)),
        Command::Discard { id } => format!("discard {id}"),
        Command::DeleteShared { names } => format!("delete {}", names.join(" ")),
        Command::Report(CheckpointReport { id, outcome, times, .. }) => {
            let outcome = match &outcome {
                Outcome::Completed => "completed",
                Outcome::Failed(reason) => reason_word(reason),
                Outcome::InDoubt { .. } => "in doubt",
            };
            let [init, prepare, confirm, complete] =
                [times.init, times.prepare, times.confirm, times.complete].map(|time| time.as_millis());
            format!("report {id} {outcome} {init}+{prepare}+{confirm}+{complete}")
        }
        Command::Refuse { why, .. } => format!("refuse: {why}"),
        Command::FailJob { .. } => "fail job".to_owned(),
    }
}

fn kind_word(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Periodic => "periodic",
        CheckpointKind::Manual => "manual",
        CheckpointKind::Savepoint => "savepoint",
        CheckpointKind::Final => "final",
        CheckpointKind::FinalSavepoint => "final savepoint",
    }
}

fn reason_word(reason: &FailureReason) -> &'static str {
    match reason {
        FailureReason::LocateFailed { .. } => "locate-failed",
        FailureReason::Declined { .. } => "declined",
        FailureReason::Expired { .. } => "expired",
        FailureReason::Inconsistent { .. } => "inconsistent",
        FailureReason::PublishFailed { .. } => "publish-failed",
        FailureReason::Subsumed { .. } => "subsumed",
        FailureReason::Shutdown => "shutdown",
    }
}
