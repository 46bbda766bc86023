use highwater_state::{KeyedState, ValueState};

#[derive(KeyedState)]
struct Nothing {}

#[derive(KeyedState)]
struct Unnamed(ValueState<u64>);

#[derive(KeyedState)]
enum Either {
    One(ValueState<u64>),
}

fn main() {}
