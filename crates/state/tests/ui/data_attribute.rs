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

#[derive(Clone, Data)]
enum Event {
    #[data(default)]
    Quit,
}

#[derive(Clone, Data)]
struct Twice {
    #[data(default, default = "7")]
    at: u64,
}

#[derive(Clone, Data)]
struct NotAnExpression {
    #[data(default = "7 +")]
    at: u64,
}

fn main() {}
