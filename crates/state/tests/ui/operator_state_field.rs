use highwater_state::{ListState, OperatorState, SplitList};

#[derive(OperatorState)]
struct Buffer {
    waiting: SplitList<u64>,
    bytes: ListState<u64>,
}

fn main() {}
