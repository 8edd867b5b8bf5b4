//! Programs of others agree with ours: a client that signs requests, and verifiers of signatures.

use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use records::Body;
use serde_json::Value;
use signing::keys::SecretKey;
use tests::binary::root;
use tests::cluster::scratch;
use tests::people::{Person, key};
use tests::service::ledger_keys;
use tests::world::World;

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

#[test]
fn pymerkle_and_sigstore_agree_on_the_tree() {
    let (world, bundle) = world_and_bundle();
    let path = kept(&bundle);
    let (_, records) = parted(&bundle);
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
    let key = STANDARD.encode(ledger_keys().checkpoint.public().raw());
    let answers = path.with_file_name("answers.json");
    let verify = |inclusion: &[Value]| {
        let given = serde_json::json!({"key": key, "inclusion": inclusion});
        std::fs::write(&answers, given.to_string()).unwrap();
        python("tree.py", &[path.to_str().unwrap(), answers.to_str().unwrap()])
    };
    let groups = records.iter().filter(|record| record.contains(".group.v1+json")).count();
    assert_eq!(said(&verify(&inclusion)).trim(), format!("{groups} {}", inclusion.len()));
    // A proof of another position is noticed.
    let mut moved = inclusion[inclusion.len() / 2].clone();
    let position: u64 = moved["position"].as_str().unwrap().parse().unwrap();
    moved["position"] = Value::from((position - 1).to_string());
    assert!(!verify(&[moved]).status.success());
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
