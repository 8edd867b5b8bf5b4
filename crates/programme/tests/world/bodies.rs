//! What a verb and its words say, as a body.

use std::str::FromStr;

use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use programme::effect_of;
use programme::entity::ReportStatus;
use programme::{Key, entity};
use records::assets::*;
use records::cases::*;
use records::disbursements::*;
use records::governance::*;
use records::scalar::{Evidence, Integer, Salt};
use records::witnessing::{Statement, Witness, Witnessing};
use records::{Basis, Body};
use signing::digest::Digest;
use signing::dsse::Envelope;
use translog::checkpoint::Checkpoint;

use super::script::Words;
use super::{World, id, secret};

/// `100.00` in USD, or `EUR:100.00`.
pub fn money(text: &str) -> Money {
    let (currency, amount) = text.split_once(':').unwrap_or(("USD", text));
    Money::parse(amount, id(currency)).unwrap()
}

/// The parts of a list with commas; nothing where there is nothing.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

/// A list with commas.
pub fn list<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    split(text).map(id).collect()
}

fn evidence() -> Evidence {
    Evidence { holder: id("dir1"), kind: id("advice"), sha256: Digest::of("advice") }
}

fn integer(text: &str) -> Integer {
    text.parse().unwrap()
}

fn offer_version(text: &str) -> OfferVersion {
    let (offer, version) = text.split_once(':').unwrap();
    OfferVersion { offer: id(offer), version: integer(version) }
}

/// `x:1.00,y:2.00`; `x:1.00*101` is 101 of them.
fn shares(text: Option<&str>) -> Vec<Share> {
    let share = |part: &str| {
        let (body, amount) = part.split_once(':').unwrap();
        let (amount, times) = amount.split_once('*').unwrap_or((amount, "1"));
        vec![Share { amount: money(amount), body: id(body) }; times.parse().unwrap()]
    };
    text.map_or(vec![], |text| split(text).flat_map(share).collect())
}

/// Changes one rule of a policy.
pub fn set_policy(policy: &mut Policy, name: &str, value: &str) {
    match name {
        "bank_report_persons" => policy.bank_report_persons = integer(value),
        "receipt_persons" => policy.receipt_persons = integer(value),
        "basis_age_s" => policy.basis_age_s = integer(value),
        "expiry_max_s" => policy.expiry_max_s = integer(value),
        "gap_s" => policy.gap_s = integer(value),
        "lapse_grace_s" => policy.lapse_grace_s = integer(value),
        "quorum_delay_s" => policy.quorum_delay_s = integer(value),
        "publication" => {
            let (every_s, multiple) = value.split_once('/').unwrap();
            policy.publication = Some(Publication { every_s: integer(every_s), multiple: integer(multiple) });
        }
        "skew_s" => policy.skew_s = integer(value),
        "threshold" => witnessing(policy).threshold = integer(value),
        "replays" => witnessing(policy).replays = integer(value),
        // By the names of their keys; `-replay` at the end of one says that it replays.
        "witnesses" => witnessing(policy).witnesses = split(value).map(witness).collect(),
        "channels" => policy.channels = split(value).map(|_| ChannelKind::Manual).collect(),
        // `10000.00/1/0` up to an amount, so many approvers, so many directors.
        "bands" => policy.bands = split(value).map(band).collect(),
        other => panic!("no rule {other}"),
    }
}

fn witnessing(policy: &mut Policy) -> &mut Witnessing {
    let none = || Witnessing { replays: Integer(0), threshold: Integer(1), witnesses: vec![] };
    policy.witnessing.get_or_insert_with(none)
}

fn witness(name: &str) -> Witness {
    let is_replay = name.ends_with("-replay");
    let statement = if is_replay { Statement::Replayed } else { Statement::Consistent };
    Witness { key: secret(name).public().clone(), name: id(name), statement }
}

fn band(text: &str) -> Band {
    let [up_to, approvers, directors] = text.split('/').collect::<Vec<_>>()[..] else { panic!("{text}") };
    Band { approvers: integer(approvers), directors: integer(directors), up_to: money(up_to) }
}

/// The body of an instruction.
pub fn body(world: &World, verb: &str, words: &mut Words<'_>) -> Body {
    let value_date = words.take("value").map_or(world.now().date(), id);
    governance(world, verb, words)
        .or_else(|| asset(world, verb, words, value_date))
        .or_else(|| case(verb, words))
        .or_else(|| disbursement(world, verb, words, value_date))
        .unwrap_or_else(|| panic!("no verb {verb}"))
}

