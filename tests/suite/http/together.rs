//! Reads that come together are written down and answered together, and nobody can tell: each is told what it would be told
//! alone, is written down once, and fails for its own reasons only.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Body;
use records::governance::Act;
use tests::people::Person;
use tests::service::Service;
use tests::wait::until;
use tests::world::{Answer, Desk, World, id, nonce};

const CASES: usize = 4;

/// Cases of both agencies in turn, each with a disbursement, the first two with one more.
fn world() -> World {
    let world = World::new();
    world.fund("300000.00");
    world.offer();
    for number in 0..CASES {
        let (case, agency) = (format!("c{number}"), ["north", "south"][number % 2]);
        world.case(&case, agency, true);
        let request = |name: &str, benefit, amount| {
            world
                .ok("anna", Body::Request(world.request(&format!("{name}{number}"), &case, benefit, amount)));
        };
        request("d", "grant", "5000.00");
        if number < 2 {
            request("e", "bonus", "100000.00");
        }
    }
    world
}

type Asked = (&'static str, String);

/// Everything that both may ask for, of their own, of each other's and of nobody's.
fn questions() -> Vec<Asked> {
    let mut paths: Vec<String> =
        ["", "?limit=1", "?limit=1&cursor=c0-ref"].iter().map(|query| format!("cases{query}")).collect();
    for reference in (0..=CASES).map(|number| format!("c{number}-ref")) {
        for rest in ["", "/statement", "/statement?limit=1"] {
            paths.push(format!("cases/{reference}{rest}"));
        }
    }
    let of_one = |path: String| ["north", "south"].map(|agency| (agency, format!("/v1/agency/{path}")));
    paths.into_iter().flat_map(of_one).collect()
}

fn ask(desk: &Desk, (agency, path): &Asked) -> Answer {
    desk.get(agency, path)
}

/// What an answer says, without what is of the moment.
fn said(answer: &Answer) -> (u16, String, BTreeMap<String, String>) {
    let mut headers: BTreeMap<String, String> = answer.headers.clone().into_iter().collect();
    headers.remove("date");
    (answer.status, answer.text.clone(), headers)
}

/// How often each thing was written down, and in how many transactions.
fn written(world: &World) -> (BTreeMap<String, i64>, i64) {
    let mut client = world.database.superuser();
    let sql = "SELECT concat_ws(' ', agency, resource, agency_ref), count(*) FROM reads GROUP BY 1";
    let rows = client.query(sql, &[]).unwrap();
    let groups = client.query_one("SELECT count(DISTINCT xmin::text) FROM reads", &[]).unwrap().get(0);
    (rows.iter().map(|row| (row.get(0), row.get(1))).collect(), groups)
}

/// How a question is written down.
fn line((agency, path): &Asked) -> String {
    let path = path.split('?').next().unwrap().trim_start_matches("/v1/agency/cases").trim_start_matches('/');
    match path.split_once('/') {
        _ if path.is_empty() => format!("{agency} cases"),
        None => format!("{agency} case {path}"),
        Some((reference, _)) => format!("{agency} statement {reference}"),
    }
}

fn counted(questions: &[Asked]) -> BTreeMap<String, i64> {
    let mut lines = BTreeMap::new();
    questions.iter().for_each(|asked| *lines.entry(line(asked)).or_default() += 1);
    lines
}

fn is_held_up(world: &World) -> bool {
    let sql = "SELECT count(*) > 0 FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    world.database.superuser().query_one(sql, &[]).unwrap().get(0)
}

/// Asks everything at once while a table is locked, so that all of it waits; `meanwhile` ends that.
fn all_at_once(
    world: &World,
    desk: &Desk,
    table: &str,
    questions: &[Asked],
    meanwhile: impl FnOnce(postgres::Transaction<'_>, &dyn Fn() -> bool),
) -> Vec<Answer> {
    let mut client = world.database.superuser();
    let mut lock = client.transaction().unwrap();
    lock.batch_execute(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).unwrap();
    thread::scope(|scope| {
        let asking: Vec<_> = questions.iter().map(|asked| scope.spawn(|| ask(desk, asked))).collect();
        until("a wait", || is_held_up(world));
        meanwhile(lock, &|| asking.iter().all(|one| one.is_finished()));
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn let_go(lock: postgres::Transaction<'_>, _: &dyn Fn() -> bool) {
    // The others come meanwhile.
    thread::sleep(Duration::from_millis(300));
    lock.rollback().unwrap();
}

#[test]
fn each_is_told_what_it_would_be_told_alone() {
    let world = world();
    let once = questions();
    let alone: Vec<_> = once.iter().map(|asked| said(&ask(&world, asked))).collect();
    let (lines, groups) = written(&world);
    assert_eq!(lines, counted(&once));
    assert_eq!(groups, i64::try_from(once.len()).unwrap());

    // Some of it is asked twice at once.
    let twice: Vec<Asked> = once.iter().cycle().take(once.len() * 3 / 2).cloned().collect();
    let answers = all_at_once(&world, &world, "reads", &twice, let_go);
    for ((asked, answer), alone) in twice.iter().zip(&answers).zip(alone.iter().cycle()) {
        assert_eq!(said(answer), *alone, "{asked:?}");
    }
    let (lines, all_groups) = written(&world);
    assert_eq!(lines, counted(&[&once[..], &twice[..]].concat()));
    let of_these = all_groups - groups;
    assert!(of_these < i64::try_from(twice.len()).unwrap(), "each came alone, in {of_these} groups");
}

#[test]
fn one_that_cannot_be_answered_fails_alone() {
    let world = world();
    let alone: BTreeMap<Asked, _> =
        questions().into_iter().map(|asked| (asked.clone(), said(&ask(&world, &asked)))).collect();
    // What the service never writes: one case's sum is no number, another's has more digits than there may be.
    let mut client = world.database.superuser();
    client.batch_execute("UPDATE disbursements SET amount = 'NaN' WHERE agency_ref = 'c2-ref'").unwrap();
    client.batch_execute("UPDATE disbursements SET amount = 9e131071 WHERE agency_ref = 'c0-ref'").unwrap();
    let (before, _) = written(&world);
    let answers = all_at_once(&world, &world, "reads", &questions(), let_go);
    for (asked, answer) in questions().iter().zip(&answers) {
        let is_of = |reference: &str| asked.0 == "north" && asked.1.ends_with(reference);
        if is_of("/c0-ref") || is_of("/c2-ref") {
            assert_eq!((answer.status, answer.code()), (500, "internal"), "{asked:?}: {}", answer.text);
        } else {
            assert_eq!(said(answer), alone[asked], "{asked:?}");
        }
    }
    let (after, _) = written(&world);
    assert_eq!(before, counted(&questions()));
    assert_eq!(after, counted(&[questions(), questions()].concat()), "not each was written down once more");
}

/// Ends every connection that waits, until nobody does.
fn cut(world: &World) -> impl FnOnce(postgres::Transaction<'_>, &dyn Fn() -> bool) {
    |lock, is_over| {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut client = world.database.superuser();
        until("an answer to everybody", || {
            client.query_one(sql, &[]).unwrap();
            is_over()
        });
        lock.rollback().unwrap();
    }
}

#[test]
fn where_the_database_is_lost_nobody_is_answered() {
    let world = world();
    let questions = questions();
    let mut expected = BTreeMap::new();
    // The connections that write them down, and those that read for an answer meanwhile.
    for (table, are_written) in [("reads", false), ("cases", true)] {
        for answer in all_at_once(&world, &world, table, &questions, cut(&world)) {
            assert_eq!((answer.status, answer.code()), (503, "database_unavailable"), "{}", answer.text);
            assert_eq!(answer.headers["retry-after"], "1");
        }
        if are_written {
            expected = counted(&questions);
        }
        assert_eq!(written(&world).0, expected, "{table}");
    }
    for asked in &questions {
        until("an answer", || matches!(ask(&world, asked).status, 200 | 404));
    }
}

/// What they would be told is read meanwhile, and goes nowhere.
#[test]
fn what_is_not_written_down_is_not_told() {
    let world = world();
    let mut client = world.database.superuser();
    client
        .batch_execute("ALTER TABLE reads ADD CONSTRAINT full_disk CHECK (agency <> 'north') NOT VALID")
        .unwrap();
    for asked in questions() {
        let answer = ask(&world, &asked);
        if asked.0 == "north" {
            assert_eq!((answer.status, answer.code()), (500, "internal"), "{asked:?}: {}", answer.text);
        } else {
            assert!(matches!(answer.status, 200 | 404), "{asked:?}: {}", answer.text);
        }
    }
    let of_south: Vec<Asked> = questions().into_iter().filter(|(agency, _)| *agency == "south").collect();
    assert_eq!(written(&world).0, counted(&of_south));
    client.batch_execute("ALTER TABLE reads DROP CONSTRAINT full_disk").unwrap();
    for asked in questions() {
        assert!(matches!(ask(&world, &asked).status, 200 | 404), "{asked:?}");
    }
}

/// Who signs is looked up behind what is written down: a key that ends meanwhile reads nothing any more, whatever it was told
/// before, and nobody else notices.
#[test]
fn who_may_not_read_any_more_is_told_nothing_and_then_not_written_down() {
    let world = world();
    let revoke = |name: &str| Act::Revoke {
        key: Person::new(name).key.public().id(),
        reason: id("it was lost"),
        since: None,
    };
    // The end of a key is the ledger's latest group, so an answer after it is of another time.
    let plain = |answer: &Answer| {
        let mut told = answer.json.clone();
        told.as_object_mut().unwrap().remove("as_of");
        (answer.status, told)
    };
    let alone: Vec<_> = questions().iter().map(|asked| plain(&ask(&world, asked))).collect();
    let answers = all_at_once(&world, &world, "reads", &questions(), |lock, _| {
        world.decide(revoke("north"));
        lock.rollback().unwrap();
    });
    for ((asked, answer), alone) in questions().iter().zip(&answers).zip(&alone) {
        if asked.0 == "north" {
            assert_eq!((answer.status, answer.code()), (403, "key_revoked"), "{asked:?}: {}", answer.text);
        } else {
            assert_eq!(plain(answer), *alone, "{asked:?}");
        }
    }
    let (before, _) = written(&world);
    assert_eq!(before, counted(&[questions(), questions()].concat()), "not each was written down");
    for asked in questions().iter().filter(|(agency, _)| *agency == "north") {
        assert_eq!(ask(&world, asked).code(), "key_revoked", "{asked:?}");
    }
    assert_eq!(written(&world).0, before, "a key that has ended writes");

    // Nor does a role that has ended read.
    let south = ("south", "/v1/agency/cases".to_owned());
    assert_eq!(ask(&world, &south).status, 200);
    world.decide(Act::Roles { principal: id("south"), roles: vec![] });
    let codes: Vec<String> = (0..2).map(|_| ask(&world, &south).code().to_owned()).collect();
    assert_eq!(codes, ["role_missing", "role_missing"]);
    let times = |lines: BTreeMap<String, i64>| lines["south cases"];
    assert_eq!(times(written(&world).0), times(before) + 2, "only the first refusal is written down");
}

#[test]
fn who_goes_away_takes_nobody_along() {
    let world = world();
    let mut gone: Vec<TcpStream> = vec![];
    let mut client = world.database.superuser();
    let mut lock = client.transaction().unwrap();
    lock.batch_execute("LOCK TABLE reads IN ACCESS EXCLUSIVE MODE").unwrap();
    let questions: Vec<Asked> = (0..8).map(|n| ("north", format!("/v1/agency/cases/here-{n}"))).collect();
    let person = Person::new("north");
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asking: Vec<_> = questions.iter().map(|asked| scope.spawn(|| ask(&world, asked))).collect();
        for number in 0..8 {
            let path = format!("/v1/agency/cases/gone-{number}");
            let (target, now) = (format!("{}{path}", world.url), world.clock.now().unix());
            let signed = signing::http::sign("GET", &target, b"", &person.key, now, &nonce()).unwrap();
            let mut stream = TcpStream::connect(world.url.trim_start_matches("http://")).unwrap();
            let (input, signature) = (signed.signature_input, signed.signature);
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nsignature-input: {input}\r\nsignature: {signature}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            gone.push(stream);
        }
        until("a wait", || is_held_up(&world));
        thread::sleep(Duration::from_millis(200));
        gone.clear();
        thread::sleep(Duration::from_millis(200));
        lock.rollback().unwrap();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!((answer.status, answer.code()), (404, "case_not_found"), "{}", answer.text);
    }
    for (line, times) in written(&world).0 {
        // One that was being written down when its client went away is, and no other.
        assert_eq!(times, 1, "{line}");
    }
    assert!(questions.iter().all(|asked| written(&world).0.contains_key(&line(asked))));
}

#[test]
fn more_than_may_wait_are_told_to_come_again() {
    let world = world();
    let service =
        Service::adjusted(&world.database, &world.register, &world.clock, Settings::default(), |interface| {
            interface.limits.agency_reads = 2;
            interface.limits.group_reads = 1;
        });
    let desk = world.at(&service.url);
    let questions: Vec<Asked> = questions().into_iter().cycle().take(60).collect();
    let answers = all_at_once(&world, &desk, "reads", &questions, let_go);
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len(), "{}", refused.len());
    for answer in refused {
        assert_eq!((answer.code(), answer.headers["retry-after"].as_str()), ("queue_full", "1"));
    }
    let answered = |(asked, answer): (&Asked, &Answer)| (answer.status != 429).then(|| asked.clone());
    let answered: Vec<Asked> = questions.iter().zip(&answers).filter_map(answered).collect();
    assert_eq!(written(&world).0, counted(&answered));
}

#[test]
fn a_stop_answers_those_who_wait() {
    let mut world = world();
    let mut client = world.database.superuser();
    let mut lock = client.transaction().unwrap();
    lock.batch_execute("LOCK TABLE reads IN ACCESS EXCLUSIVE MODE").unwrap();
    let (desk, questions) = (world.at(&world.url), questions());
    thread::scope(|scope| {
        let asking: Vec<_> = questions.iter().map(|asked| scope.spawn(|| ask(&desk, asked))).collect();
        until("a wait", || is_held_up(&world));
        // Whoever comes after the stop is not let in, so all come before.
        thread::sleep(Duration::from_secs(1));
        let stopping = scope.spawn(|| world.service.stop());
        thread::sleep(Duration::from_millis(200));
        lock.rollback().unwrap();
        for (asked, answer) in questions.iter().zip(asking) {
            let answer = answer.join().unwrap();
            assert!(matches!(answer.status, 200 | 404), "{asked:?}: {}", answer.text);
        }
        stopping.join().unwrap();
    });
}

/// Sums are of all disbursements of a case, also of those that one answer does not list.
#[test]
fn a_long_case_is_summed_as_a_whole() {
    let world = world();
    let question = ("north", "/v1/agency/cases/c0-ref".to_owned());
    let before = ask(&world, &question);
    // As many more as make the list too long, of five dollars each.
    let sql = "INSERT INTO disbursements \
        SELECT expires, stage, can_lapse, 'z' || n, agency, agency_ref, fund, benefit, currency, 5, state \
        FROM disbursements, generate_series(1, 600) n WHERE disbursement = 'd0'";
    world.database.superuser().execute(sql, &[]).unwrap();
    let after = ask(&world, &question);
    let listed = |answer: &Answer| answer.json["disbursements"].as_array().unwrap().len();
    assert_eq!((listed(&before), listed(&after)), (2, 500));
    let requested = |answer: &Answer| answer.json["balances"][0]["requested"].as_str().unwrap().to_owned();
    assert_eq!((requested(&before), requested(&after)), ("105000.00".to_owned(), "108000.00".to_owned()));
}
