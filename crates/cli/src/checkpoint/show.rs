//! `highwater checkpoint show`

use std::collections::BTreeMap;

use highwater_checkpoint::metadata::{FileDigest, KeyedSnapshot, OperatorSnapshot};
use highwater_checkpoint::{CheckpointTimes, CheckpointingMode, Metadata};
use highwater_core::Timestamp;
use highwater_snapshot::Snapshot;
use highwater_state::{Schema, StateSchema};
use serde::Serialize;

use super::{ShowArgs, list};
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::states::{States, redistribution};
use crate::table::Table;
use crate::text;

#[derive(Debug, Serialize)]
struct Shown {
    path: String,
    job: String,
    id: u64,
    kind: &'static str,
    created: String,
    mode: &'static str,
    written_bytes: u64,
    bytes: u64,
    times: Times,
    operators: Vec<Operator>,
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct Times {
    init_ns: u64,
    prepare_ns: u64,
    confirm_ns: u64,
    complete_ns: u64,
    total_ns: u64,
}

#[derive(Debug, Serialize)]
struct Operator {
    uid: String,
    name: String,
    parallelism: u32,
    max_parallelism: u32,
    keyed: Vec<Keyed>,
    operator_states: Vec<List>,
}

#[derive(Debug, Serialize)]
struct Keyed {
    name: String,
    schema: Option<StateSchema>,
    entries: u64,
    bytes: u64,
    segments: Vec<Segment>,
    stores: Vec<Store>,
}

#[derive(Debug, Default, Serialize)]
struct Segment {
    id: u64,
    blocks: u64,
    entries: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Store {
    kind: String,
    files: usize,
}

#[derive(Debug, Serialize)]
struct List {
    name: String,
    redistribution: &'static str,
    schema: Schema,
    elements: usize,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    written_by: u64,
    shared: bool,
    bytes: u64,
    crc32c: String,
}

pub fn run(args: &ShowArgs, out: &mut Output) -> Result<Finding, Failure> {
    let shown = Shown::of(&Snapshot::at_path(&args.path)?)?;
    if out.is_json() {
        out.document(&shown)?;
    } else {
        shown.print(out)?;
    }
    Ok(Finding::Fine)
}

impl Shown {
    fn of(snapshot: &Snapshot) -> highwater_core::Result<Self> {
        let Metadata { job, id, kind, created_unix_ms, mode, operators, files, times } = snapshot.metadata();
        Ok(Shown {
            path: snapshot.path(),
            job: job.to_string(),
            id: id.0,
            kind: list::kind(*kind),
            created: Timestamp::from_unix_ms(*created_unix_ms).to_string(),
            mode: match mode {
                CheckpointingMode::ExactlyOnce => "exactly-once",
                CheckpointingMode::AtLeastOnce => "at-least-once",
            },
            written_bytes: snapshot.written_bytes(),
            bytes: snapshot.bytes(),
            times: Times::of(times),
            operators: operators.iter().map(Operator::of).collect::<Result<_, _>>()?,
            files: files.iter().map(|file| File::of(snapshot, file)).collect(),
        })
    }

    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        out.line(format!("{} {} of job {}", self.kind, self.id, self.job))?;
        let Times { init_ns, prepare_ns, confirm_ns, complete_ns, total_ns } = self.times;
        let millis = |nanos: u64| text::millis(std::time::Duration::from_nanos(nanos));
        let phases = [("init", init_ns), ("prepare", prepare_ns), ("confirm", confirm_ns), ("complete", complete_ns)];
        let phases = phases.map(|(name, nanos)| format!("{name} {}", millis(nanos))).join(" + ");
        for (name, value) in [
            ("path", self.path.clone()),
            ("created", self.created.clone()),
            ("mode", self.mode.to_owned()),
            (
                "size",
                format!("{}, {} of it written by this one", text::bytes(self.bytes), text::bytes(self.written_bytes)),
            ),
            ("times", format!("{} = {phases}", millis(total_ns))),
        ] {
            out.line(format!("{name:9}{value}"))?;
        }
        self.operators.iter().try_for_each(|operator| operator.print(out))?;
        if !self.files.is_empty() {
            out.line("")?;
            let mut table = Table::new(["FILE", "WRITTEN BY", "SIZE", "CRC-32C"]);
            for File { path, written_by, bytes, crc32c, .. } in &self.files {
                table.row([path.clone(), written_by.to_string(), text::bytes(*bytes), crc32c.clone()]);
            }
            out.table(&table)?;
        }
        Ok(())
    }
}

impl Times {
    fn of(times: &CheckpointTimes) -> Self {
        Times {
            init_ns: text::nanos(times.init),
            prepare_ns: text::nanos(times.prepare),
            confirm_ns: text::nanos(times.confirm),
            complete_ns: text::nanos(times.complete),
            total_ns: text::nanos(times.total()),
        }
    }
}

impl Operator {
    fn of(operator: &OperatorSnapshot) -> highwater_core::Result<Self> {
        let states = States::of(operator)?;
        let mut keyed = BTreeMap::<&str, Vec<&KeyedSnapshot>>::new();
        for part in operator.subtasks.iter().flat_map(|(_, task)| &task.keyed) {
            keyed.entry(&part.name).or_default().push(part);
        }
        let lists = states.lists.iter().map(|(name, list)| List {
            name: (*name).to_owned(),
            redistribution: redistribution(list.redistribution),
            schema: list.schema.clone(),
            elements: list.elements.len(),
            bytes: list.elements.iter().map(|(_, element)| element.len() as u64).sum(),
        });
        Ok(Operator {
            uid: operator.uid.to_string(),
            name: operator.name.clone(),
            parallelism: operator.parallelism.count(),
            max_parallelism: operator.max_parallelism.count(),
            keyed: keyed.into_iter().map(|(name, parts)| Keyed::of(name, &parts, states.keyed.as_ref())).collect(),
            operator_states: lists.collect(),
        })
    }

    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        out.line("")?;
        out.line(format!("operator {} ({})", self.uid, self.name))?;
        out.line(format!("  parallelism {}, max parallelism {}", self.parallelism, self.max_parallelism))?;
        for Keyed { name, schema, entries, bytes, segments, stores } in &self.keyed {
            let segment_count = text::count(segments.len() as u64, "segment");
            out.line(format!("  keyed {name}: {entries} entries, {}, {segment_count}", text::bytes(*bytes)))?;
            if let Some(schema) = schema {
                out.line(format!("    {schema}"))?;
            }
            for Segment { id, blocks, entries, bytes } in segments {
                let size = format!("{}, {entries} entries, {}", text::count(*blocks, "block"), text::bytes(*bytes));
                out.line(format!("    written by {id}: {size}"))?;
            }
            for Store { kind, files } in stores {
                out.line(format!("    store of kind {kind}: {}", text::count(*files as u64, "file")))?;
            }
        }
        for List { name, redistribution, schema, elements, bytes } in &self.operator_states {
            let size = format!("{}, {}", text::count(*elements as u64, "element"), text::bytes(*bytes));
            out.line(format!("  operator state {name} ({redistribution}): {size}"))?;
            out.line(format!("    {schema}"))?;
        }
        Ok(())
    }
}

