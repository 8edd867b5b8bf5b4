//! A second set of books, kept from the entries alone, and what every fund's books must prove.
//!
//! Replay has already compared each entry with what the rules make of the log. Here each entry is posted again, to books
//! that know nothing of disbursements: that it balances, that every limit bears it, that each hold is placed once and
//! resolved once, and that P1 to P4 hold after it. At the end both sets of balances must be the same.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::Account;
use ledger::books::{Balance, BalanceKey, Books, Posted};
use ledger::currency::Currency;
use ledger::id::FundId;
use ledger::proofs::{self, FundProof};
use ledger::sum::Sum;
use programme::entity::FundState;
use programme::{Key, State};
use records::assets::FundKind;
use records::journal::JournalEntry;

use crate::chunk::Wrong;
use crate::report::{AccountTotal, FundReport, ProofLine};

/// The second set of books.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    books: Books,
}

impl Tally {
    /// One that goes on with these books, of which all was proved before.
    pub fn on(books: Books) -> Tally {
        Tally { books }
    }

    /// The books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Posts an entry. `state` is the one after it, and is asked for the funds' kinds only.
    pub fn enter(&mut self, entry: &JournalEntry, state: &State) -> Result<(), Wrong> {
        let posted = self.books.check(&entry.entry()).map_err(|error| Wrong {
            code: "books_refuse",
            reason: format!("posted to independent books, the entry breaks a rule: {error}"),
        })?;
        self.prove(&posted, state)?;
        self.books.apply(posted);
        Ok(())
    }

    /// The proofs are equations between sums, so they hold after the entry if they held before and hold of its changes.
    fn prove(&self, posted: &Posted, state: &State) -> Result<(), Wrong> {
        let mut changes: BTreeMap<&FundId, Vec<(&BalanceKey, Sum)>> = BTreeMap::new();
        for (key, after) in posted.balances() {
            let before = self.books.balance(key);
            // Both are of the key's currency.
            if let Some(change) = Sum::from(after.amount).less(before.amount.into()) {
                changes.entry(&key.fund).or_default().push((key, change));
            }
        }
        for (fund, changes) in changes {
            let proof = prove_fund(fund, fund_state(fund, state)?, changes.into_iter());
            if let Some((name, equation)) =
                proof.equations().into_iter().find(|(_, equation)| !equation.holds())
            {
                let reason = format!(
                    "after the entry, fund {fund} no longer proves {name} ({}): the entry changes the left side by \
                     {} and the right side by {}",
                    states(name),
                    equation.left.grouped(),
                    equation.right.grouped()
                );
                return Err(Wrong { code: "proof_differs", reason });
            }
        }
        Ok(())
    }

    /// Compares the books with the state that the rules came to: every balance, both ways, and what holds add up to.
    pub fn compare(&self, state: &State) -> Result<(), Wrong> {
        let zero = |key: &BalanceKey| Balance::zero(key.currency);
        let of_rules = |key: &BalanceKey| {
            state.get::<Balance>(&Key::from(key.clone())).copied().unwrap_or_else(|| zero(key))
        };
        let keys = self.books.balances().chain(state.balances()).map(|(key, _)| key);
        // The state has no order; the first that differs is to be the same every time.
        let keys: BTreeSet<&BalanceKey> = keys.collect();
        let mut held: BTreeMap<&BalanceKey, i128> = BTreeMap::new();
        for (_, hold) in self.books.open_holds() {
            *held.entry(hold.key()).or_default() += i128::from(hold.money().minor());
        }
        for key in keys {
            let (books, rules) = (self.books.balance(key), of_rules(key));
            let place = || format!("{} of fund {}", key.account, key.fund);
            if books != rules {
                let reason = format!(
                    "{}: the entries come to {} ({} held), the rules to {} ({} held)",
                    place(),
                    books.amount.grouped(),
                    books.held.grouped(),
                    rules.amount.grouped(),
                    rules.held.grouped()
                );
                return Err(Wrong { code: "books_differ", reason });
            }
            if held.remove(key).unwrap_or(0) != i128::from(rules.held.minor()) {
                let reason =
                    format!("{}: {} is held, and open holds come to another sum", place(), rules.held);
                return Err(Wrong { code: "holds_differ", reason });
            }
        }
        match held.first_key_value() {
            None => Ok(()),
            Some((key, _)) => {
                let reason = format!("{} of fund {} has an open hold and no balance", key.account, key.fund);
                Err(Wrong { code: "holds_differ", reason })
            }
        }
    }

    /// Every fund with its totals and proofs, by id.
    pub fn funds(&self, state: &State) -> Result<Vec<FundReport>, Wrong> {
        let mut balances: BTreeMap<&FundId, Vec<(&BalanceKey, &Balance)>> = BTreeMap::new();
        for (key, _) in state.entities() {
            if let Key::Fund(fund) = key {
                balances.entry(fund).or_default();
            }
        }
        for (key, balance) in self.books.balances() {
            balances.entry(&key.fund).or_default().push((key, balance));
        }
        balances.into_iter().map(|(fund, balances)| fund_report(fund, &balances, state)).collect()
    }
}

