//! Reading single values. An error says what to give instead; where the value came from, the caller adds.
//!
//! Times are written as whole numbers with units, `500ms`, `10s`, `1m30s`, `2h`, `1d`: a number without a unit is refused,
//! because milliseconds and seconds are too easily mistaken for each other.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::time::Duration;

use highwater_checkpoint::CheckpointingMode;
use highwater_control::Addresses;
use highwater_core::{JobName, MaxParallelism, Parallelism, duration};
use highwater_runtime::ClaimMode;

use super::LogFormat;

/// A value, or what to give instead.
pub(super) type Parsed<T> = Result<T, Cow<'static, str>>;

const TIME: &str = "give a time with its unit, like 500ms, 10s, 1m30s, 2h or 1d";
const TIME_ABOVE_ZERO: &str = "give a time above 0 with its unit, like 500ms, 10s, 1m30s, 2h or 1d";
const NUMBER: &str = "give a whole number from 0 to 4294967295";
const NUMBER_ABOVE_ZERO: &str = "give a whole number from 1 to 4294967295";

pub(super) fn count(text: &str) -> Parsed<NonZeroUsize> {
    text.parse().map_err(|_| "give a whole number above 0".into())
}

pub(super) fn number(text: &str) -> Parsed<u32> {
    text.parse().map_err(|_| NUMBER.into())
}

pub(super) fn number_above_zero(text: &str) -> Parsed<u32> {
    text.parse().ok().filter(|number| *number > 0).ok_or(NUMBER_ABOVE_ZERO.into())
}

pub(super) fn parallelism(text: &str) -> Parsed<Parallelism> {
    number_above_zero(text).and_then(|count| Parallelism::new(count).ok_or_else(|| NUMBER_ABOVE_ZERO.into()))
}

pub(super) fn name(text: &str) -> Parsed<String> {
    if text.trim().is_empty() { Err("give a name".into()) } else { Ok(text.to_owned()) }
}

pub(super) fn address(text: &str) -> Parsed<Option<String>> {
    let is_address = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address { Ok(Some(text.to_owned())) } else { Err("give an address as host:port".into()) }
}

pub(super) fn fraction(text: &str) -> Parsed<f64> {
    text.parse().map_err(|_| "give a number like 0.5".into())
}

pub(super) fn max_parallelism(text: &str) -> Parsed<Option<MaxParallelism>> {
    let parsed = text.parse().ok().and_then(|count| MaxParallelism::new(count).ok());
    parsed.map(Some).ok_or_else(|| format!("give a whole number from 1 to {}", MaxParallelism::UPPER_BOUND).into())
}

pub(super) fn job_name(text: &str) -> Parsed<Option<JobName>> {
    JobName::parse(text).map(Some).map_err(|error| error.message().to_string().into())
}

pub(super) fn location(text: &str) -> Parsed<Option<String>> {
    if text.trim().is_empty() { Err("give a path or URI".into()) } else { Ok(Some(text.to_string())) }
}

pub(super) fn switch(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| "give true or false".into())
}

pub(super) fn checkpoint_mode(text: &str) -> Parsed<CheckpointingMode> {
    match text {
        "exactly-once" => Ok(CheckpointingMode::ExactlyOnce),
        "at-least-once" => Ok(CheckpointingMode::AtLeastOnce),
        _ => Err("give exactly-once or at-least-once".into()),
    }
}

pub(super) fn claim_mode(text: &str) -> Parsed<ClaimMode> {
    match text {
        "no-claim" => Ok(ClaimMode::NoClaim),
        "claim" => Ok(ClaimMode::Claim),
        _ => Err("give no-claim or claim".into()),
    }
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("give text or json".into()),
    }
}

/// Of every JobManager, separated by commas.
pub(super) fn job_managers(text: &str) -> Parsed<Option<String>> {
    Addresses::parse(text).map(|_| Some(text.to_owned())).map_err(|error| error.message().to_owned().into())
}

/// A number of bytes above zero, or `off`.
pub(super) fn memory_budget(text: &str) -> Parsed<Option<u64>> {
    if text == "off" {
        return Ok(None);
    }
    let bytes = bytes(text).filter(|bytes| *bytes > 0);
    bytes.map(Some).ok_or("give a whole number with its unit, like 512MiB or 16GiB, or off".into())
}

/// A whole number with a unit: a number alone is too easily meant as something else than bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A time above zero, or `off`.
pub(super) fn interval(text: &str) -> Parsed<Option<Duration>> {
    if text == "off" {
        return Ok(None);
    }
    time_above_zero(text).map(Some).map_err(|why| format!("{why}, or off").into())
}

pub(super) fn time_above_zero(text: &str) -> Parsed<Duration> {
    time(text).ok().filter(|time| !time.is_zero()).ok_or(TIME_ABOVE_ZERO.into())
}

pub(super) fn time(text: &str) -> Parsed<Duration> {
    duration::parse(text).ok_or(TIME.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sums_of_numbers_with_units() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("1s", 1_000),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("1h1ms", 3_600_001),
            ("2d", 172_800_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn times_that_are_not_clear_are_refused() {
        for text in
            ["", "5", "s", "1.5s", "-1s", "+1s", "1 s", "1sec", "1s5", "1µs", "１s", "99999999999999999d", "off"]
        {
            assert_eq!(time(text), Err(TIME.into()), "{text}");
        }
        assert_eq!(time_above_zero("0ms"), Err(TIME_ABOVE_ZERO.into()));
    }

    #[test]
    fn a_sum_that_is_too_large_is_refused() {
        assert_eq!(time(&format!("{}ms1ms", u64::MAX)), Err(TIME.into()));
    }
}
