//! What must hold for any bytes that a stranger may send: a function for each parser of foreign bytes, which panics where
//! it does not.
//!
//! libFuzzer looks for such bytes (`make fuzz`); `tests/suite/fuzzed.rs` runs the same functions over the seeds in
//! `fuzz/seeds` and a fixed set of their mutations, in seconds. Each function asserts more than that nothing panics: what
//! is parsed is written again as it was, and what was changed is never taken for what was signed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use auditor::CouldNotRun;
use records::{Kind, Record, RecordError};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::http::{self, Request};
use signing::keys::{KeyId, PublicKey, SecretKey, Signature};
use store::register::{self, Epoch, RegisterState};
use translog::checkpoint::Checkpoint;
use translog::proof::{self, MemoryHashes, verify_consistency, verify_inclusion};
use translog::tile::{self, TILE_WIDTH, TileId};
use translog::tree::{Frontier, leaf_hash};

/// A parser's name, and what must hold for any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every parser of foreign bytes.
pub const TARGETS: &[Target] = &[
    ("bundle", bundle),
    ("checkpoint", checkpoint),
    ("envelope", envelope),
    ("frontier", frontier),
    ("http_signature", http_signature),
    ("key_file", key_file),
    ("pack", pack),
    ("proof", proof),
    ("public_key", public_key),
    ("record", record),
    ("register", register),
    ("tile", tile),
];

const ORIGIN: &str = "fuzz.example/log";
const PASSPHRASE: &str = "correct horse battery staple";
const URL: &str = "https://ledger.example/v1/agency/cases?limit=7";
const BODY: &[u8] = b"{}";
const CREATED: i64 = 1_800_000_000;
const NONCE: &str = "a-nonce";
const GOLDEN_LOG: &str = "tests/vectors/logs/first-disbursement.ndjson";
const GOLDEN_LEDGER: &str = "ef584a4ff997fc23b52fb2a6e9e929a42ba9dd548225e2934f7be40d8e50f248";
/// How many leaves the tree has in which proofs are tried.
const LEAVES: u64 = 60;

/// The one key that signs here; the fuzzer does not have it.
fn key() -> SecretKey {
    SecretKey::from_seed(*Digest::of("the fuzzer's").as_bytes())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// An envelope: one spelling, and no signature holds that the key's owner did not make.
pub fn envelope(bytes: &[u8]) {
    let parsed = Envelope::parse(bytes);
    if let Ok(envelope) = &parsed {
        assert_eq!(envelope.encode(), bytes);
        let json: serde_json::Value = serde_json::from_slice(bytes).expect("it is JSON");
        assert_eq!(serde_json::to_value(envelope).expect("it is JSON"), json);
        if envelope.verify(key().public()).is_ok() {
            let again = Envelope::sign(&key(), &envelope.payload_type, envelope.payload.clone());
            assert_eq!(&again, envelope, "a signature that was not made");
        }
    }
    // What arrives within a request may have other white space, and comes to the same envelopes.
    if let Some(Ok(loose)) = text(bytes).map(Envelope::from_json) {
        assert_eq!(Envelope::parse(&loose.encode()).as_ref(), Ok(&loose));
    } else {
        assert!(parsed.is_err(), "taken alone and not within a request");
    }
}

/// A payload of any kind, after its type and a line feed: one spelling.
pub fn record(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (Some(payload_type), payload) = (text(&bytes[..end]), &bytes[end + 1..]) else { return };
    // A payload names the key that signs it, and is refused under another.
    let named = text(payload).and_then(|text| text.split("\"key\":\"").nth(1)?.get(..64)?.parse().ok());
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload: payload.to_vec(),
        key_id: named.unwrap_or_else(|| key().public().id()),
        signature: Signature([7; 64]),
    };
    match Record::parse(envelope.clone()) {
        Ok(record) => {
            assert_eq!(record.payload().encode(), payload);
            assert_eq!(record.kind().payload_type(), payload_type);
            assert_eq!(record.payload().kind(), record.kind());
            assert_eq!(record.envelope(), &envelope);
            if let Ok(again) = Record::parse_leaf(&record.leaf()) {
                assert_eq!((again.digest(), again.leaf_hash()), (record.digest(), record.leaf_hash()));
            } else {
                // Only where it is too large for a leaf.
                assert!(record.leaf().len() > 65_000);
            }
            assert!(record.verify(key().public()).is_err(), "a signature that was not made");
        }
        Err(RecordError::PayloadTypeUnknown(_)) => assert!(Kind::of_payload_type(payload_type).is_none()),
        Err(error) => assert!(!error.code().is_empty()),
    }
}

