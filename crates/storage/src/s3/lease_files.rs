//! The files of a lease in S3: `<dir>/.lease/<generation>`.

use std::sync::Arc;

use super::bucket::Bucket;
use crate::disk::unless_not_found;
use crate::error::Result;
use crate::remote::{LeaseFiles, Operation, generation_name};

/// Leases in a bucket.
pub(super) struct S3Leases {
    bucket: Arc<Bucket>,
}

impl S3Leases {
    pub(super) fn new(bucket: Arc<Bucket>) -> Self {
        S3Leases { bucket }
    }
}

impl LeaseFiles for S3Leases {
    fn generations(&self, dir: &str) -> Result<Vec<u64>> {
        let found = unless_not_found(self.bucket.list(&folder_of(dir)))?.unwrap_or_default();
        Ok(found.iter().filter_map(|entry| entry.name.parse().ok()).collect())
    }

    fn read(&self, dir: &str, generation: u64) -> Result<Vec<u8>> {
        self.bucket.read(&path_of(dir, generation))
    }

    fn create(&self, dir: &str, generation: u64, content: &[u8]) -> Result<()> {
        let path = path_of(dir, generation);
        let place = self.bucket.place_of(&path);
        self.bucket.put_new(Operation::writes("create", &place), &path, content.to_vec().into())
    }

    fn remove(&self, dir: &str, generation: u64) -> Result<()> {
        self.bucket.remove_file(&path_of(dir, generation))
    }
}

fn folder_of(dir: &str) -> String {
    format!("{dir}/.lease")
}

fn path_of(dir: &str, generation: u64) -> String {
    format!("{}/{}", folder_of(dir), generation_name(generation))
}
