//! What an auditor kept, and parts that are verified on top of it: the same verdict as of the whole, at every group; and
//! whatever does not go on from there is found.

use std::collections::{BTreeMap, HashSet};

use auditor::{
    Against, Audited, Checked, CouldNotRun, Finding, KeptState, KeptStateError, Standing, Verdict, audit,
};
use records::governance::{Act, Policy, Proposal};
use records::scalar::Integer;
use records::witnessing::{Statement, Witness, Witnessing};
use records::{Basis, Body, Kind, Record};
use signing::digest::Digest;
use translog::checkpoint::Checkpoint;
use translog::cosignature::cosign;
use translog::tree::{Frontier, leaf_hash};

use crate::ledger::{Bundle, HOUR_S, Ledger, parse, policy};
use crate::reopened::{NEW, OLD, reopened};
use crate::staff::{Staff, key};
use crate::story::Story;

/// The bytes of what is kept.
fn file(state: &KeptState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8], ledger: Digest) -> KeptState {
    KeptState::read(bytes, ledger).unwrap()
}

/// Verifies on top of a state's file.
pub(crate) fn on(state: &[u8], bundle: &[u8], ledger: Digest) -> Result<Audited, CouldNotRun> {
    audit(bundle, ledger, Against { state: Some(read(state, ledger)), ..Against::default() })
}

/// The state's file after a verification that must hold.
pub(crate) fn kept(audited: Result<Audited, CouldNotRun>) -> (Vec<u8>, Checked) {
    let Audited { report, state, .. } = audited.unwrap();
    assert!(report.is_verified(), "{report}");
    (file(&state.unwrap()), report.checked)
}

/// The finding on top of a state's file.
#[track_caller]
fn refuted(state: &[u8], bundle: &Bundle, ledger: Digest) -> Finding {
    match on(state, &bundle.bytes(), ledger).unwrap().report.verdict {
        Verdict::Refuted(finding) => finding,
        Verdict::Verified => panic!("it was verified"),
    }
}

/// The bundle of the log's first records, up to the end of a group.
pub(crate) fn prefix(ledger: &Ledger, size: u64, origin: &str) -> Bundle {
    let mut bundle = ledger.bundle();
    bundle.leaves.truncate(size as usize);
    if let Some(balances) = ledger.earlier.get(&size) {
        bundle.balances = balances.clone();
    }
    bundle.seal(ledger);
    bundle.header.checkpoint = bundle.checkpoint(origin).sign(&ledger.checkpoint_key);
    bundle
}

/// The records of a bundle from `from` on.
pub(crate) fn part(bundle: &Bundle, from: u64) -> Bundle {
    let mut part = bundle.clone();
    part.leaves.drain(..from as usize);
    part.header.from = Some(Integer(from));
    part
}

/// Every size at which a group ends.
fn ends(ledger: &Ledger) -> Vec<u64> {
    ledger.positions(Kind::Group).into_iter().chain([ledger.size()]).collect()
}

/// At every group: what was kept there and the part from there come to what the whole comes to, to the byte of what is
/// kept then; and so do the groups one by one.
#[track_caller]
fn is_the_same_from_every_group(ledger: &Ledger, origin: impl Fn(u64) -> &'static str) {
    let whole = ledger.bundle();
    let (end, all) = kept(audit(&whole.bytes()[..], ledger.id, Against::default()));
    let mut before: Option<(u64, Vec<u8>)> = None;
    let ends = ends(ledger);
    assert!(ends.len() > 5);
    for from in ends {
        let early = prefix(ledger, from, origin(from));
        let (state, _) = kept(audit(&early.bytes()[..], ledger.id, Against::default()));
        let again = read(&state, ledger.id);
        assert!(file(&again) == state, "{from}");
        assert_eq!((again.head().size, again.head().root), (from, early.checkpoint("").root));
        assert_eq!(KeptState::read_head(&state[..], ledger.id).unwrap(), again.head());

        let (last, checked) = kept(on(&state, &part(&whole, from).bytes(), ledger.id));
        assert!(last == end, "another state by way of {from}");
        assert_eq!(checked.continued, Some(again.head()));
        assert_eq!(Checked { continued: None, ..checked }, all, "{from}");

        if let Some((size, before)) = before.take() {
            let (after, _) = kept(on(&before, &part(&early, size).bytes(), ledger.id));
            assert!(after == state, "another state from {size} to {from}");
        }
        before = Some((from, state));
    }
}

