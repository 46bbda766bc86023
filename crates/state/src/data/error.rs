//! Why bytes are not a value.

use std::fmt;

/// What is wrong with bytes that should be a value. The caller knows where they came from and adds it.
///
/// Bytes from storage are decoded only after their checksum verified, so this means that they were written for another
/// type, or by another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends inside a value of this type.
    CutOff {
        /// The type.
        what: &'static str,
    },
    /// A tag or number that no value of this type has.
    Invalid {
        /// The type.
        what: &'static str,
        /// What was read.
        found: u64,
    },
    /// A length that the bytes left cannot hold.
    TooLong {
        /// The length read, in elements or in bytes of text.
        len: u32,
        /// The bytes left after it.
        left: usize,
    },
    /// Text that is not UTF-8.
    NotUtf8,
    /// The same key twice in a map, or the same element twice in a set.
    Duplicate {
        /// The type.
        what: &'static str,
    },
    /// So many values that take no bytes that nobody can have meant them.
    TooManyEmpty,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::CutOff { what } => write!(f, "the bytes end inside a value of type {what}"),
            DecodeError::Invalid { what, found } => write!(f, "{found} stands for no value of type {what}"),
            DecodeError::TooLong { len, left } => write!(f, "a length of {len} cannot fit the {left} bytes left"),
            DecodeError::NotUtf8 => f.write_str("text is not UTF-8"),
            DecodeError::Duplicate { what } => write!(f, "the same entry twice in a {what}"),
            DecodeError::TooManyEmpty => f.write_str("more values without bytes than can be shown"),
        }
    }
}

impl std::error::Error for DecodeError {}
