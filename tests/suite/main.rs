//! The integration tests: one binary, its modules by subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod auditing;
mod authorisation;
mod bad_input;
mod choices;
mod continued;
mod crash;
mod deployed;
mod evidence;
mod failover;
mod faults;
mod foreign;
mod fuzzed;
mod golden_logs;
mod ground;
mod http;
mod insider;
mod keys;
mod life;
mod limits;
mod load;
mod observed;
mod openapi;
mod oracle;
mod packs;
mod pipeline;
mod published;
mod readme;
mod recovery;
mod rekey;
mod reopened;
mod second;
mod shutdown;
mod simulation;
mod tampered;
mod tidy;
mod tokens;
mod two_services;
mod witness;
