//! Programs of others agree with ours: a client that signs requests, and verifiers of signatures.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use records::Body;
use records::witnessing::Statement;
use serde_json::Value;
use signing::keys::SecretKey;
use tests::binary::root;
use tests::cluster::scratch;
use tests::people::{Person, key};
use tests::service::ledger_keys;
use tests::world::World;
use translog::checkpoint::Checkpoint;
use translog::cosignature::verifier_key;
use translog::proof::MemoryHashes;
use translog::tree::leaf_hash;
use translog::witness::AddCheckpoint;

use crate::witness;

/// Runs one of the programs in `tests/foreign`.
fn python(program: &str, arguments: &[&str]) -> Output {
    let interpreter = root().join("target/python/bin/python");
    assert!(interpreter.exists(), "there is no {}: run `make python`", interpreter.display());
    let program = root().join("tests/foreign").join(program);
    Command::new(interpreter).arg(program).args(arguments).output().unwrap()
}

/// What a program said, which must have succeeded.
fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn another_client_signs_in_whatever_order() {
    let world = World::new();
    let boris = Person::new("boris").key.public().id().to_string();
    let (funds, policy) =
        (format!("{}/v1/funds", world.service.url), format!("{}/v1/policy", world.service.url));
    let (seed, other) = (Person::seed_hex("boris"), Person::seed_hex("mallory"));
    let funds = funds.as_str();
    for (arguments, status) in [
        ([funds, &boris, &seed].as_slice(), "200"),
        // Signed for one resource and sent to another; signed by another key than is named.
        (&[funds, &boris, &seed, &policy], "401"),
        (&[funds, &boris, &other], "401"),
    ] {
        let lines = said(&python("http_signatures.py", arguments));
        let mut orders: Vec<&str> = vec![];
        for line in lines.lines() {
            let (order, answered) = line.split_once(' ').unwrap();
            assert_eq!(answered, status, "{line}");
            orders.push(order);
        }
        orders.sort_unstable();
        orders.dedup();
        assert_eq!(orders.len(), 24, "{lines}");
    }
}

/// A ledger with records of everybody, and its bundle.
fn world_and_bundle() -> (World, String) {
    let world = World::new();
    world.fund("20000.00");
    world.offer();
    world.case("c1", "north", true);
    world.ok("anna", Body::Request(world.request("d1", "c1", "grant", "5000.00")));
    world.ok("boris", world.approval("d1"));
    let bundle = world.bundle();
    (world, bundle)
}

/// The lines of a bundle before its records, and the records.
fn parted(bundle: &str) -> (Vec<&str>, Vec<&str>) {
    let mut lines: Vec<&str> = bundle.lines().collect();
    let header: Value = serde_json::from_str(lines[0]).unwrap();
    let balances: usize = header["balances"].as_str().unwrap().parse().unwrap();
    let records = lines.split_off(1 + balances);
    (lines, records)
}

#[test]
fn another_verifier_reads_a_bundle() {
    let (world, bundle) = world_and_bundle();
    let ledger = world.ledger.to_string();
    let verify = |text: &str, ledger: &str| {
        let path = scratch("bundle").join("bundle.ndjson");
        std::fs::write(&path, text).unwrap();
        python("dsse_verify.py", &[path.to_str().unwrap(), ledger])
    };
    let (before, records) = parted(&bundle);
    assert_eq!(said(&verify(&bundle, &ledger)).trim(), records.len().to_string());
    let joined = |records: &[&str]| format!("{}\n{}\n", before.join("\n"), records.join("\n"));
    assert_eq!(joined(&records), bundle);

    let of = |record: &str, field: &str| {
        let envelope: Value = serde_json::from_str(record).unwrap();
        envelope.pointer(field).unwrap().as_str().unwrap().to_owned()
    };
    let last = records[records.len() - 1];
    let signature = of(last, "/signatures/0/sig");
    let other = of(records[records.len() - 2], "/signatures/0/sig");
    let spoilt = |from: &str, to: &str| {
        assert!(last.contains(from) && from != to);
        let spoilt = last.replace(from, to);
        let mut all = records.clone();
        *all.last_mut().unwrap() = &spoilt;
        joined(&all)
    };
    let swapped = {
        let mut all = records.clone();
        let end = all.len();
        all.swap(end - 1, end - 2);
        joined(&all)
    };
    let header: Value = serde_json::from_str(before[0]).unwrap();
    let note = header["checkpoint"].as_str().unwrap();
    let (text, signed) = note.rsplit_once(' ').unwrap();
    let flipped = |at: usize| {
        let mut bytes = STANDARD.decode(signed.trim_end()).unwrap();
        bytes[at] ^= 1;
        let note = format!("{text} {}\n", STANDARD.encode(bytes));
        bundle.replacen(&quoted(header["checkpoint"].as_str().unwrap()), &quoted(&note), 1)
    };
    for (text, ledger, says) in [
        (spoilt(&signature, &other), ledger.as_str(), "a signature that does not hold"),
        (spoilt(".entry.v1", ".lapse.v1"), &ledger, "a signature that does not hold"),
        (
            spoilt(&ledger_keys().record.public().id().to_string(), &"0".repeat(64)),
            &ledger,
            "no earlier record",
        ),
        (swapped, &ledger, "another log, size or root"),
        (joined(&records[..records.len() - 1]), &ledger, "another number of records"),
        (bundle.clone(), &"0".repeat(64), "the founding of another ledger"),
        (flipped(0), &ledger, "signed by another key"),
        (flipped(40), &ledger, "the checkpoint has a signature that does not hold"),
    ] {
        let output = verify(&text, ledger);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(says), "{says}: {error}");
    }
}

