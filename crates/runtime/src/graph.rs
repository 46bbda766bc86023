//! The job as a graph of nodes, and what a node needs to become an operator of a worker's dataflow.
//!
//! The program builds a [`Graph`] once; each worker of each attempt builds its dataflow from it, node by node in the order in which
//! they were added, so that all workers agree on every channel.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use highwater_checkpoint::CheckpointingMode;
use highwater_core::{
    BoxError, Error, ErrorKind, MaxParallelism, OperatorUid, Parallelism, Result, SubtaskIndex, TaskId,
};
use highwater_state::tier::MemoryBudget;
use highwater_state::{Key, KeyedState};
use timely::dataflow::Scope;

use crate::batch::{Batch, Record};
use crate::control::Control;
use crate::describe::Declared;
use crate::job::Spilling;
use crate::keyed_contents::KeyedContents;
use crate::mark::{Frontier, MAX_WATERMARK, Mark};
use crate::memory::StateSizes;
use crate::metrics::RecordsRead;
use crate::process::OpenContext;
use crate::restore::Restored;
use crate::side::{OutputTag, SidePort};
use crate::streams::{StreamId, Streams};
use crate::upload::Uploads;
use crate::watermarks::{Origin, OriginSite, Origins, Place, Relations, SharedOrigins, origins_of};

/// Splits of the sources of a job, encoded.
pub type Splits = BTreeMap<OperatorUid, Vec<Vec<u8>>>;

type BuildFn = Box<dyn for<'s> Fn(&Builder<'s>, &Site<'_>) -> Result<()> + Send + Sync>;
type RestoreFn = Box<dyn Fn(&Task) -> Result<Box<dyn Any>> + Send + Sync>;
type DiscoverFn = Box<dyn Fn(u32) -> Result<Vec<Vec<u8>>> + Send + Sync>;

/// What an operator does with checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Ends epochs and stores positions.
    Source,
    /// Has nothing to store.
    Stateless,
    /// Stores its state at each barrier.
    Stateful,
}

/// One operator of the job.
pub(crate) struct Node {
    uid: Option<String>,
    name: String,
    kind: NodeKind,
    sides: Vec<SidePort>,
    /// The streams that it reads.
    inputs: Vec<usize>,
    /// The streams that it makes.
    outputs: Vec<usize>,
    /// How it and others look at each other, if it gives event time.
    relations: Option<Relations>,
    declared: Declared,
    restore: Option<RestoreFn>,
    build: BuildFn,
    discover: Option<DiscoverFn>,
    /// What is wrong with the settings that the program gave it.
    problem: Option<String>,
}

impl Node {
    /// Its place among the streams of the graph.
    fn place(&self) -> Place<'_> {
        Place { inputs: &self.inputs, outputs: &self.outputs, relations: self.relations.as_ref() }
    }
}

/// Refers to a node of a graph, to name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(usize);

/// The operators of a job, each after those it reads from.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Node>,
    streams: usize,
    consumed: HashSet<usize>,
    /// The streams that the next node reads.
    reading: Vec<usize>,
    /// The streams that the next node makes.
    making: Vec<usize>,
}

impl Graph {
    /// A name for a stream that some node will make.
    pub(crate) fn stream<C>(&mut self) -> StreamId<C> {
        self.streams += 1;
        self.making.push(self.streams);
        StreamId::new(self.streams)
    }

