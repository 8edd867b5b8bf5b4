//! The money of the programme as whole minor units in named buckets, and what each instruction does to them.
//!
//! Every bucket counts on the side on which it grows. An effect is a list of changes, so that a reversal is the same list
//! with the other sign.

use std::collections::{BTreeMap, HashMap};

use records::Body;
use records::assets::{ClaimKind, ReversalSubject, Share};
use records::cases::BenefitKind;
use signing::digest::Digest;

/// Why there is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// A bucket would fall below nothing, or below what is held of it.
    Money,
    /// The fund has a shortfall.
    Backing,
    /// The fund has overdrawn its account at the bank.
    Cash,
}

/// Whether the model could take an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It could.
    Whole,
    /// It could not.
    Lacks(Lack),
}

/// An amount in minor units: its digits without the point.
pub fn minor(money: &ledger::money::Money) -> i128 {
    money.digits().replace('.', "").parse().unwrap()
}

/// The model's name of an account, by its code and what qualifies it.
pub fn bucket(code: &str, name: &str) -> String {
    let word = match code {
        "1150" => "custody",
        "2100" => "payable",
        "2200" => "outstanding",
        "2300" => "claim",
        "2600" => "overdrawn",
        "4101" => return "income: forfeiture".to_owned(),
        "4102" => return "income: windfall".to_owned(),
        "5101" => return "expense: benefit".to_owned(),
        "5102" => return "expense: bank fee".to_owned(),
        "7100" => "resources",
        "7300" => "obligated",
        "7400" => "accrued",
        "7500" => "paid",
        "7900" => "shortfall",
        "8100" => "restrained",
        "8200" => "retained",
        "8900" => "contra",
        other => panic!("the model knows no account {other}"),
    };
    if name.is_empty() { word.to_owned() } else { format!("{word}/{name}") }
}

/// (fund, bucket, by how much)
type Change = (String, String, i128);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Requested,
    Obligated,
    Due,
    Released,
    Paid,
    Ended,
}

#[derive(Debug, Clone)]
struct Payment {
    fund: String,
    in_kind: bool,
    ceiling: i128,
    due: i128,
    payable: String,
    bank: String,
    stage: Stage,
    undo: Option<(Stage, Vec<Change>)>,
}

#[derive(Default)]
pub struct Model {
    buckets: BTreeMap<(String, String), i128>,
    assets: HashMap<String, String>,
    in_kind: HashMap<(String, u64, String), bool>,
    payments: HashMap<String, Payment>,
    waiting: HashMap<Digest, Body>,
    facts: HashMap<Digest, Vec<Change>>,
}

/// Changes of one fund.
struct Effect<'a> {
    fund: &'a str,
    changes: Vec<Change>,
}

impl<'a> Effect<'a> {
    fn on(fund: &'a str) -> Effect<'a> {
        Effect { fund, changes: vec![] }
    }

    fn add(mut self, bucket: impl Into<String>, amount: i128) -> Effect<'a> {
        self.changes.push((self.fund.to_owned(), bucket.into(), amount));
        self
    }

    fn and(mut self, other: Effect<'_>) -> Effect<'a> {
        self.changes.extend(other.changes);
        self
    }
}

impl Model {
    /// Everything that is not nothing.
    pub fn balances(&self) -> BTreeMap<(String, String), i128> {
        self.buckets.iter().filter(|(_, amount)| **amount != 0).map(|(key, n)| (key.clone(), *n)).collect()
    }

    fn get(&self, fund: &str, bucket: impl Into<String>) -> i128 {
        self.buckets.get(&(fund.to_owned(), bucket.into())).copied().unwrap_or(0)
    }

    fn apply(&mut self, changes: &[Change]) {
        for (fund, bucket, amount) in changes {
            *self.buckets.entry((fund.clone(), bucket.clone())).or_default() += amount;
        }
    }

    /// No bucket is below nothing, or below what is held of it.
    pub fn assert_sound(&self) {
        assert_eq!(first_below(&self.buckets), None);
    }

    /// Whether there is enough for an instruction that everything else allows.
    pub fn would_take(&self, body: &Body) -> Taken {
        if let Body::Request(request) = body
            && self.get(request.fund.as_str(), "shortfall") > 0
        {
            return Taken::Lacks(Lack::Backing);
        }
        if let Body::Release(release) = body {
            let fund = &self.payments[release.disbursement.as_str()].fund;
            if self.get(fund, format!("overdrawn/{}", release.bank)) > 0 {
                return Taken::Lacks(Lack::Cash);
            }
        }
        let mut after = self.buckets.clone();
        let body = match body {
            Body::Countersignature(body) => &self.waiting[&body.report],
            body => body,
        };
        for (fund, bucket, amount) in self.changes(body) {
            *after.entry((fund, bucket)).or_default() += amount;
        }
        if first_below(&after).is_some() { Taken::Lacks(Lack::Money) } else { Taken::Whole }
    }

