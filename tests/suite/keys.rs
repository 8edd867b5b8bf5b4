//! The page about keys, as it is written: the ceremony, rotation, loss and compromise.

use std::fs;

use tests::cluster::scratch;

use crate::readme;

/// What the page says without commands.
const FURTHER: &str = r#"
# A key that ended signs nothing more, an old one no more than a stolen one.
if as thief bank open --bank again --currency USD 2>>$W/refused.txt >>$W/refused.txt; then exit 1; fi
if as anna case open --agency north --entered 2026-03-01 --offer o 2>>$W/refused.txt >>$W/refused.txt; then exit 1; fi
if as karl propose policy --file config/demo/policy.json 2>>$W/refused.txt >>$W/refused.txt; then exit 1; fi
# A key ends once, and nothing that is not in the log yet can be declared.
if as karl-2 propose revoke --key $(key anna-spare) --reason again >$W/again.txt 2>&1; then exit 1; fi
if as karl-2 propose revoke --key $(key ada-spare) --since 99999 --reason early >$W/early.txt 2>&1; then exit 1; fi
if as karl-2 propose revoke --key $(key ada-spare) --since -1 --reason no >$W/no.txt 2>&1; then exit 1; fi
# What is proposed says since when, to whoever concurs.
as karl-2 --dry-run propose revoke --key $(key ada-spare) --since 7 --reason stolen >$W/words.txt
as ada --json audit $W/bundle.ndjson --ledger $LEDGER >$W/audit.json
as ada --json principals >$W/principals.json
# The new keys go on.
as anna-3 join --url $URL --ledger $LEDGER && as anna-3 bank open --bank main --currency USD
for who in karl-spare kira-spare kurt-spare; do as $who join --url $URL --ledger $LEDGER; done
ACT=$(as kurt-spare propose policy --file config/demo/policy.json --json | digest)
as kira-spare concur $ACT
"#;

#[test]
fn the_page_works_as_written() {
    let w = scratch("keys");
    readme::run(&["docs/operating/keys.md"], FURTHER, &w, "0");
    let text = |name: &str| fs::read_to_string(w.join(name)).unwrap();
    assert_eq!(text("refused.txt").matches("key_revoked").count(), 3, "{}", text("refused.txt"));
    assert!(text("again.txt").contains("act_invalid") && text("early.txt").contains("act_invalid"));
    assert!(text("early.txt").contains("not in the log yet"), "{}", text("early.txt"));
    assert!(text("words.txt").contains("all that it signed from position 7 on"), "{}", text("words.txt"));

    let audit: serde_json::Value = serde_json::from_str(&text("audit.json")).unwrap();
    let [reviewed] = &audit["checked"]["to_review"].as_array().unwrap()[..] else { panic!("{audit}") };
    assert_eq!((&reviewed["principal"], &reviewed["count"]), (&"anna".into(), &"1".into()), "{reviewed}");
    assert_eq!(reviewed["records"][0]["kind"], "bank-opening");
    // The thief's act, and not what Anna herself had signed with that key before.
    let position: u64 = reviewed["records"][0]["position"].as_str().unwrap().parse().unwrap();
    let since: u64 = reviewed["since"].as_str().unwrap().parse().unwrap();
    assert!(since <= position, "{reviewed}");
    let listed = format!("{position:>12} bank-opening");
    assert!(text("audit.txt").contains(&listed), "{}", text("audit.txt"));
    let report = text("report.txt");
    assert!(
        report.contains("To be reviewed: 1 record that key") && report.contains("bank-opening"),
        "{report}"
    );
}
