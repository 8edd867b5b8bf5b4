//! The chart of accounts that verifiers read is the one that the ledger has. `UPDATE_CHART=1` writes it anew.

use ledger::account::{Account, Expense, Income, Limit, Plane, Side};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/chart.md");

/// One account of each kind, by the text that a posting names it with.
const EXAMPLES: [&str; 32] = [
    "1100/<bank>",
    "1150/<bank>",
    "1200/disbursement/<disbursement>",
    "1200/vendor/<vendor>",
    "1200/depository/<bank>",
    "1200/asset-costs/<asset>",
    "1300/agent/<agent>",
    "1300/vendor/<vendor>",
    "1300/imprest/<holder>",
    "2100/disbursement/<disbursement>",
    "2100/vendor/<vendor>",
    "2100/owner/<asset>",
    "2100/claimant/<body>",
    "2100/cost/<body>",
    "2100/other-body/<body>",
    "2200/bank/<bank>",
    "2200/agent/<agent>",
    "2300/<asset>",
    "2500/<bank>",
    "2600/<bank>",
    "3100",
    "6100",
    "7100",
    "7200",
    "7210/<allotment>",
    "7300",
    "7400",
    "7500",
    "7900",
    "8100/<asset>",
    "8200/<asset>",
    "8900",
];

/// Stands for the id that an example leaves open.
const ID: &str = "x9";

/// An example with an id in it, and the placeholder that the id stands for.
fn with_id(example: &str) -> (String, &str) {
    let placeholder = example.find('<').map_or("", |at| &example[at..]);
    (example.replace(placeholder, if placeholder.is_empty() { "" } else { ID }), placeholder)
}

fn page() -> String {
    let mut accounts: Vec<(String, Account, String)> = EXAMPLES
        .iter()
        .map(|example| {
            let (text, placeholder) = with_id(example);
            let account: Account = text.parse().expect("an account");
            let name = account.name().replace(ID, placeholder);
            ((*example).to_owned(), account, name)
        })
        .collect();
    let incomes = Income::EVERY.iter().map(|kind| Account::Income(*kind));
    let expenses = Expense::EVERY.iter().map(|kind| Account::Expense(*kind));
    accounts.extend(incomes.chain(expenses).map(|account| {
        let name = account.name();
        (account.to_string(), account, name)
    }));
    accounts.sort_by_key(|(example, account, _)| (account.code(), example.clone()));
    let mut page = String::from(
        "# The chart of accounts\n\nA posting names an account by the text in the first column. Its balance counts on the \
         side in the fourth. Where the last says\nso, no balance may fall below what is held of it (zero where nothing is).\n\n\
         | account | name | plane | side | limit |\n|---|---|---|---|---|\n",
    );
    for (example, account, name) in accounts {
        let plane = match account.plane() {
            Plane::Proprietary => "proprietary",
            Plane::Budget => "budget",
            Plane::Memo => "memo",
        };
        let side = match account.normal_side() {
            Side::Debit => "debit",
            Side::Credit => "credit",
        };
        let limit = match account.limit() {
            Limit::NotBelowHeld => "not below what is held",
            Limit::Unlimited => "none",
        };
        page.push_str(&format!("| `{example}` | {name} | {plane} | {side} | {limit} |\n"));
    }
    page
}

#[test]
fn the_page_is_the_chart() {
    if std::env::var_os("UPDATE_CHART").is_some() {
        std::fs::write(PAGE, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(PAGE).unwrap(), page(), "run with UPDATE_CHART=1");
}

#[test]
fn every_kind_of_account_is_on_the_page() {
    // The codes of every variant that is neither income nor expense; a new variant breaks `code`'s match first.
    let codes: std::collections::BTreeSet<u16> =
        EXAMPLES.iter().map(|example| example[..4].parse().unwrap()).collect();
    assert_eq!(codes.len(), 21);
}
