//! Decides how one schema becomes another: what may change, and what must not.
//!
//! A change is allowed if every stored value has exactly one value of the new type that it stands for. Fields, variants
//! and states are matched by name, then by alias; an old one becomes at most one new one.

use super::migration::Incompatible;
use super::step::{Entries, Fields, Origin, Step};
use super::{Field, Schema, Variant};

/// Walks two schemas side by side, and notes what is different.
#[derive(Default)]
pub(super) struct Planner {
    /// Where it is, from the outside in.
    place: Vec<String>,
    changes: Vec<String>,
    /// What two values must not become, within the elements of a set and the keys of a map.
    distinct: Vec<&'static str>,
}

pub(super) type Planned<T> = Result<T, Incompatible>;

impl Planner {
    /// What it has noted, in words.
    pub fn into_changes(self) -> Vec<String> {
        self.changes
    }

    pub fn note(&mut self, change: impl AsRef<str>) {
        self.changes.push(self.say(change.as_ref()));
    }

    pub fn refuse<T>(&self, why: impl AsRef<str>) -> Planned<T> {
        Err(Incompatible::new(self.say(why.as_ref())))
    }

    fn say(&self, what: &str) -> String {
        self.place.iter().map(String::as_str).chain([what]).collect::<Vec<_>>().join(": ")
    }

    /// Does something inside of `place`.
    pub fn within<T>(&mut self, place: impl Into<String>, plan: impl FnOnce(&mut Self) -> Planned<T>) -> Planned<T> {
        self.place.push(place.into());
        let planned = plan(self);
        self.place.pop();
        planned
    }

    /// How a value of `old` becomes one of `new`.
    pub fn value(&mut self, old: &Schema, new: &Schema) -> Planned<Step> {
        if !may_become(old, new) {
            return self.mismatch(old, new);
        }
        let is_copy = |steps: &[&Step]| steps.iter().all(|step| step.is_copy());
        let step = match (old, new) {
            (Schema::Option(old), Schema::Option(new)) => {
                let value = self.within("value", |planner| planner.value(old, new))?;
                if is_copy(&[&value]) { None } else { Some(Step::Option(Box::new(value))) }
            }
            (old, Schema::Option(new)) => {
                self.note(format!("{}, now optional", brief(old)));
                Some(Step::Some(Box::new(self.value(old, new)?)))
            }
            (Schema::List(old), Schema::List(new)) => self.list(old, new)?,
            (Schema::Set(old), Schema::Set(new)) => self.set(old, new)?,
            (Schema::Map(old_key, old), Schema::Map(new_key, new)) => {
                let width = old.min_width();
                self.map((old_key, new_key), width, |planner| {
                    planner.within("value", |planner| planner.value(old, new))
                })?
            }
            (Schema::Array(old, len), Schema::Array(new, _)) => {
                let element = self.within("element", |planner| planner.value(old, new))?;
                if is_copy(&[&element]) { None } else { Some(Step::Array(Box::new(element), *len)) }
            }
            (Schema::Tuple(old), Schema::Tuple(new)) => Some(Step::Fields(self.tuple(old, new)?)),
            (Schema::Struct { fields: old, .. }, Schema::Struct { name, fields: new }) => {
                Some(Step::Fields(self.fields(&format!("struct {name}"), old, new)?))
            }
            (Schema::Enum { variants: old, .. }, Schema::Enum { name, variants: new }) => {
                self.variants(&format!("enum {name}"), old, new)?.map(Step::Enum)
            }
            (old, new) => self.widening(old, new),
        };
        Ok(match step {
            Some(Step::Fields(fields)) if fields.is_copy() => Step::Copy(old.clone()),
            Some(step) => step,
            None => Step::Copy(old.clone()),
        })
    }

    fn mismatch<T>(&self, old: &Schema, new: &Schema) -> Planned<T> {
        let (was, is) = (brief(old), brief(new));
        if integer(old).is_some() && integer(new).is_some() || (old, new) == (&Schema::F64, &Schema::F32) {
            return self.refuse(format!("was {was}, is {is}, which cannot hold every {was}"));
        }
        self.refuse(format!("was {was}, is {is}"))
    }

    /// A number of the same size, or a larger one. Not called for what holds other values.
    fn widening(&mut self, old: &Schema, new: &Schema) -> Option<Step> {
        if old == new {
            return None;
        }
        self.note(format!("widened from {} to {}", brief(old), brief(new)));
        Some(match (integer(old), integer(new)) {
            (Some((from, signed)), Some((to, _))) => Step::Widen { from, to, signed },
            _ => Step::Double,
        })
    }

