//! What custodians decide takes effect after policy's delay, unless somebody vetoes it.

use records::Body;
use records::governance::{Act, Activation, Band, Concurrence, Policy, Proposal, Role, Veto};
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

#[test]
fn a_spare_activates_itself_at_once_and_a_key_expires() {
    let world = World::with_policy(delayed());
    furnish(&world, "20000.00");
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    let act = world.enrolment_with("bella", "bella", "bella's spare", 2 * DELAY_S, &[Role::Approver]);
    let Act::Enrol { expires: Some(expires), .. } = act else { panic!("{act:?}") };
    decided(&world, act);
    let (daily, spare) = (Person::new("bella"), Person::with_key("bella", "bella's spare"));
    let sends = |body: Body| {
        let record = world.sign_with(&spare, body, |_| {});
        world.post(&[record.envelope().clone()], "each")
    };
    let ids = [&daily, &spare].map(|person| person.key.public().id());
    let activation = |replaces| Body::Activation(Activation { reason: id("stolen"), replaces, since: None });
    let key_of = |index: usize| {
        let listed = world.get("ada", "/v1/principals").json;
        let items = listed["items"].as_array().unwrap().clone();
        let bella = items.into_iter().find(|item| item["principal"] == "bella").unwrap();
        let keys = bella["keys"].as_array().unwrap().clone();
        keys.into_iter().find(|key| key["key"] == ids[index].to_string()).unwrap()
    };
    assert_eq!(sends(activation(None)).code(), "key_not_yet_valid");
    pass(&world, DELAY_S + 1);
    assert_eq!(sends(world.approval("d1")).code(), "key_spare");
    let waiting = key_of(1);
    assert_eq!((&waiting["spare"], &waiting["expires"]), (&"waiting".into(), &expires.to_string().into()));
    assert!(waiting.get("activated_at").is_none() && key_of(0).get("spare").is_none());

    // Whoever has the daily key approves; the spare ends that, and nobody else takes part.
    world.ok("bella", world.approval("d1"));
    assert_eq!(stage(&world, "d1"), "due");
    world.accept(&sends(activation(Some(ids[0]))));
    assert_eq!(sends(activation(None)).code(), "key_not_spare");
    let [ended, activated] = [0, 1].map(key_of);
    assert_eq!(
        (&activated["spare"], &activated["replaced"]),
        (&"activated".into(), &ids[0].to_string().into())
    );
    assert_eq!(activated["activated_at"], ended["until"]);
    world.refuse("paul", super::release(&world, "d1"), "approvals_void");
    assert_eq!(world.get("bella", "/v1/checkpoint").code(), "key_revoked");

    pass(&world, DELAY_S + 1);
    assert_eq!(sends(world.approval("d1")).code(), "key_expired");
    prove(&world);
}
