//! New keys for the ledger, by the commands of `docs/operating/rekey.md` as an operator would paste them, after the README's; then
//! the loss of both keys; and the same where policy names witnesses.

use std::fs;
use std::path::Path;

use signing::digest::Digest;
use tests::cluster::scratch;

use crate::readme;
use crate::second;

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the page says without commands. A thief has the first keys; then the ledger's are lost, in all copies.
const FURTHER: &str = r#"
fails() { local why=$1; shift; if "$@" >$W/failed.txt 2>&1; then exit 1; fi; grep -qF "$why" $W/failed.txt || { cat $W/failed.txt; exit 1; }; }
stop
# The old keys do not serve, and say which do.
mv $S/keys $S/keys.right && cp -a $S/keys.before-* $S/keys
fails "the ledger's keys are $(sed -n 's/^record key *//p' $W/next-keys.txt) for records" \
  target/debug/safeconduct serve --data $S --listen 127.0.0.1:0
rm -r $S/keys $S/keys.right $W/next-keys
target/debug/safeconduct service-keys new --out $W/third-keys >$W/third-keys.txt
target/debug/safeconduct service-keys new --out $W/other-keys
target/debug/safeconduct restore --rekey --data $S --ledger $LEDGER --register $S/register.json | tail -1
fails 'is not served: custodians are to give' target/debug/safeconduct serve --data $S --listen 127.0.0.1:0
as karl --dry-run reopening propose $SEEN --origin ledger.example/3 --keys $W/third-keys/public.json --out $W/none.json >$W/words.txt
for id in $(sed -n 's/^.* key *//p' $W/third-keys.txt); do grep -q $id $W/words.txt; done
as karl reopening propose $SEEN --origin ledger.example/3 --keys $W/third-keys/public.json --out $W/proposal-3.json
as kira reopening concur $W/proposal-3.json $SEEN --out $W/concurrence-3.json
ACTS="$W/proposal-3.json $W/concurrence-3.json" R="--data $S"
fails 'with --keys DIR' target/debug/safeconduct reopen $R $ACTS
fails 'the proposal gives the ledger the keys' target/debug/safeconduct reopen $R --keys $W/other-keys $ACTS
fails 'fewer custodians than the quorum' target/debug/safeconduct reopen $R --keys $W/third-keys $W/proposal-3.json
fails 'has no keys' target/debug/safeconduct reopen $R --keys $W/nowhere $ACTS
test ! -e $S/keys
# Cut short after everything was signed, and repeated: the very head that was signed.
N=$(sed -n 2p $S/newest-head.txt)
mkdir -p $S/keys && mkdir -p $S/keys.before-$N/in-the-way
fails 'cannot keep the keys of before' target/debug/safeconduct reopen $R --keys $W/third-keys $ACTS
signed() { grep -o '"checkpoint":"ledger.example/3[^"]*"' $S/register.json | sort -u; }
signed >$W/signed-once
fails 'is not served' target/debug/safeconduct serve --data $S --listen 127.0.0.1:0
rm -r $S/keys.before-$N
target/debug/safeconduct reopen $R --keys $W/third-keys $ACTS
signed | diff - $W/signed-once
serve --data $S
for who in anna ada north paul; do
  for file in $(ls -tr $S/reopened-at-*.json); do as $who reopening accept $file 2>/dev/null || true; done