    /// Adds a node, which makes the streams that were [named](Self::stream) since the one before, and reads those
    /// [consumed](Self::consume).
    pub(crate) fn add(
        &mut self,
        name: &str,
        kind: NodeKind,
        build: impl for<'s> Fn(&Builder<'s>, &Site<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> NodeId {
        let node = Node {
            uid: None,
            name: name.into(),
            kind,
            sides: Vec::new(),
            inputs: std::mem::take(&mut self.reading),
            outputs: std::mem::take(&mut self.making),
            relations: None,
            declared: Declared::default(),
            restore: None,
            build: Box::new(build),
            discover: None,
            problem: None,
        };
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Notes what state a node declares: all that it stores.
    pub(crate) fn declare(&mut self, node: NodeId, declared: Declared) {
        self.nodes[node.0].declared = declared;
    }

    /// Has the keyed state of a node opened before any node is built, to be [taken](Builder::take_restored) then.
    pub(crate) fn set_restore<K: Key, S: KeyedState>(&mut self, node: NodeId) {
        self.nodes[node.0].restore = Some(Box::new(|task| Ok(Box::new(KeyedContents::<K, S>::open(task)?))));
    }

    pub(crate) fn set_discover(&mut self, node: NodeId, discover: DiscoverFn) {
        self.nodes[node.0].discover = Some(discover);
    }

    /// Notes that a node gives event time, and how it and others look at each other.
    pub(crate) fn set_relations(&mut self, node: NodeId, relations: Relations) {
        self.nodes[node.0].relations = Some(relations);
    }

    /// Has the job refused because of an operator's settings.
    pub fn reject(&mut self, node: NodeId, problem: &str) {
        self.nodes[node.0].problem = Some(problem.into());
    }

    /// Gives an operator its stable name.
    pub fn set_uid(&mut self, node: NodeId, uid: &str) {
        self.nodes[node.0].uid = Some(uid.into());
    }

    /// Gives an operator its name for people.
    pub fn set_name(&mut self, node: NodeId, name: &str) {
        self.nodes[node.0].name = name.into();
    }

    /// Reads a side output of an operator.
    pub fn side_output<T: Record>(&mut self, node: NodeId, tag: &OutputTag<T>) -> StreamId<Batch<T>> {
        let id = self.stream();
        self.nodes[node.0].outputs.append(&mut self.making);
        self.nodes[node.0].sides.push(SidePort::new(tag, id));
        id
    }

    /// Notes that a stream has a consumer.
    pub(crate) fn consume<C>(&mut self, id: StreamId<C>) {
        self.consumed.insert(id.index());
        self.reading.push(id.index());
    }

    /// Checks the graph and gives every operator a uid: its own, or one made of its kind of name and its place, which changes when
    /// operators are added before it.
    ///
    /// # Errors
    /// If there is no operator, a uid is not usable or given twice, an operator declares two states of one name or was rejected, or
    /// a side output is read twice from one operator.
    pub(crate) fn plan(self) -> Result<Plan> {
        if self.nodes.is_empty() {
            return Err(Error::settings("the job has no operators: add a source and a sink before execute"));
        }
        let mut uids = BTreeSet::new();
        let mut operators = Vec::new();
        for (index, node) in self.nodes.into_iter().enumerate() {
            let uid = match &node.uid {
                Some(uid) => OperatorUid::parse(uid)?,
                None => OperatorUid::parse(&format!("{}-{index}", slug(&node.name)))?,
            };
            if !uids.insert(uid.clone()) {
                return Err(Error::settings(format!(
                    "two operators have the uid {uid}: a uid ties state to its operator, give each its own"
                )));
            }
            if let Some(state) = node.declared.duplicate() {
                return Err(Error::settings(format!(
                    "operator {} declares two operator states with the name {state:?}: give each a name of its own",
                    node.name
                )));
            }
            if let Some(problem) = &node.problem {
                return Err(Error::settings(format!("operator {}: {problem}", node.name)));
            }
            let mut tags = BTreeSet::new();
            if let Some(tag) = node.sides.iter().map(SidePort::name).find(|tag| !tags.insert(tag.to_string())) {
                return Err(Error::settings(format!(
                    "side output {tag} of operator {} is read twice: read it once and use the stream twice",
                    node.name
                )));
            }
            operators.push((uid, node));
        }
        let origins = origins_of(&operators.iter().map(|(_, node)| node.place()).collect::<Vec<_>>());
        Ok(Plan { operators, origins })
    }
}

/// The part of a name that can stand in a uid.
fn slug(name: &str) -> String {
    let usable = |c: char| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let slug: String = name.chars().map(usable).take(100).collect();
    if slug.is_empty() { "operator".into() } else { slug }
}

/// A checked graph.
pub struct Plan {
    operators: Vec<(OperatorUid, Node)>,
    /// Which of the operators give event time and look at each other.
    origins: Vec<Option<Origin>>,
}

impl Plan {
    /// The tasks of sources at this parallelism.
    pub fn sources(&self, parallelism: Parallelism) -> BTreeSet<TaskId> {
        let sources = self.operators.iter().filter(|(_, node)| node.kind == NodeKind::Source);
        let tasks = sources.flat_map(|(uid, _)| {
            (0..parallelism.count()).map(|index| TaskId { operator: uid.clone(), subtask: SubtaskIndex(index) })
        });
        tasks.collect()
    }

    /// Name of an operator for people.
    pub fn name(&self, uid: &OperatorUid) -> Option<&str> {
        self.operators.iter().find(|(other, _)| other == uid).map(|(_, node)| node.name.as_str())
    }

    /// Uid, name and declared state of every operator.
    pub fn declared(&self) -> impl Iterator<Item = (&OperatorUid, &str, &Declared)> {
        self.operators.iter().map(|(uid, node)| (uid, node.name.as_str(), &node.declared))
    }

    /// Uids of all operators that take part in checkpoints.
    pub fn stateful_uids(&self) -> impl Iterator<Item = &OperatorUid> {
        self.operators.iter().filter(|(_, node)| node.kind != NodeKind::Stateless).map(|(uid, _)| uid)
    }

    /// Uid, name and kind of every operator, and the operators that it reads from.
    pub(crate) fn outline(&self) -> impl Iterator<Item = (&OperatorUid, &str, NodeKind, Vec<&OperatorUid>)> {
        self.operators.iter().map(move |(uid, node)| {
            let makes_one =
                |other: &&(OperatorUid, Node)| node.inputs.iter().any(|input| other.1.outputs.contains(input));
            let inputs = self.operators.iter().filter(makes_one).map(|(maker, _)| maker).collect();
            (uid, node.name.as_str(), node.kind, inputs)
        })
    }

    /// A digest of the shape of the graph: processes of one job must agree on it.
    pub fn digest(&self) -> u64 {
        let shape: String =
            self.operators.iter().map(|(uid, node)| format!("{uid}\n{}\n{:?}\n", node.name, node.kind)).collect();
        highwater_core::KeyHash::of(format!("{shape}{:?}", self.origins).as_bytes()).0
    }

    /// Asks every source for its splits, but those that are `known` from a checkpoint.
    ///
    /// # Errors
    /// From a source whose input is not usable.
    pub fn discover(&self, parallelism: Parallelism, known: impl Fn(&OperatorUid) -> bool) -> Result<Splits> {
        let sources = self.operators.iter().filter_map(|(uid, node)| Some((uid, node, node.discover.as_ref()?)));
        let discover = |(uid, node, discover): (&OperatorUid, &Node, &DiscoverFn)| match discover(parallelism.count()) {
            Ok(splits) => Ok((uid.clone(), splits)),
            Err(error) => Err(error.context(format!("source {} cannot start", node.name))),
        };
        sources.filter(|(uid, ..)| !known(uid)).map(discover).collect()
    }

    /// Opens the keyed state of one worker, empty or with what the restored checkpoint has for it: all that is read of a checkpoint
    /// is verified here, before anything that others can see.
    ///
    /// # Errors
    /// If what is stored cannot be read, does not verify, or is not what the program declares.
    pub(crate) fn restore(&self, builder: &Builder<'_>) -> Result<()> {
        for (uid, node) in &self.operators {
            let Some(restore) = &node.restore else { continue };
            let task = builder.stateful_task(&Site { uid, name: &node.name, sides: &node.sides, origin: None });
            let restored = restore(&task).map_err(|error| cannot_start(node, error))?;
            builder.restored.borrow_mut().insert(uid.clone(), restored);
        }
        Ok(())
    }

    /// Builds the dataflow of one worker, whose keyed state was [opened](Self::restore).
    ///
    /// # Errors
    /// From an operator that cannot be opened or restored.
    pub(crate) fn build(&self, builder: &Builder<'_>) -> Result<()> {
        let all = Origins::new(self.origins.iter().flatten(), builder.attempt.parallelism.count());
        let origins: SharedOrigins = Rc::new(RefCell::new(all));
        for ((uid, node), origin) in self.operators.iter().zip(&self.origins) {
            let origin = origin.as_ref().map(|origin| OriginSite { origin, origins: Rc::clone(&origins) });
            let site = Site { uid, name: &node.name, sides: &node.sides, origin };
            (node.build)(builder, &site).map_err(|error| cannot_start(node, error))?;
        }
        Ok(())
    }
}

fn cannot_start(node: &Node, error: Error) -> Error {
    error.context(format!("operator {} cannot start", node.name))
}

/// Which node is being built.
pub(crate) struct Site<'a> {
    pub uid: &'a OperatorUid,
    pub name: &'a str,
    pub sides: &'a [SidePort],
    /// Its place among the operators that give event time and look at each other.
    pub origin: Option<OriginSite<'a>>,
}

/// What all workers of a process share in one attempt.
pub(crate) struct Attempt {
    pub control: Arc<Control>,
    pub parallelism: Parallelism,
    pub max_parallelism: MaxParallelism,
    pub mode: CheckpointingMode,
    /// Whether there will be checkpoints: if not, sinks commit at the end.
    pub checkpointing: bool,
    pub restored: Option<Arc<Restored>>,
    pub spilling: Option<Spilling>,
    /// Splits of the sources that no checkpoint knows yet.
    pub splits: Splits,
    pub read: RecordsRead,
    /// How large the state of each task of this process is.
    pub sizes: StateSizes,
}

/// One worker's dataflow under construction.
pub(crate) struct Builder<'s> {
    pub scope: Scope<'s, Mark>,
    pub streams: Streams<'s>,
    pub attempt: Arc<Attempt>,
    pub uploads: Uploads,
    /// Memory for the rows of this worker's tasks, if it is limited.
    pub budget: Option<MemoryBudget>,
    /// Tasks of this worker that take part in checkpoints.
    pub tasks: RefCell<BTreeSet<TaskId>>,
    /// The keyed states of this worker's tasks that were opened and are not built yet.
    restored: RefCell<BTreeMap<OperatorUid, Box<dyn Any>>>,
}

