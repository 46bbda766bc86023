//! The parser, the dates and the generated log of the `visitors` example.

#[path = "../examples/visitors/generated.rs"]
mod generated;
#[path = "../examples/visitors/log.rs"]
mod log;
#[path = "../examples/visitors/mix.rs"]
mod mix;
#[path = "../examples/visitors/time.rs"]
mod time;

use log::Request;
use time::{Civil, UnixSeconds};

const LINE: &str =
    r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a.png HTTP/1.1" 200 203023 "http://a.net/" "Mozilla/5.0""#;
const TIME: UnixSeconds = UnixSeconds(1_431_857_103);

/// `LINE` with a part of it replaced.
fn with(from: &str, to: &str) -> String {
    assert!(LINE.contains(from), "{from}");
    LINE.replacen(from, to, 1)
}

#[track_caller]
fn assert_accepted(line: &str, address: &str, bytes: u64) {
    let parsed = Request::parse(line).map(|request| (request.address, request.time, request.bytes));
    assert_eq!(parsed, Some((address, TIME, bytes)), "{line}");
}

#[test]
fn a_request_is_address_time_and_bytes() {
    assert_accepted(LINE, "83.149.9.216", 203_023);
}

#[test]
fn the_request_is_as_it_stands_and_the_status_is_a_number() {
    for (line, request, status) in [
        (LINE.to_string(), "GET /a.png HTTP/1.1", 200),
        (with("GET /a.png HTTP/1.1\" 200", "-\" 408"), "-", 408),
        (with("/a.png", "/größe/\u{fffd}"), "GET /größe/\u{fffd} HTTP/1.1", 200),
    ] {
        let parsed = Request::parse(&line).map(|parsed| (parsed.request, parsed.status));
        assert_eq!(parsed, Some((request, status)), "{line}");
    }
}

#[test]
fn addresses_may_be_ipv6_or_names() {
    for address in ["2001:db8::a:1", "fe80::1%eth0", "::1", "crawl-66-249.example.com", "localhost", "my_host"] {
        assert_accepted(&with("83.149.9.216", address), address, 203_023);
    }
}

#[test]
fn no_bytes_are_0_bytes() {
    assert_accepted(&with(" 203023 ", " - "), "83.149.9.216", 0);
    assert_accepted(&with(" 203023 ", " 0 "), "83.149.9.216", 0);
}

#[test]
fn escaped_quotes_do_not_end_a_field() {
    for request in [r#"GET /\"x\" HTTP/1.1"#, r#"\""#, r#"\\"#, r#"\\\" 500 1 \"-\""#, r"\x16\x03\x01", "-", ""] {
        let line = with("GET /a.png HTTP/1.1", request);
        assert_accepted(&line, "83.149.9.216", 203_023);
        assert_eq!(Request::parse(&line).map(|parsed| parsed.request), Some(request));
        assert_accepted(&with("http://a.net/", request), "83.149.9.216", 203_023);
        assert_accepted(&with("Mozilla/5.0", request), "83.149.9.216", 203_023);
    }
}

#[test]
fn users_may_have_spaces_and_servers_may_add_fields() {
    assert_accepted(&with(" - - ", " - Jane Doe "), "83.149.9.216", 203_023);
    assert_accepted(&with(" - - ", " id - "), "83.149.9.216", 203_023);
    assert_accepted(&format!("{LINE} \"10.0.0.1\" 0.004"), "83.149.9.216", 203_023);
}

#[test]
fn text_that_is_not_ascii_is_only_refused_in_the_address() {
    assert_accepted(&with("/a.png", "/größe/\u{fffd}"), "83.149.9.216", 203_023);
    assert_eq!(Request::parse(&with("83.149.9.216", "größe")), None);
}

