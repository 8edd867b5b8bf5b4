//! Backup, restore and reopening, by the commands of `docs/operating/backup.md` as an operator would paste them, after the
//! README's: with the real program and PostgreSQL's own tools.

mod external;

use std::fs;
use std::path::Path;

use auditor::Standing;
use signing::digest::Digest;
use tests::cluster::scratch;

use crate::readme;
use crate::second;

/// A number of the port that nobody uses now.
pub(crate) fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the page says without commands: an undisturbed database is verified where it is; a lost register is a reason to
/// reopen, without a loss; what a killed server had not archived is found in its own WAL.
const FURTHER: &str = r#"
stop && mv $W/register.json $W/register.gone
target/debug/safeconduct restore --data $B --ledger $LEDGER --register $W/register.gone | grep 'Nothing that is known'
if target/debug/safeconduct restore --data $B --ledger $LEDGER --checkpoint $W/ada/checkpoint >$W/unknown.txt; then exit 1; fi
tail -1 $W/unknown.txt
SEEN="--restored $B/restored.ndjson --checkpoint $B/newest-head.txt"
as karl reopening propose $SEEN --origin ledger.example/3 --out $W/proposal.json
as kira reopening concur $W/proposal.json $SEEN --out $W/concurrence.json
R="--data $B --register $W/register.json"
if target/debug/safeconduct reopen $R $W/proposal.json; then exit 1; fi
target/debug/safeconduct reopen $R $W/concurrence.json $W/proposal.json
serve $R --archive $W/archive-4
# A witness in ada's home cosigned more than the custodians cite.
as ada witness key --name witness.example/ada
cp $W/ada/witness/cosigned.json $W/nothing.json
printf '{"ledger.example/2":{"note":"","root":"%064d","size":"9999"}}' 7 >$W/ada/witness/cosigned.json
if as ada reopening accept $(ls -t $B/reopened-at-*.json | head -1) 2>$W/witnessed.txt; then exit 1; fi
mv $W/nothing.json $W/ada/witness/cosigned.json
for who in ada anna; do as $who reopening accept $(ls -t $B/reopened-at-*.json | head -1); done
target/debug/safeconduct backup --data $B --archive $W/archive-4
as anna case open --agency north --entered 2026-03-06 --offer new-life
POSTMASTER=$(head -1 $B/pg/postmaster.pid)
kill -9 $SERVICE $POSTMASTER
while kill -0 $POSTMASTER 2>/dev/null; do sleep 0.1; done
L="--archive $W/archive-4 --to latest --ledger $LEDGER --register $W/register.json"
if target/debug/safeconduct restore $L --data $W/short >$W/short.txt; then exit 1; fi
target/debug/safeconduct restore $L --data $W/whole --lost-wal $B/pg/pg_wal | grep 'Nothing that is known'
for receipt in $W/anna/receipts/*; do as anna receipt verify $receipt; done | grep -c 'and is LOST'
cp -a $W/service/keys $W/whole/
serve --data $W/whole --register $W/register.json
"#;

#[test]
fn a_ledger_comes_back_and_never_signs_one_size_twice() {
    let w = scratch("recovery");
    let further = format!("{FURTHER}echo \"LEDGER=$LEDGER\"\n");
    let (said, errors) = readme::run(&["README.md", "docs/operating/backup.md"], &further, &w, &free_port());

    // What was restored without a loss was verified, and goes on under its origin.
    let restored = text(&w.join("restored.txt"));
    assert!(restored.contains("VERIFIED") && restored.contains("the log begins with it"), "{restored}");

    // What was lost is said exactly, and is not served.
    let behind = text(&w.join("behind.txt"));
    let lost = behind.lines().last().unwrap();
    let number = |before: &str, text: &str| -> u64 {
        let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("no '{before}' in {text}"));
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let (size, signed) = (number("it has ", lost), number("records, and ", lost));
    // One opening of a case is a group of two records.
    assert_eq!((signed - size, number("are lost, ", lost)), (2, 2), "{lost}");
    assert!(errors.contains("is not served: it has"), "{errors}");

    // The machine that kept the lost head refuses until it has verified the reopening, and learns what it lost.
    assert!(errors.contains("ALARM") && errors.contains("ledger.example/2"), "{errors}");
    let reopened = format!("The log was reopened at {size} by karl and kira, citing head {signed}");
    assert_eq!(said.matches(&reopened).count(), 5, "{said}");
    assert!(said.contains("case-opening"), "{said}");

    // What FURTHER did.
    assert_eq!(said.matches("Nothing that is known to have been signed is lost").count(), 3, "{said}");
    assert!(text(&w.join("unknown.txt")).contains("without the register nobody knows"), "{said}");
    assert!(text(&w.join("witnessed.txt")).contains("or what a witness here cosigned"), "{said}");
    assert!(text(&w.join("short.txt")).contains("2 in number"), "{said}");
    assert!(errors.contains("fewer custodians than the quorum"), "{errors}");
    assert!(said.lines().any(|line| line == "1"), "one receipt is of a record that is lost: {said}");

    // The old register is kept, and says what the new log cites.
    let old = text(&w.join(format!("register.json.before-{size}")));
    assert!(old.contains(&format!("\"size\":{signed}")), "{old}");
    assert!(text(&w.join("register.gone")).contains("ledger.example/2"));
    assert!(text(&w.join("register.json")).contains("ledger.example/3"));

    // Both verifiers accept the new log; ours tells the auditor with the old head what became of it.
    let ledger: Digest = said.lines().last().unwrap().strip_prefix("LEDGER=").unwrap().parse().unwrap();
    let bundle = fs::read(w.join("bundle-2.ndjson")).unwrap();
    let kept = [text(&w.join("ada-kept"))];
    let report = auditor::verify_against(&bundle[..], ledger, &kept).unwrap();
    assert!(report.accounts_for_kept(), "{report}");
    let lost = Standing::Lost { from: size, cited: signed, origin: "ledger.example/2".to_owned() };
    assert_eq!(report.kept[0].standing, lost);
    assert!(said.contains(&format!("the log was reopened at {size} by a quorum")), "{said}");
    let bundle = second::forgery::Bundle::of(&String::from_utf8(bundle).unwrap());
    let mut bundles = vec![("as it was exported (sound)".to_owned(), bundle.text().into_bytes())];
    bundles.extend(second::forgery::each_line(&bundle));
    assert!(second::refuted(&bundles, ledger) >= 50);
}
