//! Keys that this process has met: whose they are, and a table for each that signs often.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ledger::id::PrincipalId;
use records::{Record, Verified};
use signing::dsse::VerifyError;
use signing::http::{HttpSignatureError, Unverified};
use signing::keys::PublicKey;
use signing::prepared::PreparedKey;

/// Verifies records, each by its key, strictly. Those whose keys are prepared share what costs less for many.
pub(crate) fn verify_all(claims: Vec<(Record, Arc<KnownKey>)>) -> Vec<Result<Verified, VerifyError>> {
    let (records, keys): (Vec<Record>, Vec<Arc<KnownKey>>) = claims.into_iter().unzip();
    let mut verdicts = Vec::with_capacity(records.len());
    let (mut places, mut together) = (Vec::new(), Vec::new());
    for (record, key) in records.into_iter().zip(&keys) {
        match key.prepared() {
            Some(prepared) => {
                places.push(verdicts.len());
                together.push((record, prepared));
                verdicts.push(Err(VerifyError::KeyMismatch));
            }
            None => verdicts.push(record.verify(&key.public)),
        }
    }
    for (place, verdict) in places.into_iter().zip(Record::verify_all(together)) {
        verdicts[place] = verdict;
    }
    verdicts
}

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
