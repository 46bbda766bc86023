use highwater_state::Data;

#[derive(Clone)]
struct Socket;

#[derive(Clone, Data)]
struct Connection {
    id: u64,
    socket: Socket,
}

fn main() {}
