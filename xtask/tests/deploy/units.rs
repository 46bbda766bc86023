//! The units of systemd: roles, flags and variables that there are.

use crate::Files;
use crate::program::Program;

/// What is wrong with the units.
pub fn check(files: &Files, program: &Program) -> Vec<String> {
    let found = files.iter().flat_map(|(file, text)| {
        let of_file = check_unit(file, text, program).into_iter();
        of_file.map(move |why| format!("{file}: {why}"))
    });
    found.collect()
}

fn check_unit(file: &str, text: &str, program: &Program) -> Vec<String> {
    let values = |key: &'static str| text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='));
    let mut problems = Vec::new();
    let start: Vec<&str> = values("ExecStart").flat_map(str::split_whitespace).collect();
    let role = start.get(1).copied().unwrap_or_default();
    if !program.roles.contains(role) || !file.contains(&format!("-{role}@")) {
        problems.push(format!("it starts the role {role:?}"));
    }
    let flags = start.iter().filter_map(|word| word.strip_prefix("--"));
    let unknown = flags.filter(|flag| !program.has_flag(flag));
    problems.extend(unknown.map(|flag| format!("the program has no flag --{flag}")));
    // In comments too: they say what to put into the files of the environment.
    let letters = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let variables = text.split(|letter| !letters(letter)).filter(|word| word.len() > "HIGHWATER_".len());
    let unknown = variables.filter(|name| !program.has_variable(name));
    problems.extend(unknown.map(|name| format!("there is no setting {name}")));
    problems
}
