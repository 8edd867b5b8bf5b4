//! What an auditor does with a bundle, by the program itself on one that the service exported: documents, a sample, a report.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use records::Body;
use records::disbursements::Delivery;
use serde_json::Value;
use tests::binary::safeconduct;
use tests::cluster::scratch;
use tests::world::{World, evidence, id, usd};

use crate::life::{confirmation, release, request};
use crate::readme::commands_of;

const SEED: &str = "4 2 6 1 5 3 3 6 2 4";

/// A ledger with two grants and a trip that were paid, and a bonus that waits.
fn written() -> World {
    let world = World::new();
    world.fund("300000.00");
    world.offer();
    for (disbursement, case) in [("d1", "case-of-one"), ("d2", "case-of-two"), ("d3", "case-of-three")] {
        world.case(case, "north", true);
        let (benefit, amount) = if disbursement == "d3" { ("trip", "6000.00") } else { ("grant", "5000.00") };
        request(&world, world.request(disbursement, case, benefit, amount));
        world.ok("boris", world.approval(disbursement));
        if disbursement == "d3" {
            let delivery = Delivery {
                delivered: world.clock.now().date(),
                disbursement: id(disbursement),
                evidence: evidence(),
                invoiced: usd("4000.00"),
                vendor: id("travel"),
            };
            world.ok("anna", Body::Delivery(delivery));
        }
        world.ok("paul", release(&world, disbursement));
        world.ok("rita", confirmation(&world, disbursement));
    }
    request(&world, world.request("d4", "case-of-one", "bonus", "100000.00"));
    world
}

/// A bundle in a folder of its own.
struct Desk {
    folder: PathBuf,
    bundle: String,
    ledger: String,
}

impl Desk {
    fn new(world: &World) -> Desk {
        let folder = scratch("auditing");
        let bundle = folder.join("ledger.ndjson");
        fs::write(&bundle, world.bundle()).unwrap();
        Desk { bundle: bundle.display().to_string(), folder, ledger: world.ledger.to_string() }
    }

    /// `safeconduct audit WORDS BUNDLE --ledger ID MORE`.
    fn audit(&self, words: &[&str], more: &[&str]) -> Output {
        let mut command = Command::new(safeconduct());
        command.arg("audit").args(words).args([&self.bundle, "--ledger", &self.ledger]).args(more);
        command.output().unwrap()
    }

