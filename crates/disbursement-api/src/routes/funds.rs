//! Funds: what they hold, and what their books prove.

use axum::Json;
use axum::extract::State;
use ledger::account::{Account, Expense, Income};
use ledger::currency::Currency;
use ledger::id::FundId;
use programme::Code;
use records::bundle::BalanceLine;
use serde::Serialize;
use store::queries::{self, funds as fund_queries};
use utoipa::ToSchema;

use super::params::{Listed, Named, Paging, Params};
use crate::app::App;
use crate::openapi::types::{AccountCode, AccountName, Amount, CurrencyCode, Id};
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
#[schema(as = Fund)]
pub(super) struct FundView {
    #[schema(value_type = Id)]
    asset: String,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    #[schema(value_type = Id)]
    fund: FundId,
    holds: bool,
    #[schema(pattern = "^(spendable|fiduciary)$")]
    kind: String,
    proofs: Vec<ProofView>,
    totals: Vec<TotalView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FundProof)]
struct ProofView {
    #[schema(value_type = Amount)]
    difference: String,
    #[schema(value_type = Amount)]
    left: String,
    name: String,
    #[schema(value_type = Amount)]
    right: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FundTotal)]
struct TotalView {
    #[schema(value_type = Amount)]
    amount: String,
    #[schema(value_type = AccountCode)]
    code: String,
    #[schema(value_type = Amount)]
    held: String,
    name: String,
}

pub(super) async fn funds(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<FundView>>, Problem> {
    let slice = paging.slice(app.limits())?;
    let mut client = app.databases().read().await?;
    let snapshot = queries::snapshot(&mut client).await?;
    let page = fund_queries::funds(&snapshot, slice).await?;
    let view = |report: fund_queries::FundReport| FundView {
        asset: report.asset,
        currency: report.currency,
        fund: report.fund,
        // A fund without proofs proves nothing.
        holds: !report.proofs.is_empty() && report.proofs.iter().all(|proof| proof.difference.is_zero()),
        kind: report.kind,
        proofs: report.proofs.into_iter().map(proof_view).collect(),
        totals: report.totals.into_iter().map(total_view).collect(),
    };
    Ok(Json(page.map(view).into()))
}

fn proof_view(proof: fund_queries::Proof) -> ProofView {
    ProofView {
        difference: proof.difference.digits(),
        left: proof.left.digits(),
        name: proof.name,
        right: proof.right.digits(),
    }
}

fn total_view(total: fund_queries::CodeTotal) -> TotalView {
    TotalView {
        amount: total.amount.digits(),
        code: total.code.to_string(),
        held: total.held.digits(),
        name: name_of_code(total.code),
    }
}

/// What all accounts of a code are called together.
fn name_of_code(code: u16) -> String {
    let plain = match code {
        1100 => "cash",
        1150 => "custody cash",
        1200 => "receivables",
        1300 => "advances",
        2100 => "payables",
        2200 => "outstanding",
        2300 => "owners' claims",
        2500 => "suspense",
        2600 => "overdrawn",
        7210 => "available",
        8100 => "restrained",
        8200 => "retained",
        _ => return name_of_single(code),
    };
    plain.to_owned()
}

/// The name of a code that has one account only.
fn name_of_single(code: u16) -> String {
    let income = Income::EVERY.iter().map(|kind| Account::Income(*kind));
    let expense = Expense::EVERY.iter().map(|kind| Account::Expense(*kind));
    let single = [
        Account::NetAssets,
        Account::Position,
        Account::Resources,
        Account::Unallotted,
        Account::Obligated,
        Account::Accrued,
        Account::Paid,
        Account::Shortfall,
        Account::Contra,
    ];
    let mut every = single.into_iter().chain(income).chain(expense);
    every.find(|account| account.code() == code).map_or_else(|| code.to_string(), |account| account.name())
}

#[derive(Serialize, ToSchema)]
#[schema(as = FundAccount)]
pub(super) struct AccountView {
    #[schema(value_type = AccountName)]
    account: Account,
    #[schema(value_type = Amount)]
    amount: String,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    #[schema(value_type = Id)]
    fund: FundId,
    #[schema(value_type = Amount)]
    held: String,
    name: String,
}

pub(super) async fn accounts(
    State(app): State<App>,
    Named(fund): Named<FundId>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<AccountView>>, Problem> {
    let slice = paging.slice(app.limits())?;
    let client = app.databases().read().await?;
    let page = fund_queries::accounts(&client, &fund, slice).await?.ok_or(Code::FundUnknown)?;
    let view = |line: BalanceLine| AccountView {
        name: line.key.account.name(),
        account: line.key.account,
        amount: line.balance.amount.digits(),
        currency: line.key.currency,
        fund: line.key.fund,
        held: line.balance.held.digits(),
    };
    Ok(Json(page.map(view).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name() {
        let codes = [
            1100, 1150, 1200, 1300, 2100, 2200, 2300, 2500, 2600, 3100, 4101, 4108, 5101, 5110, 6100, 7100,
            7200, 7210, 7300, 7400, 7500, 7900, 8100, 8200, 8900,
        ];
        for code in codes {
            assert_ne!(name_of_code(code), code.to_string());
        }
    }
}
