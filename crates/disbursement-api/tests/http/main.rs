//! The service over HTTP: a real pipeline on a real PostgreSQL, spoken to over a socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod logs;
mod reads;
mod requests;
mod service;
