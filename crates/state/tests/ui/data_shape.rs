use highwater_state::Data;

#[derive(Clone, Data)]
enum Never {}

#[derive(Clone, Copy, Data)]
union Bits {
    number: u32,
    bytes: [u8; 4],
}

#[derive(Clone, Data)]
struct Borrowed<'a> {
    host: &'a str,
}

fn main() {}
