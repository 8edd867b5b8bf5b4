//! Changes shortly before a payment that they concern: a policy, a person's roles or keys, a bank account, a vendor.

use std::collections::{BTreeMap, HashSet};

use ledger::currency::Currency;
use ledger::id::{BankId, PrincipalId, VendorId};
use ledger::sum::Sum;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{DisbursementState, KeyState, ProposalState, ProposalStatus};
use programme::stage::{Creditor, Stage};
use records::Body;
use records::disbursements::Release;
use records::governance::Act as Decided;
use signing::digest::Digest;

use crate::page::counted;

use super::{Act, CHANGE_WINDOW_S, Counted, Exception, Looked};

/// Whom or what a change concerns.
#[derive(Debug, PartialEq, Eq)]
enum Concerned {
    Everything,
    Person(PrincipalId),
    Bank(BankId),
    Vendor(VendorId),
}

struct Change {
    concerned: Concerned,
    /// From when on it is in force.
    from: Timestamp,
    /// Where it was decided or first named.
    position: u64,
    proposal: Option<Digest>,
    what: String,
    releases: Counted,
    totals: BTreeMap<Currency, i128>,
}

impl Change {
    fn new(act: &Act<'_>, concerned: Concerned, what: String) -> Change {
        Change {
            concerned,
            from: act.at,
            position: act.position,
            proposal: None,
            what,
            releases: Counted::default(),
            totals: BTreeMap::new(),
        }
    }
}

/// Changes, and the releases that followed soon.
#[derive(Default)]
pub(super) struct Changes {
    /// Those that a release could still follow soon.
    recent: Vec<Change>,
    /// Those that were followed, and are no longer recent.
    followed: Vec<Change>,
    vendors: HashSet<VendorId>,
}

impl Changes {
    pub fn see(&mut self, act: &Act<'_>) {
        match act.body {
            Body::Activation(_) => {
                let what = format!("a spare key of {} was activated", act.signer);
                self.recent.push(Change::new(act, Concerned::Person(act.signer.clone()), what));
            }
            Body::BankOpening(body) => {
                let what = format!("bank account {} was opened", body.bank);
                self.recent.push(Change::new(act, Concerned::Bank(body.bank.clone()), what));
            }
            Body::Delivery(body) if self.vendors.insert(body.vendor.clone()) => {
                let what = format!("vendor {} was named for the first time", body.vendor);
                self.recent.push(Change::new(act, Concerned::Vendor(body.vendor.clone()), what));
            }
            Body::Concurrence(body) => self.recent.extend(decided(act, body.proposal)),
            Body::Veto(body) => self.recent.retain(|change| change.proposal != Some(body.proposal)),
            Body::Release(body) => self.release(act, body),
            _ => {}
        }
    }

    fn release(&mut self, act: &Act<'_>, release: &Release) {
        let is_over = |change: &Change| act.at.since(change.from).is_some_and(|s| s > CHANGE_WINDOW_S);
        let over = self.recent.extract_if(.., |change| is_over(change));
        self.followed.extend(over.filter(|change| change.releases.count > 0));
        let key = Key::Disbursement(release.disbursement.clone());
        let Some(state) = act.state.get::<DisbursementState>(&key).filter(|_| act.is_within) else { return };
        let Stage::Released(sent) = &state.stage else { return };
        let owed = &sent.owed;
        for change in self.recent.iter_mut().filter(|change| change.from <= act.at) {
            let is_concerned = match &change.concerned {
                Concerned::Everything => true,
                Concerned::Person(person) => {
                    [&state.preparer, &sent.payer].contains(&person)
                        || owed.approvals.iter().any(|one| one.approver == *person)
                }
                Concerned::Bank(bank) => sent.bank == *bank,
                Concerned::Vendor(vendor) => owed.creditor == Creditor::Vendor(vendor.clone()),
            };
            if is_concerned {
                change.releases.add([act.position], Some(&release.disbursement));
                *change.totals.entry(owed.payable.currency()).or_default() +=
                    i128::from(owed.payable.minor());
            }
        }
    }

    pub fn found(self) -> Vec<Exception> {
        let Changes { recent, mut followed, .. } = self;
        followed.extend(recent.into_iter().filter(|change| change.releases.count > 0));
        followed.sort_by_key(|change| change.position);
        let exception = |change: Change| {
            let Change { from, position, what, mut releases, totals, .. } = change;
            let totals = totals.into_iter().map(|(currency, minor)| Sum::of_minor(minor, currency).grouped());
            let what = format!(
                "{what} at position {position}, in force from {from}; {} that it concerns followed, {} together",
                counted(releases.count, "release"),
                totals.collect::<Vec<_>>().join(" and ")
            );
            releases.positions.insert(0, position);
            releases.exception(Looked::ChangeBeforePayment, what)
        };
        followed.into_iter().map(exception).collect()
    }
}

/// What a concurrence decided, where it completed the quorum.
fn decided(act: &Act<'_>, proposal: Digest) -> Option<Change> {
    let state = act.state.get::<ProposalState>(&Key::Proposal(proposal))?;
    let ProposalStatus::Decided { effective_at } = state.status else { return None };
    let (concerned, what) = match &state.act {
        Decided::Policy { .. } => (Concerned::Everything, "the policy changed".to_owned()),
        Decided::Reopen { keys: Some(_), .. } => {
            (Concerned::Everything, "the ledger got new keys".to_owned())
        }
        Decided::Reopen { keys: None, .. } => (Concerned::Everything, "the log was reopened".to_owned()),
        Decided::Enrol { principal, .. } => {
            (Concerned::Person(principal.clone()), format!("{principal} was enrolled or got a key"))
        }
        Decided::Roles { principal, .. } => {
            (Concerned::Person(principal.clone()), format!("roles of {principal} changed"))
        }
        Decided::Revoke { key, .. } => {
            let owner = act.state.get::<KeyState>(&Key::PublicKey(*key))?.principal.clone();
            let what = format!("a key of {owner} was revoked");
            (Concerned::Person(owner), what)
        }
    };
    let change = Change::new(act, concerned, what);
    Some(Change { from: effective_at, proposal: Some(proposal), ..change })
}
