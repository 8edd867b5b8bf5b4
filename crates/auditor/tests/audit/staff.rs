//! The people of the story, each with the key that stays on his or her own machine.

use ledger::id::PrincipalId;
use records::governance::{Act, KeyPossession, Role};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::SecretKey;

/// A person or machine, with one key.
pub struct Person {
    pub principal: PrincipalId,
    pub key: SecretKey,
}

impl Person {
    /// The key is a function of the name, so that every run makes the same ledger.
    pub fn new(name: &str) -> Person {
        Person { principal: name.parse().unwrap(), key: key(name) }
    }

    /// What the custodians sign to enrol the person in a ledger.
    pub fn enrolment(&self, ledger: Digest, roles: &[Role]) -> Act {
        let possession =
            KeyPossession { key: self.key.public().clone(), ledger, principal: self.principal.clone() };
        let envelope = Envelope::sign(&self.key, KeyPossession::PAYLOAD_TYPE, canonical::encode(&possession));
        let (principal, roles) = (self.principal.clone(), roles.to_vec());
        Act::Enrol { expires: None, possessions: vec![envelope], principal, roles, spares: None }
    }
}

/// The key of this name.
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(name).as_bytes())
}

/// Everybody.
pub struct Staff {
    pub anna: Person,
    pub boris: Person,
    pub director: Person,
    pub preparer: Person,
    pub approver: Person,
    pub payer: Person,
    pub reconciler: Person,
    pub second_reconciler: Person,
    pub screener: Person,
    pub agency: Person,
}

impl Staff {
    pub fn new() -> Staff {
        Staff {
            anna: Person::new("anna"),
            boris: Person::new("boris"),
            director: Person::new("dora"),
            preparer: Person::new("pia"),
            approver: Person::new("abel"),
            payer: Person::new("paul"),
            reconciler: Person::new("rita"),
            second_reconciler: Person::new("rolf"),
            screener: Person::new("sven"),
            agency: Person::new("relief"),
        }
    }

    /// Everybody who is enrolled after the founding, with the roles.
    pub fn to_enrol(&self) -> Vec<(&Person, Vec<Role>)> {
        vec![
            (&self.director, vec![Role::Director]),
            // The preparer may also approve, only not her own requests.
            (&self.preparer, vec![Role::Approver, Role::Preparer]),
            (&self.approver, vec![Role::Approver]),
            (&self.payer, vec![Role::Payer]),
            (&self.reconciler, vec![Role::Reconciler]),
            (&self.second_reconciler, vec![Role::Reconciler]),
            (&self.screener, vec![Role::Screener]),
            (&self.agency, vec![Role::Agency]),
        ]
    }
}
