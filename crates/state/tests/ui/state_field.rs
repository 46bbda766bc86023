use highwater_state::{KeyedState, ValueState};

#[derive(KeyedState)]
struct Visitor {
    requests: ValueState<u64>,
    bytes: u64,
}

fn main() {}