    fn list(&mut self, old: &Schema, new: &Schema) -> Planned<Option<Step>> {
        let element = self.within("element", |planner| planner.value(old, new))?;
        self.entries(Entries { min_width: old.min_width(), key: element, value: None, sorted_by: None })
    }

    fn set(&mut self, old: &Schema, new: &Schema) -> Planned<Option<Step>> {
        let element = self.distinct("element", "two elements of a set", old, new)?;
        let sorted_by = Some(new.clone());
        self.entries(Entries { min_width: old.min_width(), key: element, value: None, sorted_by })
    }

    /// The entries of a map, whose old values take `width` bytes at least; `None` if they stay as they are.
    pub fn map(
        &mut self,
        (old, new): (&Schema, &Schema),
        width: usize,
        value: impl FnOnce(&mut Self) -> Planned<Step>,
    ) -> Planned<Option<Step>> {
        let key = self.distinct("key", "two keys of a map", old, new)?;
        let sorted_by = if key.is_copy() { None } else { Some(new.clone()) };
        let min_width = old.min_width().saturating_add(width);
        let value = Some(value(self)?);
        self.entries(Entries { min_width, key, value, sorted_by })
    }

    /// A value whose like must not be there twice.
    fn distinct(&mut self, place: &str, two: &'static str, old: &Schema, new: &Schema) -> Planned<Step> {
        self.distinct.push(two);
        let planned = self.within(place, |planner| planner.value(old, new));
        self.distinct.pop();
        planned
    }

    /// The step, or `None` if the entries stay as they are.
    pub fn entries(&self, entries: Entries) -> Planned<Option<Step>> {
        if entries.key.is_copy() && entries.value.as_ref().is_none_or(Step::is_copy) {
            return Ok(None);
        }
        if entries.min_width == 0 {
            return self.refuse("its entries took no bytes, and may be too many to give them any");
        }
        Ok(Some(Step::Entries(Box::new(entries))))
    }

    fn tuple(&mut self, old: &[Schema], new: &[Schema]) -> Planned<Fields> {
        let mut parts = Vec::new();
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            let step = self.within(format!("part {index}"), |planner| planner.value(old, new))?;
            parts.push(Origin::Stored(index, step));
        }
        Ok(Fields::arrange(&old.iter().collect::<Vec<_>>(), parts))
    }

    fn fields(&mut self, of: &str, old: &[Field], new: &[Field]) -> Planned<Fields> {
        let place =
            |name: &str| if of.is_empty() { format!("field `{name}`") } else { format!("field `{name}` of {of}") };
        let sources = sources(&names(old), new.iter().map(|field| (&*field.name, &*field.aliases)));
        let mut origins = Vec::new();
        for (field, source) in new.iter().zip(&sources) {
            origins.push(self.within(place(&field.name), |planner| match source {
                Some(index) => {
                    planner.note_rename(&old[*index].name, &field.name);
                    Ok(Origin::Stored(*index, planner.value(&old[*index].schema, &field.schema)?))
                }
                None => planner.added(field),
            })?);
        }
        for (_, field) in old.iter().enumerate().filter(|(index, _)| !sources.contains(&Some(*index))) {
            self.within(place(&field.name), |planner| planner.removed())?;
        }
        self.note_order(of, "fields", &sources);
        Ok(Fields::arrange(&old.iter().map(|field| &field.schema).collect::<Vec<_>>(), origins))
    }

    fn added(&mut self, field: &Field) -> Planned<Origin> {
        let Some(default) = &field.default else {
            return self.refuse("was added without a default: give it #[data(default)]");
        };
        let mut rest = default.as_slice();
        if field.schema.skip(&mut rest).is_err() || !rest.is_empty() {
            return self.refuse(format!("was added, and its default is not a value of type {}", brief(&field.schema)));
        }
        self.note(format!("added as {}, with its default", brief(&field.schema)));
        Ok(Origin::Inserted(default.clone()))
    }

    fn removed(&mut self) -> Planned<()> {
        if let Some(two) = self.distinct.last() {
            return self.refuse(format!("was removed, and so {two} could become the same: keep it"));
        }
        self.note("removed");
        Ok(())
    }

    /// New index and fields of each old variant; `None` if all stay as they are.
    fn variants(&mut self, of: &str, old: &[Variant], new: &[Variant]) -> Planned<Option<Vec<(u8, Fields)>>> {
        let place = |name: &str| format!("variant `{name}` of {of}");
        let old_names: Vec<_> = old.iter().map(|variant| &*variant.name).collect();
        let sources = sources(&old_names, new.iter().map(|variant| (&*variant.name, &*variant.aliases)));
        let mut planned = Vec::new();
        for (index, variant) in old.iter().enumerate() {
            let target = sources.iter().position(|source| *source == Some(index));
            let Some((target, tag)) = target.and_then(|target| Some((target, u8::try_from(target).ok()?))) else {
                return self.within(place(&variant.name), |planner| {
                    planner.refuse(
                        "was removed, and a stored value may be one: keep it, or name it as an alias of another",
                    )
                });
            };
            let fields = self.within(place(&new[target].name), |planner| {
                planner.note_rename(&variant.name, &new[target].name);
                planner.fields("", &variant.fields, &new[target].fields)
            })?;
            planned.push((tag, fields));
        }
        for (variant, _) in new.iter().zip(&sources).filter(|(_, source)| source.is_none()) {
            self.changes.push(self.say(&format!("{}: added", place(&variant.name))));
        }
        self.note_order(of, "variants", &sources);
        let is_copy =
            planned.iter().enumerate().all(|(index, (tag, fields))| index == usize::from(*tag) && fields.is_copy());
        Ok((!is_copy).then_some(planned))
    }

    pub fn note_rename(&mut self, old: &str, new: &str) {
        if old != new {
            self.note(format!("renamed from `{old}`"));
        }
    }

    fn note_order(&mut self, of: &str, what: &str, sources: &[Option<usize>]) {
        if !sources.iter().flatten().is_sorted() {
            let of = if of.is_empty() { String::new() } else { format!("{of}: ") };
            self.note(format!("{of}{what} in another order"));
        }
    }
}