/// The first equation of these funds that does not hold.
pub(crate) fn first_difference(funds: &[FundReport]) -> Option<Wrong> {
    let mut proofs = funds.iter().flat_map(|fund| fund.proofs.iter().map(move |proof| (fund, proof)));
    let (fund, proof) = proofs.find(|(_, proof)| !proof.difference.is_zero())?;
    let reason = format!(
        "fund {} does not prove {} ({}): {} and {} differ by {}",
        fund.fund,
        proof.name,
        proof.states,
        proof.left.grouped(),
        proof.right.grouped(),
        proof.difference.grouped()
    );
    Some(Wrong { code: "proof_differs", reason })
}

fn fund_report(
    fund: &FundId,
    balances: &[(&BalanceKey, &Balance)],
    state: &State,
) -> Result<FundReport, Wrong> {
    let fund_state = fund_state(fund, state)?;
    let mut sums: BTreeMap<(u16, Currency), AccountTotal> = BTreeMap::new();
    for (key, balance) in balances {
        let (code, currency) = (key.account.code(), key.currency);
        let zero = Sum::zero(currency);
        let total = sums.entry((code, currency)).or_insert_with(|| AccountTotal {
            amount: zero,
            code,
            currency,
            held: zero,
            name: title(&key.account),
        });
        // Both are of the key's currency.
        total.amount = total.amount.plus(balance.amount.into()).unwrap_or(total.amount);
        total.held = total.held.plus(balance.held.into()).unwrap_or(total.held);
    }
    let amounts = balances.iter().map(|(key, balance)| (*key, Sum::from(balance.amount)));
    let proofs =
        prove_fund(fund, fund_state, amounts).equations().into_iter().map(|(name, equation)| ProofLine {
            difference: equation.difference(),
            left: equation.left,
            name,
            right: equation.right,
            states: states(name),
        });
    Ok(FundReport {
        asset: fund_state.asset.clone(),
        currency: fund_state.currency,
        fund: fund.clone(),
        kind: fund_state.kind,
        proofs: proofs.collect(),
        totals: sums.into_values().collect(),
    })
}

fn fund_state<'a>(fund: &FundId, state: &'a State) -> Result<&'a FundState, Wrong> {
    state.get::<FundState>(&Key::Fund(fund.clone())).ok_or_else(|| Wrong {
        code: "fund_unknown",
        reason: format!("fund {fund} has a balance and was never opened"),
    })
}

fn prove_fund<'a>(
    fund: &FundId,
    state: &FundState,
    balances: impl Iterator<Item = (&'a BalanceKey, Sum)>,
) -> FundProof {
    let kind = match state.kind {
        FundKind::Spendable => proofs::FundKind::Spendable,
        FundKind::Fiduciary => proofs::FundKind::Fiduciary,
    };
    proofs::prove_fund(fund, kind, state.currency, balances)
}

/// What an equation of [`FundProof`] says.
fn states(name: &str) -> &'static str {
    match name {
        "P1" => "resources + shortfall = unallotted + available + obligated + accrued + paid",
        "P2" => "accrued = payables + outstanding",
        "P3" => "cash + advances - overdrawn = unallotted + available + obligated + accrued - shortfall",
        "P4" => {
            "net assets + income - expense = unallotted + available + obligated + receivables - shortfall"
        }
        "custody" => "custody cash = owner's claims + payables",
        _ => "cash - overdrawn = suspense",
    }
}

