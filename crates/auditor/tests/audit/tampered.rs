//! A bundle that somebody changed on its way, without any key or with the ledger's checkpoint key.

use auditor::{Finding, Verdict, verify};
use records::Kind;
use records::bundle::{BalanceLine, balance_line};
use records::scalar::Integer;
use signing::digest::Digest;
use signing::dsse::Envelope;
use translog::checkpoint::Checkpoint;

use crate::ledger::{Bundle, Ledger, parse, usd};
use crate::story::Story;

/// The finding of what must be refuted.
pub fn refuted(bytes: &[u8], ledger: Digest) -> Finding {
    match verify(bytes, ledger).unwrap().verdict {
        Verdict::Refuted(finding) => finding,
        Verdict::Verified => panic!("it was verified"),
    }
}

/// Where and by which code a bundle is refuted: position, line, code.
fn outcome(bundle: &Bundle, ledger: Digest) -> (Option<u64>, Option<u64>, String) {
    let Finding { position, line, code, .. } = refuted(&bundle.bytes(), ledger);
    (position, line, code)
}

/// It is refuted at a record with this code.
#[track_caller]
pub fn refuted_at(bundle: &Bundle, ledger: Digest, position: u64, code: &str) {
    let line = bundle.line_of(position);
    assert_eq!(outcome(bundle, ledger), (Some(position), Some(line), code.to_owned()));
}

/// It is refuted at a line that holds no record, or at none.
#[track_caller]
fn refuted_at_line(bundle: &Bundle, ledger: Digest, line: Option<u64>, code: &str) {
    assert_eq!(outcome(bundle, ledger), (None, line, code.to_owned()));
}

fn whole() -> (Ledger, Bundle) {
    let Story { ledger, .. } = Story::whole();
    let bundle = ledger.bundle();
    (ledger, bundle)
}

#[test]
fn any_flipped_bit_of_a_record_is_found_at_the_record() {
    let (ledger, bundle) = whole();
    for position in (0..ledger.size()).step_by(3) {
        let length = bundle.leaves[position as usize].len();
        for byte in [0, 15, length / 3, length / 2, length - 70, length - 20, length - 1] {
            let mut tampered = bundle.clone();
            tampered.leaves[position as usize][byte] ^= 1;
            let finding = refuted(&tampered.bytes(), ledger.id);
            assert_eq!(finding.position, Some(position), "byte {byte}: {finding}");
        }
    }
}

#[test]
fn any_flipped_bit_before_the_records_is_found() {
    let (ledger, bundle) = whole();
    let lines = bundle.lines();
    for line in 0..=bundle.balances.len() {
        for byte in (0..lines[line].len() - 1).step_by(if line == 0 { 2 } else { 7 }) {
            let mut tampered = lines.clone();
            tampered[line][byte] ^= 1;
            refuted(&tampered.concat(), ledger.id);
        }
    }
}

#[test]
fn a_deleted_record_is_found_at_its_place_or_after() {
    let (ledger, bundle) = whole();
    // Without the last record it would be the same log, earlier.
    for position in 0..ledger.size() - 1 {
        let mut deleted = bundle.clone();
        deleted.leaves.remove(position as usize);
        deleted.seal(&ledger);
        let finding = refuted(&deleted.bytes(), ledger.id);
        assert!(finding.position.is_none_or(|found| found >= position), "{position}: {finding}");
    }
    let mut deleted = bundle;
    let acceptance = ledger.positions(Kind::Acceptance)[0];
    deleted.leaves.remove(acceptance as usize);
    deleted.seal(&ledger);
    refuted_at(&deleted, ledger.id, acceptance, "group_position");
}

#[test]
fn two_records_swapped() {
    let (ledger, bundle) = whole();
    for position in 0..ledger.size() as usize - 1 {
        let mut swapped = bundle.clone();
        swapped.leaves.swap(position, position + 1);
        swapped.seal(&ledger);
        let finding = refuted(&swapped.bytes(), ledger.id);
        assert!(finding.position.is_none_or(|found| found >= position as u64), "{position}: {finding}");
    }
    let mut swapped = bundle;
    let entry = ledger.positions(Kind::JournalEntry)[0];
    swapped.leaves.swap(entry as usize - 1, entry as usize);
    refuted_at(&swapped, ledger.id, entry - 1, "entry_unexpected");
}

