//! What a pack must not betray. Nothing is listed by hand: every string of every record about another case is looked for in
//! what a pack says, decoded.

use std::collections::{BTreeMap, BTreeSet};

use auditor::pack::Scope;
use records::{Body, Kind, Payload, Record};
use serde_json::Value;

use super::town::town;
use super::{Lines, cuts};

/// Every text that a JSON value holds.
fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every text of a record: of the envelope, the payload, and what is derived from it.
fn texts_of(leaf: &[u8]) -> BTreeSet<String> {
    let record = Record::parse_leaf(leaf).unwrap();
    let mut found = BTreeSet::from([record.digest().to_string()]);
    texts(&serde_json::from_slice(leaf).unwrap(), &mut found);
    texts(&serde_json::from_slice(&record.envelope().payload).unwrap(), &mut found);
    found
}

/// To which case and disbursement each record of the log belongs.
struct Belonging {
    case: Option<String>,
    disbursement: Option<String>,
}

fn belongings(leaves: &[Vec<u8>]) -> Vec<Belonging> {
    let (mut cases, mut reports) = (BTreeMap::new(), BTreeMap::new());
    let mut all = vec![];
    for leaf in leaves {
        let record = Record::parse_leaf(leaf).unwrap();
        let payload: Value = serde_json::from_slice(&record.envelope().payload).unwrap();
        let text = |path: &str| payload.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let mut disbursement = [
            "/body/disbursement",
            "/body/effect/disbursement",
            "/body/subject/disbursement",
            "/disbursement",
        ]
        .iter()
        .find_map(|path| text(path));
        if let Some(report) = text("/body/report") {
            disbursement = reports.get(&report).cloned().flatten();
        }
        reports.insert(record.digest().to_string(), disbursement.clone());
        let case = text("/body/case").or_else(|| cases.get(disbursement.as_ref()?).cloned());
        if let (Some(case), Some(disbursement)) = (&case, &disbursement) {
            cases.insert(disbursement.clone(), case.clone());
        }
        all.push(Belonging { case, disbursement });
    }
    all
}

/// All that somebody can read in a pack without the preimage of any hash: the file, and each payload decoded, key
/// possessions too.
fn readable(bytes: &[u8]) -> String {
    let mut readable = String::from_utf8(bytes.to_vec()).unwrap();
    for line in &Lines::of(bytes).records {
        readable += &String::from_utf8(line.envelope.payload.clone()).unwrap();
        readable += "\n";
        let record = Record::parse(line.envelope.clone()).unwrap();
        if let Payload::Instruction(_, body) = record.payload()
            && let Body::Proposal(proposal) = &**body
        {
            proposal
                .act
                .new_keys()
                .for_each(|one| readable += &String::from_utf8(one.payload.clone()).unwrap());
        }
    }
    readable
}

/// No reference is that short, and a day, an amount or an account's code says nothing of anybody.
fn is_telling(text: &str) -> bool {
    text.len() >= 3 && text.chars().any(|c| c.is_ascii_alphabetic())
}

/// What may not be in a pack: the texts of the records that are not to be disclosed, which no other record has.
fn forbidden(leaves: &[Vec<u8>], hidden: impl Fn(usize) -> bool) -> BTreeSet<String> {
    let (mut secret, mut open) = (BTreeSet::new(), BTreeSet::new());
    for (position, leaf) in leaves.iter().enumerate() {
        if hidden(position) { secret.extend(texts_of(leaf)) } else { open.extend(texts_of(leaf)) }
    }
    secret.retain(|text| is_telling(text) && !open.contains(text));
    secret
}

#[test]
fn no_pack_betrays_another_case() {
    let ledger = town();
    let belongings = belongings(&ledger.leaves);
    let kind = |position: usize| Record::parse_leaf(&ledger.leaves[position]).unwrap().kind();
    let mut searched = 0;
    for (scope, bytes) in cuts() {
        let hidden = |position: usize| {
            let Belonging { case, disbursement } = &belongings[position];
            match scope {
                // Everything about any other case, its disbursements and entries too.
                Scope::Case(own) => case.as_deref().is_some_and(|case| case != own.as_str()),
                // Everything about any other disbursement, and the rest of its own case.
                Scope::Disbursement(own) => case.is_some() && disbursement.as_deref() != Some(own.as_str()),
                // Whatever names a case, anybody's.
                Scope::Asset(_) | Scope::Fund(_) | Scope::NoCases {} | Scope::Period { .. } => {
                    matches!(kind(position), Kind::CaseOpening | Kind::Screening | Kind::Request)
                }
            }
        };
        let mut secret = forbidden(&ledger.leaves, hidden);
        // A request's digest is what approvals and entries name it by; its salt keeps it from being guessed.
        if !matches!(scope, Scope::Case(_) | Scope::Disbursement(_)) {
            let digests = ledger.positions(Kind::Request).into_iter();
            for digest in digests.map(|at| Record::parse_leaf(&ledger.leaves[at as usize]).unwrap().digest())
            {
                secret.remove(&digest.to_string());
            }
        }
        assert!(secret.len() >= 20, "{scope}: {secret:?}");
        let readable = readable(bytes);
        for text in &secret {
            assert!(!readable.contains(text.as_str()), "the pack about {scope} betrays {text}");
        }
        searched += secret.len();
    }
    assert!(searched > 1000);
}

/// The same by name, so that the search above cannot have looked for nothing.
#[test]
fn the_references_are_looked_for() {
    let references = ["aurora-5d1f", "borealis-77aa", "ref-of-aurora_5d1f", "ref-of-borealis_77aa"];
    let salts = super::town::DISBURSEMENTS
        .map(|one| signing::digest::Digest::of(format!("the salt of {one}")).to_string());
    for (scope, bytes) in cuts() {
        let readable = readable(bytes);
        let has = |text: &str| readable.contains(text);
        let seen: Vec<&str> = references.into_iter().filter(|reference| has(reference)).collect();
        let salted = salts.iter().filter(|salt| has(salt)).count();
        let (expected, requests): (&[&str], usize) = match scope {
            Scope::Case(case) => match case.as_str() {
                "aurora-5d1f" => (&["aurora-5d1f", "ref-of-aurora_5d1f"], 3),
                "borealis-77aa" => (&["borealis-77aa", "ref-of-borealis_77aa"], 3),
                _ => (&[], 2),
            },
            Scope::Disbursement(one) if one.as_str().starts_with("aurora") => (&["aurora-5d1f"], 1),
            Scope::Disbursement(one) if one.as_str().starts_with("borealis") => (&["borealis-77aa"], 1),
            Scope::Disbursement(_) => (&[], 1),
            _ => (&[], 0),
        };
        assert_eq!((seen.as_slice(), salted), (expected, requests), "{scope}");
        // Nor who accompanies another case: only principals who signed are named.
        let names_haven = matches!(scope, Scope::Case(case) if case.as_str() == "borealis-77aa")
            || matches!(scope, Scope::NoCases {} | Scope::Period { .. });
        assert!(names_haven || !has("haven"), "{scope}");
    }
}
