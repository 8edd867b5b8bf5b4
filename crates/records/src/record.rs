//! Records: a signed envelope together with what it means.

use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use serde::{Deserialize, Serialize};
use signing::canonical::{self, CanonicalError};
use signing::digest::Digest;
use signing::dsse::{Envelope, EnvelopeError, VerifyError};
use signing::keys::{KeyId, PublicKey};
use signing::prepared::PreparedKey;
use signing::token::{SignError, Signer};

use crate::scalar::{InstructionId, Integer};
use crate::{assets, cases, disbursements, governance, journal};

/// The tree that a signer's client had verified when it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basis {
    /// The RFC 6962 root.
    pub root: Digest,
    /// The number of records.
    pub size: Integer,
}

/// An instruction as it is signed: the same frame around each kind's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instruction<B> {
    /// The checkpoint that the signer's client verified.
    pub basis: Basis,
    /// What is wanted or reported.
    pub body: B,
    /// The signer's own id for this instruction.
    pub id: InstructionId,
    /// When it was signed, by the signer's clock.
    pub issued_at: Timestamp,
    /// The key that signed.
    pub key: KeyId,
    /// The ledger that it is for.
    pub ledger: Digest,
    /// After this time it is void; 30 days after issue at most.
    pub not_after: Timestamp,
    /// Who signed.
    pub signer: PrincipalId,
}

/// The frame of an instruction without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The checkpoint that the signer's client verified.
    pub basis: Basis,
    /// The signer's own id for this instruction.
    pub id: InstructionId,
    /// When it was signed, by the signer's clock.
    pub issued_at: Timestamp,
    /// The key that signed.
    pub key: KeyId,
    /// The ledger that it is for.
    pub ledger: Digest,
    /// After this time it is void.
    pub not_after: Timestamp,
    /// Who signed.
    pub signer: PrincipalId,
}

macro_rules! kinds {
    (instructions { $($variant:ident($type:ty) = $code:literal $name:literal),* $(,)? } others { $($other:ident = $other_code:literal $other_name:literal),* $(,)? }) => {
        /// Every kind of record. The number is the kind's code in the store: it is never given to another kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum Kind { $(#[doc = $other_name] $other = $other_code,)* $(#[doc = $name] $variant = $code,)* }

        impl Kind {
            /// Every kind: what the ledger signs and the founding first, then the instructions.
            pub const ALL: &'static [Kind] = &[$(Kind::$other,)* $(Kind::$variant,)*];

            /// The kind's name, as in its payload type.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$other => $other_name,)* $(Kind::$variant => $name,)* }
            }

            /// The DSSE payload type.
            pub fn payload_type(self) -> &'static str {
                match self {
                    $(Kind::$other => concat!("application/vnd.safeconduct.", $other_name, ".v1+json"),)*
                    $(Kind::$variant => concat!("application/vnd.safeconduct.", $name, ".v1+json"),)*
                }
            }
        }

        /// What an instruction wants or reports.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Body { $(#[doc = $name] $variant($type),)* }

        impl Body {
            /// The body's kind.
            pub fn kind(&self) -> Kind {
                match self { $(Body::$variant(_) => Kind::$variant,)* }
            }

            /// The canonical bytes of the instruction that this body and a header make.
            pub fn encode(self, header: Header) -> Vec<u8> {
                match self { $(Body::$variant(body) => canonical::encode(&header.frame(body)),)* }
            }

            /// The header and body of an instruction's canonical bytes; `None` for a kind that is no instruction.
            pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Option<(Header, Body)>, CanonicalError> {
                match kind {
                    $(Kind::$variant => {
                        let (header, body) = Header::split(canonical::decode::<Instruction<$type>>(bytes)?);
                        Ok(Some((header, Body::$variant(body))))
                    })*
                    $(Kind::$other => Ok(None),)*
                }
            }
        }
    };
}

