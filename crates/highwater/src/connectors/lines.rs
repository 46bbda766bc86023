//! Records as lines: cutting bytes into lines, and writing them.
//!
//! A line ends with `\n` or `\r\n`, which does not belong to it. Whoever owns the [`LineCutter`] counts positions: every byte
//! that was read is taken exactly once, as part of a line with its ending or by a skip.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};

/// How much is asked of the input at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// The longest line that is accepted unless the user says otherwise.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// A line is longer than its source accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// A line, and how many bytes it took from the input, ending included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) taken: usize,
}

impl Line<'_> {
    /// The line as text; what is not UTF-8 becomes U+FFFD.
    #[inline]
    pub(super) fn text(self) -> String {
        match std::str::from_utf8(self.bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(self.bytes).into_owned(),
        }
    }
}

/// Holds what has been read and not yet been taken: `begin <= searched <= filled <= buffer.len()`.
#[derive(Debug)]
pub(super) struct LineCutter {
    buffer: Vec<u8>,
    begin: usize,
    /// There is no `\n` between `begin` and here.
    searched: usize,
    filled: usize,
    max_line_bytes: usize,
}

impl LineCutter {
    pub(super) fn new(max_line_bytes: usize) -> Self {
        LineCutter { buffer: Vec::new(), begin: 0, searched: 0, filled: 0, max_line_bytes }
    }

    pub(super) fn max_line_bytes(&self) -> usize {
        self.max_line_bytes
    }

    /// How many bytes have been read and not taken.
    pub(super) fn buffered(&self) -> usize {
        self.filled - self.begin
    }

    /// Reads a block from `input` and returns its length: 0 at the end of the input.
    pub(super) fn read_from(&mut self, input: &mut impl Read) -> io::Result<usize> {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.filled, 0);
            self.searched -= self.begin;
            self.filled -= self.begin;
            self.begin = 0;
        }
        if self.buffer.len() < self.filled + BLOCK_BYTES {
            // Pages the system has zeroed are not touched before they are used: a small file costs a small part of the block.
            let mut larger = vec![0; (self.filled + BLOCK_BYTES).max(2 * self.buffer.len())];
            larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
            self.buffer = larger;
        }
        loop {
            match input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.filled += count;
                    return Ok(count);
                }
            }
        }
    }

    /// Takes the next whole line, or `None` if more has to be read first.
    #[inline]
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'_>>, TooLong> {
        let Some(newline) = memchr::memchr(b'\n', &self.buffer[self.searched..self.filled]) else {
            self.searched = self.filled;
            // One byte more than the longest line may be the `\r` before a `\n` that is not there yet.
            return if self.filled - self.begin > self.max_line_bytes.saturating_add(1) {
                Err(TooLong)
            } else {
                Ok(None)
            };
        };
        let (begin, end) = (self.begin, self.searched + newline);
        self.begin = end + 1;
        self.searched = self.begin;
        let bytes = &self.buffer[begin..end];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() > self.max_line_bytes {
            return Err(TooLong);
        }
        Ok(Some(Line { bytes, taken: end + 1 - begin }))
    }

    /// Takes what follows the last `\n`, once the input has ended and [`next_line`](Self::next_line) has returned `None`: the
    /// last line, if it has no ending.
    pub(super) fn last_line(&mut self) -> Result<Option<Line<'_>>, TooLong> {
        let bytes = &self.buffer[self.begin..self.filled];
        self.begin = self.filled;
        self.searched = self.filled;
        match bytes.len() {
            0 => Ok(None),
            taken if taken > self.max_line_bytes => Err(TooLong),
            taken => Ok(Some(Line { bytes, taken })),
        }
    }

    /// Takes all bytes through the next `\n`, or all there are: how many, and whether the `\n` was among them.
    pub(super) fn skip_line(&mut self) -> (usize, bool) {
        let newline = memchr::memchr(b'\n', &self.buffer[self.searched..self.filled]);
        let end = newline.map_or(self.filled, |newline| self.searched + newline + 1);
        let skipped = end - self.begin;
        self.begin = end;
        self.searched = end;
        (skipped, newline.is_some())
    }

    /// Takes up to `count` bytes without looking at them: how many.
    pub(super) fn skip_bytes(&mut self, count: u64) -> usize {
        let skipped = usize::try_from(count).unwrap_or(usize::MAX).min(self.filled - self.begin);
        self.begin += skipped;
        self.searched = self.begin;
        skipped
    }
}

/// Appends `record` and `\n`.
///
/// # Panics
/// If the record's `Display` returns an error, as [`ToString`] does.
#[inline]
pub(super) fn append_line<T: Display>(record: &T, out: &mut Vec<u8>) {
    writeln!(out, "{record}").expect("the record's Display returned an error, though memory takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time, so that every line is cut at some border.
    struct Trickle<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(self.bytes.len());
            let (head, rest) = self.bytes.split_at(count);
            buffer[..count].copy_from_slice(head);
            self.bytes = rest;
            Ok(count)
        }
    }

    fn cut(bytes: &[u8], step: usize, max: usize) -> Result<Vec<String>, TooLong> {
        let (mut input, mut cutter) = (Trickle { bytes, step }, LineCutter::new(max));
        let (mut lines, mut taken) = (Vec::new(), 0);
        loop {
            while let Some(line) = cutter.next_line()? {
                lines.push(line.text());
                taken += line.taken;
            }
            if cutter.read_from(&mut input).unwrap() == 0 {
                break;
            }
        }
        if let Some(line) = cutter.last_line()? {
            lines.push(line.text());
            taken += line.taken;
        }
        assert_eq!(taken, bytes.len(), "every byte is taken once");
        Ok(lines)
    }

    #[test]
    fn lines_do_not_depend_on_where_blocks_end() {
        for text in ["", "\n", "\r\n", "a", "a\n", "a\r\nb", "\n\na\r\n\r\n", "a\rb\r", "größe\nπ\r\n…", "ab\n\rcd\n"]
        {
            for step in 1..=text.len().max(1) {
                assert_eq!(cut(text.as_bytes(), step, 100), Ok(text.lines().map(String::from).collect()), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(cut(b"caf\xe9 au lait\nok", 3, 100), Ok(vec!["caf\u{fffd} au lait".into(), "ok".into()]));
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for ending in ["", "\n", "\r\n"] {
            for step in 1..8 {
                assert_eq!(cut(format!("abcd{ending}").as_bytes(), step, 4), Ok(vec!["abcd".into()]), "{ending:?}");
                assert_eq!(cut(format!("abcde{ending}").as_bytes(), step, 4), Err(TooLong), "{ending:?}");
            }
        }
    }
}
