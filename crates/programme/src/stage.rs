//! The life of a disbursement: a state machine that consumes its state.
//!
//! ```text
//! Requested --approved--> Due (cash) --released--> Released --confirmed--> Paid
//!     |                    ^   |                     |                      |
//!     |        in kind:    |   +<----bank rejected---+                      |
//!     |        Obligated --+   +<-------------returned----------------------+
//!     |          delivered
//!     +--rejected, cancelled, lapsed--> Ended <--cancelled, lapsed-- Obligated, Due
//! ```

use ledger::entry::Line;
use ledger::id::{BankId, HoldId, PrincipalId, VendorId};
use ledger::money::Money;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::keys::KeyId;

use crate::refusal::{Code, Refusal};

/// One approval that was gathered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// Who approved.
    pub approver: PrincipalId,
    /// With which key.
    pub key: KeyId,
    /// The approval's digest.
    pub digest: Digest,
    /// Under which version of the policy.
    pub policy: u64,
}

/// How a disbursement ended without payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// An approver rejected it.
    Rejected,
    /// It was cancelled.
    Cancelled,
    /// It ran out.
    Lapsed,
}

/// To whom a due payment is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Creditor {
    /// The payee of the disbursement.
    Payee,
    /// The vendor who delivered in kind.
    Vendor(VendorId),
}

/// What is owed once a disbursement is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The approvals on which it rests.
    pub approvals: Box<[Gathered]>,
    /// How much.
    pub payable: Money,
    /// To whom.
    pub creditor: Creditor,
    /// How often it was released so far. What came back, or whose release was undone, lapses no more.
    pub releases: u32,
}

/// A payment on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// What is paid.
    pub owed: Owed,
    /// From which account.
    pub bank: BankId,
    /// The hold on that account's cash.
    pub hold: HoldId,
    /// Who released it.
    pub payer: PrincipalId,
}

/// How far a disbursement has come. Small, since a state has millions of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Asked for; the ceiling is held on the fund.
    Requested {
        /// What was gathered so far.
        approvals: Box<[Gathered]>,
    },
    /// Approved in kind: obligated until delivered.
    Obligated {
        /// The approvals on which it rests.
        approvals: Box<[Gathered]>,
    },
    /// Owed and not sent.
    Due(Box<Owed>),
    /// Sent and not booked by the bank.
    Released(Box<Sent>),
    /// Booked by the bank.
    Paid(Box<Sent>),
    /// Ended without payment.
    Ended(Ending),
}

/// What moves a disbursement on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The last approval of a cash benefit.
    ApprovedDue {
        /// All that count.
        approvals: Box<[Gathered]>,
        /// What is owed.
        payable: Money,
    },
    /// The last approval of a benefit in kind.
    ApprovedInKind {
        /// All that count.
        approvals: Box<[Gathered]>,
    },
    /// An approver's rejection.
    Rejected,
    /// A cancellation.
    Cancelled,
    /// The lapse.
    Lapsed,
    /// A delivery in kind.
    Delivered {
        /// The invoice.
        payable: Money,
        /// Who delivered.
        vendor: VendorId,
    },
    /// A release.
    Released {
        /// From which account.
        bank: BankId,
        /// The hold on it.
        hold: HoldId,
        /// By whom.
        payer: PrincipalId,
    },
    /// The bank booked it.
    Confirmed,
    /// The bank refused it before booking.
    BankRejected,
    /// It came back after booking.
    Returned,
}

impl Owed {
    /// The same, released once more.
    fn released(self) -> Owed {
        Owed { releases: self.releases + 1, ..self }
    }
}

fn due(approvals: Box<[Gathered]>, payable: Money, creditor: Creditor) -> Stage {
    Stage::Due(Box::new(Owed { approvals, payable, creditor, releases: 0 }))
}

