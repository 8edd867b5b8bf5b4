//! What signs: a key in memory, or one that its holder can use and not read, such as a key in a token.
//!
//! A token may fail, and what it answers is not taken on trust: [`TokenKey`] verifies each signature before anybody gets it.
//! How a token is reached is not known here.

use std::fmt;

use crate::keys::{KeyId, PublicKey, SecretKey, Signature};

/// A key that signs, or says why it did not.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public key.
    fn public(&self) -> &PublicKey;

    /// Signs `message` (RFC 8032 section 5.1.6). A signature that is answered holds.
    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// Why a key did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The token gave no signature, for this reason.
    #[error("the key's token gave no signature: {0}")]
    Token(String),
    /// The token gave something else than a signature by its key. It was thrown away.
    #[error(
        "what the token gave is no signature by the key {0}: it was thrown away, and nothing is signed; have the token and \
         its module looked at"
    )]
    Wrong(KeyId),
}

/// In memory nothing fails.
impl Signer for SecretKey {
    fn public(&self) -> &PublicKey {
        SecretKey::public(self)
    }

    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(self.sign(message))
    }
}

impl Signer for Box<dyn Signer> {
    fn public(&self) -> &PublicKey {
        (**self).public()
    }

    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        (**self).try_sign(message)
    }
}

/// Has a token sign a message: what it answered, or why it did not.
pub type Ask = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// A key in a token.
pub struct TokenKey {
    public: PublicKey,
    ask: Ask,
}

impl TokenKey {
    /// The key with this public part, in whatever `ask` asks.
    pub fn new(public: PublicKey, ask: Ask) -> Self {
        Self { public, ask }
    }
}

impl Signer for TokenKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let answered = (self.ask)(message).map_err(SignError::Token)?;
        let signature = answered.try_into().map(Signature).ok();
        signature
            .filter(|signature| self.public.verify(message, signature).is_ok())
            .ok_or_else(|| SignError::Wrong(self.public.id()))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey(of {})", self.public.id())
    }
}
