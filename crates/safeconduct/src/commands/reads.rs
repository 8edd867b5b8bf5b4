//! What officers and auditors read.

use std::process::ExitCode;

use client::describe::policy_words;
use client::reads::{AccountBalance, CurrentPolicy, Fund, Principal, PrincipalKey};
use ledger::id::FundId;
use records::governance::Role;
use serde_json::Value;

use crate::context::{Global, typed};
use crate::error::Result;
use crate::ui;

/// Prints every fund with its sums and proofs.
pub fn funds(global: &Global) -> Result<ExitCode> {
    let items: Vec<Value> = global.client()?.list("/v1/funds")?;
    if global.json {
        ui::json(&serde_json::json!({ "items": items }));
        return Ok(ExitCode::SUCCESS);
    }
    let funds: Vec<Fund> = typed(items)?;
    if funds.is_empty() {
        ui::line("There are no funds.");
    }
    for fund in funds {
        let currency = fund.currency;
        let amount = |amount: &str| ui::grouped(amount, currency);
        ui::line(format!("Fund {}, {}, of asset {}, in {currency}", fund.fund, fund.kind, fund.asset));
        let rows = fund.totals.into_iter().map(|total| {
            let (sum, held) = (amount(&total.amount), amount(&total.held));
            vec![total.code, total.name, sum, held]
        });
        ui::table(&["code", "account", "amount", "held"], rows.collect(), "Nothing was posted yet.");
        for proof in fund.proofs {
            ui::line(format!(
                "{}: {} = {}, difference {}",
                proof.name,
                amount(&proof.left),
                amount(&proof.right),
                amount(&proof.difference)
            ));
        }
        ui::line(if fund.holds { "The proofs hold." } else { "THE PROOFS DO NOT HOLD: tell the auditors." });
        ui::line("");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a fund's accounts.
pub fn accounts(global: &Global, fund: &FundId) -> Result<ExitCode> {
    let items = global.client()?.list(&format!("/v1/funds/{fund}/accounts"))?;
    let row = |one: &AccountBalance| {
        let currency = one.currency.to_string();
        let amount = |amount: &str| ui::grouped(amount, one.currency);
        vec![one.account.clone(), one.name.clone(), currency, amount(&one.amount), amount(&one.held)]
    };
    let header = ["account", "name", "currency", "amount", "held"];
    global.show_list(items, &header, row, "Nothing was posted in this fund yet.")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the policy in force, and the one that waits.
pub fn policy(global: &Global) -> Result<ExitCode> {
    let raw: Value = global.client()?.get("/v1/policy")?;
    if global.json {
        ui::json(&raw);
        return Ok(ExitCode::SUCCESS);
    }
    let current: CurrentPolicy =
        serde_json::from_value(raw).map_err(|error| client::Error::Answer(error.to_string()))?;
    let rows = |policy| policy_words(policy).into_iter().map(|(label, value)| vec![label, value]).collect();
    ui::line(format!("Policy version {}, in force:", current.version));
    ui::table(&["what", "value"], rows(&current.policy), "");
    if let Some(pending) = current.pending {
        ui::line(format!("Policy version {}, from {} on:", pending.version, pending.effective_at));
        ui::table(&["what", "value"], rows(&pending.policy), "");
    }
    Ok(ExitCode::SUCCESS)
}

/// A key, and what became of it.
fn key_line(key: &PrincipalKey) -> String {
    let mut line = format!("{} from {}", key.key, key.from);
    if let Some(until) = key.until {
        line += &format!(" until {until}");
    }
    if let Some(expires) = key.expires {
        line += &format!(", expires {expires}");
    }
    if key.spare.as_deref() == Some("waiting") {
        line += ", a spare that waits";
    }
    if let Some(at) = key.activated_at {
        line += &format!(", a spare that was activated {at}");
    }
    if let Some(replaced) = key.replaced {
        line += &format!(" and replaced {replaced}");
    }
    line
}

/// Prints the principals with their roles and keys.
pub fn principals(global: &Global) -> Result<ExitCode> {
    let items = global.client()?.list("/v1/principals")?;
    let names = |roles: &[Role]| roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
    let row = |one: &Principal| {
        let keys: Vec<String> = one.keys.iter().map(key_line).collect();
        let pending = one.pending_roles.as_deref().map_or(String::new(), names);
        vec![one.principal.to_string(), names(&one.roles), pending, keys.join("\n")]
    };
    let header = ["principal", "roles", "roles that wait", "keys"];
    global.show_list(items, &header, row, "There are no principals.")?;
    Ok(ExitCode::SUCCESS)
}