#[test]
fn every_beginning_of_a_line_is_refused() {
    for len in 0..LINE.len() {
        assert_eq!(Request::parse(&LINE[..len]), None, "{}", &LINE[..len]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for (from, to) in [
        ("83.149.9.216", ""),
        ("83.149.9.216", "a,b"),
        ("83.149.9.216", "\"a\""),
        (" - - ", " - "),
        (" - - ", " - -"),
        ("17/May", "17/may"),
        ("17/May", "32/May"),
        ("17/May", "00/May"),
        ("17/May", "31/Apr"),
        ("17/May/2015", "29/Feb/2015"),
        ("17/May", "7/May"),
        ("10:05:03", "24:05:03"),
        ("10:05:03", "10:60:03"),
        ("10:05:03", "10:05:61"),
        ("10:05:03", "10:05:+3"),
        (" +0000]", " 00000]"),
        (" +0000]", " +0060]"),
        (" +0000]", " +2400]"),
        (" +0000]", "]"),
        ("\"GET", "GET"),
        (" 200 ", " 20 "),
        (" 200 ", " 2x0 "),
        (" 200 ", "  200 "),
        (" 203023 ", " -1 "),
        (" 203023 ", " 1.5 "),
        (" 203023 ", "  "),
        (" 203023 ", " 18446744073709551616 "),
        ("/\" \"M", "/\" M"),
        ("Mozilla/5.0\"", "Mozilla/5.0\\\""),
        ("Mozilla/5.0\"", "Mozilla/5.0\"x"),
    ] {
        assert_eq!(Request::parse(&with(from, to)), None, "{from} -> {to}");
    }
    assert_eq!(Request::parse("not a log line"), None);
}

#[test]
fn time_zones_are_taken_off() {
    for (local, zone) in
        [("17/May/2015:10:05:03", "-0000"), ("17/May/2015:12:05:03", "+0200"), ("16/May/2015:22:35:03", "-1130")]
    {
        let line = with("17/May/2015:10:05:03 +0000", &format!("{local} {zone}"));
        assert_accepted(&line, "83.149.9.216", 203_023);
    }
}

#[test]
fn times_are_shown_as_iso_8601() {
    assert_eq!(TIME.to_string(), "2015-05-17T10:05:03Z");
    assert_eq!(UnixSeconds(0).to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(UnixSeconds(-1).to_string(), "1969-12-31T23:59:59Z");
    assert_eq!(UnixSeconds(951_782_400).to_string(), "2000-02-29T00:00:00Z");
    assert_eq!(UnixSeconds(4_107_542_399).to_string(), "2100-02-28T23:59:59Z");
    assert_eq!(UnixSeconds(4_107_542_400).to_string(), "2100-03-01T00:00:00Z");
}

#[test]
fn days_follow_each_other_through_all_years() {
    let day = |day: i64| Civil::from(UnixSeconds(day * 86_400));
    // The years 1 to 9999.
    let mut last = day(-719_162);
    assert_eq!((last.year, last.month, last.day), (1, 1, 1));
    for number in -719_161..=2_932_896 {
        let next = day(number);
        assert_eq!(next.to_unix(), Some(UnixSeconds(number * 86_400)));
        let follows = match (next.month, next.day) {
            (1, 1) => (last.month, last.day) == (12, 31) && next.year == last.year + 1,
            (month, 1) => last.day >= 28 && month == last.month + 1 && next.year == last.year,
            (month, day) => (next.year, month, day) == (last.year, last.month, last.day + 1),
        };
        assert!(follows, "{next:?} after {last:?}");
        last = next;
    }
    assert_eq!((last.year, last.month, last.day), (9999, 12, 31));
}

#[test]
fn the_generated_log_has_one_line_in_a_thousand_that_does_not_fit() {
    let lines: Vec<_> = (0..20_000).map(generated::line).collect();
    let times: Vec<_> = lines.iter().filter_map(|line| Request::parse(line)).map(|request| request.time).collect();
    assert_eq!(lines.len() - times.len(), 20);
    assert!(times.windows(2).any(|pair| pair[0] > pair[1]), "out of order");
    assert_eq!(generated::line(7), generated::line(7));
}
