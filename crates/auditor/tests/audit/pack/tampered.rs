//! A pack that somebody changed on its way, without any key.

use std::collections::BTreeSet;

use auditor::Verdict;
use auditor::pack::{RecordLine, Scope, verify};
use records::{Body, Kind, Payload, Record};
use signing::digest::Digest;

use super::town::town;
use super::{Lines, cut, holds, refuted};
use crate::ledger::{Ledger, parse};

fn packs() -> Vec<(&'static Ledger, Scope, Vec<u8>)> {
    let ledger = town();
    let day = parse("2030-01-04");
    let scopes = [Scope::Case(parse("c-1")), Scope::Period { from: day, to: day }];
    scopes.map(|scope| (ledger, scope.clone(), cut(ledger, &scope))).into()
}

#[test]
fn another_ledgers_pack_is_refuted() {
    for (_, _, bytes) in packs() {
        let finding = refuted(&bytes, Digest::of("another ledger"));
        assert_eq!((finding.code.as_str(), finding.line), ("other_ledger", Some(1)));
    }
    let (ledger, _, bytes) = packs().remove(0);
    let text = String::from_utf8(bytes).unwrap();
    // The header may lie about it; the founding record does not.
    let other = Digest::of("another ledger");
    let lied = text.replacen(&ledger.id.to_string(), &other.to_string(), 1);
    assert_eq!(refuted(lied.as_bytes(), other).code, "other_ledger");
}

#[test]
fn each_line_dropped_doubled_or_swapped_is_found() {
    for (ledger, scope, bytes) in packs() {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let mut dropped = lines.clone();
            dropped.remove(at);
            let finding = refuted(&dropped.concat(), ledger.id);
            // What is missing may be missed by what rests on it, before the end is reached.
            let missed =
                ["header_malformed", "records_missing", "founding_missing", "cited_missing", "outside_group"];
            let is_rule = programme::Code::ALL.iter().any(|code| code.as_str() == finding.code);
            assert!(is_rule || missed.contains(&finding.code.as_str()), "{scope}, line {at}: {finding}");

            if at == 1 {
                assert_eq!(finding.code, "founding_missing", "{scope}: {finding}");
            }

            let mut doubled = lines.clone();
            doubled.insert(at, lines[at]);
            let finding = refuted(&doubled.concat(), ledger.id);
            let code = match at {
                0 => "record_malformed",
                _ if at + 1 == lines.len() => "trailing_data",
                _ => "position_order",
            };
            assert_eq!(finding.code, code, "{scope}, line {at}: {finding}");

            if at + 1 < lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(at, at + 1);
                refuted(&swapped.concat(), ledger.id);
            }
        }
        let trailing = [bytes.as_slice(), b"\n"].concat();
        assert_eq!(refuted(&trailing, ledger.id).code, "trailing_data");
        assert_eq!(refuted(&bytes[..bytes.len() - 1], ledger.id).code, "line_unterminated");
        assert_eq!(refuted(b"", ledger.id).code, "header_missing");
        let long = ["{\"envelope\":\"".as_bytes(), &[b'x'; 80_000], b"\"}\n"].concat();
        assert_eq!(refuted(&[lines[0], &long].concat(), ledger.id).code, "line_too_long");
    }
}

/// With a header that promises fewer records. That a pack lacks something cannot always be seen; that an entry lacks its
/// authority, a signature its key or its time always is.
#[test]
fn what_others_rest_on_is_missed() {
    for (ledger, scope, bytes) in packs() {
        let whole = Lines::of(&bytes);
        let records: Vec<Record> = (0..whole.records.len()).map(|line| whole.record(line)).collect();
        let line_of = |digest: Digest| records.iter().position(|record| record.digest() == digest);
        let mut needed = BTreeSet::from([0]);
        for record in &records {
            match record.payload() {
                // A hidden request has no line.
                Payload::JournalEntry(entry) => {
                    needed.extend(entry.authority.iter().filter_map(|digest| line_of(*digest)))
                }
                Payload::Instruction(header, body) => {
                    let is_basis = |line: &RecordLine| line.position.0 == header.basis.size.0;
                    needed.extend(whole.records.iter().position(is_basis));
                    if let Body::Concurrence(body) = &**body {
                        needed.extend(line_of(body.proposal));
                    }
                }
                Payload::Founding(_) | Payload::Group(_) | Payload::Lapse(_) | Payload::Pad(_) => {}
            }
        }
        assert!(needed.len() > 10, "{scope}");
        let mut survived = BTreeSet::new();
        for (at, record) in records.iter().enumerate() {
            let mut dropped = whole.clone();
            dropped.records.remove(at);
            let report = verify(&dropped.sealed()[..], ledger.id, &[]).unwrap();
            if report.verdict == Verdict::Verified {
                assert!(
                    !needed.contains(&at),
                    "{scope}: without line {}, the {}",
                    at + 2,
                    record.kind().name()
                );
                survived.insert(record.kind());
            }
        }
        // These say nothing of the rest: what a pack cannot show.
        assert!(survived.contains(&Kind::JournalEntry), "{scope}: {survived:?}");
        assert!(
            !survived.contains(&Kind::Founding) && !survived.contains(&Kind::Acceptance),
            "{scope}: {survived:?}"
        );
    }
}