#[test]
fn a_record_twice() {
    let (ledger, bundle) = whole();
    let twice = |position: u64| {
        let mut twice = bundle.clone();
        let leaf = twice.leaves[position as usize].clone();
        twice.leaves.insert(position as usize + 1, leaf);
        twice.seal(&ledger);
        twice
    };
    let screening = ledger.positions(Kind::Screening)[0];
    refuted_at(&twice(screening), ledger.id, screening + 1, "repeated");
    let entry = ledger.positions(Kind::JournalEntry)[0];
    refuted_at(&twice(entry), ledger.id, entry + 1, "entry_unexpected");
    let group = ledger.positions(Kind::Group)[3];
    refuted_at(&twice(group), ledger.id, group + 1, "group_position");
    refuted_at(&twice(0), ledger.id, 1, "outside_group");
    let lapse = ledger.positions(Kind::Lapse)[0];
    refuted_at(&twice(lapse), ledger.id, lapse + 1, "entry_missing");
}

#[test]
fn the_position_is_right_beyond_what_is_checked_at_once() {
    let mut story = Story::founded("safeconduct.test/log");
    while story.ledger.size() < 4200 {
        story.ledger.begin_group(60);
    }
    let mut bundle = story.ledger.bundle();
    let last_byte_of_the_signature = bundle.leaves[4150].len() - 10;
    bundle.leaves[4150][last_byte_of_the_signature] ^= 1;
    let finding = refuted(&bundle.bytes(), story.ledger.id);
    assert_eq!((finding.position, finding.line), (Some(4150), Some(bundle.line_of(4150))));
    bundle.leaves.remove(4150);
    bundle.seal(&story.ledger);
    refuted_at(&bundle, story.ledger.id, 4150, "group_position");
}

#[test]
fn records_in_another_encoding() {
    let (ledger, bundle) = whole();
    let mut tampered = bundle.clone();
    tampered.leaves[4].push(b' ');
    refuted_at(&tampered, ledger.id, 4, "envelope_not_canonical");
    let mut tampered = bundle.clone();
    tampered.leaves[4] = b"{}".to_vec();
    refuted_at(&tampered, ledger.id, 4, "envelope_field_missing");
    tampered.leaves[4] = vec![];
    refuted_at(&tampered, ledger.id, 4, "envelope_not_json");
    tampered.leaves[4] = vec![0xff; 66_000];
    refuted_at(&tampered, ledger.id, 4, "envelope_too_large");
    tampered.leaves[4].push(0xff);
    refuted_at(&tampered, ledger.id, 4, "line_too_long");
    // What is wrong before it is found first, although the line could not even be read.
    tampered.leaves[3][20] ^= 1;
    assert_eq!(refuted(&tampered.bytes(), ledger.id).position, Some(3));
}

#[test]
fn a_tail_cut_off() {
    let (ledger, bundle) = whole();
    // With the old checkpoint: the file is too short, or its header does not fit the checkpoint.
    let mut cut = bundle.clone();
    cut.leaves.pop();
    let finding = refuted(&cut.bytes(), ledger.id);
    assert_eq!((finding.position, finding.code.as_str()), (Some(ledger.size() - 1), "records_missing"));
    cut.header.records = Integer(ledger.size() - 1);
    cut.header.balances_at = cut.header.records;
    refuted_at_line(&cut, ledger.id, Some(1), "checkpoint_size");

    // With a new one, between a record and its entry.
    let entry = ledger.positions(Kind::JournalEntry)[5];
    let mut cut = bundle.clone();
    cut.leaves.truncate(entry as usize);
    cut.seal(&ledger);
    let finding = refuted(&cut.bytes(), ledger.id);
    assert_eq!((finding.position, finding.code.as_str()), (Some(entry), "cut_off"));

    // With a new one at the end of a group: then the balances are of a longer log, which is the only thing to see.
    let group = *ledger.positions(Kind::Group).last().unwrap();
    let mut cut = bundle;
    cut.leaves.truncate(group as usize);
    cut.seal(&ledger);
    let finding = refuted(&cut.bytes(), ledger.id);
    assert_eq!((finding.position, finding.code.as_str()), (None, "balance_differs"));
}

