//! The log that is read: generated from a seed, or given by the user.

use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use highwater_testing::Random;

/// Writes a log of at least `lines` lines, of up to `clients` clients if it is generated, 65,536 at most.
pub fn write(path: &Path, random: &mut Random, lines: usize, clients: usize) {
    let text = match std::env::var("HIGHWATER_ACCESS_LOG") {
        Ok(given) => repeated(&given, lines),
        Err(_) => generated(random, lines, clients),
    };
    fs::write(path, text).unwrap();
}

/// A log that grows while it is read.
pub struct Growing {
    path: PathBuf,
    rest: Vec<u8>,
    portion: usize,
}

impl Growing {
    /// One of at least `lines` lines in the end, as [`write`] writes it, with the first of so many portions.
    pub fn new(path: &Path, random: &mut Random, lines: usize, clients: usize, portions: usize) -> Self {
        write(path, random, lines, clients);
        let rest = fs::read(path).unwrap();
        fs::write(path, "").unwrap();
        let portion = rest.len().div_ceil(portions);
        let mut growing = Growing { path: path.into(), rest, portion };
        growing.grow();
        growing
    }

    /// Another portion is written, which may begin and end within a line.
    pub fn grow(&mut self) {
        assert!(!self.rest.is_empty(), "there are no more portions");
        let rest = self.rest.split_off(self.portion.min(self.rest.len()));
        let mut log = OpenOptions::new().append(true).open(&self.path).unwrap();
        io::Write::write_all(&mut log, &std::mem::replace(&mut self.rest, rest)).unwrap();
    }

    /// All that is left is written.
    pub fn complete(mut self) {
        self.portion = self.rest.len();
        self.grow();
    }
}

fn repeated(given: &str, lines: usize) -> Vec<u8> {
    let mut once = fs::read(given).unwrap_or_else(|error| panic!("cannot read HIGHWATER_ACCESS_LOG={given}: {error}"));
    if !once.ends_with(b"\n") {
        once.push(b'\n');
    }
    let count = once.iter().filter(|byte| **byte == b'\n').count();
    once.repeat(lines.div_ceil(count))
}

fn generated(random: &mut Random, lines: usize, clients: usize) -> Vec<u8> {
    let mut text = String::with_capacity(lines * 128);
    for index in 0..lines {
        match random.up_to(999) {
            0 => writeln!(text, "this is line {index}, and it is no request").unwrap(),
            1 => {
                let whole = request(random, index, clients);
                writeln!(text, "{}", &whole[..whole.len() / 2 + random.up_to(whole.len() / 2 - 1)]).unwrap();
            }
            _ => writeln!(text, "{}", request(random, index, clients)).unwrap(),
        }
    }
    text.into_bytes()
}

/// A request of some day in four, whatever the requests before it.
fn request(random: &mut Random, index: usize, clients: usize) -> String {
    // The lower of two: some clients come much more often than others.
    let client = random.up_to(clients - 1).min(random.up_to(clients - 1));
    let address = match client % 10 {
        8 => format!("2001:db8::{client:x}"),
        9 => format!("client-{client}.example.com"),
        _ => format!("10.1.{}.{}", client / 256, client % 256),
    };
    let (day, hour, minute, second) = (17 + random.up_to(3), random.up_to(23), random.up_to(59), random.up_to(59));
    let bytes = match random.up_to(9) {
        0 => "-".to_string(),
        _ => random.up_to(1_000_000).to_string(),
    };
    let agent = if random.chance(5) { r#"a \"quoted\" name"# } else { "-" };
    format!(
        "{address} - - [{day}/May/2015:{hour:02}:{minute:02}:{second:02} +0000] \"GET /{index} HTTP/1.1\" 200 {bytes} \
         \"-\" \"{agent}\""
    )
}
