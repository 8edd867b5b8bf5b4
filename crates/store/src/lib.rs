//! store: where the ledger is kept. Only this crate contains SQL.
//!
//! | module | what it is for |
//! |---|---|
//! | [`embedded`], [`migrate`] | the server of our own, and the schema |
//! | [`connect`], [`pool`], [`session`] | connections, each with one role and to the right server |
//! | [`load`], [`rows`], [`writer`] | what the posting pipeline reads and appends |
//! | [`log`], [`hashes`], [`register`] | what the publisher reads and writes, and proofs |
//! | [`storage`] | the seam between those two and all of the above |
//! | [`queries`] | what readers ask |

mod append;
pub mod connect;
pub mod embedded;
pub mod error;
pub mod follower;
pub mod hashes;
pub mod load;
pub mod log;
pub mod migrate;
pub mod packed;
pub mod pool;
pub mod queries;
pub mod register;
pub mod rows;
pub mod session;
pub mod storage;
pub mod writer;

pub use connect::Transport;
pub use error::{Fault, StoreError};
pub use pool::{Databases, PoolSizes};
