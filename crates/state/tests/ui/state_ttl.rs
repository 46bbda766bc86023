use std::time::Duration;

use highwater_state::{KeyedState, ListState, MapState, Ttl, ValueState};

#[derive(KeyedState)]
struct NoStamps {
    #[state(ttl = "30m")]
    requests: ValueState<u64>,
}

#[derive(KeyedState)]
struct NoTime {
    pages: MapState<String, u64, Ttl>,
}

fn minutes() -> u64 {
    30
}

#[derive(KeyedState)]
struct OtherType {
    #[state(ttl = minutes)]
    pages: ListState<u64, Ttl>,
}

fn half_an_hour() -> Duration {
    Duration::from_secs(1800)
}

#[derive(KeyedState)]
struct Fine {
    #[state(ttl = half_an_hour)]
    pages: ListState<u64, Ttl>,
}

fn main() {}
