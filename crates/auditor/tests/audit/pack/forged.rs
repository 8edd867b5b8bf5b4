//! A pack of a log that nobody's rules would have made, by somebody with the ledger's keys, and people's: what a part of a
//! log shows to be wrong by itself.

use std::collections::HashMap;

use auditor::pack::{EarlierHead, Scope};
use ledger::entry::Action;
use records::governance::Role;
use records::journal::{Group, JournalEntry};
use records::{Body, Header, Kind, Payload, Record};
use signing::digest::Digest;
use signing::keys::{KeyId, SecretKey};
use translog::checkpoint::Checkpoint;
use translog::proof::{self, MemoryHashes};
use translog::tree::leaf_hash;

use super::town::town;
use super::{Lines, cut, holds, refuted};
use crate::ledger::{parse, usd};
use crate::staff::{Staff, key};

/// The keys of everybody.
fn keys() -> HashMap<KeyId, SecretKey> {
    let staff = Staff::new();
    let names = staff.to_enrol().into_iter().map(|(person, _)| person.principal.to_string());
    let others = ["anna", "boris", "record", "abel's second", "haven"].map(str::to_owned);
    names.chain(others).map(|name| key(&name)).map(|key| (key.public().id(), key)).collect()
}

/// A pack over a tree of its own, in which some leaves are others.
struct Forgery {
    leaves: Vec<Vec<u8>>,
    lines: Lines,
}

impl Forgery {
    fn new(scope: &Scope) -> Forgery {
        Forgery { leaves: town().leaves.clone(), lines: Lines::of(&cut(town(), scope)) }
    }

    /// The first position of the pack at which there is such a record.
    #[track_caller]
    fn find(&self, is_it: impl Fn(&Payload) -> bool) -> u64 {
        let positions = self.lines.positions().into_iter();
        let mut matching = positions.filter(|at| is_it(self.record(*at).payload()));
        matching.next().expect("there is such a record")
    }

    fn record(&self, position: u64) -> Record {
        Record::parse_leaf(&self.leaves[position as usize]).unwrap()
    }

    /// Alters what a record says, and signs it again with the key that had signed it.
    fn alter(mut self, position: u64, alter: impl FnOnce(&mut Payload)) -> Forgery {
        let record = self.record(position);
        let mut payload = record.payload().clone();
        alter(&mut payload);
        assert_ne!(&payload, record.payload());
        let key = &keys()[&record.envelope().key_id];
        self.leaves[position as usize] = Record::sign(payload, key).unwrap().leaf();
        self
    }

    /// Signed by another key.
    fn sign_by(mut self, position: u64, key: &SecretKey) -> Forgery {
        let payload = self.record(position).payload().clone();
        self.leaves[position as usize] = Record::sign(payload, key).unwrap().leaf();
        self
    }

    /// The pack, its tree and its checkpoint made anew.
    fn bytes(self) -> Vec<u8> {
        let mut hashes = MemoryHashes::new();
        self.leaves.iter().for_each(|leaf| hashes.append(leaf_hash(leaf)));
        let (size, root) = (hashes.size(), proof::root(hashes.size(), &hashes).unwrap());
        let mut lines = self.lines;
        let checkpoint = Checkpoint { origin: town().origin.clone(), size, root };
        lines.header.checkpoint = checkpoint.sign(&town().checkpoint_key);
        for line in &mut lines.records {
            line.envelope =
                Record::parse_leaf(&self.leaves[line.position.0 as usize]).unwrap().envelope().clone();
            line.proof = proof::inclusion(line.position.0, size, &hashes).unwrap();
        }
        lines.sealed()
    }

    #[track_caller]
    fn refuted_at(self, position: u64, code: &str) {
        let finding = refuted(&self.bytes(), town().id);
        assert_eq!((finding.position, finding.code.as_str()), (Some(position), code), "{finding}");
    }
}

fn case() -> Scope {
    Scope::Case(parse("aurora-5d1f"))
}

fn fund() -> Scope {
    Scope::Fund(parse("f1"))
}

fn entry(payload: &mut Payload) -> &mut JournalEntry {
    let Payload::JournalEntry(entry) = payload else { panic!("it is no entry") };
    entry
}

fn group(payload: &mut Payload) -> &mut Group {
    let Payload::Group(group) = payload else { panic!("it is no group") };
    group
}

fn body(payload: &mut Payload) -> &mut Body {
    let Payload::Instruction(_, body) = payload else { panic!("it is no instruction") };
    body
}

