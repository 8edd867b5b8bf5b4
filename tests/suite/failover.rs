//! An external PostgreSQL, a primary with a synchronous standby: what was acknowledged survives the primary, an old one that
//! comes back is left alone, and what is on no standby is not signed. The commands are those of
//! `docs/operating/replication.md`.

mod ground;
mod network;
mod primary;
mod unknown;
