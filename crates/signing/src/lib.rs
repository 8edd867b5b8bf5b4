//! Everything about a signature: the bytes that are signed, the keys that sign them, and the two places where a
//! signature appears (an envelope and an HTTP request).
//!
//! | module | standard |
//! |---|---|
//! | [`digest`] | SHA-256 (FIPS 180-4), written as 64 lower-case hexadecimal digits |
//! | [`canonical`] | RFC 8785 for closed types that hold neither numbers nor null |
//! | [`keys`] | Ed25519 (RFC 8032, strict verification), SubjectPublicKeyInfo (RFC 8410), PKCS#8 with PBES2 (RFC 8018) |
//! | [`prepared`] | the same verification for keys that sign often |
//! | [`token`] | what signs: a key in memory, or one in a token, whose signatures are verified before they are used |
//! | [`dsse`] | DSSE v1 envelopes with exactly one signature |
//! | [`http`] | RFC 9421 message signatures with RFC 9530 content digests |
//!
//! What it is not: it knows no record, role or rule, reads no file or clock, and implements no cryptography of its own.
//! Nothing here panics, whatever the input.

pub mod canonical;
pub mod digest;
pub mod dsse;
pub mod http;
pub mod keys;
pub mod prepared;
pub mod token;

#[cfg(test)]
mod tests;
