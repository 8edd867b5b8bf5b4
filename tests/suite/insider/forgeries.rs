//! The forgeries, by the names that the table gives them.

use std::collections::HashMap;

use serde_json::json;
use signing::canonical;
use signing::digest::Digest;
use signing::keys::SecretKey;

use super::ledger::{
    Ledger, NEXT, a_witness, again, approved, as_it_stands, carrying, concurred, due, easier_policy, group,
    mallorys_key, next_keys, replace_possession,
};
use tests::people::key;

use crate::second::forgery::{Bundle, Draft, later, nth, set, set_at, signed_by, without};

/// What is changed: the log, whose checkpoint is signed again, or the file besides.
#[derive(Clone, Copy)]
pub enum Forge {
    /// The records after the founding.
    Log(fn(&Ledger, &mut Vec<Draft>)),
    /// Anything, with the keys that were stolen.
    Bundle(fn(&mut Bundle, &HashMap<String, SecretKey>)),
}

use Forge::{Bundle as File, Log};

/// Alters the amounts of all lines of an entry.
fn entry_amounts(entry: &mut Draft, amount: &str) {
    let lines = entry.payload["lines"].as_array_mut().unwrap();
    lines.iter_mut().for_each(|line| line["amount"] = json!(amount));
}

/// Moves the time of a group.
fn moved(all: &mut [Draft], number: usize, seconds: i64) {
    let at = nth(all, "group", number);
    later(&mut all[at].payload["recorded_at"], seconds);
}

/// Mallory's key signs an approval of d6 as boris.
fn approved_by_mallory(all: &mut Vec<Draft>) {
    approved(all, "mallory");
    let at = all.len() - 1;
    set_at(all, at, "/signer", "boris");
}

/// The quorum enrols mallory's key for boris, in a group of its own.
fn enrolled(all: &mut Vec<Draft>) {
    group(all, 1);
    let proposal = mallorys_key(all, "karl");
    concurred(all, "kira", &proposal);
}

/// The log as it was when a group began.
fn cut(bundle: &mut Bundle, group: usize) {
    let drafts: Vec<Draft> = bundle.records.iter().map(|record| Draft::of(record)).collect();
    bundle.records.truncate(nth(&drafts, "group", group));
}

