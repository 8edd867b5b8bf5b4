//! The summary: what was paid, what was refused, and what the books prove.

use std::collections::BTreeMap;

use ledger::money::Money;
use serde_json::Value;

use super::stage::Stage;
use crate::error::Result;
use crate::ui;

/// An audit's counts in words.
pub fn checked_words(checked: &Value) -> String {
    let count = |what: &str| match &checked[what] {
        Value::String(count) => count.clone(),
        other => other.to_string(),
    };
    let signatures = &checked["signatures"];
    let verified = match signatures {
        Value::Object(by_kind) => {
            let sum: u64 =
                by_kind.values().filter_map(|n| n.as_str().and_then(|n| n.parse::<u64>().ok())).sum();
            sum.to_string()
        }
        _ => count("signatures"),
    };
    format!(
        "{verified} signatures, {} groups, {} instructions, {} approvals, {} entries recomputed byte for byte",
        count("groups"),
        count("instructions"),
        count("approvals"),
        count("entries")
    )
}

/// An amount with its currency, as people write it.
pub fn grouped(amount: &Value, currency: &Value) -> String {
    let text = amount.as_str().unwrap_or("?");
    let money = currency.as_str().and_then(|code| Money::parse(text, code.parse().ok()?).ok());
    money.map_or_else(|| text.to_owned(), Money::grouped)
}

/// Prints the summary, and notes what does not hold.
pub fn summarise(stage: &mut Stage) -> Result<()> {
    ui::line("\n== Summary ==\n");
    let disbursements = stage.items("ada", &["disbursements"])?;
    let mut stages: BTreeMap<(String, String), (usize, Option<Money>)> = BTreeMap::new();
    for one in &disbursements {
        let effect = &one["effect"];
        let key = (
            one["stage"].as_str().unwrap_or("?").to_owned(),
            effect["benefit"].as_str().unwrap_or("?").to_owned(),
        );
        let amount = one.get("payable").unwrap_or(&effect["amount"]);
        let money: Option<Money> = serde_json::from_value(amount.clone()).ok();
        let (count, sum) = stages.entry(key).or_insert((0, None));
        *count += 1;
        *sum = match (*sum, money) {
            (Some(sum), Some(money)) => sum.checked_add(money).ok(),
            (None, money) => money,
            (sum, None) => sum,
        };
    }
    let rows = stages.into_iter().map(|((stage, benefit), (count, sum))| {
        vec![stage, benefit, count.to_string(), sum.map_or("?".to_owned(), Money::grouped)]
    });
    ui::table(
        &["stage", "benefit", "disbursements", "amount"],
        rows.collect(),
        "There are no disbursements.",
    );

    ui::line("\nRefused, as it should be:");
    let refused = stage.refused().iter().map(|[who, command, code, why]| {
        // The whole of it was shown where it happened.
        let why: String = why.chars().take(90).collect();
        vec![who.clone(), command.clone(), code.clone(), why]
    });
    ui::table(&["who", "command", "code", "why"], refused.collect(), "Nothing was refused.");

    let funds = stage.items("ada", &["funds"])?;
    ui::line("\nThe funds:");
    let mut rows = Vec::new();
    for fund in &funds {
        let name = fund["fund"].as_str().unwrap_or("?");
        let is_zero = |total: &&Value| [&total["amount"], &total["held"]].iter().all(|sum| **sum == "0.00");
        for total in fund["totals"].as_array().into_iter().flatten().filter(|total| !is_zero(total)) {
            rows.push(vec![
                name.to_owned(),
                total["code"].as_str().map_or_else(|| total["code"].to_string(), str::to_owned),
                total["name"].as_str().unwrap_or("?").to_owned(),
                grouped(&total["amount"], &fund["currency"]),
                grouped(&total["held"], &fund["currency"]),
            ]);
        }
    }
    ui::table(&["fund", "code", "account", "amount", "held"], rows, "There are no funds.");

    ui::line("\nThe books prove:");
    let mut rows = Vec::new();
    let mut all_zero = !funds.is_empty();
    for fund in &funds {
        for proof in fund["proofs"].as_array().into_iter().flatten() {
            let difference = grouped(&proof["difference"], &fund["currency"]);
            all_zero &= difference.ends_with(" 0.00");
            rows.push(vec![
                fund["fund"].as_str().unwrap_or("?").to_owned(),
                proof["name"].as_str().unwrap_or("?").to_owned(),
                grouped(&proof["left"], &fund["currency"]),
                grouped(&proof["right"], &fund["currency"]),
                difference,
            ]);
        }
    }
    // Four proofs for each of two spendable funds, one for each of two fiduciary ones.
    let count = rows.len();
    ui::table(&["fund", "proof", "left", "right", "difference"], rows, "There are no proofs.");
    stage.expect("every proof of every fund is off by 0.00", all_zero && count == 10);
    Ok(())
}
