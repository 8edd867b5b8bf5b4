//! A real ledger for the insider: a varied history, and what somebody kept back or kept of it.

use records::governance::{Act, Policy, Role};
use records::scalar::Integer;
use serde_json::{Value, json};
use signing::digest::Digest;
use tests::people::key;
use tests::world::{World, opening, policy};

use crate::evidence::checkpoint;
use crate::life::request;
use crate::second::forgery::{Bundle, Draft, later, nth, set_at, signed_by};
use crate::second::history;

/// What a real service exported, and what the insider has besides.
pub struct Ledger {
    pub id: Digest,
    pub bundle: Bundle,
    /// Boris's approval of d6, which he signed under the second policy and which nobody posted; the third is in force.
    pub kept_back: String,
    /// A checkpoint that an auditor kept.
    pub kept: String,
    /// An instruction and a group of another ledger, by persons who have the same keys in both.
    pub foreign: [String; 2],
}

impl Ledger {
    /// Writes it by real services.
    pub fn written() -> Ledger {
        let world = history::written();
        let roles = &[Role::Approver];
        world.decide(world.enrolment_with("boris", "boris's old", "boris's old spare", 150, roles));
        world.clock.advance(200);
        let keys = ("boris's second", "boris's waiting");
        world.decide(world.enrolment_with("boris", keys.0, keys.1, 30 * 24 * 3600, roles));
        world.clock.advance(200);
        let kept_back = world.sign("boris", world.approval("d6")).leaf();
        let wider = Policy { quorum_delay_s: Integer(100), skew_s: Integer(90), ..policy() };
        world.decide(Act::Policy { policy: wider });
        world.clock.advance(200);
        request(&world, world.request("d10", "c2", "grant", "5000.00"));
        let text = world.bundle();
        let bundle = Bundle::of(&text);
        let kept = bundle.header["checkpoint"].as_str().unwrap().to_owned();
        assert_eq!(checkpoint(&kept).size, bundle.records.len() as u64);

        let other = World::new();
        let instruction = other.sign("anna", opening("c9", "north")).leaf();
        let group = Bundle::of(&other.bundle()).records[1].clone();
        let foreign = [String::from_utf8(instruction).unwrap(), group];
        let kept_back = String::from_utf8(kept_back).unwrap();
        Ledger { id: world.ledger, bundle, kept_back, kept, foreign }
    }

    /// Its records after the founding, to be altered.
    pub fn drafts(&self) -> Vec<Draft> {
        self.bundle.records[1..].iter().map(|record| Draft::of(record)).collect()
    }
}

/// Appends a group, so much later than the last.
pub fn group(all: &mut Vec<Draft>, later_s: i64) {
    let last = all.iter().rfind(|draft| draft.kind == "group").unwrap();
    let mut group = last.clone();
    group.payload.as_object_mut().unwrap().remove("record_key");
    signed_by(&mut group, "the ledger's records");
    later(&mut group.payload["recorded_at"], later_s);
    // What the next ones are called is known when they are signed.
    group.payload["first"] = json!((1_000_000 + all.len()).to_string());
    group.payload["root"] = json!(Digest::of(format!("root {}", all.len())));
    all.push(group);
}

/// Appends somebody's new instruction, like an earlier one, on the head that stands last; answers the name by which others
/// refer to it.
pub fn again(all: &mut Vec<Draft>, (kind, number): (&str, usize), who: &str, edit: fn(&mut Value)) -> String {
    let last = all.iter().rfind(|draft| draft.kind == "group").unwrap();
    let (now, basis) = (
        last.payload["recorded_at"].clone(),
        json!({"root": last.payload["root"], "size": last.payload["first"]}),
    );
    let mut draft = all[nth(all, kind, number)].clone();
    draft.key = key(who).public().id().to_string();
    draft.digest = Digest::of(format!("record {}", all.len())).to_string();
    let payload = &mut draft.payload;
    payload["basis"] = basis;
    payload["id"] = json!(format!("01890a5d-ac96-774b-8cce-{:012x}", all.len()));
    payload["issued_at"] = now.clone();
    payload["not_after"] = now;
    later(&mut payload["not_after"], 24 * 3600);
    payload["key"] = json!(draft.key);
    payload["signer"] = json!(who.split('\'').next().unwrap());
    edit(payload);
    let name = draft.digest.clone();
    all.push(draft);
    name
}

/// Appends somebody's approval of d6 under the policy in force.
pub fn approved(all: &mut Vec<Draft>, who: &str) -> String {
    let is_of_d6 = |draft: &&Draft| draft.payload["body"]["effect"]["disbursement"] == "d6";
    let approvals: Vec<&Draft> = all.iter().filter(|draft| draft.kind == "approval").collect();
    let like = approvals.iter().rposition(is_of_d6).unwrap();
    again(all, ("approval", like), who, |payload| payload["body"]["effect"]["policy"] = json!("3"))
}

