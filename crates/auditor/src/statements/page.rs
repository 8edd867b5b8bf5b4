//! The statements for people to read.

use ledger::sum::Sum;
use records::assets::FundKind;

use super::{
    BankLine, BankStatement, Claimable, FundStatements, Period, Statement, StatementLine, Statements, Tie,
};
use crate::page::{Align, Page, Table, counted};

impl Statements {
    /// Adds the statements to a page.
    pub(crate) fn write(&self, page: &mut Page, period: Period) {
        page.heading("Cash by bank account");
        for bank in &self.banks {
            page.table(bank.table(period));
        }
        page.heading("Contingent liabilities");
        page.line("What cleared cases could still request under their offers, at the log's end:");
        for Claimable { amount, benefits, .. } in &self.claimable {
            page.line(format!("{} for {}", amount.grouped(), counted(*benefits, "benefit")));
        }
        if self.claimable.is_empty() {
            page.line("nothing");
        }
        for fund in &self.funds {
            fund.write(page, period);
        }
        page.heading("Ties");
        page.line("What must be equal between the statements, and between them and the books:");
        let columns = [
            ("fund or bank", Align::Left),
            ("what must be equal", Align::Left),
            ("left", Align::Right),
            ("right", Align::Right),
            ("difference", Align::Right),
        ];
        let mut table = Table::new("", &columns);
        let mut row = |whose: String, Tie { difference, left, right, states }: &Tie| {
            table.row([
                whose,
                (*states).to_owned(),
                left.grouped(),
                right.grouped(),
                if difference.is_zero() {
                    "none".to_owned()
                } else {
                    format!("{} DOES NOT TIE", difference.grouped())
                },
            ]);
        };
        for fund in &self.funds {
            fund.ties.iter().for_each(|tie| row(fund.fund.to_string(), tie));
        }
        self.banks.iter().for_each(|bank| row(bank.bank.to_string(), &bank.tie));
        page.table(table);
    }
}

/// The amounts of a row: three columns where there is something before the period, else one.
fn amounts(period: Period, [before, within, end]: [Sum; 3]) -> Vec<String> {
    let all = [before, within, end].map(Sum::grouped);
    if period.from.is_some() { all.into() } else { all.into_iter().skip(2).collect() }
}

fn columns(period: Period) -> &'static [(&'static str, Align)] {
    let all = &[("before", Align::Right), ("in the period", Align::Right), ("at the end", Align::Right)];
    if period.from.is_some() { all } else { &[("at the end", Align::Right)] }
}

impl FundStatements {
    fn write(&self, page: &mut Page, period: Period) {
        let kind = match self.kind {
            FundKind::Fiduciary => "fiduciary",
            FundKind::Spendable => "spendable",
        };
        page.heading(format!("Fund {}, {kind}, {}, from asset {}", self.fund, self.currency, self.asset));
        for Statement { lines, title } in &self.statements {
            let first = [("account", Align::Left), ("", Align::Left)];
            let mut table = Table::new(*title, &[&first[..], columns(period)].concat());
            for StatementLine { account, before, end, name, period: within } in lines {
                let words = [account.clone().unwrap_or_default(), name.clone()];
                let cells = words.into_iter().chain(amounts(period, [*before, *within, *end]));
                match account {
                    Some(_) => table.row(cells),
                    None => table.total(cells),
                }
            }
            page.table(table);
        }
    }
}

impl BankStatement {
    fn table(&self, period: Period) -> Table {
        let columns = [
            ("fund", Align::Left),
            ("before", Align::Right),
            ("receipts", Align::Right),
            ("payments", Align::Right),
            ("at the end", Align::Right),
            ("of which released, not booked", Align::Right),
        ];
        let columns: Vec<_> =
            columns.into_iter().filter(|(title, _)| period.from.is_some() || *title != "before").collect();
        let mut table = Table::new(format!("Bank {}, {}", self.bank, self.currency), &columns);
        let cells = |BankLine { before, end, fund, payments, receipts, underway }: &BankLine| {
            let whose = fund.as_ref().map_or("all".to_owned(), ToString::to_string);
            let before = period.from.is_some().then(|| before.grouped());
            let rest = [*receipts, *payments, *end, *underway].map(Sum::grouped);
            [whose].into_iter().chain(before).chain(rest).collect::<Vec<_>>()
        };
        self.lines.iter().for_each(|line| table.row(cells(line)));
        table.total(cells(&self.total));
        table
    }
}
