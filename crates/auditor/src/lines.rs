//! Lines of bounded length, with their numbers: no input makes more than one line's bound of it stay in memory.

use std::io::{self, BufRead, Read};

/// The most bytes of a line that holds a record or a balance, without its line feed: more than an envelope may have.
pub(crate) const LINE_BYTES_MAX: u64 = 66_000;

/// The most bytes of the header's line: a checkpoint with every character escaped, and the other fields.
pub(crate) const HEADER_BYTES_MAX: u64 = 2 * translog::checkpoint::MAX_NOTE_BYTES as u64 + 1_000;

/// What stands next in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line, without its line feed.
    Line(Vec<u8>),
    /// A line without a line feed at its end: the file was cut off.
    Unterminated,
    /// A line that is longer than allowed.
    TooLong,
    /// Nothing.
    End,
}

/// The file, read line by line.
pub(crate) struct Lines<R> {
    file: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// From its beginning.
    pub fn new(file: R) -> Self {
        Lines { file, number: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next line, of at most so many bytes.
    pub fn next(&mut self, bytes_max: u64) -> io::Result<Next> {
        let mut bytes = Vec::new();
        (&mut self.file).take(bytes_max + 1).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(Next::End);
        }
        self.number += 1;
        Ok(match bytes.pop() {
            Some(b'\n') => Next::Line(bytes),
            _ if bytes.len() as u64 >= bytes_max => Next::TooLong,
            _ => Next::Unterminated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_end() {
        let mut lines = Lines::new(&b"abc\n\nabcd\nab"[..]);
        assert_eq!(lines.next(3).unwrap(), Next::Line(b"abc".to_vec()));
        assert_eq!(lines.next(3).unwrap(), Next::Line(vec![]));
        assert_eq!(lines.next(3).unwrap(), Next::TooLong);
        let mut lines = Lines::new(&b"abc\nab"[..]);
        assert_eq!(lines.next(3).unwrap(), Next::Line(b"abc".to_vec()));
        assert_eq!(lines.next(3).unwrap(), Next::Unterminated);
        assert_eq!((lines.next(3).unwrap(), lines.number()), (Next::End, 2));
    }
}
