//! A source that emits a collection, for tests and demos.

use std::sync::Arc;

use highwater_core::Result;
use highwater_runtime::batch::Record;
use highwater_runtime::source::{Source, SourceOutput, SourceReader, SourceStatus};

use super::index_split::{IndexSplit, Turns};

/// Emits the elements of a collection and ends.
///
/// The elements are part of the program, not of its checkpoints: a restored job must be given the same ones.
///
/// ```
/// use highwater::connectors::CollectionSource;
///
/// let source = CollectionSource::new(vec!["to be", "or not to be"]);
/// ```
#[derive(Clone, Debug)]
pub struct CollectionSource<T> {
    elements: Arc<Vec<T>>,
}

impl<T> CollectionSource<T> {
    /// A source of `elements`, in their order if it runs with parallelism 1.
    pub fn new(elements: Vec<T>) -> Self {
        CollectionSource { elements: Arc::new(elements) }
    }
}

impl<T: Record + Sync> Source for CollectionSource<T> {
    type Record = T;
    type Split = IndexSplit;
    type Reader = CollectionReader<T>;

    fn discover(&self, parallelism: u32) -> Result<Vec<IndexSplit>> {
        Ok(IndexSplit::deal(parallelism))
    }

    fn reader(&self, splits: Vec<IndexSplit>) -> Result<CollectionReader<T>> {
        Ok(CollectionReader { turns: Turns::new(splits, self.elements.len() as u64), elements: self.elements.clone() })
    }
}

/// Reads a [`CollectionSource`].
#[derive(Debug)]
pub struct CollectionReader<T> {
    turns: Turns,
    elements: Arc<Vec<T>>,
}

impl<T: Record + Sync> SourceReader for CollectionReader<T> {
    type Record = T;
    type Split = IndexSplit;

    fn poll(&mut self, output: &mut SourceOutput<T>) -> Result<SourceStatus> {
        let more = self.turns.emit(output.room(), output, |index| self.elements[index as usize].clone());
        Ok(if more { SourceStatus::More } else { SourceStatus::End })
    }

    fn snapshot(&self) -> Vec<IndexSplit> {
        self.turns.splits().to_vec()
    }
}
