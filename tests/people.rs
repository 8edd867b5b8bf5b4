//! People with keys. Their keys come from their names, so that a failing test can be run again with the same bytes.

use ledger::id::PrincipalId;
use signing::digest::Digest;
use signing::keys::SecretKey;

/// Somebody who signs.
pub struct Person {
    /// The name.
    pub principal: PrincipalId,
    /// The key.
    pub key: SecretKey,
}

impl Person {
    /// Somebody with the key that this name always has.
    pub fn new(name: &str) -> Person {
        Person::with_key(name, name)
    }

    /// Somebody with the key of another seed, such as a second key.
    pub fn with_key(name: &str, seed: &str) -> Person {
        Person { principal: name.parse().expect("a principal's id"), key: key(seed) }
    }

    /// The key's seed, for foreign programs.
    pub fn seed_hex(seed: &str) -> String {
        Digest::of(format!("test key of {seed}")).to_string()
    }
}

/// The key of a seed.
pub fn key(seed: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(format!("test key of {seed}")).as_bytes())
}
