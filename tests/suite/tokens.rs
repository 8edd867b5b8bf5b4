//! Keys in PKCS #11 tokens, by SoftHSM: a ledger whose checkpoints and one officer's instructions are signed by tokens, as
//! `docs/operating/tokens.md` has it; and tokens that go away, are exchanged, or want another PIN.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use signing::digest::Digest;
use tests::binary::{root, safeconduct, with_tokens};
use tests::cluster::scratch;
use tests::wait::until;

use crate::readme::commands_of;
use crate::second;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const SERVICE_PIN: &str = "654321";
const OFFICERS_PIN: &str = "123456";
const RECEIPT_WAIT: &str = "receipt_timeout_ms = 5000";
const PASSPHRASE: &str = "only for this try";

/// The service stops by itself, and is waited for.
const END: &str = "kill $SERVICE; wait $SERVICE; trap - EXIT\n";

/// A ledger that was made by the commands of the two pages, its tokens beside it.
struct Place {
    dir: PathBuf,
    ledger: String,
}

fn uri(token: &str, object: &str) -> String {
    format!("pkcs11:token={token};object={object}?module-path={MODULE}")
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
}

#[track_caller]
fn fails(output: &Output, why: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(why), "{said}");
    assert!(!said.contains(SERVICE_PIN) && !said.contains(OFFICERS_PIN), "a PIN is shown: {said}");
}

impl Place {
    /// Runs the commands of `tokens.md`, and then the README's, without those that the page has in their place.
    fn make() -> Place {
        let dir = scratch("tokens");
        let readme = commands_of("README.md");
        let (_, rest) = readme.split_once("\nfor who in karl").expect("the README makes homes");
        let rest = format!("for who in karl{rest}").replacen(" boris", "", 1);
        let program = with_tokens().display().to_string();
        let script = format!("set -eu -o pipefail\n{}{rest}{END}", commands_of("docs/operating/tokens.md"));
        assert_eq!(script.matches("target/debug/safeconduct").count(), 2);
        let output = Command::new("bash")
            .args(["-c", &script.replace("target/debug/safeconduct", &program)])
            .current_dir(root())
            .env("W", &dir)
            .env("PORT", "0")
            .output()
            .unwrap();
        let log = || fs::read_to_string(dir.join("service.log")).unwrap_or_default();
        assert!(output.status.success(), "{}\n{}", said(&output), log());
        assert!(said(&output).contains("VERIFIED") && said(&output).contains("USD 148,750.00"));
        let founded = fs::read_to_string(dir.join("found.txt")).unwrap();
        let id = founded.lines().find_map(|line| line.strip_prefix("The ledger's id is ")).unwrap();
        Place { ledger: id.to_owned(), dir }
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("SOFTHSM2_CONF", self.dir.join("softhsm2.conf"))
            .env("SAFECONDUCT_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_PIN", OFFICERS_PIN)
            .env("SAFECONDUCT_SERVICE_PIN", SERVICE_PIN)
            .stdin(Stdio::null());
        command
    }

    fn as_person(&self, who: &str, arguments: &[&str]) -> Command {
        let home = self.dir.join(who).display().to_string();
        self.command(with_tokens(), &[&["--home", &home, "--yes"], arguments].concat())
    }