done
as anna case open --agency north --entered 2026-03-03 --offer new-life
for receipt in $W/anna/receipts/*; do as anna receipt verify $receipt; done
as north agency cases
as ada bundle --since-state $W/ada-state --out $W/since-3.ndjson
as ada audit $W/since-3.ndjson --ledger $LEDGER --state $W/ada-state
as ada bundle --out $W/last.ndjson
as ada audit $W/last.ndjson --ledger $LEDGER --checkpoint $W/ada-before
as ada pack create $W/last.ndjson --ledger $LEDGER --no-cases --checkpoint $W/ada-before --out $W/pack.ndjson
as ada pack verify $W/pack.ndjson --ledger $LEDGER --checkpoint $W/ada-before
echo "LEDGER=$LEDGER"
"#;

#[test]
fn the_ledger_gets_new_keys_and_outlives_the_loss_of_both() {
    let w = scratch("rekey");
    let port = crate::recovery::free_port();
    let (said, errors) = readme::run(&["README.md", "docs/operating/rekey.md"], FURTHER, &w, &port);

    let rekeyed = text(&w.join("rekeyed.txt"));
    assert!(rekeyed.contains("VERIFIED") && rekeyed.contains("\nledger.example/2\n"), "{rekeyed}");
    assert_eq!(said.matches("The ledger has new keys: ").count(), 5 + 4 + 1, "{said}");
    assert_eq!(said.matches("No record is known to be lost.").count(), 5 + 4 + 1, "{said}");
    assert!(
        errors.contains("ALARM") && errors.contains("If the custodians gave the ledger new keys"),
        "{errors}"
    );
    assert!(!said.contains("CONTRADICTS") && !said.contains("LOST"), "{said}");
    assert!(text(&w.join("after.txt")).contains("the log begins with it"));

    // Both verifiers accept the log, and refuse it with any line of it changed.
    let ledger: Digest = said.lines().last().unwrap().strip_prefix("LEDGER=").unwrap().parse().unwrap();
    let bundle = second::forgery::Bundle::of(&text(&w.join("last.ndjson")));
    let mut bundles = vec![("as it was exported (sound)".to_owned(), bundle.text().into_bytes())];
    bundles.extend(second::forgery::each_line(&bundle));
    assert!(second::refuted(&bundles, ledger) >= 50);
}

/// A policy with two witnesses, of whom one replays, is in force: what is cited has to be cosigned by both.
const WITNESSED: &str = r#"
fails() { local why=$1; shift; if "$@" >$W/failed.txt 2>&1; then exit 1; fi; grep -qF "$why" $W/failed.txt || { cat $W/failed.txt; exit 1; }; }
S=$W/service
as anna receipt refresh
as anna case open --agency north --entered 2026-03-02 --offer new-life
OLD=$(ls -t $W/anna/receipts/* | head -1)
kill $SERVICE && wait $SERVICE
target/debug/safeconduct service-keys new --out $W/next-keys
target/debug/safeconduct restore --rekey --data $S --ledger $LEDGER --register $S/register.json
# The register's own head counts for nothing, whoever signs for it; only a custodian who cites what is cosigned comes through.
sed '/^$/q' $S/newest-head.txt >$W/uncosigned.txt && sed -n '/^$/{n;p;q}' $S/newest-head.txt >>$W/uncosigned.txt
fails 'this home keeps no cosigned checkpoint' as karl reopening propose --restored $S/restored.ndjson \
  --checkpoint $W/uncosigned.txt --origin ledger.example/2 --keys $W/next-keys/public.json --out $W/none.json
SEEN="--restored $S/restored.ndjson --checkpoint $S/newest-head.txt"
as karl reopening propose $SEEN --origin ledger.example/2 --keys $W/next-keys/public.json --out $W/proposal.json
as kira reopening concur $W/proposal.json $SEEN --out $W/concurrence.json
target/debug/safeconduct reopen --data $S --keys $W/next-keys $W/proposal.json $W/concurrence.json
again() {
  serve --data $S --witness witness.example/ada=$(at $W/first.txt) --witness witness.example/ada-replay=$(at $W/second.txt)
}
again
for who in ada anna; do as $who reopening accept $S/reopened-at-*.json; done
kill $FIRST $SECOND && wait $FIRST $SECOND
rm $W/first.txt $W/second.txt
witness $W/first.txt && FIRST=$WITNESS
witness $W/second.txt --replay && SECOND=$WITNESS
kill $SERVICE && wait $SERVICE
again
as anna case open --agency north --entered 2026-03-03 --offer new-life
NEW=$(ls -t $W/anna/receipts/* | head -1)
until as anna receipt verify $NEW; do sleep 1; as anna receipt refresh || true; done
as anna receipt verify $OLD
as ada bundle --out $W/last.ndjson
as ada audit $W/last.ndjson --ledger $LEDGER --checkpoint $NEW | tee $W/audited.txt
"#;

#[test]
fn with_witnesses_a_cosigned_head_is_cited_and_they_follow() {
    let w = scratch("rekey-witnessed");
    let port = crate::recovery::free_port();
    let (said, _) = readme::run(&["README.md", "docs/operating/witness.md"], WITNESSED, &w, &port);
    assert_eq!(said.matches("The ledger has new keys: ").count(), 2, "{said}");
    let audited = text(&w.join("audited.txt"));
    assert!(audited.contains("replayed and cosigned by witness.example/ada-replay"), "{audited}");
}
