//! Generates the messages and ends of the gRPC services from `proto`, without protoc.

use std::path::Path;

const FILES: [&str; 3] = ["highwater/v1/common.proto", "highwater/v1/job_manager.proto", "highwater/v1/jobs.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new("proto");
    println!("cargo::rerun-if-changed={}", folder.display());
    let descriptors = protox::compile(FILES.map(|file| folder.join(file)), [folder])?;
    // What is large is shared with the bytes that came in, and not copied.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
