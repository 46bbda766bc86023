use highwater_state::{OperatorState, SplitList};

#[derive(OperatorState)]
struct Unnamed(SplitList<u64>);

#[derive(OperatorState)]
enum Either {
    One,
}

#[derive(OperatorState)]
struct Attribute {
    #[state(ttl = "30m")]
    waiting: SplitList<u64>,
}

fn main() {}
