//! The names of the settings: one list, from which the names in every source follow.

/// A setting, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Workers,
    MaxParallelism,
    JobName,
    CheckpointDir,
    LocalRecoveryDir,
    CheckpointInterval,
    CheckpointMode,
    CheckpointTimeout,
    CheckpointMinPause,
    MaxConcurrentCheckpoints,
    TolerableFailedCheckpoints,
    RetainedCheckpoints,
    SavepointDir,
    RestartStrategy,
    Fresh,
    Restore,
    ClaimMode,
    AllowNonRestoredState,
    RunDir,
    MemoryBudget,
    LogFormat,
    Parallelism,
    MinParallelism,
    Jobmanager,
    Slots,
    Listen,
    Advertise,
    Health,
    HaDir,
    ClusterId,
    HaLease,
    ResourceWait,
    ScaleUpPause,
    LeaveTimeout,
    HeartbeatInterval,
    HeartbeatTimeout,
    Config,
}

impl Key {
    /// Every setting, in the order of the help.
    pub(super) const ALL: [Key; 37] = [
        Key::Workers,
        Key::MaxParallelism,
        Key::JobName,
        Key::CheckpointDir,
        Key::LocalRecoveryDir,
        Key::CheckpointInterval,
        Key::CheckpointMode,
        Key::CheckpointTimeout,
        Key::CheckpointMinPause,
        Key::MaxConcurrentCheckpoints,
        Key::TolerableFailedCheckpoints,
        Key::RetainedCheckpoints,
        Key::SavepointDir,
        Key::RestartStrategy,
        Key::Fresh,
        Key::Restore,
        Key::ClaimMode,
        Key::AllowNonRestoredState,
        Key::RunDir,
        Key::MemoryBudget,
        Key::LogFormat,
        Key::Parallelism,
        Key::MinParallelism,
        Key::Jobmanager,
        Key::Slots,
        Key::Listen,
        Key::Advertise,
        Key::Health,
        Key::HaDir,
        Key::ClusterId,
        Key::HaLease,
        Key::ResourceWait,
        Key::ScaleUpPause,
        Key::LeaveTimeout,
        Key::HeartbeatInterval,
        Key::HeartbeatTimeout,
        Key::Config,
    ];

    /// The name, as in the settings file; with two hyphens in front, the flag of the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Key::Workers => "workers",
            Key::MaxParallelism => "max-parallelism",
            Key::Parallelism => "parallelism",
            Key::MinParallelism => "min-parallelism",
            Key::Jobmanager => "jobmanager",
            Key::Slots => "slots",
            Key::Listen => "listen",
            Key::Advertise => "advertise",
            Key::Health => "health",
            Key::HaDir => "ha-dir",
            Key::ClusterId => "cluster-id",
            Key::HaLease => "ha-lease",
            Key::ResourceWait => "resource-wait",
            Key::ScaleUpPause => "scale-up-pause",
            Key::LeaveTimeout => "leave-timeout",
            Key::HeartbeatInterval => "heartbeat-interval",
            Key::HeartbeatTimeout => "heartbeat-timeout",
            Key::JobName => "job-name",
            Key::CheckpointDir => "checkpoint-dir",
            Key::LocalRecoveryDir => "local-recovery-dir",
            Key::CheckpointInterval => "checkpoint-interval",
            Key::CheckpointMode => "checkpoint-mode",
            Key::CheckpointTimeout => "checkpoint-timeout",
            Key::CheckpointMinPause => "checkpoint-min-pause",
            Key::MaxConcurrentCheckpoints => "max-concurrent-checkpoints",
            Key::TolerableFailedCheckpoints => "tolerable-failed-checkpoints",
            Key::RetainedCheckpoints => "retained-checkpoints",
            Key::SavepointDir => "savepoint-dir",
            Key::RestartStrategy => "restart-strategy",
            Key::Fresh => "fresh",
            Key::Restore => "restore",
            Key::ClaimMode => "claim-mode",
            Key::AllowNonRestoredState => "allow-non-restored-state",
            Key::RunDir => "run-dir",
            Key::MemoryBudget => "memory-budget",
            Key::LogFormat => "log-format",
            Key::Config => "config",
        }
    }

    /// The environment variable.
    pub(super) fn variable(self) -> String {
        format!("HIGHWATER_{}", self.name().to_uppercase().replace('-', "_"))
    }

    /// The settings that may stand in the settings file: all but the one that names it.
    fn of_file() -> impl Iterator<Item = Key> {
        Key::ALL.into_iter().filter(|key| *key != Key::Config)
    }

    /// The setting of the settings file called `name`, else which one may have been meant.
    pub(super) fn in_file(name: &str) -> Result<Key, String> {
        Key::of_file().find(|key| key.name() == name).ok_or_else(|| {
            let advice = match Key::nearest(name) {
                Some(key) => format!("did you mean {}?", key.name()),
                None => format!("the settings are {}", Key::of_file().map(Key::name).collect::<Vec<_>>().join(", ")),
            };
            format!("there is no setting {name:?}: {advice}")
        })
    }

    fn nearest(name: &str) -> Option<Key> {
        let name = name.to_lowercase();
        let (distance, key) =
            Key::of_file().map(|key| (edit_distance(&name, key.name()), key)).min_by_key(|(distance, _)| *distance)?;
        // Further away than a third of the word, it is another word.
        if distance <= 1 + name.chars().count() / 3 {
            return Some(key);
        }
        Key::of_file().find(|key| name.len() >= 3 && key.name().contains(&name))
    }
}

/// The number of characters to insert, delete or replace to get from `a` to `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // Distances from what has been seen of `a` to every prefix of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        for (name, meant) in [
            ("worker", "workers"),
            ("chekpoint-intervall", "checkpoint-interval"),
            ("checkpoint_interval", "checkpoint-interval"),
            ("WORKERS", "workers"),
            ("interval", "checkpoint-interval"),
            ("manager", "jobmanager"),
        ] {
            let expected = format!("there is no setting {name:?}: did you mean {meant}?");
            assert_eq!(Key::in_file(name), Err(expected));
        }
    }

    #[test]
    fn where_nothing_is_near_all_are_listed() {
        let error = Key::in_file("config").unwrap_err();
        assert!(error.starts_with("there is no setting \"config\": the settings are workers, max-parallelism, "));
        assert!(error.ends_with("heartbeat-interval, heartbeat-timeout"), "{error}");
    }

    #[test]
    fn distances_count_single_edits() {
        for (a, b, distance) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
