//! A line of an access log in Apache's combined format:
//!
//! ```text
//! 83.149.9.216 - frank [17/May/2015:10:05:03 +0000] "GET /a.png HTTP/1.1" 200 2326 "http://example.com/" "Mozilla/5.0"
//! address  identity user  time                       request            status bytes  referer          user agent
//! ```
//!
//! The address may be IPv4, IPv6 or a host name. In quoted fields Apache writes `"` as `\"` and `\` as `\\`. `-` stands for
//! nothing; as bytes it counts as 0. Fields that some servers add after the user agent are left alone.
//!
//! Source: <https://httpd.apache.org/docs/current/mod/mod_log_config.html>.

use memchr::{memchr, memchr2};

use super::time::{Civil, UnixSeconds};

/// The months as the log writes them.
pub const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What the examples want to know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Of the client: what the line begins with.
    pub address: &'a str,
    /// When the server received it.
    pub time: UnixSeconds,
    /// What the client has sent first: method, target and protocol, as the log has it.
    pub request: &'a str,
    /// Of the response: three digits.
    pub status: u16,
    /// Of the response, without its headers.
    pub bytes: u64,
}

impl<'a> Request<'a> {
    /// Reads a line without its ending; `None` if it does not fit the format.
    pub fn parse(line: &'a str) -> Option<Self> {
        let bytes = line.as_bytes();
        let address = &line[..memchr(b' ', bytes)?];
        if address.is_empty() || !address.bytes().all(is_of_address) {
            return None;
        }
        // Who the client claims to be may contain spaces, but a `[` begins the time.
        let rest = &bytes[address.len()..];
        let (who, rest) = rest.split_at(memchr(b'[', rest)?);
        if who.iter().filter(|byte| **byte == b' ').count() < 3 || !who.ends_with(b" ") {
            return None;
        }
        let (time, rest) = rest[1..].split_at_checked(TIME_LEN)?;
        let time = parse_time(time)?;
        let (request, rest) = quoted(rest.strip_prefix(b"] ")?)?;
        // Between the quotes, which are characters of their own.
        let request_end = line.len() - rest.len() - 1;
        let request = line.get(request_end - request.len()..request_end)?;
        let (status, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
        let status = u16::try_from(number(status)?).ok()?;
        let (size, rest) = word(rest.strip_prefix(b" ")?)?;
        let size = if size == b"-" { 0 } else { number(size)? };
        let (_, rest) = quoted(rest)?;
        let (_, rest) = quoted(rest.strip_prefix(b" ")?)?;
        let ends = rest.is_empty() || rest.starts_with(b" ");
        ends.then_some(Request { address, time, request, status, bytes: size })
    }
}

/// The bytes of IPv4 and IPv6 addresses, with a zone, and of host names: none that would need quotes in CSV.
fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'_' | b'%')
}

/// Bytes of `17/May/2015:10:05:03 +0000`.
const TIME_LEN: usize = 26;

fn parse_time(text: &[u8]) -> Option<UnixSeconds> {
    let separators = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if text.len() != TIME_LEN || separators.iter().any(|(at, byte)| text[*at] != *byte) {
        return None;
    }
    let part = |from: usize, to: usize| number(&text[from..to]).and_then(|number| u32::try_from(number).ok());
    let month = MONTHS.iter().zip(1..).find(|(name, _)| name.as_bytes() == &text[3..6])?.1;
    let (day, year) = (part(0, 2)?, i64::from(part(7, 11)?));
    let (hour, minute, second) = (part(12, 14)?, part(15, 17)?, part(18, 20)?);
    let UnixSeconds(local) = Civil { year, month, day, hour, minute, second }.to_unix()?;
    let (zone_hours, zone_minutes) = (i64::from(part(22, 24)?), i64::from(part(24, 26)?));
    if zone_hours > 23 || zone_minutes > 59 {
        return None;
    }
    let east = (zone_hours * 60 + zone_minutes) * 60;
    match text[21] {
        b'+' => Some(UnixSeconds(local - east)),
        b'-' => Some(UnixSeconds(local + east)),
        _ => None,
    }
}

/// What a quoted field holds, with which `text` begins, and what follows it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        match text[at] {
            b'"' => return Some((&text[..at], &text[at + 1..])),
            // Whatever follows a backslash does not end the field.
            _ => from = at + 2,
        }
    }
}

/// What stands before the next space, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// A number of digits only, if it is not too big.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
