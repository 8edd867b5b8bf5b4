//! Amounts that somebody chose so that less was asked of them.

use std::collections::{BTreeMap, HashMap};

use ledger::currency::Currency;
use ledger::id::{BenefitId, CaseRef, DisbursementId, FundId, PrincipalId};
use ledger::money::Money;
use ledger::sum::Sum;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{DisbursementState, OfferVersionState, PolicyState, VersionedPolicy};
use records::Body;
use records::cases::BenefitKind;
use records::disbursements::Request;
use records::governance::Band;

use super::{Act, Counted, DAY_S, Exception, Looked, NEAR_PERCENT, ROUND_MAJOR, SPLIT_WINDOW_S};

/// The policy of an act's time.
fn policy<'a>(act: &Act<'a>) -> Option<&'a VersionedPolicy> {
    Some(act.state.get::<PolicyState>(&Key::Policy)?.at(act.at))
}

/// The bands of a currency, rising.
fn bands(policy: &VersionedPolicy, currency: Currency) -> impl Iterator<Item = &Band> {
    policy.policy.bands.iter().filter(move |band| band.up_to.currency() == currency)
}

fn minor(money: Money) -> i128 {
    money.minor().into()
}

/// The limit of the band into which `most` falls, where `total` would have taken more approvers, or could not have been
/// requested at all.
fn avoided(policy: &VersionedPolicy, currency: Currency, most: i128, total: i128) -> Option<Money> {
    let of = |amount: i128| bands(policy, currency).find(|band| minor(band.up_to) >= amount);
    let kept = of(most)?;
    let is_stricter =
        |band: &Band| band.approvers.0 > kept.approvers.0 || band.directors.0 > kept.directors.0;
    (total > minor(kept.up_to) && of(total).is_none_or(is_stricter)).then_some(kept.up_to)
}

/// What requests have in common that may be one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Common {
    Case(CaseRef),
    Fund(FundId),
}

struct Asked {
    at: Timestamp,
    amount: i128,
    disbursement: DisbursementId,
    /// Of a case's benefit only one request can be open: a later one says that the earlier has ended.
    obligation: (CaseRef, BenefitId),
    position: u64,
}

/// Requests of one preparer's that are near each other.
#[derive(Default)]
struct Run {
    recent: Vec<Asked>,
    /// The last of those that were raised.
    raised: Option<usize>,
}

struct Raised {
    common: &'static str,
    counted: Counted,
    limit: Money,
    policy: u64,
    preparer: PrincipalId,
    total: i128,
}

/// Requests that together exceed a band which each of them keeps to.
#[derive(Default)]
pub(super) struct Splits {
    raised: Vec<Raised>,
    runs: HashMap<(PrincipalId, Common, Currency), Run>,
}

impl Splits {
    pub fn see(&mut self, act: &Act<'_>) {
        let Body::Request(request) = act.body else { return };
        let key = Key::Disbursement(request.disbursement.clone());
        let in_kind = act.state.get::<DisbursementState>(&key).is_some_and(|state| state.in_kind);
        self.ask(act, request, Common::Case(request.case.clone()));
        if in_kind {
            self.ask(act, request, Common::Fund(request.fund.clone()));
        }
    }

    fn ask(&mut self, act: &Act<'_>, request: &Request, common: Common) {
        let Some(policy) = policy(act) else { return };
        let words = match &common {
            Common::Case(_) => "for one case",
            Common::Fund(_) => "in kind from one fund",
        };
        let currency = request.amount.currency();
        let run = self.runs.entry((act.signer.clone(), common, currency)).or_default();
        let obligation = (request.case.clone(), request.benefit.clone());
        let is_near = |asked: &Asked| act.at.since(asked.at).is_some_and(|s| s <= SPLIT_WINDOW_S);
        run.recent.retain(|asked| is_near(asked) && asked.obligation != obligation);
        run.recent.push(Asked {
            at: act.at,
            amount: minor(request.amount),
            disbursement: request.disbursement.clone(),
            obligation,
            position: act.position,
        });
        let most = run.recent.iter().map(|asked| asked.amount).max().unwrap_or(0);
        let total = run.recent.iter().map(|asked| asked.amount).sum();
        let Some(limit) = avoided(policy, currency, most, total).filter(|_| act.is_within) else { return };
        let before = run.raised.and_then(|index| self.raised.get_mut(index)).filter(|raised| {
            let last = raised.counted.positions.last();
            run.recent.iter().any(|asked| Some(&asked.position) == last)
        });
        if let Some(raised) = before {
            // Each keeps to the widest of the bands to which some of them keep.
            if minor(raised.limit) < minor(limit) {
                (raised.limit, raised.policy) = (limit, policy.version);
            }
            raised.total += minor(request.amount);
            raised.counted.add([act.position], Some(&request.disbursement));
            return;
        }
        let mut counted = Counted::default();
        run.recent.iter().for_each(|asked| counted.add([asked.position], Some(&asked.disbursement)));
        run.raised = Some(self.raised.len());
        let (preparer, policy) = (act.signer.clone(), policy.version);
        self.raised.push(Raised { common: words, counted, limit, policy, preparer, total });
    }

    pub fn found(self) -> Vec<Exception> {
        let exception = |raised: Raised| {
            let Raised { common, counted, limit, policy, preparer, total } = raised;
            let what = format!(
                "{preparer} made {} requests {common}, each within {} days of another, together {}; each keeps to the band up to {} (policy {policy})",
                counted.count,
                SPLIT_WINDOW_S / DAY_S,
                Sum::of_minor(total, limit.currency()).grouped(),
                limit.grouped()
            );
            counted.exception(Looked::SplitRequests, what)
        };
        self.raised.into_iter().map(exception).collect()
    }
}