fn header(payload: &mut Payload) -> &mut Header {
    let Payload::Instruction(header, _) = payload else { panic!("it is no instruction") };
    header
}

fn is(kind: Kind) -> impl Fn(&Payload) -> bool {
    move |payload| payload.kind() == kind
}

/// Entries after a record of this kind.
fn entry_of(forgery: &Forgery, kind: Kind) -> u64 {
    let causes = forgery.lines.positions().into_iter().filter(|at| forgery.record(*at).kind() == kind);
    let mut entries = causes.map(|at| at + 1);
    entries.find(|at| forgery.record(*at).kind() == Kind::JournalEntry).expect("one causes an entry")
}

#[test]
fn an_unchanged_forgery_holds() {
    for scope in [case(), fund(), Scope::NoCases {}] {
        holds(&Forgery::new(&scope).bytes(), town().id);
    }
}

#[test]
fn entries_are_what_their_authority_says() {
    let other = Digest::of("another");
    for scope in [case(), fund()] {
        let forge = || Forgery::new(&scope);
        let altered = |kind: Kind, code: &str, alter: &dyn Fn(&mut JournalEntry)| {
            let forgery = forge();
            let at = entry_of(&forgery, kind);
            forgery.alter(at, |payload| alter(entry(payload))).refuted_at(at, code);
        };
        altered(Kind::Approval, "commitment_differs", &|entry| entry.case_commitment = Some(other));
        altered(Kind::Approval, "effect_differs", &|entry| entry.benefit = Some(parse("trip")));
        altered(Kind::Approval, "authority_wrong", &|entry| entry.benefit = None);
        altered(Kind::Approval, "authority_wrong", &|entry| entry.id.digest = *other.as_bytes());
        altered(Kind::Approval, "authority_wrong", &|entry| entry.id.index = 1);
        altered(Kind::Approval, "authority_wrong", &|entry| entry.authority.clear());
        altered(Kind::Approval, "cited_missing", &|entry| entry.authority.insert(1, other));
        altered(Kind::Approval, "request_differs", &|entry| entry.authority[0] = other);
        altered(Kind::Approval, "authority_wrong", &|entry| {
            let request = entry.authority[0];
            entry.authority = vec![request, request, entry.authority[entry.authority.len() - 1]];
            entry.authority.swap_remove(1);
            entry.authority.remove(0);
        });
        altered(Kind::Release, "cited_missing", &|entry| entry.authority[1] = other);
        altered(Kind::Release, "authority_wrong", &|entry| entry.authority.insert(1, entry.authority[1]));
        altered(Kind::Release, "authority_wrong", &|entry| {
            entry.authority = vec![entry.authority[0], entry.authority[entry.authority.len() - 1]];
        });
        altered(Kind::BankConfirmation, "authority_wrong", &|entry| {
            entry.authority.insert(0, *entry.authority.last().unwrap());
        });
        altered(Kind::BankConfirmation, "cited_missing", &|entry| {
            entry.authority = vec![other];
            entry.id.digest = *other.as_bytes();
        });
        altered(Kind::Approval, "wrong_ledger", &|entry| entry.ledger = other);
    }
}

#[test]
fn an_entry_is_right_behind_its_cause_and_about_the_same() {
    let forgery = Forgery::new(&Scope::NoCases {});
    let (one, next) = (entry_of(&forgery, Kind::Approval), entry_of(&forgery, Kind::Release));
    // The entry of an earlier approval, once more where a release's should be.
    let leaf = forgery.leaves[one as usize].clone();
    let mut moved = forgery;
    moved.leaves[next as usize] = leaf;
    moved.refuted_at(next, "entry_displaced");

    let forgery = Forgery::new(&Scope::NoCases {});
    let at = entry_of(&forgery, Kind::Reversal);
    forgery.alter(at, |payload| entry(payload).reverses = None).refuted_at(at, "authority_wrong");
    let forgery = Forgery::new(&Scope::NoCases {});
    let at = entry_of(&forgery, Kind::Countersignature);
    let own = |payload: &mut Payload| {
        entry(payload).authority.remove(0);
    };
    forgery.alter(at, own).refuted_at(at, "authority_wrong");
}

