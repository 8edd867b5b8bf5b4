//! A bundle of a real ledger, changed on its way: what is wrong is found in the record in which a byte changed, or in its
//! line if it is none. `FLIP_SEED` repeats a run.

use std::num::NonZero;
use std::thread::{available_parallelism, scope};

use records::assets::{AssetRegistration, BankOpening, Custody, FundKind, FundOpening};
use records::governance::{Acceptance, Concurrence, Policy, Proposal, Role};
use records::{Body, Verified};
use tests::cluster::say;
use tests::world::{World, evidence, id, policy, usd};

use super::town;
use crate::choices::Choices;
use crate::evidence::{refuted, verified};

const FLIPS: u64 = 200;

/// Where the records begin, and the position of the record in which a byte is; of none before them.
fn places(text: &str) -> (usize, impl Fn(usize) -> Option<u64>) {
    let first: usize =
        text.lines().take_while(|line| !line.contains("payloadType")).map(|line| line.len() + 1).sum();
    let position = move |at| (at >= first).then(|| text[first..at].matches('\n').count() as u64);
    (first, position)
}

#[test]
fn a_bundle_with_one_byte_changed_is_refuted() {
    let world = town();
    world.ok("boris", world.approval("d1"));
    world.ok("dora", world.approval("d1"));
    world.ok("anna", Body::Request(world.request("d2", "c2", "trip", "6000.00")));
    let bundle = world.bundle();
    verified(&bundle, world.ledger);

    let mut choices = Choices::from_env("FLIP_SEED");
    let mut bytes = bundle.into_bytes();
    // The lines of records are most of it: half of the changes go to what comes before them.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (first_record, position) = places(&text);
    for flip in 0..FLIPS {
        let end = if flip % 2 == 0 { first_record } else { bytes.len() };
        let at = choices.index(end);
        let bits = 1 + choices.below(255) as u8;
        bytes[at] ^= bits;
        let finding = refuted(&bytes, world.ledger);
        // Of a record, whatever the byte was; before the records there is no position, but where a count no longer says
        // where they begin.
        if at >= first_record {
            assert_eq!(finding.position, position(at), "byte {at}: {finding}");
        }
        if flip % 50 == 0 {
            say(&format!("byte {at}: {finding}"));
        }
        bytes[at] ^= bits;
    }
    for cut in 0..20 {
        let end = choices.index(bytes.len());
        refuted(&bytes[..end], world.ledger);
        if cut % 2 == 0 {
            let twice = [&bytes[..end], &bytes[end.saturating_sub(1)..]].concat();
            refuted(&twice, world.ledger);
        }
    }
    verified(&String::from_utf8(bytes).unwrap(), world.ledger);
}

/// A ledger of eleven records, of every kind of line that a bundle has.
fn small() -> World {
    let mut world = World::empty();
    let bands = policy().bands.drain(..1).collect();
    let founding = world.founding(Policy { bands, ..policy() });
    world.ledger = founding.digest();
    world.accept(&world.post(&[founding.envelope().clone()], "each"));
    let basis = world.basis();
    let act = world.enrolment("dora", "dora", &[Role::Auditor, Role::Director, Role::Reconciler]);
    let proposal = world.sign_on(basis, "karl", Body::Proposal(Proposal { act }));
    let concurrence = Body::Concurrence(Concurrence { proposal: proposal.digest() });
    let (asset, currency, fund, bank) = (id("a1"), id("USD"), id("h1"), id("b1"));
    let opening = FundOpening { asset, currency, fund, kind: FundKind::Fiduciary };
    let custody = Custody {
        amount: usd("1.00"),
        bank: id("b1"),
        evidence: evidence(),
        fund: id("h1"),
        value_date: world.clock.now().date(),
    };
    let by_dora = [
        Body::AssetRegistration(AssetRegistration {
            asset: id("a1"),
            description: id("a"),
            instrument: evidence(),
        }),
        Body::FundOpening(opening),
        Body::BankOpening(BankOpening { bank, currency: id("USD") }),
        Body::Custody(custody),
    ];
    let by_custodians = [
        world.sign_on(basis, "kira", Body::Acceptance(Acceptance {})),
        proposal,
        world.sign_on(basis, "kira", concurrence),
    ];
    let post = |records: &[Verified]| {
        let envelopes: Vec<_> = records.iter().map(|record| record.envelope().clone()).collect();
        world.accept(&world.post(&envelopes, "all"));
    };
    post(&by_custodians);
    post(&by_dora.map(|body| world.sign_on(basis, "dora", body)));
    world
}

#[test]
fn no_byte_of_a_small_bundle_can_be_changed() {
    let world = small();
    let answer = world.get("dora", "/v1/bundle");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (bundle, ledger) = (answer.text, world.ledger);
    verified(&bundle, ledger);
    let (first_record, _) = places(&bundle);
    assert!(bundle[..first_record].lines().count() > 2, "it has no balances");
    let threads = available_parallelism().map_or(2, NonZero::get);
    scope(|scope| {
        for thread in 0..threads {
            let bundle = &bundle;
            scope.spawn(move || {
                let (_, position) = places(bundle);
                let mut bytes = bundle.clone().into_bytes();
                for at in (thread..bytes.len()).step_by(threads) {
                    // Another digit or letter, or the other case.
                    let bit = if at % 2 == 0 { 0x01 } else { 0x20 };
                    bytes[at] ^= bit;
                    let finding = refuted(&bytes, ledger);
                    if let Some(position) = position(at) {
                        assert_eq!(finding.position, Some(position), "byte {at}: {finding}");
                    }
                    bytes[at] ^= bit;
                }
            });
        }
    });
    say(&format!("{} bytes", bundle.len()));
}
