use highwater_state::Data;

#[derive(Clone, Data)]
struct Id(u64);

#[derive(Clone, Data)]
struct Visit {
    #[data(default)]
    id: Id,
    #[data(default = "\"none\"")]
    at: u64,
}

fn main() {}
