//! Amounts as the queries' SQL has them: `DECIMAL(23, 3)`.

use std::fmt;

/// Thousandths of the unit, displayed with three digits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Euros(u64);

impl Euros {
    /// `0.908 * dollars`, exactly.
    #[inline]
    pub fn of_dollars(dollars: u64) -> Self {
        Euros(908 * dollars)
    }

    /// So many, and nothing after the point.
    #[inline]
    pub fn whole(euros: u64) -> Self {
        Euros(1000 * euros)
    }
}

impl fmt::Display for Euros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_three_digits() {
        assert_eq!([100, 125, 1].map(|dollars| Euros::of_dollars(dollars).to_string()), ["90.800", "113.500", "0.908"]);
        assert!(Euros::of_dollars(1000) < Euros::whole(909));
    }
}
