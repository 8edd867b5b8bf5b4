//! The balances that a bundle claims: read, and compared with what replay came to.

use std::collections::HashMap;
use std::io::BufRead;

use ledger::books::{Balance, BalanceKey};
use programme::State;
use records::bundle::BalanceLine;
use signing::canonical;

use crate::lines::{LINE_BYTES_MAX, Lines};
use crate::report::{Checked, CheckedBalances};
use crate::stop::{Place, Stop, expect_line};

/// A balance that the bundle claims, and the line where it does.
pub(crate) struct Claim {
    line: u64,
    balance: Balance,
}

pub(crate) type Claims = HashMap<BalanceKey, Claim>;

pub(crate) fn read_claims<R: BufRead>(lines: &mut Lines<R>, count: u64) -> Result<Claims, Stop> {
    let mut claims = Claims::new();
    let mut last: Option<BalanceLine> = None;
    for _ in 0..count {
        let missing = ("balances_missing", "the file ends before the last balance");
        let bytes = expect_line(lines, LINE_BYTES_MAX, None, missing)?;
        let line = lines.number();
        let claimed = canonical::decode::<BalanceLine>(&bytes).map_err(|error| {
            Place::line(line).wrong("balance_malformed", format!("the line is not a balance: {error}"))
        })?;
        if last.as_ref().is_some_and(|last| last.in_order(&claimed).is_ge()) {
            let reason = "the balances are not sorted by fund, account and currency, each once";
            return Err(Place::line(line).wrong("balance_order", reason));
        }
        claims.insert(claimed.key.clone(), Claim { line, balance: claimed.balance });
        last = Some(claimed);
    }
    Ok(claims)
}

/// Compares the claimed balances with the state's, both ways.
pub(crate) fn compare_claims(
    checked: &mut Checked,
    claims: Option<Claims>,
    state: &State,
    at: u64,
) -> Result<(), Stop> {
    let mut claims = claims.unwrap_or_default();
    let claimed = claims.len() as u64;
    let mut unclaimed: Option<(&BalanceKey, &Balance)> = None;
    let mut differing: Vec<(u64, BalanceKey, Balance, Balance)> = Vec::new();
    for (key, real) in state.balances() {
        match claims.remove(key) {
            Some(claim) if claim.balance == *real => {}
            Some(claim) => differing.push((claim.line, key.clone(), claim.balance, *real)),
            None if *real == Balance::zero(key.currency) => {}
            // The state has no order; the same one is to be reported every time.
            None if unclaimed.is_none_or(|(first, _)| key < first) => unclaimed = Some((key, real)),
            None => {}
        }
    }
    for (key, claim) in claims {
        let zero = Balance::zero(key.currency);
        if claim.balance != zero {
            differing.push((claim.line, key, claim.balance, zero));
        }
    }
    if let Some((line, key, claim, real)) = differing.into_iter().min_by_key(|(line, ..)| *line) {
        let reason = format!(
            "{} of fund {} has {} ({} held) at size {at}, and the bundle claims {} ({} held)",
            key.account,
            key.fund,
            real.amount.grouped(),
            real.held.grouped(),
            claim.amount.grouped(),
            claim.held.grouped()
        );
        return Err(Place::line(line).wrong("balance_differs", reason));
    }
    if let Some((key, real)) = unclaimed {
        let reason = format!(
            "{} of fund {} has {} ({} held) at size {at}, and the bundle does not claim it",
            key.account,
            key.fund,
            real.amount.grouped(),
            real.held.grouped()
        );
        return Err(Place::HEADER.wrong("balance_missing", reason));
    }
    checked.balances = Some(CheckedBalances { at, claimed });
    Ok(())
}
