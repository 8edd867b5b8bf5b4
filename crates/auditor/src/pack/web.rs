//! What the records of a pack say of each other: who cites whom, and what the records of one disbursement must have in
//! common. It is checked as far as a part of a log allows it; where the request may not be in the pack, its digest is the
//! one that all others name.

use std::collections::{BTreeMap, HashMap, HashSet};

use ledger::entry::Action;
use ledger::id::{BenefitId, CaseRef, DisbursementId, EntryId, FundId, PrincipalId};
use ledger::money::Money;
use records::assets::ReversalSubject;
use records::disbursements::{Effect, Request};
use records::journal::JournalEntry;
use records::scalar::Integer;
use records::{Body, Kind, Payload, Record};
use signing::digest::Digest;

use super::extent::{cites, may_stand};
use super::format::Scope;
use crate::chunk::Wrong;
use crate::stop::Place;

pub(super) fn wrong(code: &'static str, reason: impl Into<String>) -> Wrong {
    Wrong { code, reason: reason.into() }
}

/// What is kept of a record that others may cite.
struct Cited {
    position: u64,
    kind: Kind,
    disbursement: Option<DisbursementId>,
    /// The report that it countersigns.
    report: Option<Digest>,
    /// The entry that it reverses.
    reverses: Option<EntryId>,
}

/// What the records of one disbursement agree on, as far as one of them says it.
#[derive(Debug, Default)]
pub(super) struct Thread {
    /// To which case, where the request is disclosed.
    pub case: Option<CaseRef>,
    /// Under which benefit.
    pub benefit: Option<BenefitId>,
    /// From which fund how much was requested.
    pub asked: Option<(FundId, Money)>,
    /// Who prepared the request.
    pub preparer: Option<PrincipalId>,
    /// The request's digest.
    pub request: Option<Digest>,
    /// The salted commitment to the case.
    commitment: Option<Digest>,
    /// What an approval must say, apart from the policy.
    effect: Option<Effect>,
}

/// Sets what is not known yet; otherwise it has to be the same.
fn agrees<T: PartialEq>(known: &mut Option<T>, said: T) -> bool {
    match known {
        Some(known) => *known == said,
        None => {
            *known = Some(said);
            true
        }
    }
}

/// The records so far.
pub(super) struct Web {
    hides_requests: bool,
    cited: HashMap<Digest, Cited>,
    /// What is in the pack only because something cites it, by its digest, and has not been cited yet.
    uncited: HashMap<Digest, Place>,
    threads: BTreeMap<DisbursementId, Thread>,
}

impl Web {
    pub fn new(scope: &Scope) -> Web {
        let hides_requests = !may_stand(Kind::Request, scope);
        Web { hides_requests, cited: HashMap::new(), uncited: HashMap::new(), threads: BTreeMap::new() }
    }

    /// A record that is not in the pack's scope has to be cited by a later one.
    pub fn await_citation(&mut self, digest: Digest, place: Place) {
        self.uncited.insert(digest, place);
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &Record, position: u64) -> Result<(), Wrong> {
        let digest = record.digest();
        let cited = match record.payload() {
            Payload::Founding(_) | Payload::Group(_) | Payload::Pad(_) => return Ok(()),
            Payload::JournalEntry(entry) => return self.take_entry(entry, position),
            Payload::Lapse(lapse) => {
                self.name_request(&lapse.disbursement, lapse.request)?;
                self.cite(record.payload())?;
                Cited::of(position, Kind::Lapse).about(&lapse.disbursement)
            }
            Payload::Instruction(header, body) => {
                self.cite(record.payload())?;
                self.take_body(digest, &header.signer, body, position)?
            }
        };
        if let Some(disbursement) = &cited.disbursement {
            self.thread(disbursement);
        }
        self.cited.insert(digest, cited);
        Ok(())
    }

    /// The first record of the pack that is neither in its scope nor cited.
    pub fn first_uncited(&self) -> Option<Place> {
        self.uncited.values().copied().min_by_key(|place| place.position)
    }

    /// What each disbursement's records agree on.
    pub fn into_threads(self) -> BTreeMap<DisbursementId, Thread> {
        self.threads
    }

    /// What an instruction or a lapse cites has to be there.
    fn cite(&mut self, payload: &Payload) -> Result<(), Wrong> {
        let (request, others) = cites(payload);
        for digest in request.filter(|_| !self.hides_requests).into_iter().chain(others) {
            self.require(digest)?;
        }
        Ok(())
    }

    fn require(&mut self, digest: Digest) -> Result<&Cited, Wrong> {
        self.uncited.remove(&digest);
        let missing =
            || wrong("cited_missing", format!("it cites {digest}, which no earlier record of the pack is"));
        self.cited.get(&digest).ok_or_else(missing)
    }

    fn thread(&mut self, disbursement: &DisbursementId) -> &mut Thread {
        self.threads.entry(disbursement.clone()).or_default()
    }

