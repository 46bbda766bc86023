//! What can be started and how, as the sources say it: a test that depended on the job would have to build it.

use std::collections::BTreeSet;

/// The example `visitors`, which the files start.
pub struct Program {
    /// Names of the settings, as flags without their hyphens.
    pub settings: BTreeSet<String>,
    /// Flags that only this program has.
    pub own_flags: BTreeSet<String>,
    /// What a process can be.
    pub roles: BTreeSet<String>,
}

impl Program {
    /// From the files of the repository, by their paths in it.
    pub fn read(text: &dyn Fn(&str) -> String) -> Self {
        let settings = text("crates/highwater/src/settings/key.rs");
        let program = Program {
            settings: settings.lines().filter_map(setting).collect(),
            own_flags: long_flags(&text("crates/highwater/examples/visitors/main.rs")),
            roles: roles(&text("crates/highwater/src/settings/args.rs")),
        };
        for (what, found) in
            [("settings", &program.settings), ("flags of the program", &program.own_flags), ("roles", &program.roles)]
        {
            assert!(found.len() > 1, "the {what} are no longer where they are looked for: {found:?}");
        }
        program
    }

    /// Whether there is a flag of this name, without its hyphens.
    pub fn has_flag(&self, name: &str) -> bool {
        self.settings.contains(name) || self.own_flags.contains(name)
    }

    /// Whether a variable that begins like one of a setting is one.
    pub fn has_variable(&self, name: &str) -> bool {
        let setting = name.strip_prefix("HIGHWATER_").map(|name| name.to_lowercase().replace('_', "-"));
        setting.is_none_or(|setting| self.settings.contains(&setting))
    }
}

/// `Key::Slots => "slots",`
fn setting(line: &str) -> Option<String> {
    let (_, name) = line.trim().strip_prefix("Key::")?.split_once(" => \"")?;
    name.strip_suffix("\",").map(str::to_owned)
}

/// The fields below `#[arg(long ..)]`.
fn long_flags(text: &str) -> BTreeSet<String> {
    let mut lines = text.lines().map(str::trim);
    let mut flags = BTreeSet::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#[arg(long") {
            let field = lines.find_map(|line| line.split_once(": "));
            flags.extend(field.map(|(name, _)| name.replace('_', "-")));
        }
    }
    flags
}

/// `value_parser = ["run", "jobmanager", "taskmanager"]`
fn roles(text: &str) -> BTreeSet<String> {
    let list = text.split_once("value_parser = [").and_then(|(_, list)| list.split_once(']'));
    let names = list.map(|(list, _)| list.split(", ")).into_iter().flatten();
    names.map(|name| name.trim_matches('"').to_owned()).collect()
}
