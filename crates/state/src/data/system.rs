//! Times and network addresses of the standard library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Data, DecodeError, Width, store_bytes, take};
use crate::schema::Schema;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

fn decode_nanos(input: &mut &[u8], what: &'static str) -> Result<u32, DecodeError> {
    let nanos = u32::decode(input)?;
    if nanos < NANOS_PER_SECOND { Ok(nanos) } else { Err(DecodeError::Invalid { what, found: nanos.into() }) }
}

/// Seconds as `u64`, then nanoseconds within the second as `u32`.
impl Data for Duration {
    const WIDTH: Width = <(u64, u32)>::WIDTH;

    fn schema() -> Schema {
        Schema::Duration
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (self.as_secs(), self.subsec_nanos()).encode(out);
    }

    #[inline]
    fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
        (self.as_secs(), self.subsec_nanos()).store(slot)
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let seconds = u64::decode(input)?;
        Ok(Duration::new(seconds, decode_nanos(input, "Duration")?))
    }
}

/// Seconds since the Unix epoch, rounded down, as `i64`, then nanoseconds within the second as `u32`.
impl Data for SystemTime {
    const WIDTH: Width = <(i64, u32)>::WIDTH;

    fn schema() -> Schema {
        Schema::SystemTime
    }

    fn encode(&self, out: &mut Vec<u8>) {
        since_epoch(*self).encode(out);
    }

    fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
        since_epoch(*self).store(slot)
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let seconds = i64::decode(input)?;
        let nanos = Duration::from_nanos(decode_nanos(input, "SystemTime")?.into());
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let start = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        // A machine may have a narrower clock than the one that wrote the time.
        let invalid = DecodeError::Invalid { what: "SystemTime", found: seconds.unsigned_abs() };
        start.and_then(|start| start.checked_add(nanos)).ok_or(invalid)
    }
}

fn since_epoch(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
        Err(before) => match before.duration() {
            before if before.subsec_nanos() == 0 => (-(before.as_secs() as i64), 0),
            before => (-1 - before.as_secs() as i64, NANOS_PER_SECOND - before.subsec_nanos()),
        },
    }
}

macro_rules! address {
    ($address:ident, $schema:ident) => {
        /// The bytes in network order.
        impl Data for $address {
            const WIDTH: Width = Width::fixed(size_of::<$address>());

            fn schema() -> Schema {
                Schema::$schema
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.octets());
            }

            #[inline]
            fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
                store_bytes(&self.octets(), slot)
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let octets: [u8; size_of::<$address>()] = take(input, stringify!($address))?;
                Ok($address::from(octets))
            }
        }
    };
}

address!(Ipv4Addr, Ipv4);
address!(Ipv6Addr, Ipv6);

/// The byte 4 or 6, then the address.
impl Data for IpAddr {
    const WIDTH: Width = Width::fixed(1).then(Ipv4Addr::WIDTH.or(Ipv6Addr::WIDTH));

    fn schema() -> Schema {
        Schema::Ip
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            IpAddr::V4(address) => (4u8, *address).encode(out),
            IpAddr::V6(address) => (6u8, *address).encode(out),
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input, "IpAddr")? {
            [4] => Ipv4Addr::decode(input).map(IpAddr::V4),
            [6] => Ipv6Addr::decode(input).map(IpAddr::V6),
            [tag] => Err(DecodeError::Invalid { what: "IpAddr", found: tag.into() }),
        }
    }
}