#[test]
fn a_record_in_anothers_place_or_under_anothers_proof_is_found() {
    for (ledger, scope, bytes) in packs().into_iter().take(1) {
        let whole = Lines::of(&bytes);
        let count = whole.records.len();
        for at in 1..count {
            let other = if at + 1 < count { at + 1 } else { 1 };
            let mut replaced = whole.clone();
            replaced.records[at].envelope = whole.records[other].envelope.clone();
            let code = refuted(&replaced.bytes(), ledger.id).code;
            assert!(["proof_wrong", "key_unknown"].contains(&code.as_str()), "{scope}, record {at}: {code}");
            let mut replaced = whole.clone();
            replaced.records[at].proof = whole.records[other].proof.clone();
            assert_eq!(refuted(&replaced.bytes(), ledger.id).code, "proof_wrong", "{scope}, record {at}");
            let mut moved = whole.clone();
            moved.records[at].position.0 += 1;
            let code = refuted(&moved.bytes(), ledger.id).code;
            assert!(
                ["proof_wrong", "position_order"].contains(&code.as_str()),
                "{scope}, record {at}: {code}"
            );
            let mut unproved = whole.clone();
            unproved.records[at].proof.pop();
            assert_eq!(refuted(&unproved.bytes(), ledger.id).code, "proof_wrong", "{scope}, record {at}");
        }
    }
}

/// The scope is what the pack's maker says; what is not in it is found.
#[test]
fn another_scope_is_found() {
    let ledger = town();
    let as_if = |bytes: &[u8], scope: Scope| {
        let mut lines = Lines::of(bytes);
        lines.header.scope = scope;
        refuted(&lines.bytes(), ledger.id)
    };
    let case = cut(ledger, &Scope::Case(parse("c-1")));
    assert_eq!(as_if(&case, Scope::Case(parse("aurora-5d1f"))).code, "out_of_scope");
    assert!(as_if(&case, Scope::Case(parse("aurora-5d1f"))).line.is_some());
    assert_eq!(as_if(&case, Scope::NoCases {}).code, "kind_not_in_scope");
    assert_eq!(as_if(&case, Scope::Disbursement(parse("first-bonus"))).code, "kind_not_in_scope");
    let fund = cut(ledger, &Scope::Fund(parse("f2")));
    assert_eq!(as_if(&fund, Scope::Fund(parse("f1"))).code, "out_of_scope");
    assert_eq!(as_if(&fund, Scope::Case(parse("c-1"))).code, "kind_not_in_scope");
    let one = cut(ledger, &Scope::Disbursement(parse("aurora-trip")));
    assert_eq!(as_if(&one, Scope::Disbursement(parse("aurora-bonus"))).code, "out_of_scope");
    let day = |day: &str| Scope::Period { from: parse(day), to: parse(day) };
    assert_eq!(as_if(&cut(ledger, &day("2030-01-04")), day("2030-01-05")).code, "out_of_scope");
}

/// Every second byte of the header, and a sample of every other line.
#[test]
fn any_flipped_byte_is_found() {
    let ledger = town();
    let scope = Scope::Fund(parse("h2"));
    let bytes = cut(ledger, &scope);
    holds(&bytes, ledger.id);
    let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
    let mut flips: Vec<usize> = (0..ends[0]).step_by(2).collect();
    let mut begin = ends[0] + 1;
    for end in &ends[1..] {
        let position =
            begin + bytes[begin..].windows(10).position(|window| window == b"\"position\"").unwrap();
        // In the envelope, at the position and in the proof; the line's ends.
        flips.extend((begin..*end).step_by(557).chain([begin, position + 3, position + 12, *end - 4, *end]));
        begin = end + 1;
    }
    for at in flips {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 7);
        let finding = refuted(&flipped, ledger.id);
        assert!(!finding.code.is_empty(), "byte {at}");
    }
}