/// A checkpoint in a signed note: what it says is what our line signs.
pub fn checkpoint(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(parsed) = Checkpoint::parse_and_verify(text, ORIGIN, key().public()) else { return };
    assert_eq!(Checkpoint::parse_unverified(text).as_ref(), Ok(&parsed));
    let ours = parsed.sign(&key());
    let (body, line) = ours.split_once("\n\n").expect("a note has a blank line");
    let (shown, lines) = text.split_once("\n\n").expect("a note has a blank line");
    assert_eq!(shown, body);
    assert!(lines.split_inclusive('\n').any(|shown| shown == line), "a signature that was not made");
    assert_eq!(Checkpoint::parse_and_verify(&ours, ORIGIN, key().public()), Ok(parsed));
}

fn leaf(index: u64) -> Digest {
    leaf_hash(&index.to_be_bytes())
}

fn tree() -> MemoryHashes {
    let mut hashes = MemoryHashes::new();
    (0..LEAVES).for_each(|index| hashes.append(leaf(index)));
    hashes
}

/// A proof: what is proved, two numbers, and hashes. In one tree there is one proof of each thing.
pub fn proof(bytes: &[u8]) {
    let [what, first, second, hashes @ ..] = bytes else { return };
    let (tree, first, second) = (tree(), u64::from(*first), u64::from(*second));
    let given: Vec<Digest> =
        hashes.chunks_exact(32).map(|hash| Digest::try_from(hash).expect("32 bytes")).collect();
    let root_of = |size: u64| proof::root(size.min(LEAVES), &tree).expect("a root");
    // A size and its root are signed together. Of a pair that no tree has, a proof may say anything but panic.
    if second > LEAVES {
        let root = root_of(second);
        let _ = verify_inclusion(leaf(first), first, second, &given, root);
        let _ = verify_consistency(first, root_of(first), second, root, &given);
        return;
    }
    if what % 2 == 0 {
        let (index, size) = (first, second);
        let is_proved = verify_inclusion(leaf(index), index, size, &given, root_of(size)).is_ok();
        let is_it = proof::inclusion(index, size, &tree).is_ok_and(|it| it == given);
        assert_eq!(is_proved, is_it, "leaf {index} of {size}");
        // Another leaf is never there.
        assert!(verify_inclusion(leaf(index + 1), index, size, &given, root_of(size)).is_err());
    } else {
        let (old, new) = (first, second);
        let is_proved = verify_consistency(old, root_of(old), new, root_of(new), &given).is_ok();
        let is_it = proof::consistency(old, new, &tree).is_ok_and(|it| it == given);
        assert_eq!(is_proved, is_it, "{old} before {new}");
        let other = leaf(LEAVES);
        assert!(old == 0 || verify_consistency(old, other, new, root_of(new), &given).is_err());
    }
}

/// A frontier, as the register and the head's row have it: one spelling.
pub fn frontier(bytes: &[u8]) {
    let Ok(mut frontier) = Frontier::decode(bytes) else { return };
    assert_eq!(frontier.encode(), bytes);
    let (size, before) = (frontier.size(), frontier.root());
    if size < 1 << 40 {
        frontier.append(leaf(0));
        assert_eq!(frontier.size(), size + 1);
        assert_ne!(frontier.root(), before);
        assert_eq!(Frontier::decode(&frontier.encode()).map(|again| again.root()), Ok(frontier.root()));
    }
}

/// Tiles: four ways to the same root.
pub fn tile(bytes: &[u8]) {
    let leaves: Vec<Digest> = bytes.iter().take(300).map(|byte| leaf(u64::from(*byte))).collect();
    let (mut hashes, mut frontier) = (MemoryHashes::new(), Frontier::new());
    for leaf in &leaves {
        hashes.append(*leaf);
        frontier.append(*leaf);
    }
    let size = leaves.len() as u64;
    assert_eq!(proof::root(size, &hashes), Ok(frontier.root()));
    let first = leaves.get(..usize::from(TILE_WIDTH)).and_then(|first| first.try_into().ok());
    if let Some(first) = first {
        assert_eq!(proof::root(u64::from(TILE_WIDTH), &hashes), Ok(tile::tile_root(first)));
    }
    let perfect = size.checked_ilog2().and_then(|level| u8::try_from(level).ok()).filter(|level| *level < 8);
    if let Some(level) = perfect {
        assert_eq!(tile::node(&leaves, level, 0), proof::root(1 << level, &hashes).ok());
    }
    let id = TileId { level: bytes.first().copied().unwrap_or(0), index: size };
    let width = tile::width(id, u64::from(u32::MAX));
    assert_eq!(tile::path(id, width).is_some(), width > 0, "{id:?}");
}

