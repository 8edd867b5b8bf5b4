//! Witnesses: the page for operators as it is written, and a log that shows two histories.

mod hostile;
mod replaying;
mod restarted;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use disbursement_api::witnesses::Witnesses;
use records::governance::Policy;
use records::scalar::Integer;
use records::witnessing::{Statement, Witnessing};
use serde_json::json;
use signing::digest::Digest;
use signing::keys::PublicKey;
use tests::binary::{root, safeconduct};
use tests::cluster::scratch;
use tests::http::try_post_text;
use tests::people::{Person, key};
use tests::service::ledger_keys;
use tests::wait::until;
use tests::world::{World, id, policy};
use translog::checkpoint::Checkpoint;
use translog::cosignature::{cosign, cosigned_at};
use translog::proof::{MemoryHashes, consistency, root as root_of};
use translog::tree::{EMPTY_ROOT, leaf_hash};
use translog::witness::{AddCheckpoint, Cosigned, KnownLog, NotCosigned};

use crate::bad_input::bank;
use crate::readme;
use crate::recovery::free_port;

const PASSPHRASE: &str = "only for this test";
/// The witnesses of ada's home: one that compares, and one that replays.
pub const NAME: &str = "witness.example/ada";
const REPLAYS: &str = "witness.example/ada-replay";

