//! What the suite shares: one PostgreSQL for the whole run, a database a test, services over real HTTP, and people with
//! keys who sign what a test tells them to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

pub mod binary;
pub mod cluster;
pub mod http;
pub mod outsiders;
pub mod people;
pub mod proxy;
pub mod replay;
pub mod service;
pub mod wait;
pub mod world;
