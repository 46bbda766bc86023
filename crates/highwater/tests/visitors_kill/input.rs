//! The log that is read: generated from a seed, or given by the user.

use std::fmt::Write;
use std::path::Path;

use highwater_testing::Random;

/// Writes a log of at least `lines` lines, of up to `clients` clients if it is generated, 65,536 at most.
pub fn write(path: &Path, random: &mut Random, lines: usize, clients: usize) {
    let text = match std::env::var("HIGHWATER_ACCESS_LOG") {
        Ok(given) => repeated(&given, lines),
        Err(_) => generated(random, lines, clients),
    };
    std::fs::write(path, text).unwrap();
}

fn repeated(given: &str, lines: usize) -> Vec<u8> {
    let mut once =
        std::fs::read(given).unwrap_or_else(|error| panic!("cannot read HIGHWATER_ACCESS_LOG={given}: {error}"));
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
