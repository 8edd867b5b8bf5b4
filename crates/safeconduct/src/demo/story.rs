//! What happens in the demo, in the order in which it happens.

use std::path::Path;

use serde_json::{Value, json};

use super::stage::{Stage, text};
use super::{books, tampering};
use crate::error::{Error, Result};
use crate::{context, ui};

const OFFICERS: [(&str, &[&str]); 7] = [
    ("anna", &["preparer", "approver"]),
    ("boris", &["approver"]),
    ("dora", &["approver", "director"]),
    ("paul", &["payer"]),
    ("rita", &["reconciler"]),
    ("sven", &["screener"]),
    ("ada", &["auditor"]),
];
const AGENCIES: [&str; 3] = ["north", "south", "west"];
const CUSTODIANS: [&str; 2] = ["karl", "kira"];

/// Tells the whole story.
pub fn tell(stage: &mut Stage, input: &Path) -> Result<()> {
    let ledger = found(stage, input)?;
    enrol(stage, &ledger)?;
    let papers = Papers::write(stage)?;
    receive(stage, &papers)?;
    open_cases(stage, input, &papers)?;
    request_and_approve(stage)?;
    pay(stage, &papers)?;
    agencies(stage)?;
    let bundle = audit(stage, &ledger)?;
    tampering::show(stage, &bundle, &ledger)?;
    books::summarise(stage)
}

fn chapter(title: &str) {
    ui::line(format!("\n== {title} ==\n"));
}

fn found(stage: &mut Stage, input: &Path) -> Result<String> {
    chapter("Two custodians found a programme");
    let everybody: Vec<&str> =
        CUSTODIANS.into_iter().chain(OFFICERS.map(|(name, _)| name)).chain(AGENCIES).collect();
    ui::line("everybody$ safeconduct key new --principal <name>");
    let commands: Vec<(&str, Vec<String>)> =
        everybody.iter().map(|who| (*who, words(&["key", "new", "--principal", who]))).collect();
    stage.together(&commands)?;
    let file = |stage: &Stage, who: &str| text(&stage.file(&format!("{who}.json")));
    let (karl, kira) = (file(stage, "karl"), file(stage, "kira"));
    stage.ok("karl", &["key", "public", "--out", &karl])?;
    stage.ok("kira", &["key", "public", "--out", &kira])?;
    let (url, policy) = (stage.url(), text(&input.join("policy.json")));
    let alone = [
        "found",
        "--url",
        &url,
        "--custodian",
        &karl,
        "--policy",
        &policy,
        "--currency",
        "USD",
        "--quorum",
        "1",
    ];
    stage.refuse("karl", &alone, "founding_invalid")?;
    let both = [
        "found",
        "--url",
        &url,
        "--custodian",
        &karl,
        "--custodian",
        &kira,
        "--policy",
        &policy,
        "--currency",
        "EUR",
        "--currency",
        "USD",
        "--quorum",
        "2",
    ];
    let answer = stage.ok("karl", &both)?;
    let ledger =
        answer.json["ledger"].as_str().ok_or_else(|| Error::new("the founding named no ledger"))?.to_owned();
    ui::line(format!("  the ledger's id is {ledger}"));
    stage.ok("kira", &["join", "--url", &url, "--ledger", &ledger])?;
    stage.ok("kira", &["accept"])?;
    Ok(ledger)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn enrol(stage: &mut Stage, ledger: &str) -> Result<()> {
    chapter("They enrol officers, an auditor and three agencies");
    let people: Vec<(&str, &[&str])> =
        OFFICERS.into_iter().chain(AGENCIES.map(|name| (name, &["agency"][..]))).collect();
    ui::line("everybody$ safeconduct key possession --ledger <id> --out <name>-key.json");
    let possession = |who: &str| text(&stage.file(&format!("{who}-key.json")));
    let commands: Vec<(&str, Vec<String>)> = people
        .iter()
        .map(|(who, _)| (*who, words(&["key", "possession", "--ledger", ledger, "--out", &possession(who)])))
        .collect();
    stage.together(&commands)?;
    let enrolments: Vec<Value> = people
        .iter()
        .map(|(who, roles)| json!({"possessions": [format!("{who}-key.json")], "roles": roles}))
        .collect();
    let file = stage.file("enrolments.json");
    std::fs::write(&file, serde_json::to_string_pretty(&enrolments)?)?;
    stage.ok("karl", &["propose", "enrol", "--file", &text(&file)])?;
    stage.ok("kira", &["concur", "--all-listed"])?;
    let url = stage.url();
    ui::line("everybody$ safeconduct join --url <url> --ledger <id>");
    let commands: Vec<(&str, Vec<String>)> =
        people.iter().map(|(who, _)| (*who, words(&["join", "--url", &url, "--ledger", ledger]))).collect();
    stage.together(&commands)
}

/// The documents that evidence refers to; they stay on the machines of those who hold them.
struct Papers {
    order: String,
    advice: String,
    file: String,
    invoice: String,
    today: String,
}

impl Papers {
    fn write(stage: &Stage) -> Result<Papers> {
        let write = |name: &str, content: &str| -> Result<String> {
            let path = stage.file(name);
            std::fs::write(&path, content)?;
            Ok(text(&path))
        };
        Ok(Papers {
            order: write("order.txt", "A court's order. The demo's stand-in for a document.\n")?,
            advice: write("advice.txt", "A bank's advice. The demo's stand-in for a document.\n")?,
            file: write("file.txt", "A screener's file. The demo's stand-in for a document.\n")?,
            invoice: write(
                "invoice.txt",
                "A vendor's invoice and a receipt. The demo's stand-in for documents.\n",
            )?,
            today: context::now().date().to_string(),
        })
    }

    fn bank<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["--value-date", &self.today, "--evidence-file", &self.advice]].concat()
    }
}

