//! Acts of custodians about keys, and what they begin.

use super::*;

impl Draw {
    /// A group that begins with new keys of the ledger's, signed by the one that it carries.
    pub fn rekeyed_group(&mut self) -> (Payload, SecretKey) {
        let (Payload::Group(group), _) = self.payload(Kind::Group) else { unreachable!("it is a group") };
        let record_key = Some(Box::new(self.ledgers_keys().record_key));
        (Payload::Group(Group { record_key, ..group }), self.key("ledger/records/2"))
    }

    /// The act that gives the ledger new keys.
    pub fn rekeying(&mut self) -> (Payload, SecretKey) {
        let keys = self.ledgers_keys();
        self.reopened(Some(keys))
    }

    /// The proposal to enrol a key and a spare for a time, signed.
    pub fn enrolment(&mut self) -> (Payload, SecretKey) {
        let key = self.key("c1");
        let act = Act::Enrol {
            expires: Some(self.time("2031-01-01T00:00:00Z")),
            possessions: vec![self.possession("daily")],
            principal: self.id("pay1"),
            roles: self.roles(),
            spares: Some(vec![self.possession("spare")]),
        };
        let (header, body) = (self.header(&key), Body::Proposal(Proposal { act }));
        (Payload::Instruction(Box::new(header), Box::new(body)), key)
    }
}