/// A bundle of one ledger: the auditor verifies that which was exported, and nothing else.
pub fn bundle(bytes: &[u8]) {
    let ledger = GOLDEN_LEDGER.parse().expect("an id");
    let is_verified = match auditor::verify(bytes, ledger) {
        Ok(report) => report.is_verified(),
        // Nothing can be said of a part alone.
        Err(CouldNotRun::PartAlone { from }) => from == 0,
        Err(error) => panic!("bytes can be read: {error}"),
    };
    if is_verified {
        let exported = fs::read(root().join(GOLDEN_LOG)).expect("the log is there");
        assert!(bytes == exported, "a changed bundle is verified");
    }
}

/// The pack of the golden log's one spendable fund.
fn golden_pack() -> Vec<u8> {
    let bundle = fs::read(root().join(GOLDEN_LOG)).expect("the log is there");
    let ledger = GOLDEN_LEDGER.parse().expect("an id");
    let scope = auditor::pack::Scope::Fund("villa-fund".parse().expect("an id"));
    let mut pack = Vec::new();
    auditor::pack::cut(std::io::Cursor::new(bundle), ledger, &scope, &[], &mut pack).expect("a pack");
    pack
}

/// A pack of one ledger: what holds is the pack that was cut, or less of it under a header that promises less.
pub fn pack(bytes: &[u8]) {
    let ledger = GOLDEN_LEDGER.parse().expect("an id");
    let report = auditor::pack::verify(bytes, ledger, &[]).expect("bytes can be read");
    if report.holds() {
        let cut = fs::read(root().join("fuzz/seeds/pack/fund")).expect("the seed is there");
        let lines: Vec<&[u8]> = cut.split(|byte| *byte == b'\n').collect();
        let records = bytes.split(|byte| *byte == b'\n').skip(1);
        records.for_each(|line| assert!(lines.contains(&line), "a changed record holds"));
    }
}

fn signed_request() -> http::SignedHeaders {
    http::sign("POST", URL, BODY, &key(), CREATED, NONCE).expect("a signature")
}

/// The three header fields of a signed request, a line each: what holds says who signed, when, and once.
pub fn http_signature(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let mut lines = text.split('\n').map(str::to_owned);
    let names = ["signature-input", "signature", "content-digest"];
    let fields: BTreeMap<&str, String> = names.into_iter().zip(&mut lines).collect();
    let headers = |name: &str| fields.get(name).cloned();
    let request = Request { method: "POST", target_uri: URL, headers: &headers, body: BODY };
    let Ok(parsed) = http::parse(&request) else { return };
    assert!(parsed.nonce.len() <= http::MAX_NONCE_BYTES);
    if parsed.verify(key().public()).is_ok() {
        let said = (parsed.created, parsed.expires, parsed.nonce.as_str(), parsed.key_id);
        assert_eq!(said, (CREATED, None, NONCE, key().public().id()), "a signature that was not made");
        let other = Request { body: b"{} ", ..request };
        assert!(http::parse(&other).is_err(), "another body");
        let other = Request { target_uri: "https://ledger.example/", ..request };
        assert!(http::parse(&other).is_ok_and(|parsed| parsed.verify(key().public()).is_err()));
    }
}

/// A key's file: whole, it is our key's; no other passphrase opens it. Changed, it may open as a key that is nobody's, which
/// docs/decisions/0002-key-files.md accepts.
pub fn key_file(bytes: &[u8]) {
    let Some(pem) = text(bytes) else { return };
    if let Ok(opened) = SecretKey::from_pkcs8_pem(pem, PASSPHRASE) {
        let written = fs::read(root().join("fuzz/seeds/key_file/scrypt")).expect("the seed is there");
        assert!(bytes != written || opened.public() == key().public(), "our file opens as another key");
        assert!(SecretKey::from_pkcs8_pem(pem, "another").is_err());
        let message = b"what it signs, it verifies";
        assert_eq!(opened.public().verify(message, &opened.sign(message)), Ok(()));
    }
}

/// A public key, in DER or as JSON has it: one spelling, and one id.
pub fn public_key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(key.spki_der(), bytes);
        assert_eq!(PublicKey::from_raw(key.raw()).as_ref(), Ok(&key));
        assert_eq!(key.id(), KeyId(Digest::of(bytes)));
        let json = serde_json::to_vec(&key).expect("a key is JSON");
        assert_eq!(signing::canonical::decode::<PublicKey>(&json).as_ref(), Ok(&key));
    }
    if let Ok(key) = signing::canonical::decode::<PublicKey>(bytes) {
        assert_eq!(signing::canonical::encode(&key), bytes);
    }
}

