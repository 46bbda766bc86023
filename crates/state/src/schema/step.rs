//! How encoded values of one schema become those of another: a tree of small steps, carried out on bytes alone.
//!
//! Invariants:
//! * what is read is checked as `decode` would check it, and never panics;
//! * what is written grows with what is read: an entry that takes no bytes never becomes one that does (the planner
//!   refuses it), so a length that was made up asks for no memory;
//! * the entries of a set or map are written in the natural order of their keys, none twice, if their keys changed.

use super::Schema;
use super::rank::Rank;
use super::skip::{bool_tag, no_variant};
use crate::data::{Data, DecodeError, decode_len, take};

/// How a value becomes one of the new type.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The same bytes. The schema says where they end.
    Copy(Schema),
    /// An integer gets more bytes.
    Widen { from: usize, to: usize, signed: bool },
    /// An `f32` becomes an `f64`.
    Double,
    /// A value becomes one that is there.
    Some(Box<Step>),
    /// The value, if there is one.
    Option(Box<Step>),
    /// Each of some elements or entries.
    Entries(Box<Entries>),
    /// Each of that many elements.
    Array(Box<Step>, u64),
    /// A struct, a tuple or a row.
    Fields(Fields),
    /// By the old index of a variant: the new one, and its fields.
    Enum(Vec<(u8, Fields)>),
}

/// A list, set or map.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    /// The least number of bytes of an old entry.
    pub min_width: usize,
    /// An element, or the key of an entry.
    pub key: Step,
    /// The value of a map's entry.
    pub value: Option<Step>,
    /// The new schema of the keys, if they may come in another order now.
    pub sorted_by: Option<Schema>,
}

/// What stands one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pieces: Vec<Piece>,
    /// The pieces' indices in the order they are written in, if it is not that in which they are read.
    order: Option<Vec<usize>>,
}

#[derive(Clone, Debug)]
enum Piece {
    Keep(Step),
    Drop(Schema),
    Insert(Vec<u8>),
}

/// Where a new field comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// From the old field of this index.
    Stored(usize, Step),
    /// From nowhere: its encoding.
    Inserted(Vec<u8>),
}

impl Step {
    pub fn is_copy(&self) -> bool {
        matches!(self, Step::Copy(_))
    }

    /// Reads an old value from the start of `input`, moves `input` past it, and appends the new one.
    pub fn run(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self {
            Step::Copy(schema) => {
                let start = *input;
                schema.skip(input)?;
                out.extend_from_slice(&start[..start.len() - input.len()]);
                Ok(())
            }
            Step::Widen { from, to, signed } => widen(*from, *to, *signed, input, out),
            Step::Double => {
                f64::from(f32::decode(input)?).encode(out);
                Ok(())
            }
            Step::Some(value) => {
                out.push(1);
                value.run(input, out)
            }
            Step::Option(value) => {
                let is_some = bool_tag(input, "Option")?;
                out.push(is_some.into());
                if is_some { value.run(input, out) } else { Ok(()) }
            }
            Step::Entries(entries) => entries.run(input, out),
            Step::Array(element, len) => (0..*len).try_for_each(|_| element.run(input, out)),
            Step::Fields(fields) => fields.run(input, out),
            Step::Enum(variants) => {
                let [tag] = take(input, "enum")?;
                let (tag, fields) = variants.get(usize::from(tag)).ok_or_else(|| no_variant(tag))?;
                out.push(*tag);
                fields.run(input, out)
            }
        }
    }
}

fn widen(from: usize, to: usize, signed: bool, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let (number, rest) = input.split_at_checked(from).ok_or(DecodeError::CutOff { what: "number" })?;
    let is_negative = signed && number.last().is_some_and(|byte| byte & 0x80 != 0);
    out.extend_from_slice(number);
    out.resize(out.len() + to - from, if is_negative { 0xff } else { 0 });
    *input = rest;
    Ok(())
}

impl Entries {
    fn run(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let start = *input;
        let len = decode_len(input, self.min_width, "Vec")?;
        out.extend_from_slice(&start[..4]);
        match &self.sorted_by {
            None => (0..len).try_for_each(|_| self.entry(input, out)),
            Some(schema) => self.sorted(schema, len, input, out),
        }
    }

    fn entry(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.key.run(input, out)?;
        self.value.as_ref().map_or(Ok(()), |value| value.run(input, out))
    }

    fn sorted(&self, schema: &Schema, len: usize, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut bytes = Vec::new();
        let mut entries: Vec<(Rank, std::ops::Range<usize>)> = Vec::new();
        for _ in 0..len {
            let start = bytes.len();
            self.entry(input, &mut bytes)?;
            entries.push((schema.rank(&mut &bytes[start..])?, start..bytes.len()));
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(DecodeError::Duplicate { what: if self.value.is_some() { "Map" } else { "Set" } });
        }
        entries.into_iter().for_each(|(_, range)| out.extend_from_slice(&bytes[range]));
        Ok(())
    }
}

impl Fields {
    /// The fields of `new`, made of what is read as `old`. No old field becomes two new ones.
    pub fn arrange(old: &[&Schema], new: Vec<Origin>) -> Self {
        let stored = new.iter().filter_map(|origin| match origin {
            Origin::Stored(index, _) => Some(index),
            Origin::Inserted(_) => None,
        });
        if stored.is_sorted() { Fields::in_order(old, new) } else { Fields::reordered(old, new) }
    }

    fn in_order(old: &[&Schema], new: Vec<Origin>) -> Self {
        let dropped = |schemas: &[&Schema]| -> Vec<_> { schemas.iter().map(|&s| Piece::Drop(s.clone())).collect() };
        let mut pieces = Vec::new();
        let mut next = 0;
        for origin in new {
            match origin {
                Origin::Stored(index, step) => {
                    pieces.extend(dropped(&old[next..index]));
                    pieces.push(Piece::Keep(step));
                    next = index + 1;
                }
                Origin::Inserted(bytes) => pieces.push(Piece::Insert(bytes)),
            }
        }
        pieces.extend(dropped(&old[next..]));
        Fields { pieces, order: None }
    }

    /// First everything that is read, then everything that is not.
    fn reordered(old: &[&Schema], new: Vec<Origin>) -> Self {
        let mut pieces: Vec<_> = old.iter().map(|&schema| Piece::Drop(schema.clone())).collect();
        let place = |origin| match origin {
            Origin::Stored(index, step) => {
                pieces[index] = Piece::Keep(step);
                index
            }
            Origin::Inserted(bytes) => {
                pieces.push(Piece::Insert(bytes));
                pieces.len() - 1
            }
        };
        let order = new.into_iter().map(place).collect();
        Fields { pieces, order: Some(order) }
    }

    /// Whether the bytes stay as they are.
    pub fn is_copy(&self) -> bool {
        self.order.is_none() && self.pieces.iter().all(|piece| matches!(piece, Piece::Keep(step) if step.is_copy()))
    }

    pub fn run(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let Some(order) = &self.order else {
            return self.pieces.iter().try_for_each(|piece| piece.run(input, out));
        };
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for piece in &self.pieces {
            piece.run(input, &mut bytes)?;
            ends.push(bytes.len());
        }
        order.iter().for_each(|&index| out.extend_from_slice(&bytes[ends[index]..ends[index + 1]]));
        Ok(())
    }
}

impl Piece {
    fn run(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self {
            Piece::Keep(step) => step.run(input, out),
            Piece::Drop(schema) => schema.skip(input),
            Piece::Insert(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}