#[test]
fn the_entry_of_a_hidden_request_holds_what_was_approved() {
    let forge = || Forgery::new(&fund());
    let is_hold = |payload: &Payload| match payload {
        Payload::JournalEntry(entry) => {
            entry.lines.len() == 1
                && matches!(&entry.lines[0].action, Action::Hold(hold) if hold.as_str() == "aurora-bonus.1")
        }
        _ => false,
    };
    let at = forge().find(is_hold);
    let approval = forge().find(|payload| match payload {
        Payload::Instruction(_, body) => {
            matches!(&**body, Body::Approval(approval) if approval.effect.disbursement.as_str() == "aurora-bonus")
        }
        _ => false,
    });
    // The hold comes first, so what differs from it is the approval.
    forge()
        .alter(at, |payload| entry(payload).lines[0].money = usd("99.00"))
        .refuted_at(approval, "effect_differs");
    // What is no hold of a request has to have its cause in the pack.
    let not_a_request = |payload: &mut Payload| entry(payload).lines[0].action = Action::Debit;
    forge().alter(at, not_a_request).refuted_at(at, "cited_missing");
    // Where requests are disclosed, an entry without one is found.
    let mut dropped = Forgery::new(&case());
    let request = dropped.find(is(Kind::Request));
    dropped.lines.records.retain(|line| line.position.0 != request);
    dropped.refuted_at(request + 1, "cited_missing");
}

#[test]
fn approvals_say_what_the_request_says() {
    for (scope, is_hidden) in [(case(), false), (fund(), true)] {
        let forge = || Forgery::new(&scope);
        let at = forge().find(is(Kind::Approval));
        let effect = |alter: &dyn Fn(&mut records::disbursements::Effect)| {
            forge().alter(at, |payload| {
                let Body::Approval(approval) = body(payload) else { panic!("it is no approval") };
                alter(&mut approval.effect);
            })
        };
        effect(&|effect| effect.amount = usd("1.00")).refuted_at(at, "effect_differs");
        effect(&|effect| effect.fund = parse("f9")).refuted_at(
            at,
            // In a fund's pack the hold has told from which fund it is.
            "effect_differs",
        );
        let code = if is_hidden { "request_differs" } else { "cited_missing" };
        effect(&|effect| effect.request = Digest::of("another")).refuted_at(at, code);
        if !is_hidden {
            effect(&|effect| effect.preparer = parse("dora")).refuted_at(at, "effect_differs");
            effect(&|effect| effect.expires = parse("2031-01-01T00:00:00Z")).refuted_at(at, "effect_differs");
        }
    }
}

#[test]
fn the_commitment_opens_to_the_requests_case() {
    let forge = || Forgery::new(&case());
    let at = entry_of(&forge(), Kind::Request);
    let other = |payload: &mut Payload| entry(payload).case_commitment = Some(Digest::of("another"));
    forge().alter(at, other).refuted_at(at, "commitment_differs");
}

#[test]
fn keys_and_roles_are_judged_where_a_record_stands() {
    let forge = || Forgery::new(&case());
    let (approval, release) = (forge().find(is(Kind::Approval)), forge().find(is(Kind::Release)));
    let signs = |position: u64, name: &str, principal: &str| {
        let mut forgery = forge();
        let mut payload = forgery.record(position).payload().clone();
        let key = key(name);
        header(&mut payload).key = key.public().id();
        header(&mut payload).signer = parse(principal);
        forgery.leaves[position as usize] = Record::sign(payload, &key).unwrap().leaf();
        forgery
    };
    // A payer's approval; a key under another's name; one that is enrolled later; one that never was.
    signs(approval, "paul", "paul").refuted_at(approval, "role_missing");
    signs(approval, "paul", "abel").refuted_at(approval, "key_not_signers");
    signs(approval, "abel's second", "abel").refuted_at(approval, "key_unknown");
    signs(release, "mallory", "paul").refuted_at(release, "key_unknown");
    // The first key of the approver was revoked before this; the pack has its end.
    let waiting = Forgery::new(&Scope::Case(parse("c-1")));
    let last = waiting
        .lines
        .positions()
        .into_iter()
        .rfind(|at| waiting.record(*at).kind() == Kind::Approval)
        .unwrap();
    let mut payload = waiting.record(last).payload().clone();
    let first = key("abel");
    header(&mut payload).key = first.public().id();
    let mut revoked = waiting;
    revoked.leaves[last as usize] = Record::sign(payload, &first).unwrap().leaf();
    revoked.refuted_at(last, "key_revoked");
    // The frame.
    let long_ago = parse("2029-12-31T00:00:00Z");
    let framed = |alter: &dyn Fn(&mut Header)| forge().alter(release, |payload| alter(header(payload)));
    framed(&|header| header.ledger = Digest::of("another")).refuted_at(release, "wrong_ledger");
    framed(&|header| header.basis.root = Digest::of("a fork")).refuted_at(release, "basis_unknown");
    framed(&|header| (header.issued_at, header.not_after) = (long_ago, long_ago))
        .refuted_at(release, "expired");
    // What the ledger alone signs.
    let at = entry_of(&forge(), Kind::Approval);
    forge().sign_by(at, &key("dora")).refuted_at(at, "not_the_ledgers_key");
}

