//! The log's own rows, the head and the register.

use std::fs;
use std::time::{Duration, Instant};

use records::Body;
use records::assets::BankOpening;
use store::packed::{pack, unpack};
use store::register::{self, Register};
use tests::people::Person;
use tests::service::Service;
use tests::world::{Desk, World, get_from, id, try_get_from};
use translog::tree::{Frontier, leaf_hash};

use super::{change, impatient, opening, post, stops, town};
use crate::evidence::{Log, checkpoint, refuted, verified};

/// A service on the world's database and register, and its desk.
fn another(world: &World) -> (Service, Desk) {
    let service = impatient(&world.database, &world.register, &world.clock);
    let desk = world.at(&service.url);
    (service, desk)
}

fn rename(world: &World, position: u64, from: &str, to: &str) {
    change(
        world,
        &format!(
            "UPDATE records SET payload = {} WHERE position = {position}",
            renamed(world, position, from, to)
        ),
    );
}

/// A payload with something else in it, as SQL.
fn renamed(world: &World, position: u64, from: &str, to: &str) -> String {
    let sql = "SELECT payload FROM records WHERE position = $1";
    let row = world.database.superuser().query_one(sql, &[&i64::try_from(position).unwrap()]).unwrap();
    let payload = String::from_utf8(unpack(row.get(0)).unwrap()).unwrap();
    assert!(payload.contains(from), "{payload}");
    let packed = pack(payload.replace(from, to).as_bytes()).unwrap();
    let hex: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("'\\x{hex}'::bytea")
}

#[test]
fn a_record_changed_before_its_head_was_signed_is_never_signed_over() {
    let mut world = town();
    world.service.stop();
    let signed = register::read(&world.register).unwrap().unwrap();
    let held = Register::open(&world.register).unwrap();
    let (mut service, desk) = another(&world);
    let record = opening(&desk, "case-real");
    let pending = post(&desk, &record);
    assert_eq!(pending.json["results"][0]["status"], "receipt_pending", "{}", pending.text);
    rename(&world, pending.position(), "case-real", "case-fake");
    drop(held);

    stops(&desk, &record, "log_forked");
    assert_eq!(register::read(&world.register).unwrap().unwrap(), signed);
    let note = desk.get("karl", "/v1/checkpoint").text;
    assert_eq!(checkpoint(&note).size, signed.size);
    // Nobody gets a bundle that would have to cover it.
    let bundle = desk.get("ada", "/v1/bundle");
    assert_eq!((bundle.status, bundle.code()), (503, "checkpoint_late"));
    // Any other service stops as well, now and later.
    let (_other, other_desk) = another(&world);
    stops(&other_desk, &opening(&desk, "case-other"), "log_forked");
    service.stop();
    let (_third, third_desk) = another(&world);
    stops(&third_desk, &opening(&third_desk, "case-third"), "log_forked");
    // Who only takes the mark away is found out again.
    change(&world, "UPDATE head SET forked = false");
    std::thread::sleep(Duration::from_millis(1500));
    stops(&third_desk, &opening(&third_desk, "case-fourth"), "log_forked");
}

