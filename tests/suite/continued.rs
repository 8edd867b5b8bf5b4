//! Audits that go on from what an earlier one kept, and what people sent compared with the log: the commands of
//! `docs/guides/continued-audit.md` as an auditor would paste them, and the same on a varied ledger at every group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use auditor::{Against, Audited, Checked, KeptState, audit};
use records::bundle::{Header, header_line};
use records::scalar::Integer;
use records::{Kind, Record};
use serde_json::{Value, json};
use signing::canonical;
use signing::digest::Digest;
use tests::binary::safeconduct;
use tests::cluster::scratch;
use tests::service::ledger_keys;
use translog::checkpoint::Checkpoint;

use crate::evidence::Log;
use crate::readme;
use crate::second::history;

/// A bundle's lines: the header, the balances, the records.
struct Parts<'a> {
    header: Header,
    balances: Vec<&'a str>,
    records: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(bundle: &'a str) -> Parts<'a> {
        let mut lines = bundle.lines();
        let header: Header = canonical::decode(lines.next().unwrap().as_bytes()).unwrap();
        let balances = lines.by_ref().take(header.balances.0 as usize).collect();
        Parts { header, balances, records: lines.collect() }
    }

    fn text(&self) -> String {
        let lines = self.balances.iter().chain(&self.records);
        header_line(&self.header) + &lines.map(|line| format!("{line}\n")).collect::<String>()
    }

    /// The records up to a size, under a checkpoint of it. Its balances were read when there were none.
    fn prefix(&self, size: u64, root: Digest) -> Parts<'a> {
        let keys = ledger_keys();
        let checkpoint = Checkpoint { origin: keys.origin.to_string(), size, root }.sign(&keys.checkpoint);
        let (balances, balances_at) = (Integer(0), Integer(1));
        let header =
            Header { balances, balances_at, checkpoint, records: Integer(size), ..self.header.clone() };
        Parts { header, balances: vec![], records: self.records[..size as usize].to_vec() }
    }

    /// The records from a size on.
    fn since(&self, size: u64) -> Parts<'a> {
        let header = Header { from: Some(Integer(size)), ..self.header.clone() };
        Parts { header, balances: self.balances.clone(), records: self.records[size as usize..].to_vec() }
    }
}

/// What a verification that must hold came to, and the bytes of what it kept.
#[track_caller]
fn kept(bundle: &str, ledger: Digest, state: Option<&[u8]>) -> (Checked, Vec<u8>) {
    let state = state.map(|state| KeptState::read(state, ledger).unwrap());
    let against = Against { state, ..Against::default() };
    let Audited { report, state, .. } = audit(bundle.as_bytes(), ledger, against).unwrap();
    assert!(report.is_verified(), "{report}");
    let mut bytes = Vec::new();
    state.unwrap().write(&mut bytes).unwrap();
    (report.checked, bytes)
}

#[test]
fn a_varied_ledger_from_every_group() {
    let world = history::written();
    let bundle = world.bundle();
    let (whole, roots) = (Parts::of(&bundle), Log::read(&bundle).roots);
    assert_eq!(whole.text(), bundle);
    let (all, end) = kept(&bundle, world.ledger, None);
    let is_group = |line: &str| Record::parse_leaf(line.as_bytes()).unwrap().kind() == Kind::Group;
    let groups = (0..whole.records.len()).filter(|position| is_group(whole.records[*position]));
    let mut tried = 0;
    for size in groups.chain([whole.records.len()]) {
        let (size, root) = (size as u64, roots[size]);
        let (_, state) = kept(&whole.prefix(size, root).text(), world.ledger, None);
        let part = whole.since(size).text();
        let (checked, last) = kept(&part, world.ledger, Some(&state));
        assert!(last == end, "another state by way of {size}");
        let continued = checked.continued.unwrap();
        assert_eq!((continued.size, continued.root), (size, root));
        // What a stolen key signed is listed of what was read, and that is less.
        let of_part = checked.to_review.clone();
        assert!(of_part.iter().zip(&all.to_review).all(|(part, whole)| part.count <= whole.count));
        assert_eq!(of_part.len(), all.to_review.len());
        assert!(of_part.iter().all(|one| one.part_from == Some(size).filter(|size| *size > one.since)));
        let to_review = all.to_review.clone();
        assert_eq!(Checked { continued: None, to_review, ..checked }, all, "{size}");
        // The service makes the same of it.
        if tried % 16 == 0 {
            assert_eq!(world.get("ada", &format!("/v1/bundle?from={size}")).text, part);
        }
        tried += 1;
    }
    assert!(tried > 30, "{tried} groups are not many");
}

/// What the guide's commands left behind.
struct Left {
    dir: PathBuf,
    ledger: String,
}

impl Left {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `safeconduct audit` of this ledger, with no home and no service.
    fn audit(&self, bundle: &str, arguments: &[&str]) -> Output {
        let mut audit = Command::new(safeconduct());
        audit.arg("audit").arg(self.path(bundle)).args(["--json", "--ledger", &self.ledger]);
        let mut is_path = false;
        for argument in arguments {
            if is_path {
                audit.arg(self.path(argument))
            } else {
                audit.arg(argument)
            };
            is_path = argument.starts_with("--");
        }
        audit.output().unwrap()
    }

