//! What is about to be signed, in plain words: a sentence, and every field of the body that the sentence leaves out.
//!
//! A person signs what this module says, so every kind of body has its words here, and nothing of a body is left out
//! except salts and commitments, which mean nothing to anybody.

use std::collections::BTreeMap;

use ledger::currency::Currency;
use ledger::money::Money;
use records::Body;
use records::assets::{ClaimKind, FundKind, ReversalSubject, Share};
use records::cases::{BenefitKind, Offer, OfferVersion, ScreeningOutcome};
use records::disbursements::{Channel, Effect, Request};
use records::governance::{Act, Activation, Charter, LedgersKeys, Policy, Publication, Role};
use records::scalar::{Evidence, Integer};
use records::witnessing::{Statement, Witnessing};

/// A body in plain words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// One sentence.
    pub headline: String,
    /// What else is signed: label and value.
    pub details: Vec<(String, String)>,
}

impl Words {
    fn of(headline: impl Into<String>) -> Words {
        Words { headline: headline.into(), details: Vec::new() }
    }

    fn and(mut self, label: &str, value: impl ToString) -> Words {
        self.details.push((label.to_owned(), value.to_string()));
        self
    }

    fn evidence(self, evidence: &Evidence) -> Words {
        let Evidence { holder, kind, sha256 } = evidence;
        self.and("evidence", format!("{kind}, kept by {holder}, SHA-256 {sha256}"))
    }

    fn shares(mut self, label: &str, shares: &[Share]) -> Words {
        for share in shares {
            self = self.and(label, format!("{} to {}", share.amount.grouped(), share.body));
        }
        self
    }
}

/// The words for a body.
pub fn describe(body: &Body) -> Words {
    match body {
        Body::Acceptance(_) => {
            Words::of("Accept the founding of this ledger, and that the key named there for you is yours")
        }
        Body::Activation(body) => activation(body),
        Body::Proposal(body) => act(&body.act),
        Body::Concurrence(body) => {
            Words::of(format!("Concur with the custodians' proposal {}", body.proposal))
        }
        Body::Veto(body) => {
            Words::of(format!("Veto the custodians' proposal {}", body.proposal)).and("reason", &body.reason)
        }
        Body::AssetRegistration(body) => {
            Words::of(format!("Register asset {}: {}", body.asset, body.description))
                .evidence(&body.instrument)
        }
        Body::FundOpening(body) => {
            let kind = match body.kind {
                FundKind::Fiduciary => "fiduciary",
                FundKind::Spendable => "spendable",
            };
            Words::of(format!("Open {kind} fund {} in {} for asset {}", body.fund, body.currency, body.asset))
        }
        Body::BankOpening(body) => Words::of(format!("Open bank account {} in {}", body.bank, body.currency)),
        Body::Countersignature(body) => Words::of(format!("Countersign report {}", body.report)),
        Body::Reversal(body) => {
            let subject = match &body.subject {
                ReversalSubject::Disbursement(id) => format!("the last step of disbursement {id}"),
                ReversalSubject::Fact(digest) => format!("reported fact {digest}"),
            };
            Words::of(format!("Reverse {subject}")).and("entry", body.entry).and("reason", &body.reason)
        }
        Body::Offer(body) => offer(body),
        Body::CaseOpening(body) => Words::of(format!(
            "Open case {} (the agency's reference {}) for agency {}, entered {}, under offer {}",
            body.case,
            body.agency_ref,
            body.agency,
            body.entered,
            version(&body.offer)
        )),
        Body::Screening(body) => {
            let outcome = match body.outcome {
                ScreeningOutcome::Cleared => "cleared: the person may be paid, and was not seen before",
                ScreeningOutcome::Refused => "refused: the person may not be paid",
            };
            Words::of(format!("Screening of case {}: {outcome}", body.case)).evidence(&body.evidence)
        }
        Body::Restraint(_)
        | Body::Custody(_)
        | Body::CustodyInterest(_)
        | Body::Forfeiture(_)
        | Body::ClaimPayment(_)
        | Body::WindfallIncome(_)
        | Body::BankFee(_) => money_fact(body),
        Body::Request(_)
        | Body::Approval(_)
        | Body::Rejection(_)
        | Body::Cancellation(_)
        | Body::Delivery(_)
        | Body::Release(_)
        | Body::BankConfirmation(_)
        | Body::BankRejection(_)
        | Body::BankReturn(_) => disbursement(body),
    }
}