/// What all accounts of a code are called together.
fn title(account: &Account) -> String {
    let title = match account {
        Account::Cash(_) => "cash",
        Account::CustodyCash(_) => "custody cash",
        Account::Receivable(_) => "receivables",
        Account::Advance(_) => "advances",
        Account::Payable(_) => "payables",
        Account::Outstanding(_) => "outstanding",
        Account::OwnerClaim(_) => "owner's claims",
        Account::Suspense(_) => "suspense",
        Account::Overdrawn(_) => "overdrawn",
        Account::NetAssets => "net assets",
        // Each kind has a code of its own.
        Account::Income(_) | Account::Expense(_) => return account.name(),
        Account::Position => "currency position",
        Account::Resources => "resources",
        Account::Unallotted => "unallotted",
        Account::Available(_) => "available",
        Account::Obligated => "obligated",
        Account::Accrued => "accrued",
        Account::Paid => "paid",
        Account::Shortfall => "shortfall",
        Account::Restrained(_) => "restrained",
        Account::Retained(_) => "retained",
        Account::Contra => "memo contra",
    };
    title.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::entry::{Action, Line};
    use ledger::id::EntryId;
    use programme::entity::Stored as _;
    use signing::digest::Digest;

    fn usd(minor: i64) -> ledger::money::Money {
        ledger::money::Money::from_minor(minor, Currency::USD).unwrap()
    }

    /// A state with the spendable fund `f`.
    fn state() -> State {
        let mut state = State::complete();
        let fund =
            FundState { asset: "a".parse().unwrap(), currency: Currency::USD, kind: FundKind::Spendable };
        state.load(Key::Fund("f".parse().unwrap()), Some(fund.into_entity()));
        state
    }

    fn entry(index: u32, fund: &str, lines: &[(&str, Action, i64)]) -> JournalEntry {
        let line = |(account, action, minor): &(&str, Action, i64)| Line {
            account: account.parse().unwrap(),
            fund: fund.parse().unwrap(),
            money: usd(*minor),
            action: action.clone(),
        };
        JournalEntry {
            authority: vec![],
            benefit: None,
            case_commitment: None,
            disbursement: None,
            effective: "2030-01-01".parse().unwrap(),
            id: EntryId { digest: [1; 32], index },
            ledger: Digest::from_bytes([2; 32]),
            lines: lines.iter().map(line).collect(),
            reverses: None,
        }
    }

    /// Income of 100, received and available.
    fn income(index: u32) -> JournalEntry {
        use Action::{Credit, Debit};
        let lines =
            [("1100/b", Debit, 100), ("4101", Credit, 100), ("7100", Debit, 100), ("7210/m", Credit, 100)];
        entry(index, "f", &lines)
    }

    fn balances(tally: &Tally, state: &mut State) {
        for (key, balance) in tally.books.balances() {
            state.load(Key::from(key.clone()), Some(balance.into_entity()));
        }
    }

    #[test]
    fn every_entry_must_keep_the_proofs() {
        use Action::{Credit, Debit};
        let (state, mut tally) = (state(), Tally::default());
        tally.enter(&income(0), &state).unwrap();
        for (lines, name) in [
            // Spent in the budget only, then in what is owned only, then owed without being due.
            (&[("7210/m", Debit, 1), ("7500", Credit, 1)][..], "P3"),
            (&[("5101", Debit, 1), ("1100/b", Credit, 1)], "P3"),
            (&[("5101", Debit, 1), ("2200/bank/b", Credit, 1)], "P2"),
            // Received twice over.
            (&[("7100", Debit, 1), ("7210/m", Credit, 1)], "P3"),
        ] {
            let wrong = tally.enter(&entry(1, "f", lines), &state).unwrap_err();
            assert_eq!(wrong.code, "proof_differs");
            assert!(wrong.reason.contains(&format!("no longer proves {name} (")), "{}", wrong.reason);
        }
        let unopened = entry(1, "g", &[("8100/a", Debit, 1), ("8900", Credit, 1)]);
        assert_eq!(tally.enter(&unopened, &state).unwrap_err().code, "fund_unknown");
    }

    #[test]
    fn the_second_books_have_limits_of_their_own() {
        use Action::{Credit, Debit, Hold, VoidHold};
        let (state, mut tally) = (state(), Tally::default());
        tally.enter(&income(0), &state).unwrap();
        let hold = || "h".parse().unwrap();
        tally.enter(&entry(1, "f", &[("7210/m", Hold(hold()), 60)]), &state).unwrap();
        for lines in [
            &[("7210/m", Hold("i".parse().unwrap()), 41)][..],
            &[("7210/m", Hold(hold()), 1)],
            &[("7210/m", VoidHold(hold()), 59)],
            &[("1100/b", Debit, 1), ("4101", Credit, 2)],
        ] {
            assert_eq!(tally.enter(&entry(2, "f", lines), &state).unwrap_err().code, "books_refuse");
        }
    }

    #[test]
    fn both_sets_of_balances_must_be_the_same() {
        let (mut state, mut tally) = (state(), Tally::default());
        tally.enter(&income(0), &state).unwrap();
        let hold = Action::Hold("h".parse().unwrap());
        tally.enter(&entry(1, "f", &[("7210/m", hold, 60)]), &state).unwrap();
        assert_eq!(tally.compare(&state).unwrap_err().code, "books_differ");
        balances(&tally, &mut state);
        assert_eq!(tally.compare(&state), Ok(()));
        let funds = tally.funds(&state).unwrap();
        assert_eq!(first_difference(&funds), None);

        let key = |account: &str| BalanceKey {
            account: account.parse().unwrap(),
            fund: "f".parse().unwrap(),
            currency: Currency::USD,
        };
        let more = Balance { amount: usd(1), held: usd(0) };
        state.load(Key::from(key("7900")), Some(more.into_entity()));
        assert_eq!(tally.compare(&state).unwrap_err().code, "books_differ");
    }
}