/// Requests just under a band's limit.
#[derive(Default)]
pub(super) struct Limits(BTreeMap<String, Counted>);

impl Limits {
    pub fn see(&mut self, act: &Act<'_>) {
        let (Body::Request(request), true) = (act.body, act.is_within) else { return };
        let Some(policy) = policy(act) else { return };
        let amount = minor(request.amount);
        let band = bands(policy, request.amount.currency()).find(|band| minor(band.up_to) >= amount);
        let is_near = |band: &&Band| (minor(band.up_to) - amount) * 100 <= minor(band.up_to) * NEAR_PERCENT;
        if let Some(band) = band.filter(is_near) {
            let what = format!(
                "{} requested benefit {} of offer {}, version {}, just under the limit of {} (policy {})",
                act.signer,
                request.benefit,
                request.offer.offer,
                request.offer.version,
                band.up_to.grouped(),
                policy.version
            );
            self.0.entry(what).or_default().add([act.position], Some(&request.disbursement));
        }
    }

    pub fn found(self) -> Vec<Exception> {
        self.0.into_iter().map(|(what, counted)| counted.exception(Looked::NearLimit, what)).collect()
    }
}

/// Round sums where somebody chose the sum.
#[derive(Default)]
pub(super) struct Rounds(BTreeMap<String, Counted>);

impl Rounds {
    pub fn see(&mut self, act: &Act<'_>) {
        if !act.is_within {
            return;
        }
        let (what, amount, disbursement) = match act.body {
            Body::Delivery(body) => {
                (format!("an invoice of vendor {}", body.vendor), body.invoiced, Some(&body.disbursement))
            }
            Body::Request(body) if is_below_ceiling(act, body) => {
                ("a request in kind".to_owned(), body.amount, Some(&body.disbursement))
            }
            Body::ClaimPayment(body) => {
                (format!("a claim of {} that was paid", body.body), body.amount, None)
            }
            Body::BankFee(body) => (format!("a fee of bank {}", body.bank), body.amount, None),
            _ => return,
        };
        if is_round(amount) {
            let what = format!("{what}, signed by {}", act.signer);
            self.0.entry(what).or_default().add([act.position], disbursement);
        }
    }

    pub fn found(self) -> Vec<Exception> {
        self.0.into_iter().map(|(what, counted)| counted.exception(Looked::RoundSums, what)).collect()
    }
}

fn is_round(amount: Money) -> bool {
    let unit = 10_i64.saturating_pow(amount.currency().minor_units()).saturating_mul(ROUND_MAJOR);
    amount.is_positive() && amount.minor() % unit == 0
}

/// Whether somebody chose the amount: a cash benefit's is the offer's, and so is a ceiling.
fn is_below_ceiling(act: &Act<'_>, request: &Request) -> bool {
    let key = Key::OfferVersion(request.offer.offer.clone(), request.offer.version.0);
    let offer = act.state.get::<OfferVersionState>(&key);
    let mut benefits = offer.into_iter().flat_map(|offer| &offer.benefits);
    benefits.any(|benefit| {
        let is_below = matches!(benefit.kind, BenefitKind::InKind { ceiling } if ceiling != request.amount);
        benefit.benefit == request.benefit && is_below
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::governance::Policy;
    use records::scalar::Integer;

    fn money(text: &str) -> Money {
        let (amount, currency) = text.split_once(' ').unwrap();
        Money::parse(amount, currency.parse().unwrap()).unwrap()
    }

    #[test]
    fn round_in_every_currency() {
        for (amount, expected) in [
            ("1000.00 USD", true),
            ("25000.00 USD", true),
            ("0.00 USD", false),
            ("1000.01 USD", false),
            ("1500.00 USD", false),
            ("100.00 USD", false),
            ("1000 JPY", true),
            ("1000.000 KWD", true),
            ("100.000 KWD", false),
        ] {
            assert_eq!(is_round(money(amount)), expected, "{amount}");
        }
    }

    /// Bands of 1, 1 and 2 approvers: it is no gain to keep below the first.
    #[test]
    fn what_is_avoided() {
        let band = |approvers, up_to| Band {
            approvers: Integer(approvers),
            directors: Integer(0),
            up_to: money(up_to),
        };
        let policy = VersionedPolicy {
            version: 1,
            policy: Policy {
                bands: vec![
                    band(9, "1.00 EUR"),
                    band(1, "100.00 USD"),
                    band(1, "200.00 USD"),
                    band(2, "900.00 USD"),
                ],
                bank_report_persons: Integer(1),
                basis_age_s: Integer(1),
                channels: vec![],
                expiry_max_s: Integer(1),
                gap_s: Integer(1),
                lapse_grace_s: Integer(1),
                publication: None,
                quorum_delay_s: Integer(1),
                receipt_persons: Integer(1),
                skew_s: Integer(1),
                witnessing: None,
            },
        };
        for (most, total, expected) in [
            (6_000, 10_000, None),
            (6_000, 12_000, None),
            (6_000, 20_001, Some("100.00 USD")),
            (15_000, 30_000, Some("200.00 USD")),
            (30_000, 90_000, None),
            (50_000, 90_001, Some("900.00 USD")),
            (90_001, 90_002, None),
        ] {
            let found = avoided(&policy, Currency::USD, most, total);
            assert_eq!(found, expected.map(money), "{most} of {total}");
        }
    }
}