#[test]
fn a_file_cut_off_or_continued() {
    let (ledger, bundle) = whole();
    let bytes = bundle.bytes();
    let last = ledger.size() - 1;
    let of = |bytes: &[u8]| {
        let Finding { position, line, code, .. } = refuted(bytes, ledger.id);
        (position, line, code)
    };
    let lines = bundle.line_of(last);
    assert_eq!(of(&bytes[..bytes.len() - 1]), (Some(last), Some(lines), "line_unterminated".into()));
    assert_eq!(of(&bytes[..bytes.len() - 100]), (Some(last), Some(lines), "line_unterminated".into()));
    for tail in ["\n", "x", "{}\n"] {
        let longer = [&bytes, tail.as_bytes()].concat();
        assert_eq!(of(&longer), (None, Some(lines + 1), "trailing_data".into()));
    }
    let repeated = [bytes.as_slice(), &bundle.leaves[last as usize], b"\n"].concat();
    assert_eq!(of(&repeated), (None, Some(lines + 1), "trailing_data".into()));
    assert_eq!(of(b""), (None, None, "header_missing".into()));
    assert_eq!(of(b"\n"), (None, Some(1), "header_malformed".into()));
    assert_eq!(of(b"{"), (None, Some(1), "line_unterminated".into()));
    let header = bundle.lines().remove(0);
    assert_eq!(of(&header), (None, None, "balances_missing".into()));
    for cut in (1..bytes.len()).step_by(997) {
        refuted(&bytes[..cut], ledger.id);
    }
}

#[test]
fn counts_that_do_not_fit() {
    let (ledger, bundle) = whole();
    let changed = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = bundle.clone();
        change(&mut bundle);
        bundle
    };
    let more = |count: &mut Integer| count.0 += 1;
    let less = |count: &mut Integer| count.0 -= 1;

    let tampered = changed(&|bundle| more(&mut bundle.header.records));
    refuted_at_line(&tampered, ledger.id, Some(1), "checkpoint_size");
    let tampered = changed(&|bundle| less(&mut bundle.header.records));
    refuted_at_line(&tampered, ledger.id, Some(1), "balances_at_beyond");
    // The first record is then read as a balance, or the last balance as the first record.
    let tampered = changed(&|bundle| more(&mut bundle.header.balances));
    refuted_at_line(&tampered, ledger.id, Some(bundle.line_of(0)), "balance_malformed");
    let tampered = changed(&|bundle| less(&mut bundle.header.balances));
    let finding = refuted(&tampered.bytes(), ledger.id);
    assert_eq!(finding.position, Some(0));
    let tampered = changed(&|bundle| more(&mut bundle.header.balances_at));
    refuted_at_line(&tampered, ledger.id, Some(1), "balances_at_beyond");
    let tampered = changed(&|bundle| less(&mut bundle.header.balances_at));
    refuted_at_line(&tampered, ledger.id, Some(1), "balances_at_within_group");
    let tampered = changed(&|bundle| bundle.header.balances_at = Integer(0));
    refuted_at_line(&tampered, ledger.id, Some(1), "balances_at_within_group");
    let no_records = changed(&|bundle| {
        bundle.leaves.clear();
        bundle.balances.clear();
        bundle.seal(&ledger);
    });
    let finding = refuted(&no_records.bytes(), ledger.id);
    assert_eq!((finding.position, finding.code.as_str()), (Some(0), "other_ledger"));
}

#[test]
fn claimed_balances() {
    let (ledger, bundle) = whole();
    for index in 0..bundle.balances.len() {
        let line = Some(2 + index as u64);
        let mut altered = bundle.clone();
        let amount = &mut altered.balances[index].balance.amount;
        *amount = amount.checked_add(usd("0.01")).unwrap();
        refuted_at_line(&altered, ledger.id, line, "balance_differs");

        let mut altered = bundle.clone();
        altered.balances[index].balance.held = usd("12.34");
        refuted_at_line(&altered, ledger.id, line, "balance_differs");

        let mut dropped = bundle.clone();
        dropped.balances.remove(index);
        dropped.seal(&ledger);
        refuted_at_line(&dropped, ledger.id, Some(1), "balance_missing");

        let mut twice = bundle.clone();
        let line_twice = twice.balances[index].clone();
        twice.balances.insert(index, line_twice);
        twice.seal(&ledger);
        refuted_at_line(&twice, ledger.id, Some(3 + index as u64), "balance_order");
    }
    let mut extra = bundle.clone();
    let mut line = extra.balances[0].clone();
    line.key.fund = parse("zz");
    extra.balances.push(line);
    extra.seal(&ledger);
    refuted_at_line(&extra, ledger.id, Some(bundle.line_of(0)), "balance_differs");

    let mut unsorted = bundle.clone();
    unsorted.balances.reverse();
    refuted_at_line(&unsorted, ledger.id, Some(3), "balance_order");

    let mut lines = bundle.lines();
    let spaced = balance_line(&BalanceLine::clone(&bundle.balances[0])).replacen(':', ": ", 1);
    lines[1] = spaced.into_bytes();
    assert_eq!(refuted(&lines.concat(), ledger.id).code, "balance_malformed");
}