fn version(offer: &OfferVersion) -> String {
    format!("{} version {}", offer.offer, offer.version)
}

fn channel(channel: &Channel) -> &'static str {
    match channel {
        Channel::Manual {} => "paid by hand",
    }
}

/// What courts and banks did with assets.
fn money_fact(body: &Body) -> Words {
    match body {
        Body::Restraint(body) => Words::of(format!(
            "Report that {} is restrained at a third party, in fund {}; nothing of it is spendable",
            body.amount.grouped(),
            body.fund
        ))
        .evidence(&body.instrument),
        Body::Custody(body) => Words::of(format!(
            "Report that {} came into custody account {}, fund {}, value date {}",
            body.amount.grouped(),
            body.bank,
            body.fund,
            body.value_date
        ))
        .evidence(&body.evidence),
        Body::CustodyInterest(body) => Words::of(format!(
            "Report interest of {} on custody account {}, fund {}, value date {}",
            body.amount.grouped(),
            body.bank,
            body.fund,
            body.value_date
        ))
        .evidence(&body.evidence),
        Body::Forfeiture(body) => Words::of(format!(
            "Report the final forfeiture of {} from fund {} (account {}) to spendable fund {} (account {}), value date {}",
            body.gross.grouped(),
            body.fund,
            body.bank,
            body.to_fund,
            body.to_bank,
            body.value_date
        ))
        .shares("cost", &body.costs)
        .shares("claim", &body.claims)
        .evidence(&body.instrument),
        Body::ClaimPayment(body) => {
            let kind = match body.kind {
                ClaimKind::Claimant => "claimant",
                ClaimKind::Cost => "cost of",
                ClaimKind::OtherBody => "other body",
            };
            Words::of(format!(
                "Report that {} was paid to {kind} {} from fund {}, account {}, value date {}",
                body.amount.grouped(),
                body.body,
                body.fund,
                body.bank,
                body.value_date
            ))
            .evidence(&body.evidence)
        }
        Body::WindfallIncome(body) => Words::of(format!(
            "Report income: {} of our own to fund {}, account {}, value date {}",
            body.own.grouped(),
            body.fund,
            body.bank,
            body.value_date
        ))
        .shares(&format!("share, held in fund {}", body.shares_fund), &body.shares)
        .and("retained provisionally", body.retained.grouped())
        .evidence(&body.evidence),
        Body::BankFee(body) => Words::of(format!(
            "Report a bank fee of {} on account {}, borne by fund {}, value date {}",
            body.amount.grouped(),
            body.bank,
            body.fund,
            body.value_date
        ))
        .evidence(&body.evidence),
        // `describe` sends no other kind here.
        other => Words::of(other.kind().name()),
    }
}

/// The steps of a disbursement.
fn disbursement(body: &Body) -> Words {
    match body {
        Body::Request(body) => request(body),
        Body::Approval(body) => approval(&body.effect),
        Body::Rejection(body) => Words::of(format!("Reject disbursement {}", body.disbursement))
            .and("reason", &body.reason)
            .and("request", body.request),
        Body::Cancellation(body) => Words::of(format!("Cancel disbursement {}", body.disbursement))
            .and("reason", &body.reason)
            .and("request", body.request),
        Body::Delivery(body) => Words::of(format!(
            "Report the delivery for disbursement {} by {} on {}, invoiced {}",
            body.disbursement,
            body.vendor,
            body.delivered,
            body.invoiced.grouped()
        ))
        .evidence(&body.evidence),
        Body::Release(body) => Words::of(format!(
            "Release disbursement {} for payment from account {}",
            body.disbursement, body.bank
        ))
        .and("request", body.request),
        Body::BankConfirmation(body) => Words::of(format!(
            "Report that the bank booked disbursement {}, value date {}",
            body.disbursement, body.value_date
        ))
        .evidence(&body.evidence),
        Body::BankRejection(body) => Words::of(format!(
            "Report that the bank refused disbursement {} before booking",
            body.disbursement
        ))
        .evidence(&body.evidence),
        Body::BankReturn(body) => Words::of(format!(
            "Report that disbursement {} came back, of which the bank kept {}, value date {}",
            body.disbursement,
            body.kept.grouped(),
            body.value_date
        ))
        .evidence(&body.evidence),
        // `describe` sends no other kind here.
        other => Words::of(other.kind().name()),
    }
}

