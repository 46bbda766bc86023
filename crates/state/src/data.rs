//! Values that can be stored in state and sent between processes: the [`Data`] trait and its encoding.
//!
//! The encoding is *canonical*, fixed-width little endian: equal values of a type that is used as a key have equal
//! bytes, whatever process, machine or version wrote them. It is a stored format; `docs/format.md` describes it, and
//! tests pin its bytes.
//!
//! Why not serde: a job's schemas must be known before the first record, which a serializer that sees one value at a
//! time cannot say; a snapshot must be readable without the code of the job that wrote it; and encoding must run at
//! the speed of memory, since a snapshot encodes every row that changed: fixed width is several times faster than
//! varint, and a pair of integers is one reservation and two stores.
//!
//! Invariants:
//! * `decode` reads exactly the bytes `encode` wrote, so values can be put one after the other without lengths;
//! * `decode` never panics, and allocates only what the input can hold: a length is checked against the bytes left first;
//! * [`Data::key_hash`] is [`KeyHash::of`] over the encoding; an override is faster, never different.

mod collection;
mod compound;
mod error;
mod scalar;
mod system;
mod text;
mod width;

use std::cell::Cell;

/// The hash of a key, which decides its key group.
pub use highwater_core::KeyHash;

pub use error::DecodeError;
pub(crate) use text::decode as decode_text;
pub use width::Width;

use crate::schema::Schema;

/// A value that can be stored in state and sent between processes.
///
/// Implemented for numbers, `bool`, `char`, text, tuples, arrays, `Option`, `Box`, `Arc`, the standard collections,
/// times and IP addresses; derive it for everything else:
///
/// ```
/// use highwater_state::Data;
///
/// #[derive(Clone, Data)]
/// struct Click {
///     page: String,
///     at_ms: i64,
/// }
///
/// let mut bytes = Vec::new();
/// Click { page: "/".into(), at_ms: 7 }.encode(&mut bytes);
/// assert_eq!(bytes, [1, 0, 0, 0, b'/', 7, 0, 0, 0, 0, 0, 0, 0]);
/// assert_eq!(Click::schema().to_string(), "Click { page: String, at_ms: i64 }");
/// ```
///
/// Recursive types are not supported, since their schema would have no end: they do not compile.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in state",
    label = "not `Data`",
    note = "for a type of your own add `#[derive(Clone, Data)]`"
)]
pub trait Data: Clone + Send + 'static {
    /// How many bytes a value encodes to.
    ///
    /// It has to hold for every value, and must be computed from the widths of the types inside. Only a type that
    /// takes no memory may encode to no bytes.
    const WIDTH: Width;

    /// The shape of the encoding, with its names.
    fn schema() -> Schema;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Writes the encoding of a value of fixed width to the start of `slot`, and returns the rest of it.
    ///
    /// # Panics
    /// If `slot` is shorter than the encoding.
    fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
        let mut encoding = Vec::new();
        self.encode(&mut encoding);
        store_bytes(&encoding, slot)
    }

    /// Reads one value from the start of `input` and moves `input` past it.
    ///
    /// # Errors
    /// If the bytes are not the encoding of a value; where `input` then points is unspecified.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// The hash that decides which key group a key belongs to: [`KeyHash::of`] over the encoding.
    #[inline]
    fn key_hash(&self) -> KeyHash {
        match Self::WIDTH.exact() {
            Some(width) if width <= SLOT => {
                let mut slot = [0; SLOT];
                self.store(&mut slot[..width]);
                KeyHash::of(&slot[..width])
            }
            _ => hash_in_scratch(|out| self.encode(out)),
        }
    }
}

/// Values of at most this many bytes are put together on the stack.
const SLOT: usize = 128;

/// Appends the encoding of a value that is made of several: at once if its width is fixed and small, else through
/// `fields`, which appends one part after the other.
///
/// For implementations of [`Data::encode`]. The parts of a small value are stored side by side on the stack, which
/// compiles to as many plain stores after a single check of the capacity of `out`.
#[inline]
pub fn encode_parts<T: Data>(value: &T, out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    match T::WIDTH.exact() {
        Some(width) if width <= SLOT => {
            let mut slot = [0; SLOT];
            value.store(&mut slot[..width]);
            out.extend_from_slice(&slot[..width]);
        }
        _ => {
            out.reserve(T::WIDTH.min());
            fields(out);
        }
    }
}

/// Writes `bytes` to the start of `slot` and returns the rest of it.
#[inline]
fn store_bytes<'a>(bytes: &[u8], slot: &'a mut [u8]) -> &'a mut [u8] {
    let (head, rest) = slot.split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    rest
}

/// The hash of what `encode` appends, in a buffer that the thread keeps.
fn hash_in_scratch(encode: impl FnOnce(&mut Vec<u8>)) -> KeyHash {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    SCRATCH.with(|scratch| {
        // Taken, not borrowed: an `encode` that hashes something itself finds an empty buffer, not a panic.
        let mut buffer = scratch.take();
        buffer.clear();
        encode(&mut buffer);
        let hash = KeyHash::of(&buffer);
        scratch.set(buffer);
        hash
    })
}

/// The next `N` bytes of a value of type `what`.
#[inline]
pub(crate) fn take<const N: usize>(input: &mut &[u8], what: &'static str) -> Result<[u8; N], DecodeError> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or(DecodeError::CutOff { what })?;
    *input = rest;
    Ok(*head)
}

/// Appends the length of a collection or text.
///
/// # Panics
/// If it exceeds `u32::MAX`: a value that cannot be stored must not look as if it were.
#[inline]
fn encode_len(len: usize, out: &mut Vec<u8>) {
    let len = u32::try_from(len).expect("a collection in state holds at most 2^32 - 1 elements");
    out.extend_from_slice(&len.to_le_bytes());
}

/// Reads a length, of elements that take at least `min` bytes each, and checks that the bytes left can hold them.
#[inline]
pub(crate) fn decode_len(input: &mut &[u8], min: usize, what: &'static str) -> Result<usize, DecodeError> {
    let len = u32::from_le_bytes(take(input, what)?);
    let fits = (len as usize).checked_mul(min).is_some_and(|bytes| bytes <= input.len());
    if fits { Ok(len as usize) } else { Err(DecodeError::TooLong { len, left: input.len() }) }
}
