//! In which order the parts of a table are visited.

/// The numbers `0..count`, each once, those that follow each other far apart: `i * stride` modulo `count`, with a
/// stride near the golden section.
///
/// So the rows of any first parts of a table have hashes from everywhere, and may be put into another, smaller table
/// one by one without filling it from one end.
#[derive(Clone, Debug)]
pub(super) struct GoldenOrder {
    count: usize,
    stride: usize,
    next: usize,
    left: usize,
}

impl GoldenOrder {
    pub(super) fn new(count: usize) -> Self {
        let golden = ((count as u64 * 0x9E37_79B9) >> 32) as usize;
        let stride = (golden.max(1)..).find(|stride| gcd(*stride, count) <= 1);
        GoldenOrder { count, stride: stride.expect("the next prime has no factor in common"), next: 0, left: count }
    }
}

impl Iterator for GoldenOrder {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let part = self.next;
        self.next = (part + self.stride) % self.count;
        Some(part)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_visited_once() {
        for count in (0..300).chain([4096, 9973, 30030]) {
            let mut visited: Vec<usize> = GoldenOrder::new(count).collect();
            visited.sort_unstable();
            assert!(visited.into_iter().eq(0..count), "{count}");
        }
    }

    /// In none of eight equal ranges are there more than twice as many of the first numbers as on average.
    #[test]
    fn the_first_parts_are_from_everywhere() {
        for count in (64..2000).step_by(7) {
            let first = 32;
            let mut ranges = [0; 8];
            GoldenOrder::new(count).take(first).for_each(|part| ranges[part * 8 / count] += 1);
            assert!(ranges.iter().all(|visits| *visits <= 2 * first / 8), "{count}: {ranges:?}");
        }
    }
}