/// What the page says without commands.
const FURTHER: &str = r#"
# Whoever does not know the act demands nothing; whoever does, demands it of every receipt.
as boris receipt verify $(ls $W/boris/receipts/* | head -1) >$W/boris.txt
as boris witnesses accept $W/karl/receipts/$ACT.json $W/kira/receipts/$CONCURRENCE.json
if as boris receipt verify $(ls $W/boris/receipts/* | head -1) >>$W/boris.txt; then exit 1; fi
# One custodian is no quorum, and a receipt of something else is no act.
if as paul witnesses accept $W/karl/receipts/$ACT.json; then exit 1; fi
if as paul witnesses accept $RECEIPT; then exit 1; fi
# Killed, it goes on from what it remembers.
kill -9 $FIRST
as anna case open --agency north --entered 2026-03-02 --offer new-life
if as ada --json witnesses show | grep -q "\"size\": \"$(as ada --json checkpoint | sed -n 's/.*"size": "\(.*\)".*/\1/p')\""; then exit 1; fi
AT=$(at $W/first.txt)
target/debug/safeconduct --home $W/ada witness --listen ${AT#http://} >$W/third.txt 2>>$W/witness.log & FIRST=$!
until as ada --json witnesses show | grep -q "\"size\": \"$(as ada --json checkpoint | sed -n 's/.*"size": "\(.*\)".*/\1/p')\""; do sleep 1; done
as ada --json witnesses show
python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' \
  $(sed -n 's/^metrics *//p' $W/service.txt) >$W/metrics.txt
if as ada witness --listen 127.0.0.1:0 2>$W/twice.txt; then exit 1; fi
kill $FIRST && wait $FIRST
mv $W/ada/witness/cosigned.json $W/gone
if as ada witness --listen 127.0.0.1:0 2>$W/forgotten.txt; then exit 1; fi
if as ada witness key --name witness.example/other 2>$W/again.txt; then exit 1; fi
FIRST=$SECOND
"#;

#[test]
fn the_page_works_as_written() {
    let w = scratch("witness");
    let (said, errors) = readme::run(&["README.md", "docs/operating/witness.md"], FURTHER, &w, &free_port());
    let text = |name: &str| fs::read_to_string(w.join(name)).unwrap();
    assert!(said.contains("replayed and cosigned by witness.example/ada-replay at 20"), "{said}");
    assert_eq!(said.matches("The checkpoint is cosigned by witness.example/ada at").count(), 3, "{said}");
    assert!(text("boris.txt").contains("fewer COSIGNATURES than the policy demands"), "{said}");
    assert!(
        errors.contains("by 1 of the custodians") && errors.contains("is of a proposal of a policy"),
        "{errors}"
    );
    assert!(text("service.log").contains("a witness did not cosign"));
    assert!(text("twice.txt").contains("another process runs this witness already"));
    assert!(text("forgotten.txt").contains("could sign two histories"));
    assert!(text("again.txt").contains("there is a key in"));
    assert_eq!(text("witness.log"), "", "an alarm without a reason");
    let counted = text("metrics.txt");
    for name in [
        "safeconduct_log_cosigned_records 68",
        "safeconduct_witness_records{witness=\"witness.example/ada\"} 68",
    ] {
        assert!(counted.contains(name), "{counted}");
    }
}

/// A witness's home and process.
pub struct Witness {
    process: Child,
    url: String,
    pub key: PublicKey,
    name: &'static str,
}

/// A home of ada's that has joined, with a witness's key.
pub fn home(world: &World, dir: &Path) {
    let ada = Person::new("ada");
    fs::create_dir_all(dir).unwrap();
    let pem = ada.key.to_pkcs8_pem(PASSPHRASE).unwrap();
    fs::write(dir.join("key.pem"), pem.as_bytes()).unwrap();
    let (key, public) = (ada.key.public().id(), ada.key.public().clone());
    let identity = json!({"key": key, "principal": ada.principal, "public": public});
    fs::write(dir.join("identity.json"), identity.to_string()).unwrap();
    let ledger = world.ledger.to_string();
    command(dir, &["join", "--url", &world.url, "--ledger", &ledger]);
    command(dir, &["witness", "key", "--name", NAME]);
    command(dir, &["witness", "key", "--replay", "--name", REPLAYS]);
}

fn command(home: &Path, arguments: &[&str]) {
    let output = safeconduct_at(home).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn safeconduct_at(home: &Path) -> Command {
    let mut command = Command::new(safeconduct());
    command.arg("--home").arg(home).env("SAFECONDUCT_PASSPHRASE", PASSPHRASE).current_dir(root());
    command
}

impl Witness {
    /// What it says of requests is beside the home.
    pub fn start(home: &Path, statement: Statement) -> Witness {
        let (folder, flag, name) = match statement {
            Statement::Consistent => ("witness", None, NAME),
            Statement::Replayed => ("witness-replay", Some("--replay"), REPLAYS),
        };
        let log = fs::File::options().create(true).append(true).open(home.with_extension("log")).unwrap();
        let mut process = safeconduct_at(home)
            .args(["witness", "--listen", "127.0.0.1:0"])
            .args(flag)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut url = None;
        for line in BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(at) = line.strip_prefix("url ") {
                url = Some(at.trim().to_owned());
            }
            if line == "ready" {
                break;
            }
        }
        let identity: serde_json::Value =
            serde_json::from_slice(&fs::read(home.join(folder).join("identity.json")).unwrap()).unwrap();
        let key = serde_json::from_value(identity["public"].clone()).unwrap();
        Witness { process, url: url.expect("it says where it listens"), key, name }
    }

    pub fn ask(&self, request: &AddCheckpoint) -> Option<(u16, String)> {
        try_post_text(&format!("{}/add-checkpoint", self.url), request.encode())
    }

    /// Whether it cosigned; the cosignature must hold.
    fn cosigns(&self, request: &AddCheckpoint) -> bool {
        let Some((200, line)) = self.ask(request) else { return false };
        let note = format!("{}{line}", request.note);
        assert!(cosigned_at(&note, self.name, &self.key).unwrap().is_some(), "{note}");
        true
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two histories that the stolen checkpoint key signs. They begin like the real log.
struct Histories {
    trees: [MemoryHashes; 2],
}

impl Histories {
    fn of(world: &World, beyond: u64) -> (Histories, u64) {
        let size = world.basis().size.0;
        let mut tree = MemoryHashes::new();
        let bundle = world.bundle();
        let records: Vec<&str> = bundle.lines().collect();
        records[records.len() - usize::try_from(size).unwrap()..]
            .iter()
            .for_each(|record| tree.append(leaf_hash(record.as_bytes())));
        let mut trees = [tree.clone(), tree];
        for (which, tree) in trees.iter_mut().enumerate() {
            (0..beyond).for_each(|n| tree.append(Digest::of(format!("{which} {n}"))));
        }
        (Histories { trees }, size)
    }

    fn request(&self, which: usize, old: u64, size: u64) -> AddCheckpoint {
        let keys = ledger_keys();
        let tree = &self.trees[which];
        let checkpoint =
            Checkpoint { origin: keys.origin.to_string(), size, root: root_of(size, tree).unwrap() };
        let proof = consistency(old, size, tree).unwrap();
        AddCheckpoint { old, proof, note: checkpoint.sign(&keys.checkpoint) }
    }
}

/// The names of what a home keeps as evidence.
fn evidence(home: &Path) -> Vec<String> {
    let evidence = fs::read_dir(home.join("evidence")).into_iter().flatten();
    evidence.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn two_histories_get_one_witness_only() {
    safeconduct();
    let world = World::new();
    let dir = scratch("histories").join("ada");
    home(&world, &dir);
    let (histories, size) = Histories::of(&world, 40);
    let witness = Witness::start(&dir, Statement::Consistent);
    // It cosigned nothing yet, as C2SP has it.
    let (status, says) = witness.ask(&histories.request(0, size, size + 10)).unwrap();
    assert_eq!((status, says), (409, "0\n".to_owned()));
    // And yet nothing that is not of one log with what its home has verified, or is not shown to be.
    let keys = ledger_keys();
    for (at, status) in [(size - 1, 422), (size, 422), (size + 10, 503)] {
        let fork = Checkpoint { origin: keys.origin.to_string(), size: at, root: Digest::of("fork") };
        let request = AddCheckpoint { old: 0, proof: vec![], note: fork.sign(&keys.checkpoint) };
        assert_eq!(witness.ask(&request).unwrap().0, status, "{at}");
    }
    assert_eq!(evidence(&dir).iter().filter(|name| name.ends_with("-verified.txt")).count(), 2);
    let proven = AddCheckpoint { proof: vec![Digest::of("x")], ..histories.request(0, 0, size) };
    assert_eq!(witness.ask(&proven).unwrap().0, 422, "a proof from nothing is empty");
    fs::remove_dir_all(dir.join("evidence")).unwrap();
    assert!(witness.cosigns(&histories.request(0, 0, size - 1)), "a part of what it has verified");
    assert!(witness.cosigns(&histories.request(0, size - 1, size)));
    assert!(witness.cosigns(&histories.request(0, size, size + 10)));
    // The same again, which is what a lost answer leads to.
    assert!(witness.cosigns(&histories.request(0, size + 10, size + 10)));

    let status = |request: &AddCheckpoint| witness.ask(request).unwrap().0;
    assert_eq!(status(&histories.request(1, size + 10, size + 10)), 409, "another root of one size");
    assert_eq!(status(&histories.request(1, size + 10, size + 20)), 422, "a log that forks");
    assert_eq!(status(&histories.request(0, size, size + 20)), 409, "an old size that is not the last");
    let backwards = AddCheckpoint { old: size + 10, ..histories.request(0, size, size + 5) };
    assert_eq!(status(&backwards), 400, "a log that shrinks");
    let mut other = histories.request(0, size + 10, size + 20);
    other.note = other.note.replace(ledger_keys().origin.as_str(), "other.example/log");
    assert_eq!(status(&other), 404, "another log");
    let forged =
        Checkpoint { origin: ledger_keys().origin.to_string(), size: size + 20, root: Digest::of("x") };
    let forged = AddCheckpoint { note: forged.sign(&Person::new("eve").key), ..other.clone() };
    assert_eq!(status(&forged), 403, "not the ledger's signature");
    for body in ["", "old\n", "old 1\n\n", "old 01\n\nx", "old 1\nnot base64\n\nx", "new 1\n\nx"] {
        let (status, _) = try_post_text(&format!("{}/add-checkpoint", witness.url), body.to_owned()).unwrap();
        assert!([400, 404].contains(&status), "{body}: {status}");
    }
    let huge = "x".repeat(1 << 20);
    let answered = try_post_text(&format!("{}/add-checkpoint", witness.url), huge);
    assert!(answered.is_none_or(|(status, _)| status == 413));
    assert!(witness.cosigns(&histories.request(0, size + 10, size + 20)), "nothing of it hurt");
    // Both notes of the two roots, and the fork that was not proven to be none; each once, however often it comes.
    for _ in 0..5 {
        assert_eq!(status(&histories.request(1, size + 20, size + 20)), 409);
        assert_eq!(status(&histories.request(1, size + 20, size + 30)), 422);
    }
    let evidence = evidence(&dir);
    let unproven = evidence.iter().filter(|name| name.contains("-unproven-")).count();
    assert_eq!((evidence.len(), unproven), (6, 2), "{evidence:?}");
}

/// A fork that begins like all that it cosigned, and not like what its home has verified since.
#[test]
fn what_its_home_has_verified_meanwhile_counts() {
    safeconduct();
    let world = World::new();
    let dir = scratch("meanwhile").join("ada");
    home(&world, &dir);
    let (histories, size) = Histories::of(&world, 1);
    let witness = Witness::start(&dir, Statement::Consistent);
    assert!(witness.cosigns(&histories.request(0, 0, size)));
    witness.kill();
    world.ok("dora", bank("g1"));
    command(&dir, &["checkpoint"]);
    let witness = Witness::start(&dir, Statement::Consistent);
    let (status, said) = witness.ask(&histories.request(1, size, size + 1)).unwrap();
    assert_eq!(status, 422, "{said}");
    assert!(said.contains("is not of one log with"), "{said}");
    assert_eq!(evidence(&dir).len(), 3, "what was cosigned, verified and shown");
    let now = world.basis().size.0;
    let proof = world.get("ada", &format!("/v1/proofs/consistency?from={size}&to={now}")).json;
    let proof = serde_json::from_value(proof["hashes"].clone()).unwrap();
    let note = world.get("ada", "/v1/checkpoint").text;
    assert!(witness.cosigns(&AddCheckpoint { old: size, proof, note }));
}

/// Killed at any moment between two histories, whatever it said before.
#[test]
fn a_killed_witness_never_cosigns_two_histories() {
    safeconduct();
    let world = World::new();
    let dir = scratch("killed").join("ada");
    home(&world, &dir);
    let (histories, begin) = Histories::of(&world, 400);
    let witness = Witness::start(&dir, Statement::Consistent);
    assert!(witness.cosigns(&histories.request(0, 0, begin)));
    witness.kill();
    let mut sizes = [begin, begin];
    let mut cosigned: Vec<(u64, usize)> = vec![];
    for round in 0..12_u64 {
        let witness = Witness::start(&dir, Statement::Consistent);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut found = vec![];
                for _ in 0..30 {
                    for which in [0, 1] {
                        let old = sizes[which];
                        let request = histories.request(which, old, old + 1);
                        match witness.ask(&request) {
                            Some((200, _)) => {
                                found.push((old + 1, which));
                                sizes[which] = old + 1;
                            }
                            // What it remembers, which may be more than it could say.
                            Some((409, says)) => {
                                let says: u64 = says.trim().parse().unwrap();
                                sizes[which] = says.min(begin + 399);
                            }
                            Some(_) => {}
                            None => return found,
                        }
                    }
                }
                found
            });
            std::thread::sleep(std::time::Duration::from_millis(5 + 61 * round % 250));
            let status = Command::new("kill").args(["-9", &witness.process.id().to_string()]).status();
            assert!(status.unwrap().success());
            cosigned.extend(asking.join().unwrap());
        });
        witness.kill();
        let kept: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("witness/cosigned.json")).unwrap()).unwrap();
        let kept: Integer =
            serde_json::from_value(kept[ledger_keys().origin.as_str()]["size"].clone()).unwrap();
        let most = cosigned.iter().map(|(size, _)| *size).max().unwrap_or(begin);
        assert!(kept.0 >= most, "it forgot what it cosigned: {} < {most}", kept.0);
    }
    assert!(cosigned.len() > 10, "it cosigned hardly anything: {cosigned:?}");
    let histories: std::collections::BTreeSet<usize> = cosigned.iter().map(|(_, which)| *which).collect();
    assert_eq!(histories.len(), 1, "{cosigned:?}");
}

