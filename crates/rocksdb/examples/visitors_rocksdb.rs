//! The example `visitors` of the crate `highwater`, with so little memory that what is known of most clients is in RocksDB:
//! `cargo run -p highwater-rocksdb --example visitors_rocksdb -- --input access.log`.

#[expect(dead_code, reason = "it has a main of its own")]
#[path = "../../highwater/examples/visitors/main.rs"]
mod visitors;

use highwater_rocksdb::RocksDBStateBackend;

/// Memory of a worker, in bytes.
const BUDGET: usize = 1 << 20;

fn main() -> highwater::Result<()> {
    visitors::run(|env, settings| {
        let checkpoints = settings.checkpoint_dir.clone().unwrap_or_default();
        env.set_state_backend(RocksDBStateBackend::new(checkpoints).with_memory_budget(BUDGET));
    })
}