#[test]
fn another_ledger() {
    let (ledger, bundle) = whole();
    let other = Story::funded("safeconduct.test/other").ledger;
    assert_ne!(other.id, ledger.id);
    refuted_at_line(&bundle, other.id, Some(1), "other_ledger");
    let mut renamed = bundle.clone();
    renamed.header.ledger = other.id;
    refuted_at(&renamed, other.id, 0, "other_ledger");

    // A record of the other ledger, by persons who are enrolled in both with the same keys.
    let screening = ledger.positions(Kind::Screening)[0] as usize;
    let foreign = other.positions(Kind::Screening)[0] as usize;
    let mut mixed = bundle.clone();
    mixed.leaves[screening] = other.leaves[foreign].clone();
    refuted_at(&mixed, ledger.id, screening as u64, "wrong_ledger");
    let group = ledger.positions(Kind::Group)[2] as usize;
    let mut mixed = bundle;
    mixed.leaves[group] = other.leaves[group].clone();
    refuted_at(&mixed, ledger.id, group as u64, "group_ledger");
}

#[test]
fn checkpoints() {
    let (ledger, bundle) = whole();
    let with = |checkpoint: String| {
        let mut bundle = bundle.clone();
        bundle.header.checkpoint = checkpoint;
        bundle
    };
    let real = bundle.checkpoint(&ledger.origin);
    let refuted_with = |checkpoint: String, code: &str| {
        refuted_at_line(&with(checkpoint), ledger.id, Some(1), code);
    };
    refuted_with(real.sign(&ledger.record_key), "checkpoint_unsigned");
    refuted_with(real.body(), "checkpoint_malformed");
    refuted_with(String::new(), "checkpoint_malformed");
    let other_log = Checkpoint { origin: "safeconduct.test/other".into(), ..real.clone() };
    refuted_with(other_log.sign(&ledger.checkpoint_key), "checkpoint_origin");
    let other_root = Checkpoint { root: Digest::of("x"), ..real.clone() };
    refuted_with(other_root.sign(&ledger.checkpoint_key), "checkpoint_root");
    // The right text and key, and a signature over something else.
    let signed = other_root.sign(&ledger.checkpoint_key);
    let (_, signature) = signed.split_once("\n\n").unwrap();
    refuted_with(format!("{}\n{signature}", real.body()), "checkpoint_signature");
}

/// Several chunks of records, most of them by a key that has signed so many that it is prepared: what is wrong first in the
/// file is reported, however far the checks are ahead of the rules.
#[test]
fn a_long_log() {
    let mut story = Story::funded("safeconduct.test/log");
    let first = story.ledger.size();
    for _ in 0..2_500 {
        story.ledger.begin_group(1);
    }
    let Story { ledger, .. } = story;
    let bundle = ledger.bundle();
    let report = verify(&bundle.bytes()[..], ledger.id).unwrap();
    assert!(report.is_verified() && report.checked.groups > 2_500, "{report}");

    // The signature of the record beside it, which is by the same key.
    let forge = |bundle: &mut Bundle, position: u64| {
        let [at, beside] = [position, position - 1].map(|position| usize::try_from(position).unwrap());
        let other = Envelope::parse(&bundle.leaves[beside]).unwrap();
        let own = Envelope::parse(&bundle.leaves[at]).unwrap();
        bundle.leaves[at] = Envelope { signature: other.signature, ..own }.encode();
    };
    for position in [first + 100, first + 300, first + 1_500, ledger.size() - 1] {
        let mut bad = bundle.clone();
        forge(&mut bad, position);
        bad.seal(&ledger);
        refuted_at(&bad, ledger.id, position, "bad_signature");
    }

    // What the rules refuse in one chunk comes before what is no record in the next, or is not there at all.
    let mut bad = bundle;
    let dropped = first + 900;
    bad.leaves.remove(usize::try_from(dropped).unwrap());
    bad.leaves[usize::try_from(first).unwrap() + 1_400] = b"{}".to_vec();
    bad.seal(&ledger);
    refuted_at(&bad, ledger.id, dropped, "group_position");
    bad.leaves.truncate(usize::try_from(first).unwrap() + 1_300);
    refuted_at(&bad, ledger.id, dropped, "group_position");
}
