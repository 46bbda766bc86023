//! Every combination of choices, depth first, without writing nested loops.
//!
//! A run asks [`Choices::choose`] wherever it could go on in several ways; [`explore`] runs it again and again until each way
//! has been gone once. After the idea of TigerBeetle's `exhaustigen` and matklad's "Generate All the Things".

/// The way through one run: what was chosen at each fork, and out of how many.
#[derive(Debug, Default)]
pub struct Choices {
    forks: Vec<(usize, usize)>,
    depth: usize,
}

impl Choices {
    /// One of `0..count`.
    pub fn choose(&mut self, count: usize) -> usize {
        assert!(count > 0, "nothing to choose from");
        if self.depth == self.forks.len() {
            self.forks.push((0, count));
        }
        let (chosen, of) = self.forks[self.depth];
        assert_eq!(of, count, "a run has to be a function of its choices");
        self.depth += 1;
        chosen
    }

    /// Goes on to the next way; `false` if this was the last.
    fn advance(&mut self) -> bool {
        assert_eq!(self.depth, self.forks.len(), "a run has to be a function of its choices");
        self.depth = 0;
        while let Some((chosen, count)) = self.forks.pop() {
            if chosen + 1 < count {
                self.forks.push((chosen + 1, count));
                return true;
            }
        }
        false
    }
}

/// Runs `run` once for every way through its choices, and returns how many there were.
pub fn explore(mut run: impl FnMut(&mut Choices)) -> usize {
    let mut choices = Choices::default();
    let mut runs = 0;
    loop {
        run(&mut choices);
        runs += 1;
        if !choices.advance() {
            return runs;
        }
    }
}

#[test]
fn every_combination_comes_exactly_once() {
    let mut seen = Vec::new();
    let runs = explore(|choices| {
        let first = choices.choose(2);
        let more = (0..first + 1).map(|_| choices.choose(2)).collect::<Vec<_>>();
        seen.push((first, more));
    });
    assert_eq!(runs, 6);
    let all = [(0, vec![0]), (0, vec![1]), (1, vec![0, 0]), (1, vec![0, 1]), (1, vec![1, 0]), (1, vec![1, 1])];
    assert_eq!(seen, all);
}
