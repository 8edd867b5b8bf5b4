//! Times and dates as data, each with one spelling. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use time::{Duration, Month, OffsetDateTime};

use crate::text::serde_as_text;

/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;
const DAY_S: i64 = 86_400;

/// Why a text is not a time or a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not spelled `YYYY-MM-DDTHH:MM:SSZ`, or no such second.
    #[error("a time is written YYYY-MM-DDTHH:MM:SSZ")]
    NotATimestamp,
    /// Not spelled `YYYY-MM-DD`, or no such day.
    #[error("a date is written YYYY-MM-DD")]
    NotADate,
}

/// A second in UTC, in the years 0001 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From seconds since 1970; none outside the years 0001 to 9999.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        (FIRST..=LAST).contains(&seconds).then_some(Self(seconds))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// This many seconds later, if that is still in range.
    pub fn plus(self, seconds: u64) -> Option<Self> {
        self.0.checked_add_unsigned(seconds).and_then(Self::from_unix)
    }

    /// Seconds from `earlier` to this; none if `earlier` is later.
    pub fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0).and_then(|seconds| u64::try_from(seconds).ok())
    }

    /// The day in UTC.
    pub fn date(self) -> Date {
        // Saturating, so that there is no failure to handle: the range was checked at construction.
        Date(OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::seconds(self.0)).date())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0.rem_euclid(DAY_S);
        write!(f, "{}T{:02}:{:02}:{:02}Z", self.date(), second / 3600, second / 60 % 60, second % 60)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse_timestamp(text).ok_or(TimeError::NotATimestamp)
    }
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once('T')?;
    let date: Date = date.parse().ok()?;
    let [h, i, c1, m, n, c2, s, t, z] = *clock.as_bytes() else { return None };
    if [c1, c2, z] != *b"::Z" {
        return None;
    }
    let (hour, minute, second) = (number(&[h, i])?, number(&[m, n])?, number(&[s, t])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    date.start().plus((hour * 3600 + minute * 60 + second).into())
}

/// A day in the years 0001 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(time::Date);

impl Date {
    /// The day's year.
    pub fn year(self) -> i32 {
        self.0.year()
    }

    /// The day's first second in UTC.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.midnight().assume_utc().unix_timestamp())
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({self})")
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

impl FromStr for Date {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse_date(text).ok_or(TimeError::NotADate)
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let [y1, y2, y3, y4, h1, m1, m2, h2, d1, d2] = *text.as_bytes() else { return None };
    let year = number(&[y1, y2, y3, y4])?;
    let month = Month::try_from(u8::try_from(number(&[m1, m2])?).ok()?).ok()?;
    let day = u8::try_from(number(&[d1, d2])?).ok()?;
    if [h1, h2] != *b"--" || year == 0 {
        return None;
    }
    time::Date::from_calendar_date(i32::try_from(year).ok()?, month, day).ok().map(Date)
}

/// Digits only: `parse` would also take a sign.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |n, d| {
        let digit = d.is_ascii_digit().then(|| u32::from(d - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

serde_as_text!(Timestamp, Date);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_round_trip() {
        for (text, unix) in [
            ("0001-01-01T00:00:00Z", FIRST),
            ("1969-12-31T23:59:59Z", -1),
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:34:56Z", 1_709_210_096),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            let parsed: Timestamp = text.parse().unwrap();
            assert_eq!((parsed.unix(), parsed.to_string().as_str()), (unix, text));
            assert_eq!(parsed.date().to_string(), text[..10]);
            assert_eq!(serde_json::to_string(&parsed).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Timestamp>(&format!("{text:?}")).unwrap(), parsed);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "2024-02-29t12:34:56z",
            "2024-02-29T12:34:56z",
            "2024-02-29 12:34:56Z",
            "2024-02-29T12:34:56",
            "2024-02-29T12:34:56+00:00",
            "2024-02-29T12:34:56.0Z",
            "2024-02-29T12:34:60Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T12:60:00Z",
            "2023-02-29T12:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "+2024-01-01T00:00:00Z",
            "2024-1-01T00:00:00Z",
            "2024-01-01T+1:00:00Z",
            "2024-01-01T00:00:00Z ",
            "2024-01-01T00:0é:0Z",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(TimeError::NotATimestamp), "{bad}");
        }
        for bad in
            ["", "2024-2-01", "2024-02-30", "0000-01-01", "20240201", "2024/02/01", "2024-02-01T", "２024-01"]
        {
            assert_eq!(bad.parse::<Date>(), Err(TimeError::NotADate), "{bad}");
        }
    }

    #[test]
    fn arithmetic_stays_in_range() {
        let at = |n| Timestamp::from_unix(n).unwrap();
        assert_eq!(Timestamp::from_unix(LAST + 1), None);
        assert_eq!(Timestamp::from_unix(i64::MIN), None);
        assert_eq!(at(LAST).plus(1), None);
        assert_eq!(at(0).plus(u64::MAX), None);
        assert_eq!(at(5).plus(7), Some(at(12)));
        assert_eq!(at(12).since(at(5)), Some(7));
        assert_eq!(at(5).since(at(12)), None);
        let day: Date = "2024-03-01".parse().unwrap();
        assert_eq!((day.year(), day.start().to_string().as_str()), (2024, "2024-03-01T00:00:00Z"));
    }
}
