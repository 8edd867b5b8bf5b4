//! Who may do what: every route and every identity, and every kind of instruction and every role, tried over HTTP.
//!
//! What comes out is compared with `tests/expected/authorisation.txt`, which a person reads, and with what the route's
//! own [`Who`] says. `UPDATE_EXPECTED=1` writes that file anew.

use std::collections::{BTreeMap, BTreeSet};

use disbursement_api::routes::{ROUTES, Route, Who};
use records::governance::{Act, Role, Veto};
use records::{Body, Kind, Payload, Record};
use serde_json::{Value, json};
use signing::digest::Digest;
use signing::dsse::Envelope;
use tests::binary::root;
use tests::outsiders::{wait, world_with_outsiders};
use tests::people::Person;
use tests::world::{Answer, World, call, get_unsigned, id, nonce, post_raw};

/// How somebody comes to a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// Without any signature.
    Unsigned,
    /// With a key that does not count, for this reason.
    Outsider(&'static str),
    /// With a good key of a principal who holds one role, or none any more.
    Holder(Option<Role>),
    /// As an agency that has no part in the case that is asked for.
    WrongAgency,
}

use Identity::{Holder, Outsider, Unsigned, WrongAgency};

/// Everybody, by the name that the table has and the principal who signs.
fn everybody() -> Vec<(String, Identity, &'static str)> {
    let outsiders = [
        ("unknown key", "mallory", "key_unknown"),
        ("revoked key", "gone", "key_revoked"),
        ("vetoed key", "stopped", "key_revoked"),
        ("key not yet valid", "later", "key_not_yet_valid"),
        ("expired key", "past", "key_expired"),
        ("spare that waits", "waits", "key_spare"),
    ];
    let mut everybody = vec![("unsigned".to_owned(), Unsigned, "nobody")];
    everybody.extend(outsiders.map(|(name, who, code)| (name.to_owned(), Outsider(code), who)));
    everybody.push(("no role".to_owned(), Holder(None), "idle"));
    everybody.extend(Role::ALL.map(|role| (role.name().to_owned(), Holder(Some(role)), holder(role))));
    everybody.push(("wrong agency".to_owned(), WrongAgency, "south"));
    everybody
}

/// Somebody who holds this role and no other.
fn holder(role: Role) -> &'static str {
    match role {
        Role::Agency => "north",
        Role::Approver => "boris",
        Role::Auditor => "ada",
        Role::Custodian => "karl",
        Role::Director => "dirk",
        Role::Payer => "paul",
        Role::Preparer => "pia",
        Role::Reconciler => "rita",
        Role::Screener => "sven",
        Role::Service => "robot",
    }
}

/// A world with everybody, in which there is something to read.
fn world() -> World {
    let world = world_with_outsiders();
    world.decide(world.enrolment("dirk", "dirk", &[Role::Director]));
    world.decide(world.enrolment("pia", "pia", &[Role::Preparer]));
    world.decide(world.enrolment("idle", "idle", &[Role::Approver]));
    wait(&world);
    world.decide(Act::Roles { principal: id("idle"), roles: vec![] });
    wait(&world);
    // Into the middle of an hour, so that none begins, with a group of its own, while others look.
    world.clock.advance((5400 - world.clock.now().unix().rem_euclid(3600)) % 3600);
    world.decide(world.enrolment("later", "later", &Role::ALL[1..3]));
    world.fund("20000.00");
    world.offer();
    world.case("c1", "north", true);
    world.case("c2", "south", true);
    world.ok("anna", Body::Request(world.request("d1", "c1", "grant", "5000.00")));
    world
}

/// The path and query by which a route is asked here. A new route has to be added.
fn path_of(route: &Route, size: u64) -> String {
    let path = match route.path {
        "/v1/proofs/inclusion" => return format!("/v1/proofs/inclusion?position=0&size={size}"),
        "/v1/proofs/consistency" => return format!("/v1/proofs/consistency?from=1&to={size}"),
        "/tile/{*tile}" => "/tile/0/000",
        "/tile/entries/{*entries}" => "/tile/entries/000",
        "/v1/funds/{fund}/accounts" => "/v1/funds/f1/accounts",
        "/v1/disbursements/{disbursement}" => "/v1/disbursements/d1",
        "/v1/records/{position}" => "/v1/records/1",
        "/v1/agency/cases/{agency_ref}" => "/v1/agency/cases/c1-ref",
        "/v1/agency/cases/{agency_ref}/statement" => "/v1/agency/cases/c1-ref/statement",
        plain => plain,
    };
    assert!(!path.contains('{'), "{} is not covered", route.path);
    path.to_owned()
}

fn unknown_proposal() -> Veto {
    Veto { proposal: Digest::of("none"), reason: id("not shown to us") }
}

fn read(world: &World, method: &str, path: &str, identity: Identity, who: &str) -> Answer {
    let target = format!("{}{path}", world.service.url);
    if identity == Unsigned {
        return call(method, &target, &[]);
    }
    let (key, now) = (Person::new(who).key, world.clock.now().unix());
    let signed = signing::http::sign(method, &target, b"", &key, now, &nonce()).unwrap();
    call(method, &target, &[("signature-input", &signed.signature_input), ("signature", &signed.signature)])
}

