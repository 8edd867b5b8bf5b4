//! Tampering like an insider, with a real bundle and a real database. Who has the ledger's two keys signs again whatever the
//! ledger signs: groups with their roots, entries, lapses, the checkpoint; what people signed stays as it was, except
//! where their keys were stolen too. So every forgery is consistent up to the record where it must be found.
//!
//! `docs/threat-model.md` lists the same attacks, with who notices, how, and when.

mod forgeries;
mod ledger;

use std::collections::{BTreeSet, HashMap};

use auditor::{Standing, Verdict};
use signing::keys::SecretKey;
use tests::binary::root;
use tests::people::key;

use crate::second;
use crate::second::forgery::{Bundle, Forged, signed};
use forgeries::{FORGERIES, Forge};
use ledger::Ledger;

/// What somebody makes of a bundle: the attack; whose keys he has besides the ledger's; where it is found, as the number of a
/// record among those of its kind in what he made (`last` of them, `end` of the log, `-` for no position); and the code.
/// `sound` is what the log alone does not betray: `kept` says how it stands to a checkpoint that somebody kept.
const BUNDLE: &str = "
an amount in a request                                 |                    | request 0           | bad_signature
an amount in an entry                                  |                    | entry 3             | entry_altered
an amount, by the preparer                             | anna               | request 0           | amount_not_offered
an amount, by an approver                              | boris              | approval 0          | effect_differs
an amount, later, by who reported it                   | rita               | request 0           | basis_unknown
a balance                                              |                    | -                   | balance_differs
a balance left out                                     |                    | -                   | balance_missing
two approvals in each other's place                    |                    | approval 0          | basis_unknown
an entry before what causes it                         |                    | release 0 - 1       | entry_unexpected
an instruction deleted, with its entry                 |                    | bank-rejection 0    | basis_unknown
an instruction deleted, its entry kept                 |                    | bank-rejection 0 - 2 | entry_unexpected
a group deleted, with all that is in it                |                    | proposal 14         | basis_unknown
an entry inserted for which nobody signed              |                    | entry last          | entry_unexpected
a payment inserted with too few approvals              | boris              | entry last          | entry_unexpected
an approval inserted, signed by the ledger             |                    | approval last       | key_unknown
an approval inserted, in another's name                | paul               | approval last       | key_not_signers
an approval moved, as it stands                        |                    | approval last       | repeated
an approval moved, its effect rewritten                |                    | approval last       | bad_signature
an approval moved by its approver                      | boris              | approval last       | effect_differs
an entry that cites another's approval                 |                    | entry 10            | entry_altered
an approver stripped from an entry                     |                    | entry 10            | entry_altered
an approver stripped from the log                      | dora               | approval 0 + 1      | entry_unexpected
an approver twice, by two keys                         | boris, boris's second | approval last    | already_approved
a preparer who approves                                | anna               | approval last       | own_request
a policy raised by one custodian                       | karl, boris        | approval last       | policy_changed
a policy raised by one custodian, twice                | karl               | concurrence last    | already_concurred
a policy raised, the ledger concurring                 | karl               | concurrence last    | key_unknown
the founding record signed again                       | karl               | 0                   | other_ledger
an officer's key replaced where it was enrolled        |                    | proposal 1          | bad_signature
an officer's key replaced by the custodian             | karl               | concurrence 1       | proposal_unknown
a further key of an officer's, by one custodian        | karl, mallory      | approval last       | key_unknown
a key used within its cooling-off                      | karl, kira, mallory | approval last      | key_not_yet_valid
a key used after it was revoked                        | dora               | approval last       | key_revoked
a key used after its owner's spare ended it            | rolf's second      | bank-fee last       | key_revoked
a key used after it expired                            | boris's old        | approval last       | key_expired
a spare used without its activation                    | boris's waiting    | approval last       | key_spare
an activation forged by the ledger                     |                    | activation last     | key_unknown
a group's time moved back                              |                    | group 20            | group_time
a group's time moved on                                |                    | group 21            | pad_missing
all times moved on from a group                        |                    | group 21            | pad_missing
the clock advanced past a cooling-off, and set back    | karl, kira, mallory | group last         | group_time
the clock advanced past a cooling-off, and left there  | karl, kira, mallory | -                  | sound
an entry omitted                                       |                    | approval 1 + 1      | entry_missing
a lapse before its time                                |                    | lapse last          | lapse_not_due
a lapse not performed                                  |                    | end                 | lapse_missing
a lapse deleted, with its entry                        |                    | request 8 - 1       | pad_missing
the tail cut off before an entry                       |                    | end                 | cut_off
the tail cut off, its balances kept                    |                    | -                   | balance_differs
the tail cut off                                       |                    | -                   | kept: missing
two histories                                          |                    | -                   | kept: contradicts
a record of another ledger                             |                    | case-opening last   | wrong_ledger
a group of another ledger                              |                    | group last          | group_ledger
an instruction kept back until after a change of policy |                   | approval last       | policy_changed
an instruction kept back until it ran out              |                    | approval last       | expired
new keys that nobody gave the ledger                   | the ledger's next records | group last   | rekey_incomplete
new keys by one custodian                              | karl, the ledger's next records | end    | rekey_incomplete
new keys, and another in the group                     | karl, kira, mallory | proposal last      | rekey_incomplete
new keys, citing a head that nobody cosigned           | karl, kira, the ledger's next records | proposal last | act_invalid
a group by the old key after new ones                  | karl, kira, the ledger's next records | group last | not_the_ledgers_key
";

