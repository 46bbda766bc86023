//! Every kind of value: what is encoded is decoded, nothing else is, and the hash is that of the encoding.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_core::KeyHash;
use highwater_state::{Data, DecodeError};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct UserId(u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct Host(String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct Point {
    x: i32,
    y: i32,
    r#type: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Data)]
struct Visit {
    user: UserId,
    host: Host,
    at: Point,
    tags: Vec<String>,
    // The names that the generated code uses itself.
    out: u8,
    input: u16,
    slot: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
enum Color {
    Red,
    Green,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Data)]
enum Event {
    Quit,
    Click(Point, UserId),
    Key { code: char, color: Color },
    Nested(Box<Visit>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Data)]
enum Id {
    Small(u32),
    Other { bits: [u8; 4] },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Data)]
struct Pair<A, B: Ord = u8, const N: usize = 2> {
    left: A,
    right: [B; N],
}

fn encoding<T: Data>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// Everything that must hold for any value.
fn check<T: Data + PartialEq + Debug>(value: T) {
    let bytes = encoding(&value);
    let followed = [&bytes[..], b"next"].concat();
    let mut input = &followed[..];
    assert_eq!(T::decode(&mut input).as_ref(), Ok(&value), "{bytes:02x?}");
    assert_eq!(input, b"next", "{value:?} is not decoded to its end: {bytes:02x?}");

    assert!(T::WIDTH.min() <= bytes.len(), "{:?} of {value:?}", T::WIDTH);
    if let Some(width) = T::WIDTH.exact() {
        assert_eq!(width, bytes.len(), "{value:?}");
        let mut slot = vec![0xee; width + 2];
        assert_eq!(value.store(&mut slot), [0xee; 2], "{value:?}");
        assert_eq!(slot[..width], bytes, "{value:?}");
    }
    // Of a long encoding one prefix in so many, to stay quick.
    for len in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
        let prefix = T::decode(&mut &bytes[..len]);
        assert!(prefix.is_err(), "{prefix:?} from {len} of the bytes {bytes:02x?}");
    }
    assert_eq!(value.key_hash(), KeyHash::of(&bytes), "{value:?}");
}

/// What arbitrary bytes decode to must be what they are the encoding of.
fn check_bytes<T: Data>(bytes: &[u8]) {
    let mut input = bytes;
    if let Ok(value) = T::decode(&mut input) {
        assert_eq!(encoding(&value), bytes[..bytes.len() - input.len()]);
    }
}

/// Types whose entries may come in any order: bytes that decode give a value that is as good as any other.
fn check_unordered_bytes<T: Data + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = T::decode(&mut &*bytes) {
        assert_eq!(T::decode(&mut &encoding(&value)[..]), Ok(value));
    }
}

fn points() -> impl Strategy<Value = Point> {
    any::<(i32, i32, u8)>().prop_map(|(x, y, kind)| Point { x, y, r#type: kind })
}

prop_compose! {
    fn visits()(
        user in any::<u64>(), host in any::<String>(), at in points(), tags in any::<Vec<String>>(),
        out in any::<u8>(), input in any::<u16>(), slot in any::<Option<u32>>(),
    ) -> Visit {
        Visit { user: UserId(user), host: Host(host), at, tags, out, input, slot }
    }
}

fn colors() -> impl Strategy<Value = Color> {
    prop_oneof![Just(Color::Red), Just(Color::Green)]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Quit),
        (points(), any::<u64>()).prop_map(|(at, user)| Event::Click(at, UserId(user))),
        (any::<char>(), colors()).prop_map(|(code, color)| Event::Key { code, color }),
        visits().prop_map(|visit| Event::Nested(Box::new(visit))),
    ]
}

/// Times that every supported machine's clock can express.
fn times() -> impl Strategy<Value = SystemTime> {
    (any::<bool>(), 0..4_000_000_000u64, 0..1_000_000_000u32).prop_map(|(before, seconds, nanos)| {
        let distance = Duration::new(seconds, nanos);
        if before { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    })
}

macro_rules! round_trip {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {$(
            #[test]
            fn $name(value in $strategy) {
                check(value);
            }
        )*}
    };
}