/// A veto of what was never proposed: custodians and auditors may, and everybody is told something.
fn write(world: &World, path: &str, identity: Identity, who: &str) -> Answer {
    let mut envelope = json!(world.sign(who, Body::Veto(unknown_proposal())).envelope());
    if identity == Unsigned {
        envelope["signatures"] = json!([]);
    }
    let body = json!({"instructions": [{"attachments": [], "envelope": envelope}], "mode": "each"});
    post_raw(&format!("{}{path}", world.service.url), &body.to_string())
}

/// What a route has to answer, by its own word about who may.
fn due(route: &Route, identity: Identity) -> String {
    // As any holder of a role.
    let identity = match identity {
        Outsider("key_spare") if route.spares => Holder(Some(Role::Approver)),
        identity => identity,
    };
    let judged = |may: &dyn Fn(Role) -> bool, good: &str, missing: &str| match identity {
        Unsigned => unreachable!("there is nobody to judge"),
        Outsider(code) => code.to_owned(),
        Holder(Some(role)) if may(role) => good.to_owned(),
        WrongAgency if may(Role::Agency) && route.path.contains("{agency_ref}") => {
            "case_not_found".to_owned()
        }
        WrongAgency if may(Role::Agency) => good.to_owned(),
        Holder(_) | WrongAgency => missing.to_owned(),
    };
    match (route.who, identity) {
        (Who::Anybody, _) => "200 ok".to_owned(),
        (Who::Signers, Unsigned) => "200 envelope_signature_count".to_owned(),
        (Who::Signers, _) => {
            let may = |role| matches!(role, Role::Auditor | Role::Custodian);
            format!("200 {}", judged(&may, "proposal_unknown", "role_missing"))
        }
        (Who::Roles(_), Unsigned) => "401 http_signature_missing".to_owned(),
        (Who::Roles(roles), _) => {
            match judged(&|role| roles.contains(&role), "ok", "role_missing").as_str() {
                "ok" => "200 ok".to_owned(),
                "case_not_found" => "404 case_not_found".to_owned(),
                code => format!("403 {code}"),
            }
        }
    }
}

/// The headers of an answer that no standard knows.
fn own_headers(answer: &Answer) -> BTreeSet<&str> {
    answer.headers.keys().map(String::as_str).filter(|name| name.starts_with("safeconduct-")).collect()
}

/// The same as the description of the interface has them.
fn own_described(operation: &Value, status: u16) -> BTreeSet<&str> {
    let headers = operation["responses"][status.to_string()]["headers"].as_object();
    let names = headers.into_iter().flat_map(|headers| headers.keys().map(String::as_str));
    names.filter(|name| name.starts_with("safeconduct-")).collect()
}

#[test]
fn every_route_is_open_to_whom_it_says() {
    let world = world();
    world.cosign();
    let size = world.basis().size.0;
    let before = world.trace();
    let described = get_unsigned(&world.service.url, "/v1/openapi.json").json;
    let mut table = String::new();
    for route in ROUTES {
        let path = path_of(route, size);
        let operation = &described["paths"][route.path.replace('*', "")][route.method.to_lowercase()];
        let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, identity, who) in everybody() {
            let answer = match route.method {
                "GET" => read(&world, "GET", &path, identity, who),
                "POST" => write(&world, &path, identity, who),
                method => panic!("{method} is not covered"),
            };
            let outcome = format!("{} {}", answer.status, answer.code());
            assert_eq!(own_headers(&answer), own_described(operation, answer.status), "{path} by {name}");
            assert_eq!(outcome, due(route, identity), "{} {} by {name}", route.method, route.path);
            if route.method == "GET" {
                let head = read(&world, "HEAD", &path, identity, who);
                assert_eq!((head.status, head.text.as_str()), (answer.status, ""), "HEAD {path} by {name}");
            }
            answers.entry(outcome).or_default().push(name);
        }
        table += &format!("{} {}\n", route.method, route.path);
        for (outcome, names) in answers {
            table += &format!("    {outcome}: {}\n", names.join(", "));
        }
    }
    assert_eq!(before, world.trace(), "something is left");
    let expected = root().join("tests/expected/authorisation.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&expected, &table).unwrap();
    }
    let expected = std::fs::read_to_string(expected).unwrap();
    for (line, (is, should)) in table.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "line {} of tests/expected/authorisation.txt", line + 1);
    }
    assert_eq!(table, expected);
}

