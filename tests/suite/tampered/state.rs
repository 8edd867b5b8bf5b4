//! What the rules read: entities and balances. The service believes its database; the log shows what that led to.

use records::Body;
use serde_json::{Value, json};
use signing::digest::Digest;
use store::packed::{pack, unpack};
use tests::people::Person;
use tests::world::{Answer, World};

use super::{change, town};
use crate::evidence::{refuted, verified};

/// Changes an entity's JSON, under a service that has not read it yet.
fn edit(world: &mut World, key: &str, change: impl FnOnce(&mut Value)) {
    let mut client = world.database.superuser();
    let (read, write, key) = match key.strip_prefix("disbursement/") {
        Some(id) => (
            "SELECT state FROM disbursements WHERE disbursement = $1",
            "UPDATE disbursements SET state = $1 WHERE disbursement = $2",
            id,
        ),
        None => (
            "SELECT value FROM entities WHERE key = $1",
            "UPDATE entities SET value = $1 WHERE key = $2",
            key,
        ),
    };
    let row = client.query_one(read, &[&key]).unwrap();
    let before: Value = serde_json::from_slice(&unpack(row.get(0)).unwrap()).unwrap();
    let mut after = before.clone();
    change(&mut after);
    assert_ne!(before, after);
    assert_eq!(client.execute(write, &[&pack(after.to_string().as_bytes()).unwrap(), &key]).unwrap(), 1);
    world.restart();
}

/// The service took it; whoever replays the log does not.
#[track_caller]
fn taken_and_refuted(world: &World, answer: &Answer, position: u64, code: &str) {
    world.accept(answer);
    let finding = refuted(world.bundle().as_bytes(), world.ledger);
    assert_eq!((finding.position, finding.code.as_str()), (Some(position), code), "{finding}");
}

#[test]
fn a_policy_that_wants_fewer_approvers() {
    let mut world = town();
    edit(&mut world, "policy", |policy| policy["current"]["policy"]["bands"][1]["approvers"] = json!("1"));
    let answer = world.send("boris", world.approval("d1"));
    // The entry that makes it due: no second approver signed.
    taken_and_refuted(&world, &answer, answer.position() + 1, "entry_unexpected");
}

#[test]
fn an_approval_that_nobody_gave() {
    let mut world = town();
    let dora = Person::new("dora");
    edit(&mut world, "disbursement/d1", |state| {
        let given = json!({
            "approver": dora.principal.to_string(),
            "key": dora.key.public().id().to_string(),
            "digest": Digest::of("no approval").to_string(),
            "policy": 1,
        });
        state["stage"]["Requested"]["approvals"] = json!([given]);
    });
    let answer = world.send("boris", world.approval("d1"));
    taken_and_refuted(&world, &answer, answer.position() + 1, "entry_unexpected");
}

#[test]
fn a_role_that_nobody_was_given() {
    let mut world = town();
    edit(&mut world, "principal/paul", |roles| roles["pending"]["value"] = json!(["approver", "payer"]));
    let answer = world.send("paul", world.approval("d1"));
    taken_and_refuted(&world, &answer, answer.position(), "role_missing");
}

#[test]
fn a_key_that_nobody_enrolled() {
    let mut world = town();
    let (mallory, boris) = (Person::new("mallory"), Person::new("boris"));
    let copy = |from: &str, to: &str| {
        change(
            &world,
            &format!("INSERT INTO entities SELECT '{to}', value FROM entities WHERE key = '{from}'"),
        );
    };
    copy("principal/boris", "principal/mallory");
    let key = format!("key/{}", mallory.key.public().id());
    copy(&format!("key/{}", boris.key.public().id()), &key);
    edit(&mut world, &key, |state| {
        state["principal"] = json!("mallory");
        state["public"] = serde_json::to_value(mallory.key.public()).unwrap();
    });
    let answer = world.send("mallory", world.approval("d1"));
    taken_and_refuted(&world, &answer, answer.position(), "key_unknown");
}

#[test]
fn a_request_that_was_made_smaller() {
    let mut world = town();
    // With the amount of the grant, one approver is enough.
    edit(&mut world, "disbursement/d1", |state| {
        let amount = json!({"amount": "5000.00", "currency": "USD"});
        assert_eq!(state["amount"], json!({"amount": "100000.00", "currency": "USD"}));
        state["amount"] = amount;
    });
    let before = world.trace();
    let answer = world.send("boris", world.approval("d1"));
    // The hold that would be posted is not one of this amount, so the database refuses the entry.
    assert_eq!((answer.status, answer.code()), (500, "internal"), "{}", answer.text);
    assert_eq!(world.trace(), before);
    verified(&world.bundle(), world.ledger);
}

