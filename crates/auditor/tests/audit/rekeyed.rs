//! A ledger whose two keys a quorum replaced: from the act on the new ones count, and before it those of the time.

use auditor::pack::{self, Scope};
use auditor::{Against, KeptState, NewKeys, Standing, audit, verify, verify_against};
use programme::Code;
use records::governance::{Act, Concurrence, LedgersKeys, Policy, Proposal, Role};
use records::journal::Group;
use records::scalar::Integer;
use records::witnessing::{Statement, Witness, Witnessing};
use records::{Basis, Body, Payload, Record};
use signing::digest::Digest;
use signing::keys::SecretKey;
use translog::checkpoint::Checkpoint;
use translog::cosignature::cosign;

use crate::ledger::{Bundle, HOUR_S, Ledger, parse, policy};
use crate::reopened::{NEW, OLD, left, refusal};
use crate::staff::key;
use crate::story::Story;
use crate::tampered::{refuted, refuted_at};
use crate::verified::verified;

fn next() -> (SecretKey, SecretKey) {
    (key("next record"), key("next checkpoint"))
}

fn keys(record: &SecretKey, checkpoint: &SecretKey) -> Option<Box<LedgersKeys>> {
    let (checkpoint_key, record_key) = (checkpoint.public().clone(), record.public().clone());
    Some(Box::new(LedgersKeys { checkpoint_key, record_key }))
}

/// The head that is left, as it was signed.
fn signed(ledger: &Ledger, basis: Basis) -> String {
    let Basis { root, size } = basis;
    Checkpoint { origin: ledger.origin.clone(), size: size.0, root }.sign(&ledger.checkpoint_key)
}

fn act(ledger: &Ledger, continued: Basis, keys: Option<Box<LedgersKeys>>) -> Act {
    Act::Reopen { checkpoint: signed(ledger, continued), continued, keys, origin: parse(NEW) }
}

/// Begins a group that carries a key and is signed by another; answers the head before it.
fn carry(ledger: &mut Ledger, carried: &SecretKey, by: SecretKey) -> Basis {
    let continued = left(ledger);
    ledger.now = ledger.now.plus(60).unwrap();
    let group = Group { record_key: Some(Box::new(carried.public().clone())), ..ledger.next_group() };
    let before = std::mem::replace(&mut ledger.record_key, by);
    ledger.begin(group);
    ledger.record_key = before;
    continued
}

/// A ledger that got two new keys and went on with them; the head at which it did, and the log of before.
fn rekeyed() -> (Story, Basis, Bundle) {
    let mut story = Story::funded(OLD);
    let Story { ledger, staff } = &mut story;
    let before = ledger.bundle();
    let (record, checkpoint) = next();
    let continued = carry(ledger, &record, key("next record"));
    let act = act(ledger, continued, keys(&record, &checkpoint));
    ledger.enact([&staff.anna, &staff.boris], act);
    (ledger.record_key, ledger.checkpoint_key) = (record, checkpoint);
    NEW.clone_into(&mut ledger.origin);
    ledger.begin_group(60);
    let act = Act::Roles { principal: staff.preparer.principal.clone(), roles: vec![Role::Preparer] };
    ledger.enact([&staff.anna, &staff.boris], act);
    (story, continued, before)
}

