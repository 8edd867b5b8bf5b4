//! The interface described for programs: an OpenAPI document, made from the one list of routes.
//!
//! Answers are described by the types that are serialised, closed: what is not described is not sent. Of what people sign,
//! only the envelope is described, since `docs/spec/records.md` specifies the rest byte for byte.

pub(crate) mod types;

use std::collections::BTreeMap;

use programme::Code;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::limits::HttpLimits;
use crate::problem::{CODES, status_of};
use crate::routes::{ROUTES, Route, Who};

/// What a route says of itself.
pub struct About {
    /// In a line.
    pub(crate) summary: &'static str,
    /// The parameters of its query.
    pub(crate) query: &'static [Query],
    /// The codes of its own; those that every route of its kind has are added.
    pub(crate) codes: &'static [&'static str],
    /// The content of its answer.
    pub(crate) answer: fn(&mut Components) -> Value,
    /// The headers of its answer that are our own.
    pub(crate) headers: &'static [Header],
}

/// A header of an answer.
pub(crate) struct Header {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) schema: fn(&mut Components) -> Value,
}

/// A parameter of a query.
#[derive(Clone, Copy)]
pub(crate) enum Query {
    /// How many items a page has.
    Limit,
    /// Where a page begins.
    Cursor,
    /// A number that has to be given.
    Number(&'static str),
    /// A number that may be given.
    AnyNumber(&'static str),
    /// One of some words, or none.
    Word(&'static str, &'static [&'static str]),
}

/// Schemas by name.
pub(crate) type Components = BTreeMap<String, RefOr<Schema>>;

/// A type's place among the components, which it and what it is made of are added to.
pub(crate) fn reference<T: ToSchema>(components: &mut Components) -> Value {
    let mut parts = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut parts);
    components.extend(parts);
    json!({"$ref": format!("#/components/schemas/{}", T::name())})
}

/// An answer that is one object.
pub(crate) fn one<T: ToSchema>(components: &mut Components) -> Value {
    json!({"application/json": {"schema": reference::<T>(components)}})
}

/// An answer that is a page of a list.
pub(crate) fn list<T: ToSchema>(components: &mut Components) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": reference::<T>(components)},
            "next": reference::<types::Cursor>(components),
        },
        "required": ["items"],
        "additionalProperties": false,
    });
    json!({"application/json": {"schema": schema}})
}

/// An answer that has a result for each instruction, and a checkpoint or none.
pub(crate) fn results<T: ToSchema, const HAS_CHECKPOINT: bool>(components: &mut Components) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": {"results": {"type": "array", "items": reference::<T>(components)}},
        "required": ["results"],
        "additionalProperties": false,
    });
    if HAS_CHECKPOINT {
        schema["properties"]["checkpoint"] = json!({"type": "string"});
    }
    json!({"application/json": {"schema": schema}})
}

/// An answer that is a note.
pub(crate) fn text(_: &mut Components) -> Value {
    json!({"text/plain; charset=utf-8": {"schema": {"type": "string"}}})
}

/// An answer that is a tile or a bundle of entries.
pub(crate) fn bytes(_: &mut Components) -> Value {
    json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}})
}

/// An answer that is a bundle.
pub(crate) fn bundle(_: &mut Components) -> Value {
    json!({"application/x-ndjson": {"schema": {"type": "string"}}})
}

/// This document.
pub(crate) fn document(_: &mut Components) -> Value {
    json!({"application/json": {"schema": {"type": "object"}}})
}

/// What follows `tile/` or `tile/entries/` in a path of C2SP tlog-tiles.
const TILE_PATH: &str = "^([0-7]/)?(x[0-9]{3}/)*[0-9]{3}(\\.p/[0-9]{1,3})?$";
/// Of every route.
const ALWAYS: &[&str] =
    &["query_invalid", "internal", "database_unavailable", "stale_server", "overloaded", "request_timeout"];