#[test]
fn a_case_that_nobody_cleared() {
    let mut world = town();
    world.case("c3", "north", false);
    edit(&mut world, "case/c3", |case| case["screening"] = json!("cleared"));
    let answer = world.send("anna", Body::Request(world.request("d3", "c3", "grant", "5000.00")));
    taken_and_refuted(&world, &answer, answer.position(), "screening_open");
}

#[test]
fn an_obligation_that_was_forgotten() {
    let mut world = town();
    change(&world, "DELETE FROM entities WHERE key = 'obligation/c1/bonus/1'");
    world.restart();
    let answer = world.send("anna", Body::Request(world.request("d2", "c1", "bonus", "100000.00")));
    taken_and_refuted(&world, &answer, answer.position(), "obligation_exists");
}

#[test]
fn balances_that_are_not_those_of_the_entries() {
    let world = town();
    let edits = [
        ("amount = amount + 0.01", "account = '7210/main'", "balance_differs"),
        ("amount = amount - 0.01", "account = '1100/b1'", "balance_differs"),
        ("held = held - 100000", "account = '7210/main'", "balance_differs"),
        ("account = '7210/other'", "account = '7210/main'", "balance_differs"),
        ("fund = 'f2'", "account = '7100'", "balance_differs"),
        ("amount = 0", "account = '7100'", "balance_missing"),
    ];
    let before = world.bundle();
    for (set, which, code) in edits {
        world.database.superuser().batch_execute("CREATE TABLE kept AS SELECT * FROM balances").unwrap();
        change(&world, &format!("UPDATE balances SET {set} WHERE {which}"));
        let finding = refuted(world.bundle().as_bytes(), world.ledger);
        assert_eq!(finding.code, code, "{set}: {finding}");
        let back = "TRUNCATE balances; INSERT INTO balances SELECT * FROM kept; DROP TABLE kept";
        world.database.superuser().batch_execute(back).unwrap();
        assert_eq!(world.bundle(), before);
    }
    change(&world, "DELETE FROM balances WHERE account = '1100/b1'");
    assert_eq!(refuted(world.bundle().as_bytes(), world.ledger).code, "balance_missing");
}

#[test]
fn money_that_was_never_received() {
    let mut world = town();
    world.case("c3", "north", true);
    change(&world, "UPDATE balances SET amount = amount + 100000 WHERE account = '7210/main'");
    world.restart();
    world.ok("anna", Body::Request(world.request("d2", "c2", "bonus", "100000.00")));
    let answer = world.send("anna", Body::Request(world.request("d3", "c3", "bonus", "100000.00")));
    taken_and_refuted(&world, &answer, answer.position(), "insufficient_funds");
    // The books no longer agree with each other: the database itself refuses to go on from there once it is cash.
    for disbursement in ["d1", "d2", "d3"] {
        for approver in ["boris", "dora"] {
            world.ok(approver, world.approval(disbursement));
        }
    }
    let release = |disbursement: &str| {
        let request = world.effect(disbursement).request;
        let disbursement = disbursement.parse().unwrap();
        Body::Release(records::disbursements::Release { bank: "b1".parse().unwrap(), disbursement, request })
    };
    world.ok("paul", release("d1"));
    world.ok("paul", release("d2"));
    world.refuse("paul", release("d3"), "insufficient_funds");
}

#[test]
fn postings_that_were_deleted() {
    let world = town();
    let before = world.trace();
    // The hold of the request: posting it finds nothing to post.
    world.ok("boris", world.approval("d1"));
    change(&world, "DELETE FROM postings WHERE action = 'h'");
    let answer = world.send("dora", world.approval("d1"));
    assert_eq!((answer.status, answer.code()), (500, "internal"), "{}", answer.text);
    assert_ne!(world.trace(), before);
    // The journal is a copy of the log's entries: whoever replays the log misses nothing.
    change(&world, "DELETE FROM postings");
    verified(&world.bundle(), world.ledger);
    // With the balances made to match, that is what is refuted.
    change(&world, "UPDATE balances SET held = 0 WHERE account = '7210/main'");
    assert_eq!(refuted(world.bundle().as_bytes(), world.ledger).code, "balance_differs");
}
