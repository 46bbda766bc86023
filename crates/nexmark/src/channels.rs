//! The channels that bids come through, and their URLs: drawn once.

use std::sync::LazyLock;

use crate::random::Random;
use crate::text::string;

/// Channels that are not hot.
pub(crate) const CHANNELS: u32 = 10_000;

/// The names of the hot channels.
const HOT: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// The seed of the URLs.
const SEED: u64 = 2;

/// A channel with its URL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub name: &'static str,
    pub url: &'static str,
}

/// All channels.
#[derive(Debug)]
pub(crate) struct Channels {
    pub hot: [Channel; 4],
    pub others: Vec<Channel>,
}

impl Channels {
    /// Those of this process, which are those of every other.
    pub fn get() -> &'static Channels {
        static DRAWN: LazyLock<Channels> = LazyLock::new(Channels::draw);
        &DRAWN
    }

    fn draw() -> Channels {
        let mut random = Random::new(SEED);
        let hot = HOT.map(|name| Channel { name, url: url(&mut random).leak() });
        let others = (0..CHANNELS).map(|index| {
            let mut url = url(&mut random);
            if random.below(10) > 0 {
                let id = (index.reverse_bits() as i32).wrapping_abs();
                url.push_str(&format!("&channel_id={id}"));
            }
            Channel { name: format!("channel-{index}").leak(), url: url.leak() }
        });
        Channels { hot, others: others.collect() }
    }
}

fn url(random: &mut Random) -> String {
    let mut part = || string(random, 5, '_');
    format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", part(), part(), part())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_channels_are_those_of_the_reference() {
        let Channels { hot, others } = Channels::get();
        let urls = ["mgi/ze_/moks", "vev/rzs/amc", "ulk_/csln/bux", "hycn/tfzr/mofv"];
        let urls = urls.map(|parts| format!("https://www.nexmark.com/{parts}/item.htm?query=1"));
        assert_eq!(hot.map(|channel| channel.url.to_owned()), urls);
        let table: String = others.iter().map(|Channel { name, url }| format!("{name}|{url}\n")).collect();
        let hash = format!("{:x}", Sha256::digest(table));
        assert_eq!(hash, "ed12d956f381dec86de605c81d855ad2b229bfc410eca7062d5cf07b07ccd8ce");
        assert_eq!(others.iter().filter(|channel| !channel.url.contains("channel_id")).count(), 1010);
    }
}
