//! The interface is what its description says: the routes, and every answer that a program of others provokes.

use std::collections::BTreeSet;
use std::process::Command;

use disbursement_api::routes::{ROUTES, Who};
use records::Body;
use records::governance::{Policy, Publication};
use records::scalar::Integer;
use serde_json::{Value, json};
use tests::binary::root;
use tests::cluster::scratch;
use tests::people::Person;
use tests::world::{World, get_unsigned, policy};

#[test]
fn the_description_has_every_route_and_no_other() {
    let world = World::empty();
    let answer = get_unsigned(&world.url, "/v1/openapi.json");
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/json"));
    let mut described = BTreeSet::new();
    for (path, methods) in answer.json["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let roles: Vec<Value> = operation["x-roles"].as_array().cloned().unwrap_or_default();
            let is_signed = operation["security"] == json!([{"signature": [], "signature_input": []}]);
            assert_eq!(is_signed, !roles.is_empty(), "{method} {path}");
            described.insert((method.to_uppercase(), path.clone(), json!(roles).to_string()));
        }
    }
    let is = ROUTES.iter().map(|route| {
        let roles: Vec<&str> = match route.who {
            Who::Anybody | Who::Signers => vec![],
            Who::Roles(roles) => roles.iter().map(|role| role.name()).collect(),
        };
        (route.method.to_owned(), route.path.replace('*', ""), json!(roles).to_string())
    });
    assert_eq!(described, is.collect());
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";

fn person(name: &str) -> Value {
    let keyid = Person::new(name).key.public().id().to_string();
    json!({"name": name, "keyid": keyid, "seed": Person::seed_hex(name)})
}

/// PyPI's schemathesis makes requests up from the description, good and bad, and holds every answer to it.
#[test]
fn every_answer_is_one_that_is_described() {
    // Two hours ago, so that something is public by now.
    let mut world = World::empty();
    world.clock.advance(-2 * 3600);
    world.restart();
    let publication = Some(Publication { every_s: Integer(1800), multiple: Integer(256) });
    world.found(Policy { publication, ..policy() });
    world.clock.advance(3600);
    world.fund("20000.00");
    world.clock.advance(3600);
    world.offer();
    world.case("c1", "north", true);
    world.case("c2", "south", false);
    world.ok("anna", Body::Request(world.request("d1", "c1", "grant", "5000.00")));
    world.ok("boris", world.approval("d1"));
    // Something that waits, so that there is something of each kind.
    let act = world.enrolment("later", "later", &[records::governance::Role::Payer]);
    world.ok("karl", Body::Proposal(records::governance::Proposal { act }));

    world.cosign();

    let dir = scratch("contract");
    let basis = world.basis();
    let given = json!({
        "ledger": world.ledger.to_string(),
        "basis": basis,
        "reader": person("ada"),
        "agency": person("north"),
        "preparer": person("anna"),
        "paths": {"fund": "f1", "disbursement": "d1", "position": "1", "agency_ref": "c1-ref", "tile": "0/000", "entries": "000"},
        "proofs": {"position": "0", "size": basis.size, "from": "1", "to": basis.size},
        "answers": dir.join("answers.json"),
    });
    let program = root().join("target/python/bin/schemathesis");
    assert!(program.exists(), "there is no {}: run `make python`", program.display());
    let mut run = Command::new(program);
    run.current_dir(&dir)
        .env("SCHEMATHESIS_HOOKS", "contract_hooks")
        .env("PYTHONPATH", root().join("tests/foreign"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CONTRACT", given.to_string())
        .args(["run", &format!("{}/v1/openapi.json", world.url), "--no-color"])
        .args(["--checks", CHECKS])
        .args([
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "12",
            "--mode",
            "all",
            "--continue-on-failure",
        ])
        .args(["--seed", "1", "--generation-deterministic", "--no-shrink"])
        .args(["--generation-with-security-parameters", "false", "--request-timeout", "60"])
        .args(["--suppress-health-check", "all", "--warnings", "off"]);
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let answers: Value = serde_json::from_slice(&std::fs::read(dir.join("answers.json")).unwrap()).unwrap();
    // The description itself is where it begins, and not among what it asks.
    for route in ROUTES.iter().filter(|route| route.path != "/v1/openapi.json") {
        let of_route = &answers[format!("{} {}", route.method, route.path.replace('*', ""))];
        assert!(of_route["200"].as_u64() > Some(0), "{} is never done: {of_route}", route.path);
        let is_refused = of_route.as_object().unwrap().keys().any(|status| status.starts_with('4'));
        assert!(is_refused || route.who == Who::Anybody, "{} is never refused: {of_route}", route.path);
    }
    // Of the preparer's cases some came into the log.
    let cases = world.get("ada", "/v1/cases").json["items"].as_array().unwrap().len();
    assert!(cases > 2, "no instruction was accepted: {answers}");
}
