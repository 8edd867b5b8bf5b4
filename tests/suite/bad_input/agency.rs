//! A case of another agency is answered exactly like one that does not exist: in the same words, and for the database
//! by the same statements.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Body;
use serde_json::{Value, json};
use tests::cluster::cluster;
use tests::world::{Answer, World};

use super::{assert_refusal, bank};

/// A world with a case of each agency, each with a disbursement, and a service that does nothing by itself and whose
/// every statement is in the server's log.
fn watched_world() -> World {
    let mut world = World::new();
    world.fund("20000.00");
    world.offer();
    for (case, agency, disbursement) in [("c1", "north", "d1"), ("c2", "south", "d2")] {
        world.case(case, agency, true);
        world.ok("anna", Body::Request(world.request(disbursement, case, "grant", "5000.00")));
    }
    let mut superuser = world.database.superuser();
    let name: String = superuser.query_one("SELECT current_database()", &[]).unwrap().get(0);
    // Terse, the server would leave the parameters out.
    for setting in ["log_statement = 'all'", "log_error_verbosity = 'default'"] {
        superuser.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).unwrap();
    }
    let hour = Duration::from_secs(3600);
    let settings = Settings { tick: hour, poll: hour, ..Settings::default() };
    let register = world.register.clone();
    world.restart_with(&register, settings);
    // Afterwards its writer and its publisher are at rest.
    world.ok("dora", bank("b9"));
    world
}

/// What the service's connections said to the database meanwhile, one connection after another, each statement with its
/// parameters and without the name under which it was prepared.
fn statements<T>(world: &World, act: impl FnOnce() -> T) -> (T, Vec<String>) {
    let mut log = std::fs::File::open(cluster().log()).unwrap();
    log.seek(SeekFrom::End(0)).unwrap();
    let done = act();
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    let sql = "SELECT pid::text FROM pg_stat_activity \
        WHERE datname = current_database() AND usename LIKE 'safeconduct%' ORDER BY pid";
    let backends = world.database.superuser().query(sql, &[]).unwrap();
    let backends: Vec<String> =
        backends.iter().map(|row| format!("[{}] ", row.get::<_, String>(0))).collect();
    let mut said: Vec<(usize, String)> = vec![];
    // A line without a process continues the one before.
    let mut ours = None;
    for line in text.lines() {
        let begins = line.contains(" UTC [");
        ours = if begins { backends.iter().position(|backend| line.contains(backend)) } else { ours };
        match (ours, line.split_once("] ").filter(|_| begins)) {
            (Some(backend), Some((_, entry))) => said.push(match entry.split_once("execute ") {
                Some((_, statement)) => (backend, statement.split_once(": ").unwrap().1.to_owned()),
                None => (backend, entry.to_owned()),
            }),
            (Some(_), None) => said.last_mut().unwrap().1.push_str(line),
            _ => {}
        }
    }
    said.sort_by_key(|(backend, _)| *backend);
    (done, said.into_iter().map(|(_, statement)| statement).collect())
}

/// What they say when nobody asks: the publisher looks around, and what it is connected by is renewed.
fn at_rest(world: &World) -> BTreeSet<String> {
    let longer_than_any_pause = Duration::from_secs(8);
    statements(world, || thread::sleep(longer_than_any_pause)).1.into_iter().collect()
}

fn headers(answer: &Answer) -> Vec<(&str, &str)> {
    let shown = answer.headers.iter().filter(|(name, _)| *name != "date");
    shown.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_case_of_another_agency_looks_like_none() {
    let world = watched_world();
    let at_rest = at_rest(&world);
    for resource in ["", "/statement", "/statement?limit=1"] {
        let ask = |reference: &str| {
            let path = format!("/v1/agency/cases/{reference}{resource}");
            let (answer, said) = statements(&world, || world.get("north", &path));
            let said = said.iter().filter(|one| !at_rest.contains(*one));
            let said: Vec<String> = said.map(|one| one.replace(reference, "<reference>")).collect();
            (answer, said)
        };
        // Connections are made and statements prepared once.
        ask("c1-ref");
        let (own, of_own) = ask("c1-ref");
        let (others, of_others) = ask("c2-ref");
        let (none, of_none) = ask("c3-ref");
        assert_eq!(own.status, 200);
        assert_refusal(&others, "case_not_found", "under this reference", None);
        assert_eq!((others.status, &others.text), (none.status, &none.text));
        assert_eq!(headers(&others), headers(&none));
        assert_eq!(of_others, of_none);
        // Not even one's own case takes other statements; and what is compared is there.
        assert_eq!(of_own, of_none);
        let holds = |text: &str| of_none.iter().any(|one| one.contains(text));
        assert!(holds("INSERT INTO reads") && holds("FROM cases") && holds("'{<reference>}'"), "{of_none:?}");
        let commits = of_none.iter().filter(|one| one.contains("COMMIT")).count();
        assert_eq!(commits, 1, "{of_none:?}");
    }
    let sql = "SELECT agency, agency_ref, count(*) FROM reads GROUP BY 1, 2 ORDER BY 1, 2";
    let reads = world.database.superuser().query(sql, &[]).unwrap();
    let reads: Vec<(String, String, i64)> =
        reads.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let read = |reference: &str, times| ("north".to_owned(), reference.to_owned(), times);
    assert_eq!(reads, [read("c1-ref", 6), read("c2-ref", 3), read("c3-ref", 3)]);
}

#[test]
fn an_agency_sees_its_own_cases_only() {
    let world = watched_world();
    for (agency, own, disbursement, other) in
        [("north", "c1-ref", "d1", "d2"), ("south", "c2-ref", "d2", "d1")]
    {
        let cases = world.get(agency, "/v1/agency/cases");
        let listed: Vec<&Value> =
            cases.json["items"].as_array().unwrap().iter().map(|item| &item["agency_ref"]).collect();
        assert_eq!(listed, [&json!(own)]);
        for path in [format!("/v1/agency/cases/{own}"), format!("/v1/agency/cases/{own}/statement")] {
            let answer = world.get(agency, &path);
            assert!(answer.text.contains(disbursement) && !answer.text.contains(other), "{}", answer.text);
            // The office's own reference of the case is not for the agency.
            assert!(!answer.text.contains(&format!("\"{}\"", &own[..2])), "{}", answer.text);
        }
    }
    // Whoever is no agency has no cases there, not even an auditor.
    for who in ["ada", "anna", "dora", "karl", "sven"] {
        assert_refusal(&world.get(who, "/v1/agency/cases/c1-ref"), "role_missing", "agency", None);
    }
    for reference in ["C1-REF", "c1%20ref", "c1-ref%00", "%2e%2e"] {
        let answer = world.get("north", &format!("/v1/agency/cases/{reference}"));
        assert_refusal(&answer, "path_invalid", "correct it", None);
    }
}
