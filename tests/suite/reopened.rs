//! Homes and witnesses after a reopening that lost records, by the commands that people use.

use std::fs;

use tests::cluster::scratch;

use crate::readme;
use crate::recovery::free_port;

/// A copy of the stopped service is all that is left of the ledger. Whoever was ahead of it goes on under the new origin.
const LOSS: &str = r#"
stop() { kill $SERVICE; wait $SERVICE; }
serve() {
  rm -f $W/service.txt
  target/debug/safeconduct serve --listen 127.0.0.1:${PORT:-8440} "$@" >$W/service.txt 2>>$W/service.log & SERVICE=$!
  until grep -qs ready $W/service.txt; do kill -0 $SERVICE; sleep 0.2; done
}
witness() {
  rm -f $W/witness.txt
  target/debug/safeconduct --home $W/ada witness --replay --listen 127.0.0.1:0 >$W/witness.txt 2>>$W/witness.log & WITNESS=$!
  until grep -qs ready $W/witness.txt; do kill -0 $WITNESS; sleep 0.2; done
  kill $WITNESS && wait $WITNESS
}
refused() { if target/debug/safeconduct "$@"; then exit 1; fi; }
# A custodian has got another key since the founding, and stands behind the reopening with it.
as kira-2 key new --principal kira
as kira-2 key possession --ledger $LEDGER --out $W/kira-2.json
as karl propose enrol --possession $W/kira-2.json --roles custodian
as kira concur --all-listed
as kira-2 join --url $URL --ledger $LEDGER
EARLY=$(ls -t $W/anna/receipts/* | head -1)
as ada witness key --name witness.example/ada --replay
stop && cp -a $W/service $W/behind && serve --data $W/service
as anna case open --agency north --entered 2026-03-02 --offer new-life
LATE=$(ls -t $W/anna/receipts/* | head -1)
witness
# Of what karl's machine knows, only its witness has seen the newest head.
cp $W/karl/checkpoint $W/karl-before && as karl checkpoint && as karl witness key --name witness.example/karl
cp $W/karl/checkpoint $W/newest && cp $W/karl-before $W/karl/checkpoint
python3 - $W/newest $W/karl/witness/cosigned.json <<'END'
import base64, json, sys
note = open(sys.argv[1]).read()
origin, size, root = note.split("\n")[:3]
last = {"note": note, "root": base64.b64decode(root).hex(), "size": size}
json.dump({origin: last}, open(sys.argv[2], "w"))
END
stop && mv $W/service/register.json $W/register.json
B=$W/behind
refused restore --data $B --ledger $LEDGER --register $W/register.json >$W/restored.txt
as karl reopening propose --restored $B/restored.ndjson --origin ledger.example/2 --out $W/proposal.json
as kira-2 reopening concur $W/proposal.json --restored $B/restored.ndjson --checkpoint $W/newest --out $W/concurrence.json
R="--data $B --register $W/register.json $W/proposal.json $W/concurrence.json"
# Without the ledger's keys it makes none.
mv $B/keys $W/keys && refused reopen $R 2>$W/keyless.txt
test ! -e $B/keys && mv $W/keys $B/keys
target/debug/safeconduct reopen $R
# Cut short at its end, it can be repeated.
echo 'it was cut short' >$B/not-served.txt
target/debug/safeconduct reopen $R
serve --data $B --register $W/register.json
python3 -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))[2:]))' $B/reopened-at-*.json >$W/bare.json
refused --home $W/ada reopening accept $W/bare.json 2>$W/bare.txt
for who in ada anna; do as $who reopening accept $B/reopened-at-*.json; done
witness
as ada join --url $URL --ledger $LEDGER
as anna case open --agency north --entered 2026-03-03 --offer new-life
witness
# Without a home, by the founding record and the reopening.
NEW=$(ls -t $W/anna/receipts/* | head -1)
KNOWN="--founding $W/anna/founding.json --ledger $LEDGER"
verify() { target/debug/safeconduct receipt verify $1 $KNOWN "${@:2}"; }
if verify $NEW; then exit 1; fi
for receipt in $EARLY $LATE $NEW; do verify $receipt --reopening $B/reopened-at-*.json; done
as anna receipt export $NEW --out $W/receipt.tlog-proof && stat -c 'mode %a' $W/receipt.tlog-proof
"#;

#[test]
fn whoever_was_ahead_goes_on_under_the_new_origin() {
    let w = scratch("reopened");
    let (said, errors) = readme::run(&["README.md"], LOSS, &w, &free_port());
    let text = |name: &str| fs::read_to_string(w.join(name)).unwrap();
    assert_eq!(text("witness.log"), "", "an alarm without a reason");
    assert!(text("keyless.txt").contains("copy the ledger's keys"), "{}", text("keyless.txt"));
    assert!(text("bare.txt").contains("by 1 of the custodians"), "{}", text("bare.txt"));
    assert!(said.contains("mode 600"), "{said}");
    assert_eq!(said.matches("The receipt holds").count(), 3, "{said}\n{errors}");
    assert_eq!(said.matches("and is LOST").count(), 1, "{said}");
    assert_eq!(said.matches("The receipt does not hold").count(), 1, "{said}");
}
