//! The page about keys, as it is written: the ceremony, rotation, loss and compromise.

use std::fs;

use tests::cluster::scratch;

use crate::readme;

/// What the page says without commands.
const FURTHER: &str = r#"
# A key for a time, so short that it is over when the rest is done.
as zoe key new --principal zoe && as zoe key possession --ledger $LEDGER --out $W/zoe.json
as karl-2 propose enrol --possession $W/zoe.json --roles director --expires $(date -u -d '+60 seconds' +%FT%TZ)
as kira concur --all-listed
as zoe join --url $URL --ledger $LEDGER
# A spare that waits reads where the head is, and nothing else; it signs its activation, and nothing else.
for who in ada kira kurt; do as $who-spare join --url $URL --ledger $LEDGER; done
as kira-spare checkpoint
if as ada-spare bundle --out $W/stolen.ndjson >$W/waits.txt 2>&1; then exit 1; fi
if as ada-spare principals >>$W/waits.txt 2>&1; then exit 1; fi
if as kira-spare propose policy --file config/demo/policy.json >>$W/waits.txt 2>&1; then exit 1; fi
# It activates itself once, in place of a key of its own principal; no other key does.
if as ada-spare activate --reason no --replaces $(key kira) >$W/another.txt 2>&1; then exit 1; fi
if as anna-3 activate --reason again >$W/twice.txt 2>&1; then exit 1; fi
if as ada activate --reason daily >>$W/twice.txt 2>&1; then exit 1; fi
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
as anna-3 bank open --bank main --currency USD
for who in kira kurt; do as $who-spare activate --reason 'to see that it works'; done
as ada principals >$W/principals.txt
ACT=$(as kurt-spare propose policy --file config/demo/policy.json --json | digest)
as kira-spare concur $ACT
until as zoe bank open --bank late --currency USD >$W/expired.txt 2>&1; grep -q key_expired $W/expired.txt; do sleep 1; done
# The log's time is that of its last group.
as anna-3 bank open --bank last --currency USD
as ada bundle --out $W/later.ndjson
as ada audit $W/later.ndjson --ledger $LEDGER >$W/later.txt
as ada audit report $W/later.ndjson --ledger $LEDGER >$W/later-report.txt
"#;

#[test]
fn the_page_works_as_written() {
    let w = scratch("keys");
    readme::run(&["docs/operating/keys.md"], FURTHER, &w, "0");
    let text = |name: &str| fs::read_to_string(w.join(name)).unwrap();
    assert_eq!(text("refused.txt").matches("key_revoked").count(), 3, "{}", text("refused.txt"));
    assert_eq!(text("waits.txt").matches("key_spare").count(), 3, "{}", text("waits.txt"));
    assert_eq!(text("twice.txt").matches("key_not_spare").count(), 2, "{}", text("twice.txt"));
    assert!(text("another.txt").contains("another key of its own principal"), "{}", text("another.txt"));
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

    // Who may see it is told of spares and of times.
    let principals = text("principals.txt");
    for (words, count) in [("a spare that waits", 2), ("a spare that was activated", 4), ("and replaced", 2)]
    {
        assert_eq!(principals.matches(words).count(), count, "{words} in {principals}");
    }
    assert!(principals.contains(", expires 20"), "{principals}");
    let later = text("later.txt");
    assert_eq!(later.matches("ACTIVATED spare key").count(), 4, "{later}");
    assert_eq!(later.matches("in place of").count(), 2, "{later}");
    let expired = later.lines().find(|line| line.starts_with("EXPIRED")).unwrap();
    assert!(expired.ends_with("of zoe") && !later.contains("EXPIRES"), "{later}");
    let report = text("later-report.txt");
    assert!(report.contains("Spare keys that were activated") && report.contains("zoe"), "{report}");
}
