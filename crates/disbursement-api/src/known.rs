//! Keys that this process has met: whose they are, and a table for each that signs often.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

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

#[cfg(test)]
mod tests {
    use records::Payload;
    use records::journal::Group;
    use records::scalar::Integer;
    use signing::digest::Digest;
    use signing::keys::SecretKey;

    use super::*;

    fn known(secret: &SecretKey, signatures: u32) -> Arc<KnownKey> {
        let key = KnownKey::new(secret.public().clone(), "anna".parse().unwrap());
        key.signatures.store(signatures, Ordering::Relaxed);
        Arc::new(key)
    }

    fn record(secret: &SecretKey, number: u64, is_good: bool) -> Record {
        let group = Group {
            epoch: "1/1".parse().unwrap(),
            first: Integer(number),
            ledger: Digest::of("a ledger"),
            record_key: None,
            recorded_at: "2030-01-01T00:00:00Z".parse().unwrap(),
            root: Digest::of("a root"),
            rules: Integer(1),
        };
        let mut envelope = Record::sign(Payload::Group(group), secret).unwrap().envelope().clone();
        envelope.signature.0[0] ^= u8::from(!is_good);
        Record::parse(envelope).unwrap()
    }

    /// Each record has the verdict of its own signature, whichever way it came to.
    #[test]
    fn each_is_verified_by_its_own_key() {
        let [often, seldom] = [1, 2].map(|seed| SecretKey::from_seed([seed; 32]));
        let (prepared, plain) = (known(&often, PREPARED_FROM), known(&seldom, 0));
        let mut claims = Vec::new();
        let mut expected = Vec::new();
        for number in 0..24 {
            let is_good = number % 5 != 0;
            let (secret, key) = if number % 3 == 0 { (&seldom, &plain) } else { (&often, &prepared) };
            let (secret, is_other) = if number % 7 == 6 {
                (&seldom, key.public.id() != seldom.public().id())
            } else {
                (secret, false)
            };
            claims.push((record(secret, number, is_good), Arc::clone(key)));
            expected.push((is_good && !is_other).then_some(number));
        }
        let found: Vec<Option<u64>> = verify_all(claims)
            .into_iter()
            .map(|verdict| match verdict.ok()?.payload() {
                Payload::Group(group) => Some(group.first.0),
                _ => None,
            })
            .collect();
        assert!(prepared.prepared.get().is_some() && plain.prepared.get().is_none());
        assert_eq!(found, expected);
        assert!(expected.iter().any(Option::is_none) && expected.iter().any(Option::is_some));
    }
}
