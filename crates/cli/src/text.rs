//! Numbers as people read them.

use std::time::Duration;

use highwater_core::KeyGroupRange;

/// Bytes with a unit: `532 B`, `1.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut amount, mut unit) = (bytes as f64, None);
    for next in UNITS {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, Some(next));
    }
    unit.map_or_else(|| format!("{bytes} B"), |unit| format!("{amount:.1} {unit}"))
}

/// Milliseconds to the microsecond: `12.345 ms`.
pub fn millis(duration: Duration) -> String {
    format!("{}.{:03} ms", duration.as_millis(), duration.as_micros() % 1000)
}

/// Nanoseconds, as far as 64 bits go.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `1 file`, `2 files`.
pub fn count(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The first and the last key group.
pub fn key_groups(range: KeyGroupRange) -> [u32; 2] {
    [range.start(), range.end().saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0, 1023, 1024, 1_500_000, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "16.0 EiB"]
        );
        assert_eq!(millis(Duration::from_nanos(12_345_678)), "12.345 ms");
        assert_eq!([count(1, "file"), count(2, "file")], ["1 file", "2 files"]);
    }
}