round_trip! {
    unsigned: any::<(u8, u16, u32, u64, u128)>();
    signed: any::<(i8, i16, i32, i64, i128)>();
    one_integer: any::<u64>();
    machine_words: any::<(usize, isize)>();
    floats: (-1e300..1e300f64, -1e30..1e30f32);
    truth_and_characters: any::<(bool, char, ())>();
    text: any::<String>();
    long_text: "[a-z]{100,300}";
    shared_text: any::<String>().prop_map(|text| (Arc::<str>::from(text.as_str()), text.into_boxed_str()));
    one_shared_text: any::<String>().prop_map(Arc::<str>::from);
    options: any::<(Option<u64>, Option<String>, Option<Option<()>>)>();
    pointers: any::<u32>().prop_map(|value| (Box::new(value), Arc::new(value)));
    one_pointer: any::<String>().prop_map(Arc::new);
    lists: any::<(Vec<u8>, Vec<u64>, Vec<String>, Vec<(u8, Option<u16>)>)>();
    list_of_units: (0..40usize).prop_map(|len| vec![(); len]);
    rings: (any::<VecDeque<u16>>(), 0..8usize).prop_map(|(mut ring, turns)| {
        // So that the elements lie in two pieces.
        for _ in 0..turns.min(ring.len()) {
            let first = ring.pop_front().expect("not empty");
            ring.push_back(first);
        }
        ring
    });
    ordered: any::<(BTreeMap<String, u32>, BTreeMap<u8, Vec<u8>>, BTreeSet<i64>)>();
    arrays: any::<([u8; 16], [u64; 3], [String; 2], [u32; 0], [[u16; 2]; 20])>();
    tuples: any::<((u8,), (u64, u64), (u8, u16, u32, u64, String, bool, char, i8))>();
    wide: any::<[u128; 20]>();
    durations: any::<Duration>();
    system_times: times();
    addresses: any::<(Ipv4Addr, Ipv6Addr, IpAddr)>();
    structs: visits();
    fixed_structs: points();
    newtypes: any::<(u64, String)>().prop_map(|(user, host)| (UserId(user), Host(host), Unit));
    one_newtype: any::<String>().prop_map(Host);
    enums: events();
    plain_enums: colors();
    fixed_enums: any::<(bool, u32)>().prop_map(|(small, bits)| {
        if small { Id::Small(bits) } else { Id::Other { bits: bits.to_be_bytes() } }
    });
    generic: (points(), any::<[u64; 3]>()).prop_map(|(left, right)| Pair { left, right });
    generic_text: any::<(String, [u8; 2])>().prop_map(|(left, right)| Pair { left, right });
}

proptest! {
    // The encoding of a hash map depends on its order, so only the value can be compared.
    #[test]
    fn hash_maps(map in any::<HashMap<String, u64>>(), set in any::<HashSet<u16>>()) {
        let bytes = encoding(&(map.clone(), set.clone()));
        let mut input = &bytes[..];
        prop_assert_eq!(Data::decode(&mut input), Ok((map, set)));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in arbitrary_bytes()) {
        check_bytes::<(u8, u64, i128)>(&bytes);
        check_bytes::<(bool, char, ())>(&bytes);
        check_bytes::<(usize, isize)>(&bytes);
        check_bytes::<String>(&bytes);
        check_bytes::<Arc<str>>(&bytes);
        check_bytes::<Vec<u8>>(&bytes);
        check_bytes::<Vec<String>>(&bytes);
        check_bytes::<VecDeque<Vec<u16>>>(&bytes);
        check_bytes::<Option<Option<bool>>>(&bytes);
        check_bytes::<[Option<u8>; 5]>(&bytes);
        check_bytes::<(Duration, SystemTime)>(&bytes);
        check_bytes::<Vec<SystemTime>>(&bytes);
        check_bytes::<IpAddr>(&bytes);
        check_bytes::<Visit>(&bytes);
        check_bytes::<Event>(&bytes);
        check_bytes::<Vec<Id>>(&bytes);
        check_unordered_bytes::<BTreeMap<u8, u8>>(&bytes);
        check_unordered_bytes::<BTreeSet<String>>(&bytes);
        check_unordered_bytes::<HashMap<u16, Option<String>>>(&bytes);
        check_unordered_bytes::<HashSet<u8>>(&bytes);
    }
}