#[test]
fn each_record_and_checkpoint_is_held_against_the_keys_of_its_time() {
    let (Story { ledger, .. }, continued, before) = rekeyed();
    let bundle = ledger.bundle();
    let report = verified(&bundle.bytes(), ledger.id);
    let (record, checkpoint) = next();
    let ids = NewKeys { checkpoint_key: checkpoint.public().id(), record_key: record.public().id() };
    assert_eq!(report.checked.reopened[0].keys, Some(ids));
    assert_eq!(report.checked.signatures.checkpoints, 1);
    assert!(report.to_string().contains(&format!("{} for records", ids.record_key)), "{report}");

    let (old, now) = (key("checkpoint"), bundle.checkpoint(NEW));
    let mut by_old = bundle.clone();
    by_old.header.checkpoint = now.sign(&old);
    assert_eq!(refuted(&by_old.bytes(), ledger.id).code, "checkpoint_unsigned");
    by_old.header.checkpoint = bundle.checkpoint(OLD).sign(&old);
    assert_eq!(refuted(&by_old.bytes(), ledger.id).code, "checkpoint_origin");
    by_old.header.checkpoint = bundle.checkpoint("elsewhere").sign(&checkpoint);
    assert_eq!(refuted(&by_old.bytes(), ledger.id).code, "checkpoint_origin");

    let of = |origin: &str, size, root| Checkpoint { origin: origin.to_owned(), size, root };
    let (left, end) = (of(OLD, continued.size.0, continued.root), continued.size.0);
    for (note, is_fine) in [
        (left.sign(&old), true),
        (left.sign(&checkpoint), false),
        (now.sign(&checkpoint), true),
        (now.sign(&old), false),
        // What a thief of the old key signs of a log that goes on under the old origin.
        (of(OLD, end + 1, Digest::of("a second history")).sign(&old), false),
        (of(OLD, end - 1, Digest::of("another")).sign(&old), false),
    ] {
        let report = verify_against(&bundle.bytes()[..], ledger.id, std::slice::from_ref(&note)).unwrap();
        assert_eq!(report.accounts_for_kept(), is_fine, "{note}: {report}");
        let is_judged = matches!(report.kept[0].standing, Standing::Holds | Standing::Contradicts { .. });
        assert!(is_judged, "{report}");
    }

    // On top of what was kept before it, and after it.
    let kept = |bundle: &Bundle, state: Option<KeptState>| {
        let against = Against { state, ..Against::default() };
        let audited = audit(&bundle.bytes()[..], ledger.id, against).unwrap();
        assert!(audited.report.is_verified(), "{}", audited.report);
        let mut bytes = Vec::new();
        audited.state.unwrap().write(&mut bytes).unwrap();
        KeptState::read(&bytes[..], ledger.id).unwrap()
    };
    let part = |from: u64| {
        let mut part = bundle.clone();
        part.leaves.drain(..from as usize);
        part.header.from = Some(Integer(from));
        part
    };
    let first = kept(&before, None);
    let whole = kept(&part(continued.size.0), Some(first));
    let (mut of_part, mut of_whole) = (Vec::new(), Vec::new());
    whole.write(&mut of_part).unwrap();
    kept(&bundle, None).write(&mut of_whole).unwrap();
    assert_eq!(of_part, of_whole);
    kept(&part(bundle.header.records.0), Some(whole));
}

#[test]
fn the_old_key_signs_nothing_more() {
    let (Story { mut ledger, .. }, ..) = rekeyed();
    let at = ledger.size();
    ledger.now = ledger.now.plus(60).unwrap();
    let group = Payload::Group(ledger.next_group());
    ledger.force(&Record::sign(group, &key("record")).unwrap());
    refuted_at(&ledger.bundle(), ledger.id, at, "not_the_ledgers_key");
}