#[test]
fn a_record_changed_after_its_head_was_signed_refutes_the_bundle() {
    let world = town();
    let sql = "SELECT payload, position FROM records ORDER BY position";
    let rows = world.database.superuser().query(sql, &[]).unwrap();
    let names_c1 =
        |row: &&postgres::Row| String::from_utf8_lossy(&unpack(row.get(0)).unwrap()).contains("c1-ref");
    let position = rows.iter().find(names_c1).unwrap().get::<_, i64>(1) as u64;
    let of_another = renamed(&world, position, "c1-ref", "c7-ref");
    let columns = [
        ("payload", of_another.as_str(), "bad_signature"),
        ("signature", "set_byte(signature, 63, get_byte(signature, 63) # 8)", "bad_signature"),
        ("signature", "(SELECT signature FROM records WHERE position = 0)", "bad_signature"),
        ("key", "(SELECT key FROM records WHERE position = 0)", "payload_key_mismatch"),
        ("kind", "(SELECT kind FROM records WHERE position = 0)", "payload_invalid"),
    ];
    let before = world.bundle();
    for (column, value, code) in columns {
        change(&world, &format!("CREATE TABLE kept AS SELECT * FROM records WHERE position = {position}"));
        change(&world, &format!("UPDATE records SET {column} = {value} WHERE position = {position}"));
        let finding = refuted(world.bundle().as_bytes(), world.ledger);
        assert_eq!((finding.position, &*finding.code), (Some(position), code), "{column}: {finding}");
        let back = format!(
            "UPDATE records SET {column} = k.{column} FROM kept k WHERE records.position = k.position"
        );
        change(&world, &back);
        world.database.superuser().batch_execute("DROP TABLE kept").unwrap();
        assert_eq!(world.bundle(), before);
    }

    // Two records in each other's place, both with good signatures.
    let swap = format!(
        "UPDATE records SET kind = o.kind, key = o.key, payload = o.payload, signature = o.signature \
         FROM records o WHERE records.position IN ({position}, 2) AND o.position = {position} + 2 - records.position"
    );
    change(&world, &swap);
    let finding = refuted(world.bundle().as_bytes(), world.ledger);
    assert_eq!((finding.position, &*finding.code), (Some(2), "key_unknown"), "{finding}");
    change(&world, &swap);
    // One that is not there any more breaks the export off.
    change(&world, &format!("DELETE FROM records WHERE position = {position}"));
    let broken = try_get_from(&world.url, &Person::new("ada"), "/v1/bundle", world.clock.now());
    assert!(broken.is_err(), "{broken:?}");
    let record = world.get("ada", &format!("/v1/records/{position}"));
    assert_eq!(record.code(), "record_not_found");
}

#[test]
fn a_changed_record_that_the_publisher_reads_again_stops_the_log() {
    let mut world = town();
    let position = post(&world, &opening(&world, "case-real")).position();
    rename(&world, position, "case-real", "case-fake");
    world.restart();
    // The next head is still signed: it says nothing new about the record. The 256 hashes that become a tile do.
    let basis = world.basis();
    assert!(basis.size.0 < 200);
    let many: Vec<_> = (0..256)
        .map(|n| Body::BankOpening(BankOpening { bank: id(&format!("bank-{n}")), currency: id("USD") }))
        .map(|body| world.sign_on(basis, "dora", body))
        .collect();
    let envelopes: Vec<_> = many.iter().map(|record| record.envelope().clone()).collect();
    let answer = world.post(&envelopes, "all");
    assert!(!answer.text.contains("accepted"), "{}", &answer.text[..200]);
    stops(&world, &many[255], "log_forked");
    assert_eq!(checkpoint(&world.get("karl", "/v1/checkpoint").text).size, basis.size.0);
}

#[test]
fn a_forged_checkpoint_refutes_the_bundle() {
    let world = town();
    let checkpoint = checkpoint(&world.get("karl", "/v1/checkpoint").text);
    let forged = translog::checkpoint::Checkpoint { root: world.ledger, ..checkpoint.clone() };
    let notes = [
        (forged.sign(&Person::new("karl").key), "checkpoint_unsigned"),
        (forged.sign(&tests::service::ledger_keys().checkpoint), "checkpoint_root"),
        (checkpoint.body(), "checkpoint_malformed"),
    ];
    for (note, code) in notes {
        let sql = "UPDATE checkpoints SET note = $1 WHERE size = (SELECT max(size) FROM checkpoints)";
        assert_eq!(world.database.superuser().execute(sql, &[&note]).unwrap(), 1);
        assert_eq!(refuted(world.bundle().as_bytes(), world.ledger).code, code);
    }
}

