//! Completes the C interface of a RocksDB that the system has and that is older than the bindings.
//!
//! RocksDB is built from source, unless `ROCKSDB_LIB_DIR` names the folder of a library. The bindings then are of another
//! version than the library, and call functions of the C interface that versions before 8 lack: those of the write buffer
//! manager. Its C++ class is there, so `compat.cc` adds them.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=compat.cc");
    println!("cargo:rerun-if-env-changed=ROCKSDB_LIB_DIR");
    println!("cargo:rerun-if-env-changed=ROCKSDB_HEADER_DIR");
    if std::env::var_os("ROCKSDB_LIB_DIR").is_none() {
        return;
    }
    let headers = std::env::var("ROCKSDB_HEADER_DIR").unwrap_or_else(|_| "/usr/include".to_owned());
    let path = Path::new(&headers).join("rocksdb/c.h");
    let header = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "ROCKSDB_LIB_DIR is set, but {} cannot be read: {error}; install the library's headers \
             (on Debian, librocksdb-dev), or name their folder with ROCKSDB_HEADER_DIR",
            path.display()
        )
    });
    if header.contains("rocksdb_write_buffer_manager_create") {
        return;
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&headers)
        .file("compat.cc")
        .warnings(false)
        // Called from another crate's code, which a linker that reads archives once would come to too late.
        .link_lib_modifier("+whole-archive")
        .compile("highwater_rocksdb_compat");
}