/// Bytes in which small numbers are frequent, so that tags and lengths are often valid.
fn arbitrary_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![3 => Just(0), 3 => 0..6u8, 1 => any::<u8>()], 0..200)
}

fn decode<T: Data>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::decode(&mut &*bytes)
}

#[test]
fn bytes_that_stand_for_nothing_are_named() {
    assert_eq!(decode::<u64>(&[1; 7]), Err(DecodeError::CutOff { what: "u64" }));
    assert_eq!(decode::<bool>(&[2]), Err(DecodeError::Invalid { what: "bool", found: 2 }));
    assert_eq!(decode::<char>(&[0, 0xd8, 0, 0]), Err(DecodeError::Invalid { what: "char", found: 0xd800 }));
    assert_eq!(decode::<Option<u8>>(&[7, 0]), Err(DecodeError::Invalid { what: "Option", found: 7 }));
    assert_eq!(decode::<Event>(&[4]), Err(DecodeError::Invalid { what: "Event", found: 4 }));
    assert_eq!(decode::<String>(&[1, 0, 0, 0, 0xff]), Err(DecodeError::NotUtf8));
    assert_eq!(decode::<IpAddr>(&[5; 17]), Err(DecodeError::Invalid { what: "IpAddr", found: 5 }));
    let nanos = Err(DecodeError::Invalid { what: "Duration", found: 1_000_000_000 });
    assert_eq!(decode::<Duration>(&encoding(&(0u64, 1_000_000_000u32))), nanos);
    let twice = encoding(&vec![(1u8, 2u8), (1, 3)]);
    assert_eq!(decode::<BTreeMap<u8, u8>>(&twice), Err(DecodeError::Duplicate { what: "Map" }));
    assert_eq!(decode::<HashMap<u8, u8>>(&twice), Err(DecodeError::Duplicate { what: "Map" }));
    assert_eq!(decode::<BTreeSet<u8>>(&encoding(&vec![4u8, 4])), Err(DecodeError::Duplicate { what: "Set" }));
    assert_eq!(DecodeError::TooLong { len: 9, left: 3 }.to_string(), "a length of 9 cannot fit the 3 bytes left");
}

#[test]
fn a_length_is_checked_before_anything_is_allocated() {
    let bytes = [&[0xff; 4][..], &[0; 60]].concat();
    let too_long = DecodeError::TooLong { len: u32::MAX, left: 60 };
    assert_eq!(decode::<String>(&bytes), Err(too_long));
    assert_eq!(decode::<Vec<u64>>(&bytes), Err(too_long));
    assert_eq!(decode::<VecDeque<String>>(&bytes), Err(too_long));
    assert_eq!(decode::<BTreeMap<u8, u8>>(&bytes), Err(too_long));
    assert_eq!(decode::<HashMap<u8, ()>>(&bytes), Err(too_long));
    // Elements that take no bytes fit in any number; a set has at most one of them.
    assert_eq!(decode::<HashSet<()>>(&bytes), Err(DecodeError::Duplicate { what: "Set" }));
    // Nine integers do not fit 71 bytes.
    assert_eq!(
        decode::<Vec<u64>>(&[&[9, 0, 0, 0][..], &[0; 71]].concat()),
        Err(DecodeError::TooLong { len: 9, left: 71 })
    );
}

#[test]
fn a_hash_within_an_encoding_leaves_the_outer_hash_alone() {
    #[derive(Clone, Debug, PartialEq)]
    struct Signed(Vec<u64>);

    impl Data for Signed {
        const WIDTH: highwater_state::data::Width = <(Vec<u64>, u64)>::WIDTH;

        fn schema() -> highwater_state::Schema {
            <(Vec<u64>, u64)>::schema()
        }

        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
            self.0.key_hash().0.encode(out);
        }

        fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
            <(Vec<u64>, u64)>::decode(input).map(|(values, _)| Signed(values))
        }
    }

    check(Signed(vec![1, 2, 3]));
}

#[test]
fn the_crate_can_be_named() {
    mod facade {
        pub use highwater_state as state;
    }

    #[derive(Clone, Debug, PartialEq, facade::state::Data)]
    #[data(crate = "facade::state")]
    struct Named {
        id: u32,
    }

    check(Named { id: 7 });
}