fn receive(stage: &mut Stage, papers: &Papers) -> Result<()> {
    chapter("Assets are registered, and money is received");
    let order = ["--evidence-file", &papers.order];
    let register = |asset, description| {
        [&["asset", "register", "--asset", asset, "--description", description], &order[..]].concat()
    };
    stage.ok("dora", &register("yacht", "Forfeited assets of a sanctioned person"))?;
    stage.ok("dora", &register("reserves", "Reserves immobilised at a depository"))?;
    for (fund, asset, currency, kind) in [
        ("yacht-custody", "yacht", "USD", "fiduciary"),
        ("yacht-fund", "yacht", "USD", "spendable"),
        ("reserves-custody", "reserves", "EUR", "fiduciary"),
        ("reserves-fund", "reserves", "EUR", "spendable"),
    ] {
        let open = ["fund", "open", "--fund", fund, "--asset", asset, "--currency", currency, "--kind", kind];
        stage.ok("dora", &open)?;
    }
    for (bank, currency) in [("usd-custody", "USD"), ("usd-main", "USD"), ("eur-main", "EUR")] {
        stage.ok("dora", &["bank", "open", "--bank", bank, "--currency", currency])?;
    }
    let restrain =
        |fund, amount| [&["asset", "restrain", "--fund", fund, "--amount", amount], &order[..]].concat();
    stage.ok("rita", &restrain("reserves-custody", "EUR 195,000,000,000.00"))?;
    let income = [
        "asset",
        "income",
        "--fund",
        "reserves-fund",
        "--bank",
        "eur-main",
        "--own",
        "EUR 1,500,000,000.00",
        "--shares-fund",
        "reserves-custody",
    ];
    stage.ok("rita", &papers.bank(&income))?;
    stage.ok("rita", &restrain("yacht-custody", "USD 5,379,876.94"))?;
    let custody = [
        "asset",
        "custody",
        "--fund",
        "yacht-custody",
        "--bank",
        "usd-custody",
        "--amount",
        "USD 5,379,876.94",
    ];
    stage.ok("rita", &papers.bank(&custody))?;
    let forfeit = [
        "asset",
        "forfeit",
        "--fund",
        "yacht-custody",
        "--bank",
        "usd-custody",
        "--gross",
        "USD 5,379,876.94",
        "--to-fund",
        "yacht-fund",
        "--to-bank",
        "usd-main",
    ];
    stage.ok("rita", &papers.bank(&forfeit))?;
    Ok(())
}