    /// What was accepted, and whether it caused an entry.
    pub fn take(&mut self, digest: Digest, body: &Body, posted: bool) {
        match body {
            Body::FundOpening(body) => {
                self.assets.insert(body.fund.to_string(), body.asset.to_string());
            }
            Body::Offer(body) => {
                for benefit in &body.benefits {
                    let key = (body.offer.to_string(), body.version.0, benefit.benefit.to_string());
                    self.in_kind.insert(key, matches!(benefit.kind, BenefitKind::InKind { .. }));
                }
            }
            Body::Countersignature(body) if posted => {
                let fact = self.waiting.remove(&body.report).expect("it waited");
                self.happen(body.report, &fact);
            }
            _ if posted => self.happen(digest, body),
            Body::Restraint(_)
            | Body::Custody(_)
            | Body::CustodyInterest(_)
            | Body::Forfeiture(_)
            | Body::ClaimPayment(_)
            | Body::WindfallIncome(_)
            | Body::BankFee(_)
            | Body::BankConfirmation(_)
            | Body::BankRejection(_)
            | Body::BankReturn(_) => {
                self.waiting.insert(digest, body.clone());
            }
            _ => {}
        }
    }

    /// A disbursement ran out.
    pub fn lapse(&mut self, disbursement: &impl ToString) {
        let id = disbursement.to_string();
        let changes = self.ending(&id);
        self.step(&id, Stage::Ended, changes, false);
    }

    fn step(&mut self, id: &str, stage: Stage, changes: Vec<Change>, can_be_undone: bool) {
        self.apply(&changes);
        let payment = self.payments.get_mut(id).unwrap();
        payment.undo = can_be_undone.then_some((payment.stage, changes));
        payment.stage = stage;
    }

    fn happen(&mut self, digest: Digest, body: &Body) {
        let changes = self.changes(body);
        match body {
            Body::Request(request) => {
                let offer = (request.offer.offer.to_string(), request.offer.version.0);
                let payment = Payment {
                    fund: request.fund.to_string(),
                    in_kind: self.in_kind[&(offer.0, offer.1, request.benefit.to_string())],
                    ceiling: minor(&request.amount),
                    due: minor(&request.amount),
                    payable: format!("payable/disbursement/{}", request.disbursement),
                    bank: String::new(),
                    stage: Stage::Requested,
                    undo: None,
                };
                self.payments.insert(request.disbursement.to_string(), payment);
                self.apply(&changes);
            }
            Body::Approval(body) => {
                let id = body.effect.disbursement.as_str();
                let stage = if self.payments[id].in_kind { Stage::Obligated } else { Stage::Due };
                self.step(id, stage, changes, false);
            }
            Body::Rejection(body) => self.step(body.disbursement.as_str(), Stage::Ended, changes, false),
            Body::Cancellation(body) => self.step(body.disbursement.as_str(), Stage::Ended, changes, false),
            Body::Delivery(body) => {
                let payment = self.payments.get_mut(body.disbursement.as_str()).unwrap();
                payment.due = minor(&body.invoiced);
                payment.payable = format!("payable/vendor/{}", body.vendor);
                self.step(body.disbursement.as_str(), Stage::Due, changes, true);
            }
            Body::Release(body) => {
                self.payments.get_mut(body.disbursement.as_str()).unwrap().bank = body.bank.to_string();
                self.step(body.disbursement.as_str(), Stage::Released, changes, true);
            }
            Body::BankConfirmation(body) => self.step(body.disbursement.as_str(), Stage::Paid, changes, true),
            Body::BankRejection(body) => self.step(body.disbursement.as_str(), Stage::Due, changes, true),
            Body::BankReturn(body) => self.step(body.disbursement.as_str(), Stage::Due, changes, true),
            Body::Reversal(body) => {
                self.apply(&changes);
                match &body.subject {
                    ReversalSubject::Fact(report) => drop(self.facts.remove(report)),
                    ReversalSubject::Disbursement(id) => {
                        let payment = self.payments.get_mut(id.as_str()).unwrap();
                        payment.stage = payment.undo.take().unwrap().0;
                    }
                }
            }
            _ => {
                self.apply(&changes);
                self.facts.insert(digest, changes);
            }
        }
    }

    /// What an instruction does to the buckets as they are.
    fn changes(&self, body: &Body) -> Vec<Change> {
        self.fact(body).unwrap_or_else(|| self.payment(body))
    }

