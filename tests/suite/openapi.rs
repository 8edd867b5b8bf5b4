//! The interface is what its description says: the routes, and every answer that a program of others provokes.

use std::collections::BTreeSet;

use disbursement_api::routes::{ROUTES, Who};
use serde_json::{Value, json};
use tests::world::{World, get_unsigned};

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
        (route.method.to_owned(), route.path.to_owned(), json!(roles).to_string())
    });
    assert_eq!(described, is.collect());
}