fn request(body: &Request) -> Words {
    Words::of(format!(
        "Request disbursement {}: {} from fund {}, benefit {}, to case {}, expires {}",
        body.disbursement,
        body.amount.grouped(),
        body.fund,
        body.benefit,
        body.case,
        body.expires
    ))
    .and("offer", version(&body.offer))
    .and("occurrence", body.occurrence)
    .and("channel", channel(&body.channel))
}

fn approval(effect: &Effect) -> Words {
    let words = Words::of(format!(
        "Approve disbursement {}: {} from fund {}, benefit {}, prepared by {}, expires {}",
        effect.disbursement,
        effect.amount.grouped(),
        effect.fund,
        effect.benefit,
        effect.preparer,
        effect.expires
    ));
    words
        .and("at most", effect.most.grouped())
        .and("offer", version(&effect.offer))
        .and("channel", channel(&effect.channel))
        .and("policy version", effect.policy)
        .and("request", effect.request)
}

fn offer(body: &Offer) -> Words {
    let mut words = Words::of(format!(
        "Publish offer {} version {}, for cases that entered on {} or later",
        body.offer, body.version, body.valid_from
    ));
    for benefit in &body.benefits {
        let pays = match &benefit.kind {
            BenefitKind::Cash { amount } => format!("{} in cash", amount.grouped()),
            BenefitKind::InKind { ceiling } => format!("in kind, up to {}", ceiling.grouped()),
        };
        words = words.and(&format!("benefit {}", benefit.benefit), pays);
    }
    words
}