#[test]
fn a_head_that_somebody_changed_is_never_signed() {
    for set in
        ["root = sha256('x')", "size = size + 1", "size = size - 1", "frontier = '\\x0000000000000000'"]
    {
        let mut world = town();
        let signed = register::read(&world.register).unwrap().unwrap();
        change(&world, &format!("UPDATE head SET {set}"));
        world.restart();
        // What does not agree with itself is not gone on from; the operator reads why.
        let answer = post(&world, &opening(&world, "case-late"));
        assert_eq!((answer.status, answer.code()), (500, "internal"), "{set}: {}", answer.text);
        assert_eq!(register::read(&world.register).unwrap().unwrap(), signed, "{set}");
    }

    // One that does, of another log of this size.
    let mut world = town();
    let signed = register::read(&world.register).unwrap().unwrap();
    let mut frontier = Frontier::new();
    let bundle = world.bundle();
    let leaves: Vec<&str> = bundle.lines().filter(|line| line.contains("payloadType")).collect();
    leaves[1..].iter().for_each(|leaf| frontier.append(leaf_hash(leaf.as_bytes())));
    frontier.append(leaf_hash(b"another"));
    let sql = "UPDATE head SET root = $1, frontier = $2";
    let (root, frontier) = (frontier.root().as_bytes().to_vec(), frontier.encode());
    assert_eq!(world.database.superuser().execute(sql, &[&root, &frontier]).unwrap(), 1);
    world.restart();
    stops(&world, &opening(&world, "case-late"), "log_forked");
    assert_eq!(register::read(&world.register).unwrap().unwrap(), signed);
}

#[test]
fn a_head_of_a_later_time_takes_nothing_until_then() {
    let mut world = town();
    change(&world, "UPDATE head SET recorded_at = recorded_at + 7200");
    world.restart();
    stops(&world, &opening(&world, "case-1"), "clock_suspect");
    world.clock.advance(7200);
    world.accept(&post(&world, &opening(&world, "case-2")));
    verified(&world.bundle(), world.ledger);
    // An earlier one, under a clock that was moved back too.
    change(&world, "UPDATE head SET recorded_at = recorded_at - 7200");
    world.clock.advance(-3600);
    world.restart();
    let answer = post(&world, &opening(&world, "case-3"));
    world.accept(&answer);
    let finding = refuted(world.bundle().as_bytes(), world.ledger);
    assert_eq!((finding.position, &*finding.code), (Some(answer.position() - 1), "group_time"), "{finding}");
}

#[test]
fn a_database_from_yesterday_stops_every_service() {
    let mut world = town();
    world.service.stop();
    let yesterday = world.database.copy();
    world.restart();
    let receipt = post(&world, &opening(&world, "case-today"));
    world.accept(&receipt);
    let today = checkpoint(receipt.json["checkpoint"].as_str().unwrap());
    world.service.stop();

    let restored = || impatient(&yesterday, &world.register, &world.clock);
    let (mut first, second) = (restored(), restored());
    for service in [&first, &second] {
        let desk = world.at(&service.url);
        stops(&desk, &opening(&desk, "case-again"), "log_forked");
        // It still answers reads, and what it shows is shorter than the receipt.
        assert!(checkpoint(&desk.get("karl", "/v1/checkpoint").text).size < today.size);
    }
    first.stop();
    let third = restored();
    let desk = world.at(&third.url);
    stops(&desk, &opening(&desk, "case-again"), "log_forked");
    drop((second, third));
    assert_eq!(register::read(&world.register).unwrap().unwrap().size, today.size);

    // The right one is not harmed.
    world.restart();
    world.accept(&post(&world, &opening(&world, "case-tomorrow")));
    verified(&world.bundle(), world.ledger);
}