/// Of a route that asks who is asking.
const SIGNED: &[&str] = &[
    "body_unexpected",
    "http_signature_missing",
    "http_signature_malformed",
    "http_signature_coverage",
    "http_signature_digest",
    "http_signature_created",
    "http_signature_expired",
    "http_signature_invalid",
    "http_nonce_used",
    "key_unknown",
    "key_not_yet_valid",
    "key_revoked",
    "key_expired",
    "role_missing",
    "too_many_requests",
    "too_many_open",
];
/// Of a route that takes instructions.
const WRITES: &[&str] = &[
    "body_too_large",
    "body_timeout",
    "body_incomplete",
    "body_not_json",
    "body_invalid",
    "too_many_instructions",
    "attachment_unexpected",
    "clock_suspect",
    "too_many_open",
];

/// The whole document, for a service with these limits.
pub(crate) fn openapi(limits: &HttpLimits) -> Value {
    let mut components = Components::new();
    let problem = reference::<types::Problem>(&mut components);
    let envelope = reference::<types::SignedEnvelope>(&mut components);
    let mut paths = BTreeMap::<String, Map<String, Value>>::new();
    for route in ROUTES {
        let operation = operation(route, limits, &mut components, &problem, &envelope);
        // A star says that the rest of the path belongs to the parameter, which a description cannot say.
        paths.entry(route.path.replace('*', "")).or_default().insert(route.method.to_lowercase(), operation);
    }
    let schemas: BTreeMap<String, Value> =
        components.into_iter().map(|(name, schema)| (name, exact(json!(schema)))).collect();
    let header = |name: &str, description: &str| json!({"type": "apiKey", "in": "header", "name": name, "description": description});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "safeconduct",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The ledger of disbursements. Every GET may be a HEAD, signed as one. docs/api.md says more.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "signature": header("signature", "RFC 9421, by an enrolled key of a principal who holds one of x-roles; see docs/api.md."),
                "signature_input": header("signature-input", "It covers at least @method and @target-uri, with keyid, created and nonce."),
            },
        },
    })
}

fn operation(
    route: &Route,
    limits: &HttpLimits,
    components: &mut Components,
    problem: &Value,
    envelope: &Value,
) -> Value {
    let About { summary, query, codes, answer, headers } = &route.about;
    let mut parameters: Vec<Value> = named(route.path)
        .map(|name| {
            let schema = match name {
                "position" => reference::<types::Number>(components),
                "tile" | "entries" => json!({"type": "string", "pattern": TILE_PATH}),
                _ => reference::<types::Id>(components),
            };
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect();
    for parameter in *query {
        let (name, required, schema) = match parameter {
            // As a pattern it would be long: numbers are strings everywhere else.
            Query::Limit => (
                "limit",
                false,
                json!({"type": "integer", "minimum": 1, "maximum": limits.page_items, "default": limits.page_items_default}),
            ),
            Query::Cursor => ("cursor", false, reference::<types::Cursor>(components)),
            Query::Number(name) => (*name, true, reference::<types::Number>(components)),
            Query::AnyNumber(name) => (*name, false, reference::<types::Number>(components)),
            Query::Word(name, words) => (*name, false, json!({"type": "string", "enum": words})),
        };
        parameters.push(json!({"name": name, "in": "query", "required": required, "schema": schema}));
    }
    let mut all: Vec<&str> = [ALWAYS, codes].concat();
    if named(route.path).next().is_some() {
        all.push("path_invalid");
    }
    let mut operation = json!({"summary": summary, "parameters": parameters});
    match route.who {
        Who::Anybody => operation["security"] = json!([]),
        Who::Signers => {
            all.extend(WRITES);
            operation["security"] = json!([]);
            operation["description"] = json!("Who signs is said by the envelopes.");
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {
                    "instructions": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": limits.request_instructions,
                        "items": {
                            "type": "object",
                            "properties": {"attachments": {"type": "array", "maxItems": 0}, "envelope": envelope},
                            "required": ["attachments", "envelope"],
                            "additionalProperties": false,
                        },
                    },
                    "mode": {"type": "string", "enum": ["all", "each"]},
                },
                "required": ["instructions", "mode"],
                "additionalProperties": false,
            }}}});
        }
        Who::Roles(roles) => {
            all.extend(SIGNED);
            if route.spares {
                operation["description"] = json!("A spare key that waits may call it too.");
            } else {
                all.push("key_spare");
            }
            operation["security"] = json!([{"signature": [], "signature_input": []}]);
            operation["x-roles"] = json!(roles.iter().map(|role| role.name()).collect::<Vec<_>>());
        }
    }
    let mut responses = Map::new();
    let mut done = json!({"description": "Done.", "content": answer(components)});
    for Header { name, description, schema } in *headers {
        done["headers"][name] =
            json!({"description": description, "required": true, "schema": schema(components)});
    }
    responses.insert("200".to_owned(), done);
    for (status, codes) in by_status(&all) {
        responses.insert(status.to_string(), refusal(status, &codes, problem));
    }
    operation["responses"] = Value::Object(responses);
    operation
}

