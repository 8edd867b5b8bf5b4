//! What PostgreSQL itself keeps the service's roles from.

use tests::world::World;
use tokio_postgres::error::SqlState;

use super::town;

fn connect(world: &World, role: &str) -> postgres::Client {
    postgres::Config::from(world.database.config(role)).connect(postgres::NoTls).unwrap()
}

/// Action, account, amount and hold.
type Line = (&'static str, &'static str, &'static str, &'static str);

/// Appends a record that is none, and the postings of an entry.
fn append(fund: &str, lines: &[Line]) -> String {
    let column = |cell: &dyn Fn(usize, &Line) -> String| {
        let cells: Vec<String> =
            lines.iter().enumerate().map(|(line, posting)| cell(line, posting)).collect();
        format!("'{{{}}}'", cells.join(","))
    };
    let mut arguments = vec![
        "size, root, forked, size + 1, root, frontier, recorded_at".to_owned(),
        "'{1}', ARRAY[sha256('')], ARRAY[''::bytea], ARRAY[sha512('')]".to_owned(),
    ];
    arguments.extend(vec!["'{}'".to_owned(); 4]);
    arguments.extend([
        column(&|_, _| "9999".to_owned()),
        column(&|line, _| line.to_string()),
        column(&|_, (action, ..)| (*action).to_owned()),
        column(&|_, (_, account, ..)| (*account).to_owned()),
        column(&|_, _| fund.to_owned()),
        column(&|_, _| "USD".to_owned()),
        column(&|_, (_, _, amount, _)| (*amount).to_owned()),
        column(&|_, (.., hold)| if hold.is_empty() { "NULL".to_owned() } else { (*hold).to_owned() }),
    ]);
    // Of the other tables, nothing.
    let types = [("[]", 2), ("", 1), ("[]", 6), ("", 2), ("[]", 18), ("", 1), ("[]", 16), ("", 1)];
    for (kind, count) in types {
        arguments.extend(vec![if kind.is_empty() { "NULL" } else { "'{}'" }.to_owned(); count]);
    }
    format!("SELECT append_group({}) FROM head", arguments.join(", "))
}

/// PostgreSQL does not let the role do this (42501).
#[track_caller]
fn forbidden(client: &mut postgres::Client, sql: &str) {
    let error = client.batch_execute(sql).expect_err(sql);
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
}

#[test]
fn what_was_appended_can_be_changed_by_no_role_that_can_log_in() {
    let world = town();
    let before = world.trace();
    for role in ["safeconduct_service", "safeconduct_read", "safeconduct_agency"] {
        let mut client = connect(&world, role);
        for (table, column) in [
            ("signing_keys", "keyid = ''"),
            ("records", "payload = ''"),
            ("postings", "amount = 1"),
            ("balances", "amount = 1"),
            ("proof_terms", "sign = 0"),
            ("checkpoints", "note = ''"),
            ("tiles", "level = 1"),
            ("funds", "kind = 'spendable'"),
            ("statement_lines", "amount = 1"),
            ("reads", "agency = 'x'"),
        ] {
            forbidden(&mut client, &format!("UPDATE {table} SET {column}"));
            forbidden(&mut client, &format!("DELETE FROM {table}"));
            forbidden(&mut client, &format!("TRUNCATE {table}"));
            forbidden(&mut client, &format!("DROP TABLE {table}"));
            forbidden(&mut client, &format!("ALTER TABLE {table} DISABLE TRIGGER ALL"));
        }
        forbidden(&mut client, "INSERT INTO balances VALUES ('7210/main', 'f1', 'USD', 7210, 1, 0)");
        forbidden(&mut client, "INSERT INTO proof_terms VALUES ('spendable', 'P1', true, 1, 2, 1)");
        forbidden(&mut client, "DELETE FROM head");
        forbidden(&mut client, "INSERT INTO head (one, root, frontier) VALUES (true, '', '')");
        forbidden(&mut client, "SET ROLE safeconduct_owner");
        forbidden(&mut client, "SET session_replication_role = replica");
        forbidden(&mut client, "CREATE TABLE public.mine (n int)");
        forbidden(
            &mut client,
            "CREATE OR REPLACE FUNCTION keep_balances() RETURNS trigger LANGUAGE sql AS ''",
        );
        for sql in [
            "INSERT INTO records SELECT 99, key, kind, payload, signature FROM records",
            "INSERT INTO postings SELECT 99, line, action, account, fund, currency, amount, hold FROM postings",
            "INSERT INTO funds SELECT 'f9', asset, currency, kind FROM funds",
            "INSERT INTO statement_lines SELECT * FROM statement_lines",
            "UPDATE head SET size = 0",
            "UPDATE entities SET value = ''",
            "DELETE FROM instructions",
            "DELETE FROM proposals",
            "UPDATE cases SET screening = 'cleared'",
            "UPDATE disbursements SET amount = 1",
            "UPDATE reports SET status = 'posted'",
        ] {
            forbidden(&mut client, sql);
        }
        if role != "safeconduct_service" {
            forbidden(&mut client, "INSERT INTO reads (agency, resource) VALUES ('north', 'cases')");
            forbidden(&mut client, "UPDATE head SET forked = true");
            forbidden(&mut client, &append("f1", &[]));
        }
    }
    assert_eq!(world.trace(), before);
}