#[test]
fn a_whole_ledger_from_every_group() {
    is_the_same_from_every_group(&Story::whole().ledger, |_| OLD);
}

#[test]
fn a_ledger_that_was_reopened_from_every_group() {
    let (Story { ledger, .. }, continued, _) = reopened();
    is_the_same_from_every_group(&ledger, |size| if size <= continued.size.0 { OLD } else { NEW });
}

/// A ledger, the size at which its last but some groups end, what was kept there, and the part from there.
fn continued(last: usize) -> (Ledger, u64, Vec<u8>, Bundle) {
    let Story { ledger, .. } = Story::whole();
    let ends = ends(&ledger);
    let from = ends[ends.len() - 1 - last];
    let early = prefix(&ledger, from, OLD);
    let (state, _) = kept(audit(&early.bytes()[..], ledger.id, Against::default()));
    let part = part(&ledger.bundle(), from);
    (ledger, from, state, part)
}

#[test]
fn any_flipped_bit_of_a_part_is_found() {
    let (ledger, _, state, part) = continued(1);
    let bytes = part.bytes();
    kept(on(&state, &bytes, ledger.id));
    let header = part.lines()[0].len();
    for at in (0..header).chain((header..bytes.len()).step_by(7)) {
        let mut tampered = bytes.clone();
        tampered[at] ^= 1 << (at % 8);
        match on(&state, &tampered, ledger.id) {
            Ok(audited) => assert!(!audited.report.is_verified() && audited.state.is_none(), "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn any_flipped_bit_of_what_was_kept_is_found() {
    let (ledger, _, state, _) = continued(1);
    let flip = |at: usize| {
        let mut damaged = state.clone();
        damaged[at] ^= 1 << (at % 8);
        KeptState::read(&damaged[..], ledger.id)
    };
    let header = state.iter().position(|byte| *byte == b'\n').unwrap();
    for at in (0..=header).chain((header..state.len()).step_by(11)) {
        assert!(flip(at).is_err(), "byte {at}");
    }
    for cut in (0..state.len()).step_by(101) {
        assert!(KeptState::read(&state[..cut], ledger.id).is_err(), "cut at {cut}");
    }
    // Whole lines that are gone, or there twice.
    let lines: Vec<&[u8]> = state.split_inclusive(|byte| *byte == b'\n').collect();
    for line in 0..lines.len() {
        let without = [&lines[..line], &lines[line + 1..]].concat().concat();
        let twice = [&lines[..=line], &lines[line..]].concat().concat();
        for damaged in [without, twice] {
            let error = KeptState::read(&damaged[..], ledger.id).unwrap_err();
            assert!(error.to_string().contains("verify a whole bundle"), "{error}");
        }
    }
}

#[test]
fn what_was_kept_of_another_ledger_or_by_another_program_is_refused() {
    let (ledger, from, state, part) = continued(2);
    let other = Story::founded("safeconduct.test/other").ledger;
    let (foreign, _) = kept(audit(&other.bundle().bytes()[..], other.id, Against::default()));
    let error = KeptState::read(&foreign[..], ledger.id).unwrap_err();
    assert!(matches!(error, KeptStateError::OtherLedger(id) if id == other.id), "{error}");
    let against = Against { state: Some(read(&foreign, other.id)), ..Against::default() };
    let error = audit(&part.bytes()[..], ledger.id, against).err().unwrap();
    assert!(matches!(error, CouldNotRun::OtherState(id) if id == other.id), "{error}");

    let text = String::from_utf8(state).unwrap();
    for (real, other) in [("\"rules\":\"1\"", "\"rules\":\"2\""), ("state.v1", "state.v2")] {
        let newer = text.replacen(real, other, 1);
        let error = KeptState::read(newer.as_bytes(), ledger.id).unwrap_err();
        assert!(matches!(error, KeptStateError::Format(_)), "{error}");
    }
    // Without what it goes on from, nothing can be said of a part.
    let error = audit(&part.bytes()[..], ledger.id, Against::default()).err().unwrap();
    assert!(matches!(error, CouldNotRun::PartAlone { from: named } if named == from), "{error}");
}

#[test]
fn a_part_that_does_not_go_on_from_there() {
    let (ledger, from, state, good) = continued(2);
    let last = ends(&ledger)[ends(&ledger).len() - 2];
    let of = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        let Finding { code, line, position, .. } = refuted(&state, &bundle, ledger.id);
        (code, line, position)
    };
    let at_header = |code: &str| (code.to_owned(), Some(1), None);
    let at_first = |code: &str| (code.to_owned(), Some(2 + good.balances.len() as u64), Some(from));
    assert_eq!(of(&|bundle| *bundle = part(&ledger.bundle(), last)), at_header("part_elsewhere"));
    assert_eq!(of(&|bundle| bundle.header.from = Some(Integer(0))), at_header("header_malformed"));
    assert_eq!(of(&|bundle| bundle.header.balances_at = Integer(from - 1)), at_header("balances_at_before"));
    assert_eq!(
        of(&|bundle| bundle.header.balances_at = Integer(from + 1)),
        at_header("balances_at_within_group")
    );
    assert_eq!(
        of(&|bundle| bundle.header.records = Integer(bundle.header.records.0 - 1)).0,
        "balances_at_beyond"
    );
    // The records of another place.
    let elsewhere = |bundle: &mut Bundle| bundle.leaves = part(&ledger.bundle(), last).leaves;
    assert_eq!(of(&elsewhere), at_first("group_position"));
    assert_eq!(of(&|bundle| drop(bundle.leaves.remove(0))), at_first("outside_group"));
    assert_eq!(of(&|bundle| drop(bundle.leaves.pop())).0, "records_missing");
    // The tail was dropped, and the checkpoint signed again.
    let shorter = |bundle: &mut Bundle| {
        let size = from - 1;
        let short = prefix(&ledger, size, OLD);
        (bundle.leaves, bundle.header) = (vec![], short.header);
        bundle.header.from = Some(Integer(from));
    };
    assert_eq!(of(&shorter), at_header("part_shorter"));
    // Of the whole log the kept checkpoint is looked at.
    let kept_head = |bundle: &Bundle| {
        let mut report = on(&state, &bundle.bytes(), ledger.id).unwrap().report;
        assert!(report.is_verified(), "{report}");
        (report.kept.pop().unwrap().standing, report.accounts_for_kept())
    };
    assert_eq!(kept_head(&ledger.bundle()), (Standing::Holds, true));
    let before = ends(&ledger).into_iter().rfind(|end| *end < from).unwrap();
    let (standing, _) = kept_head(&prefix(&ledger, before, OLD));
    assert_eq!(standing, Standing::Missing { size: before });
}

#[test]
fn two_logs_are_found() {
    // The same up to a group, and then two groups in each, of which the first ends at the same size.
    let at = |minutes: u64, groups: usize| {
        let mut story = Story::funded(OLD);
        (0..groups).for_each(|_| story.ledger.begin_group(60 * minutes));
        story.ledger
    };
    let (shown, hidden) = (at(1, 1), at(2, 2));
    let (state, _) = kept(audit(&shown.bundle().bytes()[..], shown.id, Against::default()));
    let from = shown.size();
    let other = part(&hidden.bundle(), from);
    let Finding { code, position, reason, .. } = refuted(&state, &other, hidden.id);
    assert_eq!((code.as_str(), position), ("part_root", Some(from)));
    assert!(reason.contains("two logs"), "{reason}");
    // One that ends there too.
    let same_size = part(&at(2, 1).bundle(), from);
    let Finding { code, line, position, .. } = refuted(&state, &same_size, hidden.id);
    assert_eq!((code.as_str(), line, position), ("part_root", Some(1), None));
    kept(on(&state, &part(&shown.bundle(), from).bytes(), shown.id));
    // It is told before whatever else follows from it: an earlier time, other balances.
    let (late, _) = kept(audit(&at(5, 1).bundle().bytes()[..], shown.id, Against::default()));
    assert_eq!(refuted(&late, &part(&at(1, 2).bundle(), from), shown.id).code, "part_root");
    let mut fewer = other.clone();
    fewer.balances.pop();
    fewer.header.balances.0 -= 1;
    fewer.header.balances_at = Integer(from);
    assert_eq!(refuted(&state, &fewer, hidden.id).code, "part_root");
    // One checkpoint, from a state that stays in memory too.
    let state_here = audit(&shown.bundle().bytes()[..], shown.id, Against::default()).unwrap().state;
    let against = Against { state: state_here, ..Against::default() };
    let report = audit(&part(&shown.bundle(), from).bytes()[..], shown.id, against).unwrap().report;
    assert_eq!(report.checked.signatures.checkpoints, 1);
    // The whole of the other one holds by itself, and not against what was kept.
    let Audited { report, .. } = on(&state, &hidden.bundle().bytes(), hidden.id).unwrap();
    assert!(report.is_verified() && !report.accounts_for_kept(), "{report}");
    assert!(matches!(report.kept[0].standing, Standing::Contradicts { .. }));
}

#[test]
fn a_bad_line_or_a_slow_clock_makes_no_other_log() {
    let mut story = Story::founded(OLD);
    let Story { ledger, staff } = &mut story;
    let witness = |name: &str| Witness {
        key: key(name).public().clone(),
        name: parse(name),
        statement: Statement::Consistent,
    };
    let witnessing = Witnessing {
        replays: Integer(0),
        threshold: Integer(2),
        witnesses: vec![witness("w/a"), witness("w/b")],
    };
    ledger.begin_group(60);
    let act = Act::Policy { policy: Policy { witnessing: Some(witnessing), ..policy() } };
    ledger.enact([&staff.anna, &staff.boris], act);
    ledger.begin_group(2 * HOUR_S);
    ledger.begin_group(HOUR_S);
    let (ledger, whole) = (&*ledger, ledger.bundle());
    let note = &whole.header.checkpoint;
    let ends = ends(ledger);
    let (from, before) = (ends[ends.len() - 2], ends[ends.len() - 3]);
    let early = prefix(ledger, before, OLD).header.checkpoint;
    let now = u64::try_from(ledger.now.unix()).unwrap();
    let line = |of: &str, name: &str, time: u64| cosign(of, name, &key(name), time).unwrap();
    let judged = |lines: &[String]| {
        let kept = [format!("{note}{}", lines.concat())];
        let against = Against { kept: &kept, ..Against::default() };
        audit(&whole.bytes()[..], ledger.id, against).unwrap().report
    };
    // A line that is the witness's under another checkpoint: anybody can put it there.
    let report = judged(&[line(&early, "w/a", now), line(note, "w/b", now)]);
    assert!(report.agrees_with_kept(), "{report}");
    let head = &report.kept[0];
    assert_eq!((&head.standing, head.faults.len(), head.cosigned.len()), (&Standing::Holds, 1, 1));
    assert!(head.is_doubtful() && head.to_string().contains("NOT what it says: w/a"), "{head}");
    // One clock, or one stolen key; and as many as policy demands.
    for (second, said) in [(now, "fewer witnesses than policy demands"), (0, "as many witnesses as policy")] {
        let report = judged(&[line(note, "w/a", 0), line(note, "w/b", second)]);
        assert!(report.accounts_for_kept() && !report.agrees_with_kept(), "{report}");
        let shown = report.to_string();
        assert!(shown.contains("w/a saw it at") && shown.contains(said), "{shown}");
        assert!(!shown.contains("CONTRADICTS"), "{shown}");
    }
    // Of before a part, the same.
    let (state, _) = kept(audit(&prefix(ledger, from, OLD).bytes()[..], ledger.id, Against::default()));
    let notes = [format!("{early}{}", line(&early, "w/a", 0))];
    let against = Against { kept: &notes, state: Some(read(&state, ledger.id)), ..Against::default() };
    let report = audit(&part(&whole, from).bytes()[..], ledger.id, against).unwrap().report;
    let group = match &report.kept[0].standing {
        Standing::Early { group, .. } => *group,
        _ => panic!("{report}"),
    };
    assert_eq!(group.plus(3 * HOUR_S), Some(ledger.now));
}

#[test]
fn checkpoints_and_records_of_before_a_part() {
    let (ledger, from, state, part) = continued(1);
    let ends = ends(&ledger);
    let mut frontier = Frontier::new();
    let mut roots = BTreeMap::new();
    for leaf in &ledger.leaves {
        frontier.append(leaf_hash(leaf));
        roots.insert(frontier.size(), frontier.root());
    }
    let note = |size: u64, root: Digest| {
        Checkpoint { origin: OLD.to_owned(), size, root }.sign(&ledger.checkpoint_key)
    };
    let mut notes: Vec<String> = ends.iter().map(|size| note(*size, roots[size])).collect();
    let good = notes.len();
    notes.push(note(ends[1], Digest::of("another")));
    notes.push(note(ledger.size() + 1, Digest::of("a newer one")));
    let digests: Vec<Digest> =
        ledger.leaves.iter().map(|leaf| Record::parse_leaf(leaf).unwrap().digest()).collect();
    let sought: HashSet<Digest> = digests.iter().copied().chain([Digest::of("none")]).collect();
    let mut seen = Vec::new();
    let mut see = |done, total| seen.push((done, total));
    let against = Against {
        observer: None,
        kept: &notes,
        progress: Some(&mut see),
        sought: sought.clone(),
        state: Some(read(&state, ledger.id)),
    };
    let Audited { report, found, .. } = audit(&part.bytes()[..], ledger.id, against).unwrap();
    assert!(report.is_verified(), "{report}");
    for (index, kept) in report.kept.iter().enumerate() {
        assert_eq!(kept.is_accounted_for(), index < good, "{kept}");
    }
    // In a part, what can still be sent again is known of before; in the whole, everything.
    let position = |digest: &Digest| digests.iter().position(|other| other == digest).unwrap() as u64;
    assert!(found.iter().all(|(digest, at)| position(digest) == *at));
    assert!(digests[from as usize..].iter().all(|digest| found.contains_key(digest)));
    assert!(found.values().any(|at| *at < from) && found.len() < digests.len());
    let against = Against { sought, ..Against::default() };
    let whole = audit(&ledger.bundle().bytes()[..], ledger.id, against).unwrap();
    assert_eq!(whole.found, digests.iter().map(|digest| (*digest, position(digest))).collect());
    // What was verified before is counted from the beginning.
    assert_eq!(seen.last(), Some(&(ledger.size(), ledger.size())));
    assert!(seen.is_sorted() && seen.iter().all(|(done, _)| *done >= from), "{seen:?}");
}

#[test]
fn nothing_is_kept_of_what_is_refuted_or_was_restored() {
    let Story { mut ledger, .. } = Story::whole();
    let mut bundle = ledger.bundle();
    bundle.balances.pop();
    bundle.seal(&ledger);
    let audited = audit(&bundle.bytes()[..], ledger.id, Against::default()).unwrap();
    assert!(!audited.report.is_verified() && audited.state.is_none());
    // A log that ends within a group goes on with a group all the same.
    let size = ledger.size();
    ledger.begin_group(HOUR_S);
    let within = prefix(&ledger, size + 1, OLD);
    let (state, _) = kept(audit(&within.bytes()[..], ledger.id, Against::default()));
    let act = Act::Reopen {
        checkpoint: within.header.checkpoint.clone(),
        continued: Basis { root: within.checkpoint("").root, size: Integer(size + 1) },
        keys: None,
        origin: parse(NEW),
    };
    let record = ledger.sign(&Staff::new().anna, Body::Proposal(Proposal { act }));
    ledger.force(&record);
    assert_eq!(refuted(&state, &part(&ledger.bundle(), size + 1), ledger.id).code, "outside_group");
}
