//! What is accepted: lists that hang together, what was sent before, a founding, and what the database has afterwards.

use programme::Key;
use programme::entity::DisbursementState;
use programme::stage::Stage;
use records::assets::{BankOpening, WindfallIncome};
use records::disbursements::{Approval, BankConfirmation, Effect, Release};
use records::governance::Charter;
use records::scalar::Integer;
use records::{Body, Payload, Verified};
use signing::digest::Digest;
use store::register;
use tests::people::{Person, key};
use tests::replay::prove;
use tests::service::{Clock, Service};
use tests::world::{Desk, World, evidence, id, policy, usd};

use super::{bank, codes, post, requests, town};

/// What follows a request until it is paid, signed without asking the service for anything.
fn until_paid(desk: &Desk, request: &Verified) -> Vec<Verified> {
    let Payload::Instruction(header, body) = request.payload() else { panic!("an instruction") };
    let Body::Request(asked) = &**body else { panic!("a request") };
    let (asked, digest) = (asked.clone(), request.digest());
    let effect = Effect {
        amount: asked.amount,
        benefit: asked.benefit,
        channel: asked.channel,
        disbursement: asked.disbursement.clone(),
        expires: asked.expires,
        fund: asked.fund,
        most: asked.amount,
        offer: asked.offer,
        policy: Integer(1),
        preparer: header.signer.clone(),
        request: digest,
    };
    let release = Release { bank: id("b1"), disbursement: asked.disbursement.clone(), request: digest };
    let value_date = desk.clock.now().date();
    let confirmation =
        BankConfirmation { disbursement: asked.disbursement, evidence: evidence(), value_date };
    let steps = [
        ("boris", Body::Approval(Approval { effect })),
        ("paul", Body::Release(release)),
        ("rita", Body::BankConfirmation(confirmation)),
    ];
    steps.map(|(who, body)| desk.sign_on(header.basis, who, body)).into()
}

#[test]
fn a_chain_in_one_list_loads_what_each_link_needs() {
    let mut world = town("10000.00", 2);
    let requests = requests(&world, world.basis(), &[("d1", "case-0"), ("d2", "case-1")]);
    // One after the other, and all at once: the same is in the database.
    for step in [&requests[..1], &until_paid(&world, &requests[0])].concat() {
        world.accept(&post(&world, &[step], "each"));
    }
    let chain = [&requests[1..], &until_paid(&world, &requests[1])].concat();
    world.accept(&post(&world, &chain, "all"));
    let income = WindfallIncome {
        bank: id("b1"),
        evidence: evidence(),
        fund: id("f1"),
        own: usd("200.00"),
        retained: usd("0.00"),
        shares: vec![],
        shares_fund: id("h1"),
        value_date: world.clock.now().date(),
    };
    world.ok("rita", Body::WindfallIncome(income));

    let sql = "SELECT string_agg(kind || ' ' || status, ', ' ORDER BY position) FROM reports";
    let reports: String = world.database.superuser().query_one(sql, &[]).unwrap().get(0);
    let kinds = ["custody", "forfeiture", "bank-confirmation", "bank-confirmation", "windfall-income"];
    assert_eq!(reports, kinds.map(|kind| format!("{kind} posted")).join(", "));
    let sql = "SELECT stage || ' ' || amount || ' ' || can_lapse FROM disbursements";
    let rows = world.database.superuser().query(sql, &[]).unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["paid 5000.00 false"; 2]);
    let state = prove(&mut world);
    for name in ["d1", "d2"] {
        let paid = state.get::<DisbursementState>(&Key::Disbursement(id(name)));
        assert!(matches!(paid.unwrap().stage, Stage::Paid(_)), "{name}");
    }
}

#[test]
fn what_earlier_ones_of_a_list_hold_is_not_free() {
    let mut world = town("10000.00", 3);
    let pairs = [("d0", "case-0"), ("d1", "case-1"), ("d2", "case-2")];
    let batch = requests(&world, world.basis(), &pairs);
    let before = world.trace();
    let refused = post(&world, &batch, "all");
    assert_eq!((refused.code(), &refused.json["index"]), ("insufficient_funds", &"2".into()));
    assert_eq!(world.trace(), before);
    // Each alone, the first two fit.
    assert_eq!(codes(&post(&world, &batch, "each")), ["ok", "ok", "insufficient_funds"]);
    prove(&mut world);
}

