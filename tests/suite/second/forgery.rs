//! What somebody makes of a bundle: of its bytes, its lines and its claims, and, with the keys of everybody who signed it,
//! of the history itself.

use std::collections::HashMap;

use super::history::MULTIPLE;
use ledger::time::Timestamp;
use serde_json::{Value, json};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::SecretKey;
use tests::people::key;
use tests::service::ledger_keys;
use translog::checkpoint::Checkpoint;
use translog::tree::{Frontier, leaf_hash};

/// A bundle, by its lines.
#[derive(Clone)]
pub struct Bundle {
    pub header: Value,
    pub balances: Vec<String>,
    pub records: Vec<String>,
}

impl Bundle {
    pub fn of(text: &str) -> Bundle {
        let mut lines = text.lines().map(str::to_owned);
        let header: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        let count = header["balances"].as_str().unwrap().parse().unwrap();
        let balances = lines.by_ref().take(count).collect();
        Bundle { header, balances, records: lines.collect() }
    }

    pub fn ledger(&self) -> Digest {
        self.header["ledger"].as_str().unwrap().parse().unwrap()
    }

    pub fn with(&self, records: Vec<String>) -> Bundle {
        Bundle { records, ..self.clone() }
    }

    pub fn text(&self) -> String {
        let mut lines = vec![String::from_utf8(canonical::encode(&self.header)).unwrap()];
        lines.extend(self.balances.iter().chain(&self.records).cloned());
        lines.join("\n") + "\n"
    }

    /// The checkpoint of these records, not signed yet.
    fn checkpoint(&self) -> Checkpoint {
        let mut tree = Frontier::new();
        self.records.iter().for_each(|record| tree.append(leaf_hash(record.as_bytes())));
        Checkpoint { origin: ledger_keys().origin.as_str().to_owned(), root: tree.root(), size: tree.size() }
    }

    /// As the ledger would export it: the counts are those of the lines, and the checkpoint is signed.
    pub fn sealed(mut self) -> String {
        let size = self.records.len().to_string();
        self.header["balances"] = json!(self.balances.len().to_string());
        self.header["balances_at"] = json!(if self.balances.is_empty() { "1" } else { &size });
        self.header["checkpoint"] = json!(self.checkpoint().sign(&ledger_keys().checkpoint));
        self.header["records"] = json!(size);
        self.text()
    }
}

/// A forged bundle has a name, which ends with `(sound)` where nothing in it is wrong.
pub type Forged = (String, Vec<u8>);

/// Numbers that look like chance, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Bits flipped somewhere in the file, and its end cut off.
pub fn bytes(bundle: &Bundle) -> Vec<Forged> {
    let (text, mut dice) = (bundle.text().into_bytes(), Dice(1));
    let flipped = (0..20).map(|_| {
        let (at, bit, mut text) = (dice.below(text.len()), dice.below(8), text.clone());
        text[at] ^= 1 << bit;
        (format!("bit {bit} of byte {at} flipped"), text)
    });
    let mut forged: Vec<Forged> = flipped.collect();
    for kept in [0, 100, text.len() / 2, text.len() - 1] {
        forged.push((format!("cut after {kept} bytes"), text[..kept].to_vec()));
    }
    forged.push(("something follows".to_owned(), [&text[..], b"\n"].concat()));
    forged
}

/// Records dropped, doubled or swapped, and the end of the log cut off; the checkpoint is signed anew for half of them.
pub fn lines(bundle: &Bundle) -> Vec<Forged> {
    let mut dice = Dice(2);
    let mut forged = Vec::new();
    for number in 0..12 {
        let mut records = bundle.records.clone();
        let at = dice.below(records.len() - 1);
        let what = match number % 3 {
            0 => (records.remove(at), "dropped").1,
            1 => (records.insert(at, records[at].clone()), "doubled").1,
            _ => (records.swap(at, at + 1), "swapped").1,
        };
        let changed = bundle.with(records);
        let text = if number < 6 { changed.text() } else { changed.sealed() };
        forged.push((format!("record {at} {what}, number {number}"), text.into_bytes()));
    }
    let groups: Vec<usize> = (1..bundle.records.len())
        .filter(|&at| payload_type(&bundle.records[at]).ends_with(".group.v1+json"))
        .collect();
    let cut =
        |size: usize| Bundle { balances: vec![], records: bundle.records[..size].to_vec(), ..bundle.clone() };
    for part in [4, 2] {
        let size = groups[groups.len() / part];
        forged.push((format!("cut at group {size} (sound)"), cut(size).sealed().into_bytes()));
        let mut stale = cut(size);
        stale.balances = bundle.balances.clone();
        forged.push((format!("cut at group {size}, its balances kept"), stale.sealed().into_bytes()));
    }
    let entry = (1..bundle.records.len())
        .rfind(|&at| payload_type(&bundle.records[at]).ends_with(".entry.v1+json"))
        .unwrap();
    forged.push((format!("cut before entry {entry}"), cut(entry).sealed().into_bytes()));
    forged
}