    #[track_caller]
    fn accepted(&self, who: &str, arguments: &[&str]) -> String {
        let output = self.as_person(who, arguments).output().unwrap();
        assert!(output.status.success(), "{who} {arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A service that is not expected to come up.
    fn cannot_serve(&self, program: &Path, key: &[&str], pin: &str) -> Output {
        let data = self.dir.join("service").display().to_string();
        let arguments = [&["serve", "--data", &data, "--listen", "127.0.0.1:0"], key].concat();
        self.command(program, &arguments).env("SAFECONDUCT_SERVICE_PIN", pin).output().unwrap()
    }

    /// Where a token's objects are.
    fn token(&self, label: &str) -> PathBuf {
        let holds = |path: &PathBuf| {
            let object = fs::read(path.join("token.object")).unwrap();
            object.windows(label.len()).any(|part| part == label.as_bytes())
        };
        let tokens = fs::read_dir(self.dir.join("tokens")).unwrap().map(|entry| entry.unwrap().path());
        tokens.into_iter().find(holds).unwrap_or_else(|| panic!("no token {label}"))
    }

    fn new_token(&self, label: &str, pin: &str) {
        let arguments = ["--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", pin];
        let output = self.command(Path::new("softhsm2-util"), &arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Both verifiers on what the service exports now: every checkpoint and record is by a key that was founded or enrolled.
    fn is_verified(&self) {
        let bundle = self.dir.join("now.ndjson");
        let _ = fs::remove_file(&bundle);
        self.accepted("ada", &["bundle", "--out", bundle.to_str().unwrap()]);
        let shown = self.accepted("ada", &["audit", bundle.to_str().unwrap(), "--ledger", &self.ledger]);
        assert!(shown.contains("VERIFIED"), "{shown}");
        let ledger: Digest = self.ledger.parse().unwrap();
        let exported = vec![("as it was exported (sound)".to_owned(), fs::read(bundle).unwrap())];
        assert_eq!(second::refuted(&exported, ledger), 0);
    }
}

/// A service on the place's ledger, at the address that the homes know.
struct Service {
    child: Child,
    log: PathBuf,
    metrics: String,
}

impl Service {
    fn start(place: &Place) -> Service {
        let known: Value =
            serde_json::from_slice(&fs::read(place.dir.join("ada/ledger.json")).unwrap()).unwrap();
        let address = known["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        let (data, key) = (place.dir.join("service").display().to_string(), uri("ledger", "checkpoints"));
        let arguments = ["serve", "--data", &data, "--listen", &address, "--checkpoint-key", &key];
        let (out, log) = (place.dir.join("again.txt"), place.dir.join("again.log"));
        // A receipt that does not come is not waited for as long.
        let limits = fs::read_to_string(root().join("config/limits.toml")).unwrap();
        assert!(limits.contains(RECEIPT_WAIT));
        let short = place.dir.join("limits.toml");
        fs::write(&short, limits.replace(RECEIPT_WAIT, "receipt_timeout_ms = 500")).unwrap();
        let more = ["--metrics", "127.0.0.1:0", "--limits", short.to_str().unwrap()];
        let child = place
            .command(with_tokens(), &[arguments.as_slice(), &more].concat())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut service = Service { child, log, metrics: String::new() };
        until("the service's `ready`", || {
            assert!(service.child.try_wait().unwrap().is_none(), "it ended: {}", service.said());
            let lines = fs::read_to_string(&out).unwrap();
            let metrics = lines.lines().find_map(|line| line.strip_prefix("metrics"));
            service.metrics = metrics.unwrap_or_default().trim().to_owned();
            lines.contains("ready")
        });
        service
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn is_halted(&self) -> bool {
        let text = ureq::get(&self.metrics).call().unwrap().into_body().read_to_string().unwrap();
        let line = r#"safeconduct_halted{reason="checkpoint_key_unavailable"} "#;
        let value = text.lines().find_map(|known| known.strip_prefix(line)).expect("the metric");
        value.parse::<f64>().unwrap() == 1.0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success() || std::thread::panicking(), "{}", self.said());
    }
}

#[test]
fn a_ledger_is_signed_by_tokens() {
    let place = Place::make();
    assert!(!place.dir.join("service/keys/checkpoint.pem").exists());
    assert!(!place.dir.join("boris/key.pem").exists());
    assert_eq!(
        fs::read_to_string(place.dir.join("boris/key.uri")).unwrap().trim_end(),
        uri("boris", "boris")
    );

    what_is_not_the_key_does_not_serve(&place);
    officers_are_told(&place);

    let service = Service::start(&place);
    place.accepted("dora", &["bank", "open", "--bank", "before", "--currency", "USD"]);
    place.is_verified();
    officers_without_their_token_send_nothing(&place);
    the_token_goes_away_and_comes_back(&place, &service);
    another_key_signs_nothing(&place, &service);
    let service = a_refused_pin_is_not_tried_again(&place, service);
    place.is_verified();
    drop(service);
    the_checkpoint_key_moves_out_of_its_token_and_into_it(&place);
}

/// Each of these is told at the start.
fn what_is_not_the_key_does_not_serve(place: &Place) {
    let with = |key: &str, pin: &str| place.cannot_serve(with_tokens(), &["--checkpoint-key", key], pin);
    let right = uri("ledger", "checkpoints");
    fails(
        &place.cannot_serve(with_tokens(), &[], SERVICE_PIN),
        "name the token that it is in (--checkpoint-key)",
    );
    fails(&with(&right, "000000"), "the PIN was refused (C_Login answered PinIncorrect)");
    fails(&with(&uri("nowhere", "checkpoints"), SERVICE_PIN), "finds no such token");
    // A misspelt name makes no second key.
    fails(&with(&uri("ledger", "chekpoints"), SERVICE_PIN), "has no Ed25519 key `chekpoints`");
    fails(
        &with("pkcs11:token=ledger;object=checkpoints?module-path=/no.so", SERVICE_PIN),
        "cannot load the module",
    );
    fails(&with(&format!("{right}&pin-value={SERVICE_PIN}"), SERVICE_PIN), "must not hold a PIN");
    fails(
        &place.cannot_serve(safeconduct(), &["--checkpoint-key", &right], SERVICE_PIN),
        "without the feature pkcs11",
    );
    // Another key of the same token, made as a person's.
    let new = ["key", "new", "--principal", "other", "--pkcs11", &uri("ledger", "other")];
    let made = place.as_person("other", &new).env("SAFECONDUCT_PIN", SERVICE_PIN).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    fails(&with(&uri("ledger", "other"), SERVICE_PIN), "or name the right token");
    // A key that lies in a file too.
    let file = place.dir.join("service/keys/checkpoint.pem");
    fs::copy(place.dir.join("service/keys/record.pem"), &file).unwrap();
    fails(&with(&right, SERVICE_PIN), "is there beside a key in a token");
    fs::remove_file(file).unwrap();
    // A key that was lost is not made anew.
    let (file, away) = (place.dir.join("service/keys/record.pem"), place.dir.join("away.pem"));
    fs::rename(&file, &away).unwrap();
    fails(&with(&right, SERVICE_PIN), "restore the ledger's keys from your backup");
    assert!(!file.exists());
    fs::rename(&away, &file).unwrap();
}

fn officers_are_told(place: &Place) {
    let new =
        |who: &str, key: &str| place.as_person(who, &["key", "new", "--principal", "x", "--pkcs11", key]);
    fails(&new("x", &uri("boris", "boris")).output().unwrap(), "has a key `boris` already");
    fails(
        &new("y", "pkcs11:token=boris;id=%07?module-path=/x.so").output().unwrap(),
        "cannot load the module",
    );
    let key = format!("pkcs11:token=boris;id=%07?module-path={MODULE}");
    fails(&new("z", &key).output().unwrap(), "a new key needs a name");
    fails(
        &new("u", &uri("boris", "second")).env("SAFECONDUCT_PIN", "1").output().unwrap(),
        "the PIN was refused",
    );
    fails(
        &new("v", &uri("boris", "second")).env_remove("SAFECONDUCT_PIN").output().unwrap(),
        "set SAFECONDUCT_PIN",
    );
    assert!(
        ["x", "y", "z", "u", "v"].iter().all(|home| !place.dir.join(home).join("identity.json").exists())
    );
    let plain =
        ["--home", place.dir.join("boris").to_str().unwrap(), "key", "possession", "--ledger", &place.ledger]
            .map(str::to_owned);
    let out = place.dir.join("p.json");
    let mut plain = place.command(safeconduct(), &plain.each_ref().map(String::as_str));
    fails(&plain.arg("--out").arg(out).output().unwrap(), "without the feature pkcs11");
}

fn officers_without_their_token_send_nothing(place: &Place) {
    let token = place.token("boris");
    let away = place.dir.join("boris-is-away");
    fs::rename(&token, &away).unwrap();
    fails(&place.as_person("boris", &["funds"]).output().unwrap(), "the token boris");
    fs::rename(&away, &token).unwrap();
    fails(
        &place.as_person("boris", &["funds"]).env("SAFECONDUCT_PIN", "0000").output().unwrap(),
        "the PIN was refused",
    );
    assert!(place.accepted("boris", &["funds"]).contains("villa-fund"));
    assert_eq!(fs::read_dir(place.dir.join("boris/outbox")).map_or(0, Iterator::count), 0);
}

/// Sends something while there is no key. What was committed before it was noticed has no checkpoint; nothing is written
/// after.
fn nothing_is_signed(place: &Place, service: &Service, name: &str) {
    let register = || fs::read(place.dir.join("service/register.json")).unwrap();
    let before = register();
    let first =
        place.as_person("dora", &["bank", "open", "--bank", name, "--currency", "USD"]).output().unwrap();
    assert!(said(&first).contains("the receipt is pending"), "{}", said(&first));
    until("the halt", || service.is_halted());
    let late = format!("{name}-late");
    let second =
        place.as_person("dora", &["bank", "open", "--bank", &late, "--currency", "USD"]).output().unwrap();
    assert!(said(&second).contains("checkpoint_key_unavailable"), "{}", said(&second));
    assert_eq!(register(), before, "a head was signed");
}

fn all_goes_on(place: &Place, service: &Service) {
    until("the token is used again", || !service.is_halted());
    place.accepted("dora", &["outbox", "resend", "--refused"]);
    assert!(!place.accepted("dora", &["outbox", "list"]).contains("late"));
}

fn the_token_goes_away_and_comes_back(place: &Place, service: &Service) {
    let token = place.token("ledger");
    let away = place.dir.join("ledger-is-away");
    fs::rename(&token, &away).unwrap();
    nothing_is_signed(place, service, "away");
    assert!(service.said().contains("no checkpoint is signed"), "{}", service.said());
    fs::rename(&away, &token).unwrap();
    all_goes_on(place, service);
    place.is_verified();
}

/// A token of the same name and PIN, with a key of the same name.
fn another_key_signs_nothing(place: &Place, service: &Service) {
    let token = place.token("ledger");
    let away = place.dir.join("ledger-is-away");
    fs::rename(&token, &away).unwrap();
    place.new_token("ledger", SERVICE_PIN);
    let new = ["key", "new", "--principal", "forger", "--pkcs11", &uri("ledger", "checkpoints")];
    let made = place.as_person("forger", &new).env("SAFECONDUCT_PIN", SERVICE_PIN).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    nothing_is_signed(place, service, "exchanged");
    assert!(service.said().contains("its key is "), "{}", service.said());
    fs::rename(place.token("ledger"), place.dir.join("the-forger-s")).unwrap();
    fs::rename(&away, &token).unwrap();
    all_goes_on(place, service);
}

/// A token counts, so the service is started again by somebody who knows.
fn a_refused_pin_is_not_tried_again(place: &Place, service: Service) -> Service {
    let token = place.token("ledger");
    let away = place.dir.join("ledger-is-away");
    fs::rename(&token, &away).unwrap();
    place.new_token("ledger", "999999");
    nothing_is_signed(place, &service, "other-pin");
    assert!(service.said().contains("the PIN was refused"), "{}", service.said());
    fs::rename(place.token("ledger"), place.dir.join("of-another-pin")).unwrap();
    fs::rename(&away, &token).unwrap();
    let tries = || service.said().matches("no checkpoint is signed").count();
    let before = tries();
    until("another two tries", || tries() >= before + 2);
    assert!(service.is_halted());
    drop(service);
    let service = Service::start(place);
    all_goes_on(place, &service);
    service
}

/// New keys by a quorum, from a token to a file and back to another key of the token: `docs/operating/rekey.md`.
const MOVED: &str = r#"
as() { who=$1; shift; $PROGRAM --home $W/$who --yes "$@"; }
S=$W/service
replace() {  # a number, and the flags of the new key
  $PROGRAM service-keys new --out $W/keys-$1 "${@:2}"
  $PROGRAM restore --rekey --data $S --ledger $LEDGER --register $S/register.json | tail -1
  SEEN="--restored $S/restored.ndjson --checkpoint $S/newest-head.txt"
  as karl reopening propose $SEEN --origin ledger.example/$1 --keys $W/keys-$1/public.json --out $W/p-$1.json
  as kira reopening concur $W/p-$1.json $SEEN --out $W/c-$1.json
  $PROGRAM reopen --data $S --keys $W/keys-$1 "${@:2}" $W/p-$1.json $W/c-$1.json | tail -1
  rm -f $W/moved.txt
  $PROGRAM serve --data $S --listen $ADDRESS "${@:2}" >$W/moved.txt 2>>$W/moved.log & SERVICE=$!
  trap 'kill $SERVICE' EXIT
  until grep -qs ready $W/moved.txt; do kill -0 $SERVICE; sleep 0.2; done
  for who in karl kira dora; do as $who reopening accept $(ls -t $S/reopened-at-*.json | head -1); done
  as dora bank open --bank moved-$1 --currency USD
  kill $SERVICE && wait $SERVICE
  trap - EXIT
}
replace 2
test -e $S/keys/checkpoint.pem
if $PROGRAM serve --data $S --listen $ADDRESS --checkpoint-key "$OLD" 2>$W/both.txt; then exit 1; fi
grep -q 'is there beside a key in a token' $W/both.txt
replace 3 --checkpoint-key "$NEW"
test ! -e $S/keys/checkpoint.pem
if $PROGRAM serve --data $S --listen $ADDRESS --checkpoint-key "$OLD" 2>$W/old.txt; then exit 1; fi
grep -q "the ledger's keys are" $W/old.txt
"#;

fn the_checkpoint_key_moves_out_of_its_token_and_into_it(place: &Place) {
    let known: Value =
        serde_json::from_slice(&fs::read(place.dir.join("dora/ledger.json")).unwrap()).unwrap();
    let address = known["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let output = place
        .command(Path::new("bash"), &["-c", &format!("set -eu -o pipefail\n{MOVED}")])
        .env("W", &place.dir)
        .env("PROGRAM", with_tokens())
        .env("LEDGER", &place.ledger)
        .env("ADDRESS", address)
        .env("OLD", uri("ledger", "checkpoints"))
        .env("NEW", uri("ledger", "next"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("The ledger has new keys").count(), 6, "{}", said(&output));
}