fn open_cases(stage: &mut Stage, input: &Path, papers: &Papers) -> Result<()> {
    chapter("An offer is published, and 40 cases are opened and screened");
    stage.ok("dora", &["offer", "publish", "--file", &text(&input.join("offer.json"))])?;
    let drawn = text(&stage.file("cases.csv"));
    let cases = text(&input.join("cases.csv"));
    stage.ok("anna", &["case", "open", "--file", &cases, "--offer", "new-life", "--out", &drawn])?;
    let open = stage.items("sven", &["case", "list", "--screening", "open"])?;
    let refs: Vec<String> = open.iter().filter_map(|case| case["case"].as_str().map(str::to_owned)).collect();
    let [waiting, cleared @ ..] = refs.as_slice() else {
        return Err(Error::new("no case is open"));
    };
    let mut screen = vec!["case", "screen"];
    for case in cleared {
        screen.extend(["--case", case.as_str()]);
    }
    screen.extend(["--outcome", "cleared", "--evidence-file", &papers.file]);
    stage.ok("sven", &screen)?;
    let early = ["request", "--case", waiting, "--benefit", "bonus", "--fund", "yacht-fund"];
    stage.refuse("anna", &early, "screening_open")?;
    Ok(())
}

/// The ids of the disbursements at a stage under a benefit.
fn ids(stage: &mut Stage, who: &str, at: &str, benefit: &str) -> Result<Vec<String>> {
    let items = stage.items(who, &["disbursements", "--stage", at])?;
    let of_benefit = items.iter().filter(|item| item["effect"]["benefit"] == benefit);
    Ok(of_benefit.filter_map(|item| item["disbursement"].as_str().map(str::to_owned)).collect())
}

fn first(ids: &[String]) -> Result<&str> {
    ids.first().map(String::as_str).ok_or_else(|| Error::new("no disbursement is at that stage"))
}

fn request_and_approve(stage: &mut Stage) -> Result<()> {
    chapter("Disbursements are requested and approved");
    stage.ok("anna", &["request", "--all-cases", "--benefit", "bonus", "--fund", "yacht-fund"])?;
    let cases = stage.items("anna", &["case", "list", "--screening", "cleared"])?;
    let case = |index: usize| cases.get(index).and_then(|case| case["case"].as_str()).unwrap_or_default();
    let trips =
        ["request", "--case", case(0), "--case", case(1), "--benefit", "trip", "--fund", "yacht-fund"];
    stage.ok("anna", &trips)?;
    let aircraft = |case| ["request", "--case", case, "--benefit", "aircraft", "--fund", "yacht-fund"];
    stage.ok("anna", &aircraft(case(2)))?;
    ui::line("\nMore than is free:");
    stage.refuse("anna", &aircraft(case(3)), "insufficient_funds")?;
    ui::line("\nThe same benefit of the same case again:");
    stage.refuse(
        "anna",
        &["request", "--case", case(0), "--benefit", "trip", "--fund", "yacht-fund"],
        "obligation_exists",
    )?;
    ui::line("\nAnna holds the approver's role, but she prepared these:");
    let bonuses = ids(stage, "anna", "requested", "bonus")?;
    stage.refuse("anna", &["approve", first(&bonuses)?], "own_request")?;
    let rejected = ids(stage, "boris", "requested", "aircraft")?;
    stage.ok("boris", &["reject", first(&rejected)?, "--reason", "the aircraft was not serviceable"])?;
    ui::line("\nUp to USD 10,000.00 policy wants one approver, up to USD 100,000.00 two:");
    stage.ok("boris", &["approve", "--all-listed"])?;
    stage.refuse("boris", &["approve", first(&bonuses)?], "already_approved")?;
    stage.ok("dora", &["approve", "--all-listed"])?;
    Ok(())
}