#[test]
fn the_page_says_of_every_route_who_may_call_it() {
    let page = std::fs::read_to_string(root().join("docs/api.md")).unwrap();
    let mut said: Vec<(String, BTreeSet<&str>, bool)> = vec![];
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((route, who)) = row.split_once("` | ") else { continue };
        let who = who.trim_end_matches(" |").split(", of its own").next().unwrap();
        let (who, spares) =
            who.strip_suffix(", a spare that waits too").map_or((who, false), |who| (who, true));
        let all = || Role::ALL.iter().map(|role| role.name());
        let roles = match who {
            "anybody" | "the signers of the envelopes" => BTreeSet::from([who]),
            "any role" => all().collect(),
            "any role but agency" => all().filter(|role| *role != "agency").collect(),
            "the same" => said.last().unwrap().1.clone(),
            list => list.split(", ").collect(),
        };
        said.push((route.split('?').next().unwrap().to_owned(), roles, spares));
    }
    let is = ROUTES.iter().map(|route| {
        let roles = match route.who {
            Who::Anybody => BTreeSet::from(["anybody"]),
            Who::Signers => BTreeSet::from(["the signers of the envelopes"]),
            Who::Roles(roles) => roles.iter().map(|role| role.name()).collect(),
        };
        (format!("{} {}", route.method, route.path), roles, route.spares)
    });
    assert_eq!(said, is.collect::<Vec<_>>());
}

/// Who may sign what, as `docs/spec/rules.md` says it.
const MAY: [(Kind, &[Role]); 28] = [
    (Kind::Acceptance, &[Role::Custodian]),
    (Kind::Proposal, &[Role::Custodian]),
    (Kind::Concurrence, &[Role::Custodian]),
    (Kind::Veto, &[Role::Auditor, Role::Custodian]),
    (Kind::AssetRegistration, &[Role::Director]),
    (Kind::FundOpening, &[Role::Director]),
    (Kind::BankOpening, &[Role::Director]),
    (Kind::Restraint, &[Role::Reconciler]),
    (Kind::Custody, &[Role::Reconciler]),
    (Kind::CustodyInterest, &[Role::Reconciler]),
    (Kind::Forfeiture, &[Role::Reconciler]),
    (Kind::ClaimPayment, &[Role::Reconciler]),
    (Kind::WindfallIncome, &[Role::Reconciler]),
    (Kind::BankFee, &[Role::Reconciler]),
    (Kind::Countersignature, &[Role::Reconciler]),
    (Kind::Reversal, &[Role::Director]),
    (Kind::Offer, &[Role::Director]),
    (Kind::CaseOpening, &[Role::Preparer]),
    (Kind::Screening, &[Role::Screener]),
    (Kind::Request, &[Role::Preparer]),
    (Kind::Approval, &[Role::Approver, Role::Director]),
    (Kind::Rejection, &[Role::Approver, Role::Director]),
    (Kind::Cancellation, &[Role::Director, Role::Preparer]),
    (Kind::Delivery, &[Role::Preparer]),
    (Kind::Release, &[Role::Payer]),
    (Kind::BankConfirmation, &[Role::Reconciler]),
    (Kind::BankRejection, &[Role::Reconciler]),
    (Kind::BankReturn, &[Role::Reconciler]),
];

/// A body of this kind, from the golden records; of another ledger, so that it names nothing that is here.
fn golden(kind: Kind) -> Body {
    let path = root().join(format!("tests/vectors/records/{}.json", kind.name()));
    let text = std::fs::read_to_string(path).unwrap();
    match Record::parse(Envelope::from_json(&text).unwrap()).unwrap().payload() {
        Payload::Instruction(_, body) => (**body).clone(),
        other => panic!("{other:?} is no instruction"),
    }
}

#[test]
fn every_kind_is_for_some_roles_only() {
    // An activation takes the spare, and no role.
    let others = |kind: &Kind| kind.signed_by_ledger() || [Kind::Activation, Kind::Founding].contains(kind);
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !others(kind)).collect();
    assert_eq!(kinds, MAY.map(|(kind, _)| kind));

    let world = world();
    let (basis, before) = (world.basis(), world.trace());
    for (kind, may) in MAY {
        let body = golden(kind);
        let envelopes: Vec<Value> = everybody()
            .iter()
            .map(|(_, _, who)| json!({"attachments": [], "envelope": world.sign_on(basis, who, body.clone()).envelope()}))
            .collect();
        let list = json!({"instructions": envelopes, "mode": "each"}).to_string();
        let answer = post_raw(&format!("{}/v1/instructions/check", world.service.url), &list);
        let results = answer.json["results"].as_array().unwrap();
        for ((name, identity, _), result) in everybody().into_iter().zip(results) {
            let code = result["problem"]["code"].as_str().unwrap_or("ok");
            match identity {
                // Here everybody has signed, also who is nobody.
                Unsigned => assert_eq!(code, "key_unknown"),
                Outsider(why) => assert_eq!(code, why, "{kind:?} by {name}"),
                Holder(Some(role)) if may.contains(&role) => {
                    assert_ne!(code, "role_missing", "{kind:?} by {name}")
                }
                Holder(_) | WrongAgency => {
                    assert_eq!(code, "role_missing", "{kind:?} by {name}");
                    let roles: Vec<&str> =
                        result["problem"]["detail"].as_str().unwrap().split(' ').skip(4).collect();
                    let told: BTreeSet<&str> = roles.into_iter().filter(|word| *word != "or").collect();
                    assert_eq!(told, may.iter().map(|role| role.name()).collect(), "{kind:?}");
                }
            }
        }
    }
    assert_eq!(before, world.trace());
}
