//! q22: bids with the folders of their addresses.
//!
//! ```sql
//! SELECT
//!     auction, bidder, price, channel,
//!     SPLIT_INDEX(url, '/', 3) as dir1,
//!     SPLIT_INDEX(url, '/', 4) as dir2,
//!     SPLIT_INDEX(url, '/', 5) as dir3 FROM bid;
//! ```

use std::fmt;

use highwater::DataStream;

use super::{Row, bids};
use crate::event::{Event, Text};

/// A bid.
#[derive(Clone, Debug)]
pub struct Q22 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// The name of the channel.
    pub channel: Text,
    /// The parts 3, 4 and 5 of its address, if it has as many.
    pub dirs: [Option<Text>; 3],
}

impl Row for Q22 {}

impl fmt::Display for Q22 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q22 { auction, bidder, price, channel, dirs } = self;
        write!(f, "{auction}|{bidder}|{price}|{channel}")?;
        dirs.iter().try_for_each(|dir| write!(f, "|{}", dir.as_deref().unwrap_or("null")))
    }
}

/// The query over `events`.
pub fn q22(events: &DataStream<Event>) -> DataStream<Q22> {
    bids(events, |bid| {
        let dirs = match &bid.url {
            Text::Borrowed(url) => folders(url).map(|part| part.map(Text::Borrowed)),
            Text::Owned(url) => folders(url).map(|part| part.map(|part| Text::Owned(part.to_owned()))),
        };
        Some(Q22 { auction: bid.auction, bidder: bid.bidder, price: bid.price, channel: bid.channel, dirs })
    })
}

fn folders(url: &str) -> [Option<&str>; 3] {
    let mut parts = url.split('/').skip(3);
    std::array::from_fn(|_| parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_fewer_parts() {
        assert_eq!(folders("https://site/a/b/c/item.htm"), [Some("a"), Some("b"), Some("c")]);
        assert_eq!(folders("https://site/a/"), [Some("a"), Some(""), None]);
    }
}