#[test]
fn the_service_s_role_cannot_post_what_does_not_balance() {
    let world = town();
    let mut client = connect(&world, "safeconduct_service");
    let before = world.trace();
    let refused = [
        ("postings_balance", vec![("d", "1100/b1", "5", "")]),
        ("postings_balance", vec![("d", "1100/b1", "5", ""), ("c", "4101", "4.99", "")]),
        // Each plane for itself.
        ("postings_balance", vec![("d", "1100/b1", "5", ""), ("c", "7210/main", "5", "")]),
        // Cash without resources: the planes do not prove each other.
        ("fund_proofs", vec![("d", "1100/b1", "5", ""), ("c", "4101", "5", "")]),
        ("balances_limit", vec![("h", "7210/main", "100000.01", "x.1")]),
        ("postings_hold", vec![("p", "7210/main", "100000", "x.1")]),
        ("postings_hold", vec![("v", "7210/main", "99999.99", "d1.1")]),
        ("postings_hold_placed_once", vec![("h", "7210/main", "1", "d1.1")]),
    ];
    let mut refused: Vec<_> =
        refused.into_iter().map(|(constraint, lines)| (constraint, append("f1", &lines))).collect();
    // A fund of which nothing would be proven, and a head that moves without records.
    refused.push(("postings_fund", append("f9", &[("d", "1100/b1", "5", ""), ("c", "4101", "5", "")])));
    refused.push(("head_grows", append("f1", &[]).replace("size + 1", "size")));
    refused.push(("head_grows", append("f1", &[]).replace("size + 1", "size + 2")));
    for (constraint, sql) in refused {
        let error = client.batch_execute(&sql).expect_err(&sql);
        let error = error.as_db_error().unwrap();
        assert!(error.code().code().starts_with("23"), "{sql}: {error:?}");
        assert_eq!(error.constraint(), Some(constraint), "{sql}: {error:?}");
    }
    assert_eq!(world.trace(), before);
}

#[test]
fn an_agency_s_role_sees_its_own_rows_and_no_case_reference() {
    let world = town();
    let mut client = connect(&world, "safeconduct_agency");
    let mut seen = |agency: &str, sql: &str| -> Vec<String> {
        let mut transaction = client.transaction().unwrap();
        transaction.execute("SELECT set_config('safeconduct.agency', $1, true)", &[&agency]).unwrap();
        transaction.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    for (table, of_north, of_south) in [
        ("cases", &["c1-ref"][..], &["c2-ref"][..]),
        ("disbursements", &["c1-ref"][..], &[][..]),
        ("statement_lines", &["c1-ref"][..], &[][..]),
    ] {
        let sql = format!("SELECT agency_ref FROM {table}");
        assert_eq!(seen("north", &sql), of_north, "{table}");
        assert_eq!(seen("south", &sql), of_south, "{table}");
        assert_eq!(seen("north", &format!("{sql} WHERE agency = 'south'")), Vec::<String>::new());
        for nobody in ["", "karl", "north' OR true --", "%"] {
            assert_eq!(seen(nobody, &sql), Vec::<String>::new(), "{table} as {nobody}");
        }
    }
    // Without a name it is nobody's.
    for table in ["cases", "disbursements", "statement_lines"] {
        assert!(client.query(&format!("SELECT agency_ref FROM {table}"), &[]).unwrap().is_empty());
    }
    for sql in [
        "SELECT case_ref FROM cases",
        "SELECT * FROM cases",
        "SELECT count(*) FROM cases WHERE case_ref = 'c1'",
        "SELECT agency_ref FROM cases ORDER BY case_ref",
        "SELECT fund FROM disbursements",
        "SELECT * FROM disbursements",
        "SELECT value FROM entities",
        "SELECT payload FROM records",
        "SELECT payload FROM envelopes",
        "SELECT account FROM balances",
        "SELECT account FROM postings",
        "SELECT signer FROM instructions",
        "SELECT report FROM reports",
        "SELECT agency FROM reads",
        "SELECT root FROM head",
        "ALTER TABLE cases DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_cases ON cases",
    ] {
        forbidden(&mut client, sql);
    }

    // Over HTTP it is the same, and another's case is like none.
    let of = |agency: &str, reference: &str, rest: &str| {
        let answer = world.get(agency, &format!("/v1/agency/cases/{reference}{rest}"));
        (answer.status, answer.text)
    };
    for rest in ["", "/statement"] {
        assert_eq!(of("north", "c1-ref", rest).0, 200);
        let strange = of("north", "c2-ref", rest);
        assert_eq!(strange.0, 404);
        assert_eq!(strange, of("north", "no-such-ref", rest));
        assert_eq!(strange, of("north", "c1", rest));
    }
    assert!(!world.get("north", "/v1/agency/cases").text.contains("c2-ref"));
}