    fn fact(&self, body: &Body) -> Option<Vec<Change>> {
        let effect = match body {
            Body::Restraint(body) => {
                let (fund, amount) = (body.fund.as_str(), minor(&body.amount));
                Effect::on(fund).add(self.of_asset("restrained", fund), amount).add("contra", amount)
            }
            Body::Custody(body) => {
                let (fund, amount) = (body.fund.as_str(), minor(&body.amount));
                let restrained = self.of_asset("restrained", fund);
                let ends = amount.min(self.get(fund, &restrained));
                self.taken_into_custody(fund, body.bank.as_str(), amount)
                    .add(restrained, -ends)
                    .add("contra", -ends)
            }
            Body::CustodyInterest(body) => {
                self.taken_into_custody(body.fund.as_str(), body.bank.as_str(), minor(&body.amount))
            }
            Body::Forfeiture(body) => {
                let (fund, gross) = (body.fund.as_str(), minor(&body.gross));
                let off: i128 = body.costs.iter().chain(&body.claims).map(|share| minor(&share.amount)).sum();
                let net = gross - off;
                shares(Effect::on(fund), "cost", &body.costs)
                    .and(shares(Effect::on(fund), "claimant", &body.claims))
                    .add(self.of_asset("claim", fund), -gross)
                    .add(format!("custody/{}", body.bank), -net)
                    .and(self.income(body.to_fund.as_str(), body.to_bank.as_str(), "income: forfeiture", net))
            }
            Body::ClaimPayment(body) => {
                let kind = match body.kind {
                    ClaimKind::Claimant => "claimant",
                    ClaimKind::Cost => "cost",
                    ClaimKind::OtherBody => "other-body",
                };
                Effect::on(body.fund.as_str())
                    .add(format!("payable/{kind}/{}", body.body), -minor(&body.amount))
                    .add(format!("custody/{}", body.bank), -minor(&body.amount))
            }
            Body::WindfallIncome(body) => {
                let kept: i128 = body.shares.iter().map(|share| minor(&share.amount)).sum();
                let (fund, retained) = (body.shares_fund.as_str(), minor(&body.retained));
                shares(Effect::on(fund), "other-body", &body.shares)
                    .add(format!("custody/{}", body.bank), kept)
                    .add(self.of_asset("retained", fund), retained)
                    .add("contra", retained)
                    .and(self.income(
                        body.fund.as_str(),
                        body.bank.as_str(),
                        "income: windfall",
                        minor(&body.own),
                    ))
            }
            Body::BankFee(body) => {
                let (fund, bank, amount) = (body.fund.as_str(), body.bank.as_str(), minor(&body.amount));
                let free =
                    self.get(fund, format!("cash/{bank}")) - self.get(fund, format!("cash held/{bank}"));
                let cash = amount.min(free);
                Effect::on(fund)
                    .add("expense: bank fee", amount)
                    .add(format!("cash/{bank}"), -cash)
                    .add(format!("overdrawn/{bank}"), amount - cash)
                    .add("paid", amount)
                    .and(self.used(fund, amount))
            }
            _ => return None,
        };
        Some(effect.changes)
    }

    fn payment(&self, body: &Body) -> Vec<Change> {
        let of = |id: &ledger::id::DisbursementId| &self.payments[id.as_str()];
        let effect = match body {
            Body::Request(body) => Effect::on(body.fund.as_str()).add("held", minor(&body.amount)),
            Body::Approval(body) => {
                let payment = of(&body.effect.disbursement);
                let amount = payment.ceiling;
                let posted = Effect::on(&payment.fund).add("held", -amount).add("available", -amount);
                if payment.in_kind {
                    posted.add("obligated", amount)
                } else {
                    posted
                        .add("accrued", amount)
                        .add(&payment.payable, amount)
                        .add("expense: benefit", amount)
                }
            }
            Body::Rejection(body) => return self.ending(body.disbursement.as_str()),
            Body::Cancellation(body) => return self.ending(body.disbursement.as_str()),
            Body::Delivery(body) => {
                let (payment, amount) = (of(&body.disbursement), minor(&body.invoiced));
                Effect::on(&payment.fund)
                    .add("obligated", -payment.ceiling)
                    .add("available", payment.ceiling - amount)
                    .add("accrued", amount)
                    .add("expense: benefit", amount)
                    .add(format!("payable/vendor/{}", body.vendor), amount)
            }
            Body::Release(body) => {
                let payment = of(&body.disbursement);
                Effect::on(&payment.fund)
                    .add(&payment.payable, -payment.due)
                    .add(format!("outstanding/bank/{}", body.bank), payment.due)
                    .add(format!("cash held/{}", body.bank), payment.due)
            }
            Body::BankConfirmation(body) => {
                let payment = of(&body.disbursement);
                self.no_longer_sent(payment)
                    .add(format!("cash/{}", payment.bank), -payment.due)
                    .add("accrued", -payment.due)
                    .add("paid", payment.due)
            }
            Body::BankRejection(body) => {
                let payment = of(&body.disbursement);
                self.no_longer_sent(payment).add(&payment.payable, payment.due)
            }
            Body::BankReturn(body) => {
                let (payment, kept) = (of(&body.disbursement), minor(&body.kept));
                self.received(&payment.fund, &payment.bank, payment.due - kept)
                    .add("expense: bank fee", kept)
                    .add(&payment.payable, payment.due)
                    .add("paid", kept - payment.due)
                    .add("accrued", payment.due)
                    .and(self.used(&payment.fund, kept))
            }
            Body::Reversal(body) => {
                let undone = match &body.subject {
                    ReversalSubject::Fact(report) => &self.facts[report],
                    ReversalSubject::Disbursement(id) => &of(id).undo.as_ref().unwrap().1,
                };
                return undone.iter().map(|(fund, bucket, n)| (fund.clone(), bucket.clone(), -n)).collect();
            }
            _ => return vec![],
        };
        effect.changes
    }

