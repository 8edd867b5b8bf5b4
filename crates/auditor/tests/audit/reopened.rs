//! A log that was reopened under a new origin, and checkpoints that somebody kept of it.

use auditor::{Against, Head, Reopened, Standing, verify, verify_against, verify_restored};
use programme::{At, Code, Halt, decide};
use records::governance::{Act, Concurrence, Proposal, Role, Veto};
use records::scalar::Integer;
use records::{Basis, Body, Verified};
use signing::digest::Digest;
use translog::checkpoint::Checkpoint;

use crate::ledger::{Ledger, parse};
use crate::staff::{Person, key};
use crate::story::Story;
use crate::verified::verified;

pub const OLD: &str = "safeconduct.test/log";
pub const NEW: &str = "safeconduct.test/log/2";

/// The head of what there is, which the next group follows.
pub fn left(ledger: &Ledger) -> Basis {
    let group = ledger.next_group();
    Basis { root: group.root, size: group.first }
}

/// A head of this size that was signed once, of records that are lost.
fn lost(size: u64, of: &str) -> Checkpoint {
    Checkpoint { origin: OLD.to_owned(), size, root: Digest::of(of) }
}

fn reopen(ledger: &Ledger, cited: &Checkpoint, continued: Basis, origin: &str) -> Act {
    let checkpoint = cited.sign(&ledger.checkpoint_key);
    Act::Reopen { checkpoint, continued, keys: None, origin: parse(origin) }
}

pub fn refusal(ledger: &Ledger, record: &Verified) -> Option<Code> {
    let at = At { position: ledger.size(), recorded_at: ledger.now };
    match decide(&ledger.state, at, record) {
        Ok(_) => None,
        Err(Halt::Refused(refusal)) => Some(refusal.code),
        Err(halt) => panic!("{halt:?}"),
    }
}

fn proposal(ledger: &mut Ledger, person: &Person, act: Act) -> Verified {
    ledger.sign(person, Body::Proposal(Proposal { act }))
}

/// Reopened at the head that is returned, citing one that is five records larger, and gone on with.
pub fn reopened() -> (Story, Basis, Checkpoint) {
    let mut story = Story::funded(OLD);
    let Story { ledger, staff } = &mut story;
    let continued = left(ledger);
    let cited = lost(continued.size.0 + 5, "lost");
    let act = reopen(ledger, &cited, continued, NEW);
    ledger.begin_group(60);
    ledger.enact([&staff.anna, &staff.boris], act);
    NEW.clone_into(&mut ledger.origin);
    ledger.begin_group(60);
    let act = Act::Roles { principal: staff.preparer.principal.clone(), roles: vec![Role::Preparer] };
    ledger.enact([&staff.anna, &staff.boris], act);
    (story, continued, cited)
}

#[test]
fn an_auditor_with_a_head_of_the_lost_tail_is_told() {
    let (Story { ledger, .. }, continued, cited) = reopened();
    let bundle = ledger.bundle();
    let report = verified(&bundle.bytes(), ledger.id);
    let head = |size: u64, root| Head { root, size };
    let [Reopened { cited: named, continued: at, origin, .. }] = &report.checked.reopened[..] else {
        panic!("{report}");
    };
    assert_eq!((*named, origin.as_str()), (head(cited.size, cited.root), NEW));
    assert_eq!(*at, head(continued.size.0, continued.root));
    assert!(report.to_string().contains("5 records"), "{report}");

    let (from, end, now) = (continued.size.0, cited.size, bundle.checkpoint(NEW));
    let of = |origin: &str, size, root| Checkpoint { origin: origin.to_owned(), size, root };
    let is_lost = Standing::Lost { from, cited: end, origin: NEW.to_owned() };
    let contradicts = Standing::Contradicts { reason: String::new() };
    let cases = [
        (of(OLD, from, continued.root), Standing::Holds),
        (of(OLD, from, Digest::of("another")), contradicts.clone()),
        (of(OLD, from + 1, Digest::of("anything")), is_lost.clone()),
        (cited.clone(), is_lost),
        (lost(end, "another of that size"), contradicts.clone()),
        (lost(end + 1, "a newer one"), contradicts.clone()),
        (now.clone(), Standing::Holds),
        (of(NEW, now.size + 1, Digest::of("newer")), Standing::Missing { size: now.size }),
        (of("elsewhere", from, continued.root), Standing::UnknownOrigin),
    ];
    for (kept, expected) in cases {
        let note = [kept.sign(&ledger.checkpoint_key)];
        let report = verify_against(&bundle.bytes()[..], ledger.id, &note).unwrap();
        assert!(report.is_verified(), "{report}");
        let judged = &report.kept[0];
        let is_as_expected = match (&judged.standing, &expected) {
            (Standing::Contradicts { .. }, Standing::Contradicts { .. }) => true,
            (standing, expected) => standing == expected,
        };
        assert!(is_as_expected, "{kept:?}: {judged}");
        let is_fine = matches!(expected, Standing::Holds | Standing::Lost { .. });
        assert_eq!(report.accounts_for_kept(), is_fine, "{judged}");
    }
    // What another key signed says nothing.
    let forged = [now.sign(&key("record"))];
    let report = verify_against(&bundle.bytes()[..], ledger.id, &forged).unwrap();
    assert!(report.kept[0].head.is_none() && !report.accounts_for_kept(), "{report}");
}

