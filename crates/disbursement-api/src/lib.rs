//! The service: one door for writes, and plain resources to read.
//!
//! | module | what it is for |
//! |---|---|
//! | [`pipeline`] | takes signed instructions, decides them and appends them to the log |
//! | `publisher` | checks what was committed and signs its head |
//! | [`witnesses`] | has witnesses cosign what was signed |
//! | [`app`], [`routes`] | the HTTP interface of `docs/api.md` |
//! | `reads`, `groups` | what requests ask of the database together |
//! | [`openapi`] | the same interface described for programs, made from the list of routes |
//! | [`limits`], `places` | how much is taken at most, and how much of it from one principal |
//! | [`problem`] | what a caller is told when something is not done |
//! | [`metrics`] | what is counted, timed and traced |
//!
//! There is no rule about money here (that is `programme`) and no SQL (that is `store`).

pub mod app;
mod auth;
mod groups;
mod known;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod pipeline;
mod places;
pub mod problem;
mod publisher;
mod reads;
pub mod routes;
mod spare;
pub mod witnesses;