    fn name_request(&mut self, disbursement: &DisbursementId, request: Digest) -> Result<(), Wrong> {
        if agrees(&mut self.thread(disbursement).request, request) {
            return Ok(());
        }
        let reason =
            format!("it names request {request} for disbursement {disbursement}, and another one is known");
        Err(wrong("request_differs", reason))
    }

    fn take_body(
        &mut self,
        digest: Digest,
        signer: &PrincipalId,
        body: &Body,
        position: u64,
    ) -> Result<Cited, Wrong> {
        let cited = Cited::of(position, body.kind());
        Ok(match body {
            Body::Request(request) => {
                self.take_request(digest, signer, request)?;
                cited.about(&request.disbursement)
            }
            Body::Approval(approval) => {
                self.take_effect(&approval.effect)?;
                cited.about(&approval.effect.disbursement)
            }
            Body::Rejection(body) => {
                self.name_request(&body.disbursement, body.request)?;
                cited.about(&body.disbursement)
            }
            Body::Cancellation(body) => {
                self.name_request(&body.disbursement, body.request)?;
                cited.about(&body.disbursement)
            }
            Body::Release(body) => {
                self.name_request(&body.disbursement, body.request)?;
                cited.about(&body.disbursement)
            }
            Body::Delivery(body) => cited.about(&body.disbursement),
            Body::BankConfirmation(body) => cited.about(&body.disbursement),
            Body::BankRejection(body) => cited.about(&body.disbursement),
            Body::BankReturn(body) => cited.about(&body.disbursement),
            Body::Countersignature(body) => {
                let disbursement =
                    self.cited.get(&body.report).and_then(|report| report.disbursement.clone());
                Cited { disbursement, report: Some(body.report), ..cited }
            }
            Body::Reversal(body) => {
                let disbursement = match &body.subject {
                    ReversalSubject::Disbursement(disbursement) => Some(disbursement.clone()),
                    ReversalSubject::Fact(_) => None,
                };
                Cited { disbursement, reverses: Some(body.entry), ..cited }
            }
            _ => cited,
        })
    }

    fn take_request(&mut self, digest: Digest, signer: &PrincipalId, request: &Request) -> Result<(), Wrong> {
        self.name_request(&request.disbursement, digest)?;
        let thread = self.thread(&request.disbursement);
        thread.case = Some(request.case.clone());
        if !agrees(&mut thread.commitment, request.salt.commit(&request.case)) {
            return Err(wrong("commitment_differs", "an entry before it commits to another case"));
        }
        self.take_effect(&Effect {
            amount: request.amount,
            benefit: request.benefit.clone(),
            channel: request.channel.clone(),
            disbursement: request.disbursement.clone(),
            expires: request.expires,
            fund: request.fund.clone(),
            most: request.amount,
            offer: request.offer.clone(),
            policy: Integer(0),
            preparer: signer.clone(),
            request: digest,
        })
    }

    /// An approval repeats the request; all approvals of a disbursement say the same, under whichever policy.
    fn take_effect(&mut self, effect: &Effect) -> Result<(), Wrong> {
        self.name_request(&effect.disbursement, effect.request)?;
        let thread = self.thread(&effect.disbursement);
        let agreed = agrees(&mut thread.effect, Effect { policy: Integer(0), ..effect.clone() })
            && agrees(&mut thread.asked, (effect.fund.clone(), effect.amount))
            && agrees(&mut thread.benefit, effect.benefit.clone())
            && agrees(&mut thread.preparer, effect.preparer.clone());
        if agreed {
            return Ok(());
        }
        let reason = format!(
            "its effect is not the one that other records state for disbursement {}",
            effect.disbursement
        );
        Err(wrong("effect_differs", reason))
    }

