//! Plain words.

use records::assets::{Forfeiture, Share};
use records::disbursements::{Approval, Channel, Effect, Release};
use records::governance::{Act, Activation, KeyPossession, LedgersKeys, Proposal, Role};
use records::scalar::{Evidence, Integer};
use records::{Basis, Body, cases::OfferVersion};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::SecretKey;

use super::fake::{banks, charter, policy};
use crate::describe::{charter as charter_words, describe, policy_words, summarise};

fn usd(text: &str) -> ledger::money::Money {
    ledger::money::Money::parse(text, "USD".parse().unwrap()).unwrap()
}

fn effect() -> Effect {
    Effect {
        amount: usd("100000.00"),
        benefit: "bonus".parse().unwrap(),
        channel: Channel::Manual {},
        disbursement: "d-1".parse().unwrap(),
        expires: "2026-04-01T00:00:00Z".parse().unwrap(),
        fund: "f1".parse().unwrap(),
        most: usd("100000.00"),
        offer: OfferVersion { offer: "main".parse().unwrap(), version: Integer(2) },
        policy: Integer(3),
        preparer: "anna".parse().unwrap(),
        request: Digest::of("request"),
    }
}

#[test]
fn an_approval_says_the_whole_effect() {
    let words = describe(&Body::Approval(Approval { effect: effect() }));
    assert_eq!(
        words.headline,
        "Approve disbursement d-1: USD 100,000.00 from fund f1, benefit bonus, prepared by anna, expires \
         2026-04-01T00:00:00Z"
    );
    let details: Vec<String> =
        words.details.iter().map(|(label, value)| format!("{label}: {value}")).collect();
    assert_eq!(
        details,
        [
            "at most: USD 100,000.00".to_owned(),
            "offer: main version 2".to_owned(),
            "channel: paid by hand".to_owned(),
            "policy version: 3".to_owned(),
            format!("request: {}", Digest::of("request")),
        ]
    );
}

#[test]
fn a_forfeiture_says_where_everything_goes() {
    let share = |body: &str, amount| Share { amount: usd(amount), body: body.parse().unwrap() };
    let words = describe(&Body::Forfeiture(Forfeiture {
        bank: "custody".parse().unwrap(),
        claims: vec![share("lien-bank", "200.00")],
        costs: vec![share("court", "1000.00")],
        fund: "fid".parse().unwrap(),
        gross: usd("1000000.00"),
        instrument: Evidence {
            holder: "rita".parse().unwrap(),
            kind: "forfeiture order".parse().unwrap(),
            sha256: Digest::of("order"),
        },
        to_bank: "main".parse().unwrap(),
        to_fund: "f1".parse().unwrap(),
        value_date: "2026-03-01".parse().unwrap(),
    }));
    let all = format!("{} {:?}", words.headline, words.details);
    for said in [
        "USD 1,000,000.00",
        "fund fid",
        "account custody",
        "fund f1",
        "account main",
        "2026-03-01",
        "USD 1,000.00 to court",
        "USD 200.00 to lien-bank",
        "forfeiture order, kept by rita",
    ] {
        assert!(all.contains(said), "{said} is missing in {all}");
    }
}

#[test]
fn acts_policies_and_foundings_say_who_and_what() {
    let act = Act::Roles { principal: "bea".parse().unwrap(), roles: vec![Role::Approver, Role::Director] };
    let words = describe(&Body::Proposal(Proposal { act }));
    assert_eq!(words.headline, "Propose that bea holds exactly the roles approver, director");
    let key = charter().record_key.id();
    let stolen = Act::Revoke { key, reason: "stolen".parse().unwrap(), since: Some(Integer(41)) };
    let words = format!("{:?}", describe(&Body::Proposal(Proposal { act: stolen })).details);
    assert!(words.contains("all that it signed from position 41 on"), "{words}");
    let (checkpoint_key, record_key) = (charter().record_key, charter().checkpoint_key);
    let ids = [&record_key, &checkpoint_key].map(|key| key.id().to_string());
    let rekey = Act::Reopen {
        checkpoint: "ledger.example/1\n7\nAAAA\n".to_owned(),
        continued: Basis { root: Digest::of("root"), size: Integer(7) },
        keys: Some(Box::new(LedgersKeys { checkpoint_key, record_key })),
        origin: "ledger.example/2".parse().unwrap(),
    };
    let words = describe(&Body::Proposal(Proposal { act: rekey }));
    assert!(
        words.headline.ends_with("ledger.example/2, with new keys of the ledger's"),
        "{}",
        words.headline
    );
    assert!(ids.iter().all(|id| words.details.iter().any(|(_, value)| value == id)), "{words:?}");
    let nobody = Act::Roles { principal: "bea".parse().unwrap(), roles: vec![] };
    assert!(describe(&Body::Proposal(Proposal { act: nobody })).headline.ends_with("roles none"));
    assert!(
        policy_words(&policy()).contains(&("longest life of a request".to_owned(), "30 days".to_owned()))
    );
    let words = charter_words(&charter());
    assert!(words.headline.contains("2 of 2 custodians"));
    assert!(words.details.iter().any(|(label, _)| label == "custodian anna"));
}

#[test]
fn many_are_summed_up() {
    let release = Release {
        bank: "main".parse().unwrap(),
        disbursement: "d-1".parse().unwrap(),
        request: Digest::of("request"),
    };
    let mut bodies = vec![
        Body::Approval(Approval { effect: effect() }),
        Body::Approval(Approval { effect: effect() }),
        Body::Release(release),
    ];
    assert_eq!(summarise(&bodies), "2 x approval, 1 x release; in total USD 200,000.00");
    bodies.extend(banks(2));
    assert!(summarise(&bodies).contains("2 x bank-opening"));
    assert_eq!(summarise(&banks(1)), "1 x bank-opening");
}

/// What a custodian is told before he concurs, and the owner before she activates.
#[test]
fn an_enrolment_and_an_activation_say_which_keys_and_until_when() {
    let keys: Vec<SecretKey> = (1..3u8).map(|seed| SecretKey::from_seed([seed; 32])).collect();
    let possession = |key: &SecretKey| Envelope::sign(key, KeyPossession::PAYLOAD_TYPE, b"{}".to_vec());
    let enrolment = |expires: Option<&str>| {
        let act = Act::Enrol {
            expires: expires.map(|time| time.parse().unwrap()),
            possessions: vec![possession(&keys[0])],
            principal: "anna".parse().unwrap(),
            roles: vec![Role::Preparer],
            spares: Some(vec![possession(&keys[1])]),
        };
        describe(&Body::Proposal(Proposal { act })).details
    };
    let [daily, spare] = [0, 1].map(|index| keys[index].public().id().to_string());
    let said = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let both = [said("key", &daily), said("spare key, which activates itself", &spare)];
    let expires = "2031-01-01T00:00:00Z";
    assert_eq!(enrolment(Some(expires)), [&both[..], &[said("keys expire", expires)]].concat());
    assert_eq!(enrolment(None), [&both[..], &[said("keys expire", "never")]].concat());

    let replaces = Some(keys[0].public().id());
    let activation = Activation { reason: "stolen".parse().unwrap(), replaces, since: Some(Integer(7)) };
    let words = describe(&Body::Activation(activation));
    assert_eq!(words.headline, format!("Activate this home's spare key, and end key {daily} at once"));
    let review = said("to be reviewed", "all that it signed from position 7 on");
    assert_eq!(words.details, [said("reason", "stolen"), review]);
}
