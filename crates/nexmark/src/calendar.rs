//! Dates and times of day in UTC, as the queries' SQL writes them.

use std::fmt;
use std::ops::Range;

const MS_PER_MINUTE: i64 = 60_000;
const MINUTES_PER_DAY: i64 = 24 * 60;

/// A moment in ms since the Unix epoch, displayed as `YYYY-MM-DD HH:MM:SS.mmm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub i64);

/// Days since the Unix epoch, displayed as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date(pub i64);

/// Minutes since midnight, displayed as `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOfDay(pub u16);

/// The day of a moment, in days since the Unix epoch.
pub(crate) fn day_of(date_time: i64) -> i64 {
    date_time.div_euclid(MS_PER_MINUTE * MINUTES_PER_DAY)
}

/// The minute of the day.
pub(crate) fn minute_of(date_time: i64) -> u16 {
    date_time.div_euclid(MS_PER_MINUTE).rem_euclid(MINUTES_PER_DAY) as u16
}

impl Timestamp {
    /// Appends what [`Display`](fmt::Display) writes, without the formatting machinery: this is done for every line of q10.
    pub(crate) fn append(self, line: &mut Vec<u8>) {
        let (year, month, day) = Date(day_of(self.0)).civil();
        let Ok(year @ 0..=9999) = u32::try_from(year) else {
            return line.extend_from_slice(self.to_string().as_bytes());
        };
        let minute = u32::from(minute_of(self.0));
        let ms = self.0.rem_euclid(MS_PER_MINUTE) as u32;
        let mut text = *b"YYYY-MM-DD HH:MM:SS.mmm";
        let fields: [(Range<usize>, u32); 7] = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, minute / 60),
            (14..16, minute % 60),
            (17..19, ms / 1000),
            (20..23, ms % 1000),
        ];
        for (range, mut value) in fields {
            for digit in text[range].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        line.extend_from_slice(&text);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time, ms) = (Date(day_of(self.0)), TimeOfDay(minute_of(self.0)), self.0.rem_euclid(MS_PER_MINUTE));
        write!(f, "{date} {time}:{:02}.{:03}", ms / 1000, ms % 1000)
    }
}

impl Date {
    /// Year, month and day in the Gregorian calendar, by years that begin in March, so that a leap day is the last of its year: see
    /// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
    fn civil(self) -> (i64, u32, u32) {
        const DAYS_OF_400_YEARS: i64 = 146_097;
        let since_march_0 = self.0 + 719_468;
        let (era, day) = (since_march_0.div_euclid(DAYS_OF_400_YEARS), since_march_0.rem_euclid(DAYS_OF_400_YEARS));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
        (year + i64::from(month <= 2), month as u32, day as u32)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |ms: i64| {
            let mut appended = Vec::new();
            Timestamp(ms).append(&mut appended);
            let displayed = Timestamp(ms).to_string();
            assert_eq!(appended, displayed.as_bytes());
            displayed
        };
        assert_eq!(at(1_436_918_400_000), "2015-07-15 00:00:00.000");
        assert_eq!(at(1_436_918_400_000 + 86_399_999), "2015-07-15 23:59:59.999");
        assert_eq!(at(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(at(0), "1970-01-01 00:00:00.000");
        assert_eq!(at(-1), "1969-12-31 23:59:59.999");
        assert_eq!(at(4_107_542_400_000), "2100-03-01 00:00:00.000");
        assert_eq!(at(253_402_300_800_000), "10000-01-01 00:00:00.000");
        assert_eq!(at(-62_198_755_200_001), "-002-12-31 23:59:59.999");
    }
}
