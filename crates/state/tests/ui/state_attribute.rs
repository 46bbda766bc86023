use highwater_state::{KeyedState, Ttl, ValueState};

#[derive(KeyedState)]
struct Unknown {
    #[state(time_to_live = "30m")]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
#[state(ttl = "30m")]
struct All {
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct Zero {
    #[state(ttl = "0s")]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct NoUnit {
    #[state(ttl = "30")]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct Number {
    #[state(ttl = 30)]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct TooLong {
    #[state(ttl = "106751991168d")]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct Twice {
    #[state(ttl = "1h", ttl = "2h")]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct OtherTime {
    #[state(ttl = "1h", time = "ingestion")]
    requests: ValueState<u64, Ttl>,
}

#[derive(KeyedState)]
struct OnlyHow {
    #[state(update = "read_and_write")]
    requests: ValueState<u64>,
}

fn main() {}