    #[track_caller]
    fn text(&self, words: &[&str], more: &[&str], code: i32) -> String {
        let output = self.audit(words, more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, words: &[&str], more: &[&str]) -> Value {
        let text = self.text(words, &[more, &["--json"]].concat(), 0);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The same with a byte of a record changed.
    fn tampered(&self) -> Desk {
        let text = fs::read_to_string(&self.bundle).unwrap();
        let at = text.rfind("\"sig\":\"").unwrap() + 7;
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        let bundle = self.folder.join("tampered.ndjson");
        fs::write(&bundle, [&text[..at], other, &text[at + 1..]].concat()).unwrap();
        let (folder, ledger) = (self.folder.clone(), self.ledger.clone());
        Desk { folder, bundle: bundle.display().to_string(), ledger }
    }

    fn documents(&self, name: &str, content: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir_all(folder.join("of/rita")).unwrap();
        fs::write(folder.join("of/rita/advice.pdf"), content).unwrap();
        fs::write(folder.join("notes.txt"), "what nobody named").unwrap();
        folder
    }
}

/// The start that a sample must have, by OpenSSL and the words of docs/spec/sample.md.
fn start_by_openssl(sample: &Value) -> u64 {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (amount, currency) = (text(&sample["interval"]["amount"]), text(&sample["interval"]["currency"]));
    let units: u64 = amount.replace('.', "").parse().unwrap();
    let bits = u64::BITS - (units - 1).leading_zeros();
    for draw in 0.. {
        let message = format!(
            "safeconduct-sample.v1\nledger {}\nroot {}\ninterval {amount} {currency}\ndraw {draw}\n",
            text(&sample["ledger"]),
            text(&sample["checkpoint"]["root"])
        );
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-hmac", sample["seed"].as_str().unwrap(), "-r"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        openssl.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
        let said = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
        let first = u128::from_str_radix(&said[..16], 16).unwrap();
        // An interval of one unit takes no bits at all.
        let number = first >> (64 - bits);
        if number < u128::from(units) {
            return u64::try_from(number).unwrap() + 1;
        }
    }
    unreachable!()
}

#[track_caller]
fn names_no_case(shown: &str) {
    assert!(!shown.contains("case-of"), "a case is named: {shown}");
}

#[test]
fn documents_samples_and_reports_of_an_exported_bundle() {
    let world = written();
    let desk = Desk::new(&world);
    compares_documents(&desk);
    draws_samples(&desk);
    reports(&desk);

    let tampered = desk.tampered();
    let folder = desk.documents("all", "a document");
    let refuted = tampered.text(&[], &["--evidence", folder.to_str().unwrap()], 1);
    assert!(refuted.contains("REFUTED") && refuted.contains("No document was compared"), "{refuted}");
    let refuted = tampered.text(&["sample"], &["--interval", "USD 1,000.00", "--seed", SEED], 1);
    assert!(refuted.starts_with("REFUTED at position ") && !refuted.contains("interval"), "{refuted}");
    let html = desk.folder.join("refuted.html");
    let refuted = tampered.text(&["report"], &["--html", html.to_str().unwrap()], 1);
    assert!(refuted.contains("REFUTED at position ") && !refuted.contains("TIE"), "{refuted}");
    assert!(fs::read_to_string(html).unwrap().contains(">REFUTED at position "));

    runs_the_guide(&desk);
}

fn compares_documents(desk: &Desk) {
    assert!(desk.text(&[], &[], 0).starts_with("VERIFIED"));
    assert_eq!(desk.json(&[], &[])["evidence"], Value::Null);
    let folder = desk.documents("all", "a document");
    let seen = desk.json(&[], &["--evidence", folder.to_str().unwrap()]);
    let [one] = seen["evidence"]["seen"].as_array().unwrap().as_slice() else { panic!("{seen}") };
    assert!(one["files"][0].as_str().unwrap().ends_with("all/of/rita/advice.pdf"), "{one}");
    assert_eq!((&one["named"][0]["holder"], &one["named"][0]["kind"]), (&"rita".into(), &"document".into()));
    // Asset, custody, forfeiture, three screenings, a delivery, three confirmations.
    assert_eq!(one["positions"].as_array().unwrap().len(), 10);
    assert_eq!(seen["evidence"]["not_seen"], serde_json::json!([]));
    assert!(seen["evidence"]["unnamed"][0]["file"].as_str().unwrap().ends_with("notes.txt"));

    let folder = desk.documents("other", "another document");
    let text = desk.text(&[], &["--evidence", folder.to_str().unwrap()], 0);
    assert!(
        text.starts_with("VERIFIED") && text.contains("1 NOT SEEN. No record names 2 of 2 files"),
        "{text}"
    );
    assert!(text.contains(&evidence().sha256.to_string()), "{text}");

    let output = desk.audit(&[], &["--evidence", desk.folder.join("nowhere").to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && error.contains("nowhere: No such file"), "{error}");
}

fn draws_samples(desk: &Desk) {
    let all = desk.json(&["sample"], &["--interval", "USD 4,000.00", "--seed", SEED]);
    assert_eq!((&all["population"]["count"], &all["population"]["total"]), (&"3".into(), &"14000.00".into()));
    let selected = |sample: &Value| -> Vec<String> {
        let of = |one: &Value| one["payment"]["disbursement"].as_str().unwrap().to_owned();
        sample["selected"].as_array().unwrap().iter().map(of).collect()
    };
    assert_eq!(selected(&all), ["d1", "d2", "d3"], "each is as large as the interval");
    for interval in ["USD 4,000.00", "USD 7,000.00", "USD 0.01", "USD 655.37"] {
        let words = ["--interval", interval, "--seed", SEED, "--fund", "f1"];
        let sample = desk.json(&["sample"], &words);
        assert_eq!(desk.json(&["sample"], &words), sample);
        let start: u64 = sample["start"]["amount"].as_str().unwrap().replace('.', "").parse().unwrap();
        assert_eq!(start, start_by_openssl(&sample), "{sample}");
    }
    let text = desk.text(&["sample"], &["--interval", "USD 7,000.00", "--seed", SEED], 0);
    assert!(text.contains(SEED) && text.contains("it is the same as what the budget says"), "{text}");
    names_no_case(&text);
    let none = desk.text(&["sample"], &["--interval", "EUR 1.00", "--seed", SEED], 0);
    assert!(none.contains("0 payments") && none.contains("No payment was hit"), "{none}");
    for (words, says) in [
        (["--interval", "USD 0.00", "--seed", SEED, "--fund", "f1"], "above zero"),
        (["--interval", "USD 1.00", "--seed", SEED, "--fund", "f9"], "no fund f9"),
        (["--interval", "EUR 1.00", "--seed", SEED, "--fund", "f1"], "in USD"),
        (["--interval", "1.00", "--seed", SEED, "--fund", "f1"], "with its currency"),
    ] {
        let output = desk.audit(&["sample"], &words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(error.contains(says), "{error}");
    }
}

fn reports(desk: &Desk) {
    let html = desk.folder.join("report.html");
    let text = desk.text(&["report"], &["--html", html.to_str().unwrap()], 0);
    let html = fs::read_to_string(html).unwrap();
    for shown in [&text, &html] {
        for line in
            ["VERIFIED: the log holds", "The statements TIE", "286,000.00", "Approvals within seconds"]
        {
            assert!(shown.contains(line), "{line} is missing: {shown}");
        }
        names_no_case(shown);
    }
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
    assert!(place("VERIFIED") < place("Exceptions") && place("Exceptions") < place("Cash by bank account"));
    let report = desk.json(&["report"], &[]);
    names_no_case(&report.to_string());
    let found = report["exceptions"]["found"].as_array().unwrap();
    let of = |looked: &str| found.iter().filter(|one| one["looked"] == looked).count();
    // Everybody acted within seconds; the trip was invoiced with a round sum by a vendor who was new, from a bank that was new.
    assert!(
        of("quick-approvals") == 1 && of("round-sums") == 1 && of("change-before-payment") > 2,
        "{found:?}"
    );
    let claimable = &report["statements"]["claimable"][0];
    // Three bonuses, grants and trips, less those that were requested: two grants, a trip and a bonus.
    assert_eq!((&claimable["benefits"], &claimable["amount"]), (&"5".into(), &"217000.00".into()));

    let early = desk.json(&["report"], &["--to", "2020-01-01"]);
    assert_eq!(early["exceptions"]["found"], serde_json::json!([]));
    let output = desk.audit(&["report"], &["--from", "2026-02-01", "--to", "2026-01-01"]);
    assert_eq!(output.status.code(), Some(2));
    let nowhere = desk.folder.join("nowhere/report.html");
    assert_eq!(desk.audit(&["report"], &["--html", nowhere.to_str().unwrap()]).status.code(), Some(2));
}

fn runs_the_guide(desk: &Desk) {
    let script = format!("set -eu -o pipefail\n{}", commands_of("docs/guides/auditing.md"));
    assert!(script.matches("safeconduct audit").count() >= 5, "the guide has lost its commands");
    let programs: &Path = safeconduct().parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&desk.folder)
        .env("PATH", path)
        .env("BUNDLE", &desk.bundle)
        .env("LEDGER", &desk.ledger)
        .env("DOCUMENTS", desk.documents("all", "a document"))
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    let sample: Value = serde_json::from_slice(&fs::read(desk.folder.join("sample.json")).unwrap()).unwrap();
    assert_eq!((&sample["fund"], &sample["seed"]), (&"f1".into(), &SEED.into()));
    for file in ["report.html", "report.txt"] {
        let report = fs::read_to_string(desk.folder.join(file)).unwrap();
        assert!(report.contains("The statements TIE") && report.contains("in the period"), "{report}");
    }
}