/// Appends the entry that an approval of d6 would cause if it were the last: that of d1, as if it were of d6.
pub fn due(all: &mut Vec<Draft>, cause: &str) {
    let (like, request) = (nth(all, "approval", 1) + 1, all[nth(all, "request", 5)].clone());
    let held = all[nth(all, "request", 5) + 1].payload.clone();
    let mut entry = all[like].clone();
    assert_eq!((entry.kind.as_str(), &held["disbursement"]), ("entry", &json!("d6")));
    let text = entry.payload.to_string().replace("d1", "d6");
    entry.payload = serde_json::from_str(&text).unwrap();
    entry.payload["authority"] = json!([request.digest, cause]);
    entry.payload["case_commitment"] = held["case_commitment"].clone();
    entry.payload["effective"] = held["effective"].clone();
    entry.payload["id"] = json!(format!("{cause}-0"));
    entry.digest = Digest::of(format!("record {}", all.len())).to_string();
    all.push(entry);
}

/// Appends a custodian's proposal to let one approver do, up to 100,000.00, and answers its name.
pub fn easier_policy(all: &mut Vec<Draft>, who: &str) -> String {
    let proposal = act(all, "policy");
    again(all, ("proposal", proposal), who, |payload| {
        payload["body"]["act"]["policy"]["policy"]["bands"][1]["approvers"] = json!("1");
    })
}

/// Appends a custodian's proposal that boris has a further key, mallory's, and answers its name.
pub fn mallorys_key(all: &mut Vec<Draft>, who: &str) -> String {
    let name = again(all, ("proposal", 1), who, |_| {});
    let draft = all.last_mut().unwrap();
    replace_possession(&mut draft.payload);
    name
}

/// The seeds of the ledger's next two keys.
pub const NEXT: [&str; 2] = ["the ledger's next records", "the ledger's next checkpoints"];

/// Appends a group that carries the ledger's next key for records, and is signed by it.
pub fn carrying(all: &mut Vec<Draft>, later_s: i64) {
    group(all, later_s);
    let draft = all.last_mut().unwrap();
    draft.payload["record_key"] = json!(key(NEXT[0]).public());
    signed_by(draft, NEXT[0]);
}

/// Appends a custodian's proposal that the ledger has its next keys from the last group on, and answers its name. It cites a head
/// that nobody cosigned.
pub fn next_keys(real: &Ledger, all: &mut Vec<Draft>, who: &str) -> String {
    let at = all.iter().rposition(|draft| draft.kind == "group").unwrap();
    let [record, checkpoint] = NEXT.map(key);
    let act = json!({"reopen": {
        "checkpoint": real.kept, "continued": {"root": all[at].payload["root"], "size": (at + 1).to_string()},
        "keys": {"checkpoint_key": checkpoint.public(), "record_key": record.public()}, "origin": "ledger.example/2",
    }});
    let name = again(all, ("proposal", 0), who, |_| {});
    all.last_mut().unwrap().payload["body"]["act"] = act;
    name
}

/// Appends a custodian's proposal of a policy that demands a cosignature, and answers its name.
pub fn a_witness(all: &mut Vec<Draft>, who: &str) -> String {
    let proposal = act(all, "policy");
    again(all, ("proposal", proposal), who, |payload| {
        payload["body"]["act"]["policy"]["policy"]["witnessing"] = json!({"replays": "0", "threshold": "1",
            "witnesses": [{"key": key("a witness").public(), "name": "witness.example/1", "statement": "consistent"}]});
    })
}

/// Puts mallory's key into boris's enrolment.
pub fn replace_possession(payload: &mut Value) {
    let mallory = key("mallory");
    let was = &payload["body"]["act"]["enrol"]["possessions"][0];
    let possession = Draft::of(&was.to_string());
    let mut said = possession.payload.clone();
    assert_eq!(said["principal"], "boris");
    said["key"] = serde_json::to_value(mallory.public()).unwrap();
    let kind = possession.envelope.payload_type.clone();
    let sealed = signing::dsse::Envelope::sign(&mallory, &kind, signing::canonical::encode(&said)).encode();
    payload["body"]["act"]["enrol"]["possessions"][0] = serde_json::from_slice(&sealed).unwrap();
}

/// The number, among the proposals, of the last of this act.
pub fn act(all: &[Draft], act: &str) -> usize {
    let proposals: Vec<&Draft> = all.iter().filter(|draft| draft.kind == "proposal").collect();
    proposals.iter().rposition(|draft| draft.payload["body"]["act"].get(act).is_some()).unwrap()
}

/// Appends a custodian's concurrence.
pub fn concurred(all: &mut Vec<Draft>, who: &str, proposal: &str) {
    again(all, ("concurrence", 0), who, |_| {});
    let at = all.len() - 1;
    set_at(all, at, "/body/proposal", proposal);
}

/// Appends a record as it stands, whoever signed it.
pub fn as_it_stands(all: &mut Vec<Draft>, record: &str) {
    all.push(Draft::of(record));
}
