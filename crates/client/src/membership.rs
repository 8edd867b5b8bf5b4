//! Whose home it is and which ledger it belongs to; joining a ledger by its id.

use ledger::id::PrincipalId;
use records::governance::{Founding, KeyPossession};
use records::scalar::{Integer, Token};
use records::{Basis, Payload, Record};
use serde::{Deserialize, Serialize};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, PublicKey};
use signing::token::Signer;
use translog::checkpoint::Checkpoint;

use crate::connection::Connection;
use crate::error::Error;
use crate::home::{FOUNDING, Home, IDENTITY, LEDGER};
use crate::receipt::{Proven, Receipt, ReceiptError};

/// Whose home it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The id of the key.
    pub key: KeyId,
    /// The principal as which it signs.
    pub principal: PrincipalId,
    /// The key's public half.
    pub public: PublicKey,
}

impl Identity {
    /// The identity in a home.
    pub fn read(home: &Home) -> Result<Identity, Error> {
        home.read_json(IDENTITY)?.ok_or_else(|| Error::NoHome(home.dir().to_owned()))
    }
}

/// The ledger that a home belongs to, as its founding record says, and the reopenings that the home followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The head under the log's present origin at which this machine followed the last reopening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Basis>,
    /// The ledger's key for checkpoints.
    pub checkpoint_key: PublicKey,
    /// The origins that the log had before it was reopened, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// The hash of the founding record's leaf, which is the root at size 1.
    pub founding_leaf: Digest,
    /// The ledger's id: the digest of its founding record.
    pub ledger: Digest,
    /// The log's origin.
    pub origin: Token,
    /// The ledger's key for records.
    pub record_key: PublicKey,
    /// The service's address.
    pub url: String,
}

/// An origin that the log had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The key for checkpoints under it.
    pub checkpoint_key: PublicKey,
    /// The origin.
    pub origin: Token,
    /// The size at which the log was reopened under the next: records from there on are lost.
    pub size: Integer,
}

impl Ledger {
    /// The ledger that a home has joined.
    pub fn read(home: &Home) -> Result<Ledger, Error> {
        home.read_json(LEDGER)?.ok_or(Error::NotJoined)
    }

    /// What a founding record says, if its digest is the ledger's id and its own signature holds.
    pub fn of_founding(envelope: &Envelope, ledger: Digest, url: &str) -> Result<(Ledger, Founding), Error> {
        let wrong = |reason: String| Error::Founding { ledger: ledger.to_string(), reason };
        if envelope.digest() != ledger {
            return Err(wrong(format!("its digest is {}", envelope.digest())));
        }
        let record = Record::parse(envelope.clone()).map_err(|error| wrong(error.to_string()))?;
        let Payload::Founding(founding) = record.payload() else {
            return Err(wrong("it is a record of another kind".to_owned()));
        };
        let charter = &founding.body;
        let signer = charter.custodians.iter().find(|custodian| custodian.key.id() == founding.key);
        let signer = signer.ok_or_else(|| wrong("none of its custodians signed it".to_owned()))?;
        envelope.verify(&signer.key).map_err(|error| wrong(error.to_string()))?;
        let known = Ledger {
            begins: None,
            checkpoint_key: charter.checkpoint_key.clone(),
            earlier: vec![],
            founding_leaf: record.leaf_hash(),
            ledger,
            origin: charter.origin.clone(),
            record_key: charter.record_key.clone(),
            url: url.to_owned(),
        };
        Ok((known, (**founding).clone()))
    }

    /// Where no checkpoint is kept, what stands for it: the head at which the last reopening was followed, else the founding
    /// record as one of size 1.
    pub fn begin(&self) -> Checkpoint {
        let founding = Basis { root: self.founding_leaf, size: Integer(1) };
        let Basis { root, size } = self.begins.unwrap_or(founding);
        Checkpoint { origin: self.origin.to_string(), size: size.0, root }
    }

    /// The origin that a note has to have, and the key that has to have signed it: those of now, or of an earlier origin that it
    /// names.
    pub fn signer_of(&self, note: &str) -> (&str, &PublicKey) {
        let named = note.split('\n').next().unwrap_or_default();
        let earlier = self.earlier.iter().find(|earlier| earlier.origin.as_str() == named);
        let now = (self.origin.as_str(), &self.checkpoint_key);
        earlier.map_or(now, |earlier| (earlier.origin.as_str(), &earlier.checkpoint_key))
    }

    /// Checks a receipt of any time, by the key of that time.
    pub fn verify(&self, receipt: &Receipt) -> Result<Proven, ReceiptError> {
        let (origin, key) = self.signer_of(&receipt.checkpoint);
        receipt.verify(origin, key)
    }

    /// Whether a receipt is of a record that is lost: the log was reopened before it, under another origin.
    pub fn has_lost(&self, receipt: &Receipt) -> bool {
        let origin = receipt.checkpoint.split('\n').next().unwrap_or_default();
        let earlier = self.earlier.iter().find(|earlier| earlier.origin.as_str() == origin);
        earlier.is_some_and(|earlier| receipt.position >= earlier.size)
    }

    /// Whether a note is under an origin that the log had before.
    pub fn has_had_origin_of(&self, note: &str) -> bool {
        let origin = note.split('\n').next().unwrap_or_default();
        self.earlier.iter().any(|earlier| earlier.origin.as_str() == origin)
    }

    /// Keeps the ledger and its founding record in a home that belongs to no other ledger. One that belongs to this ledger
    /// takes the service's address, and forgets nothing that it followed since. What is kept now.
    pub fn keep(self, home: &Home, founding: &Envelope) -> Result<Ledger, Error> {
        let kept = match home.read_json::<Ledger>(LEDGER)? {
            Some(known) if known.ledger == self.ledger => Ledger { url: self.url, ..known },
            Some(other) => return Err(Error::OtherLedger(other.ledger.to_string())),
            None => self,
        };
        home.write_json(FOUNDING, founding)?;
        home.write_json(LEDGER, &kept)?;
        Ok(kept)
    }
}

/// Joins a ledger: learns its keys from the founding record, which must have the digest that the person was given.
pub fn join(
    home: &Home,
    connection: &Connection,
    key: &dyn Signer,
    ledger: Digest,
) -> Result<(Ledger, Founding), Error> {
    let envelope: Envelope = connection.get("/v1/founding", key)?;
    let (known, founding) = Ledger::of_founding(&envelope, ledger, connection.url())?;
    Ok((known.keep(home, &envelope)?, founding))
}

/// The envelope by which a principal proves to the custodians that it holds its key.
pub fn possession(identity: &Identity, key: &dyn Signer, ledger: Digest) -> Result<Envelope, Error> {
    let possession =
        KeyPossession { key: key.public().clone(), ledger, principal: identity.principal.clone() };
    Envelope::try_sign(key, KeyPossession::PAYLOAD_TYPE, canonical::encode(&possession))
        .map_err(|error| Error::Build(error.to_string()))
}

/// What a key-possession envelope says, if it is signed by the key that it carries.
pub fn read_possession(envelope: &Envelope) -> Result<KeyPossession, Error> {
    let bad = |reason: String| Error::Build(format!("this is no key possession: {reason}"));
    if envelope.payload_type != KeyPossession::PAYLOAD_TYPE {
        return Err(bad("it is an envelope of another kind".to_owned()));
    }
    let possession: KeyPossession =
        canonical::decode(&envelope.payload).map_err(|error| bad(error.to_string()))?;
    envelope.verify(&possession.key).map_err(|error| bad(error.to_string()))?;
    Ok(possession)
}