kinds! {
    instructions {
        Acceptance(governance::Acceptance) = 16 "acceptance",
        Proposal(governance::Proposal) = 17 "proposal",
        Concurrence(governance::Concurrence) = 18 "concurrence",
        Veto(governance::Veto) = 19 "veto",
        AssetRegistration(assets::AssetRegistration) = 20 "asset-registration",
        FundOpening(assets::FundOpening) = 21 "fund-opening",
        BankOpening(assets::BankOpening) = 22 "bank-opening",
        Restraint(assets::Restraint) = 23 "restraint",
        Custody(assets::Custody) = 24 "custody",
        CustodyInterest(assets::CustodyInterest) = 25 "custody-interest",
        Forfeiture(assets::Forfeiture) = 26 "forfeiture",
        ClaimPayment(assets::ClaimPayment) = 27 "claim-payment",
        WindfallIncome(assets::WindfallIncome) = 28 "windfall-income",
        BankFee(assets::BankFee) = 29 "bank-fee",
        Countersignature(assets::Countersignature) = 30 "countersignature",
        Reversal(assets::Reversal) = 31 "reversal",
        Offer(cases::Offer) = 32 "offer",
        CaseOpening(cases::CaseOpening) = 33 "case-opening",
        Screening(cases::Screening) = 34 "screening",
        Request(disbursements::Request) = 35 "request",
        Approval(disbursements::Approval) = 36 "approval",
        Rejection(disbursements::Rejection) = 37 "rejection",
        Cancellation(disbursements::Cancellation) = 38 "cancellation",
        Delivery(disbursements::Delivery) = 39 "delivery",
        Release(disbursements::Release) = 40 "release",
        BankConfirmation(disbursements::BankConfirmation) = 41 "bank-confirmation",
        BankRejection(disbursements::BankRejection) = 42 "bank-rejection",
        BankReturn(disbursements::BankReturn) = 43 "bank-return",
        Activation(governance::Activation) = 44 "activation",
    }
    others {
        Founding = 1 "founding",
        Group = 2 "group",
        JournalEntry = 3 "entry",
        Lapse = 4 "lapse",
        Pad = 5 "pad",
    }
}

impl Kind {
    /// The kind of a payload type.
    pub fn of_payload_type(payload_type: &str) -> Option<Kind> {
        let name = payload_type.strip_prefix("application/vnd.safeconduct.")?.strip_suffix(".v1+json")?;
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The number that stands for the kind in the store.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The kind that a number stands for.
    pub fn of_code(code: i16) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether the ledger itself signs this kind.
    pub fn signed_by_ledger(self) -> bool {
        matches!(self, Kind::Group | Kind::JournalEntry | Kind::Lapse | Kind::Pad)
    }
}

impl Header {
    fn frame<B>(self, body: B) -> Instruction<B> {
        let Header { basis, id, issued_at, key, ledger, not_after, signer } = self;
        Instruction { basis, body, id, issued_at, key, ledger, not_after, signer }
    }

    fn split<B>(instruction: Instruction<B>) -> (Header, B) {
        let Instruction { basis, body, id, issued_at, key, ledger, not_after, signer } = instruction;
        (Header { basis, id, issued_at, key, ledger, not_after, signer }, body)
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The founding record.
    Founding(Box<governance::Founding>),
    /// A person's instruction.
    Instruction(Box<Header>, Box<Body>),
    /// The beginning of a group.
    Group(journal::Group),
    /// An entry.
    JournalEntry(Box<journal::JournalEntry>),
    /// A lapse.
    Lapse(journal::Lapse),
    /// A pad.
    Pad(journal::Pad),
}

impl Payload {
    /// The payload's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Payload::Founding(_) => Kind::Founding,
            Payload::Instruction(_, body) => body.kind(),
            Payload::Group(_) => Kind::Group,
            Payload::JournalEntry(_) => Kind::JournalEntry,
            Payload::Lapse(_) => Kind::Lapse,
            Payload::Pad(_) => Kind::Pad,
        }
    }

    /// The payload's canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Payload::Founding(founding) => canonical::encode(founding),
            Payload::Instruction(header, body) => (**body).clone().encode((**header).clone()),
            Payload::Group(group) => canonical::encode(group),
            Payload::JournalEntry(entry) => canonical::encode(entry),
            Payload::Lapse(lapse) => canonical::encode(lapse),
            Payload::Pad(pad) => canonical::encode(pad),
        }
    }

    fn decode(kind: Kind, bytes: &[u8]) -> Result<Payload, CanonicalError> {
        if let Some((header, body)) = Body::decode(kind, bytes)? {
            return Ok(Payload::Instruction(Box::new(header), Box::new(body)));
        }
        Ok(match kind {
            Kind::Founding => Payload::Founding(Box::new(canonical::decode(bytes)?)),
            Kind::Group => Payload::Group(canonical::decode(bytes)?),
            Kind::JournalEntry => Payload::JournalEntry(Box::new(canonical::decode(bytes)?)),
            Kind::Lapse => Payload::Lapse(canonical::decode(bytes)?),
            // `Body::decode` takes every other kind.
            _ => Payload::Pad(canonical::decode(bytes)?),
        })
    }

    /// The key that the payload names as its signer's, where it names one.
    fn named_key(&self) -> Option<KeyId> {
        match self {
            Payload::Founding(founding) => Some(founding.key),
            Payload::Instruction(header, _) => Some(header.key),
            Payload::Group(_) | Payload::JournalEntry(_) | Payload::Lapse(_) | Payload::Pad(_) => None,
        }
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The envelope is malformed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload type is none of ours.
    #[error("the payload type '{0}' is not known; see docs/spec/records.md for the list")]
    PayloadTypeUnknown(String),
    /// The payload's bytes are not the canonical encoding of a valid payload of its type.
    #[error("the payload is not a valid, canonical one of its type: {0}")]
    Payload(#[from] CanonicalError),
    /// The payload names another key than the one that signed.
    #[error(
        "the payload names another key than the envelope's keyid; sign with the key that the payload names"
    )]
    KeyMismatch,
}