    /// The same, which ends with this code; what it prints.
    #[track_caller]
    fn audited(&self, code: i32, bundle: &str, arguments: &[&str]) -> Value {
        let output = self.audit(bundle, arguments);
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{said}{errors}");
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{errors}"))
    }

    /// The same, which cannot run; what it says.
    #[track_caller]
    fn refused(&self, bundle: &str, arguments: &[&str]) -> String {
        let output = self.audit(bundle, arguments);
        assert_eq!(output.status.code(), Some(2), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_guides_commands_and_what_they_find() {
    let dir = scratch("continued");
    let pages = ["README.md", "docs/guides/continued-audit.md"];
    let (said, errors) = readme::run(&pages, "echo \"LEDGER=$LEDGER\"\n", &dir, "0");
    assert!(said.contains("continued     from size"), "{said}");
    assert!(said.contains("The state at size"), "{said}");
    assert!(said.contains("the log begins with it"), "{said}");
    assert!(said.contains("  unanswered    0"), "{said}");
    assert!(!errors.contains("records verified"), "a line that moves is for terminals only");
    let ledger = said.lines().last().unwrap().strip_prefix("LEDGER=").unwrap().to_owned();
    let left = Left { dir, ledger };

    goes_on(&left);
    is_found_out(&left);
    is_compared(&left);
}

/// What is kept of the whole is what is kept of the parts, to the byte.
fn goes_on(left: &Left) {
    let first = left.audited(0, "bundle.ndjson", &["--keep", "state-1"]);
    let size = first["kept_state"]["size"].as_str().unwrap();
    let part = left.audited(0, "part.ndjson", &["--state", "state-1", "--keep", "state-2"]);
    assert_eq!(part["checked"]["continued"]["size"], size);
    let whole = left.audited(0, "whole.ndjson", &["--keep", "state-whole", "--state", "state-1"]);
    assert_eq!(whole["kept"][0]["standing"], "holds");
    for what in
        ["funds", "balances", "records", "records_by_kind", "signatures", "checkpoint", "last_group_at"]
    {
        assert_eq!(part["checked"][what], whole["checked"][what], "{what}");
    }
    assert_eq!(left.text("state-2"), left.text("state-whole"));
    assert_eq!(left.text("state-2"), left.text("ada/state"));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(left.path("state-2")).unwrap().permissions().mode() & 0o777, 0o600);
    // A part that nothing came after.
    let end = Parts::of(&left.text("whole.ndjson")).header.records.0;
    fs::write(left.path("nothing.ndjson"), Parts::of(&left.text("whole.ndjson")).since(end).text()).unwrap();
    left.audited(0, "nothing.ndjson", &["--state", "state-2"]);
}

/// What does not go on from there, and what cannot be judged at all.
fn is_found_out(left: &Left) {
    let code =
        |bundle: &str, arguments: &[&str]| left.audited(1, bundle, arguments)["verdict"]["code"].clone();
    assert_eq!(code("part.ndjson", &["--state", "state-2"]), "part_elsewhere");
    let part = left.text("part.ndjson");
    let mut cut = Parts::of(&part);
    let size = cut.header.first();
    cut.header.records = Integer(size - 1);
    cut.header.balances_at = Integer(size - 1);
    fs::write(left.path("cut.ndjson"), cut.text()).unwrap();
    assert_eq!(code("cut.ndjson", &["--state", "state-1"]), "part_shorter");
    let mut altered = Parts::of(&part);
    let record = altered.records[1].replacen('A', "B", 1);
    altered.records[1] = &record;
    fs::write(left.path("altered.ndjson"), altered.text()).unwrap();
    let arguments = ["--state", "state-1", "--keep", "state-none"];
    assert_eq!(left.audited(1, "altered.ndjson", &arguments)["verdict"]["position"], (size + 1).to_string());
    assert!(!left.path("state-none").exists(), "nothing is kept of what does not hold");
    // A whole log that was cut holds by itself, and not against what was kept; what was kept stays.
    let before = left.text("state-2");
    left.audited(1, "bundle.ndjson", &["--state", "state-2", "--keep", "state-2"]);
    assert_eq!(left.text("state-2"), before);

    assert!(left.refused("part.ndjson", &[]).contains("verify it on the state that was kept at size"));
    let documents = ["--state", "state-1", "--evidence", "anna/receipts"];
    assert!(left.refused("part.ndjson", &documents).contains("give a whole bundle"));
    fs::write(left.path("damaged"), before.replacen("USD", "EUR", 1)).unwrap();
    let refused = left.refused("part.ndjson", &["--state", "damaged"]);
    assert!(refused.contains("damaged: the kept state is damaged"), "{refused}");
    let stranger = Left { dir: left.dir.clone(), ledger: "0".repeat(64) };
    assert!(stranger.refused("part.ndjson", &["--state", "state-1"]).contains("is of ledger"));
    assert!(left.refused("part.ndjson", &["--state", "bundle.ndjson"]).contains("not a kept state"));
}

/// What somebody sent and was answered, in every relation to the log.
fn is_compared(left: &Left) {
    let home = |name: &str| {
        copy(&left.path("anna/receipts"), &left.path(name).join("receipts"));
        left.path(name)
    };
    let outbox = |code: i32, bundle: &str, name: &str| {
        left.audited(code, bundle, &["--outbox", name])["outbox"].clone()
    };
    let receipts = |name: &str| {
        let files = fs::read_dir(left.path(name).join("receipts")).unwrap();
        let mut receipts: Vec<(u64, PathBuf)> = files
            .map(|file| file.unwrap().path())
            .map(|path| {
                let receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                (receipt["position"].as_str().unwrap().parse().unwrap(), path)
            })
            .collect();
        receipts.sort();
        receipts
    };

    home("all");
    let seen = outbox(0, "whole.ndjson", "all");
    let count = receipts("all").len();
    assert!(count > 2);
    assert_eq!(seen["receipts"], count.to_string());
    assert_eq!((&seen["not_in_log"], &seen["unanswered"]), (&json!([]), &json!([])));
    // A part says the same, since checkpoints of before it are known.
    let of_part = left.audited(0, "part.ndjson", &["--state", "state-1", "--outbox", "all"]);
    assert_eq!(of_part["outbox"]["not_in_log"], json!([]));
    // The older bundle does not have the last one.
    let missing = outbox(1, "bundle.ndjson", "all");
    let last = receipts("all").last().unwrap().0;
    assert_eq!(missing["not_in_log"].as_array().unwrap().len(), 1, "{missing}");
    assert_eq!(missing["not_in_log"][0]["standing"], "missing");
    assert_eq!(missing["not_in_log"][0]["position"], last.to_string());

    // Without its receipt, it is in the newer log, and not in the older one, or refused; none of it proves anything.
    let unanswered = home("unanswered");
    let (_, receipt) = receipts("unanswered").pop().unwrap();
    let envelope = serde_json::from_slice::<Value>(&fs::read(&receipt).unwrap()).unwrap()["envelope"].clone();
    fs::create_dir(unanswered.join("outbox")).unwrap();
    let sent = unanswered.join("outbox").join(receipt.file_name().unwrap());
    fs::remove_file(&receipt).unwrap();
    let mut item = json!({"envelope": envelope, "sent_at": "2026-03-02T10:00:00Z"});
    fs::write(&sent, item.to_string()).unwrap();
    let listed = outbox(0, "whole.ndjson", "unanswered")["unanswered"][0].clone();
    assert_eq!((&listed["standing"], &listed["position"]), (&json!("in-log"), &json!(last.to_string())));
    assert_eq!(listed["kind"], "case-opening");
    assert_eq!(outbox(0, "bundle.ndjson", "unanswered")["unanswered"][0]["standing"], "not-in-log");
    item["refused"] = json!({"code": "case_exists"});
    fs::write(&sent, item.to_string()).unwrap();
    let listed = outbox(0, "bundle.ndjson", "unanswered")["unanswered"][0].clone();
    assert_eq!((&listed["standing"], &listed["refused"]["code"]), (&json!("refused"), &json!("case_exists")));

    // A record at another position, a record that is not there, a checkpoint that nobody signed.
    let alter = |name: &str, change: &dyn Fn(&mut Value)| {
        home(name);
        let (_, path) = receipts(name).remove(0);
        let mut receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut receipt);
        fs::write(&path, receipt.to_string()).unwrap();
        let compared = outbox(1, "whole.ndjson", name);
        assert_eq!(compared["not_in_log"].as_array().unwrap().len(), 1, "{compared}");
        assert_eq!(compared["not_in_log"][0]["standing"], "contradicts", "{compared}");
        compared["not_in_log"][0]["reason"].as_str().unwrap().to_owned()
    };
    let moved = |receipt: &mut Value| {
        let position: u64 = receipt["position"].as_str().unwrap().parse().unwrap();
        receipt["position"] = json!((position - 1).to_string());
    };
    assert!(alter("moved", &moved).contains("not at that position"));
    assert!(
        alter("another", &|receipt| receipt["envelope"] = envelope.clone()).contains("not at that position")
    );
    let unsigned = |receipt: &mut Value| {
        let note = receipt["checkpoint"].as_str().unwrap();
        let digits = note.split('\n').nth(1).unwrap();
        let larger = format!("\n{}\n", digits.parse::<u64>().unwrap() + 1);
        receipt["checkpoint"] = json!(note.replacen(&format!("\n{digits}\n"), &larger, 1));
    };
    assert!(alter("unsigned", &unsigned).contains("signature"));

    // Of a log that does not hold nothing is compared; and a directory must have something to compare.
    let refuted = left.audited(1, "altered.ndjson", &["--state", "state-1", "--outbox", "all"]);
    assert!(refuted.get("outbox").is_none(), "{refuted}");
    assert!(
        left.refused("whole.ndjson", &["--outbox", "service"]).contains("neither `outbox` nor `receipts`")
    );
}
