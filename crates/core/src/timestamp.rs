//! Moments as text: RFC 3339 in UTC, `2026-11-22T14:39:22.969Z`.
//!
//! A stored time may be any `i64` of seconds, while the usual libraries end at the year 9999: so the calendar is here, after
//! Howard Hinnant's [`civil_from_days`](https://howardhinnant.github.io/date_algorithms.html). Years of other than four digits
//! have a sign, as in ISO 8601.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// From the first of March of the year 0 to the Unix epoch.
const EPOCH_DAY: i64 = 719_468;
/// No year of an `i64` of seconds has more digits.
const MOST_YEAR_DIGITS: usize = 12;

/// A moment: seconds since the Unix epoch, rounded down, and the nanoseconds within the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// `None` for a whole second of nanoseconds or more.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (nanos < 1_000_000_000).then_some(Timestamp { seconds, nanos })
    }

    /// From milliseconds since the Unix epoch.
    pub fn from_unix_ms(ms: i64) -> Self {
        Timestamp { seconds: ms.div_euclid(1000), nanos: ms.rem_euclid(1000) as u32 * 1_000_000 }
    }

    /// Seconds since the Unix epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_of(self.seconds.div_euclid(SECONDS_PER_DAY));
        match year {
            0..=9999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+05}")?,
        }
        let second = self.seconds.rem_euclid(SECONDS_PER_DAY);
        write!(f, "-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)?;
        match self.nanos {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            nanos if nanos % 1000 == 0 => write!(f, ".{:06}", nanos / 1000)?,
            nanos => write!(f, ".{nanos:09}")?,
        }
        f.write_str("Z")
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            Error::settings(format!("{text:?} is no time: give one in UTC, like 2026-11-22T14:39:22.969Z"))
        })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (year, month_day) = date.split_at_checked(date.len().checked_sub("-mm-dd".len())?)?;
    let (month, day) = month_day.strip_prefix('-')?.split_once('-')?;
    let (sign, digits) = match year.strip_prefix(['+', '-']) {
        Some(digits) if year.starts_with('-') => (-1, digits),
        Some(digits) => (1, digits),
        None => (1, year),
    };
    if !(4..=MOST_YEAR_DIGITS).contains(&digits.len()) {
        return None;
    }
    let year = sign * number(digits)?;
    let (month, day) = (two_digits(month)?, two_digits(day)?);
    let days = days_of(year, month, day);
    // A day that the month does not have would come back as one of the next.
    if civil_of(days) != (year, month, day) {
        return None;
    }
    let (clock, nanos) = match time.split_once('.') {
        Some((clock, fraction)) if (1..=9).contains(&fraction.len()) => {
            (clock, number(fraction)? * 10i64.pow(9 - fraction.len() as u32))
        }
        Some(_) => return None,
        None => (time, 0),
    };
    let mut parts = clock.split(':').map(two_digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // In 128 bits, because the first day of all begins before the first second of an `i64`.
    let seconds = i128::from(days) * i128::from(SECONDS_PER_DAY) + i128::from(hour * 3600 + minute * 60 + second);
    Timestamp::new(i64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn two_digits(digits: &str) -> Option<i64> {
    if digits.len() == 2 { number(digits) } else { None }
}

/// Year, month and day of a day since the Unix epoch. The year begins in March here, so that the leap day is its last.
fn civil_of(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH_DAY;
    let era = day.div_euclid(DAYS_PER_ERA);
    let day_of_era = day.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

/// The day since the Unix epoch.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_795_358_362, 969_000_000, "2026-11-22T14:39:22.969Z"),
            (951_782_400, 1000, "2000-02-29T00:00:00.000001Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (-62_167_219_200, 0, "0000-01-01T00:00:00Z"),
            (-62_167_219_201, 0, "-0001-12-31T23:59:59Z"),
            (253_402_300_800, 0, "+10000-01-01T00:00:00Z"),
            (i64::MAX, 0, "+292277026596-12-04T15:30:07Z"),
            (i64::MIN, 0, "-292277022657-01-27T08:29:52Z"),
        ] {
            let moment = Timestamp::new(seconds, nanos).unwrap();
            assert_eq!(moment.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), moment);
        }
        assert_eq!(Timestamp::from_unix_ms(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!("2026-11-22T14:39:22.5Z".parse::<Timestamp>().unwrap().nanos(), 500_000_000);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22T14:39:22",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "2026-01-01T00:00Z",
            "+26-01-01T00:00:00Z",
            "+292277026596-12-04T15:30:08Z",
            "+999999999999-12-31T00:00:00Z",
            "2026-1-01T00:00:00Z",
            "é026-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }
}
