//! The rules, tested from outside: one binary, its modules by subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keys;
mod life;
mod padding;
mod partial;
mod precedence;
mod random;
mod refusals;
mod world;
