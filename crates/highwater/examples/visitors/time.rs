//! Points in time as seconds, and what calendars make of them.
//!
//! The calendar is the Gregorian one in UTC, without leap seconds, as in Unix time. The two conversions are the algorithms
//! `days_from_civil` and `civil_from_days` of <https://howardhinnant.github.io/date_algorithms.html>.

use std::fmt;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// Days in 400 years, after which the calendar repeats itself.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 1 March of year 0, with which eras begin, to 1 January 1970.
const DAYS_TO_EPOCH: i64 = 719_468;

/// Seconds since 1970-01-01 00:00 UTC. Shown as ISO 8601.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);

/// A date and a time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    /// From 1.
    pub month: u32,
    /// From 1.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    /// Up to 60: a leap second is the same as the second after it.
    pub second: u32,
}

impl Civil {
    /// The point in time, if there is such a day and such a time of day.
    pub fn to_unix(self) -> Option<UnixSeconds> {
        let Civil { year, month, day, hour, minute, second } = self;
        let exists = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        if !exists || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let of_day = i64::from(hour * 3600 + minute * 60 + second);
        Some(UnixSeconds(days_from_civil(year, month, day) * SECONDS_PER_DAY + of_day))
    }
}

impl From<UnixSeconds> for Civil {
    fn from(UnixSeconds(seconds): UnixSeconds) -> Self {
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        Civil { year, month, day, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60 }
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = (*self).into();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = i64::from((month + 9) % 12);
    let of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_EPOCH
}

/// Year, month and day of the day that is `days` after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + DAYS_TO_EPOCH;
    let (era, of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * from_march + 2) / 5 + 1) as u32;
    let month = (from_march as u32 + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}