fn pay(stage: &mut Stage, papers: &Papers) -> Result<()> {
    chapter("A trip is delivered; payments are released, booked, returned, and one report is reversed");
    let trips = ids(stage, "anna", "obligated", "trip")?;
    let deliver = [
        "deliver",
        first(&trips)?,
        "--invoiced",
        "USD 5,412.30",
        "--vendor",
        "travel-office",
        "--delivered",
        &papers.today,
        "--evidence-file",
        &papers.invoice,
    ];
    stage.ok("anna", &deliver)?;
    let bonuses = ids(stage, "paul", "due", "bonus")?;
    stage.refuse("boris", &["release", first(&bonuses)?, "--bank", "usd-main"], "role_missing")?;
    stage.ok("paul", &["release", "--all-listed", "--bank", "usd-main"])?;
    stage.ok("rita", &papers.bank(&["confirm", "--all-listed"]))?;
    stage.ok(
        "rita",
        &papers.bank(&["bank", "fee", "--fund", "yacht-fund", "--bank", "usd-main", "--amount", "USD 35.00"]),
    )?;

    ui::line("\nOne payment comes back, and the bank keeps USD 25.00; it is sent again:");
    let returned = first(&bonuses)?;
    stage.ok("rita", &papers.bank(&["return", returned, "--kept", "USD 25.00"]))?;
    stage.ok("paul", &["release", returned, "--bank", "usd-main"])?;
    stage.ok("rita", &papers.bank(&["confirm", returned]))?;

    ui::line(
        "\nOne confirmation was a mistake; a director reverses it, and the bank then books the payment:",
    );
    let mistaken = bonuses.get(1).map(String::as_str).unwrap_or_default();
    stage.ok(
        "dora",
        &["reverse", "--disbursement", mistaken, "--reason", "the advice was for another payment"],
    )?;
    stage.ok("rita", &papers.bank(&["confirm", mistaken]))?;
    Ok(())
}

fn agencies(stage: &mut Stage) -> Result<()> {
    chapter("An agency reads its own cases, and is refused another's");
    let own = stage.items("north", &["agency", "cases"])?;
    let others = stage.items("south", &["agency", "cases"])?;
    let reference = |cases: &[Value]| {
        let first = cases.first().and_then(|case| case["agency_ref"].as_str());
        first.map(str::to_owned).ok_or_else(|| Error::new("the agency has no case"))
    };
    let (own_ref, others_ref) = (reference(own.get(1..).unwrap_or(&own))?, reference(&others)?);
    let balance = stage.ok("north", &["agency", "balance", &own_ref])?;
    for sum in balance.json["balances"].as_array().into_iter().flatten() {
        let amount = |what: &str| books::grouped(&sum[what], &sum["currency"]);
        let parts = ["requested", "approved", "due", "released", "paid"]
            .map(|what| format!("{what} {}", amount(what)));
        ui::line(format!("  {}", parts.join(", ")));
    }
    stage.ok("north", &["agency", "statement", &own_ref])?;
    let others_case = stage.refuse("north", &["agency", "balance", &others_ref], "case_not_found")?;
    let no_case =
        stage.refuse("north", &["agency", "balance", "a-there-is-no-such-case"], "case_not_found")?;
    stage.expect("another's case and no case are answered alike", others_case.said == no_case.said);
    stage.refuse("north", &["funds"], "role_missing")?;
    Ok(())
}

fn audit(stage: &mut Stage, ledger: &str) -> Result<String> {
    chapter("An auditor exports everything and verifies it offline, with the ledger's id alone");
    let bundle = text(&stage.file("bundle.ndjson"));
    stage.ok("ada", &["bundle", "--out", &bundle])?;
    let report = stage.ok("ada", &["audit", &bundle, "--ledger", ledger])?;
    let checked = &report.json["checked"];
    stage.expect("the bundle is verified", report.json["verdict"]["outcome"] == "verified");
    ui::line(format!("  verified: {}", books::checked_words(checked)));
    Ok(bundle)
}