#[test]
fn a_failover_that_lost_records_gives_no_receipts_for_others_in_their_place() {
    let mut world = town();
    world.service.stop();
    let behind = world.database.copy();
    world.restart();
    // A service that sees every head, and signs none: the lock that it waits for stays ours.
    let register = tests::service::register();
    std::os::unix::fs::symlink(&world.register, &register).unwrap();
    let held = Register::open(&register).unwrap();
    let service = Service::start(&world.database, &register, &world.clock);
    let desk = world.at(&service.url);
    let mut receipts = Vec::new();
    for n in 0..4 {
        let answer = post(&desk, &opening(&desk, &format!("case-{n}")));
        world.accept(&answer);
        receipts.push(answer.position());
    }
    world.service.stop();
    world.database.fail_over_to(behind);
    // While it was going on, the service could not tell what it was connected to.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(service.pipeline().halted(), None);

    // What it would append now would stand where something else was acknowledged.
    assert!(checkpoint(&desk.get("karl", "/v1/checkpoint").text).size <= receipts[0]);
    let record = opening(&desk, "case-instead");
    stops(&desk, &record, "log_forked");
    drop(held);
    std::thread::sleep(Duration::from_millis(1500));
    stops(&desk, &record, "log_forked");
    assert!(!desk.bundle().contains("case-instead"));
}

#[test]
fn a_longer_log_that_leaves_something_out_stops_every_service() {
    let mut world = town();
    world.service.stop();
    let other = world.database.copy();
    // Somebody with the ledger's keys goes on from yesterday, beside a register of his own.
    let apart = tests::service::register();
    fs::copy(&world.register, &apart).unwrap();
    let service = Service::start(&other, &apart, &world.clock);
    let desk = world.at(&service.url);
    for n in 0..5 {
        desk.accept(&post(&desk, &opening(&desk, &format!("other-{n}"))));
    }
    let fork = checkpoint(&desk.get("karl", "/v1/checkpoint").text);
    verified(&desk.bundle(), world.ledger);
    let basis_of_the_fork = desk.sign("anna", Body::Request(desk.request("d9", "c1", "grant", "5000.00")));
    drop(service);

    world.restart();
    world.accept(&post(&world, &opening(&world, "case-real")));
    // An instruction on a basis that only the fork had is refused.
    assert_eq!(post(&world, &basis_of_the_fork).code(), "basis_unknown");
    let real = register::read(&world.register).unwrap().unwrap();
    assert!(fork.size > real.size);
    world.service.stop();
    let service = impatient(&other, &world.register, &world.clock);
    let desk = world.at(&service.url);
    stops(&desk, &opening(&desk, "case-late"), "log_forked");
    assert_eq!(register::read(&world.register).unwrap().unwrap(), real);
}

#[test]
fn without_its_register_a_service_writes_nothing() {
    let mut world = town();
    let whole = fs::read(&world.register).unwrap();
    let writes_again = |world: &World, case: &str| {
        let record = opening(world, case);
        let deadline = Instant::now() + Duration::from_secs(10);
        while post(world, &record).json["results"][0]["status"] != "accepted" {
            assert!(Instant::now() < deadline, "it does not write again");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    fs::remove_file(&world.register).unwrap();
    stops(&world, &opening(&world, "case-1"), "register_missing");
    // Nothing was made in its place, also by one that starts anew; and what is read is there.
    world.restart();
    stops(&world, &opening(&world, "case-2"), "register_missing");
    assert!(!world.register.exists());
    assert_eq!(world.get("ada", "/v1/funds").status, 200);

    // One that is damaged, or another ledger's, is none.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    for slot in [0, middle] {
        damaged[slot] ^= 1;
    }
    fs::write(&world.register, &damaged).unwrap();
    world.restart();
    stops(&world, &opening(&world, "case-3"), "register_missing");
    let other = World::new();
    fs::copy(&other.register, &world.register).unwrap();
    world.restart();
    stops(&world, &opening(&world, "case-4"), "register_missing");
    assert_eq!(fs::read(&world.register).unwrap(), fs::read(&other.register).unwrap());

    fs::write(&world.register, &whole).unwrap();
    writes_again(&world, "case-5");
    verified(&world.bundle(), world.ledger);
    // What was committed before it was noticed is covered now.
    let note = get_from(&world.url, &Person::new("karl"), "/v1/checkpoint", world.clock.now()).text;
    assert_eq!(checkpoint(&note).size, Log::read(&world.bundle()).digests.len() as u64);
}
