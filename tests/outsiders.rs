//! People whose keys do not count: not yet, no longer, or never.

use records::governance::{Act, Concurrence, Policy, Proposal, Publication, Role, Veto};
use records::scalar::Integer;
use records::{Body, Verified};

use crate::people::{Person, key};
use crate::world::{World, id, policy};

/// How long an act of the custodians waits here.
pub const DELAY_S: u64 = 3600;

/// A ledger under a policy with a delay, and on it `gone`, whose key was revoked, `stopped`, whose enrolment was vetoed,
/// `past`, whose key has expired, `waits`, whose spare this is, and `late`, whose key is not valid yet. All were to be
/// approvers. `mallory` was never enrolled.
pub fn world_with_outsiders() -> World {
    let publication = Some(Publication { every_s: Integer(DELAY_S), multiple: Integer(256) });
    let delayed = Policy { publication, quorum_delay_s: Integer(DELAY_S), ..policy() };
    let world = World::with_policy(delayed);
    world.decide(world.enrolment("gone", "gone", &[Role::Approver]));
    let stopped = propose(&world, world.enrolment("stopped", "stopped", &[Role::Approver]));
    let reason = id("not shown to us");
    world.ok("ada", Body::Veto(Veto { proposal: stopped.digest(), reason }));
    let roles = &[Role::Approver];
    world.decide(world.enrolment_with("past", "past", "past's spare", DELAY_S * 3 / 2, roles));
    world.decide(world.enrolment_with("waits", "waits's daily", "waits", 365 * 24 * DELAY_S, roles));
    wait(&world);
    world.decide(revocation("gone"));
    wait(&world);
    world.decide(world.enrolment("late", "late", &[Role::Approver]));
    world
}

/// The end of the key of a seed.
pub fn revocation(seed: &str) -> Act {
    Act::Revoke { key: key(seed).public().id(), reason: id("it was lost"), since: None }
}

/// Passes over the delay.
pub fn wait(world: &World) {
    world.clock.advance(i64::try_from(DELAY_S).expect("a delay"));
}

/// Both custodians are for an act.
fn propose(world: &World, act: Act) -> Verified {
    let proposal = world.sign_with(&Person::new("karl"), Body::Proposal(Proposal { act }), |_| {});
    world.accept(&world.post(&[proposal.envelope().clone()], "each"));
    world.ok("kira", Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    proposal
}
