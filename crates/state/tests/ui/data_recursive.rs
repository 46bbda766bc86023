use highwater_state::Data;

#[derive(Clone, Data)]
struct Node {
    children: Vec<Node>,
}

#[derive(Clone, Data)]
enum Tree {
    Leaf,
    Branch(Box<(Self, Self)>),
}

mod other {
    use highwater_state::Data;

    // Not recursive: another type of the same name.
    #[derive(Clone, Data)]
    pub struct Duration(std::time::Duration);
}

fn main() {}
