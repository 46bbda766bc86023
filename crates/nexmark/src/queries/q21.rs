//! q21: bids with the id of their channel.
//!
//! ```sql
//! SELECT
//!     auction, bidder, price, channel,
//!     CASE
//!         WHEN lower(channel) = 'apple' THEN '0'
//!         WHEN lower(channel) = 'google' THEN '1'
//!         WHEN lower(channel) = 'facebook' THEN '2'
//!         WHEN lower(channel) = 'baidu' THEN '3'
//!         ELSE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2)
//!         END
//!     AS channel_id FROM bid
//!     where REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) is not null or
//!           lower(channel) in ('apple', 'google', 'facebook', 'baidu');
//! ```

use std::fmt;

use highwater::DataStream;

use super::{Row, bids};
use crate::event::{Event, Text};

/// A bid.
#[derive(Clone, Debug)]
pub struct Q21 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// The name of the channel.
    pub channel: Text,
    /// Its id: one of four that are known, or what its address says.
    pub channel_id: Text,
}

impl Row for Q21 {}

impl fmt::Display for Q21 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q21 { auction, bidder, price, channel, channel_id } = self;
        write!(f, "{auction}|{bidder}|{price}|{channel}|{channel_id}")
    }
}

/// The query over `events`.
pub fn q21(events: &DataStream<Event>) -> DataStream<Q21> {
    bids(events, |bid| {
        let channel_id = known_id(&bid.channel).map(Text::Borrowed).or_else(|| channel_id(&bid.url))?;
        Some(Q21 { auction: bid.auction, bidder: bid.bidder, price: bid.price, channel: bid.channel, channel_id })
    })
}

fn known_id(channel: &str) -> Option<&'static str> {
    let known = [("apple", "0"), ("google", "1"), ("facebook", "2"), ("baidu", "3")];
    known.into_iter().find(|(name, _)| channel.eq_ignore_ascii_case(name)).map(|(_, id)| id)
}

/// What the second group of `(&|^)channel_id=([^&]*)` matches.
fn channel_id(url: &Text) -> Option<Text> {
    const NAME: &str = "channel_id=";
    let begin = if url.starts_with(NAME) { NAME.len() } else { url.find("&channel_id=")? + 1 + NAME.len() };
    let end = url[begin..].find('&').map_or(url.len(), |len| begin + len);
    Some(match url {
        Text::Borrowed(url) => Text::Borrowed(&url[begin..end]),
        Text::Owned(url) => Text::Owned(url[begin..end].to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_what_the_expression_finds_first() {
        let id = |url: &'static str| channel_id(&Text::Borrowed(url)).map(Text::into_owned);
        assert_eq!(id("a?query=1&channel_id=12").as_deref(), Some("12"));
        assert_eq!(id("channel_id=3&channel_id=4").as_deref(), Some("3"));
        assert_eq!(id("a&channel_id=&b").as_deref(), Some(""));
        assert_eq!(id("a?channel_id=3"), None);
    }

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(
            ["Apple", "GOOGLE", "facebook", "Baidu", "channel-1"].map(known_id),
            [Some("0"), Some("1"), Some("2"), Some("3"), None]
        );
    }
}
