//! Tests against the standards' own vectors, other implementations, and random input.

mod canonical;
mod dsse;
mod http;
mod http_base;
mod keys;
mod prepared;
mod token;