impl<'s> Builder<'s> {
    pub fn new(scope: Scope<'s, Mark>, attempt: Arc<Attempt>, uploads: Uploads) -> Self {
        let budget = attempt.spilling.as_ref().map(|spilling| MemoryBudget::new(spilling.budget_bytes));
        let (tasks, restored) = (RefCell::default(), RefCell::default());
        Builder { scope, streams: Streams::new(), attempt, uploads, budget, tasks, restored }
    }

    /// The keyed state of the operator at `site`, which was opened.
    ///
    /// # Errors
    /// If it was not, or was taken already.
    pub fn take_restored<T: 'static>(&self, site: &Site<'_>) -> Result<T> {
        let restored = self.restored.borrow_mut().remove(site.uid).and_then(|restored| restored.downcast().ok());
        restored.map(|restored| *restored).ok_or_else(|| Error::internal("the keyed state was not opened"))
    }

    /// This worker's instance of the operator at `site`.
    pub fn task(&self, site: &Site<'_>) -> Task {
        Task {
            id: TaskId { operator: site.uid.clone(), subtask: SubtaskIndex(self.scope.index() as u32) },
            name: site.name.to_string(),
            attempt: Arc::clone(&self.attempt),
            uploads: self.uploads.clone(),
            budget: self.budget.clone(),
        }
    }

    /// The same for one that takes part in checkpoints.
    pub fn stateful_task(&self, site: &Site<'_>) -> Task {
        let task = self.task(site);
        self.tasks.borrow_mut().insert(task.id.clone());
        task
    }
}

