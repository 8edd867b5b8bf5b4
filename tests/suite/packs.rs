//! Packs, by the program itself, of a ledger that a service exported: cut for one who may not see the rest, and verified by
//! him on a machine that has nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use auditor::pack::{RecordLine, Scope};
use records::{Body, Kind, Payload, Record};
use serde_json::Value;
use signing::canonical;
use signing::digest::Digest;
use tests::binary::{root, safeconduct};
use tests::cluster::scratch;
use tests::world::World;

use crate::second::history;

/// A folder with a bundle in it.
struct Office {
    folder: PathBuf,
    ledger: Digest,
}

impl Office {
    fn new(bundle: &str, ledger: Digest) -> Office {
        let folder = scratch("packs");
        fs::write(folder.join("bundle"), bundle).unwrap();
        Office { folder, ledger }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Runs `safeconduct pack ...` without a home.
    fn run(&self, arguments: &[&str]) -> Output {
        let ledger = self.ledger.to_string();
        let home = self.path("no-home");
        Command::new(safeconduct())
            .args(["--home", &home, "pack"])
            .args(arguments)
            .args(["--ledger", &ledger])
            .output()
            .unwrap()
    }

    fn create(&self, about: &[&str], more: &[&str]) -> Output {
        let (bundle, out) = (self.path("bundle"), self.path("pack"));
        self.run(&[&["create", &bundle, "--out", &out], about, more].concat())
    }

    /// A pack that is cut, and verified by its receiver.
    #[track_caller]
    fn cut(&self, about: &[&str]) -> Vec<u8> {
        let output = self.create(about, &[]);
        assert_eq!(code(&output), 0, "{about:?}: {}", said(&output));
        let output = self.run(&["verify", &self.path("pack")]);
        assert_eq!(code(&output), 0, "{about:?}: {}", said(&output));
        assert!(said(&output).starts_with("HOLDS\n"), "{}", said(&output));
        fs::read(self.folder.join("pack")).unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

/// The records of a bundle.
fn records(bundle: &str) -> Vec<Record> {
    let mut lines = bundle.lines();
    let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let balances: usize = header["balances"].as_str().unwrap().parse().unwrap();
    lines.skip(balances).map(|line| Record::parse_leaf(line.as_bytes()).unwrap()).collect()
}

/// A scope as it is asked for, and the case that it is about.
fn scopes(records: &[Record]) -> Vec<(Vec<String>, Option<String>)> {
    let (mut scopes, mut days) = (vec![vec!["--no-cases".to_owned()]], BTreeSet::new());
    let mut of_cases = vec![];
    for record in records {
        let named = |flag: &str, id: &dyn ToString| vec![flag.to_owned(), id.to_string()];
        match record.payload() {
            Payload::Group(group) => drop(days.insert(group.recorded_at.date().to_string())),
            Payload::Instruction(_, body) => match &**body {
                Body::CaseOpening(body) => {
                    of_cases.push((named("--case", &body.case), body.case.to_string()))
                }
                Body::Request(body) => {
                    of_cases.push((named("--disbursement", &body.disbursement), body.case.to_string()));
                }
                Body::FundOpening(body) => scopes.push(named("--fund", &body.fund)),
                Body::AssetRegistration(body) => scopes.push(named("--asset", &body.asset)),
                _ => {}
            },
            _ => {}
        }
    }
    let day = |day: String| ["--from", &day, "--to", &day].map(str::to_owned).to_vec();
    scopes.extend(days.into_iter().map(day));
    let of_none = scopes.into_iter().map(|scope| (scope, None));
    of_cases.into_iter().map(|(scope, case)| (scope, Some(case))).chain(of_none).collect()
}

/// The payloads of a pack, decoded, and its header.
fn readable(pack: &[u8]) -> (Vec<Record>, String) {
    let mut lines = pack.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut text = String::from_utf8(lines.next().unwrap().to_vec()).unwrap();
    let mut records = vec![];
    for line in lines {
        let line: RecordLine = canonical::decode(line).unwrap();
        text += &String::from_utf8(line.envelope.payload.clone()).unwrap();
        records.push(Record::parse(line.envelope).unwrap());
    }
    (records, text)
}

/// What is said of cases in a log: whose it is, and the texts that only records about it have.
fn secrets(records: &[Record]) -> Vec<(String, String)> {
    let mut secrets = vec![];
    for record in records {
        let Payload::Instruction(_, body) = record.payload() else { continue };
        let mut of =
            |case: &dyn ToString, text: &dyn ToString| secrets.push((case.to_string(), text.to_string()));
        match &**body {
            Body::CaseOpening(body) => {
                of(&body.case, &body.case);
                of(&body.case, &body.agency_ref);
                of(&body.case, &record.digest());
            }
            Body::Screening(body) => {
                of(&body.case, &body.person);
                of(&body.case, &record.digest());
            }
            Body::Request(body) => of(&body.case, &body.salt),
            _ => {}
        }
    }
    secrets
}

/// Of every scope, with every value that occurs, a pack holds and names no case but its own.
#[track_caller]
fn packs_betray_nothing(office: &Office, bundle: &str) {
    let all = records(bundle);
    let secrets = secrets(&all);
    assert!(secrets.len() >= 5);
    for (about, own) in scopes(&all) {
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        let pack = office.cut(&about);
        let (held, text) = readable(&pack);
        assert!(held.len() < all.len(), "{about:?}: the whole ledger");
        for (case, secret) in &secrets {
            // As a value: a short reference may be part of a digest by chance.
            let is_there = text.contains(&format!("\"{secret}\""));
            assert!(!is_there || own.as_ref() == Some(case), "{about:?} betrays {secret} of case {case}");
        }
        let hidden = [Kind::CaseOpening, Kind::Screening, Kind::Request];
        let names = held.iter().filter(|record| hidden.contains(&record.kind())).count();
        assert_eq!(names > 0, own.is_some(), "{about:?}");
    }
}

#[test]
fn every_part_of_a_kept_log() {
    let bundle = fs::read_to_string(root().join("tests/vectors/logs/first-disbursement.ndjson")).unwrap();
    let ledger = records(&bundle)[0].digest();
    packs_betray_nothing(&Office::new(&bundle, ledger), &bundle);
}

#[test]
fn every_part_of_a_varied_history() {
    let world = history::written();
    let bundle = world.bundle();
    let office = Office::new(&bundle, world.ledger);
    packs_betray_nothing(&office, &bundle);
    what_is_tampered_with_is_found(&office);
    the_receiver_compares_heads(&world, &office);
}

fn what_is_tampered_with_is_found(office: &Office) {
    let output = office.create(&["--case", "c1"], &["--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let (told, file) = (json(&output), office.folder.join("pack"));
    assert_eq!(told["scope"]["case"], "c1");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!office.folder.join("pack.part").exists());
    let pack = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = pack.split_inclusive('\n').collect();
    assert_eq!(told["records"].as_str().unwrap(), (lines.len() - 1).to_string());

    let output = office.run(&["verify", file.to_str().unwrap(), "--json"]);
    let shown = json(&output);
    assert_eq!((code(&output), &shown["verdict"]["outcome"]), (0, &Value::from("verified")));
    assert_eq!(shown["shown"]["disbursements"][0]["amount"]["amount"], "100000.00");

    let altered = |at: usize, line: &str| {
        let mut altered = lines.clone();
        altered[at] = line;
        altered.concat()
    };
    let last = lines.len() - 1;
    let quoted = lines[last].find("\"position\":\"").unwrap() + 12;
    let moved = format!("{}9{}", &lines[last][..quoted], &lines[last][quoted..]);
    for (text, found) in [
        (altered(last, ""), "records_missing"),
        (altered(last, &moved), "proof_wrong"),
        (altered(last, lines[last - 1]), "position_order"),
        (altered(0, &lines[0].replace("\"c1\"", "\"c2\"")), "out_of_scope"),
        (altered(0, &lines[0].replace(&office.ledger.to_string(), &"0".repeat(64))), "other_ledger"),
    ] {
        assert_ne!(text, pack);
        fs::write(office.folder.join("tampered"), text).unwrap();
        let path = office.path("tampered");
        let output = office.run(&["verify", &path, "--json"]);
        assert_eq!((code(&output), &json(&output)["verdict"]["code"]), (1, &Value::from(found)));
        assert!(said(&office.run(&["verify", &path])).starts_with("REFUTED"));
    }

    // What is not cut leaves nothing behind.
    fs::remove_file(&file).unwrap();
    let none = |about: &[&str], status: i32, words: &str| {
        let output = office.create(about, &[]);
        assert_eq!(code(&output), status, "{about:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{about:?}: {}", said(&output));
        assert!(!file.exists() && !Path::new(&office.path("pack.part")).exists(), "{about:?}");
    };
    none(&["--case", "c9"], 2, "no record that concerns case c9");
    none(&["--case", "c1", "--fund", "f1"], 2, "cannot be used with");
    none(&["--from", "2026-01-01"], 2, "--to");
    none(&["--from", "2026-01-02", "--to", "2026-01-01"], 2, "swap them");
    none(&[], 2, "required");
    let bundle = fs::read_to_string(office.folder.join("bundle")).unwrap();
    let cut_off = bundle.trim_end().rsplit_once('\n').unwrap().0;
    fs::write(office.folder.join("bundle"), format!("{cut_off}\n")).unwrap();
    none(&["--case", "c1"], 1, "[records_missing]");
    fs::write(office.folder.join("bundle"), bundle).unwrap();
}

/// A head that the receiver kept is proved where the pack was cut for it, and otherwise not shown.
fn the_receiver_compares_heads(world: &World, office: &Office) {
    let kept = office.path("kept");
    fs::write(&kept, world.get("karl", "/v1/checkpoint").text).unwrap();
    world.case("c4", "south", true);
    fs::write(office.folder.join("bundle"), world.bundle()).unwrap();
    let (pack, with) = (office.path("pack"), ["--checkpoint", &kept]);
    let compared = || office.run(&[&["verify", pack.as_str()], &with[..]].concat());
    assert_eq!(code(&office.create(&["--fund", "f1"], &[])), 0);
    let output = compared();
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(said(&output).contains("NOT SHOWN"), "{}", said(&output));
    let output = office.create(&["--fund", "f1"], &with);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let output = compared();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let own: Value =
        serde_json::from_str(fs::read_to_string(&pack).unwrap().lines().next().unwrap()).unwrap();
    let Scope::Fund(fund) = serde_json::from_value(own["scope"].clone()).unwrap() else {
        panic!("{own}: another scope")
    };
    assert_eq!((fund.as_str(), own["earlier"].as_array().unwrap().len()), ("f1", 1));
    // A newer one is of no pack yet.
    world.case("c5", "south", true);
    fs::write(&kept, world.get("karl", "/v1/checkpoint").text).unwrap();
    let output = compared();
    assert_eq!(
        (code(&output), said(&output).contains("newer than the pack")),
        (1, true),
        "{}",
        said(&output)
    );
}
