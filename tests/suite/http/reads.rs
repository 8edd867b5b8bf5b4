//! What readers get of a ledger in which something has happened: the officers the books, the custodians what they
//! decide, an agency its own cases.

use records::Body;
use records::governance::{Act, Policy, Proposal};
use records::scalar::Integer;
use serde_json::{Value, json};
use tests::people::Person;
use tests::world::{World, policy};

use super::happen;

fn usd(amount: &str) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

#[test]
fn officers_read_the_funds_and_their_accounts() {
    let world = World::new();
    happen(&world);
    let funds = world.get("ada", "/v1/funds").json;
    let [f1, h1] = funds["items"].as_array().unwrap().as_slice() else { panic!("{funds}") };
    assert_eq!((&f1["fund"], &f1["kind"], &f1["holds"]), (&json!("f1"), &json!("spendable"), &json!(true)));
    assert_eq!((&h1["fund"], &h1["kind"], &h1["holds"]), (&json!("h1"), &json!("fiduciary"), &json!(true)));
    let proof = |fund: &Value, n: usize| fund["proofs"][n]["name"].as_str().unwrap().to_owned();
    assert_eq!([0, 1, 2, 3].map(|n| proof(f1, n)), ["P1", "P2", "P3", "P4"]);
    assert_eq!(proof(h1, 0), "custody");
    assert_eq!(
        f1["proofs"][2],
        json!({"difference": "0.00", "left": "200000.00", "name": "P3", "right": "200000.00"})
    );
    let available = json!({"amount": "200000.00", "code": "7210", "held": "100000.00", "name": "available"});
    assert!(f1["totals"].as_array().unwrap().contains(&available), "{f1}");

    // Page by page it is the same list.
    let whole = world.get("paul", "/v1/funds/f1/accounts").json;
    let mut paged = Vec::new();
    let mut path = "/v1/funds/f1/accounts?limit=1".to_owned();
    loop {
        let page = world.get("paul", &path).json;
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/funds/f1/accounts?limit=1&cursor={}", next.replace('/', "%2F"));
    }
    assert_eq!(whole["items"], json!(paged));
    assert!(paged.len() > 3, "{whole}");
    let cash = paged.iter().find(|item| item["account"] == "1100/b1").unwrap();
    let expected = json!({
        "account": "1100/b1", "amount": "200000.00", "currency": "USD", "fund": "f1", "held": "0.00",
        "name": "cash at b1",
    });
    assert_eq!(*cash, expected);
}

#[test]
fn officers_read_disbursements_by_stage() {
    let world = World::new();
    happen(&world);
    let listed = world.get("boris", "/v1/disbursements?stage=requested").json;
    let one = world.get("boris", "/v1/disbursements/d-1").json;
    assert_eq!(listed["items"], json!([one]));
    assert_eq!(one["needs"], json!({"approvers": "2", "directors": "0"}));
    assert_eq!((&one["stage"], &one["approvals"]), (&json!("requested"), &json!([])));
    assert!(!one.to_string().contains("case-1"));
    // What is shown is what an approver signs.
    for (approver, stage) in [("boris", "requested"), ("dora", "due")] {
        world.ok(approver, world.approval("d-1"));
        assert_eq!(world.get(approver, "/v1/disbursements/d-1").json["stage"], stage);
    }
    assert_eq!(world.get("paul", "/v1/disbursements?stage=requested").json["items"], json!([]));
    let due = world.get("paul", "/v1/disbursements?stage=due&limit=1").json;
    assert_eq!(due["items"][0]["payable"], usd("100000.00"));
    assert_eq!(due["items"][0]["approvals"], json!(["boris", "dora"]));
    assert!(due.get("next").is_none());
}

#[test]
fn officers_read_reports_and_cases() {
    let world = World::new();
    happen(&world);
    let reports = world.get("dora", "/v1/reports").json;
    let items = reports["items"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["custody", "forfeiture"]);
    assert!(items[1]["entry"].is_string() && items[1]["status"] == "posted");
    let next = world.get("dora", "/v1/reports?limit=1").json["next"].clone();
    let second = world.get("dora", &format!("/v1/reports?cursor={}", next.as_str().unwrap())).json;
    assert_eq!(second["items"], json!([items[1]]));

    let cases = world.get("sven", "/v1/cases?screening=open").json;
    let expected = json!([{
        "agency": "south", "case": "case-2", "entered": "2026-03-01",
        "offer": {"offer": "new-life", "version": "1"}, "screening": "open",
    }]);
    assert_eq!(cases["items"], expected);
}