impl RecordError {
    /// The stable code, as in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            RecordError::Envelope(error) => error.code(),
            RecordError::PayloadTypeUnknown(_) => "payload_type_unknown",
            RecordError::Payload(CanonicalError::Syntax(_)) => "payload_invalid",
            RecordError::Payload(_) => "payload_not_canonical",
            RecordError::KeyMismatch => "payload_key_mismatch",
        }
    }
}

/// Why a record could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The record would be larger than an envelope may be.
    #[error("the record is {0} bytes long; at most 65000 are allowed, so split it")]
    TooLarge(usize),
    /// The header names another key than the one that is to sign.
    #[error("the header names another key than the one that signs")]
    KeyMismatch,
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] SignError),
}

/// One leaf of the log: a well-formed envelope and its meaning. Its signature is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    envelope: Envelope,
    digest: Digest,
    payload: Payload,
}

impl Record {
    /// The record of an envelope.
    pub fn parse(envelope: Envelope) -> Result<Record, RecordError> {
        let kind = Kind::of_payload_type(&envelope.payload_type)
            .ok_or_else(|| RecordError::PayloadTypeUnknown(envelope.payload_type.clone()))?;
        let payload = Payload::decode(kind, &envelope.payload)?;
        if payload.named_key().is_some_and(|key| key != envelope.key_id) {
            return Err(RecordError::KeyMismatch);
        }
        let digest = envelope.digest();
        Ok(Record { envelope, digest, payload })
    }

    /// The record of a leaf's bytes.
    pub fn parse_leaf(bytes: &[u8]) -> Result<Record, RecordError> {
        Record::parse(Envelope::parse(bytes)?)
    }

    /// Signs a payload. Where the payload names its key, that must be the one given.
    pub fn sign(payload: Payload, key: &dyn Signer) -> Result<Verified, BuildError> {
        if payload.named_key().is_some_and(|named| named != key.public().id()) {
            return Err(BuildError::KeyMismatch);
        }
        let envelope = Envelope::try_sign(key, payload.kind().payload_type(), payload.encode())?;
        let size_bytes = envelope.encode().len();
        if size_bytes > 65_000 {
            return Err(BuildError::TooLarge(size_bytes));
        }
        let digest = envelope.digest();
        Ok(Verified(Record { envelope, digest, payload }))
    }

    /// Checks the signature with the key that the envelope names, strictly.
    pub fn verify(self, key: &PublicKey) -> Result<Verified, VerifyError> {
        self.envelope.verify(key)?;
        Ok(Verified(self))
    }

    /// Checks the signature of each like [`verify`](Self::verify), with the key beside it; together they take less time.
    pub fn verify_all(records: Vec<(Record, &PreparedKey)>) -> Vec<Result<Verified, VerifyError>> {
        let envelopes: Vec<_> = records.iter().map(|(record, key)| (&record.envelope, *key)).collect();
        let verdicts = Envelope::verify_all(&envelopes);
        records
            .into_iter()
            .zip(verdicts)
            .map(|((record, _), verdict)| verdict.map(|()| Verified(record)))
            .collect()
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// SHA-256 of the DSSE pre-authentication encoding.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.payload.kind()
    }

    /// The bytes of the leaf: the canonical JSON of the whole envelope.
    pub fn leaf(&self) -> Vec<u8> {
        self.envelope.encode()
    }

    /// The RFC 6962 hash of the leaf.
    pub fn leaf_hash(&self) -> Digest {
        translog::tree::leaf_hash(&self.leaf())
    }
}

/// A record whose signature was verified with the key that its envelope names. Whether that key may do what the record
/// says is for the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(Record);

impl std::ops::Deref for Verified {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored logs hold these numbers: a kind is added at the end of its list, and none is renumbered.
    #[test]
    fn a_kinds_code_never_changes() {
        let codes: Vec<String> =
            Kind::ALL.iter().map(|kind| format!("{} {}", kind.code(), kind.name())).collect();
        assert_eq!(
            codes.join(", "),
            "1 founding, 2 group, 3 entry, 4 lapse, 5 pad, 16 acceptance, 17 proposal, 18 concurrence, 19 veto, \
             20 asset-registration, 21 fund-opening, 22 bank-opening, 23 restraint, 24 custody, 25 custody-interest, \
             26 forfeiture, 27 claim-payment, 28 windfall-income, 29 bank-fee, 30 countersignature, 31 reversal, \
             32 offer, 33 case-opening, 34 screening, 35 request, 36 approval, 37 rejection, 38 cancellation, \
             39 delivery, 40 release, 41 bank-confirmation, 42 bank-rejection, 43 bank-return, 44 activation"
        );
        assert!(Kind::ALL.iter().all(|kind| Kind::of_code(kind.code()) == Some(*kind)));
    }
}