/// The register's file: what it says stands in one of its halves, with a digest that is computed here again.
pub fn register(bytes: &[u8]) {
    let Ok(state) = register::parse(bytes) else { return };
    let said = serde_json::to_string(&state).expect("JSON");
    let says = |slot: &[u8]| {
        let text = std::str::from_utf8(slot).ok()?;
        let (body, digest) = text.trim_end().rsplit_once(",\"digest\":\"")?;
        let (sequence, state) = body.strip_prefix("{\"sequence\":")?.split_once(",\"state\":")?;
        let whole = format!("{}\"}}", Digest::of(format!("[{sequence},{state}]")));
        (state == said && digest == whole).then_some(())
    };
    assert!(
        bytes.chunks(bytes.len() / 2).any(|slot| says(slot).is_some()),
        "it says what does not stand there"
    );
    assert_eq!(register::parse(&register::encode(&state).expect("a register")), Ok(state));
}

/// The seeds of a target: made from the vectors and the key above, and committed in `fuzz/seeds`.
pub fn seeds(target: &str) -> BTreeMap<String, Vec<u8>> {
    let named = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    let note = || Checkpoint { origin: ORIGIN.to_owned(), size: 42, root: leaf(1) }.sign(&key());
    let frontier = |size: u64| {
        let mut frontier = Frontier::new();
        (0..size).for_each(|index| frontier.append(leaf(index)));
        frontier
    };
    let seeds: Vec<(String, Vec<u8>)> = match target {
        // It is committed among the vectors.
        "bundle" => vec![],
        "checkpoint" => {
            let other = Checkpoint { origin: "other.example".to_owned(), size: 42, root: leaf(1) };
            let cosigned = other.sign(&key()).rsplit_once("\n\n").expect("a note").1.to_owned();
            vec![named("cosigned", (note() + &cosigned).into()), named("note", note().into())]
        }
        "envelope" => {
            let signed = |payload: &[u8]| Envelope::sign(&key(), "text/plain", payload.to_vec()).encode();
            let vector = fs::read(root().join("tests/vectors/records/request.json")).expect("a vector");
            vec![named("empty", signed(b"")), named("signed", signed(b"\x00\xff{}")), named("vector", vector)]
        }
        "frontier" => [0, 1, 2, 7, 256].map(|n| named(&n.to_string(), frontier(n).encode())).to_vec(),
        "http_signature" => {
            let signed = signed_request();
            let digest = signed.content_digest.expect("a body");
            let text = [signed.signature_input, signed.signature, digest].join("\n");
            vec![named("signed", text.into())]
        }
        "key_file" => {
            // A salt is drawn for each, so it is made once.
            let made = fs::read(root().join("fuzz/seeds/key_file/scrypt"));
            let new = || key().to_pkcs8_pem(PASSPHRASE).expect("a key's file").into();
            vec![named("scrypt", made.unwrap_or_else(|_| new()))]
        }
        "proof" => {
            let bytes = |what, first, second, proof: Vec<Digest>| {
                [what, first, second]
                    .into_iter()
                    .chain(proof.iter().flat_map(|one| *one.as_bytes()))
                    .collect()
            };
            let tree = tree();
            vec![
                named("consistency", bytes(1, 20, 60, proof::consistency(20, 60, &tree).expect("a proof"))),
                named("inclusion", bytes(0, 19, 60, proof::inclusion(19, 60, &tree).expect("a proof"))),
                named("one", bytes(0, 0, 1, vec![])),
            ]
        }
        "pack" => vec![named("fund", golden_pack())],
        "public_key" => {
            let key = key();
            let json = signing::canonical::encode(key.public());
            vec![named("json", json), named("spki", key.public().spki_der())]
        }
        "record" => Kind::ALL
            .iter()
            .map(|kind| kind.name())
            .chain(["group-rekey", "proposal-rekey"])
            .map(|name| {
                let path = root().join(format!("tests/vectors/records/{name}.json"));
                let record = Record::parse_leaf(&fs::read(path).expect("a vector")).expect("a record");
                let line = format!("{}\n", record.kind().payload_type()).into_bytes();
                (name.to_owned(), [line, record.payload().encode()].concat())
            })
            .collect(),
        "register" => {
            let state = RegisterState {
                ledger: leaf(0),
                size: 7,
                root: frontier(7).root(),
                frontier: frontier(7).encode(),
                checkpoint: note(),
                epoch: Epoch { system: "7412345678901234567".to_owned(), timeline: 1 },
            };
            vec![named("written", register::encode(&state).expect("a register"))]
        }
        "tile" => vec![named("full", (0..=255).collect()), named("seven", vec![1, 2, 3, 4, 5, 6, 7])],
        other => panic!("no target {other}"),
    };
    seeds.into_iter().collect()
}