#[test]
fn custodians_read_what_they_decide() {
    let world = World::new();
    let shown = world.get("robot", "/v1/policy").json;
    assert_eq!((&shown["version"], &shown["policy"]), (&json!("1"), &json!(policy())));
    assert!(shown.get("pending").is_none());

    let slower = Policy { quorum_delay_s: Integer(600), ..policy() };
    let proposal = world.sign("karl", Body::Proposal(Proposal { act: Act::Policy { policy: slower } }));
    world.accept(&world.post(&[proposal.envelope().clone()], "each"));
    let path = format!("/v1/proposals?limit=500&cursor={}", "0".repeat(64));
    let proposals = world.get("kira", &path).json;
    let with_status = |status: &str| -> Vec<&Value> {
        proposals["items"].as_array().unwrap().iter().filter(|item| item["status"] == status).collect()
    };
    let [open] = with_status("open")[..] else { panic!("{proposals}") };
    assert_eq!(open["proposal"], proposal.digest().to_string());
    assert_eq!(open["envelope"], json!(proposal.envelope()));
    assert_eq!(open["custodians"], json!(["karl"]));
    assert_eq!(with_status("decided").len(), 10);

    let principals = world.get("ada", "/v1/principals").json;
    assert_eq!(principals["items"].as_array().unwrap().len(), 12);
    let first = &principals["items"][0];
    assert_eq!((&first["principal"], &first["roles"]), (&json!("ada"), &json!(["auditor"])));
    assert_eq!(first["keys"][0]["key"], Person::new("ada").key.public().id().to_string());
}

#[test]
fn an_agency_reads_its_cases_and_every_read_is_written_down() {
    let world = World::new();
    happen(&world);
    let cases = world.get("north", "/v1/agency/cases").json;
    let expected = json!([{"agency_ref": "case-1-ref", "entered": "2026-03-01", "screening": "cleared"}]);
    assert_eq!(cases["items"], expected);
    let case = world.get("north", "/v1/agency/cases/case-1-ref").json;
    let balances = json!([{
        "approved": "0.00", "currency": "USD", "due": "0.00", "paid": "0.00", "released": "0.00",
        "requested": "100000.00",
    }]);
    let disbursements = json!([{
        "amount": "100000.00", "benefit": "bonus", "currency": "USD", "disbursement": "d-1", "stage": "requested",
    }]);
    assert_eq!((&case["balances"], &case["disbursements"]), (&balances, &disbursements));
    let statement = world.get("north", "/v1/agency/cases/case-1-ref/statement").json;
    assert_eq!(statement["items"].as_array().unwrap().len(), 1);
    assert_eq!(statement["items"][0]["event"], "requested");
    for answer in [&cases, &case, &statement] {
        assert!(!answer.to_string().replace("case-1-ref", "").contains("case-"), "{answer}");
    }
    // Another's case and none at all, asked for by either agency: the same answer.
    for (agency, reference) in [("north", "case-2-ref"), ("north", "case-9-ref"), ("south", "case-1-ref")] {
        for resource in ["", "/statement"] {
            let answer = world.get(agency, &format!("/v1/agency/cases/{reference}{resource}"));
            assert_eq!(answer.code(), "case_not_found", "{}", answer.text);
        }
    }

    let sql = "SELECT agency || ' ' || resource || ' ' || coalesce(agency_ref, '-') || ' ' || count(*) \
        FROM reads GROUP BY agency, resource, agency_ref ORDER BY agency, resource, agency_ref";
    let reads = world.database.superuser().query(sql, &[]).unwrap();
    let reads: Vec<String> = reads.iter().map(|row| row.get(0)).collect();
    let expected = [
        "north case case-1-ref 1",
        "north case case-2-ref 1",
        "north case case-9-ref 1",
        "north cases - 1",
        "north statement case-1-ref 1",
        "north statement case-2-ref 1",
        "north statement case-9-ref 1",
        "south case case-1-ref 1",
        "south statement case-1-ref 1",
    ];
    assert_eq!(reads, expected);
}
