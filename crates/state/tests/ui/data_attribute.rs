use highwater_state::Data;

#[derive(Clone, Data)]
#[data(name = "Visit")]
struct Renamed {
    at: u64,
}

#[derive(Clone, Data)]
struct Skipping {
    at: u64,
    #[data(skip)]
    cache: u64,
}

fn main() {}
