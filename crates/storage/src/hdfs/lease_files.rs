//! The files of a lease in HDFS: `<dir>/.lease/<generation>`.

use std::sync::Arc;

use super::file;
use super::namespace::Namespace;
use crate::disk::unless_not_found;
use crate::error::Result;
use crate::remote::{LeaseFiles, generation_name};

/// Leases in a folder of an HDFS.
pub(super) struct HdfsLeases {
    namespace: Arc<Namespace>,
}

impl HdfsLeases {
    pub(super) fn new(namespace: Arc<Namespace>) -> Self {
        HdfsLeases { namespace }
    }
}

impl LeaseFiles for HdfsLeases {
    fn generations(&self, dir: &str) -> Result<Vec<u64>> {
        let found = unless_not_found(self.namespace.list(&folder_of(dir)))?.unwrap_or_default();
        Ok(found.iter().filter_map(|entry| entry.name.parse().ok()).collect())
    }

    fn read(&self, dir: &str, generation: u64) -> Result<Vec<u8>> {
        self.namespace.read(&path_of(dir, generation))
    }

    fn create(&self, dir: &str, generation: u64, content: &[u8]) -> Result<()> {
        if generation == 1 {
            self.namespace.create_dir(&folder_of(dir))?;
        }
        file::publish(&self.namespace, &path_of(dir, generation), content, || Ok(()))
    }

    fn remove(&self, dir: &str, generation: u64) -> Result<()> {
        self.namespace.remove("remove", &path_of(dir, generation), false)
    }
}

fn folder_of(dir: &str) -> String {
    format!("{dir}/.lease")
}

fn path_of(dir: &str, generation: u64) -> String {
    format!("{}/{}", folder_of(dir), generation_name(generation))
}
