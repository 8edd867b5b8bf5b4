//! What readers get of a ledger in which something has happened.

use ledger::currency::Currency;
use records::bundle::{BalanceLine, Header};
use records::{Body, Record};
use serde_json::{Value, json};
use signing::canonical;
use tokio_postgres::NoTls;
use translog::checkpoint::Checkpoint;
use translog::proof::{verify_consistency, verify_inclusion};
use translog::tree::Frontier;

use crate::service::{Service, body, id, secret};

fn usd(amount: &str) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

fn evidence() -> Value {
    json!({"holder": "court", "kind": "court order", "sha256": "ab".repeat(32)})
}

/// USD 900.00 in the fund f1, two cases of different agencies, and a request of 100.00 for one of them.
pub async fn happen(service: &Service) {
    let day = "2026-01-02";
    let fund = |fund: &str, kind: &str| json!({"asset": "a1", "currency": "USD", "fund": fund, "kind": kind});
    let asset = json!({"asset": "a1", "description": "a yacht", "instrument": evidence()});
    service.send("director", Body::AssetRegistration(body(asset))).await;
    service.send("director", Body::FundOpening(body(fund("h1", "fiduciary")))).await;
    service.send("director", Body::FundOpening(body(fund("f1", "spendable")))).await;
    for bank in ["b1", "cust"] {
        service.send("director", Body::BankOpening(body(json!({"bank": bank, "currency": "USD"})))).await;
    }
    let custody = json!({
        "amount": usd("1000.00"), "bank": "cust", "evidence": evidence(), "fund": "h1", "value_date": day,
    });
    service.send("reconciler", Body::Custody(body(custody))).await;
    let forfeiture = json!({
        "bank": "cust", "claims": [], "costs": [{"amount": usd("100.00"), "body": "lawyers"}], "fund": "h1",
        "gross": usd("1000.00"), "instrument": evidence(), "to_bank": "b1", "to_fund": "f1", "value_date": day,
    });
    service.send("reconciler", Body::Forfeiture(body(forfeiture))).await;
    let offer = json!({
        "benefits": [{"benefit": "bonus", "kind": {"cash": {"amount": usd("100.00")}}}],
        "offer": "o1", "valid_from": "2026-01-01", "version": "1",
    });
    service.send("director", Body::Offer(body(offer))).await;
    for (case, agency, agency_ref) in [("case-1", "agency-1", "ref-1"), ("case-2", "agency-2", "ref-2")] {
        let opening = json!({
            "agency": agency, "agency_ref": agency_ref, "case": case, "entered": "2026-02-03",
            "offer": {"offer": "o1", "version": "1"},
        });
        service.send("preparer", Body::CaseOpening(body(opening))).await;
    }
    let screening =
        json!({"case": "case-1", "evidence": evidence(), "outcome": "cleared", "person": "cd".repeat(32)});
    service.send("screener", Body::Screening(body(screening))).await;
    let request = json!({
        "amount": usd("100.00"), "benefit": "bonus", "case": "case-1", "channel": {"manual": {}},
        "disbursement": "d-1", "expires": crate::service::now().plus(3600).unwrap(), "fund": "f1",
        "occurrence": "1", "offer": {"offer": "o1", "version": "1"}, "salt": "ef".repeat(32),
    });
    service.send("preparer", Body::Request(body(request))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn officers_read_the_books() {
    let service = Service::staffed("books").await;
    happen(&service).await;

    let funds = service.read("auditor", "/v1/funds").await.json();
    let [f1, h1] = funds["items"].as_array().unwrap().as_slice() else { panic!("{funds}") };
    assert_eq!((&f1["fund"], &f1["kind"], &f1["holds"]), (&json!("f1"), &json!("spendable"), &json!(true)));
    assert_eq!((&h1["fund"], &h1["kind"], &h1["holds"]), (&json!("h1"), &json!("fiduciary"), &json!(true)));
    let proof = |fund: &Value, n: usize| fund["proofs"][n]["name"].as_str().unwrap().to_owned();
    assert_eq!([0, 1, 2, 3].map(|n| proof(f1, n)), ["P1", "P2", "P3", "P4"]);
    assert_eq!(proof(h1, 0), "custody");
    assert_eq!(
        f1["proofs"][2],
        json!({"difference": "0.00", "left": "900.00", "name": "P3", "right": "900.00"})
    );
    let available = json!({"amount": "900.00", "code": "7210", "held": "100.00", "name": "available"});
    assert!(f1["totals"].as_array().unwrap().contains(&available), "{f1}");

    // Page by page it is the same list.
    let whole = service.read("payer", "/v1/funds/f1/accounts").await.json();
    let mut paged = Vec::new();
    let mut path = "/v1/funds/f1/accounts?limit=1".to_owned();
    loop {
        let page = service.read("payer", &path).await.json();
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/funds/f1/accounts?limit=1&cursor={}", next.replace('/', "%2F"));
    }
    assert_eq!(whole["items"], json!(paged));
    assert!(paged.len() > 3);
    let cash = paged.iter().find(|item| item["account"] == "1100/b1").unwrap();
    let expected = json!({
        "account": "1100/b1", "amount": "900.00", "currency": "USD", "fund": "f1", "held": "0.00", "name": "cash at b1",
    });
    assert_eq!(*cash, expected);

    let listed = service.read("approver", "/v1/disbursements?stage=requested").await.json();
    let one = service.read("approver", "/v1/disbursements/d-1").await.json();
    assert_eq!(listed["items"], json!([one]));
    assert_eq!(one["needs"], json!({"approvers": "2", "directors": "1"}));
    assert_eq!((&one["stage"], &one["approvals"]), (&json!("requested"), &json!([])));
    assert!(!one.to_string().contains("case-1"));
    // What is shown is what an approver signs.
    for (approver, stage) in [("approver", "requested"), ("director", "due")] {
        let effect = service.read(approver, "/v1/disbursements/d-1").await.json()["effect"].clone();
        service.send(approver, Body::Approval(body(json!({"effect": effect})))).await;
        assert_eq!(service.read(approver, "/v1/disbursements/d-1").await.json()["stage"], stage);
    }
    assert_eq!(service.read("payer", "/v1/disbursements?stage=requested").await.json()["items"], json!([]));
    let due = service.read("payer", "/v1/disbursements?stage=due&limit=1").await.json();
    assert_eq!(due["items"][0]["payable"], usd("100.00"));
    assert_eq!(due["items"][0]["approvals"], json!(["approver", "director"]));
    assert!(due.get("next").is_none());
    let wrong = service.read("payer", "/v1/disbursements?stage=owed").await;
    assert_eq!(wrong.outcome(), "400 query_invalid");

    let reports = service.read("director", "/v1/reports").await.json();
    let kinds: Vec<&str> =
        reports["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["custody", "forfeiture"]);
    assert!(reports["items"][1]["entry"].is_string() && reports["items"][1]["status"] == "posted");
    let next = service.read("director", "/v1/reports?limit=1").await.json()["next"].clone();
    let second =
        service.read("director", &format!("/v1/reports?cursor={}", next.as_str().unwrap())).await.json();
    assert_eq!(second["items"], json!([reports["items"][1]]));
    assert_eq!(service.read("director", "/v1/reports?cursor=x").await.outcome(), "400 query_invalid");

    let cases = service.read("screener", "/v1/cases?screening=open").await.json();
    let expected = json!([{
        "agency": "agency-2", "case": "case-2", "entered": "2026-02-03",
        "offer": {"offer": "o1", "version": "1"}, "screening": "open",
    }]);
    assert_eq!(cases["items"], expected);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custodians_read_what_they_decide() {
    let service = Service::staffed("custody").await;
    let policy = service.read("service", "/v1/policy").await.json();
    assert_eq!((&policy["version"], &policy["policy"]["quorum_delay_s"]), (&json!("1"), &json!("0")));
    assert!(policy.get("pending").is_none());

    let mut slower = policy["policy"].clone();
    slower["quorum_delay_s"] = json!("600");
    let act = json!({"act": {"policy": {"policy": slower}}});
    let envelope = service.instruction("c1", Body::Proposal(body(act))).await;
    let sent = crate::service::submission(&[&envelope], "each");
    assert_eq!(service.post("/v1/instructions", &sent).await.json()["results"][0]["status"], "accepted");
    let path = format!("/v1/proposals?limit=500&cursor={}", "0".repeat(64));
    let proposals = service.read("c2", &path).await.json();
    let open: Vec<&Value> =
        proposals["items"].as_array().unwrap().iter().filter(|item| item["status"] == "open").collect();
    let [open] = open.as_slice() else { panic!("{proposals}") };
    assert_eq!(open["proposal"], envelope.digest().to_string());
    assert_eq!(open["envelope"], json!(envelope));
    assert_eq!(open["custodians"], json!(["c1"]));
    assert_eq!(
        proposals["items"].as_array().unwrap().iter().filter(|item| item["status"] == "decided").count(),
        10
    );

    let principals = service.read("auditor", "/v1/principals").await.json();
    assert_eq!(principals["items"].as_array().unwrap().len(), 12);
    let first = &principals["items"][0];
    assert_eq!((&first["principal"], &first["roles"]), (&json!("agency-1"), &json!(["agency"])));
    assert_eq!(first["keys"][0]["key"], secret("agency-1").public().id().to_string());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agencies_read_their_own_cases_and_nothing_else() {
    let service = Service::staffed("agencies").await;
    happen(&service).await;
    let cases = service.read("agency-1", "/v1/agency/cases").await.json();
    let expected = json!([{"agency_ref": "ref-1", "entered": "2026-02-03", "screening": "cleared"}]);
    assert_eq!(cases["items"], expected);
    let case = service.read("agency-1", "/v1/agency/cases/ref-1").await.json();
    let balances = json!([{
        "approved": "0.00", "currency": "USD", "due": "0.00", "paid": "0.00", "released": "0.00",
        "requested": "100.00",
    }]);
    let disbursements = json!([{
        "amount": "100.00", "benefit": "bonus", "currency": "USD", "disbursement": "d-1", "stage": "requested",
    }]);
    assert_eq!((&case["balances"], &case["disbursements"]), (&balances, &disbursements));
    let statement = service.read("agency-1", "/v1/agency/cases/ref-1/statement").await.json();
    assert_eq!(statement["items"].as_array().unwrap().len(), 1);
    assert_eq!(statement["items"][0]["event"], "requested");
    for answer in [&cases, &case, &statement] {
        assert!(!answer.to_string().contains("case-"), "{answer}");
    }

    // Another's case, and none at all: the same answer, in every byte but the date.
    for path in ["", "/statement", "/statement?limit=1"] {
        let mut answers = Vec::new();
        for (agency, agency_ref) in [("agency-1", "ref-2"), ("agency-1", "ref-9"), ("agency-2", "ref-1")] {
            let mut answer = service.read(agency, &format!("/v1/agency/cases/{agency_ref}{path}")).await;
            assert_eq!(answer.outcome(), "404 case_not_found");
            answer.headers.retain(|(name, _)| name != "date");
            answers.push(format!("{answer:?}"));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
    assert_eq!(service.read("agency-1", "/v1/agency/cases/Ref").await.outcome(), "400 path_invalid");
    assert_eq!(service.read("agency-1", "/v1/agency/cases/%00").await.outcome(), "400 path_invalid");

    // Every read is written down, in both cases.
    let (client, connection) = service.server.config("postgres", "ledger").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "SELECT agency, resource, coalesce(agency_ref, '-'), count(*) FROM reads GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let reads: Vec<String> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {}",
                row.get::<_, &str>(0),
                row.get::<_, &str>(1),
                row.get::<_, &str>(2),
                row.get::<_, i64>(3)
            )
        })
        .collect();
    let expected = [
        "agency-1 case ref-1 1",
        "agency-1 case ref-2 1",
        "agency-1 case ref-9 1",
        "agency-1 cases - 1",
        "agency-1 statement ref-1 1",
        "agency-1 statement ref-2 2",
        "agency-1 statement ref-9 2",
        "agency-2 case ref-1 1",
        "agency-2 statement ref-1 2",
    ];
    assert_eq!(reads, expected);
    // The role behind these answers sees nothing without an agency, and never a case reference.
    let (agency, connection) =
        service.server.config("safeconduct_agency", "ledger").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    assert!(agency.query("SELECT agency_ref FROM cases", &[]).await.unwrap().is_empty());
    assert!(agency.query("SELECT case_ref FROM cases", &[]).await.is_err());
    drop((client, agency));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_proves_itself() {
    let service = Service::staffed("log").await;
    happen(&service).await;
    let parse = |note: &str| {
        Checkpoint::parse_and_verify(note, "test.example/log", secret("checkpoint key").public()).unwrap()
    };
    let note = service.read("agency-2", "/v1/checkpoint").await;
    assert_eq!(note.header("content-type"), Some("text/plain; charset=utf-8"));
    let checkpoint = parse(&note.body);

    // The bundle, line by line.
    let bundle = service.read("auditor", "/v1/bundle").await;
    assert_eq!(bundle.header("content-type"), Some("application/x-ndjson"));
    let mut lines = bundle.body.split_terminator('\n');
    let header: Header = canonical::decode(lines.next().unwrap().as_bytes()).unwrap();
    assert_eq!(parse(&header.checkpoint), checkpoint);
    assert_eq!((header.records.0, header.balances_at.0), (checkpoint.size, checkpoint.size));
    let balances: Vec<BalanceLine> = lines
        .by_ref()
        .take(header.balances.0.try_into().unwrap())
        .map(|line| canonical::decode(line.as_bytes()).unwrap())
        .collect();
    assert!(balances.is_sorted_by(|a, b| a.in_order(b).is_lt()));
    let usd: Currency = id("USD");
    assert!(balances.iter().any(|line| line.key.currency == usd && line.balance.held.is_positive()));
    let records: Vec<Record> = lines.map(|line| Record::parse_leaf(line.as_bytes()).unwrap()).collect();
    assert_eq!(records.len() as u64, checkpoint.size);
    assert_eq!(records[0].digest(), header.ledger);
    let mut tree = Frontier::new();
    let mut roots = vec![tree.root()];
    for record in &records {
        tree.append(record.leaf_hash());
        roots.push(tree.root());
    }
    assert_eq!(tree.root(), checkpoint.root);

    let size = checkpoint.size;
    for position in [0, 1, size / 2, size - 1] {
        let path = format!("/v1/proofs/inclusion?position={position}&size={size}");
        let proof = service.read("agency-1", &path).await.json();
        let hashes: Vec<_> = body(proof["hashes"].clone());
        let leaf = body(proof["leaf_hash"].clone());
        verify_inclusion(leaf, position, size, &hashes, checkpoint.root).unwrap();
        let record = service.read("auditor", &format!("/v1/records/{position}")).await;
        assert_eq!(record.body.as_bytes(), records[position as usize].leaf());
    }
    for from in [1, size / 3, size] {
        let proof = service.read("c1", &format!("/v1/proofs/consistency?from={from}&to={size}")).await.json();
        let hashes: Vec<_> = body(proof["hashes"].clone());
        verify_consistency(from, roots[from as usize], size, checkpoint.root, &hashes).unwrap();
    }
    let founding = service.read("agency-1", "/v1/founding").await;
    assert_eq!(founding.body.as_bytes(), records[0].leaf());
    for (path, expected) in [
        (format!("/v1/records/{size}"), "404 record_not_found"),
        ("/v1/records/9223372036854775807".to_owned(), "404 record_not_found"),
        ("/v1/records/9223372036854775808".to_owned(), "400 path_invalid"),
        ("/v1/records/00".to_owned(), "400 path_invalid"),
        (format!("/v1/proofs/inclusion?position={size}&size={size}"), "404 proof_out_of_range"),
        (format!("/v1/proofs/inclusion?position=0&size={}", size + 1), "404 proof_out_of_range"),
        ("/v1/proofs/inclusion?position=0".to_owned(), "400 query_invalid"),
        (format!("/v1/proofs/consistency?from=0&to={size}"), "404 proof_out_of_range"),
        (format!("/v1/proofs/consistency?from={size}&to=1"), "404 proof_out_of_range"),
        ("/v1/proofs/consistency?from=1&to=1&to=1".to_owned(), "400 query_invalid"),
        ("/v1/bundle?x".to_owned(), "400 query_invalid"),
    ] {
        assert_eq!(service.read("auditor", &path).await.outcome(), expected, "{path}");
    }
    let founded = service.raw(b"GET /v1/service HTTP/1.0\r\n\r\n").await.json();
    assert_eq!(founded["ledger"], header.ledger.to_string());
    service.stop().await;
}