impl Keyed {
    fn of(name: &str, parts: &[&KeyedSnapshot], schema: Option<&StateSchema>) -> Self {
        let mut segments = BTreeMap::<u64, Segment>::new();
        for segment in parts.iter().flat_map(|part| &part.lineage.segments) {
            let sum = segments.entry(segment.id.0).or_insert(Segment { id: segment.id.0, ..Segment::default() });
            for block in &segment.blocks {
                sum.blocks += 1;
                sum.entries += block.entries;
                sum.bytes += block.bytes();
            }
        }
        let stores = parts.iter().filter_map(|part| part.store.as_ref());
        Keyed {
            name: name.to_owned(),
            schema: schema.cloned(),
            entries: segments.values().map(|segment| segment.entries).sum(),
            bytes: segments.values().map(|segment| segment.bytes).sum(),
            stores: stores.map(|store| Store { kind: store.kind.clone(), files: store.files.len() }).collect(),
            segments: segments.into_values().collect(),
        }
    }
}

impl File {
    fn of(snapshot: &Snapshot, file: &FileDigest) -> Self {
        File {
            path: format!("{}/{}", snapshot.storage().uri(), snapshot.path_of(file)),
            written_by: file.shared_by.unwrap_or(snapshot.metadata().id).0,
            shared: file.shared_by.is_some(),
            bytes: file.len,
            crc32c: format!("{:08x}", file.crc32c),
        }
    }
}
