//! Which source wins for every setting, and what every mistake is answered with.

use std::collections::HashMap;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use highwater_core::ErrorKind;

use super::*;

#[derive(Parser)]
struct Job {
    #[command(flatten)]
    args: JobArgs,
}

/// What each source gives.
#[derive(Default)]
struct Scene {
    flags: Vec<String>,
    file: String,
    environment: HashMap<String, String>,
}

impl Scene {
    fn flag(mut self, key: Key, text: &str) -> Self {
        self.flags.push(format!("--{}={text}", key.name()));
        self
    }

    fn file(mut self, key: Key, text: &str) -> Self {
        self.file += &format!("{} = {text:?}\n", key.name());
        self
    }

    fn variable(mut self, key: Key, text: &str) -> Self {
        self.environment.insert(key.variable(), text.to_string());
        self
    }

    fn resolve(&self) -> Result<Settings> {
        self.resolve_over(Settings::default())
    }

    fn resolve_over(&self, defaults: Settings) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.toml");
        std::fs::write(&path, &self.file).unwrap();
        let config = format!("--config={}", path.display());
        let job = Job::try_parse_from(["job", &config].into_iter().chain(self.flags.iter().map(String::as_str)));
        job.unwrap().args.resolve_with(defaults, &|name| self.environment.get(name).cloned())
    }

    /// The message of the error, with the settings file called `job.toml`.
    fn refusal(&self) -> String {
        let error = self.resolve().expect_err("it was taken");
        assert_eq!(error.kind(), ErrorKind::Settings);
        let without_dir = |word: &str| match word.rsplit_once("/job.toml") {
            Some((_, rest)) => format!("job.toml{rest}"),
            None => word.to_string(),
        };
        error.to_string().split(' ').map(without_dir).collect::<Vec<_>>().join(" ")
    }
}

/// The one value of `settings` that `key` is about.
fn shown(settings: &Settings, key: Key) -> String {
    let (checkpoint, cluster) = (&settings.checkpoint, &settings.cluster);
    match key {
        Key::Workers => format!("{:?}", settings.workers),
        Key::MaxParallelism => format!("{:?}", settings.max_parallelism),
        Key::Parallelism => format!("{:?}", cluster.parallelism.map(|count| count.count())),
        Key::MinParallelism => format!("{:?}", cluster.min_parallelism.count()),
        Key::Jobmanager => format!("{:?}", cluster.job_managers),
        Key::Slots => format!("{:?}", cluster.slots),
        Key::Listen => format!("{:?}", cluster.listen),
        Key::Advertise => format!("{:?}", cluster.advertise),
        Key::Health => format!("{:?}", cluster.health),
        Key::HaDir => format!("{:?}", cluster.ha_dir),
        Key::ClusterId => cluster.cluster_id.clone(),
        Key::HaLease => format!("{:?}", cluster.lease),
        Key::ResourceWait => format!("{:?}", cluster.resource_wait),
        Key::ScaleUpPause => format!("{:?}", cluster.scale_up_pause),
        Key::LeaveTimeout => format!("{:?}", cluster.leave_timeout),
        Key::HeartbeatInterval => format!("{:?}", cluster.heartbeats.interval),
        Key::HeartbeatTimeout => format!("{:?}", cluster.heartbeats.timeout),
        Key::JobName => format!("{:?}", settings.job_name),
        Key::CheckpointDir => format!("{:?}", settings.checkpoint_dir),
        Key::LocalRecoveryDir => format!("{:?}", settings.local_recovery_dir),
        Key::CheckpointInterval => format!("{:?}", checkpoint.interval),
        Key::CheckpointMode => format!("{:?}", checkpoint.mode),
        Key::CheckpointTimeout => format!("{:?}", checkpoint.timeout),
        Key::CheckpointMinPause => format!("{:?}", checkpoint.min_pause),
        Key::MaxConcurrentCheckpoints => format!("{:?}", checkpoint.max_concurrent),
        Key::TolerableFailedCheckpoints => format!("{:?}", checkpoint.tolerable_failures),
        Key::RetainedCheckpoints => format!("{:?}", checkpoint.retained),
        Key::SavepointDir => format!("{:?}", settings.savepoint_dir),
        Key::RestartStrategy => format!("{:?}", settings.restart_strategy),
        Key::Fresh => format!("{:?}", settings.fresh),
        Key::Restore => format!("{:?}", settings.restore),
        Key::ClaimMode => format!("{:?}", settings.claim_mode),
        Key::AllowNonRestoredState => format!("{:?}", settings.allow_non_restored_state),
        Key::RunDir => format!("{:?}", settings.run_dir),
        Key::MemoryBudget => format!("{:?}", settings.memory_budget),
        Key::LogFormat => format!("{:?}", settings.log_format),
        Key::Config => panic!("config is no field of the settings"),
    }
}