#[test]
fn the_checkpoint_is_under_the_origin_that_the_log_ends_with() {
    let (Story { mut ledger, .. }, ..) = reopened();
    OLD.clone_into(&mut ledger.origin);
    let report = verify(&ledger.bundle().bytes()[..], ledger.id).unwrap();
    assert!(report.to_string().contains("[checkpoint_origin]"), "{report}");
    // An end that nobody signed is verified as what was restored.
    let mut restored = ledger.bundle();
    restored.header.checkpoint.clear();
    let report = verify_restored(&restored.bytes()[..], ledger.id, Against::default()).unwrap();
    assert!(report.is_verified(), "{report}");
    assert_eq!(report.checked.head.unwrap().size, ledger.size());
    assert!(!verify(&restored.bytes()[..], ledger.id).unwrap().is_verified());
}

#[test]
fn it_stands_alone_takes_a_quorum_and_cannot_be_vetoed() {
    let mut story = Story::founded(OLD);
    let Story { ledger, staff } = &mut story;
    let continued = left(ledger);
    let good = |ledger: &Ledger| reopen(ledger, &lost(continued.size.0 + 5, "lost"), continued, NEW);
    let act = good(ledger);
    // Before the group has begun, at another size, of another root, under an origin of before.
    let early = proposal(ledger, &staff.anna, act.clone());
    assert_eq!(refusal(ledger, &early), Some(Code::ActInvalid));
    ledger.begin_group(60);
    let other = Basis { root: Digest::of("another"), ..continued };
    let smaller = Basis { size: Integer(continued.size.0 - 1), ..continued };
    let cited = lost(continued.size.0 + 5, "lost");
    let by_another_key =
        Act::Reopen { checkpoint: cited.sign(&ledger.record_key), continued, keys: None, origin: parse(NEW) };
    let bad = [
        reopen(ledger, &cited, other, NEW),
        reopen(ledger, &cited, smaller, NEW),
        reopen(ledger, &cited, continued, OLD),
        reopen(ledger, &Checkpoint { origin: NEW.to_owned(), ..cited.clone() }, continued, NEW),
        reopen(ledger, &lost(1 << 63, "larger than any"), continued, NEW),
        // Not larger than what is left, so it must be of it.
        reopen(ledger, &lost(continued.size.0, "another"), continued, NEW),
        by_another_key,
    ];
    for act in bad {
        let record = proposal(ledger, &staff.anna, act.clone());
        assert_eq!(refusal(ledger, &record), Some(Code::ActInvalid), "{act:?}");
    }
    let digest = ledger.take(&staff.anna, Body::Proposal(Proposal { act }));
    // One custodian is no quorum.
    let twice = ledger.sign(&staff.anna, Body::Concurrence(Concurrence { proposal: digest }));
    assert_eq!(refusal(ledger, &twice), Some(Code::AlreadyConcurred));
    let concurrence = ledger.sign(&staff.boris, Body::Concurrence(Concurrence { proposal: digest }));
    assert_eq!(refusal(ledger, &concurrence), None);
    // A second proposal does not follow the group's record, and a concurrence not the first proposal, once there is one.
    let act = good(ledger);
    let second = proposal(ledger, &staff.boris, act);
    assert_eq!(refusal(ledger, &second), Some(Code::ActInvalid));
    ledger.decide(concurrence);
    let veto = Veto { proposal: digest, reason: parse("no") };
    let veto = ledger.sign(&staff.anna, Body::Veto(veto));
    assert_eq!(refusal(ledger, &veto), Some(Code::ProposalClosed));
    // Never again under an origin that it had.
    let again = left(ledger);
    ledger.begin_group(60);
    let cited = Checkpoint { origin: NEW.to_owned(), size: again.size.0, root: again.root };
    for (origin, code) in [(OLD, Some(Code::ActInvalid)), (NEW, Some(Code::ActInvalid)), ("third", None)] {
        let act = reopen(ledger, &cited, again, origin);
        let record = proposal(ledger, &staff.anna, act);
        assert_eq!(refusal(ledger, &record), code, "{origin}");
    }
}

#[test]
fn it_does_not_wait_for_a_later_group() {
    let mut story = Story::founded(OLD);
    let Story { ledger, staff } = &mut story;
    let continued = left(ledger);
    let act = reopen(ledger, &lost(continued.size.0 + 5, "lost"), continued, NEW);
    ledger.begin_group(60);
    let proposal = ledger.take(&staff.anna, Body::Proposal(Proposal { act }));
    ledger.begin_group(60);
    let late = ledger.sign(&staff.boris, Body::Concurrence(Concurrence { proposal }));
    assert_eq!(refusal(ledger, &late), Some(Code::ActInvalid));
    // Without its quorum it changed nothing.
    verified(&ledger.bundle().bytes(), ledger.id);
}