#[test]
fn a_group_that_carries_a_key_begins_with_the_whole_act_or_is_refuted() {
    let (record, checkpoint) = next();
    let begun = |by: &str| {
        let mut story = Story::funded(OLD);
        let continued = carry(&mut story.ledger, &record, key(by));
        (story, continued)
    };
    let refuted_at_end = |ledger: &Ledger, code: &str| {
        let finding = refuted(&ledger.bundle().bytes(), ledger.id);
        assert_eq!((finding.position, finding.code.as_str()), (Some(ledger.size()), code));
    };
    // Alone, and with fewer than a quorum.
    let (Story { mut ledger, staff }, continued) = begun("next record");
    refuted_at_end(&ledger, "rekey_incomplete");
    let proposed = act(&ledger, continued, keys(&record, &checkpoint));
    let proposal = ledger.take(&staff.anna, Body::Proposal(Proposal { act: proposed }));
    refuted_at_end(&ledger, "rekey_incomplete");
    // With anything else, or the next group, before the quorum is there.
    let at = ledger.size();
    let other = Body::Concurrence(Concurrence { proposal: Digest::of("another") });
    let other = ledger.sign(&staff.boris, other);
    ledger.force(&other);
    refuted_at(&ledger.bundle(), ledger.id, at, "rekey_incomplete");
    ledger.rewind(at);
    ledger.force(&Record::sign(Payload::Group(ledger.next_group()), &record).unwrap());
    refuted_at(&ledger.bundle(), ledger.id, at, "rekey_incomplete");
    ledger.rewind(at);
    ledger.take(&staff.boris, Body::Concurrence(Concurrence { proposal }));
    (ledger.record_key, ledger.checkpoint_key) = next();
    NEW.clone_into(&mut ledger.origin);
    verified(&ledger.bundle().bytes(), ledger.id);

    // By the ledger's old key.
    let (Story { ledger, .. }, continued) = begun("record");
    refuted_at(&ledger.bundle(), ledger.id, continued.size.0, "not_the_ledgers_key");

    // With an act that names another key, none, or is another one.
    let other = key("another");
    for keys in [keys(&other, &checkpoint), None] {
        let (Story { mut ledger, staff }, continued) = begun("next record");
        let (at, act) = (ledger.size(), act(&ledger, continued, keys));
        let record = ledger.sign(&staff.anna, Body::Proposal(Proposal { act }));
        assert_eq!(refusal(&ledger, &record), Some(Code::ActInvalid));
        ledger.force(&record);
        refuted_at(&ledger.bundle(), ledger.id, at, "rekey_incomplete");
    }
    let (Story { mut ledger, staff }, _) = begun("next record");
    let at = ledger.size();
    let act_of_roles = Act::Roles { principal: staff.preparer.principal.clone(), roles: vec![] };
    let other = ledger.sign(&staff.anna, Body::Proposal(Proposal { act: act_of_roles }));
    ledger.force(&other);
    refuted_at(&ledger.bundle(), ledger.id, at, "rekey_incomplete");

    // The act in a group that carries none.
    let mut story = Story::funded(OLD);
    let Story { ledger, staff } = &mut story;
    let continued = left(ledger);
    ledger.begin_group(60);
    let (at, act) = (ledger.size(), act(ledger, continued, keys(&record, &checkpoint)));
    let record = ledger.sign(&staff.anna, Body::Proposal(Proposal { act }));
    assert_eq!(refusal(ledger, &record), Some(Code::ActInvalid));
    ledger.force(&record);
    refuted_at(&ledger.bundle(), ledger.id, at, "act_invalid");
}

#[test]
fn a_key_that_anybody_has_or_had_is_none_for_the_ledger() {
    let (Story { mut ledger, staff }, ..) = rekeyed();
    let (now, checkpoint) = next();
    let third = key("third");
    // The record key stays, so the group carries it.
    let continued = carry(&mut ledger, &now, key("next record"));
    let again = |ledger: &Ledger, keys| Act::Reopen {
        checkpoint: signed(ledger, continued),
        continued,
        keys,
        origin: parse("safeconduct.test/log/3"),
    };
    for (name, expected) in [
        ("third", None),
        ("next checkpoint", Some(Code::ActInvalid)),
        ("next record", Some(Code::ActInvalid)),
        ("checkpoint", Some(Code::ActInvalid)),
        ("record", Some(Code::ActInvalid)),
        ("anna", Some(Code::ActInvalid)),
        ("pia", Some(Code::ActInvalid)),
    ] {
        let act = again(&ledger, keys(&now, &key(name)));
        let record = ledger.sign(&staff.anna, Body::Proposal(Proposal { act }));
        assert_eq!(refusal(&ledger, &record), expected, "{name}");
    }
    let act = again(&ledger, keys(&now, &third));
    ledger.enact([&staff.anna, &staff.boris], act);
    (ledger.checkpoint_key, ledger.origin) = (third, "safeconduct.test/log/3".to_owned());
    verified(&ledger.bundle().bytes(), ledger.id);
    // No key of the ledger's is ever a person's.
    ledger.begin_group(60);
    for key in [key("record"), checkpoint, now] {
        let mut person = crate::staff::Person::new("mallory");
        person.key = key;
        let act = person.enrolment(ledger.id, &[Role::Payer]);
        let record = ledger.sign(&staff.anna, Body::Proposal(Proposal { act }));
        assert_eq!(refusal(&ledger, &record), Some(Code::KeyEnrolled));
    }
}