fn governance(world: &World, verb: &str, words: &mut Words<'_>) -> Option<Body> {
    let reason = id("as agreed");
    let act = match verb {
        "accept" => return Some(Body::Acceptance(Acceptance {})),
        "activate" => {
            let replaces = words.take("replaces").map(|name| secret(name).public().id());
            let since = words.take("since").map(integer);
            return Some(Body::Activation(Activation { reason, replaces, since }));
        }
        "concur" => return Some(Body::Concurrence(Concurrence { proposal: world.digest(words.next()) })),
        "veto" => return Some(Body::Veto(Veto { proposal: world.digest(words.next()), reason })),
        "enrol" => enrolment(world, words),
        "set-policy" => {
            let mut policy = world.policy().policy;
            for (name, value) in words.take_rest() {
                set_policy(&mut policy, name, value);
            }
            Act::Policy { policy }
        }
        "revoke" => {
            let key = secret(words.next()).public().id();
            Act::Revoke { key, reason, since: words.take("since").map(integer) }
        }
        "reopen" => reopening(world, words),
        "set-roles" => Act::Roles { principal: id(words.next()), roles: list(words.next()) },
        _ => return None,
    };
    Some(Body::Proposal(Proposal { act }))
}

/// `enrol who roles=a,b keys=k1,k2 spares=k3 expires=2030-01-02T00:00:00Z`; `for=` names another principal in the proofs of possession, `of=` another ledger,
/// `by=` signs them with another key, `type=` gives them another type.
fn enrolment(world: &World, words: &mut Words<'_>) -> Act {
    let principal = words.next();
    let roles = list(words.take("roles").unwrap_or(""));
    let holder = words.take("for").unwrap_or(principal);
    let ledger = words.take("of").map_or(world.ledger(), Digest::of);
    let payload_type = words.take("type").unwrap_or(KeyPossession::PAYLOAD_TYPE);
    let by = words.take("by");
    let possession = |name: &str| {
        let key = secret(name).public().clone();
        let possession = KeyPossession { key, ledger, principal: id(holder) };
        let payload = signing::canonical::encode(&possession);
        Envelope::sign(&secret(by.unwrap_or(name)), payload_type, payload)
    };
    let possessions = split(words.take("keys").unwrap_or("")).map(possession).collect();
    let spares = words.take("spares").map(|names| split(names).map(possession).collect());
    let expires = words.take("expires").map(id);
    Act::Enrol { expires, possessions, principal: id(principal), roles, spares }
}

/// `reopen origin` continues the log as it is, and cites a head that is longer; `left=forged|first` continues another one, and
/// `cited=` cites one that is `unsigned`, of the origin `elsewhere`, or of this size and `another` log. `keys=record,checkpoint`
/// gives the ledger the keys of these names.
fn reopening(world: &World, words: &mut Words<'_>) -> Act {
    let left = world.left();
    let continued = match words.take("left") {
        Some("forged") => Basis { root: Digest::of("forged"), ..left },
        Some(_) => world.first_basis(),
        None => left,
    };
    let cited = words.take("cited").unwrap_or("lost");
    let key = secret(if cited == "unsigned" { "c1" } else { "ledger/checkpoints" });
    let origin = if cited == "elsewhere" { "ledger.example/9" } else { "ledger.example/1" }.to_owned();
    let size = if cited == "another" { left.size.0 } else { left.size.0 + 5 };
    let checkpoint = Checkpoint { origin, root: Digest::of("lost"), size }.sign(&key);
    let keys = words.take("keys").map(|names| {
        let (record, checkpoint) = names.split_once(',').expect("two keys");
        let [record_key, checkpoint_key] = [record, checkpoint].map(|name| secret(name).public().clone());
        Box::new(LedgersKeys { checkpoint_key, record_key })
    });
    Act::Reopen { checkpoint, continued, keys, origin: id(words.next()) }
}

