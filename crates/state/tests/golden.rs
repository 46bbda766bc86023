//! Encodings and hashes as they are stored: they must never change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use highwater_state::{Data, KeyedState, ListState, MapState, Plain, ValueState};

#[derive(Clone, Data)]
struct Click {
    page: String,
    at_ms: i64,
}

#[derive(Clone, Data)]
enum Event {
    Quit,
    Click(Click),
    Scroll { lines: i16 },
}

#[derive(KeyedState)]
struct Visitor {
    requests: ValueState<u64>,
    pages: MapState<String, u32>,
    latest: ListState<u16>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line of the table: `(what it is, its encoding, the hash of the encoding)`.
fn line<T: Data>(what: &'static str, value: T) -> (&'static str, String, String) {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    (what, hex(&bytes), format!("{:016x}", value.key_hash().0))
}

#[test]
fn encodings_and_hashes_are_pinned() {
    let click = Click { page: "/a".into(), at_ms: -2 };
    let actual = [
        line("()", ()),
        line("u8", 0x12u8),
        line("u16", 0x1234u16),
        line("u32", 0x1234_5678u32),
        line("u64", 42u64),
        line("u128", 1u128 << 120),
        line("i64", -2i64),
        line("usize", 3usize),
        line("f64", 1.5f64),
        line("bool", true),
        line("char", 'é'),
        line("String", "stream".to_owned()),
        line("empty String", String::new()),
        line("None", None::<u64>),
        line("Some", Some(7u16)),
        line("Vec", vec![1u16, 2]),
        line("bytes", vec![0xfeu8, 0xff]),
        line("map", BTreeMap::from([(2u8, true), (1, false)])),
        line("set", BTreeSet::from([9u8, 8])),
        line("pair", (1u64, 2u64)),
        line("tuple", (1u8, "x".to_owned())),
        line("array", [1u16, 2, 3]),
        line("Duration", Duration::new(5, 6)),
        line("time", UNIX_EPOCH + Duration::new(5, 6)),
        line("time before 1970", UNIX_EPOCH - Duration::from_millis(1)),
        line("IPv4", Ipv4Addr::new(192, 0, 2, 1)),
        line("IP", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        line("IP v6", IpAddr::V6(Ipv6Addr::LOCALHOST)),
        line("struct", click.clone()),
        line("unit variant", Event::Quit),
        line("tuple variant", Event::Click(click)),
        line("struct variant", Event::Scroll { lines: -1 }),
    ];
    let expected = [
        ("()", "", "2d06800538d394c2"),
        ("u8", "12", "32fab8142e1b3006"),
        ("u16", "3412", "b5fada9396afc87b"),
        ("u32", "78563412", "2b1e8b2e9c48a3be"),
        ("u64", "2a00000000000000", "d5a6f8c838df27c8"),
        ("u128", "00000000000000000000000000000001", "4152418f75dd93bb"),
        ("i64", "feffffffffffffff", "77f9923217301859"),
        ("usize", "0300000000000000", "4d922029c1f42e7d"),
        ("f64", "000000000000f83f", "2561a4889ff63458"),
        ("bool", "01", "e12ef9d2eb86ceeb"),
        ("char", "e9000000", "5874c6e996bdf0a5"),
        ("String", "0600000073747265616d", "009fc217dd16b2cc"),
        ("empty String", "00000000", "48b2c92616fc193d"),
        ("None", "00", "c44bdff4074eecdb"),
        ("Some", "010700", "36664f93d76de52a"),
        ("Vec", "0200000001000200", "5e33ce69cafab47c"),
        ("bytes", "02000000feff", "d4de32aede318b06"),
        ("map", "0200000001000201", "d3967bfbb478b6aa"),
        ("set", "020000000809", "5892e41fa9df61e5"),
        ("pair", "01000000000000000200000000000000", "07ee86c281446bef"),
        ("tuple", "010100000078", "6f1588ae0586641a"),
        ("array", "010002000300", "c416cfbf9546d233"),
        ("Duration", "050000000000000006000000", "06ad461a89d6735f"),
        ("time", "050000000000000006000000", "06ad461a89d6735f"),
        ("time before 1970", "ffffffffffffffffc0878b3b", "ccd5861640d84989"),
        ("IPv4", "c0000201", "2c1c901eed9adc4a"),
        ("IP", "04c0000201", "645903359085bd51"),
        ("IP v6", "0600000000000000000000000000000001", "155dc7132fde071c"),
        ("struct", "020000002f61feffffffffffffff", "238bcaa93e67552b"),
        ("unit variant", "00", "c44bdff4074eecdb"),
        ("tuple variant", "01020000002f61feffffffffffffff", "7830a489e2043055"),
        ("struct variant", "02ffff", "25e878b978908219"),
    ];
    let actual: Vec<_> = actual.iter().map(|(what, bytes, hash)| (*what, &bytes[..], &hash[..])).collect();
    assert_eq!(actual, expected);
}

#[test]
fn rows_are_pinned() {
    let row = |state: &Visitor| {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        hex(&bytes)
    };
    let mut visitor = Visitor::default();
    assert_eq!(row(&visitor), "000000000000000000");
    visitor.requests.set(3);
    visitor.pages.insert("/".into(), 2);
    visitor.latest.extend([1, 2]);
    assert_eq!(
        row(&visitor),
        "010300000000000000".to_owned() + "01000000" + "010000002f" + "02000000" + "02000000" + "01000200"
    );

    let mut plain = Vec::new();
    Plain(5u32).encode(&mut plain);
    assert_eq!(hex(&plain), "05000000");
}
