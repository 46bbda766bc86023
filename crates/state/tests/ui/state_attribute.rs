use highwater_state::{KeyedState, ValueState};

#[derive(KeyedState)]
struct Expiring {
    #[state(ttl = "30m")]
    requests: ValueState<u64>,
}

#[derive(KeyedState)]
#[state(ttl = "30m")]
struct AllExpiring {
    requests: ValueState<u64>,
}

fn main() {}