fn asset(world: &World, verb: &str, words: &mut Words<'_>, value_date: Date) -> Option<Body> {
    let evidence = evidence();
    Some(match verb {
        "register" => Body::AssetRegistration(AssetRegistration {
            asset: id(words.next()),
            description: id("an account"),
            instrument: evidence,
        }),
        "open-fund" => {
            let (fund, asset) = (id(words.next()), id(words.next()));
            let kind = match words.next() {
                "fiduciary" => FundKind::Fiduciary,
                "spendable" => FundKind::Spendable,
                other => panic!("no kind {other}"),
            };
            Body::FundOpening(FundOpening { asset, currency: id(words.next()), fund, kind })
        }
        "open-bank" => {
            let bank = id(words.next());
            Body::BankOpening(BankOpening { bank, currency: id(words.next()) })
        }
        "restrain" => {
            let fund = id(words.next());
            Body::Restraint(Restraint { amount: money(words.next()), fund, instrument: evidence })
        }
        "custody" => {
            let (fund, bank) = (id(words.next()), id(words.next()));
            Body::Custody(Custody { amount: money(words.next()), bank, evidence, fund, value_date })
        }
        "interest" => {
            let (fund, bank) = (id(words.next()), id(words.next()));
            let amount = money(words.next());
            Body::CustodyInterest(CustodyInterest { amount, bank, evidence, fund, value_date })
        }
        "forfeit" => Body::Forfeiture(Forfeiture {
            fund: id(words.next()),
            bank: id(words.next()),
            to_fund: id(words.next()),
            to_bank: id(words.next()),
            gross: money(words.next()),
            costs: shares(words.take("costs")),
            claims: shares(words.take("claims")),
            instrument: evidence,
            value_date,
        }),
        "pay-claim" => Body::ClaimPayment(ClaimPayment {
            fund: id(words.next()),
            bank: id(words.next()),
            kind: match words.next() {
                "claimant" => ClaimKind::Claimant,
                "cost" => ClaimKind::Cost,
                "other-body" => ClaimKind::OtherBody,
                other => panic!("no kind {other}"),
            },
            body: id(words.next()),
            amount: money(words.next()),
            evidence,
            value_date,
        }),
        "windfall" => Body::WindfallIncome(WindfallIncome {
            fund: id(words.next()),
            bank: id(words.next()),
            own: money(words.next()),
            shares_fund: id(words.next()),
            shares: shares(words.take("shares")),
            retained: money(words.take("retained").unwrap_or("0.00")),
            evidence,
            value_date,
        }),
        "fee" => {
            let (fund, bank) = (id(words.next()), id(words.next()));
            Body::BankFee(BankFee { amount: money(words.next()), bank, evidence, fund, value_date })
        }
        "countersign" => Body::Countersignature(Countersignature { report: world.digest(words.next()) }),
        "reverse" => reversal(world, words),
        _ => return None,
    })
}

/// `reverse <digest's name or disbursement>`; `entry=` names the digest that caused another entry than the last.
fn reversal(world: &World, words: &mut Words<'_>) -> Body {
    let what = words.next();
    let entry_of = |digest: Digest| ledger::id::EntryId { digest: *digest.as_bytes(), index: 0 };
    let (subject, last) = match world.named.get(what) {
        Some(report) => {
            let state = world.state.get::<entity::ReportState>(&Key::Report(*report));
            let posted = match state.map(|state| &state.status) {
                Some(ReportStatus::Posted(Some(posted))) => posted.id,
                _ => entry_of(*report),
            };
            (ReversalSubject::Fact(*report), posted)
        }
        None => {
            let undo = world.disbursement(what).and_then(|state| state.undo.as_ref());
            let last = undo.map_or(entry_of(Digest::of("none")), |undo| undo.entry.id);
            (ReversalSubject::Disbursement(id(what)), last)
        }
    };
    let entry = words.take("entry").map_or(last, |name| entry_of(world.digest(name)));
    Body::Reversal(Reversal { entry, reason: id("a mistake"), subject })
}

fn case(verb: &str, words: &mut Words<'_>) -> Option<Body> {
    Some(match verb {
        "offer" => {
            let (offer, version) = (id(words.next()), integer(words.next()));
            let valid_from = words.take("valid_from").map_or(id("2029-01-01"), id::<Date>);
            let benefit = |(name, value): (&str, &str)| Benefit {
                benefit: id(name),
                kind: match value.strip_prefix('~') {
                    Some(ceiling) => BenefitKind::InKind { ceiling: money(ceiling) },
                    None => BenefitKind::Cash { amount: money(value) },
                },
            };
            let benefits = words.take_rest().into_iter().map(benefit).collect();
            Body::Offer(Offer { benefits, offer, valid_from, version })
        }
        "case" => {
            let case = words.next();
            Body::CaseOpening(CaseOpening {
                agency: id(words.take("agency").unwrap_or("ag1")),
                agency_ref: id(words.take("ref").map_or(format!("r-{case}"), str::to_owned).as_str()),
                case: id(case),
                entered: id(words.take("entered").unwrap_or("2029-06-01")),
                offer: offer_version(words.next()),
            })
        }
        "screen" => Body::Screening(Screening {
            case: id(words.next()),
            evidence: evidence(),
            outcome: match words.next() {
                "cleared" => ScreeningOutcome::Cleared,
                "refused" => ScreeningOutcome::Refused,
                other => panic!("no outcome {other}"),
            },
            person: Digest::of("a tag"),
        }),
        _ => return None,
    })
}