/// Every third line dropped, doubled and altered.
pub fn each_line(bundle: &Bundle) -> Vec<Forged> {
    let text = bundle.text();
    let lines: Vec<&str> = text.lines().collect();
    let mut forged = Vec::new();
    for at in (1..lines.len()).step_by(3) {
        let (line, (before, after)) = (lines[at], (&lines[..at], &lines[at + 1..]));
        let middle = line.len() / 2;
        let other = if &line[middle..=middle] == "A" { "B" } else { "A" };
        let altered = format!("{}{other}{}", &line[..middle], &line[middle + 1..]);
        for (what, there) in
            [("dropped", vec![]), ("doubled", vec![line, line]), ("altered", vec![&*altered])]
        {
            let text = [before, &there[..], after].concat().join("\n") + "\n";
            forged.push((format!("line {at} {what}"), text.into_bytes()));
        }
    }
    forged
}

fn payload_type(record: &str) -> String {
    let envelope: Value = serde_json::from_str(record).unwrap();
    envelope["payloadType"].as_str().unwrap().to_owned()
}

/// Balances that are not those of the entries.
pub fn claims(bundle: &Bundle) -> Vec<Forged> {
    let last = bundle.balances.len() - 1;
    let edit = |at: usize, name: &str, value: &str| {
        let mut changed = bundle.clone();
        let mut balance: Value = serde_json::from_str(&changed.balances[at]).unwrap();
        balance[name] = json!(value);
        changed.balances[at] = String::from_utf8(canonical::encode(&balance)).unwrap();
        (format!("balance {at} with {name} {value}"), changed.sealed().into_bytes())
    };
    let mut forged = vec![
        edit(0, "amount", "0.01"),
        edit(last / 2, "held", "7.00"),
        edit(last, "amount", "-1.00"),
        edit(last, "account", "9999"),
        edit(1, "fund", "zz"),
    ];
    for at in [0, last] {
        let mut fewer = bundle.clone();
        fewer.balances.remove(at);
        forged.push((format!("balance {at} left out"), fewer.sealed().into_bytes()));
    }
    let mut swapped = bundle.clone();
    swapped.balances.swap(0, last);
    forged.push(("balances swapped".to_owned(), swapped.sealed().into_bytes()));
    forged
}

/// Checkpoints of another key, size, root or origin.
pub fn checkpoints(bundle: &Bundle) -> Vec<Forged> {
    let (checkpoint, keys) = (bundle.checkpoint(), ledger_keys());
    let root = leaf_hash(b"another");
    let notes = [
        ("another key's checkpoint", checkpoint.sign(&key("a stranger"))),
        (
            "another size's checkpoint",
            Checkpoint { size: checkpoint.size - 1, ..checkpoint.clone() }.sign(&keys.checkpoint),
        ),
        ("another root's checkpoint", Checkpoint { root, ..checkpoint.clone() }.sign(&keys.checkpoint)),
        (
            "another log's checkpoint",
            Checkpoint { origin: "another/log".to_owned(), ..checkpoint.clone() }.sign(&keys.checkpoint),
        ),
        ("a checkpoint without a signature", checkpoint.body() + "\n"),
    ];
    let with = |note: String| {
        let mut changed = bundle.clone();
        changed.header["checkpoint"] = json!(note);
        changed.text().into_bytes()
    };
    notes.into_iter().map(|(name, note)| (name.to_owned(), with(note))).collect()
}

/// A record before it is signed again.
#[derive(Clone)]
pub struct Draft {
    /// The kind.
    pub kind: String,
    /// What it says; what it names of other records follows them when they change.
    pub payload: Value,
    /// The id of the key that signs it.
    pub key: String,
    /// The digest that others name it by.
    pub digest: String,
    /// As it was signed, which is all that is left to who does not have the key.
    pub envelope: Envelope,
}

