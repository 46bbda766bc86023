//! Dates by counting years and months from 1970 on.

const MS_PER_DAY: i64 = 86_400_000;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// `YYYY-MM-DD`.
pub fn day(ms: i64) -> String {
    let (mut days, mut year, mut month) = (ms / MS_PER_DAY, 1970, 0);
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, days + 1)
}

/// The hour of the day.
pub fn hour(ms: i64) -> i64 {
    ms % MS_PER_DAY / 3_600_000
}

/// `HH:MM`.
pub fn minute(ms: i64) -> String {
    format!("{:02}:{:02}", hour(ms), ms / 60_000 % 60)
}

/// `YYYY-MM-DD HH:MM:SS.mmm`.
pub fn timestamp(ms: i64) -> String {
    format!("{} {}:{:02}.{:03}", day(ms), minute(ms), ms / 1000 % 60, ms % 1000)
}