fn disbursement(world: &World, verb: &str, words: &mut Words<'_>, value_date: Date) -> Option<Body> {
    if verb == "request" {
        return Some(request(world, words));
    }
    let known = ["approve", "reject", "cancel", "deliver", "release", "confirm", "bank-reject", "return"];
    if !known.contains(&verb) {
        return None;
    }
    let name = words.next();
    if verb == "approve" {
        return Some(Body::Approval(Approval { effect: effect(world, name, words) }));
    }
    let disbursement = id(name);
    let request = words
        .take("request")
        .map(Digest::of)
        .or(world.disbursement(name).map(|state| state.request))
        .unwrap_or(Digest::of("no request"));
    let (reason, evidence) = (id("as agreed"), evidence());
    Some(match verb {
        "reject" => Body::Rejection(Rejection { disbursement, reason, request }),
        "cancel" => Body::Cancellation(Cancellation { disbursement, reason, request }),
        "deliver" => Body::Delivery(Delivery {
            delivered: value_date,
            disbursement,
            evidence,
            invoiced: money(words.next()),
            vendor: id(words.take("vendor").unwrap_or("v1")),
        }),
        "release" => Body::Release(Release { bank: id(words.next()), disbursement, request }),
        "confirm" => Body::BankConfirmation(BankConfirmation { disbursement, evidence, value_date }),
        "bank-reject" => Body::BankRejection(BankRejection { disbursement, evidence }),
        _ => {
            let kept = money(words.next());
            Body::BankReturn(BankReturn { disbursement, evidence, kept, value_date })
        }
    })
}

/// `request d1 c-1 small 5000.00 f1`; it expires in ten days.
fn request(world: &World, words: &mut Words<'_>) -> Body {
    let disbursement = words.next();
    let default = world.now().plus(10 * 86_400).unwrap();
    Body::Request(Request {
        case: id(words.next()),
        benefit: id(words.next()),
        amount: money(words.next()),
        fund: id(words.next()),
        channel: Channel::Manual {},
        disbursement: id(disbursement),
        expires: words.take("expires").map_or(default, id::<Timestamp>),
        occurrence: integer(words.take("occurrence").unwrap_or("1")),
        offer: offer_version(words.take("offer").unwrap_or("o1:1")),
        salt: Salt::from_bytes(*Digest::of(disbursement).as_bytes()),
    })
}

/// The effect of a request as it stands, with what a script changes of it.
fn effect(world: &World, name: &str, words: &mut Words<'_>) -> Effect {
    let policy = world.policy().version;
    let mut effect = match world.disbursement(name) {
        Some(state) => effect_of(&id(name), state, policy),
        None => no_effect(name),
    };
    for (field, value) in words.take_rest() {
        match field {
            "amount" => effect.amount = money(value),
            "most" => effect.most = money(value),
            "benefit" => effect.benefit = id(value),
            "offer" => effect.offer = offer_version(value),
            "fund" => effect.fund = id(value),
            "expires" => effect.expires = id(value),
            "preparer" => effect.preparer = id(value),
            "request" => effect.request = Digest::of(value),
            "policy" => effect.policy = integer(value),
            other => panic!("no field {other}"),
        }
    }
    effect
}

fn no_effect(name: &str) -> Effect {
    Effect {
        amount: money("1.00"),
        benefit: id("small"),
        channel: Channel::Manual {},
        disbursement: id(name),
        expires: id("2030-01-02T00:00:00Z"),
        fund: id("f1"),
        most: money("1.00"),
        offer: offer_version("o1:1"),
        policy: Integer(1),
        preparer: id("prep1"),
        request: Digest::of("no request"),
    }
}
