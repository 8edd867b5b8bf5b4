//! The same beside an external PostgreSQL, by the commands of `docs/operating/backup-external.md`: it is backed up and restored by its
//! own tools, and `restore` and `reopen` reach it by the URLs that the service has.

use std::path::Path;
use std::process::Command;

use tests::binary::{root, safeconduct};
use tests::cluster::scratch;

use super::{free_port, text};
use crate::evidence::verified;
use crate::failover::ground::{Pair, commands_in, url};
use crate::readme::commands_of;

/// What the README's commands leave in a shell.
const SHELL: &str = r#"
export SAFECONDUCT_PASSPHRASE='only for this try' SAFECONDUCT_SERVICE_PASSPHRASE='only for this try'
as() { who=$1; shift; target/debug/safeconduct --home $W/$who --yes "$@"; }
LEDGER=$(sed -n "s/^The ledger's id is //p" $W/found.txt) R="--data $W/service --database-ca $CA"
SERVICE= && trap 'test -z "$SERVICE" || kill $SERVICE' EXIT
stop() { kill $SERVICE; wait $SERVICE; SERVICE=; }
serve() {
  rm -f $W/service.txt
  target/debug/safeconduct serve --listen 127.0.0.1:$PORT $R >$W/service.txt 2>>$W/service.log & SERVICE=$!
  until grep -qs ready $W/service.txt; do kill -0 $SERVICE || exit 1; sleep 0.2; done
}
"#;

/// Of the two cases that are opened, the second is later than the time that is restored.
const TWO_CASES: &str = r#"
serve
as anna case open --agency north --entered 2026-03-02 --offer new-life
sleep 2; date -u '+%F %T+00' >$W/time; sleep 2
as anna case open --agency north --entered 2026-03-04 --offer new-life
as ada checkpoint
stop
target/debug/safeconduct restore $R --ledger $LEDGER --register $W/service/register.json --checkpoint $W/ada/checkpoint
serve
stop
"#;

/// A service takes nothing of the restored database, with or without what `restore` says.
const REOPENING: &str = r#"
serve
if as anna case open --agency north --entered 2026-03-05 --offer new-life; then exit 1; fi
stop
REGISTER="--register $W/service/register.json --checkpoint $W/ada/checkpoint"
if target/debug/safeconduct restore $R --ledger $LEDGER $REGISTER >$W/behind.txt; then exit 1; fi
if target/debug/safeconduct serve --listen 127.0.0.1:$PORT $R; then exit 1; fi
SEEN="--restored $W/service/restored.ndjson --checkpoint $W/service/newest-head.txt"
as karl reopening propose $SEEN --origin ledger.example/2 --out $W/proposal.json
as kira reopening concur $W/proposal.json $SEEN --out $W/concurrence.json
target/debug/safeconduct reopen $R $W/proposal.json $W/concurrence.json | tee $W/reopened.txt
serve
for who in karl anna ada; do as $who reopening accept $W/service/reopened-at-*.json; done
as anna case open --agency north --entered 2026-03-05 --offer new-life
as ada bundle --out $W/bundle-2.ndjson
"#;

#[test]
fn an_external_database_is_restored_and_reopened_by_its_urls() {
    safeconduct();
    let (pair, w, port) = (Pair::alone(), scratch("external"), free_port());
    let run = |script: &str| said(script, &pair, &w, &port);
    let readme = commands_of("README.md");
    let flags = "--data $W/service --listen";
    assert!(readme.contains(flags));
    run(&readme.replacen(flags, &format!("--database-ca $CA {flags}"), 1));

    let by_page = |heading: &str, time: &str| {
        let commands = commands_in("docs/operating/backup-external.md", heading);
        pair.a.sh(&format!("ARCHIVE=$RUN/archive BASE=$RUN/base TIME='{time}'\n{commands}"));
    };
    by_page("Its archive", "");
    by_page("Its base backup", "");
    let whole = run(&format!("{SHELL}{TWO_CASES}"));
    assert!(whole.contains("Nothing that is known to have been signed is lost"), "{whole}");

    pair.a.sh("pg_ctl -D \"$DATA\" -m fast stop && mv \"$DATA\" \"$DATA.lost\"");
    by_page("Its restore", text(&w.join("time")).trim());
    let said = run(&format!("{SHELL}{REOPENING}"));
    // The opening of a case is a group of two records.
    let behind = text(&w.join("behind.txt"));
    assert!(behind.contains("VERIFIED") && behind.contains("are lost, 2 in number"), "{behind}");
    assert_eq!(said.matches("The log was reopened at").count(), 3, "{said}");
    assert!(text(&w.join("service/register.json")).contains("ledger.example/2"));
    let found = text(&w.join("found.txt"));
    let ledger = found.lines().find_map(|line| line.strip_prefix("The ledger's id is ")).unwrap();
    verified(&text(&w.join("bundle-2.ndjson")), ledger.parse().unwrap());
}

/// Runs a script on the pair's first server.
#[track_caller]
fn said(script: &str, pair: &Pair, w: &Path, port: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", &format!("set -eu -o pipefail\n{script}")])
        .current_dir(root())
        .env("W", w)
        .env("PORT", port)
        .env("CA", pair.ca())
        .env("SAFECONDUCT_DATABASE_URL", url("safeconduct_service", &[&pair.a]))
        .env("SAFECONDUCT_READ_URL", url("safeconduct_read", &[&pair.a]))
        .env("SAFECONDUCT_AGENCY_URL", url("safeconduct_agency", &[&pair.a]))
        .output()
        .expect("bash runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    said.into_owned()
}