fn roles(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The words for a custodians' act.
pub fn act(act: &Act) -> Words {
    match act {
        Act::Enrol { expires, possessions, principal, roles: given, spares } => {
            let mut words =
                Words::of(format!("Propose to enrol {principal} with the roles {}", roles(given)));
            for possession in possessions {
                words = words.and("key", possession.key_id);
            }
            for spare in spares.iter().flatten() {
                words = words.and("spare key, which activates itself", spare.key_id);
            }
            words.and("keys expire", expires.map_or("never".to_owned(), |expires| expires.to_string()))
        }
        Act::Policy { policy: proposed } => policy(Words::of("Propose a new policy"), proposed),
        Act::Reopen { checkpoint, continued, keys, origin } => {
            let cited: Vec<&str> = checkpoint.lines().take(3).collect();
            let with_keys = keys.as_ref().map_or("", |_| ", with new keys of the ledger's");
            let words = Words::of(format!("Propose to reopen the log under the origin {origin}{with_keys}"));
            let words = match keys.as_deref() {
                None => words,
                Some(LedgersKeys { checkpoint_key, record_key }) => words
                    .and("ledger's new key for records", record_key.id())
                    .and("ledger's new key for checkpoints", checkpoint_key.id())
                    .and("caution", "compare both ids with the paper; the keys of before sign nothing of the log any more"),
            };
            words
                .and("continued", format!("size {}, root {}", continued.size, continued.root))
                .and("newest head that was signed", cited.join(" "))
                .and("caution", "what was signed beyond the continued size is lost for ever")
        }
        Act::Revoke { key, reason, since } => {
            to_review(Words::of(format!("Propose to revoke key {key}")).and("reason", reason), *since)
        }
        Act::Roles { principal, roles: given } => {
            Words::of(format!("Propose that {principal} holds exactly the roles {}", roles(given)))
        }
    }
}

fn activation(body: &Activation) -> Words {
    let headline = match body.replaces {
        Some(key) => format!("Activate this home's spare key, and end key {key} at once"),
        None => "Activate this home's spare key".to_owned(),
    };
    to_review(Words::of(headline).and("reason", &body.reason), body.since)
}

fn to_review(words: Words, since: Option<Integer>) -> Words {
    match since {
        Some(since) => words.and("to be reviewed", format!("all that it signed from position {since} on")),
        None => words,
    }
}

/// The words for a policy.
pub fn policy_words(policy_: &Policy) -> Vec<(String, String)> {
    policy(Words::of(""), policy_).details
}

fn policy(mut words: Words, policy: &Policy) -> Words {
    for band in &policy.bands {
        let takes = format!(
            "{}, of whom at least {}",
            count(band.approvers.0, "approver"),
            count(band.directors.0, "director")
        );
        words = words.and(&format!("up to {}", band.up_to.grouped()), takes);
    }
    let channels: Vec<&str> = policy
        .channels
        .iter()
        .map(|kind| match kind {
            records::governance::ChannelKind::Manual => "manual",
        })
        .collect();
    let words = words
        .and("channels", channels.join(", "))
        .and("persons for a report of the bank", policy.bank_report_persons)
        .and("persons for a receipt or legal fact", policy.receipt_persons)
        .and("longest life of a request", duration(policy.expiry_max_s.0))
        .and("oldest basis", duration(policy.basis_age_s.0))
        .and("delay of custodians' acts", duration(policy.quorum_delay_s.0))
        .and("difference of clocks", duration(policy.skew_s.0))
        .and("longest gap between groups", duration(policy.gap_s.0))
        .and("grace of a lapse", duration(policy.lapse_grace_s.0));
    let words = match policy.publication {
        None => words.and("public of the log", "nothing"),
        Some(Publication { every_s, multiple }) => {
            let each = duration(every_s.0);
            words.and("public of the log", format!("a head each {each}, of a multiple of {multiple} records"))
        }
    };
    let Some(Witnessing { replays, threshold, witnesses }) = &policy.witnessing else {
        return words.and("cosignatures demanded", "none");
    };
    let words =
        words.and("cosignatures demanded", threshold).and("of these, by witnesses who replay", replays);
    witnesses.iter().fold(words, |words, witness| {
        let says = match witness.statement {
            Statement::Consistent => "that the log only grows",
            Statement::Replayed => "that it replayed the log",
        };
        words.and(&format!("witness {}", witness.name), format!("{} states {says}", witness.key.id()))
    })
}

/// The words for a founding record.
pub fn charter(charter: &Charter) -> Words {
    let currencies: Vec<&str> = charter.currencies.iter().map(|currency| currency.code()).collect();
    let mut words = Words::of(format!(
        "Found a ledger with origin {}, currencies {}, where {} of {} custodians decide",
        charter.origin,
        currencies.join(", "),
        charter.quorum,
        charter.custodians.len()
    ));
    for custodian in &charter.custodians {
        words = words.and(&format!("custodian {}", custodian.principal), custodian.key.id());
    }
    let words = words
        .and("ledger's key for records", charter.record_key.id())
        .and("ledger's key for checkpoints", charter.checkpoint_key.id());
    policy(words, &charter.policy)
}

fn duration(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s.is_multiple_of(86_400) => count(s / 86_400, "day"),
        s if s > 0 && s.is_multiple_of(3600) => count(s / 3600, "hour"),
        s => count(s, "second"),
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The amount that a body is about, if it is about one.
pub fn amount_of(body: &Body) -> Option<Money> {
    match body {
        Body::Restraint(body) => Some(body.amount),
        Body::Custody(body) => Some(body.amount),
        Body::CustodyInterest(body) => Some(body.amount),
        Body::Forfeiture(body) => Some(body.gross),
        Body::ClaimPayment(body) => Some(body.amount),
        Body::WindfallIncome(body) => Some(body.own),
        Body::BankFee(body) => Some(body.amount),
        Body::Request(body) => Some(body.amount),
        Body::Approval(body) => Some(body.effect.most),
        Body::Delivery(body) => Some(body.invoiced),
        _ => None,
    }
}

/// Many bodies in one line: how many of each kind, and the sum of each currency.
pub fn summarise(bodies: &[Body]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sums: BTreeMap<Currency, Option<Money>> = BTreeMap::new();
    for body in bodies {
        *kinds.entry(body.kind().name()).or_default() += 1;
        if let Some(amount) = amount_of(body) {
            let sum = sums.entry(amount.currency()).or_insert(Some(Money::zero(amount.currency())));
            *sum = sum.and_then(|sum| sum.checked_add(amount).ok());
        }
    }
    let kinds: Vec<String> = kinds.into_iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
    let sums: Vec<String> = sums
        .into_iter()
        .map(|(currency, sum)| sum.map_or(format!("{currency}: more than can be summed"), Money::grouped))
        .collect();
    let total = if sums.is_empty() { String::new() } else { format!("; in total {}", sums.join(" and ")) };
    format!("{}{total}", kinds.join(", "))
}