/// A copy of a bundle on disk.
fn kept(bundle: &str) -> PathBuf {
    let path = scratch("foreign").join("bundle.ndjson");
    std::fs::write(&path, bundle).unwrap();
    path
}

#[test]
fn securesystemslib_verifies_every_envelope() {
    let (_world, bundle) = world_and_bundle();
    let path = kept(&bundle);
    let (before, records) = parted(&bundle);
    let verify = || python("envelopes.py", &[path.to_str().unwrap()]);
    assert_eq!(said(&verify()).trim(), records.len().to_string());
    // One letter of any payload.
    for spoilt in 1..records.len() {
        let mut all: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
        let mut envelope: Value = serde_json::from_str(&all[spoilt]).unwrap();
        let payload = envelope["payload"].as_str().unwrap();
        let payload = payload.replacen(&payload[8..12], "AAAA", 1);
        envelope["payload"] = Value::from(payload);
        all[spoilt] = envelope.to_string();
        std::fs::write(&path, format!("{}\n{}\n", before.join("\n"), all.join("\n"))).unwrap();
        if spoilt % 7 == 1 {
            assert!(!verify().status.success(), "record {spoilt}");
        }
    }
}

/// What `tlog.py` says of something that this log's key signed.
fn tlog(mut given: Value) -> Output {
    let keys = ledger_keys();
    let given_keys = serde_json::json!({
        "key": STANDARD.encode(keys.checkpoint.public().raw()),
        "origin": keys.origin,
    });
    for (name, value) in given_keys.as_object().unwrap() {
        if given[name].is_null() {
            given[name] = value.clone();
        }
    }
    let path = scratch("tlog").join("given.json");
    std::fs::write(&path, given.to_string()).unwrap();
    python("tlog.py", &[path.to_str().unwrap()])
}

/// What holds, as it counts it.
fn holds(given: Value) -> Value {
    serde_json::from_str(&said(&tlog(given))).unwrap()
}

/// It is refused, for this reason.
#[track_caller]
fn fails(given: Value, says: &str) {
    let output = tlog(given);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(says), "{says}: {error}");
}

/// The key of somebody else.
fn other_key() -> String {
    STANDARD.encode(key("somebody").public().raw())
}

