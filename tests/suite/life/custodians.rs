//! What custodians decide takes effect after policy's delay, unless somebody vetoes it.

use records::Body;
use records::governance::{Act, Band, Concurrence, Policy, Proposal, Role, Veto};
use records::scalar::Integer;
use signing::digest::Digest;
use tests::people::Person;
use tests::world::{World, id, policy, usd};

use super::{furnish, prove, request, stage};

const DELAY_S: u64 = 7200;

fn delayed() -> Policy {
    Policy { quorum_delay_s: Integer(DELAY_S), ..policy() }
}

/// Karl proposes and kira concurs.
fn decided(world: &World, act: Act) -> Digest {
    let proposal = world.sign("karl", Body::Proposal(Proposal { act }));
    world.accept(&world.post(&[proposal.envelope().clone()], "each"));
    world.ok("kira", Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    proposal.digest()
}

fn veto(proposal: Digest) -> Body {
    Body::Veto(Veto { proposal, reason: id("too much") })
}

fn pass(world: &World, seconds: u64) {
    world.clock.advance(i64::try_from(seconds).unwrap());
}

/// The version in force, and the one that waits.
fn versions(world: &World) -> (String, Option<String>) {
    let shown = world.get("karl", "/v1/policy");
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    (text(&shown.json["version"]).unwrap_or(shown.text), text(&shown.json["pending"]["version"]))
}

#[test]
fn a_policy_waits_and_can_be_vetoed() {
    let world = World::with_policy(delayed());
    furnish(&world, "20000.00");
    let two = Band { approvers: Integer(2), directors: Integer(0), up_to: usd("10000.00") };
    let stricter = || Act::Policy { policy: Policy { bands: vec![two.clone()], ..delayed() } };
    let first = decided(&world, stricter());
    assert_eq!(versions(&world), ("1".to_owned(), Some("2".to_owned())));
    // One thing at a time.
    let second = Body::Proposal(Proposal { act: stricter() });
    world.refuse("karl", second, "act_pending");
    world.refuse("boris", veto(first), "role_missing");
    world.ok("ada", veto(first));
    assert_eq!(versions(&world), ("1".to_owned(), None));
    world.refuse("karl", veto(first), "proposal_closed");
    pass(&world, DELAY_S + 60);
    assert_eq!(versions(&world).0, "1");

    let third = decided(&world, stricter());
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    let under_the_first = world.approval("d1");
    pass(&world, DELAY_S - 60);
    assert_eq!(versions(&world).0, "1");
    pass(&world, 120);
    assert_eq!(versions(&world), ("2".to_owned(), None));
    world.refuse("ada", veto(third), "proposal_closed");
    // What an approver read under the old one is not what is approved now; and now it takes two.
    world.refuse("boris", under_the_first, "policy_changed");
    world.ok("boris", world.approval("d1"));
    assert_eq!(stage(&world, "d1"), "requested");
    world.ok("dora", world.approval("d1"));
    assert_eq!(stage(&world, "d1"), "due");
    prove(&world);
}

#[test]
fn a_key_waits_and_can_be_vetoed_and_revoked() {
    let world = World::with_policy(delayed());
    furnish(&world, "20000.00");
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    let good = decided(&world, world.enrolment("bella", "bella", &[Role::Approver]));
    let bad = decided(&world, world.enrolment("mallory", "mallory", &[Role::Approver]));
    world.refuse("bella", world.approval("d1"), "key_not_yet_valid");
    world.refuse("mallory", world.approval("d1"), "key_not_yet_valid");
    world.ok("kira", veto(bad));
    world.refuse("mallory", world.approval("d1"), "key_revoked");
    pass(&world, DELAY_S + 1);
    world.refuse("mallory", world.approval("d1"), "key_revoked");
    world.refuse("ada", veto(good), "proposal_closed");

    // An open proposal counts for nothing, however long it waits.
    let key = Person::new("bella").key.public().id();
    let revocation = Act::Revoke { key, reason: id("lost"), since: None };
    let proposal = world.sign("karl", Body::Proposal(Proposal { act: revocation }));
    world.accept(&world.post(&[proposal.envelope().clone()], "each"));
    world.refuse("karl", Body::Concurrence(Concurrence { proposal: proposal.digest() }), "already_concurred");
    pass(&world, DELAY_S + 1);
    world.ok("bella", world.approval("d1"));
    assert_eq!(stage(&world, "d1"), "due");
    world.ok("kira", Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    pass(&world, DELAY_S + 1);
    // Her approval counts no more, and the payment cannot go out on it.
    let release = super::release(&world, "d1");
    world.refuse("paul", release, "approvals_void");
    prove(&world);
}