/// Two texts for every setting, and how the settings show them. Neither is the default where a setting has that many values.
fn examples(key: Key) -> Option<[(&'static str, &'static str); 2]> {
    Some(match key {
        Key::Workers => [("301", "301"), ("302", "302")],
        Key::MaxParallelism => [("7", "Some(MaxParallelism(7))"), ("8", "Some(MaxParallelism(8))")],
        Key::Parallelism => [("2", "Some(2)"), ("3", "Some(3)")],
        Key::MinParallelism => [("2", "2"), ("3", "3")],
        Key::Jobmanager => [("a:1", "Some(\"a:1\")"), ("a:1,b:2", "Some(\"a:1,b:2\")")],
        Key::Slots => [("301", "301"), ("302", "302")],
        Key::Listen => [("a:1", "Some(\"a:1\")"), ("b:0", "Some(\"b:0\")")],
        Key::Advertise => [("a:1", "Some(\"a:1\")"), ("b:2", "Some(\"b:2\")")],
        Key::Health => [("a:1", "Some(\"a:1\")"), ("b:2", "Some(\"b:2\")")],
        Key::HaDir => [("/one", "Some(\"/one\")"), ("etcd://two:1/x", "Some(\"etcd://two:1/x\")")],
        Key::ClusterId => [("one", "one"), ("two", "two")],
        Key::HaLease | Key::ResourceWait | Key::ScaleUpPause | Key::LeaveTimeout => [("1s", "1s"), ("3s", "3s")],
        Key::HeartbeatInterval | Key::HeartbeatTimeout => [("1s", "1s"), ("2s", "2s")],
        Key::JobName => [("one", "Some(JobName(\"one\"))"), ("two", "Some(JobName(\"two\"))")],
        Key::CheckpointDir => [("/one", "Some(\"/one\")"), ("file:///two", "Some(\"file:///two\")")],
        Key::LocalRecoveryDir => [("/one", "Some(\"/one\")"), ("two", "Some(\"two\")")],
        Key::CheckpointInterval => [("500ms", "Some(500ms)"), ("1m", "Some(60s)")],
        Key::CheckpointMode => [("at-least-once", "AtLeastOnce"), ("exactly-once", "ExactlyOnce")],
        Key::CheckpointTimeout => [("1s", "1s"), ("2s", "2s")],
        Key::CheckpointMinPause => [("1s", "1s"), ("2s", "2s")],
        Key::MaxConcurrentCheckpoints => [("2", "2"), ("3", "3")],
        Key::TolerableFailedCheckpoints => [("2", "2"), ("3", "3")],
        Key::RetainedCheckpoints => [("2", "2"), ("3", "3")],
        Key::SavepointDir => [("/one", "Some(\"/one\")"), ("file:///two", "Some(\"file:///two\")")],
        Key::RestartStrategy => {
            [("none", "Some(None)"), ("fixed-delay:attempts=3,delay=2s", "Some(FixedDelay { attempts: 3, delay: 2s })")]
        }
        Key::Fresh => [("true", "true"), ("false", "false")],
        Key::Restore => [("chk-1", "Some(\"chk-1\")"), ("chk-2", "Some(\"chk-2\")")],
        Key::ClaimMode => [("claim", "Claim"), ("no-claim", "NoClaim")],
        Key::AllowNonRestoredState => [("true", "true"), ("false", "false")],
        Key::RunDir => [("/one", "Some(\"/one\")"), ("two", "Some(\"two\")")],
        Key::MemoryBudget => [("64MiB", "Some(67108864)"), ("off", "None")],
        Key::LogFormat => [("json", "Json"), ("text", "Text")],
        Key::Config => return None,
    })
}

