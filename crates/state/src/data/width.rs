//! How many bytes the values of a type encode to, known at compile time.
//!
//! A composite type computes its width from its fields'. Three things rest on it: a fixed-width value is written with
//! one reservation and plain stores, a key of fixed width is hashed without touching the heap, and a length read from
//! storage is checked against the bytes that are left before anything is allocated. Because the width of a type
//! mentions the width of every type inside it, a recursive type does not compile.

/// The least number of bytes of a value, and whether every value takes exactly that many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    min: usize,
    fixed: bool,
}

impl Width {
    /// Every value takes exactly `bytes`.
    pub const fn fixed(bytes: usize) -> Self {
        Width { min: bytes, fixed: true }
    }

    /// No value takes less than `bytes`.
    pub const fn at_least(bytes: usize) -> Self {
        Width { min: bytes, fixed: false }
    }

    /// The width of `self` followed by `next`.
    #[must_use]
    pub const fn then(self, next: Width) -> Self {
        Width { min: self.min + next.min, fixed: self.fixed && next.fixed }
    }

    /// The width of what is either `self` or `other`.
    #[must_use]
    pub const fn or(self, other: Width) -> Self {
        let min = if self.min < other.min { self.min } else { other.min };
        Width { min, fixed: self.fixed && other.fixed && self.min == other.min }
    }

    /// The width of `count` values in a row.
    #[must_use]
    pub const fn times(self, count: usize) -> Self {
        Width { min: self.min * count, fixed: self.fixed || count == 0 }
    }

    /// The width of any number of values in a row, none included.
    #[must_use]
    pub const fn repeated(self) -> Self {
        Width::at_least(0)
    }

    /// The least number of bytes a value takes.
    pub const fn min(self) -> usize {
        self.min
    }

    /// The number of bytes, if all values take the same.
    pub const fn exact(self) -> Option<usize> {
        if self.fixed { Some(self.min) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::Width;

    #[test]
    fn widths_combine() {
        assert_eq!(Width::fixed(1).then(Width::fixed(8)), Width::fixed(9));
        assert_eq!(Width::fixed(1).then(Width::at_least(4)), Width::at_least(5));
        assert_eq!(Width::fixed(4).or(Width::fixed(4)), Width::fixed(4));
        assert_eq!(Width::fixed(0).or(Width::fixed(8)), Width::at_least(0));
        assert_eq!(Width::fixed(2).times(3).exact(), Some(6));
        assert_eq!(Width::at_least(4).times(0).exact(), Some(0));
        assert_eq!(Width::fixed(4).then(Width::fixed(8).repeated()), Width::at_least(4));
    }
}