    fn ending(&self, id: &str) -> Vec<Change> {
        let payment = &self.payments[id];
        let effect = Effect::on(&payment.fund);
        let effect = match payment.stage {
            Stage::Requested => effect.add("held", -payment.ceiling),
            Stage::Obligated => effect.add("obligated", -payment.ceiling).add("available", payment.ceiling),
            Stage::Due => effect
                .add(&payment.payable, -payment.due)
                .add("expense: benefit", -payment.due)
                .add("accrued", -payment.due)
                .add("available", payment.due),
            stage => panic!("{id} cannot end at {stage:?}"),
        };
        effect.changes
    }

    fn of_asset(&self, word: &str, fund: &str) -> String {
        format!("{word}/{}", self.assets[fund])
    }

    fn taken_into_custody<'a>(&self, fund: &'a str, bank: &str, amount: i128) -> Effect<'a> {
        Effect::on(fund).add(format!("custody/{bank}"), amount).add(self.of_asset("claim", fund), amount)
    }

    /// Cash that came in repays first what is overdrawn.
    fn received<'a>(&self, fund: &'a str, bank: &str, amount: i128) -> Effect<'a> {
        let repaid = amount.min(self.get(fund, format!("overdrawn/{bank}")));
        Effect::on(fund)
            .add(format!("overdrawn/{bank}"), -repaid)
            .add(format!("cash/{bank}"), amount - repaid)
    }

    fn income<'a>(&self, fund: &'a str, bank: &str, kind: &str, amount: i128) -> Effect<'a> {
        self.received(fund, bank, amount).add(kind, amount).add("resources", amount).add("available", amount)
    }

    /// A fact takes what is free, and the rest is shortfall.
    fn used<'a>(&self, fund: &'a str, amount: i128) -> Effect<'a> {
        let taken = amount.min(self.get(fund, "available") - self.get(fund, "held"));
        Effect::on(fund).add("available", -taken).add("shortfall", amount - taken)
    }

    fn no_longer_sent<'a>(&self, payment: &'a Payment) -> Effect<'a> {
        Effect::on(&payment.fund)
            .add(format!("outstanding/bank/{}", payment.bank), -payment.due)
            .add(format!("cash held/{}", payment.bank), -payment.due)
    }
}

fn shares<'a>(effect: Effect<'a>, kind: &str, shares: &[Share]) -> Effect<'a> {
    shares.iter().fold(effect, |effect, share| {
        effect.add(format!("payable/{kind}/{}", share.body), minor(&share.amount))
    })
}

/// The first bucket that may not be as it is: below nothing, or holding more than there is of what it holds.
fn first_below(buckets: &BTreeMap<(String, String), i128>) -> Option<(&String, &String)> {
    let of = |fund: &String, bucket: String| buckets.get(&(fund.clone(), bucket)).copied().unwrap_or(0);
    let is_broken = |fund: &String, bucket: &str, amount: i128| match bucket.split_once('/') {
        None if bucket == "held" => amount < 0 || amount > of(fund, "available".to_owned()),
        Some(("cash held", bank)) => amount < 0 || amount > of(fund, format!("cash/{bank}")),
        // Income, expense and the other leg of the memo may be on either side.
        _ if ["income", "expense", "contra"].iter().any(|word| bucket.starts_with(word)) => false,
        _ => amount < 0,
    };
    let broken = |((fund, bucket), amount): &(&(String, String), &i128)| is_broken(fund, bucket, **amount);
    buckets.iter().find(broken).map(|((fund, bucket), _)| (fund, bucket))
}