/// Three witnesses in this process, of whom two are demanded. What the third does is told by its mood.
struct Three {
    last: Mutex<BTreeMap<String, Cosigned>>,
    mood: Mutex<Mood>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Good,
    Hangs,
    Refuses,
}

impl Three {
    fn answer(&self, url: &str, body: &str) -> Result<(u16, String), String> {
        let name = url.strip_prefix("http://").unwrap().strip_suffix("/add-checkpoint").unwrap();
        let mood = *self.mood.lock().unwrap();
        match (name, mood) {
            // Something before it answers, as if all were well.
            ("b", Mood::Refuses) => return Ok((200, "<p>not today</p>\n".to_owned())),
            ("c", Mood::Good) => {}
            ("c", _) => loop {
                std::thread::park();
            },
            _ => {}
        }
        self.cosign(name, body)
    }

    fn cosign(&self, name: &str, body: &str) -> Result<(u16, String), String> {
        let keys = ledger_keys();
        let log = KnownLog { origin: keys.origin.to_string(), key: keys.checkpoint.public().clone() };
        let request = AddCheckpoint::parse(body).unwrap();
        let mut all = self.last.lock().unwrap();
        let last = all.entry(name.to_owned()).or_insert(Cosigned { size: 0, root: EMPTY_ROOT });
        match request.judge(&[log], |_| *last) {
            Ok(checkpoint) => {
                *last = Cosigned { size: checkpoint.size, root: checkpoint.root };
                Ok((200, cosign(&request.note, &format!("w/{name}"), &key(name), 7).unwrap()))
            }
            Err(refusal @ NotCosigned::OtherSize(size)) => Ok((refusal.status(), format!("{size}\n"))),
            Err(refusal) => Ok((refusal.status(), refusal.to_string())),
        }
    }
}