#[test]
fn what_is_cited_must_be_cosigned_where_policy_names_witnesses() {
    let mut story = Story::funded(OLD);
    let Story { ledger, staff } = &mut story;
    let member =
        |name: &str, statement| Witness { key: key(name).public().clone(), name: parse(name), statement };
    let witnesses =
        vec![member("w.example/1", Statement::Consistent), member("w.example/2", Statement::Replayed)];
    let witnessing = Witnessing { replays: Integer(1), threshold: Integer(1), witnesses };
    ledger.begin_group(60);
    let act = Act::Policy { policy: Policy { witnessing: Some(witnessing), ..policy() } };
    ledger.enact([&staff.anna, &staff.boris], act);
    ledger.begin_group(2 * HOUR_S);
    let (record, checkpoint) = next();
    let continued = carry(ledger, &record, key("next record"));
    let note = signed(ledger, continued);
    let cosigned = |name: &str| format!("{note}{}", cosign(&note, name, &key(name), 1_900_000_000).unwrap());
    let (first, second) = (cosigned("w.example/1"), cosigned("w.example/2"));
    let spoilt = second.replacen(second.rsplit(' ').next().unwrap(), &first[first.len() - 100..], 1);
    let with = |checkpoint_note: &str, keys| Act::Reopen {
        checkpoint: checkpoint_note.to_owned(),
        continued,
        keys,
        origin: parse(NEW),
    };
    for (what, cited, expected) in [
        ("by nobody", &note, Some(Code::ActInvalid)),
        ("by one who does not replay", &first, Some(Code::ActInvalid)),
        ("wrongly", &spoilt, Some(Code::ActInvalid)),
        ("by one who replays", &second, None),
    ] {
        let act = with(cited, keys(&record, &checkpoint));
        let proposal = ledger.sign(&staff.anna, Body::Proposal(Proposal { act }));
        assert_eq!(refusal(ledger, &proposal), expected, "cosigned {what}");
    }
    // A witness's key is none for the ledger.
    let act = with(&second, keys(&record, &key("w.example/2")));
    let proposal = ledger.sign(&staff.anna, Body::Proposal(Proposal { act }));
    assert_eq!(refusal(ledger, &proposal), Some(Code::ActInvalid));
    let act = with(&second, keys(&record, &checkpoint));
    ledger.enact([&staff.anna, &staff.boris], act);
    (ledger.record_key, ledger.checkpoint_key) = (record, checkpoint);
    NEW.clone_into(&mut ledger.origin);
    verified(&ledger.bundle().bytes(), ledger.id);
}

#[test]
fn a_pack_follows_the_new_keys() {
    let (Story { ledger, .. }, continued, _) = rekeyed();
    let mut bytes = Vec::new();
    let bundle = std::io::Cursor::new(ledger.bundle().bytes());
    let kept = [signed_before(continued)];
    pack::cut(bundle, ledger.id, &Scope::NoCases {}, &kept, &mut bytes).unwrap();
    let report = pack::verify(&bytes[..], ledger.id, &kept).unwrap();
    assert!(report.holds(), "{report}");
    // Signed by the key of before, under the new origin.
    let text = String::from_utf8(bytes).unwrap();
    let (header, rest) = text.split_once('\n').unwrap();
    let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
    header["checkpoint"] = ledger.bundle().checkpoint(NEW).sign(&key("checkpoint")).into();
    let header = String::from_utf8(signing::canonical::encode(&header)).unwrap();
    let forged = format!("{header}\n{rest}");
    let report = pack::verify(forged.as_bytes(), ledger.id, &[]).unwrap();
    assert!(report.to_string().contains("[checkpoint_unsigned]"), "{report}");
    assert!(verify(&ledger.bundle().bytes()[..], ledger.id).unwrap().is_verified());
}

fn signed_before(head: Basis) -> String {
    Checkpoint { origin: OLD.to_owned(), size: head.size.0, root: head.root }.sign(&key("checkpoint"))
}
