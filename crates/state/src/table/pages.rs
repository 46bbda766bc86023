//! In which order the pages of a table are visited.

/// All pages, each once, those that follow each other far apart: page `i * stride` modulo the number of pages, with a
/// stride near the golden section.
///
/// So the rows of any first part of them have hashes from everywhere, and may be put into another, smaller table one
/// by one without filling it from one end.
#[derive(Clone, Debug)]
pub(super) struct PageOrder {
    pages: usize,
    stride: usize,
    next: usize,
    left: usize,
}

impl PageOrder {
    pub(super) fn new(pages: usize) -> Self {
        let golden = ((pages as u64 * 0x9E37_79B9) >> 32) as usize;
        let stride =
            (golden.max(1)..).find(|stride| gcd(*stride, pages) <= 1).expect("the next prime has no factor in common");
        PageOrder { pages, stride, next: 0, left: pages }
    }
}

impl Iterator for PageOrder {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let page = self.next;
        self.next = (page + self.stride) % self.pages;
        Some(page)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_visited_once() {
        for pages in (0..300).chain([4096, 9973, 30030]) {
            let mut visited: Vec<usize> = PageOrder::new(pages).collect();
            visited.sort_unstable();
            assert!(visited.into_iter().eq(0..pages), "{pages}");
        }
    }

    /// In none of eight equal parts of the table are there more than twice as many of the first pages as on average.
    #[test]
    fn the_first_pages_are_from_everywhere() {
        for pages in (64..2000).step_by(7) {
            let first = 32;
            let mut parts = [0; 8];
            PageOrder::new(pages).take(first).for_each(|page| parts[page * 8 / pages] += 1);
            assert!(parts.iter().all(|count| *count <= 2 * first / 8), "{pages}: {parts:?}");
        }
    }
}