#[test]
fn what_was_accepted_is_remembered_while_it_is_valid() {
    let mut world = World::new();
    // It is valid for a day.
    let record = bank(&world, "b1");
    let first = post(&world, std::slice::from_ref(&record), "each");
    world.accept(&first);
    world.clock.advance(24 * 3600 - 60);
    let again = post(&world, std::slice::from_ref(&record), "each");
    assert_eq!(again.json["results"], first.json["results"]);
    world.clock.advance(120);
    assert_eq!(codes(&post(&world, &[record], "each")), ["expired"]);
    // Another instruction under the same id, in the same list.
    let one = bank(&world, "b2");
    let Payload::Instruction(header, _) = one.payload().clone() else { panic!("an instruction") };
    let other = world.sign_with(
        &Person::new("dora"),
        Body::BankOpening(BankOpening { bank: id("b3"), currency: id("USD") }),
        |frame| frame.id = header.id,
    );
    assert_eq!(codes(&post(&world, &[one, other], "each")), ["ok", "instruction_id_reused"]);
    prove(&mut world);
}

#[test]
fn the_founding_must_be_this_services() {
    let mut world = World::empty();
    let Payload::Founding(good) = world.founding(policy()).payload().clone() else { panic!("a founding") };
    type Alter<'a> = &'a dyn Fn(&mut Charter);
    let another = || key("another").public().clone();
    let cases: [Alter<'_>; 3] = [
        &|charter| charter.record_key = another(),
        &|charter| charter.checkpoint_key = another(),
        &|charter| charter.origin = id("another.example/log"),
    ];
    for alter in cases {
        let mut charter = good.body.clone();
        alter(&mut charter);
        assert_eq!(codes(&post(&world, &[world.sign_charter(charter)], "each")), ["founding_invalid"]);
    }
    // Nor of a time that is more than policy's skew ahead.
    let ahead = Desk { clock: Clock::default(), ..world.at(&world.url) };
    ahead.clock.advance(70);
    assert_eq!(codes(&post(&world, &[ahead.founding(policy())], "each")), ["founding_invalid"]);
    assert_eq!(register::read(&world.register).unwrap(), None);

    let founding = world.sign_charter(good.body);
    for _ in 0..2 {
        let answer = post(&world, std::slice::from_ref(&founding), "each");
        world.accept(&answer);
        assert_eq!(answer.position(), 0);
    }
    assert_eq!(register::read(&world.register).unwrap().unwrap().size, 1);
    world.ledger = founding.digest();
    prove(&mut world);
}

/// The same envelopes reach two services at the same moment.
#[test]
fn what_is_sent_to_two_services_at_once_is_in_the_log_once() {
    const COUNT: usize = 24;
    let mut world = town("1000000.00", COUNT);
    let other = Service::start(&world.database, &world.register, &world.clock);
    let desks = [world.at(&world.url), world.at(&other.url)];
    let pairs: Vec<_> = (0..COUNT).map(|n| (format!("d{n}"), format!("case-{n}"))).collect();
    let records = requests(&world, world.basis(), &pairs);
    let before = super::size(&world);
    let positions: Vec<[(Digest, u64); 2]> = std::thread::scope(|scope| {
        let send = |desk: &Desk, record: &Verified| {
            let answer = post(desk, std::slice::from_ref(record), "each");
            desk.accept(&answer);
            (record.digest(), answer.position())
        };
        let threads = records.chunks(COUNT / 4).flat_map(|part| {
            desks
                .each_ref()
                .map(|desk| scope.spawn(move || part.iter().map(|one| send(desk, one)).collect::<Vec<_>>()))
        });
        let sent: Vec<_> =
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
        let pairs = sent.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
        pairs.map(|(here, there)| [*here, *there]).collect()
    });
    assert_eq!(positions.len(), COUNT);
    for [here, there] in positions {
        assert_eq!(here, there);
    }
    // Each with the entry that holds its money; the rest are the groups.
    let groups = super::size(&world) - before - 2 * i64::try_from(COUNT).unwrap();
    assert!((1..=2 * i64::try_from(COUNT).unwrap()).contains(&groups), "{groups} groups");
    drop(other);
    prove(&mut world);
}