pub const FORGERIES: &[(&str, Forge)] = &[
    ("an amount in a request", Log(|_, all| set(all, "request", 0, "/body/amount/amount", "99999.99"))),
    (
        "an amount in an entry",
        Log(|_, all| {
            let at = nth(all, "entry", 3);
            entry_amounts(&mut all[at], "1.00");
        }),
    ),
    ("an amount, by the preparer", Log(|_, all| set(all, "request", 0, "/body/amount/amount", "99999.99"))),
    (
        "an amount, by an approver",
        Log(|_, all| {
            set(all, "approval", 0, "/body/effect/amount/amount", "99999.99");
            set(all, "approval", 0, "/body/effect/most/amount", "99999.99");
        }),
    ),
    (
        "an amount, later, by who reported it",
        Log(|_, all| {
            let at = nth(all, "bank-fee", 0);
            set_at(all, at, "/body/amount/amount", "34.00");
            entry_amounts(&mut all[at + 1], "34.00");
        }),
    ),
    (
        "a balance",
        File(|bundle, _| {
            let mut balance: serde_json::Value = serde_json::from_str(&bundle.balances[0]).unwrap();
            balance["amount"] = json!("7.00");
            bundle.balances[0] = String::from_utf8(canonical::encode(&balance)).unwrap();
        }),
    ),
    (
        "a balance left out",
        File(|bundle, _| {
            bundle.balances.remove(0);
        }),
    ),
    (
        "two approvals in each other's place",
        Log(|_, all| {
            let (first, second) = (nth(all, "approval", 0), nth(all, "approval", 1));
            all.swap(first, second);
        }),
    ),
    (
        "an entry before what causes it",
        Log(|_, all| {
            let at = nth(all, "release", 0);
            all.swap(at, at + 1);
        }),
    ),
    ("an instruction deleted, with its entry", Log(|_, all| without(all, "release", 0, 1))),
    ("an instruction deleted, its entry kept", Log(|_, all| without(all, "release", 0, 0))),
    (
        "a group deleted, with all that is in it",
        Log(|_, all| {
            let at = nth(all, "veto", 0);
            assert_eq!((all[at - 1].kind.as_str(), all[at + 1].kind.as_str()), ("group", "group"));
            all.drain(at - 1..=at);
        }),
    ),
    (
        "an entry inserted for which nobody signed",
        Log(|_, all| {
            group(all, 1);
            due(all, &Digest::of("no approval").to_string());
        }),
    ),
    (
        "a payment inserted with too few approvals",
        Log(|_, all| {
            group(all, 1);
            let approval = approved(all, "boris");
            due(all, &approval);
        }),
    ),
    (
        "an approval inserted, signed by the ledger",
        Log(|_, all| {
            group(all, 1);
            approved(all, "the ledger's records");
            let at = all.len() - 1;
            set_at(all, at, "/signer", "boris");
        }),
    ),
    (
        "an approval inserted, in another's name",
        Log(|_, all| {
            group(all, 1);
            approved(all, "paul");
            let at = all.len() - 1;
            set_at(all, at, "/signer", "boris");
        }),
    ),
    (
        "an approval moved, as it stands",
        Log(|real, all| {
            group(all, 1);
            let moved = real.bundle.records[1 + nth(all, "approval", 0)].clone();
            as_it_stands(all, &moved);
        }),
    ),
    (
        "an approval moved, its effect rewritten",
        Log(|_, all| {
            group(all, 1);
            approved(all, "boris");
        }),
    ),
    (
        "an approval moved by its approver",
        Log(|_, all| {
            group(all, 1);
            approved(all, "boris");
            let (at, other) = (all.len() - 1, all[nth(all, "request", 0)].digest.clone());
            set_at(all, at, "/body/effect/request", &other);
        }),
    ),
    (
        "an entry that cites another's approval",
        Log(|_, all| {
            let (at, other) = (nth(all, "approval", 1) + 1, all[nth(all, "approval", 2)].digest.clone());
            set_at(all, at, "/authority/1", &other);
        }),
    ),
    (
        "an approver stripped from an entry",
        Log(|_, all| {
            let at = nth(all, "approval", 1) + 1;
            all[at].payload["authority"].as_array_mut().unwrap().remove(1);
        }),
    ),
    ("an approver stripped from the log", Log(|_, all| without(all, "approval", 0, 0))),
    (
        "an approver twice, by two keys",
        Log(|_, all| {
            group(all, 1);
            approved(all, "boris");
            let second = approved(all, "boris's second");
            due(all, &second);
        }),
    ),
    (
        "a preparer who approves",
        Log(|_, all| {
            group(all, 1);
            approved(all, "anna");
        }),
    ),
    (
        "a policy raised by one custodian",
        Log(|_, all| {
            group(all, 1);
            easier_policy(all, "karl");
            group(all, 200);
            let approval = approved(all, "boris");
            let at = all.len() - 1;
            set_at(all, at, "/body/effect/policy", "4");
            due(all, &approval);
        }),
    ),
    (
        "a policy raised by one custodian, twice",
        Log(|_, all| {
            group(all, 1);
            let proposal = easier_policy(all, "karl");
            concurred(all, "karl", &proposal);
        }),
    ),
    (
        "a policy raised, the ledger concurring",
        Log(|_, all| {
            group(all, 1);
            let proposal = easier_policy(all, "karl");
            concurred(all, "the ledger's records", &proposal);
            let at = all.len() - 1;
            set_at(all, at, "/signer", "kira");
        }),
    ),
    (
        "the founding record signed again",
        File(|bundle, keys| {
            let mut founding = Draft::of(&bundle.records[0]);
            founding.payload["body"]["policy"]["bands"][1]["approvers"] = json!("1");
            let kind = "application/vnd.safeconduct.founding.v1+json";
            let payload = canonical::encode(&founding.payload);
            let sealed = signing::dsse::Envelope::sign(&keys[&founding.key], kind, payload);
            bundle.records[0] = String::from_utf8(sealed.encode()).unwrap();
        }),
    ),
    (
        "an officer's key replaced where it was enrolled",
        Log(|_, all| {
            let at = nth(all, "proposal", 1);
            replace_possession(&mut all[at].payload);
        }),
    ),
    (
        "an officer's key replaced by the custodian",
        Log(|_, all| {
            let at = nth(all, "proposal", 1);
            replace_possession(&mut all[at].payload);
        }),
    ),
    (
        "a further key of an officer's, by one custodian",
        Log(|_, all| {
            group(all, 1);
            mallorys_key(all, "karl");
            group(all, 200);
            approved_by_mallory(all);
        }),
    ),
    (
        "a key used within its cooling-off",
        Log(|_, all| {
            enrolled(all);
            approved_by_mallory(all);
        }),
    ),
    (
        "a key used after it was revoked",
        Log(|_, all| {
            group(all, 1);
            approved(all, "dora");
        }),
    ),
    (
        "a key used after its owner's spare ended it",
        Log(|_, all| {
            group(all, 1);
            again(all, ("bank-fee", 0), "rolf's second", |_| {});
        }),
    ),
    (
        "a key used after it expired",
        Log(|_, all| {
            group(all, 1);
            approved(all, "boris's old");
        }),
    ),
    (
        "a spare used without its activation",
        Log(|_, all| {
            group(all, 1);
            approved(all, "boris's waiting");
        }),
    ),
    (
        "an activation forged by the ledger",
        Log(|_, all| {
            group(all, 1);
            again(all, ("activation", 0), "the ledger's records", |payload| {
                payload["signer"] = json!("boris")
            });
        }),
    ),
    ("a group's time moved back", Log(|_, all| moved(all, 20, -3600))),
    ("a group's time moved on", Log(|_, all| moved(all, 20, 3600))),
    (
        "all times moved on from a group",
        Log(|_, all| {
            let groups = all.iter().filter(|draft| draft.kind == "group").count();
            (20..groups).for_each(|number| moved(all, number, 3600));
        }),
    ),
    (
        "the clock advanced past a cooling-off, and set back",
        Log(|_, all| {
            enrolled(all);
            group(all, 200);
            approved_by_mallory(all);
            group(all, -190);
        }),
    ),
    (
        "the clock advanced past a cooling-off, and left there",
        Log(|_, all| {
            enrolled(all);
            group(all, 200);
            approved_by_mallory(all);
        }),
    ),
    (
        "an entry omitted",
        Log(|_, all| {
            let at = nth(all, "approval", 1) + 1;
            all.remove(at);
        }),
    ),
    (
        "a lapse before its time",
        Log(|_, all| {
            group(all, 1);
            let mut lapse = all[nth(all, "lapse", 0)].clone();
            let request = &all[nth(all, "request", 5)];
            lapse.payload["disbursement"] = json!("d6");
            lapse.payload["expired"] = request.payload["body"]["expires"].clone();
            lapse.payload["request"] = json!(request.digest);
            all.push(lapse);
        }),
    ),
    ("a lapse not performed", Log(|_, all| group(all, 31 * 24 * 3600))),
    ("a lapse deleted, with its entry", Log(|_, all| without(all, "lapse", 0, 1))),
    (
        "the tail cut off before an entry",
        Log(|_, all| {
            let at = nth(all, "entry", 12);
            all.truncate(at);
        }),
    ),
    ("the tail cut off, its balances kept", File(|bundle, _| cut(bundle, 50))),
    (
        "the tail cut off",
        File(|bundle, _| {
            cut(bundle, 50);
            bundle.balances.clear();
        }),
    ),
    (
        "two histories",
        Log(|real, all| {
            // Without the last group, and with another in its place.
            let at = all.iter().rposition(|draft| draft.kind == "group").unwrap();
            all.truncate(at);
            while all.len() < real.bundle.records.len() {
                group(all, 1);
            }
        }),
    ),
    (
        "a record of another ledger",
        Log(|real, all| {
            group(all, 1);
            as_it_stands(all, &real.foreign[0]);
        }),
    ),
    ("a group of another ledger", Log(|real, all| as_it_stands(all, &real.foreign[1]))),
    (
        "an instruction kept back until after a change of policy",
        Log(|real, all| {
            group(all, 1);
            as_it_stands(all, &real.kept_back);
        }),
    ),
    (
        "an instruction kept back until it ran out",
        Log(|real, all| {
            group(all, 2 * 24 * 3600);
            as_it_stands(all, &real.kept_back);
        }),
    ),
    (
        "new keys that nobody gave the ledger",
        Log(|_, all| {
            carrying(all, 1);
            group(all, 1);
            signed_by(all.last_mut().unwrap(), NEXT[0]);
        }),
    ),
    (
        "new keys by one custodian",
        Log(|real, all| {
            carrying(all, 1);
            next_keys(real, all, "karl");
        }),
    ),
    (
        "new keys, and another in the group",
        Log(|real, all| {
            carrying(all, 1);
            let draft = all.last_mut().unwrap();
            draft.payload["record_key"] = json!(key("mallory").public());
            signed_by(draft, "mallory");
            let proposal = next_keys(real, all, "karl");
            concurred(all, "kira", &proposal);
        }),
    ),
    (
        "new keys, citing a head that nobody cosigned",
        Log(|real, all| {
            group(all, 1);
            let policy = a_witness(all, "karl");
            concurred(all, "kira", &policy);
            carrying(all, 200);
            let proposal = next_keys(real, all, "karl");
            concurred(all, "kira", &proposal);
        }),
    ),
    (
        "a group by the old key after new ones",
        Log(|real, all| {
            carrying(all, 1);
            let proposal = next_keys(real, all, "karl");
            concurred(all, "kira", &proposal);
            group(all, 1);
        }),
    ),
];
