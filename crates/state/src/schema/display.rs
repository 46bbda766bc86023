//! Schemas as people read them: much like the Rust types they came from.

use std::fmt::{self, Display, Formatter};

use super::{Field, NamedState, Schema, StateKind, StateSchema, Variant};

impl Display for Schema {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Schema::U8 => f.write_str("u8"),
            Schema::U16 => f.write_str("u16"),
            Schema::U32 => f.write_str("u32"),
            Schema::U64 => f.write_str("u64"),
            Schema::U128 => f.write_str("u128"),
            Schema::I8 => f.write_str("i8"),
            Schema::I16 => f.write_str("i16"),
            Schema::I32 => f.write_str("i32"),
            Schema::I64 => f.write_str("i64"),
            Schema::I128 => f.write_str("i128"),
            Schema::F32 => f.write_str("f32"),
            Schema::F64 => f.write_str("f64"),
            Schema::Bool => f.write_str("bool"),
            Schema::Char => f.write_str("char"),
            Schema::Unit => f.write_str("()"),
            Schema::String => f.write_str("String"),
            Schema::Duration => f.write_str("Duration"),
            Schema::SystemTime => f.write_str("SystemTime"),
            Schema::Ipv4 => f.write_str("Ipv4Addr"),
            Schema::Ipv6 => f.write_str("Ipv6Addr"),
            Schema::Ip => f.write_str("IpAddr"),
            Schema::Option(value) => write!(f, "Option<{value}>"),
            Schema::List(element) => write!(f, "List<{element}>"),
            Schema::Set(element) => write!(f, "Set<{element}>"),
            Schema::Map(key, value) => write!(f, "Map<{key}, {value}>"),
            Schema::Tuple(parts) => {
                f.write_str("(")?;
                separated(f, parts)?;
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
            Schema::Array(element, len) => write!(f, "[{element}; {len}]"),
            Schema::Struct { name, fields } => {
                f.write_str(name)?;
                braced(f, fields)
            }
            Schema::Enum { name, variants } => {
                write!(f, "enum {name}")?;
                braced(f, variants)
            }
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.schema)
    }
}

impl Display for Variant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        braced(f, &self.fields)
    }
}

impl Display for NamedState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        let (schema, ttl) = (&self.schema, if self.ttl { ", Ttl" } else { "" });
        match &self.kind {
            StateKind::Value => write!(f, "ValueState<{schema}{ttl}>"),
            StateKind::List => write!(f, "ListState<{schema}{ttl}>"),
            StateKind::Map { key } => write!(f, "MapState<{key}, {schema}{ttl}>"),
            StateKind::Reducing => write!(f, "ReducingState<{schema}{ttl}>"),
            StateKind::Aggregating => write!(f, "AggregatingState<{schema}{ttl}>"),
            StateKind::Plain => write!(f, "{schema}"),
        }
    }
}

impl Display for StateSchema {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} =>", self.key)?;
        braced(f, &self.states)
    }
}

/// ` { a, b }`, or nothing for nothing.
fn braced(f: &mut Formatter<'_>, items: &[impl Display]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    f.write_str(" { ")?;
    separated(f, items)?;
    f.write_str(" }")
}

fn separated(f: &mut Formatter<'_>, items: &[impl Display]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
