//! The page cache: files and folders as they are seen, and as the disk has them.
//!
//! Every change of a name stays *pending* until the folder is synced that it took effect in; a rename is one change,
//! made durable by its new folder. A power cut keeps some of the pending changes, in their order, and some of the
//! unsynced bytes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use highwater_storage::disk::{DirEntry, Metadata};

use highwater_core::Random;

/// Number of a file or folder, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node(usize);

const ROOT: Node = Node(0);

type Names = BTreeMap<OsString, Node>;

#[derive(Clone)]
enum Content {
    File { seen: Vec<u8>, durable: Vec<u8> },
    Dir { seen: Names, durable: Names },
}

/// A name in a folder.
type Place = (Node, OsString);

/// A creation has only `to`, a removal only `from`, a rename both.
#[derive(Clone)]
struct Change {
    node: Node,
    from: Option<Place>,
    to: Option<Place>,
}

impl Change {
    fn is_made_durable_by(&self, dir: Node) -> bool {
        self.to.as_ref().or(self.from.as_ref()).is_some_and(|(at, _)| *at == dir)
    }
}

#[derive(Clone)]
pub(super) struct PageCache {
    nodes: Vec<Content>,
    pending: Vec<Change>,
}

impl PageCache {
    pub(super) fn new() -> Self {
        PageCache { nodes: vec![Content::Dir { seen: Names::new(), durable: Names::new() }], pending: Vec::new() }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Node> {
        self.create(path, Content::File { seen: Vec::new(), durable: Vec::new() })
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.create(path, Content::Dir { seen: Names::new(), durable: Names::new() }).map(|_| ())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let node = self.file(path)?;
        let from = self.place(path)?;
        self.change(Change { node, from: Some(from), to: None });
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.dir(path)?;
        if !self.names(node)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let from = self.place(path)?;
        self.change(Change { node, from: Some(from), to: None });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if self.names(to.0)?.get(&to.1).is_some_and(|there| matches!(self.nodes[there.0], Content::Dir { .. })) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.change(Change { node, from: Some(from), to: Some(to) });
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entry = |(name, node): (&OsString, &Node)| {
            let Metadata { is_dir, len } = self.describe(*node);
            DirEntry { name: name.clone(), is_dir, len }
        };
        Ok(self.names(self.find(path)?)?.iter().map(entry).collect())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.find(path).map(|node| self.describe(node))
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &Path) -> io::Result<Node> {
        let node = self.find(path)?;
        match self.nodes[node.0] {
            Content::File { .. } => Ok(node),
            Content::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The folder at `path`.
    pub(super) fn dir(&self, path: &Path) -> io::Result<Node> {
        let node = self.find(path)?;
        self.names(node).map(|_| node)
    }

    /// The bytes of a file as they are seen.
    pub(super) fn content(&mut self, file: Node) -> &mut Vec<u8> {
        match &mut self.nodes[file.0] {
            Content::File { seen, .. } => seen,
            Content::Dir { .. } => unreachable!("only `file` and `create_file` hand out nodes for content"),
        }
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let (mut used, mut dirs) = (0, vec![ROOT]);
        while let Some(dir) = dirs.pop() {
            let Content::Dir { seen, .. } = &self.nodes[dir.0] else { continue };
            for node in seen.values() {
                match &self.nodes[node.0] {
                    Content::File { seen, .. } => used += seen.len() as u64,
                    Content::Dir { .. } => dirs.push(*node),
                }
            }
        }
        used
    }

    pub(super) fn sync_file(&mut self, file: Node) {
        if let Content::File { seen, durable } = &mut self.nodes[file.0] {
            durable.clone_from(seen);
        }
    }

    pub(super) fn sync_dir(&mut self, dir: Node) {
        let (now, later): (Vec<_>, _) = self.pending.drain(..).partition(|change| change.is_made_durable_by(dir));
        self.pending = later;
        for change in now {
            self.carry_out(&change, Side::Durable);
        }
    }

    /// What the next boot finds.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> PageCache {
        // Nothing and everything are drawn more often than chance would: they are the cases that code relies upon.
        let kept_percent = [0, 50, 50, 100][random.up_to(3)];
        let mut found = self.clone();
        for change in found.pending.split_off(0) {
            if random.chance(kept_percent) {
                found.carry_out(&change, Side::Durable);
            }
        }
        for content in &mut found.nodes {
            match content {
                Content::File { seen, durable } => {
                    *durable = surviving(seen, durable, kept_percent, random);
                    seen.clone_from(durable);
                }
                Content::Dir { seen, durable } => seen.clone_from(durable),
            }
        }
        found
    }

    fn create(&mut self, path: &Path, content: Content) -> io::Result<Node> {
        if names_of(path)?.is_empty() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let to = self.place(path)?;
        if self.names(to.0)?.contains_key(&to.1) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = Node(self.nodes.len());
        self.nodes.push(content);
        self.change(Change { node, from: None, to: Some(to) });
        Ok(node)
    }

    fn change(&mut self, change: Change) {
        self.carry_out(&change, Side::Seen);
        self.pending.push(change);
    }

    fn carry_out(&mut self, change: &Change, side: Side) {
        if let Some((dir, name)) = &change.to {
            self.side(*dir, side).insert(name.clone(), change.node);
        }
        if let Some((dir, name)) = &change.from {
            let names = self.side(*dir, side);
            // The name may stand for something else by now: another change of it was lost or overtook this one.
            if names.get(name) == Some(&change.node) {
                names.remove(name);
            }
        }
    }

    fn side(&mut self, dir: Node, side: Side) -> &mut Names {
        match (&mut self.nodes[dir.0], side) {
            (Content::Dir { seen, .. }, Side::Seen) => seen,
            (Content::Dir { durable, .. }, Side::Durable) => durable,
            (Content::File { .. }, _) => unreachable!("a place is in a folder"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        names_of(path)?.into_iter().try_fold(ROOT, |dir, name| {
            self.names(dir)?.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    /// The existing folder that holds `path`, and the name there.
    fn place(&self, path: &Path) -> io::Result<Place> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.dir(dir)?, name.to_owned()))
    }

    fn names(&self, dir: Node) -> io::Result<&Names> {
        match &self.nodes[dir.0] {
            Content::Dir { seen, .. } => Ok(seen),
            Content::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn describe(&self, node: Node) -> Metadata {
        match &self.nodes[node.0] {
            Content::File { seen, .. } => Metadata { is_dir: false, len: seen.len() as u64 },
            Content::Dir { .. } => Metadata { is_dir: true, len: 0 },
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Seen,
    Durable,
}

/// The working directory is the root.
fn names_of(path: &Path) -> io::Result<Vec<&OsStr>> {
    let name = |component| match component {
        Component::RootDir | Component::CurDir => None,
        Component::Normal(name) => Some(Ok(name)),
        Component::ParentDir | Component::Prefix(_) => Some(Err(io::ErrorKind::InvalidInput.into())),
    };
    path.components().filter_map(name).collect()
}

/// What is left of a file: all that was synced, and of what was appended since any part, whose end may be zeros because
/// the new length reached the disk before the bytes. A cut that was not synced is found done or undone.
fn surviving(seen: &[u8], durable: &[u8], kept_percent: u8, random: &mut Random) -> Vec<u8> {
    let Some(tail) = seen.strip_prefix(durable) else {
        return if random.chance(kept_percent) { seen.to_vec() } else { durable.to_vec() };
    };
    let (kept, written) = match kept_percent {
        0 => (0, 0),
        100 => (tail.len(), tail.len()),
        _ => {
            let kept = random.up_to(tail.len());
            (kept, random.up_to(kept))
        }
    };
    let mut found = [durable, &tail[..written]].concat();
    found.resize(durable.len() + kept, 0);
    found
}