#[test]
fn for_every_setting_the_command_line_wins_over_the_file_and_the_file_over_the_environment() {
    for key in Key::ALL {
        let Some([(one, shows_one), (two, shows_two)]) = examples(key) else { continue };
        let took = |scene: Scene| shown(&scene.resolve().unwrap(), key);
        let scene = Scene::default;
        let all = scene().flag(key, one).file(key, two).variable(key, two);
        assert_eq!(took(all), shows_one, "command line, {}", key.name());
        assert_eq!(took(scene().flag(key, two).file(key, one)), shows_two, "command line, {}", key.name());
        assert_eq!(took(scene().file(key, one).variable(key, two)), shows_one, "file, {}", key.name());
        assert_eq!(took(scene().file(key, two).variable(key, one)), shows_two, "file, {}", key.name());
        assert_eq!(took(scene().variable(key, one)), shows_one, "environment, {}", key.name());
        assert_eq!(took(scene().variable(key, two)), shows_two, "environment, {}", key.name());
        assert_eq!(took(scene()), shown(&Settings::default(), key), "default, {}", key.name());
    }
}

#[test]
fn every_source_wins_over_the_programs_defaults_and_nothing_else_does() {
    let program = Settings { log_format: LogFormat::Json, fresh: true, ..Settings::default() };
    let settings = Scene::default().variable(Key::LogFormat, "text").resolve_over(program.clone()).unwrap();
    assert_eq!(settings, Settings { log_format: LogFormat::Text, ..program });
}

#[test]
fn an_empty_variable_is_not_set() {
    assert_eq!(Scene::default().variable(Key::Workers, "").resolve().unwrap(), Settings::default());
}

#[test]
fn what_was_given_can_be_taken_back() {
    let scene = Scene::default().file(Key::CheckpointInterval, "1s").file(Key::Fresh, "true");
    let back = scene.flag(Key::CheckpointInterval, "off").flag(Key::Fresh, "false");
    assert_eq!(back.resolve().unwrap(), Settings::default());
}

#[test]
fn fresh_needs_no_value() {
    let job = Job::try_parse_from(["job", "--fresh", "--workers", "1"]).unwrap();
    assert!(job.args.resolve_with(Settings::default(), &|_| None).unwrap().fresh);
}

#[test]
fn the_environment_can_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job.toml");
    std::fs::write(&path, "slots = 3\nworkers = 77\n").unwrap();
    let environment = |name: &str| (name == "HIGHWATER_CONFIG").then(|| path.display().to_string());
    let settings = JobArgs::default().resolve_with(Settings::default(), &environment).unwrap();
    assert_eq!(settings.workers.get(), 77);
}

