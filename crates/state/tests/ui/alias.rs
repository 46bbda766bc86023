use highwater_state::{Data, KeyedState, ValueState};

#[derive(Clone, Data)]
struct Own {
    #[data(alias = "bytes")]
    bytes: u64,
}

#[derive(Clone, Data)]
struct Other {
    #[data(alias = "count")]
    requests: u64,
    count: u64,
}

#[derive(Clone, Data)]
struct Same {
    #[data(alias = "a")]
    b: u64,
    #[data(alias = "a")]
    c: u64,
}

#[derive(Clone, Data)]
struct Place(#[data(alias = "1")] u64);

#[derive(Clone, Data)]
struct Empty {
    #[data(alias = "")]
    at: u64,
}

#[derive(Clone, Data)]
enum Event {
    #[data(alias = "Exit")]
    Quit,
    Exit,
}

#[derive(KeyedState)]
struct Visitor {
    #[state(alias = "requests")]
    hits: ValueState<u64>,
    requests: ValueState<u64>,
}

fn main() {}