/// One parallel instance of an operator, and its ways to the rest of the attempt.
#[derive(Clone)]
pub(crate) struct Task {
    pub id: TaskId,
    pub name: String,
    pub attempt: Arc<Attempt>,
    pub uploads: Uploads,
    /// Memory for the rows of all tasks of its worker, if it is limited.
    pub budget: Option<MemoryBudget>,
}

impl Task {
    pub fn control(&self) -> &Control {
        &self.attempt.control
    }

    /// What an input's frontier says of event time to the task in `epoch`.
    pub fn event_time(&self, frontier: Frontier, epoch: u64) -> Frontier {
        let control = self.control();
        let is_stopping = control.is_finishing() && !control.has_ended();
        match frontier {
            // All input was read, which timely may tell as nothing but the closed frontier.
            Frontier::Closed if control.has_ended() => Frontier::Open { epoch, watermark: MAX_WATERMARK },
            // Sources let go one after the other: what a slow one held back has not passed when only faster ones are left.
            Frontier::Open { .. } if is_stopping || control.is_past_last(epoch) => Frontier::Closed,
            other => other,
        }
    }

    /// What a user function is told when it is opened.
    pub fn open_context(&self) -> OpenContext {
        OpenContext {
            name: self.name.clone(),
            subtask: self.id.subtask,
            parallelism: self.attempt.parallelism,
            is_restored: self.attempt.restored.is_some(),
        }
    }

    /// `hook`, which a user function has beside what it does for records, has failed.
    pub fn hook_error(&self, hook: &str, error: BoxError) -> Error {
        Error::new(ErrorKind::UserFunction, format!("{hook} of operator {} failed", self.name)).with_source(error)
    }
}
