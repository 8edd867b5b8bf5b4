//! The bytes of records, tested from outside: one binary, its modules by subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bad;
mod golden;
mod round_trip;
mod samples;
