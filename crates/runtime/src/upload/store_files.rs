//! The files of a store below a keyed state: those that no snapshot of it has had are written to the job's shared files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use highwater_checkpoint::metadata::{FileDigest, StoreSnapshot};
use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use highwater_state::spill::{LocalSnapshot, SnapshotFile};
use highwater_storage::JobStore;
use highwater_storage::layout::store_file_name;

use super::data_file::DataFile;

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// Writes the files of the stores of one worker.
pub(super) struct StoreFiles {
    worker: u32,
    /// How many it has written.
    written: u64,
    piece: Vec<u8>,
}

impl StoreFiles {
    pub fn new(worker: u32) -> Self {
        StoreFiles { worker, written: 0, piece: Vec::new() }
    }

    /// Writes the files of `local` that `before`, the snapshot before it, does not have; how many bytes that was, and the snapshot.
    /// The digests of what is written are put into `durable`, which has those of `before`.
    pub fn upload(
        &mut self,
        store: &JobStore,
        id: CheckpointId,
        local: &LocalSnapshot,
        before: Option<&StoreSnapshot>,
        durable: &mut BTreeMap<String, FileDigest>,
    ) -> Result<(u64, StoreSnapshot)> {
        let before = before.filter(|before| before.kind == local.kind).map(|before| &before.files[..]);
        let known: BTreeMap<&String, &String> =
            before.unwrap_or_default().iter().map(|(name, shared)| (name, shared)).collect();
        let (mut bytes, mut files) = (0, Vec::with_capacity(local.files.len()));
        for file in &local.files {
            let kept = known.get(&file.name).filter(|_| file.is_shared);
            let shared = match kept.filter(|shared| durable.get(**shared).is_some_and(|kept| kept.len == file.len)) {
                Some(shared) => (*shared).clone(),
                None => {
                    let digest = self.copy(store, id, local, file)?;
                    bytes += digest.len;
                    let name = digest.name.clone();
                    durable.insert(name.clone(), digest);
                    name
                }
            };
            files.push((file.name.clone(), shared));
        }
        Ok((bytes, StoreSnapshot { kind: local.kind.to_owned(), files }))
    }

    fn copy(
        &mut self,
        store: &JobStore,
        id: CheckpointId,
        local: &LocalSnapshot,
        file: &SnapshotFile,
    ) -> Result<FileDigest> {
        let path = local.folder.join(&file.name);
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Storage, format!("cannot read {}", path.display())).with_source(error)
        };
        let mut from = File::open(&path).map_err(failed)?;
        let name = store_file_name(id, self.worker, self.written);
        self.written += 1;
        let mut to = DataFile::create_named(store, id, name)?;
        self.piece.resize(PIECE, 0);
        loop {
            match from.read(&mut self.piece).map_err(failed)? {
                0 => break,
                len => to.append_frame(&[&self.piece[..len]])?,
            };
        }
        to.finish().map_err(|why| Error::new(ErrorKind::Storage, why))
    }
}
