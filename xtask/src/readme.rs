//! The commands of the README, run as they stand there.
//!
//! A fenced block of `sh` or `bash` is run if the comment right before it says so:
//!
//! ````text
//! <!-- xtask: run -->
//! ```sh
//! cargo run --release --example visitors
//! ```
//! ````
//!
//! `<!-- xtask: run, interrupt after 5s -->` is for a program without an end: it gets what Ctrl-C sends, and must then
//! exit with code 0.
//!
//! Invariant: a marker that cannot be followed to the letter is an error, so that no example is passed over in silence.

use std::path::Path;
use std::time::Duration;

use crate::child;

/// How long a program may run that ends by itself.
const LIMIT: Duration = Duration::from_secs(300);
/// How long a program may take to end once it is interrupted.
const GRACE: Duration = Duration::from_secs(30);

/// A command of the README.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    /// Where it stands, from 1.
    line: usize,
    command: String,
    ending: Ending,
}

/// How the program is expected to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    ByItself,
    Interrupt { after: Duration },
}

/// Runs every marked command of `README.md`. Each is built first, so that limits count what the program does.
pub fn run(root: &Path) -> Result<(), String> {
    let text =
        std::fs::read_to_string(root.join("README.md")).map_err(|why| format!("cannot read README.md: {why}"))?;
    for example in examples(&text)? {
        let Example { line, command, ending } = &example;
        println!("--- README.md:{line}: {command}");
        let outcome = child::to_success(&mut child::shell(&build_of(command), root)).and_then(|()| {
            let mut program = child::shell(command, root);
            match *ending {
                Ending::ByItself => child::to_success_within(&mut program, LIMIT),
                Ending::Interrupt { after } => child::to_interrupt(&mut program, after, GRACE),
            }
        });
        outcome.map_err(|why| format!("README.md:{line}: `{command}`: {why}"))?;
    }
    Ok(())
}

/// The marked commands of `text`, at least one.
fn examples(text: &str) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    let mut lines = text.lines().zip(1..);
    let mut marked: Option<(Ending, usize)> = None;
    while let Some((line, number)) = lines.next() {
        if let Some(fence) = Fence::opened_by(line) {
            let block = lines.by_ref().take_while(|(line, _)| !fence.is_closed_by(line));
            match marked.take() {
                Some((ending, marker)) if fence.is_shell() => {
                    let found = commands(block, ending)?;
                    if found.is_empty() {
                        return Err(unfollowed(marker));
                    }
                    examples.extend(found);
                }
                Some((_, marker)) => return Err(unfollowed(marker)),
                None => block.for_each(drop),
            }
        } else if let Some(marker) = line.trim().strip_prefix("<!-- xtask:") {
            if let Some((_, unused)) = marked.replace((ending_of(marker, number)?, number)) {
                return Err(unfollowed(unused));
            }
        } else if let (Some((_, marker)), false) = (marked, line.trim().is_empty()) {
            return Err(unfollowed(marker));
        }
    }
    match marked {
        Some((_, marker)) => Err(unfollowed(marker)),
        None if examples.is_empty() => Err("README.md marks no command with `<!-- xtask: run -->`".to_string()),
        None => Ok(examples),
    }
}

fn unfollowed(marker: usize) -> String {
    format!("README.md:{marker}: no ```sh block with a command follows this marker")
}

fn ending_of(marker: &str, line: usize) -> Result<Ending, String> {
    let interrupt = |marker: &str| {
        let seconds = marker.strip_prefix("run, interrupt after ")?.strip_suffix('s')?.parse().ok()?;
        Some(Ending::Interrupt { after: Duration::from_secs(seconds) })
    };
    let words = marker.strip_suffix("-->").map(str::trim);
    words.and_then(|words| if words == "run" { Some(Ending::ByItself) } else { interrupt(words) }).ok_or_else(|| {
        format!("README.md:{line}: a marker is `<!-- xtask: run -->` or `<!-- xtask: run, interrupt after 5s -->`")
    })
}

/// The commands of a marked block: one a line, or more lines with a backslash at the end of each but the last.
fn commands<'a>(mut block: impl Iterator<Item = (&'a str, usize)>, ending: Ending) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    while let Some((first, line)) = block.next() {
        let mut command = first.trim().to_string();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        while let Some(start) = command.strip_suffix('\\') {
            let rest = block.next().map_or("", |(rest, _)| rest.trim());
            command = format!("{} {rest}", start.trim_end());
        }
        if program(&command).is_none() || !is_one_process(&command) {
            return Err(format!(
                "README.md:{line}: `{command}` cannot be run from here: a marked block holds single `cargo run` \
                 commands, without pipes, lists or substitutions"
            ));
        }
        examples.push(Example { line, command, ending });
    }
    Ok(examples)
}

/// Where `cargo run` begins in `command`, after any `NAME=value`.
fn program(command: &str) -> Option<usize> {
    let mut rest = command;
    while let Some((_, after)) = rest.split_once(' ').filter(|(word, _)| is_assignment(word)) {
        rest = after.trim_start();
    }
    let is_cargo_run = rest == "cargo run" || rest.starts_with("cargo run ");
    is_cargo_run.then(|| command.len() - rest.len())
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Whether a shell would run it as one process, the one that is timed and interrupted.
fn is_one_process(command: &str) -> bool {
    let mut quote = None;
    let mut escaped = false;
    for c in command.chars() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None | Some('"'), '$' | '`') | (None, '|' | '&' | ';' | '(' | ')') => return false,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    quote.is_none() && !escaped
}