impl Draft {
    pub fn of(record: &str) -> Draft {
        let envelope = Envelope::from_json(record).unwrap();
        let payload: Value = serde_json::from_slice(&envelope.payload).unwrap();
        let kind = envelope.payload_type.split('.').nth(2).unwrap().to_owned();
        let (key, digest) = (envelope.key_id.to_string(), envelope.digest().to_string());
        Draft { kind, payload, key, digest, envelope }
    }

    /// Signs it, or leaves the signature that it has where the key is not there.
    fn seal(&self, keys: &HashMap<String, SecretKey>) -> Envelope {
        let payload = canonical::encode(&self.payload);
        match keys.get(&self.key) {
            Some(key) => {
                let kind = format!("application/vnd.safeconduct.{}.v1+json", self.kind);
                Envelope::sign(key, &kind, payload)
            }
            None => Envelope { payload, key_id: self.key.parse().unwrap(), ..self.envelope.clone() },
        }
    }
}

/// Replaces digests and roots by what they became, wherever they stand, also in an entry's id.
fn renamed(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            let (name, rest) = text.split_at_checked(64).unwrap_or(("", text));
            if let Some(new) = names.get(name) {
                *text = format!("{new}{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| renamed(item, names)),
        Value::Object(members) => members.values_mut().for_each(|member| renamed(member, names)),
        _ => {}
    }
}

/// Signs a history again, with positions, roots, bases and digests as they became; what a key that is not there signed
/// is left as it is.
pub fn signed(founding: &str, drafts: Vec<Draft>, keys: &HashMap<String, SecretKey>) -> Vec<String> {
    let (mut tree, mut records) = (Frontier::new(), vec![founding.to_owned()]);
    let (mut names, mut sizes) = (HashMap::new(), HashMap::new());
    tree.append(leaf_hash(founding.as_bytes()));
    for mut draft in drafts {
        if draft.kind == "group" {
            let (first, root) = (tree.size().to_string(), tree.root().to_string());
            let was = |name: &str| draft.payload[name].as_str().unwrap().to_owned();
            names.insert(was("root"), root.clone());
            sizes.insert(was("first"), first.clone());
            draft.payload["first"] = json!(first);
            draft.payload["root"] = json!(root);
        } else if keys.contains_key(&draft.key) {
            renamed(&mut draft.payload, &names);
            // No pad stands at 0: that one is to be wrong.
            if let Some(position) = draft.payload.get_mut("position").filter(|position| **position != "0") {
                *position = json!(tree.size().to_string());
            }
            if let Some(size) = draft.payload.pointer_mut("/basis/size")
                && let Some(new) = sizes.get(size.as_str().unwrap())
            {
                *size = json!(new);
            }
        }
        let envelope = draft.seal(keys);
        names.insert(draft.digest, envelope.digest().to_string());
        let leaf = envelope.encode();
        tree.append(leaf_hash(&leaf));
        records.push(String::from_utf8(leaf).unwrap());
    }
    records
}

pub type Edit = fn(&mut Vec<Draft>);

/// Where the record of a kind stands, by its number among those.
pub fn nth(drafts: &[Draft], kind: &str, number: usize) -> usize {
    let mut places = (0..drafts.len()).filter(|&at| drafts[at].kind == kind);
    places.nth(number).unwrap_or_else(|| panic!("{kind} {number}"))
}

/// Alters a member of a record.
pub fn set(drafts: &mut [Draft], kind: &str, number: usize, pointer: &str, value: &str) {
    let at = nth(drafts, kind, number);
    set_at(drafts, at, pointer, value);
}

pub fn set_at(drafts: &mut [Draft], at: usize, pointer: &str, value: &str) {
    *drafts[at].payload.pointer_mut(pointer).unwrap() = json!(value);
}

/// Lets somebody else's key sign a record.
pub fn signed_by(draft: &mut Draft, seed: &str) {
    draft.key = key(seed).public().id().to_string();
    if let Some(named) = draft.payload.get_mut("key") {
        *named = json!(draft.key);
    }
}

/// Lets somebody else sign an instruction.
pub fn by(drafts: &mut [Draft], kind: &str, number: usize, who: &str) {
    let at = nth(drafts, kind, number);
    signed_by(&mut drafts[at], who);
    set_at(drafts, at, "/signer", who);
}

/// Leaves a record out, and as many after it.
pub fn without(drafts: &mut Vec<Draft>, kind: &str, number: usize, more: usize) {
    let at = nth(drafts, kind, number);
    drafts.drain(at..=at + more);
}

/// Leaves the proposal of an act out, with what was said of it.
fn without_act(drafts: &mut Vec<Draft>, act: &str) {
    let is_it = |draft: &Draft| draft.payload.pointer(&format!("/body/act/{act}")).is_some();
    let digest = json!(drafts.iter().rfind(|draft| is_it(draft)).unwrap().digest);
    drafts.retain(|draft| json!(draft.digest) != digest && draft.payload["body"]["proposal"] != digest);
}

/// Moves a time.
pub fn later(time: &mut Value, seconds: i64) {
    let moved = time.as_str().unwrap().parse::<Timestamp>().unwrap().unix() + seconds;
    *time = json!(Timestamp::from_unix(moved).unwrap().to_string());
}

fn dated(drafts: &mut [Draft], kind: &str, number: usize, seconds: i64) {
    let draft = &mut drafts[nth(drafts, kind, number)];
    later(&mut draft.payload["issued_at"], seconds);
    later(&mut draft.payload["not_after"], seconds);
}

const ACTS: &[(&str, Edit)] = &[
    ("an acceptance is left out", |all| without(all, "acceptance", 0, 0)),
    ("a concurrence is left out", |all| without(all, "concurrence", 0, 0)),
    ("a concurrence of the proposer's", |all| by(all, "concurrence", 1, "karl")),
    ("an enrolment by one who is no custodian", |all| by(all, "proposal", 10, "boris")),
    ("the new policy is left out", |all| without_act(all, "policy")),
    ("the revocation is left out (sound)", |all| without_act(all, "revoke")),
    ("a revocation since a position that is not there", |all| {
        set(all, "proposal", 14, "/body/act/revoke/since", "99999")
    }),
    ("the veto is left out (sound)", |all| without(all, "veto", 0, 0)),
    ("a veto by one who may not", |all| by(all, "veto", 0, "paul")),
    ("a policy of no persons", |all| {
        let at = all.iter().position(|draft| draft.payload.pointer("/body/act/policy").is_some()).unwrap();
        set_at(all, at, "/body/act/policy/policy/receipt_persons", "0");
    }),
    ("a fund of an asset that is not there", |all| set(all, "fund-opening", 0, "/body/asset", "zz")),
    ("an offer begins at its second version", |all| set(all, "offer", 0, "/body/version", "2")),
    ("a case of one who is no agency", |all| set(all, "case-opening", 1, "/body/agency", "boris")),
    ("a case is refused", |all| set(all, "screening", 0, "/body/outcome", "refused")),
];

const FACTS: &[(&str, Edit)] = &[
    ("custody of less, in its entry too", |all| {
        let at = nth(all, "custody", 0);
        set_at(all, at, "/body/amount/amount", "299999.99");
        set_at(all, at + 1, "/lines/0/amount", "299999.99");
        set_at(all, at + 1, "/lines/1/amount", "299999.99");
    }),
    ("interest of more, in its entry too", |all| {
        let at = nth(all, "custody-interest", 0);
        set_at(all, at, "/body/amount/amount", "12.51");
        set_at(all, at + 1, "/lines/0/amount", "12.51");
        set_at(all, at + 1, "/lines/1/amount", "12.51");
    }),
    ("interest of more", |all| set(all, "custody-interest", 0, "/body/amount/amount", "12.51")),
    ("a cost in another currency", |all| set(all, "forfeiture", 1, "/body/costs/0/amount/currency", "EUR")),
    ("a claim of nothing", |all| set(all, "forfeiture", 1, "/body/claims/0/amount/amount", "0.00")),
    ("a fee on a day far ahead", |all| set(all, "bank-fee", 0, "/body/value_date", "2101-01-01")),
    ("a countersignature of the reporter's", |all| by(all, "countersignature", 0, "rita")),
    ("a countersignature is left out with its entry", |all| without(all, "countersignature", 0, 1)),
    ("a fee is reversed twice", |all| {
        let at = nth(all, "reversal", 3);
        let mut second = all[at..at + 2].to_vec();
        second[0].payload["id"] = json!("01890a5d-ac96-774b-8cce-b302099a8057");
        all.splice(at + 2..at + 2, second);
    }),
];

const PAYMENTS: &[(&str, Edit)] = &[
    ("a request of less", |all| set(all, "request", 0, "/body/amount/amount", "99999.99")),
    ("a request that expires too late", |all| {
        set(all, "request", 0, "/body/expires", "2101-01-01T00:00:00Z")
    }),
    ("another salt", |all| set(all, "request", 1, "/body/salt", &"7".repeat(64))),
    ("an approval is left out", |all| without(all, "approval", 0, 0)),
    ("the last approval is left out with its entry", |all| without(all, "approval", 1, 1)),
    ("an approval of the preparer's", |all| by(all, "approval", 0, "anna")),
    ("an approval of one who may not", |all| by(all, "approval", 0, "paul")),
    ("two approvals of one person's", |all| by(all, "approval", 0, "dora")),
    ("an approval by the key that was revoked", |all| by(all, "approval", 4, "dora")),
    ("an approval of more", |all| set(all, "approval", 0, "/body/effect/most/amount", "100000.01")),
    ("a release by an approver", |all| by(all, "release", 0, "dora")),
    ("a release is left out with its entry", |all| without(all, "release", 0, 1)),
    ("a payment that its payer confirms", |all| by(all, "bank-confirmation", 0, "paul")),
    ("a return of which more is kept", |all| set(all, "bank-return", 0, "/body/kept/amount", "100000.01")),
    ("a delivery that costs more", |all| set(all, "delivery", 0, "/body/invoiced/amount", "6000.01")),
    ("a delivery that costs less", |all| set(all, "delivery", 0, "/body/invoiced/amount", "5000.00")),
    ("a lapse is left out with its entry", |all| without(all, "lapse", 0, 1)),
    ("a lapse of another time", |all| set(all, "lapse", 0, "/expired", "2026-01-01T00:00:00Z")),
];

const ORDER: &[(&str, Edit)] = &[
    ("an entry is left out", |all| without(all, "entry", 3, 0)),
    ("an entry without its cause", |all| without(all, "restraint", 0, 0)),
    ("an entry before its cause", |all| {
        let at = nth(all, "release", 0);
        all.swap(at, at + 1);
    }),
    ("an entry on another day", |all| set(all, "entry", 5, "/effective", "2026-01-01")),
    ("an entry of a line less", |all| {
        let at = nth(all, "entry", 4);
        all[at].payload["lines"].as_array_mut().unwrap().pop();
    }),
    ("an entry of an approval less", |all| {
        let at = nth(all, "release", 0) + 1;
        all[at].payload["authority"].as_array_mut().unwrap().remove(1);
    }),
    ("an entry that a custodian signs", |all| {
        let at = nth(all, "entry", 2);
        signed_by(&mut all[at], "karl");
    }),
    ("a group that a custodian signs", |all| {
        let at = nth(all, "group", 9);
        signed_by(&mut all[at], "karl");
    }),
    ("an empty group more (sound)", |all| {
        let at = nth(all, "group", 30);
        let mut group = all[at].clone();
        group.payload["recorded_at"] = all[nth(all, "group", 29)].payload["recorded_at"].clone();
        all.insert(at, group);
    }),
    ("a group is left out", |all| without(all, "group", 30, 0)),
    ("a group of other rules", |all| set(all, "group", 20, "/rules", "2")),
    ("one group an hour later", |all| {
        let at = nth(all, "group", 20);
        later(&mut all[at].payload["recorded_at"], 3600);
    }),
    ("the last groups two days later", |all| {
        for number in 30..all.iter().filter(|draft| draft.kind == "group").count() {
            let at = nth(all, "group", number);
            later(&mut all[at].payload["recorded_at"], 2 * 24 * 3600);
        }
    }),
    ("an id that was used", |all| {
        let first = all[nth(all, "release", 0)].payload["id"].clone();
        set(all, "release", 1, "/id", first.as_str().unwrap());
    }),
    ("an instruction twice", |all| {
        let at = nth(all, "offer", 0);
        all.insert(at + 1, all[at].clone());
    }),
    ("an instruction that ran out", |all| dated(all, "offer", 0, -2 * 24 * 3600)),
    ("an instruction of tomorrow's", |all| dated(all, "offer", 0, 24 * 3600)),
    ("an instruction for another ledger", |all| set(all, "offer", 0, "/ledger", &"0".repeat(64))),
    ("an instruction on another basis", |all| set(all, "offer", 0, "/basis/root", &"0".repeat(64))),
    ("an instruction that the ledger signs", |all| {
        let at = nth(all, "offer", 0);
        signed_by(&mut all[at], "the ledger's records");
    }),
    ("a group begins long after what should have lapsed", |all| {
        let (lapse, end) = (nth(all, "lapse", 0), all.len());
        let at = all[..lapse].iter().rposition(|draft| draft.kind == "group").unwrap();
        for group in all[at..end].iter_mut().filter(|draft| draft.kind == "group") {
            later(&mut group.payload["recorded_at"], 5000);
        }
        all.insert(at, all[at].clone());
    }),
];

const PADS: &[(&str, Edit)] = &[
    ("a pad is left out", |all| without(all, "pad", 2, 0)),
    ("a pad more", |all| {
        let at = nth(all, "pad", 0);
        all.insert(at, all[at].clone());
    }),
    ("no pads at all", |all| all.retain(|draft| draft.kind != "pad")),
    ("a pad in the first group", |all| {
        let pad = all[nth(all, "pad", 0)].clone();
        all.insert(1, pad);
    }),
    ("a pad before the first group", |all| {
        let pad = all[nth(all, "pad", 0)].clone();
        all.insert(0, pad);
    }),
    ("something after a pad", |all| {
        let (pad, offer) = (nth(all, "pad", 0), nth(all, "offer", 0));
        let mut later = all[offer].clone();
        set_at(std::slice::from_mut(&mut later), 0, "/id", "01890a5d-ac96-774b-8cce-b302099a8058");
        all.insert(pad + 1, later);
    }),
    ("a group after the first pad", |all| {
        let at = nth(all, "pad", 0);
        let group = all[..at].iter().rfind(|draft| draft.kind == "group").unwrap().clone();
        all.insert(at + 1, group);
    }),
    ("a pad that is public at another time", |all| {
        let at = nth(all, "pad", 1);
        later(&mut all[at].payload["public_from"], 1);
    }),
    ("a pad of another position", |all| set(all, "pad", 1, "/position", "0")),
    ("a pad of another ledger", |all| set(all, "pad", 1, "/ledger", &"0".repeat(64))),
    ("a pad that a custodian signs", |all| {
        let at = nth(all, "pad", 1);
        signed_by(&mut all[at], "karl");
    }),
    ("a policy of pads without end", |all| publication(all, "multiple", "4097")),
    ("a policy of no pads", |all| publication(all, "multiple", "1")),
    ("a policy of short periods", |all| publication(all, "every_s", "59")),
    ("a policy of longer periods", |all| publication(all, "every_s", "3600")),
];

/// Alters what the new policy has public.
fn publication(all: &mut [Draft], name: &str, value: &str) {
    let path = "/body/act/policy/policy/publication";
    let at = all.iter().position(|draft| draft.payload.pointer(path).is_some()).unwrap();
    set_at(all, at, &format!("{path}/{name}"), value);
}

/// The same with as many pads at the end of a group as its size calls for.
fn padded(drafts: Vec<Draft>) -> Vec<Draft> {
    let mut padded: Vec<Draft> = Vec::new();
    for draft in drafts {
        let is_more = draft.kind == "pad" && padded.last().is_some_and(|last| last.kind == "pad");
        if is_more {
            continue;
        }
        padded.push(draft.clone());
        // The founding record is not among them.
        while draft.kind == "pad" && !(padded.len() as u64 + 1).is_multiple_of(MULTIPLE) {
            padded.push(draft.clone());
        }
    }
    padded
}

/// Histories that everybody could have signed together, and that the rules do not allow (or do).
pub fn histories(bundle: &Bundle, keys: &HashMap<String, SecretKey>) -> Vec<Forged> {
    let drafts: Vec<Draft> = bundle.records[1..].iter().map(|record| Draft::of(record)).collect();
    let others = [ACTS, FACTS, PAYMENTS, ORDER].concat();
    let all = others.into_iter().map(|edit| (edit, true)).chain(PADS.iter().map(|edit| (*edit, false)));
    let forged = all.map(|((name, edit), is_padded)| {
        let mut drafts = drafts.clone();
        edit(&mut drafts);
        let drafts = if is_padded { padded(drafts) } else { drafts };
        let records = signed(&bundle.records[0], drafts, keys);
        (name.to_owned(), bundle.with(records).sealed().into_bytes())
    });
    forged.collect()
}