/// A schema in a few words: of a struct or an enum its name.
pub(super) fn brief(schema: &Schema) -> String {
    match schema {
        Schema::Struct { name, .. } => format!("struct {name}"),
        Schema::Enum { name, .. } => format!("enum {name}"),
        other => other.to_string(),
    }
}

/// Bytes of an integer, and whether it is signed.
fn integer(schema: &Schema) -> Option<(usize, bool)> {
    Some(match schema {
        Schema::U8 => (1, false),
        Schema::U16 => (2, false),
        Schema::U32 => (4, false),
        Schema::U64 => (8, false),
        Schema::U128 => (16, false),
        Schema::I8 => (1, true),
        Schema::I16 => (2, true),
        Schema::I32 => (4, true),
        Schema::I64 => (8, true),
        Schema::I128 => (16, true),
        _ => return None,
    })
}

/// Whether every value of `old` may stand for one of `new`, as far as can be seen without looking inside.
fn may_become(old: &Schema, new: &Schema) -> bool {
    match (old, new) {
        (Schema::Tuple(old), Schema::Tuple(new)) => old.len() == new.len(),
        (Schema::Array(_, old), Schema::Array(_, new)) => old == new,
        (Schema::F32, Schema::F64) => true,
        (old, new) if std::mem::discriminant(old) == std::mem::discriminant(new) => true,
        (old, Schema::Option(new)) => may_become(old, new),
        (old, new) => match (integer(old), integer(new)) {
            (Some((from, was_signed)), Some((to, signed))) => from < to && (signed || !was_signed),
            _ => false,
        },
    }
}

pub(super) fn names(fields: &[Field]) -> Vec<&str> {
    fields.iter().map(|field| &*field.name).collect()
}

/// For each new member, given by its name and the names it had before, the index of the old one that it was: the one of
/// its name, else the first of its aliases that no other takes.
pub(super) fn sources<'a>(
    old: &[&str],
    new: impl Iterator<Item = (&'a str, &'a [String])> + Clone,
) -> Vec<Option<usize>> {
    let find = |name: &str| old.iter().position(|old| *old == name);
    let mut found = Vec::new();
    for (name, _) in new.clone() {
        found.push(find(name).filter(|index| !found.contains(&Some(*index))));
    }
    for (place, (_, aliases)) in new.enumerate() {
        if found[place].is_none() {
            let aliases = aliases.iter().filter_map(|alias| find(alias));
            found[place] = aliases.into_iter().find(|index| !found.contains(&Some(*index)));
        }
    }
    found
}
