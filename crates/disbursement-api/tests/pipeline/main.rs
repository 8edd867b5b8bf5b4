//! The posting pipeline and the publisher on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod life;
mod proxy;
mod publishing;
mod together;
mod trouble;