    fn take_entry(&mut self, entry: &JournalEntry, position: u64) -> Result<(), Wrong> {
        let causing = Digest::from_bytes(entry.id.digest);
        let Some((last, before)) = entry.authority.split_last() else {
            return Err(wrong("authority_wrong", "it has no authority"));
        };
        if *last != causing || entry.id.index != 0 {
            return Err(wrong("authority_wrong", "its id is not that of the record that causes it, and 0"));
        }
        if entry.authority.iter().collect::<HashSet<_>>().len() < entry.authority.len() {
            return Err(wrong("authority_wrong", "it cites one record twice"));
        }
        self.follow_disbursement(entry)?;
        if self.hides_requests && before.is_empty() && !self.cited.contains_key(&causing) {
            return self.take_entry_of_request(entry, causing);
        }
        let cause = self.require(causing)?;
        if cause.position.checked_add(1) != Some(position) {
            let reason =
                format!("the record that causes it stands at {}, not right before it", cause.position);
            return Err(wrong("entry_displaced", reason));
        }
        if cause.disbursement != entry.disbursement || cause.reverses != entry.reverses {
            return Err(wrong(
                "authority_wrong",
                "it is about something else than the record that causes it",
            ));
        }
        let (kind, report) = (cause.kind, cause.report);
        let others = match kind {
            Kind::Approval => self.authorised_by_request(entry, before)?,
            Kind::Release => {
                let approvals = self.authorised_by_request(entry, before)?;
                if approvals.is_empty() {
                    return Err(wrong("authority_wrong", "it cites no approval"));
                }
                approvals
            }
            Kind::Rejection | Kind::Cancellation | Kind::Lapse | Kind::Delivery => {
                let approvals = self.authorised_by_request(entry, before)?;
                if approvals.is_empty() { approvals } else { return Err(superfluous()) }
            }
            Kind::Countersignature => match before {
                [named] if Some(*named) == report => &[][..],
                _ => {
                    return Err(wrong(
                        "authority_wrong",
                        "it does not cite the report that is countersigned",
                    ));
                }
            },
            Kind::Request => {
                self.holds_what_was_asked(entry)?;
                before
            }
            Kind::Restraint
            | Kind::Custody
            | Kind::CustodyInterest
            | Kind::Forfeiture
            | Kind::ClaimPayment
            | Kind::WindfallIncome
            | Kind::BankFee
            | Kind::BankConfirmation
            | Kind::BankRejection
            | Kind::BankReturn
            | Kind::Reversal => before,
            Kind::Founding
            | Kind::Group
            | Kind::Pad
            | Kind::JournalEntry
            | Kind::Acceptance
            | Kind::Activation
            | Kind::Proposal
            | Kind::Concurrence
            | Kind::Veto
            | Kind::AssetRegistration
            | Kind::FundOpening
            | Kind::BankOpening
            | Kind::Offer
            | Kind::CaseOpening
            | Kind::Screening => {
                return Err(wrong(
                    "authority_wrong",
                    format!("a record of the kind {} causes no entry", kind.name()),
                ));
            }
        };
        let may_have_approvals = matches!(kind, Kind::Approval | Kind::Release);
        for digest in others {
            let approval = self.require(*digest)?;
            let is_of_it = approval.kind == Kind::Approval && approval.disbursement == entry.disbursement;
            if !may_have_approvals || !is_of_it {
                return Err(superfluous());
            }
        }
        Ok(())
    }

    /// What all entries of a disbursement have in common.
    fn follow_disbursement(&mut self, entry: &JournalEntry) -> Result<(), Wrong> {
        let (Some(disbursement), Some(commitment), Some(benefit)) =
            (&entry.disbursement, entry.case_commitment, &entry.benefit)
        else {
            let has_part =
                entry.disbursement.is_some() || entry.case_commitment.is_some() || entry.benefit.is_some();
            return if has_part {
                Err(wrong("authority_wrong", "it is about a disbursement in part"))
            } else {
                Ok(())
            };
        };
        let thread = self.thread(disbursement);
        if !agrees(&mut thread.commitment, commitment) {
            let reason =
                format!("it commits to another case than other records of disbursement {disbursement}");
            return Err(wrong("commitment_differs", reason));
        }
        if !agrees(&mut thread.benefit, benefit.clone()) {
            return Err(wrong("effect_differs", "it is of another benefit than was approved"));
        }
        Ok(())
    }

    /// The entry of a request that the pack does not disclose: one line, which holds what is asked.
    fn take_entry_of_request(&mut self, entry: &JournalEntry, causing: Digest) -> Result<(), Wrong> {
        let Some(disbursement) = entry.disbursement.as_ref().filter(|_| entry.reverses.is_none()) else {
            return self.require(causing).map(drop);
        };
        let is_first = match entry.lines.as_slice() {
            [line] => {
                matches!(&line.action, Action::Hold(hold) if hold.as_str() == format!("{disbursement}.1"))
            }
            _ => false,
        };
        if !is_first {
            return self.require(causing).map(drop);
        }
        self.name_request(disbursement, causing)?;
        self.holds_what_was_asked(entry)
    }

    fn holds_what_was_asked(&mut self, entry: &JournalEntry) -> Result<(), Wrong> {
        let ([line], Some(disbursement)) = (entry.lines.as_slice(), &entry.disbursement) else {
            return Err(wrong("effect_differs", "a request's entry has one line, and a disbursement"));
        };
        if agrees(&mut self.thread(disbursement).asked, (line.fund.clone(), line.money)) {
            return Ok(());
        }
        Err(wrong("effect_differs", "it holds another amount, or of another fund, than is asked"))
    }

    /// The authority after the request's digest, which comes first.
    fn authorised_by_request<'a>(
        &mut self,
        entry: &JournalEntry,
        before: &'a [Digest],
    ) -> Result<&'a [Digest], Wrong> {
        let (Some((request, others)), Some(disbursement)) = (before.split_first(), &entry.disbursement)
        else {
            return Err(wrong("authority_wrong", "it does not cite the request"));
        };
        self.name_request(disbursement, *request)?;
        if !self.hides_requests {
            self.require(*request)?;
        }
        Ok(others)
    }
}

fn superfluous() -> Wrong {
    wrong("authority_wrong", "it cites what does not authorise it")
}

impl Cited {
    fn of(position: u64, kind: Kind) -> Cited {
        Cited { position, kind, disbursement: None, report: None, reverses: None }
    }

    fn about(self, disbursement: &DisbursementId) -> Cited {
        Cited { disbursement: Some(disbursement.clone()), ..self }
    }
}
