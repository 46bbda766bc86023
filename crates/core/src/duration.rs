//! Times as people write them: in settings, and in the attributes of a program.

use std::time::Duration;

/// Reads a sum of whole numbers with units, `500ms`, `10s`, `1m30s`, `2h`, `7d`; `None` if it is malformed or too large.
///
/// A number without a unit is refused, because milliseconds and seconds are too easily mistaken for each other.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(highwater_core::duration::parse("1m30s"), Some(Duration::from_secs(90)));
/// assert_eq!(highwater_core::duration::parse("90"), None);
/// ```
pub fn parse(text: &str) -> Option<Duration> {
    let mut sum = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        let ms_per_unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let term = number.parse::<u64>().ok()?.checked_mul(ms_per_unit)?;
        sum = Some(term.checked_add(sum.unwrap_or(0))?);
        rest = after;
    }
    sum.map(Duration::from_millis)
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}