impl Stage {
    /// The stage's name for people and queries.
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Requested { .. } => "requested",
            Stage::Obligated { .. } => "obligated",
            Stage::Due(_) => "due",
            Stage::Released(_) => "released",
            Stage::Paid(_) => "paid",
            Stage::Ended(Ending::Rejected) => "rejected",
            Stage::Ended(Ending::Cancelled) => "cancelled",
            Stage::Ended(Ending::Lapsed) => "lapsed",
        }
    }

    /// Whether it lapses when its time runs out.
    pub fn can_lapse(&self) -> bool {
        match self {
            Stage::Requested { .. } | Stage::Obligated { .. } => true,
            Stage::Due(owed) => owed.releases == 0,
            Stage::Released(_) | Stage::Paid(_) | Stage::Ended(_) => false,
        }
    }

    /// The approvals on which it rests.
    pub fn approvals(&self) -> &[Gathered] {
        match self {
            Stage::Requested { approvals } | Stage::Obligated { approvals } => approvals,
            Stage::Due(owed) => &owed.approvals,
            Stage::Released(sent) | Stage::Paid(sent) => &sent.owed.approvals,
            Stage::Ended(_) => &[],
        }
    }

    /// The stage after an event, or the refusal where the event does not belong to this stage.
    pub fn on(self, event: Event) -> Result<Stage, Refusal> {
        match (self, event) {
            (Stage::Requested { .. }, Event::ApprovedDue { approvals, payable }) => {
                Ok(due(approvals, payable, Creditor::Payee))
            }
            (Stage::Requested { .. }, Event::ApprovedInKind { approvals }) => {
                Ok(Stage::Obligated { approvals })
            }
            (Stage::Requested { .. }, Event::Rejected) => Ok(Stage::Ended(Ending::Rejected)),
            (Stage::Requested { .. } | Stage::Obligated { .. } | Stage::Due(_), Event::Cancelled) => {
                Ok(Stage::Ended(Ending::Cancelled))
            }
            (stage, Event::Lapsed) if stage.can_lapse() => Ok(Stage::Ended(Ending::Lapsed)),
            (Stage::Obligated { approvals }, Event::Delivered { payable, vendor }) => {
                Ok(due(approvals, payable, Creditor::Vendor(vendor)))
            }
            (Stage::Due(owed), Event::Released { bank, hold, payer }) => {
                let owed = owed.released();
                Ok(Stage::Released(Box::new(Sent { owed, bank, hold, payer })))
            }
            (Stage::Released(sent), Event::Confirmed) => Ok(Stage::Paid(sent)),
            (Stage::Released(sent), Event::BankRejected) | (Stage::Paid(sent), Event::Returned) => {
                Ok(Stage::Due(Box::new(sent.owed)))
            }
            (stage, _) => {
                Err(Refusal::with(Code::WrongStage, format!("the disbursement is {}", stage.name())))
            }
        }
    }

    /// The stage that a reversal goes back to: it rests on the hold that the reversal placed in the stead of the one that
    /// was resolved. A payment whose release is undone was on its way once and lapses no more; its time may have run
    /// out long ago, and the log would lack the lapse from the moment of the reversal on.
    pub(crate) fn restored_by(self, reversal: &[Line]) -> Stage {
        let placed = reversal.iter().find_map(|line| match &line.action {
            ledger::entry::Action::Hold(hold) => Some(hold.clone()),
            _ => None,
        });
        match (self, placed) {
            (Stage::Due(owed), _) => Stage::Due(Box::new(owed.released())),
            (Stage::Released(sent), Some(hold)) => Stage::Released(Box::new(Sent { hold, ..*sent })),
            (stage, _) => stage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages() -> Vec<Stage> {
        let usd = |text: &str| Money::parse(text, "USD".parse().unwrap()).unwrap();
        let approvals = Box::default;
        let owed =
            Owed { approvals: approvals(), payable: usd("10.00"), creditor: Creditor::Payee, releases: 0 };
        let back = owed.clone().released();
        let sent = Sent {
            owed: back.clone(),
            bank: "b".parse().unwrap(),
            hold: "h".parse().unwrap(),
            payer: "p".parse().unwrap(),
        };
        let [owed, back] = [owed, back].map(Box::new);
        let sent = Box::new(sent);
        vec![
            Stage::Requested { approvals: approvals() },
            Stage::Obligated { approvals: approvals() },
            Stage::Due(owed),
            Stage::Due(back),
            Stage::Released(sent.clone()),
            Stage::Paid(sent),
            Stage::Ended(Ending::Rejected),
            Stage::Ended(Ending::Cancelled),
            Stage::Ended(Ending::Lapsed),
        ]
    }

    fn events() -> Vec<(&'static str, Event)> {
        let usd = |text: &str| Money::parse(text, "USD".parse().unwrap()).unwrap();
        vec![
            ("approved-due", Event::ApprovedDue { approvals: Box::default(), payable: usd("10.00") }),
            ("approved-in-kind", Event::ApprovedInKind { approvals: Box::default() }),
            ("rejected", Event::Rejected),
            ("cancelled", Event::Cancelled),
            ("lapsed", Event::Lapsed),
            ("delivered", Event::Delivered { payable: usd("9.00"), vendor: "v".parse().unwrap() }),
            (
                "released",
                Event::Released {
                    bank: "b".parse().unwrap(),
                    hold: "h".parse().unwrap(),
                    payer: "p".parse().unwrap(),
                },
            ),
            ("confirmed", Event::Confirmed),
            ("bank-rejected", Event::BankRejected),
            ("returned", Event::Returned),
        ]
    }

    /// Every pair of stage and event; `-` is a refusal. The fourth row is a payment that came back.
    const TABLE: &str = "
        stage     approved-due approved-in-kind rejected cancelled lapsed delivered released confirmed bank-rejected returned
        requested due          obligated        rejected cancelled lapsed -         -        -         -             -
        obligated -            -                -        cancelled lapsed due       -        -         -             -
        due       -            -                -        cancelled lapsed -         released -         -             -
        due       -            -                -        cancelled -      -         released -         -             -
        released  -            -                -        -         -      -         -        paid      due           -
        paid      -            -                -        -         -      -         -        -         -             due
        rejected  -            -                -        -         -      -         -        -         -             -
        cancelled -            -                -        -         -      -         -        -         -             -
        lapsed    -            -                -        -         -      -         -        -         -             -
    ";

    #[test]
    fn every_pair_of_stage_and_event() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|row: &Vec<&str>| !row.is_empty())
            .collect();
        let (stages, events) = (stages(), events());
        assert_eq!(rows.len(), stages.len() + 1);
        for (row, stage) in rows[1..].iter().zip(stages) {
            assert_eq!(row[0], stage.name());
            assert_eq!(row.len(), events.len() + 1);
            for ((name, event), (column, expected)) in events.iter().zip(rows[0][1..].iter().zip(&row[1..])) {
                assert_eq!(name, column);
                let outcome = stage.clone().on(event.clone());
                let shown = outcome.as_ref().map_or("-", |after| after.name());
                assert_eq!(shown, *expected, "{} on {name}", stage.name());
            }
        }
    }
}