/// The rest, each with the test that does it with a real service, its database or its files.
const DATABASE: &str = "
any single byte of a bundle                            | tampered::bundle::a_bundle_with_one_byte_changed_is_refuted
balances edited                                        | tampered::state::balances_that_are_not_those_of_the_entries
a balance edited, and spent                            | tampered::state::money_that_was_never_received
entities edited: the policy                            | tampered::state::a_policy_that_wants_fewer_approvers
entities edited: an approval                           | tampered::state::an_approval_that_nobody_gave
entities edited: a role                                | tampered::state::a_role_that_nobody_was_given
entities edited: a key                                 | tampered::state::a_key_that_nobody_enrolled
entities edited: a request                             | tampered::state::a_request_that_was_made_smaller
entities edited: a case                                | tampered::state::a_case_that_nobody_cleared
entities edited: an obligation                         | tampered::state::an_obligation_that_was_forgotten
postings deleted                                       | tampered::state::postings_that_were_deleted
a record's payload, before its head was signed         | tampered::log::a_record_changed_before_its_head_was_signed_is_never_signed_over
a record's payload, signature, key or kind, afterwards | tampered::log::a_record_changed_after_its_head_was_signed_refutes_the_bundle
a record's payload, read again for a tile              | tampered::log::a_changed_record_that_the_publisher_reads_again_stops_the_log
the head's root or size                                | tampered::log::a_head_that_somebody_changed_is_never_signed
the head's time                                        | tampered::log::a_head_of_a_later_time_takes_nothing_until_then
a checkpoint's note                                    | tampered::log::a_forged_checkpoint_refutes_the_bundle
the database of yesterday                              | tampered::log::a_database_from_yesterday_stops_every_service
a fork that the ledger's keys continued                | tampered::log::a_longer_log_that_leaves_something_out_stops_every_service
the register deleted, damaged or another's             | tampered::log::without_its_register_a_service_writes_nothing
the service's password, to change what was appended    | tampered::roles::what_was_appended_can_be_changed_by_no_role_that_can_log_in
the service's password, to post what does not balance  | tampered::roles::the_service_s_role_cannot_post_what_does_not_balance
two histories, each to a witness                       | witness::two_histories_get_one_witness_only
the service's clock moved far on                       | life::clock::a_clock_that_is_far_ahead_writes_nothing_until_it_is_right
the service's clock moved back                         | life::clock::a_clock_that_is_behind_writes_nothing_until_it_is_right
";

