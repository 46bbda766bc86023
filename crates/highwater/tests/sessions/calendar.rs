//! Dates, by counting days one year and one month after the other.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
pub const DAY: i64 = 86_400;

/// The point in time of `17/May/2015:10:05:03`, in Unix seconds.
pub fn seconds(stamp: &str) -> Option<i64> {
    let parts: Vec<_> = stamp.split(['/', ':']).collect();
    let [day, month, year, hour, minute, second] = parts[..] else { return None };
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, month) = (number(year)?, MONTHS.iter().position(|name| *name == month)?);
    let years: i64 = (1970..year).map(|year| lengths(year).iter().sum::<i64>()).sum();
    let months: i64 = lengths(year)[..month].iter().sum();
    let days = years + months + number(day)? - 1;
    Some(((days * 24 + number(hour)?) * 60 + number(minute)?) * 60 + number(second)?)
}

/// As the log has it: `17/May/2015:10:05:03`.
pub fn stamp(seconds: i64) -> String {
    let (year, month, day, time) = split(seconds);
    format!("{day:02}/{}/{year}:{time}", MONTHS[month])
}

/// As ISO 8601.
pub fn iso(seconds: i64) -> String {
    let (year, month, day, time) = split(seconds);
    format!("{year}-{:02}-{day:02}T{time}Z", month + 1)
}

/// Year, month from 0, day from 1, and time of day.
fn split(seconds: i64) -> (i64, usize, i64, String) {
    let (mut year, mut day, of_day) = (1970, seconds / DAY, seconds % DAY);
    while day >= lengths(year).iter().sum() {
        day -= lengths(year).iter().sum::<i64>();
        year += 1;
    }
    let mut month = 0;
    while day >= lengths(year)[month] {
        day -= lengths(year)[month];
        month += 1;
    }
    (year, month, day + 1, format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60))
}

/// Of the months, from 1970 to 2099.
fn lengths(year: i64) -> [i64; 12] {
    [31, if year % 4 == 0 { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}
