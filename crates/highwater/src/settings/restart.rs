//! Reading a restart strategy: a name, then its parameters, as in `fixed-delay:attempts=3,delay=1s`.
//!
//! What is left out has Flink's default.

use std::time::Duration;

use highwater_checkpoint::RestartStrategy;

use super::value::{self, Parsed};

/// The strategy that `text` describes, valid by [`RestartStrategy::validate`].
pub(super) fn parse(text: &str) -> Parsed<RestartStrategy> {
    let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
    let split = |known: &[&str]| Parameters::split(name, parameters, known);
    let strategy = match name {
        "none" => split(&[]).map(|_| RestartStrategy::None),
        "fixed-delay" => fixed_delay(&split(&["attempts", "delay"])?),
        "exponential-delay" => {
            exponential_delay(&split(&["initial", "multiplier", "max", "reset-after", "jitter", "attempts"])?)
        }
        "failure-rate" => failure_rate(&split(&["max", "interval", "delay"])?),
        _ => Err("give none, fixed-delay, exponential-delay or failure-rate, with parameters after a colon like \
                  fixed-delay:attempts=3,delay=1s"
            .into()),
    }?;
    strategy.validate().map_err(|error| error.message().to_string())?;
    Ok(strategy)
}

fn fixed_delay(parameters: &Parameters<'_>) -> Parsed<RestartStrategy> {
    Ok(RestartStrategy::FixedDelay {
        attempts: parameters.parse("attempts", 1, value::number_above_zero)?,
        delay: parameters.parse("delay", Duration::from_secs(1), value::time)?,
    })
}

fn exponential_delay(parameters: &Parameters<'_>) -> Parsed<RestartStrategy> {
    Ok(RestartStrategy::ExponentialDelay {
        initial: parameters.parse("initial", Duration::from_secs(1), value::time)?,
        multiplier: parameters.parse("multiplier", 1.5, value::fraction)?,
        max: parameters.parse("max", Duration::from_secs(60), value::time)?,
        reset_after: parameters.parse("reset-after", Duration::from_secs(3600), value::time)?,
        jitter: parameters.parse("jitter", 0.1, value::fraction)?,
        attempts: parameters.parse("attempts", None, |text| value::number_above_zero(text).map(Some))?,
    })
}

fn failure_rate(parameters: &Parameters<'_>) -> Parsed<RestartStrategy> {
    Ok(RestartStrategy::FailureRate {
        max_failures: parameters.parse("max", 1, value::number_above_zero)?,
        interval: parameters.parse("interval", Duration::from_secs(60), value::time)?,
        delay: parameters.parse("delay", Duration::from_secs(1), value::time)?,
    })
}

/// The parameters of one strategy: known ones, each at most once.
struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    fn split(strategy: &str, text: &'a str, known: &[&str]) -> Parsed<Self> {
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        for parameter in text.split(',').filter(|_| !text.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if known.is_empty() {
                return Err(format!("{strategy} has no parameters").into());
            }
            if !known.contains(&name) {
                return Err(format!("{strategy} has no parameter {name:?}: it has {}", known.join(", ")).into());
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(format!("{name} is given twice").into());
            }
            parameters.push((name, value));
        }
        Ok(Parameters(parameters))
    }

    fn parse<T>(&self, name: &str, default: T, parser: impl FnOnce(&str) -> Parsed<T>) -> Parsed<T> {
        match self.0.iter().find(|(other, _)| *other == name) {
            Some((_, text)) => parser(text).map_err(|why| format!("{name} is {text:?}: {why}").into()),
            None => Ok(default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_strategy_takes_its_parameters() {
        assert_eq!(parse("none"), Ok(RestartStrategy::None));
        assert_eq!(
            parse("fixed-delay:attempts=3,delay=2s"),
            Ok(RestartStrategy::FixedDelay { attempts: 3, delay: 2 * SECOND })
        );
        assert_eq!(
            parse("exponential-delay:initial=2s,multiplier=2,max=5s,reset-after=9s,jitter=0,attempts=7"),
            Ok(RestartStrategy::ExponentialDelay {
                initial: 2 * SECOND,
                multiplier: 2.0,
                max: 5 * SECOND,
                reset_after: 9 * SECOND,
                jitter: 0.0,
                attempts: Some(7),
            })
        );
        assert_eq!(
            parse("failure-rate:max=3,interval=2s,delay=500ms"),
            Ok(RestartStrategy::FailureRate { max_failures: 3, interval: 2 * SECOND, delay: SECOND / 2 })
        );
    }

    #[test]
    fn what_is_left_out_has_flinks_default() {
        assert_eq!(parse("fixed-delay"), Ok(RestartStrategy::FixedDelay { attempts: 1, delay: SECOND }));
        assert_eq!(parse("exponential-delay"), Ok(RestartStrategy::default()));
        assert_eq!(
            parse("failure-rate:"),
            Ok(RestartStrategy::FailureRate { max_failures: 1, interval: 60 * SECOND, delay: SECOND })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            (
                "always",
                "give none, fixed-delay, exponential-delay or failure-rate, with parameters after a colon like \
                        fixed-delay:attempts=3,delay=1s",
            ),
            ("none:delay=1s", "none has no parameters"),
            ("fixed-delay:max=3", "fixed-delay has no parameter \"max\": it has attempts, delay"),
            ("fixed-delay:delay=1s,", "fixed-delay has no parameter \"\": it has attempts, delay"),
            ("fixed-delay:delay=1s,delay=2s", "delay is given twice"),
            ("fixed-delay:attempts", "attempts is \"\": give a whole number from 1 to 4294967295"),
            ("fixed-delay:delay=3", "delay is \"3\": give a time with its unit, like 500ms, 10s, 1m30s, 2h or 1d"),
            ("exponential-delay:multiplier=0.5", "restart delay multiplier is 0.5: give 1 or more"),
            ("exponential-delay:multiplier=inf", "restart delay multiplier is inf: give 1 or more"),
            ("exponential-delay:jitter=NaN", "restart delay jitter is NaN: give a share from 0 to 1"),
            ("exponential-delay:jitter=some", "jitter is \"some\": give a number like 0.5"),
            (
                "exponential-delay:initial=2m",
                "initial restart delay is 120s: give a time above 0 and up to the longest, 60s",
            ),
            ("failure-rate:max=0", "max is \"0\": give a whole number from 1 to 4294967295"),
        ] {
            assert_eq!(parse(text), Err(why.into()), "{text}");
        }
    }
}