/// For every setting a text that is none, and what the refusal says to give instead.
fn mistakes(key: Key) -> Option<(&'static str, &'static str)> {
    let above_zero = "give a time above 0 with its unit, like 500ms, 10s, 1m30s, 2h or 1d";
    Some(match key {
        Key::Workers => ("0", "give a whole number above 0"),
        Key::MaxParallelism => ("32769", "give a whole number from 1 to 32768"),
        Key::Parallelism | Key::MinParallelism => ("0", "give a whole number from 1 to 4294967295"),
        Key::Jobmanager => {
            ("a:1,b", "\"b\" is not the address of a JobManager: name each as host:port, with commas between them")
        }
        Key::HaDir => (" ", "give a path or URI"),
        Key::Slots => ("0", "give a whole number above 0"),
        Key::Listen | Key::Advertise | Key::Health => ("here", "give an address as host:port"),
        Key::ClusterId => (" ", "give a name"),
        Key::HaLease | Key::HeartbeatInterval | Key::HeartbeatTimeout => ("0s", above_zero),
        Key::ResourceWait | Key::ScaleUpPause | Key::LeaveTimeout => {
            ("1", "give a time with its unit, like 500ms, 10s, 1m30s, 2h or 1d")
        }
        Key::JobName => (
            "a/b",
            "job name \"a/b\" is not usable: give 1 to 100 letters, digits, '-', '_' or '.', not starting with a dot",
        ),
        Key::CheckpointDir => (" ", "give a path or URI"),
        Key::LocalRecoveryDir => (" ", "give a path or URI"),
        Key::CheckpointInterval => {
            ("0s", "give a time above 0 with its unit, like 500ms, 10s, 1m30s, 2h or 1d, or off")
        }
        Key::CheckpointMode => ("twice", "give exactly-once or at-least-once"),
        Key::CheckpointTimeout => ("600", above_zero),
        Key::CheckpointMinPause => ("1", "give a time with its unit, like 500ms, 10s, 1m30s, 2h or 1d"),
        Key::MaxConcurrentCheckpoints => ("0", "give a whole number from 1 to 4294967295"),
        Key::TolerableFailedCheckpoints => ("some", "give a whole number from 0 to 4294967295"),
        Key::RetainedCheckpoints => ("0", "give a whole number from 1 to 4294967295"),
        Key::SavepointDir => (" ", "give a path or URI"),
        Key::RestartStrategy => (
            "fixed-delay:delay=3",
            "delay is \"3\": give a time with its unit, like 500ms, 10s, \
                                                         1m30s, 2h or 1d",
        ),
        Key::Fresh => ("yes", "give true or false"),
        Key::Restore => (" ", "give a path or URI"),
        Key::ClaimMode => ("legacy", "give no-claim or claim"),
        Key::AllowNonRestoredState => ("some", "give true or false"),
        Key::RunDir => (" ", "give a path or URI"),
        Key::MemoryBudget => ("16GB", "give a whole number with its unit, like 512MiB or 16GiB, or off"),
        Key::LogFormat => ("xml", "give text or json"),
        Key::Config => return None,
    })
}

#[test]
fn a_bad_value_is_refused_with_its_setting_and_its_place() {
    for key in Key::ALL {
        let Some((text, instead)) = mistakes(key) else { continue };
        let (name, variable) = (key.name(), key.variable());
        for (scene, place) in [
            (Scene::default().flag(key, text), format!("command line: --{name}")),
            (Scene::default().file(key, text), format!("job.toml:1: {name}")),
            (Scene::default().variable(key, text), format!("environment: {variable}")),
        ] {
            assert_eq!(scene.refusal(), format!("{place} is {text:?}: {instead}"));
        }
    }
}

#[test]
fn an_unknown_setting_in_the_file_is_refused_by_name() {
    let scene = Scene { file: "workers = 2\n\nchekpoint-dir = \"/tmp\"\n".to_string(), ..Scene::default() };
    assert_eq!(scene.refusal(), "job.toml:3: there is no setting \"chekpoint-dir\": did you mean checkpoint-dir?");
}