/// The command that builds what `command` runs.
fn build_of(command: &str) -> String {
    let start = program(command).unwrap_or(0);
    let arguments = &command[start + "cargo run".len()..];
    let of_cargo = arguments.split_once(" -- ").map_or(arguments, |(of_cargo, _)| of_cargo);
    format!("{}cargo build{of_cargo}", &command[..start])
}

/// The opening line of a fenced block.
struct Fence<'a> {
    ticks: &'a str,
    language: &'a str,
}

impl<'a> Fence<'a> {
    fn opened_by(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let language = line.trim_start_matches('`');
        let ticks = &line[..line.len() - language.len()];
        (ticks.len() >= 3).then_some(Fence { ticks, language })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.starts_with(self.ticks) && line.chars().all(|c| c == '`')
    }

    fn is_shell(&self) -> bool {
        matches!(self.language, "sh" | "bash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(line: usize, command: &str, ending: Ending) -> Example {
        Example { line, command: command.to_string(), ending }
    }

    #[test]
    fn marked_commands_are_found_where_they_stand() {
        let text = "# Title\n\n<!-- xtask: run -->\n```sh\n# counts\ncargo run --example visitors\n\
                    LOG=info cargo run -p demo -- \\\n    --keys 7 < data.log\n```\n\n```sh\ncargo run --example other\n```\n\
                    <!-- xtask: run, interrupt after 5s -->\n\n```bash\ncargo run --example endless\n```\n";
        let expected = [
            example(6, "cargo run --example visitors", Ending::ByItself),
            example(7, "LOG=info cargo run -p demo -- --keys 7 < data.log", Ending::ByItself),
            example(17, "cargo run --example endless", Ending::Interrupt { after: Duration::from_secs(5) }),
        ];
        assert_eq!(examples(text).unwrap(), expected);
    }

    #[test]
    fn a_marker_within_a_block_is_text() {
        let text = "````md\n<!-- xtask: run -->\n```sh\nmake\n```\n````\n<!-- xtask: run -->\n```sh\ncargo run\n```\n";
        assert_eq!(examples(text).unwrap(), [example(9, "cargo run", Ending::ByItself)]);
        let text = "```md\n```sh is not the end\n```\n<!-- xtask: run -->\n```sh\ncargo run\n```\n";
        assert_eq!(examples(text).unwrap(), [example(6, "cargo run", Ending::ByItself)]);
    }

    #[test]
    fn a_marker_that_cannot_be_followed_is_an_error() {
        let marked = |block: &str| format!("<!-- xtask: run -->\n{block}");
        let cannot = |command: &str| {
            format!(
                "README.md:3: `{command}` cannot be run from here: a marked block holds single `cargo run` commands, \
                 without pipes, lists or substitutions"
            )
        };
        let form = "README.md:1: a marker is `<!-- xtask: run -->` or `<!-- xtask: run, interrupt after 5s -->`";
        let unfollowed = "README.md:1: no ```sh block with a command follows this marker";
        for (text, message) in [
            (String::new(), "README.md marks no command with `<!-- xtask: run -->`".to_string()),
            ("```sh\ncargo run\n```".to_string(), "README.md marks no command with `<!-- xtask: run -->`".to_string()),
            ("<!-- xtask: rum -->".to_string(), form.to_string()),
            ("<!-- xtask: run, interrupt after a while -->".to_string(), form.to_string()),
            (marked(""), unfollowed.to_string()),
            (marked("text\n```sh\ncargo run\n```"), unfollowed.to_string()),
            (marked("```rust\nfn main() {}\n```"), unfollowed.to_string()),
            (marked("```sh\n# nothing yet\n```"), unfollowed.to_string()),
            (marked("<!-- xtask: run -->\n```sh\ncargo run\n```"), unfollowed.to_string()),
            (marked("```sh\ncargo test\n```"), cannot("cargo test")),
            (marked("```sh\ncargo runner\n```"), cannot("cargo runner")),
            (marked("```sh\ncargo run | head\n```"), cannot("cargo run | head")),
            (marked("```sh\ncargo run -- \"$HOME\"\n```"), cannot("cargo run -- \"$HOME\"")),
            (marked("```sh\ncargo run -- 'open\n```"), cannot("cargo run -- 'open")),
        ] {
            assert_eq!(examples(&text), Err(message), "{text}");
        }
    }

    #[test]
    fn quoted_characters_are_not_the_shells() {
        for command in ["cargo run -- 'a|b;$c'", "cargo run -- \"a|b\"", "cargo run -- a\\|b", "cargo run -- \"it's\""]
        {
            assert!(is_one_process(command), "{command}");
        }
    }

    #[test]
    fn what_is_run_is_built_first() {
        assert_eq!(build_of("cargo run"), "cargo build");
        assert_eq!(build_of("A=1 cargo run -p x --bin y -- --z"), "A=1 cargo build -p x --bin y");
    }
}