fn rows(table: &'static str) -> Vec<Vec<&'static str>> {
    let cells = |row: &'static str| row.split('|').map(str::trim).collect();
    table.lines().filter(|row| !row.is_empty()).map(cells).collect()
}

/// The position that a cell names, in a log of these records.
fn position(cell: &str, records: &[String]) -> Option<u64> {
    let kinds: Vec<String> = records.iter().map(|record| second::forgery::Draft::of(record).kind).collect();
    let mut words = cell.split(' ');
    let at = match (words.next()?, words.next()) {
        ("-", _) => return None,
        ("end", _) => records.len(),
        (number, None) => number.parse().unwrap(),
        (kind, Some(which)) => {
            let of_kind: Vec<usize> = (0..kinds.len()).filter(|at| kinds[*at] == kind).collect();
            let last = of_kind.len() - 1;
            of_kind[if which == "last" { last } else { which.parse().unwrap() }]
        }
    };
    let by: usize = words.clone().nth(1).map_or(0, |number| number.parse().unwrap());
    let at = match words.next() {
        Some("-") => at - by,
        Some("+") => at + by,
        _ => at,
    };
    Some(at as u64)
}

/// What somebody with these keys makes of the ledger.
fn forge(real: &Ledger, forge: Forge, stolen: &str) -> Bundle {
    let seeds = stolen.split(", ").filter(|seed| !seed.is_empty()).chain(["the ledger's records"]);
    let keys: HashMap<String, SecretKey> =
        seeds.map(key).map(|key| (key.public().id().to_string(), key)).collect();
    match forge {
        Forge::Log(edit) => {
            let mut drafts = real.drafts();
            edit(real, &mut drafts);
            // What was claimed of the log that was is not worth claiming of another.
            let records = signed(&real.bundle.records[0], drafts, &keys);
            Bundle { balances: vec![], records, ..real.bundle.clone() }
        }
        Forge::Bundle(edit) => {
            let mut bundle = real.bundle.clone();
            edit(&mut bundle, &keys);
            bundle
        }
    }
}

#[test]
fn what_an_insider_makes_of_a_bundle_is_refuted_where_it_is_wrong() {
    let real = Ledger::written();
    let rows = rows(BUNDLE);
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, FORGERIES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "the table is complete");
    let (mut forged, mut surprises): (Vec<Forged>, Vec<String>) = (vec![], vec![]);
    for (row, (name, edit)) in rows.iter().zip(FORGERIES) {
        let [_, stolen, place, code] = row[..] else { panic!("{row:?}") };
        let bundle = forge(&real, *edit, stolen);
        let (place, text) = (position(place, &bundle.records), bundle.sealed());
        let kept = [real.kept.clone()];
        let report = auditor::verify_against(text.as_bytes(), real.id, &kept).unwrap();
        let found = match (&report.verdict, report.kept.first().map(|kept| &kept.standing)) {
            (Verdict::Refuted(finding), _) => (finding.position, finding.code.clone()),
            (_, Some(Standing::Missing { .. })) => (None, "kept: missing".to_owned()),
            // What goes on from the kept checkpoint does not contradict it.
            (_, Some(Standing::Contradicts { .. })) => (None, "kept: contradicts".to_owned()),
            _ => (None, "sound".to_owned()),
        };
        if found != (place, code.to_owned()) {
            surprises.push(format!("{name}: {found:?}, not {:?}: {:?}", (place, code), report.verdict));
        }
        let is_sound = report.is_verified();
        forged
            .push((if is_sound { format!("{name} (sound)") } else { (*name).to_owned() }, text.into_bytes()));
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    // A verifier that shares no code finds the same.
    second::refuted(&forged, real.id);
}

/// The tests of this binary that a page or a table names are there.
fn is_a_test(path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").unwrap();
    let file = root().join("tests/suite").join(module.replace("::", "/")).with_extension("rs");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.contains(&format!("#[test]\nfn {name}()"))
}

/// The attacks that the threat model lists, each with its codes.
fn listed() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Tampering by an insider")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.map(|row| row.split(" | ").map(|cell| cell.trim_end_matches(" |").to_owned()));
    let rows: Vec<Vec<String>> = rows.map(Iterator::collect).collect();
    assert!(rows.iter().all(|row| row.len() == 3 && row.iter().all(|cell| !cell.is_empty())), "{rows:?}");
    rows.into_iter().skip(1).map(|row| (row[0].clone(), row[1].clone())).collect()
}

#[test]
fn the_threat_model_lists_the_same_attacks() {
    let listed = listed();
    let bundle = rows(BUNDLE).into_iter().map(|row| (row[0], Some(row[3])));
    let database = rows(DATABASE).into_iter().map(|row| {
        assert!(is_a_test(row[1]), "there is no test {}", row[1]);
        (row[0], None)
    });
    let ours: Vec<(&str, Option<&str>)> = bundle.chain(database).collect();
    let names: Vec<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ours.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "one stands twice");
    for ((name, noticed), (_, code)) in listed.iter().zip(&ours) {
        let Some(code) = code.filter(|code| *code != "sound" && !code.starts_with("kept")) else { continue };
        assert!(
            noticed.contains(&format!("`{code}`")),
            "{name} is found by {code}, and the page says: {noticed}"
        );
    }
}
