//! What happens when nothing goes wrong.

use disbursement_api::pipeline::{Checked, Mode, Unavailable};
use programme::Code;
use programme::stage::Stage;
use records::Payload;
use records::governance::{Acceptance, Role};
use records::{Body, Record};
use signing::dsse::EnvelopeError;
use store::register;

use super::fixture::{Place, Town, envelope, founding, id, secret, shown};

#[tokio::test(flavor = "multi_thread")]
async fn a_disbursement_from_request_to_payment() {
    let mut town = Town::funded(Place::new().await, "20000.00", 2).await;
    let request = town.request("d1", "case-0");
    town.accepts("prep1", request).await;
    // The only approver that the band takes may not be the preparer; the rest of the path is plain.
    let approval = town.approval("d1").await;
    town.accepts("app1", approval).await;
    let release = town.release("d1").await;
    town.accepts("pay1", release).await;
    let confirmation = town.confirmation("d1");
    town.accepts("rec1", confirmation).await;
    assert!(matches!(town.disbursement("d1").await.stage, Stage::Paid(_)));

    let admin = town.place.admin().await;
    let sql = "SELECT string_agg(event || ' ' || amount, ', ' ORDER BY position) FROM statement_lines \
               WHERE agency = 'ag1' AND agency_ref = 'ref-0'";
    let lines: String = admin.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(lines, "requested 5000.00, due 5000.00, released 5000.00, paid 5000.00");
    let sql = "SELECT string_agg(kind || ' ' || status, ', ' ORDER BY position) FROM reports";
    let reports: String = admin.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(reports, "windfall-income posted, bank-confirmation posted");
    let sql = "SELECT stage || ' ' || amount || ' ' || can_lapse FROM disbursements";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, String>(0), "paid 5000.00 false");
    let sql = "SELECT count(*) FROM fund_proofs WHERE difference <> 0";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_instruction_is_accepted_once() {
    let mut town = Town::funded(Place::new().await, "20000.00", 2).await;
    let body = town.request("d1", "case-0");
    let signed = town.sign("prep1", body);
    let first = town.submit(vec![signed.clone(), signed.clone()], Mode::Each).await;
    assert_eq!(first[0], first[1]);
    assert!(first[0].is_ok());
    let again = town.submit(vec![signed.clone()], Mode::All).await;
    assert_eq!(again[0], first[0]);
    // Long after, as far as it is remembered.
    town.place.move_clock(86_400);
    assert_eq!(town.submit(vec![signed.clone()], Mode::Each).await, again);
    town.place.move_clock(1);
    assert_eq!(town.submit(vec![signed], Mode::Each).await, [Err("expired".to_owned())]);
    // Another instruction under the same id.
    let (one, other) = (town.request("d2", "case-1"), town.request("d3", "case-1"));
    let signed = town.sign("prep1", one);
    let Payload::Instruction(header, _) = Record::parse(signed.clone()).unwrap().payload().clone() else {
        panic!("an instruction");
    };
    let reused = envelope(Payload::Instruction(header, Box::new(other)), &secret("prep1"));
    let both = town.submit(vec![signed, reused], Mode::Each).await;
    assert!(both[0].is_ok());
    assert_eq!(both[1], Err("instruction_id_reused".to_owned()));
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_founding_must_be_this_services() {
    let place = Place::new().await;
    let pipeline = place.start();
    let submit = async |founding: Vec<records::governance::Founding>| {
        let sign = |founding| Ok(envelope(Payload::Founding(Box::new(founding)), &secret("c1")));
        let submitted = pipeline.submit(founding.into_iter().map(sign).collect(), Mode::Each).await.unwrap();
        submitted.outcomes.iter().map(shown).collect::<Vec<_>>()
    };
    let invalid = [Err("founding_invalid".to_owned())];
    let good = founding(place.now());
    let mut wrong = founding(place.now());
    wrong.body.record_key = secret("another").public().clone();
    assert_eq!(submit(vec![wrong]).await, invalid);
    let mut wrong = founding(place.now());
    wrong.body.origin = id("another.example/1");
    assert_eq!(submit(vec![wrong]).await, invalid);
    let late = founding(place.now().plus(61).unwrap());
    assert_eq!(submit(vec![late]).await, invalid);
    assert_eq!(submit(vec![good.clone(), founding(place.now())]).await, [&invalid[..], &invalid].concat());
    assert_eq!(register::read(&place.register).unwrap(), None);

    assert_eq!(submit(vec![good.clone()]).await, [Ok(0)]);
    assert_eq!(submit(vec![good]).await, [Ok(0)]);
    assert_eq!(submit(vec![founding(place.now())]).await, [Err("ledger_founded".to_owned())]);
    assert_eq!(register::read(&place.register).unwrap().unwrap().size, 1);
    pipeline.shutdown().await;
    let after = pipeline.submit(vec![], Mode::Each).await;
    assert!(after.is_err_and(|reason| reason == Unavailable::ShuttingDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_answered_and_not_stored() {
    let mut town = Town::founded(Place::new().await).await;
    let before = town.basis;
    let accept = |town: &Town, who: &str| town.sign(who, Body::Acceptance(Acceptance {}));
    let unknown = accept(&town, "nobody");
    let mut forged = accept(&town, "c2");
    forged.signature.0[7] ^= 1;
    let lapse = envelope(
        Payload::Lapse(records::journal::Lapse {
            disbursement: id("d1"),
            expired: town.place.now(),
            ledger: town.ledger,
            request: town.ledger,
        }),
        &secret("ledger/records"),
    );
    let first = accept(&town, "c1");
    let envelopes = vec![Ok(unknown), Ok(forged), Ok(lapse), Err(EnvelopeError::SignatureCount), Ok(first)];
    let submitted = town.pipeline.submit(envelopes.clone(), Mode::Each).await.unwrap();
    let shown: Vec<_> = submitted.outcomes.iter().map(|outcome| shown(outcome).unwrap_err()).collect();
    let expected =
        ["key_unknown", "bad_signature", "role_missing", "envelope_signature_count", "already_accepted"];
    assert_eq!(shown, expected);
    assert_eq!(submitted.checkpoint, None);
    let checked = town.pipeline.check(envelopes).await.unwrap();
    assert!(matches!(&checked[0], Checked::Refused { refusal, .. } if refusal.code == Code::KeyUnknown));
    assert!(matches!(checked[1], Checked::BadSignature { .. }));
    assert!(matches!(checked[3], Checked::Malformed(_)));
    assert!(matches!(&checked[4], Checked::Refused { refusal, .. } if refusal.code == Code::AlreadyAccepted));
    let good = accept(&town, "c2");
    let checked = town.pipeline.check(vec![Ok(good.clone())]).await.unwrap();
    assert!(matches!(checked[0], Checked::WouldAccept { entry: None, .. }));
    // None of that wrote anything: the first group still begins at position 1.
    assert_eq!(town.submit(vec![good], Mode::Each).await, [Ok(2)]);
    assert_ne!(town.basis, before);
    assert_eq!(town.pipeline.principal_roles(&id("c2")).await.unwrap(), [Role::Custodian]);
    assert_eq!(town.pipeline.principal_roles(&id("nobody")).await.unwrap(), []);
    let key = secret("c2").public().id();
    assert_eq!(town.pipeline.key(&key).await.unwrap().unwrap().principal, id("c2"));
    assert_eq!(town.pipeline.key(&secret("nobody").public().id()).await.unwrap(), None);
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_none() {
    let mut town = Town::funded(Place::new().await, "10000.00", 3).await;
    let requests = |town: &Town| -> Vec<_> {
        (0..3)
            .map(|number| {
                let body = town.request(&format!("d{number}"), &format!("case-{number}"));
                town.sign("prep1", body)
            })
            .collect()
    };
    let batch = requests(&town);
    let refused = town.submit(batch.clone(), Mode::All).await;
    let not_tried = Err("not_tried".to_owned());
    assert_eq!(refused, [not_tried.clone(), not_tried, Err("insufficient_funds".to_owned())]);
    // Each alone, the first two fit.
    let each = town.submit(batch, Mode::Each).await;
    assert!(each[0].is_ok() && each[1].is_ok());
    assert_eq!(each[2], Err("insufficient_funds".to_owned()));
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_in_one_batch_loads_what_each_link_needs() {
    let mut town = Town::funded(Place::new().await, "10000.00", 1).await;
    let request = town.request("d1", "case-0");
    let signed = town.sign("prep1", request.clone());
    let Body::Request(request) = request else { panic!("a request") };
    let effect = records::disbursements::Effect {
        amount: request.amount,
        benefit: request.benefit,
        channel: request.channel,
        disbursement: request.disbursement.clone(),
        expires: request.expires,
        fund: request.fund,
        most: request.amount,
        offer: request.offer,
        policy: records::scalar::Integer(1),
        preparer: id("prep1"),
        request: signed.digest(),
    };
    let approval = Body::Approval(records::disbursements::Approval { effect });
    let release = Body::Release(records::disbursements::Release {
        bank: id("b1"),
        disbursement: request.disbursement,
        request: signed.digest(),
    });
    let batch = vec![
        signed,
        town.sign("app1", approval),
        town.sign("pay1", release),
        town.sign("rec1", town.confirmation("d1")),
    ];
    assert!(town.submit(batch, Mode::All).await.iter().all(Result::is_ok));
    let state = town.prove().await;
    let paid = state.get::<programme::entity::DisbursementState>(&programme::Key::Disbursement(id("d1")));
    assert!(matches!(paid.unwrap().stage, Stage::Paid(_)));
}