#[test]
fn aics_tlog_and_pymerkle_agree_on_the_tree() {
    let (world, bundle) = world_and_bundle();
    let path = kept(&bundle);
    let (before, records) = parted(&bundle);
    let size = records.len() as u64;
    let proof = |query: String| {
        let answer = world.get("ada", &format!("/v1/proofs/{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    };
    let inclusion: Vec<Value> = (1..=size)
        .flat_map(|size| [0, size / 2, size - 1].map(|position| (position, size)))
        .map(|(position, size)| proof(format!("inclusion?position={position}&size={size}")))
        .collect();
    let consistency: Vec<Value> = (1..=size)
        .flat_map(|from| [from, from + (size - from) / 2, size].map(|to| (from, to)))
        .map(|(from, to)| proof(format!("consistency?from={from}&to={to}")))
        .collect();
    let groups = records.iter().filter(|record| record.contains(".group.v1+json")).count();
    let given = serde_json::json!({"bundle": path, "inclusion": inclusion, "consistency": consistency});
    let expected = serde_json::json!({
        "groups": groups, "inclusion": inclusion.len(), "consistency": consistency.len()
    });
    assert_eq!(holds(given.clone()), expected);

    let altered = |kind: &str, proof: &Value, change: &dyn Fn(&mut Value)| {
        let mut proof = proof.clone();
        change(&mut proof);
        serde_json::json!({"bundle": path, kind: [proof]})
    };
    let flipped = |proof: &mut Value| {
        let hash = proof["hashes"][0].as_str().unwrap();
        let digit = if hash.starts_with('0') { "1" } else { "0" };
        proof["hashes"][0] = Value::from(format!("{digit}{}", &hash[1..]));
    };
    let less = |name: &'static str| {
        move |proof: &mut Value| {
            let number: u64 = proof[name].as_str().unwrap().parse().unwrap();
            proof[name] = Value::from((number - 1).to_string());
        }
    };
    let shorter = |proof: &mut Value| drop(proof["hashes"].as_array_mut().unwrap().pop());
    let included = proof(format!("inclusion?position={}&size={size}", size / 2));
    let extended = proof(format!("consistency?from={}&to={size}", size / 2 + 1));
    for change in [&flipped as &dyn Fn(&mut Value), &less("position"), &shorter] {
        fails(altered("inclusion", &included, change), "the inclusion of");
    }
    for change in [&flipped as &dyn Fn(&mut Value), &less("from"), &less("to"), &shorter] {
        fails(altered("consistency", &extended, change), "the consistency of");
    }
    let mut other = given.clone();
    other["key"] = Value::from(other_key());
    fails(other, "no signature from log key");
    let mut other = given;
    other["origin"] = Value::from("other.example/log");
    fails(other, "origin mismatch");

    // A forked head, which the stolen key signs: the last record is another. The real proofs do not lead to it.
    let mut tree = MemoryHashes::new();
    let mut forked: Vec<&str> = records.clone();
    let last = forked.len() - 1;
    forked[last] = forked[last - 1];
    forked.iter().for_each(|record| tree.append(leaf_hash(record.as_bytes())));
    let keys = ledger_keys();
    let root = translog::proof::root(size, &tree).unwrap();
    let note = Checkpoint { origin: keys.origin.to_string(), size, root }.sign(&keys.checkpoint);
    let mut header: Value = serde_json::from_str(before[0]).unwrap();
    let unsigned = format!("{}\n{}\n", before.join("\n"), forked.join("\n"));
    fails(serde_json::json!({"bundle": kept(&unsigned)}), "the bundle's root");
    header["checkpoint"] = Value::from(note);
    let lines = [header.to_string()].into_iter().chain(before[1..].iter().map(|line| (*line).to_owned()));
    let lines = lines.chain(forked.iter().map(|line| (*line).to_owned()));
    let path = kept(&lines.map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(holds(serde_json::json!({"bundle": path}))["groups"], groups);
    fails(serde_json::json!({"bundle": path, "consistency": [extended]}), "the consistency of");
    fails(serde_json::json!({"bundle": path, "inclusion": [included]}), "the inclusion of");
}

/// What the real service signed, and the real witness cosigned.
#[test]
fn aics_tlog_verifies_a_cosigned_checkpoint() {
    let world = World::new();
    let dir = scratch("cosigned").join("ada");
    witness::home(&world, &dir);
    let process = witness::Witness::start(&dir, Statement::Consistent);
    let note = world.get("ada", "/v1/checkpoint").text;
    let (status, line) = process.ask(&AddCheckpoint { old: 0, proof: vec![], note: note.clone() }).unwrap();
    assert_eq!(status, 200, "{line}");
    let cosigned = format!("{note}{line}");
    let ada = verifier_key(witness::NAME, &process.key);
    let given = |note: &str, witnesses: &[&str], quorum: u64| {
        let note = serde_json::json!({"note": note, "witnesses": witnesses, "quorum": quorum});
        serde_json::json!({ "notes": [note] })
    };
    assert_eq!(holds(given(&cosigned, &[&ada], 1))["notes"], 1);
    assert_eq!(holds(given(&note, &[], 0))["notes"], 1);

    fails(given(&note, &[&ada], 1), "quorum not met");
    let other = verifier_key(witness::NAME, key("somebody").public());
    fails(given(&cosigned, &[&other], 1), "quorum not met");
    let renamed = verifier_key("witness.example/other", &process.key);
    fails(given(&cosigned, &[&renamed], 1), "quorum not met");
    // Any bit of the time, or of the signature; and the same line under another checkpoint.
    let (start, signed) = line.trim_end().rsplit_once(' ').unwrap();
    for at in [4, 11, 12, 75] {
        let mut bytes = STANDARD.decode(signed).unwrap();
        bytes[at] ^= 1;
        let flipped = format!("{note}{start} {}\n", STANDARD.encode(bytes));
        fails(given(&flipped, &[&ada], 1), "cosignature from witness.example/ada failed verification");
    }
    let keys = ledger_keys();
    let mut earlier = crate::evidence::checkpoint(&note);
    earlier.size -= 1;
    let moved = format!("{}{line}", earlier.sign(&keys.checkpoint));
    fails(given(&moved, &[&ada], 1), "cosignature from witness.example/ada failed verification");
}

/// Verifies static files by their checkpoint, and finds what is changed in them.
pub fn verify_tiles(folder: &Path, size: u64) {
    let given = || serde_json::json!({ "tiles": folder });
    let has_entries = folder.join("tile/entries").exists();
    let tiles = size.div_ceil(256);
    let bundles = if has_entries { tiles } else { 0 };
    // Those of level 0, and the one above them.
    assert_eq!(holds(given()), serde_json::json!({"size": size, "tiles": tiles + 1, "bundles": bundles}));
    let mut other = given();
    other["key"] = Value::from(other_key());
    fails(other, "no signature from log key");
    let changed = [("tile/0/000", 8191), ("tile/1/000.p/4", 40), ("tile/entries/001", 300)];
    for (file, at) in changed.into_iter().filter(|(file, _)| has_entries || !file.contains("entries")) {
        let file = folder.join(file);
        let kept = std::fs::read(&file).unwrap();
        let mut bytes = kept.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        fails(given(), "TileVerificationError");
        std::fs::write(&file, kept).unwrap();
    }
    let checkpoint = folder.join("checkpoint");
    let kept = std::fs::read(&checkpoint).unwrap();
    let mut head = crate::evidence::checkpoint(std::str::from_utf8(&kept).unwrap());
    head.root = signing::digest::Digest::of("another");
    std::fs::write(&checkpoint, head.sign(&ledger_keys().checkpoint)).unwrap();
    fails(given(), "TileVerificationError");
    std::fs::write(&checkpoint, kept).unwrap();
    holds(given());
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Has `openssl` verify a signature of a key over a message.
fn openssl(key: &SecretKey, message: &[u8], signature: &[u8]) -> Output {
    let folder: PathBuf = scratch("openssl");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (key, message) = (file("key.der", &key.public().spki_der()), file("message", message));
    let signature = file("signature", signature);
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey"]).arg(key);
    command.arg("-in").arg(message).arg("-sigfile").arg(signature);
    command.output().expect("openssl is installed")
}

#[test]
fn openssl_verifies_a_record() {
    let (_world, bundle) = world_and_bundle();
    let (_, records) = parted(&bundle);
    // An approval of a person's and the entry that it caused, which is the ledger's.
    for (record, key) in records.iter().rev().zip([key("the ledger's records"), key("boris")]) {
        let envelope: Value = serde_json::from_str(record).unwrap();
        let part = |pointer: &str| envelope.pointer(pointer).unwrap().as_str().unwrap();
        let payload = STANDARD.decode(part("/payload")).unwrap();
        let signature = STANDARD.decode(part("/signatures/0/sig")).unwrap();
        let kind = part("/payloadType");
        let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        message.extend_from_slice(&payload);
        let verified = openssl(&key, &message, &signature);
        assert!(said(&verified).contains("Signature Verified Successfully"));
        *message.last_mut().unwrap() ^= 1;
        let refused = openssl(&key, &message, &signature);
        assert!(!refused.status.success());
        let said = [refused.stdout, refused.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains("Signature Verification Failure"));
    }
}