#[test]
fn a_settings_file_that_cannot_be_read_is_named() {
    let args = JobArgs { config: Some("no/such.toml".to_string()), ..JobArgs::default() };
    let error = args.resolve_with(Settings::default(), &|_| None).unwrap_err().to_string();
    let expected = "command line: --config is \"no/such.toml\": cannot read that file: No such file or directory";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn fresh_and_restore_exclude_each_other() {
    let scene = Scene::default().variable(Key::Fresh, "true").file(Key::Restore, "chk-3");
    assert_eq!(
        scene.refusal(),
        "environment: HIGHWATER_FRESH and job.toml:1: restore exclude each other: start without state, or from that \
         snapshot"
    );
}

#[test]
fn defaults_of_a_program_that_cannot_work_are_refused() {
    let checkpoint = CheckpointConfig { retained: 0, ..CheckpointConfig::default() };
    let without_limit =
        RestartStrategy::FailureRate { max_failures: 1, interval: Duration::ZERO, delay: Duration::ZERO };
    for defaults in [
        Settings { checkpoint, ..Settings::default() },
        Settings { restart_strategy: Some(without_limit), ..Settings::default() },
    ] {
        let error = Scene::default().resolve_over(defaults).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
    }
}

#[test]
fn a_job_restarts_by_default_only_if_it_takes_checkpoints() {
    let took = |scene: Scene| scene.resolve().unwrap().restart_strategy();
    let checkpoints = || Scene::default().flag(Key::CheckpointInterval, "1s");
    assert_eq!(took(Scene::default()), RestartStrategy::None);
    assert_eq!(took(checkpoints()), RestartStrategy::default());
    assert_eq!(took(checkpoints().flag(Key::RestartStrategy, "none")), RestartStrategy::None);
}

#[test]
fn every_setting_is_a_flag_and_every_flag_a_setting() {
    let command = Job::command();
    let settings = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let flags: Vec<_> = settings.filter_map(|arg| arg.get_long()).collect();
    assert_eq!(flags, Key::ALL.map(Key::name));
}

#[test]
fn a_role_is_given_what_it_needs() {
    let resolve = |args: &str| {
        let job = Job::try_parse_from(["job"].into_iter().chain(args.split_whitespace())).unwrap();
        job.args.resolve_with(Settings::default(), &|_| None)
    };
    assert_eq!(resolve("").unwrap().role, Role::Run);
    assert_eq!(resolve("run").unwrap().role, Role::Run);
    let role = |args| resolve(args).unwrap().role;
    assert_eq!(role("jobmanager --listen a:1 --ha-dir /ha"), Role::JobManager);
    assert_eq!(role("--checkpoint-dir /ck jobmanager --listen a:1"), Role::JobManager);
    assert_eq!(role("taskmanager --jobmanager a:1,b:1"), Role::TaskManager);
    for (args, missing) in [
        ("jobmanager", "--listen"),
        ("jobmanager --listen a:1", "--ha-dir"),
        ("taskmanager --listen a:1", "--jobmanager"),
    ] {
        let error = resolve(args).unwrap_err().to_string();
        assert!(error.contains(missing), "{args}: {error}");
    }
    assert!(Job::try_parse_from(["job", "leader"]).is_err());
}

#[test]
fn a_description_is_asked_for_on_the_command_line() {
    let describe = |flags: &[&str]| {
        let job = Job::try_parse_from(["job"].iter().chain(flags)).unwrap();
        job.args.resolve_with(Settings::default(), &|_| None).unwrap().describe
    };
    assert!(describe(&["--describe"]));
    assert!(!describe(&[]));
}

#[test]
fn a_programs_own_help_stays_its_own() {
    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        _job: JobArgs,
        #[arg(long)]
        _input: String,
    }
    let command = Program::command();
    assert_eq!(command.get_about().map(ToString::to_string), None);
    let input = command.get_arguments().find(|arg| arg.get_long() == Some("input")).unwrap();
    assert_eq!(input.get_help_heading(), None);
}

#[test]
fn the_help_states_the_defaults() {
    let command = Job::command();
    for key in Key::ALL {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(key.name())).unwrap();
        let help = arg.get_help().unwrap().to_string();
        let stated = help.rsplit_once("(default: ").and_then(|(_, rest)| rest.strip_suffix(')'));
        let stated = stated.unwrap_or_else(|| panic!("{help}: no default is stated"));
        match key {
            // Defaults in words.
            Key::Workers | Key::MaxParallelism | Key::JobName | Key::MemoryBudget => {}
            Key::CheckpointDir | Key::LocalRecoveryDir | Key::RestartStrategy | Key::Restore | Key::Config => {}
            Key::SavepointDir | Key::RunDir => {}
            Key::Parallelism
            | Key::Slots
            | Key::Jobmanager
            | Key::Listen
            | Key::Advertise
            | Key::HaDir
            | Key::Health => {}
            _ => assert_eq!(Scene::default().flag(key, stated).resolve().unwrap(), Settings::default(), "{help}"),
        }
    }
}

#[test]
fn the_help_states_the_defaults_of_the_restart_strategies() {
    let command = Job::command();
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some("restart-strategy")).unwrap();
    let help = arg.get_long_help().unwrap().to_string();
    for name in ["fixed-delay", "exponential-delay", "failure-rate"] {
        let prefix = format!("{name}:");
        let stated = help.split_whitespace().find(|word| word.starts_with(&prefix)).unwrap();
        assert_eq!(restart::parse(stated), restart::parse(name));
    }
}
