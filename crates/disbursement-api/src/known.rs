//! Keys that this process has met: whose they are, and a table for each that signs often.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ledger::id::PrincipalId;
use records::{Record, Verified};
use signing::dsse::VerifyError;
use signing::http::{HttpSignatureError, Unverified};
use signing::keys::PublicKey;
use signing::prepared::PreparedKey;

/// From which signature on a key is prepared for more.
const PREPARED_FROM: u32 = 200;

/// How many keys a process prepares: 20 MiB of them.
const PREPARED_MAX: usize = 32;

static PREPARED: AtomicUsize = AtomicUsize::new(0);

/// A key that is enrolled, valid or not, and whose it is: for ever the same.
pub(crate) struct KnownKey {
    pub public: PublicKey,
    pub principal: PrincipalId,
    signatures: AtomicU32,
    prepared: OnceLock<PreparedKey>,
}

impl KnownKey {
    pub(crate) fn new(public: PublicKey, principal: PrincipalId) -> KnownKey {
        KnownKey { public, principal, signatures: AtomicU32::new(0), prepared: OnceLock::new() }
    }

    /// Verifies a record, strictly.
    pub(crate) fn verify(&self, record: Record) -> Result<Verified, VerifyError> {
        match self.prepared() {
            Some(key) => {
                let verdict = Record::verify_all(vec![(record, key)]).pop();
                verdict.unwrap_or(Err(VerifyError::KeyMismatch))
            }
            None => record.verify(&self.public),
        }
    }

    /// Verifies a request, strictly.
    pub(crate) fn verify_request(&self, request: &Unverified) -> Result<(), HttpSignatureError> {
        match self.prepared() {
            Some(key) => request.verify_by(key),
            None => request.verify(&self.public),
        }
    }

    fn prepared(&self) -> Option<&PreparedKey> {
        if self.prepared.get().is_none()
            && self.signatures.fetch_add(1, Ordering::Relaxed) == PREPARED_FROM
            && PREPARED.fetch_add(1, Ordering::Relaxed) < PREPARED_MAX
        {
            self.prepared.get_or_init(|| PreparedKey::new(self.public.clone()));
        }
        self.prepared.get()
    }
}