/// The answers with one status.
fn refusal(status: u16, codes: &[&str], problem: &Value) -> Value {
    let narrowed =
        json!({"allOf": [problem, {"properties": {"code": {"enum": codes}, "status": {"const": status}}}]});
    let mut refusal = json!({
        "description": codes.join(", "),
        "content": {"application/problem+json": {"schema": narrowed}},
    });
    let header = |name: &str, schema: Value| json!({name: {"required": true, "schema": schema}});
    match status {
        401 => refusal["headers"] = header("WWW-Authenticate", json!({"const": "Signature"})),
        429 | 503 => refusal["headers"] = header("Retry-After", json!({"type": "integer", "minimum": 1})),
        _ => {}
    }
    refusal
}

/// The parameters in a path.
fn named(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'))
}

/// Codes by their status, in the order of `docs/errors.md`. `*` stands for what is wrong with an instruction.
fn by_status<'a>(wanted: &[&'a str]) -> BTreeMap<u16, Vec<&'a str>> {
    let mut found = BTreeMap::<u16, Vec<&str>>::new();
    let of_instructions = wanted.contains(&"*");
    let rules = Code::ALL.iter().map(|code| (code.as_str(), status_of(*code)));
    let others = CODES.iter().map(|known| (known.code, known.status));
    for (code, status) in rules.chain(others) {
        let is_rule = Code::ALL.iter().any(|rule| rule.as_str() == code);
        let is_record = code.starts_with("envelope_") || code.starts_with("payload_");
        let is_meant = of_instructions && (is_rule || is_record || code == "signature_invalid");
        if is_meant || wanted.contains(&code) {
            found.entry(status).or_default().push(code);
        }
    }
    found
}

/// What a derived schema leaves open: there are no further members, and no member is null.
fn exact(schema: Value) -> Value {
    match schema {
        Value::Object(mut members) => {
            if members.contains_key("properties") {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            let is_null = |one: &Value| *one == json!({"type": "null"}) || *one == json!("null");
            for name in ["type", "oneOf"] {
                if let Some(Value::Array(parts)) = members.get_mut(name) {
                    parts.retain(|part| !is_null(part));
                    if let [only] = &mut parts[..] {
                        let only = only.take();
                        match (name, only) {
                            ("oneOf", Value::Object(only)) => {
                                members.remove(name);
                                members.extend(only);
                            }
                            (_, only) => {
                                members.insert(name.to_owned(), only);
                            }
                        }
                    }
                }
            }
            members.into_iter().map(|(name, value)| (name, exact(value))).collect()
        }
        Value::Array(parts) => parts.into_iter().map(exact).collect(),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    /// Everything that a document refers to.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(parts) => parts.iter().for_each(|part| references(part, found)),
            _ => {}
        }
    }

    #[test]
    fn it_holds_together() {
        let document = openapi(&Limits::default().http);
        let mut found = vec![];
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        assert!(!document.to_string().contains("null"));
        for schema in document["components"]["schemas"].as_object().unwrap().values() {
            assert!(
                schema.get("properties").is_none() || schema["additionalProperties"] == false,
                "{schema}"
            );
        }
    }

    #[test]
    fn every_code_that_it_names_is_one_and_every_one_is_named() {
        let document = openapi(&Limits::default().http).to_string();
        for route in ROUTES {
            for code in [route.about.codes, ALWAYS, SIGNED, WRITES].concat() {
                let known = code == "*" || by_status(&[code]).len() == 1;
                assert!(known, "{code} of {}", route.path);
            }
        }
        let known = CODES.iter().map(|known| known.code).chain(Code::ALL.iter().map(|code| code.as_str()));
        for code in known.filter(|code| !matches!(*code, "route_unknown" | "method_not_allowed")) {
            assert!(document.contains(&format!("\"{code}\"")), "no route answers {code}");
        }
    }
}
