//! Random text: short strings drawn letter by letter, and filler cut out of a pool that is drawn once.

use std::sync::LazyLock;

use crate::event::Text;
use crate::random::Random;

/// No drawn string is shorter, before blanks at its ends are taken off.
const SHORTEST: u32 = 3;

/// Characters of the pool.
const POOL: usize = 1 << 20;

/// The seed of the pool.
const SEED: u64 = 1;

/// A string of 3 to `max - 1` characters, each a letter or, once in 13 times, `special`.
pub(crate) fn string(random: &mut Random, max: u32, special: char) -> String {
    let len = SHORTEST + random.below(max - SHORTEST);
    let mut drawn = String::with_capacity(len as usize);
    for _ in 0..len {
        drawn.push(if random.below(13) == 0 { special } else { letter(random.below(26)) });
    }
    match drawn.trim_matches(' ') {
        trimmed if trimmed.len() == drawn.len() => drawn,
        trimmed => trimmed.to_owned(),
    }
}

fn letter(index: u32) -> char {
    char::from(b'a' + index as u8)
}

/// Filler that brings a record of `current` bytes to about `average`; empty if it is longer already.
pub(crate) fn extra(random: &mut Random, current: usize, average: usize) -> Text {
    if current > average {
        return Text::Borrowed("");
    }
    let missing = average - current;
    // A fifth, rounded: a fifth is never half way between two numbers.
    let spread = (missing + 2) / 5;
    let drawn = if spread == 0 { 0 } else { random.below(2 * spread as u32) as usize };
    let len = missing - spread + drawn;
    let offset = random.below((POOL - len) as u32) as usize;
    Text::Borrowed(&pool()[offset..offset + len])
}

/// The text that all filler is a part of.
pub(crate) fn pool() -> &'static str {
    static DRAWN: LazyLock<String> = LazyLock::new(|| {
        let mut random = Random::new(SEED);
        let mut pool = String::with_capacity(POOL + 6);
        while pool.len() < POOL {
            let mut drawn = random.next_i32();
            for _ in 0..6 {
                // The remainder is negative for a negative number, so there are characters before 'a' too.
                pool.push(char::from((i32::from(b'a') + drawn % 26) as u8));
                drawn /= 26;
            }
        }
        pool.truncate(POOL);
        pool
    });
    &DRAWN
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_pool_is_that_of_the_reference() {
        let hash = format!("{:x}", Sha256::digest(pool()));
        assert!(
            pool().starts_with("druytuT`VMPaelakjbvjjgevxofadzmixkfcP`KLaOKaKZ[Ooohxab_`W^]Ykhdu"),
            "{}",
            &pool()[..64]
        );
        assert_eq!(
            (pool().len(), &hash[..]),
            (1_048_576, "b223e316423cd6357792efa42109a3eed16f1af8e26f4d02cb891f6856e72393")
        );
    }
}