#[test]
fn governance_is_judged_by_the_rules() {
    let forge = || Forgery::new(&case());
    // The payer's enrolment, which one custodian signs twice.
    let concurrence = forge().find(is(Kind::Concurrence));
    let mut payload = forge().record(concurrence).payload().clone();
    let anna = key("anna");
    header(&mut payload).key = anna.public().id();
    header(&mut payload).signer = parse("anna");
    let mut forgery = forge();
    forgery.leaves[concurrence as usize] = Record::sign(payload, &anna).unwrap().leaf();
    forgery.refuted_at(concurrence, "already_concurred");
    // Without a concurrence the key is not in force, and its first use is found.
    let mut forgery = forge();
    forgery.lines.records.retain(|line| line.position.0 != concurrence);
    let code = refuted(&forgery.bytes(), town().id).code;
    assert!(["key_unknown", "role_missing"].contains(&code.as_str()), "{code}");
    // A proposal that gives an agency a further role.
    let proposal = forge().find(is(Kind::Proposal));
    let wrong_roles = |payload: &mut Payload| {
        let Body::Proposal(proposal) = body(payload) else { panic!("it is no proposal") };
        let records::governance::Act::Enrol { roles, .. } = &mut proposal.act else { panic!("no enrolment") };
        *roles = vec![Role::Agency, Role::Director];
    };
    forge().alter(proposal, wrong_roles).refuted_at(proposal, "act_invalid");
}

#[test]
fn groups_are_those_of_this_log_in_order() {
    let forge = || Forgery::new(&case());
    let at = forge()
        .lines
        .positions()
        .into_iter()
        .filter(|at| forge().record(*at).kind() == Kind::Group)
        .nth(3)
        .unwrap();
    let altered = |code: &str, alter: &dyn Fn(&mut Group)| {
        forge().alter(at, |payload| alter(group(payload))).refuted_at(at, code);
    };
    altered("group_position", &|group| group.first.0 += 1);
    altered("wrong_ledger", &|group| group.ledger = Digest::of("another"));
    altered("group_rules", &|group| group.rules.0 = 2);
    altered("group_time", &|group| group.recorded_at = parse("2029-12-31T00:00:00Z"));
    forge().sign_by(at, &key("dora")).refuted_at(at, "not_the_ledgers_key");
    // Nothing stands between the founding record and the first group.
    let mut early = forge();
    early.lines.records.remove(1);
    early.refuted_at(2, "outside_group");
    let mut none = forge();
    none.lines.records.clear();
    assert_eq!(refuted(&none.bytes(), town().id).code, "founding_missing");
}

#[test]
fn the_checkpoint_is_the_ledgers() {
    let pack = || Lines::of(&cut(town(), &fund()));
    let with = |checkpoint: String| {
        let mut lines = pack();
        lines.header.checkpoint = checkpoint;
        refuted(&lines.bytes(), town().id).code
    };
    let real = town().bundle().checkpoint(&town().origin);
    assert_eq!(with("nothing".to_owned()), "checkpoint_malformed");
    assert_eq!(with(real.sign(&key("record"))), "checkpoint_unsigned");
    let spoilt = real.sign(&town().checkpoint_key).replacen("\n\n", "\n", 1);
    assert_eq!(with(spoilt), "checkpoint_malformed");
    let other = Checkpoint { origin: "elsewhere.test/log".to_owned(), ..real.clone() };
    assert_eq!(with(other.sign(&town().checkpoint_key)), "checkpoint_origin");
    let other = Checkpoint { root: Digest::of("another"), ..real.clone() };
    assert_eq!(with(other.sign(&town().checkpoint_key)), "proof_wrong");
    let mut lines = pack();
    lines.header.earlier = vec![EarlierHead { proof: vec![], root: real.root, size: lines.header.records }];
    assert_eq!(refuted(&lines.bytes(), town().id).code, "earlier_wrong");
}
