//! The frame around every instruction: whose key, which ledger, when, and on what basis.

use ledger::time::Timestamp;
use records::scalar::Integer;
use records::{Basis, Header};
use signing::digest::Digest;
use tests::outsiders::world_with_outsiders;
use tests::people::Person;
use tests::world::{World, policy};

use super::{accepted, bank, refused, refuses, text_of};

#[test]
fn a_key_counts_where_it_is_enrolled_valid_and_the_signers_own() {
    let world = world_with_outsiders();
    let sign = |person: &Person| text_of(world.sign_with(person, bank("b9"), |_| {}).envelope());
    for (person, code, says) in [
        (Person::new("mallory"), "key_unknown", "have it enrolled"),
        (Person::with_key("dora", "mallory"), "key_unknown", "have it enrolled"),
        (Person::with_key("dora", "boris"), "key_not_signers", "the key's own principal"),
        (Person::with_key("nobody", "boris"), "key_not_signers", "the key's own principal"),
        (Person::new("gone"), "key_revoked", "a key that is valid"),
        (Person::new("stopped"), "key_revoked", "vetoed"),
        (Person::new("late"), "key_not_yet_valid", "after the policy's delay"),
        (Person::new("past"), "key_expired", "have another key enrolled"),
        (Person::new("waits"), "key_spare", "its own activation"),
        (Person::new("boris"), "role_missing", "director"),
        (Person::with_key("robot", "the ledger's records"), "key_unknown", "have it enrolled"),
    ] {
        refused(&world, &sign(&person), code, says);
    }
    accepted(&world, &sign(&Person::new("dora")));
}

#[test]
fn an_instruction_is_for_this_ledger_this_time_and_this_log() {
    let world = World::new();
    let other = Digest::of("another ledger");
    let basis = world.basis();
    let now = world.clock.now();
    let at = |ahead_s: i64| Timestamp::from_unix(now.unix() + ahead_s).unwrap();
    let on = |root: Digest, size: u64| Basis { root, size: Integer(size) };
    let leaf = translog::tree::leaf_hash(b"nothing");
    type Alter<'a> = &'a dyn Fn(&mut Header);
    let times = |from: i64, to: i64| {
        move |header: &mut Header| (header.issued_at, header.not_after) = (at(from), at(to))
    };
    let rest = |basis: Basis| move |header: &mut Header| header.basis = basis;
    let day = 24 * 3600;
    let cases: [(Alter<'_>, &str, &str); 14] = [
        (&|header| header.ledger = other, "wrong_ledger", "this ledger's id"),
        (&times(-7200, -1), "expired", "the ledger's time is"),
        (&times(-40 * day, -20 * day), "expired", "sign it again"),
        (&times(0, -1), "not_after_invalid", "must follow issued_at"),
        (&times(0, 30 * day + 1), "not_after_invalid", "30 days at most"),
        (&times(600, day), "issued_in_future", "check your clock"),
        (&times(3650 * day, 3651 * day), "issued_in_future", "check your clock"),
        // Of another log: its root; a size at which no group of this one begins; one that it has not reached.
        (&rest(on(other, basis.size.0)), "basis_unknown", "tell the auditors"),
        (&rest(on(leaf, 1)), "basis_unknown", "verify the present checkpoint"),
        (&rest(on(basis.root, 1)), "basis_unknown", "verify the present checkpoint"),
        (&rest(on(basis.root, 2)), "basis_unknown", "verify the present checkpoint"),
        (&rest(on(basis.root, basis.size.0 + 1)), "basis_unknown", "verify the present checkpoint"),
        (&rest(on(basis.root, 1 << 62)), "basis_unknown", "verify the present checkpoint"),
        (&rest(on(Digest::of(""), 0)), "basis_unknown", "verify the present checkpoint"),
    ];
    for (alter, code, says) in cases {
        let record = world.sign_with(&Person::new("dora"), bank("b9"), alter);
        refused(&world, &text_of(record.envelope()), code, says);
    }
    let foreign = world.sign_with(&Person::new("mallory"), bank("b9"), |header| header.ledger = other);
    refused(&world, &text_of(foreign.envelope()), "wrong_ledger", "this ledger's id");
    // The widest that is allowed.
    let widest = world.sign_with(&Person::new("dora"), bank("b9"), times(50, 30 * day + 50));
    accepted(&world, &text_of(widest.envelope()));
}

#[test]
fn a_basis_ages() {
    let world = World::with_policy(records::governance::Policy { basis_age_s: Integer(3600), ..policy() });
    let person = Person::new("dora");
    let old = world.basis();
    world.clock.advance(3000);
    world.ok("dora", bank("b2"));
    world.clock.advance(3700);
    let stale = world.sign_with(&person, bank("b9"), |header| header.basis = old);
    refused(&world, &text_of(stale.envelope()), "basis_too_old", "verify the present checkpoint");
    accepted(&world, &text_of(world.sign("dora", bank("b9")).envelope()));
}

#[test]
fn nothing_but_acceptances_before_every_custodian_accepted() {
    let mut world = World::empty();
    refuses_unfounded(&world);
    let founding = world.founding(policy());
    world.ledger = founding.digest();
    world.accept(&world.post(&[founding.envelope().clone()], "each"));
    refuses(&world, "karl", bank("b9"), "founding_incomplete", "only acceptances");
}

fn refuses_unfounded(world: &World) {
    let header = Header {
        basis: Basis { root: Digest::of(""), size: Integer(0) },
        id: tests::world::new_id(),
        issued_at: world.clock.now(),
        key: Person::new("karl").key.public().id(),
        ledger: world.ledger,
        not_after: world.clock.now(),
        signer: Person::new("karl").principal,
    };
    let payload = super::payload_of(header, bank("b9"));
    let envelope = super::signed(&Person::new("karl"), records::Kind::BankOpening.payload_type(), payload);
    refused(world, &envelope, "ledger_not_founded", "send the founding record first");
}
