//! The stores below a keyed state: opened one after the other, each when the first of its key groups is asked for.

use std::ops::ControlFlow;

use highwater_checkpoint::metadata::{OperatorSnapshot, StoreSnapshot};
use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, Result};
use highwater_state::spill::StoredRows;

use crate::Snapshot;

/// The stores of an operator's keyed state, each with its key groups.
#[derive(Debug)]
pub(crate) struct Stores<'a> {
    snapshot: &'a Snapshot,
    stores: Vec<Store<'a>>,
}

#[derive(Debug)]
struct Store<'a> {
    range: KeyGroupRange,
    files: &'a StoreSnapshot,
    open: Option<Box<dyn StoredRows>>,
}

impl<'a> Stores<'a> {
    /// The stores `all` of `operator`.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] if nothing is there that opens them.
    pub fn new(
        snapshot: &'a Snapshot,
        operator: &OperatorSnapshot,
        all: &[(KeyGroupRange, &'a StoreSnapshot)],
    ) -> Result<Self> {
        let opens = snapshot.stores.as_ref().map(|reader| reader.kind());
        if let Some((_, store)) = all.iter().find(|(_, store)| opens != Some(&store.kind)) {
            let (path, uid, kind) = (snapshot.path(), &operator.uid, &store.kind);
            let what =
                format!("{path}: rows of operator {uid} lie in a store of kind {kind}, which cannot be read here");
            return Err(Error::new(ErrorKind::Incompatible, what));
        }
        let closed = |(range, files): &(KeyGroupRange, &'a StoreSnapshot)| Store { range: *range, files, open: None };
        Ok(Stores { snapshot, stores: all.iter().map(closed).collect() })
    }

    /// Calls `each` with the key and the row of everything that is in stores of key group `group`.
    ///
    /// # Errors
    /// If a store cannot be fetched, verified or opened; those of `each`.
    pub fn rows(&mut self, group: KeyGroup, mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for store in self.stores.iter_mut().filter(|store| store.range.contains(group)) {
            let rows = match &mut store.open {
                Some(rows) => rows,
                none => none.insert(open(self.snapshot, store.files)?),
            };
            rows.scan(&group.0.to_be_bytes(), &mut |of, key, row| {
                if of != group {
                    return Ok(ControlFlow::Break(()));
                }
                each(key, row).map(ControlFlow::Continue)
            })?;
        }
        // Key groups come in order, mostly.
        for store in self.stores.iter_mut().filter(|store| store.range.end() <= u32::from(group.0) + 1) {
            store.open = None;
        }
        Ok(())
    }

    /// Where the stores of a key group are, so that the same place says that they are the same.
    pub fn places(&self, group: KeyGroup) -> Vec<Vec<String>> {
        let of_group = self.stores.iter().filter(|store| store.range.contains(group));
        let place = |name: &str| self.snapshot.file(name).map(|file| self.snapshot.path_of(file));
        let of_store = |store: &Store<'_>| {
            let files = store.files.files.iter();
            files.map(|(local, name)| format!("{local} {}", place(name).unwrap_or_default())).collect()
        };
        of_group.map(of_store).collect()
    }
}

fn open(snapshot: &Snapshot, store: &StoreSnapshot) -> Result<Box<dyn StoredRows>> {
    let reader = snapshot.stores.as_ref().ok_or_else(|| Error::internal("a store without a reader"))?;
    reader.open(&mut |folder| snapshot.fetch_store(store, folder).map(drop))
}
