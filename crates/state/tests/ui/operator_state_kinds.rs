use highwater_state::{BroadcastState, OperatorState, SplitList};

#[derive(OperatorState)]
struct Mixed {
    waiting: SplitList<u64>,
    rules: BroadcastState<u64, String>,
}

fn main() {}
