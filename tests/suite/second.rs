//! The second audit, in Python and from `docs/spec` alone (`tests/second/audit.py`): of a ledger with a varied history it
//! says what ours says, and so it does of what somebody made of that ledger, with or without the keys of everybody in it.

pub mod forgery;
pub mod history;

use std::path::PathBuf;
use std::process::Command;

use auditor::{Finding, Verdict};
use serde_json::Value;
use signing::digest::Digest;
use tests::binary::root;
use tests::cluster::scratch;

use forgery::{Bundle, Forged};

/// What the second audit says of these bundles, which it reads in one run.
fn second(bundles: &[Forged], ledger: Digest) -> Vec<Value> {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "there is no {}: run `make python`", python.display());
    let dir = scratch("second");
    let paths: Vec<PathBuf> = (0..bundles.len()).map(|number| dir.join(format!("{number}.ndjson"))).collect();
    for (path, (_, bundle)) in paths.iter().zip(bundles) {
        std::fs::write(path, bundle).unwrap();
    }
    let mut audit = Command::new(python);
    audit.arg(root().join("tests/second/audit.py")).args(&paths);
    let output = audit.args(["--json", "--ledger", &ledger.to_string()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let verdicts: Vec<Value> =
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["verdict"].clone()).collect();
    assert_eq!(verdicts.len(), bundles.len(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    verdicts
}

/// A code, without what tells one malformed record from another.
fn family(code: &str) -> &str {
    ["envelope_", "payload_"].into_iter().find(|family| code.starts_with(family)).unwrap_or(code)
}

/// The second audit finds the same, at the same position, and at the same line if both name one.
fn is_found(ours: &Finding, said: &Value) -> bool {
    let number = |name: &str| said[name].as_str().map(|text| text.parse::<u64>().unwrap());
    let is_line = |line: u64| ours.line.is_none_or(|ours| ours == line);
    number("position") == ours.position
        && number("line").is_none_or(is_line)
        && said["code"].as_str().is_some_and(|code| family(code) == family(&ours.code))
}

/// Both audits say the same of every bundle, and that it is sound where its name says so. How many are not.
pub fn refuted(bundles: &[Forged], ledger: Digest) -> usize {
    let (mut refuted, mut disagreed) = (0, Vec::new());
    for ((name, bundle), said) in bundles.iter().zip(second(bundles, ledger)) {
        let verdict = auditor::verify(&bundle[..], ledger).unwrap().verdict;
        let is_sound = name.ends_with("(sound)");
        let is_same = match &verdict {
            Verdict::Verified => is_sound && said["outcome"] == "verified",
            Verdict::Refuted(ours) => !is_sound && is_found(ours, &said),
        };
        if !is_same {
            disagreed.push(format!("{name}: {verdict:?}, and {said}"));
        }
        refuted += usize::from(!is_sound);
    }
    assert!(disagreed.is_empty(), "{}", disagreed.join("\n"));
    refuted
}

#[test]
fn two_audits_agree_on_a_varied_history() {
    let world = history::written();
    let bundle = Bundle::of(&world.bundle());
    let mut bundles = vec![("as it was exported (sound)".to_owned(), bundle.text().into_bytes())];
    bundles.extend(forgery::bytes(&bundle));
    bundles.extend(forgery::lines(&bundle));
    bundles.extend(forgery::claims(&bundle));
    bundles.extend(forgery::checkpoints(&bundle));
    bundles.extend(forgery::histories(&bundle, &history::keys()));
    assert!(refuted(&bundles, world.ledger) >= 100);
}

#[test]
fn two_audits_agree_on_a_kept_log() {
    let kept = std::fs::read_to_string(root().join("tests/vectors/logs/first-disbursement.ndjson")).unwrap();
    let bundle = Bundle::of(&kept);
    let mut bundles = vec![("as it was kept (sound)".to_owned(), kept.into_bytes())];
    bundles.extend(forgery::bytes(&bundle));
    bundles.extend(forgery::each_line(&bundle));
    assert!(refuted(&bundles, bundle.ledger()) >= 50);
}