#[test]
fn a_witness_that_hangs_or_refuses_keeps_nobody_up() {
    let witness = |name: &str| records::witnessing::Witness {
        key: key(name).public().clone(),
        name: id(&format!("w/{name}")),
        statement: Statement::Consistent,
    };
    let witnesses = ["a", "b", "c"].map(witness).to_vec();
    let witnessing = Witnessing { replays: Integer(0), threshold: Integer(2), witnesses };
    let world = World::with_policy(Policy { witnessing: Some(witnessing.clone()), ..policy() });
    let three = Arc::new(Three { last: Mutex::default(), mood: Mutex::new(Mood::Hangs) });
    let asked = Arc::clone(&three);
    let post = Arc::new(move |url: &str, body: String| asked.answer(url, &body));
    let addresses = ["a", "b", "c"].map(|name| (format!("w/{name}"), format!("http://{name}"))).into();
    let gathering = Witnesses::new(world.service.pipeline().clone(), world.database.pools(), addresses, post);
    let task = tests::cluster::runtime().spawn(gathering.run());

    let cosigned = || {
        let answer = world.get("ada", "/v1/checkpoint/cosigned");
        let by = witnessing.cosigned_by(&answer.text).map(|by| by.len()).unwrap_or(0);
        let size = answer.text.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
        (answer.status == 200).then(|| (size.unwrap(), by))
    };
    // The two others suffice, head after head.
    for fund in ["g1", "g2"] {
        world.ok("dora", bank(fund));
        let size = world.basis().size.0;
        until("two cosignatures of the latest head", || cosigned() == Some((size, 2)));
    }
    // One alone does not; what was cosigned before stays.
    let before = world.basis().size.0;
    *three.mood.lock().unwrap() = Mood::Refuses;
    world.ok("dora", bank("g3"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(cosigned(), Some((before, 2)));
    // It is asked again, although nothing is posted.
    *three.mood.lock().unwrap() = Mood::Good;
    let size = world.basis().size.0;
    until("the one that refused to be asked again", || cosigned() == Some((size, 2)));
    // Somebody else had it cosign a later head: it will never cosign the one that the others did.
    *three.mood.lock().unwrap() = Mood::Refuses;
    world.ok("dora", bank("g4"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    world.ok("dora", bank("g5"));
    let (note, later) = (world.get("ada", "/v1/checkpoint").text, world.basis().size.0);
    let proof = world.get("ada", &format!("/v1/proofs/consistency?from={size}&to={later}")).json;
    let proof = serde_json::from_value(proof["hashes"].clone()).unwrap();
    let ahead = three.cosign("b", &AddCheckpoint { old: size, proof, note }.encode()).unwrap();
    assert_eq!(ahead.0, 200, "{}", ahead.1);
    *three.mood.lock().unwrap() = Mood::Hangs;
    until("the later head to be cosigned", || cosigned() == Some((later, 2)));
    task.abort();
}

/// A group cannot state a later time than that at which somebody has seen it.
#[test]
fn an_audit_compares_times_with_those_of_witnesses() {
    let witness = records::witnessing::Witness {
        key: key("a").public().clone(),
        name: id("w/a"),
        statement: Statement::Replayed,
    };
    let witnessing =
        Witnessing { replays: Integer(1), threshold: Integer(1), witnesses: vec![witness.clone()] };
    let world = World::with_policy(Policy { witnessing: Some(witnessing), ..policy() });
    world.ok("dora", bank("g1"));
    let (bundle, note) = (world.bundle(), world.get("ada", "/v1/checkpoint").text);
    // The group's time, which the clock may have left behind since.
    let checked = auditor::verify(bundle.as_bytes(), world.ledger).unwrap().checked;
    let now = u64::try_from(checked.last_group_at.unwrap().unix()).unwrap();
    let skew_s = policy().skew_s.0;
    let audit = |time: u64, key_of: &str| {
        let line = cosign(&note, "w/a", &key(key_of), time).unwrap();
        let kept = [format!("{note}{line}")];
        auditor::verify_against(bundle.as_bytes(), world.ledger, &kept).unwrap()
    };
    for (time, is_early) in
        [(now, false), (now - skew_s, false), (now - skew_s - 1, true), (now + 999, false)]
    {
        let report = audit(time, "a");
        assert!(report.is_verified(), "{report}");
        assert!(report.accounts_for_kept(), "{report}");
        assert_eq!(report.agrees_with_kept(), !is_early, "{report}");
        let said = report.to_string();
        assert_eq!(said.contains("states the later time"), is_early, "{said}");
        assert_eq!(said.contains("replayed and cosigned by w/a at"), !is_early, "{said}");
    }
    // Somebody else's line is not the witness's.
    let report = audit(now, "eve");
    assert!(report.kept[0].cosigned.is_empty() && report.accounts_for_kept());
}

/// Whatever a witness cosigned, the database keeps it only beside the checkpoint that it has of that size.
#[test]
fn cosignatures_are_kept_of_the_services_own_checkpoints_only() {
    let world = World::new();
    let (keys, note) = (ledger_keys(), world.get("ada", "/v1/checkpoint").text);
    let own = crate::evidence::checkpoint(&note);
    let cosigned = |note: &str| format!("{note}{}", cosign(note, "w/a", &key("a"), 7).unwrap());
    let signed = |changed: Checkpoint| changed.sign(&keys.checkpoint);
    let pools = world.database.pools();
    let store = |size: u64, note: &str| {
        tests::cluster::runtime().block_on(async {
            let client = pools.service().await.unwrap();
            store::log::store_cosigned(&client, size, &cosigned(note)).await.unwrap();
        });
    };
    let latest = || world.get("ada", "/v1/checkpoint/cosigned");
    let (other, root) = ("tests.example/log/2".to_owned(), Digest::of("another"));
    for (size, note) in [
        (own.size, signed(Checkpoint { origin: other, ..own.clone() })),
        (own.size, signed(Checkpoint { root, ..own.clone() })),
        (own.size, signed(Checkpoint { size: own.size + 1, ..own.clone() })),
        (own.size + 1, signed(Checkpoint { size: own.size + 1, ..own.clone() })),
        (1, note.clone()),
    ] {
        store(size, &note);
        assert_eq!(latest().status, 404, "{size}: {note}");
    }
    store(own.size, &note);
    assert_eq!(latest().text, cosigned(&note));
    // Nor does another replace it.
    store(own.size, &signed(Checkpoint { root, ..own.clone() }));
    assert_eq!(latest().text, cosigned(&note));
}
