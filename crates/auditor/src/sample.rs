//! A sample of payments by monetary units, which anybody who has the bundle draws again.
//!
//! Monetary-unit sampling (ISA 530, appendix 4) takes each unit of money as an item of the population, so that a payment is
//! selected in proportion to its amount. With a fixed interval the units hit are `start`, `start + interval`,
//! `start + 2 × interval` and so on of the cumulative amounts, so a payment as large as the interval is always selected.
//!
//! The start comes from the seed by HMAC-SHA-256 (RFC 2104), and from its bits by the simple discard method of NIST
//! SP 800-90A, appendix A: as many leading bits as the interval's last unit takes, drawn again while they exceed it. So
//! each unit from 1 to the interval is equally likely, which a remainder would not be.

use std::io::BufRead;

use hmac::{Hmac, KeyInit, Mac};
use ledger::id::FundId;
use ledger::money::Money;
use ledger::sum::Sum;
use records::scalar::Text;
use serde::Serialize;
use sha2::Sha256;
use signing::digest::Digest;

use crate::evidence::shown_positions;
use crate::page::{Align, Page, Table, counted};
use crate::payments::{Payment, Payments};
use crate::report::{CheckedCheckpoint, decimal, digits};
use crate::{CouldNotRun, Report, verify_observed};

/// How a sample is to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampling {
    /// Payments of this fund only.
    pub fund: Option<FundId>,
    /// The sampling interval; its currency is that of the population.
    pub interval: Money,
    /// Chosen after the checkpoint was fixed, by chance, before witnesses.
    pub seed: Text,
}

/// A sample, once the bundle was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The checkpoint of the log that it was drawn from.
    pub checkpoint: CheckedCheckpoint,
    /// How often bits were drawn until they were not above the interval's last unit.
    #[serde(serialize_with = "decimal")]
    pub draws: u64,
    /// Where only one fund's payments were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fund: Option<FundId>,
    /// The sampling interval.
    pub interval: Money,
    /// The ledger.
    pub ledger: Digest,
    /// All that could be selected.
    pub population: Population,
    /// What was selected, in the order of the log.
    pub selected: Vec<Selected>,
    /// The seed.
    pub seed: String,
    /// The first unit that is hit, from 1 minor unit to the interval.
    pub start: Money,
}

/// All that could be selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Population {
    /// How many payments.
    #[serde(serialize_with = "decimal")]
    pub count: u64,
    /// What came back of them.
    #[serde(serialize_with = "digits")]
    pub returned: Sum,
    /// What the books say was paid, less bank fees: the total less what came back, or the population is not whole.
    #[serde(serialize_with = "digits")]
    pub settled: Sum,
    /// Their amounts together.
    #[serde(serialize_with = "digits")]
    pub total: Sum,
}

impl Population {
    /// Whether the books say that this is all.
    pub fn ties(&self) -> bool {
        self.total.less(self.returned) == Some(self.settled)
    }
}

/// A payment that was selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selected {
    /// The amounts of all payments up to and including this.
    #[serde(serialize_with = "digits")]
    pub cumulative: Sum,
    /// How many units of it were hit.
    #[serde(serialize_with = "decimal")]
    pub hits: u64,
    /// Its place among the payments, from 1.
    #[serde(serialize_with = "decimal")]
    pub number: u64,
    /// The payment.
    pub payment: Payment,
    /// The first unit of it that was hit.
    #[serde(serialize_with = "digits")]
    pub unit: Sum,
}

/// Verifies a bundle like [`crate::verify_against`], and draws a sample of its payments where it holds.
pub fn sample(
    bundle: impl BufRead,
    ledger: Digest,
    kept: &[String],
    sampling: &Sampling,
) -> Result<(Report, Option<Sample>), CouldNotRun> {
    if !sampling.interval.is_positive() {
        return Err(CouldNotRun::NoInterval);
    }
    let mut payments = Payments::default();
    let report = verify_observed(bundle, ledger, kept, &mut payments)?;
    let checkpoint = report.checked.checkpoint.clone().filter(|_| report.agrees_with_kept());
    let sample = checkpoint.map(|checkpoint| draw(&payments, ledger, checkpoint, sampling)).transpose()?;
    Ok((report, sample))
}

fn draw(
    payments: &Payments,
    ledger: Digest,
    checkpoint: CheckedCheckpoint,
    sampling: &Sampling,
) -> Result<Sample, CouldNotRun> {
    let Sampling { fund, interval, seed } = sampling;
    let currency = interval.currency();
    if let Some(fund) = fund {
        match payments.currency(fund) {
            None => return Err(CouldNotRun::NoSuchFund(fund.clone())),
            Some(other) if other != currency => {
                return Err(CouldNotRun::OtherCurrency { fund: fund.clone(), currency: other });
            }
            Some(_) => {}
        }
    }
    let is_of = |of: &FundId| fund.as_ref().is_none_or(|fund| fund == of);
    let population: Vec<&Payment> = payments
        .booked()
        .filter(|payment| payment.amount.currency() == currency && is_of(&payment.fund))
        .collect();
    let unit = interval.minor().unsigned_abs();
    let Start { unit: first, draws } = start(seed.as_str(), &ledger, &checkpoint.root, *interval);
    let sum = |minor: u128| Sum::of_minor(i128::try_from(minor).unwrap_or(i128::MAX), currency);
    let amounts = population.iter().map(|payment| payment.amount.minor().unsigned_abs());
    let (hits, total) = select(amounts, unit, first);
    let selected = hits.into_iter().filter_map(|hit| {
        let payment = (*population.get(hit.index)?).clone();
        Some(Selected {
            cumulative: sum(hit.cumulative),
            hits: u64::try_from(hit.hits).unwrap_or(u64::MAX),
            number: hit.index as u64 + 1,
            payment,
            unit: sum(hit.unit),
        })
    });
    Ok(Sample {
        checkpoint,
        draws,
        fund: fund.clone(),
        interval: *interval,
        ledger,
        population: Population {
            count: population.len() as u64,
            returned: payments.returned(currency, is_of),
            settled: payments.settled(currency, is_of),
            total: sum(total),
        },
        selected: selected.collect(),
        seed: seed.to_string(),
        // At most the interval, which is an amount.
        start: i64::try_from(first)
            .ok()
            .and_then(|minor| Money::from_minor(minor, currency).ok())
            .unwrap_or(*interval),
    })
}

/// Where a selection starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    /// The first unit that is hit, from 1 to the interval.
    unit: u64,
    /// How often bits were drawn.
    draws: u64,
}

/// The start that a seed comes to. What is authenticated, with the seed as key, are these five lines.
fn start(seed: &str, ledger: &Digest, root: &Digest, interval: Money) -> Start {
    let units = interval.minor().unsigned_abs();
    // What takes no bits at all is the only unit of an interval of one.
    let surplus = units.saturating_sub(1).leading_zeros();
    let mut draws = 0;
    loop {
        let message = format!(
            "safeconduct-sample.v1\nledger {ledger}\nroot {root}\ninterval {interval}\ndraw {draws}\n"
        );
        let bits = first_bits(seed.as_bytes(), message.as_bytes()).checked_shr(surplus).unwrap_or(0);
        draws += 1;
        // At least half of all draws end here.
        if bits < units || units == 0 {
            return Start { unit: bits.saturating_add(1), draws };
        }
    }
}

/// The first 64 bits of HMAC-SHA-256.
fn first_bits(key: &[u8], message: &[u8]) -> u64 {
    // HMAC takes a key of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return 0 };
    mac.update(message);
    let tag = mac.finalize().into_bytes();
    tag.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// An amount that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hit {
    index: usize,
    /// The first unit of it that was hit.
    unit: u128,
    hits: u128,
    cumulative: u128,
}

/// The amounts that the units `start`, `start + interval` and so on fall into, and the sum of all.
fn select(amounts: impl Iterator<Item = u64>, interval: u64, start: u64) -> (Vec<Hit>, u128) {
    let interval = u128::from(interval.max(1));
    let (mut hits, mut cumulative, mut next) = (vec![], 0, u128::from(start));
    for (index, amount) in amounts.enumerate() {
        cumulative += u128::from(amount);
        if let Some(beyond) = cumulative.checked_sub(next) {
            let count = beyond / interval + 1;
            hits.push(Hit { index, unit: next, hits: count, cumulative });
            next += count * interval;
        }
    }
    (hits, cumulative)
}

impl Sample {
    /// The sample for people to read.
    pub fn page(&self) -> Page {
        let Population { count, returned, settled, total } = &self.population;
        let CheckedCheckpoint { origin, root, size } = &self.checkpoint;
        let mut page = Page::new("Sample of payments by monetary units, drawn from a verified log");
        page.line(format!("ledger      {}", self.ledger));
        page.line(format!("checkpoint  {origin}, size {size}, root {root}"));
        page.line(format!("seed        {}", self.seed));
        page.line(format!("interval    {}", self.interval.grouped()));
        page.line(format!(
            "start       {}, by HMAC-SHA-256 with the seed as key, draw {}",
            self.start.grouped(),
            self.draws
        ));
        let of = self.fund.as_ref().map_or("of all funds".to_owned(), |fund| format!("of fund {fund}"));
        page.line(format!(
            "population  {}, {} together: each disbursement's payment that a bank booked and no reversal undid, {of}, in {}, in the order of the log",
            counted(*count, "payment"),
            total.grouped(),
            self.interval.currency()
        ));
        let books = if self.population.ties() {
            "the same as"
        } else {
            "which DIFFERS, so the population is not whole, from"
        };
        page.line(format!(
            "books       less {} that came back it is {books} what the budget says was paid less bank fees, {}",
            returned.grouped(),
            settled.grouped()
        ));
        page.line("not in it   bank fees, and what was paid out of custody to claimants and for costs");
        page.line(format!("selected    {} of {count}", self.selected.len()));
        if self.selected.is_empty() {
            page.line(
                "No payment was hit: the start lies beyond the population. Choose a smaller interval, and a new seed.",
            );
        }
        let columns = [
            ("no.", Align::Right),
            ("unit hit", Align::Right),
            ("hits", Align::Right),
            ("cumulative", Align::Right),
            ("amount", Align::Right),
            ("fund", Align::Left),
            ("disbursement", Align::Left),
        ];
        let mut table = Table::new("Selected payments", &columns);
        for Selected { cumulative, hits, number, payment, unit } in &self.selected {
            table.row([
                number.to_string(),
                unit.grouped(),
                hits.to_string(),
                cumulative.grouped(),
                payment.amount.grouped(),
                payment.fund.to_string(),
                payment.disbursement.to_string(),
            ]);
        }
        page.table(table);
        let columns = [
            ("no.", Align::Right),
            ("request", Align::Right),
            ("approvals", Align::Left),
            ("delivery", Align::Right),
            ("release", Align::Right),
            ("confirmation", Align::Left),
            ("entry", Align::Right),
            ("screening", Align::Right),
        ];
        let mut table = Table::new("Positions of their records", &columns);
        let optional =
            |position: Option<u64>| position.map_or(String::new(), |position| position.to_string());
        for Selected { number, payment, .. } in &self.selected {
            let records = &payment.records;
            table.row([
                number.to_string(),
                records.request.to_string(),
                shown_positions(&records.approvals),
                optional(records.delivery),
                records.release.to_string(),
                shown_positions(&records.confirmations),
                records.entry.to_string(),
                optional(records.screening),
            ]);
        }
        page.table(table);
        let mut table = Table::new(
            "Documents to ask for, by SHA-256",
            &[("no.", Align::Right), ("sha-256", Align::Left)],
        );
        for Selected { number, payment, .. } in &self.selected {
            payment.evidence.iter().for_each(|sha256| table.row([number.to_string(), sha256.to_string()]));
        }
        page.table(table);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::currency::Currency;
    use proptest::prelude::*;

    /// Five payments, added up by hand: 500.00 in all. From 0.30 on, every 1.00 hits a unit.
    const TABLE: &str = "
        amount  cumulative  unit  hits
        100     100         30    1
        50      150         130   1
        250     400         230   2
        10      410         -     -
        90      500         430   1
    ";

    #[test]
    fn a_population_that_was_added_up_by_hand() {
        let rows: Vec<Vec<&str>> = TABLE.lines().map(|line| line.split_whitespace().collect()).collect();
        let rows: Vec<&Vec<&str>> = rows.iter().filter(|row| !row.is_empty()).skip(1).collect();
        let number = |text: &str| text.parse::<u64>().unwrap();
        let (hits, total) = select(rows.iter().map(|row| number(row[0])), 100, 30);
        assert_eq!(total, 500);
        let mut hits = hits.iter();
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| row[2] != "-") {
            let hit = hits.next().unwrap();
            let shown = [hit.cumulative, hit.unit, hit.hits].map(|number| number.to_string());
            assert_eq!((hit.index, shown.each_ref().map(String::as_str)), (index, [row[1], row[2], row[3]]));
        }
        assert_eq!(hits.next(), None);
    }

    #[test]
    fn a_population_that_is_not_whole() {
        let sum = |minor| Sum::of_minor(minor, Currency::USD);
        let population = Population { count: 2, returned: sum(10), settled: sum(40), total: sum(50) };
        assert!(population.ties());
        assert!(!Population { total: sum(49), ..population.clone() }.ties());
        assert!(!Population { returned: sum(0), ..population }.ties());
    }

    #[test]
    fn edges() {
        let indexes = |amounts: &[u64], interval, start| -> Vec<usize> {
            select(amounts.iter().copied(), interval, start).0.iter().map(|hit| hit.index).collect()
        };
        // The first and the last unit of an amount are both its own.
        assert_eq!(indexes(&[10, 10, 10], 10, 1), [0, 1, 2]);
        assert_eq!(indexes(&[10, 10, 10], 10, 10), [0, 1, 2]);
        assert_eq!(indexes(&[10, 10, 10], 20, 20), [1]);
        assert_eq!(indexes(&[10, 10, 10], 20, 10), [0, 2]);
        assert_eq!(indexes(&[10], 100, 11), [0; 0]);
        assert_eq!(indexes(&[], 100, 1), [0; 0]);
        // The largest amounts there are, by the smallest interval: hits are counted, not walked.
        let (hits, total) = select([u64::MAX, u64::MAX].into_iter(), 1, 1);
        assert_eq!((hits.len(), hits[1].hits, total), (2, u64::MAX.into(), 2 * u128::from(u64::MAX)));
    }

    proptest! {
        #[test]
        fn every_unit_is_as_likely(amounts in prop::collection::vec(1u64..400, 0..12), interval in 1u64..150) {
            let total: u64 = amounts.iter().sum();
            let mut hits_of = vec![0u128; amounts.len()];
            let mut starts_of = vec![0u64; amounts.len()];
            for start in 1..=interval {
                let (hits, sum) = select(amounts.iter().copied(), interval, start);
                prop_assert_eq!(sum, u128::from(total));
                let count: u128 = hits.iter().map(|hit| hit.hits).sum();
                let expected = total.checked_sub(start).map_or(0, |beyond| beyond / interval + 1);
                prop_assert_eq!(count, u128::from(expected));
                for hit in &hits {
                    hits_of[hit.index] += hit.hits;
                    starts_of[hit.index] += 1;
                    prop_assert!(hit.unit <= hit.cumulative && hit.unit + u128::from(amounts[hit.index]) > hit.cumulative);
                }
                for (index, amount) in amounts.iter().enumerate().filter(|(_, amount)| **amount >= interval) {
                    prop_assert!(hits.iter().any(|hit| hit.index == index), "{amount} was left out");
                }
            }
            // Over all starts, each of which is as likely, an amount is hit once for each of its units.
            for ((amount, hits), starts) in amounts.iter().zip(hits_of).zip(starts_of) {
                prop_assert_eq!(u128::from(*amount), hits);
                prop_assert_eq!(*amount.min(&interval), starts);
            }
        }
    }

    fn digest(pair: &str) -> Digest {
        pair.repeat(32).parse().unwrap()
    }

    fn started(seed: &str, root: &str, interval: &str) -> Start {
        let (amount, currency) = interval.split_once(' ').unwrap();
        let interval = Money::parse(amount, currency.parse().unwrap()).unwrap();
        start(seed, &digest("aa"), &digest(root), interval)
    }

    /// Computed by Python's `hmac`, after the words of docs/spec/sample.md.
    const STARTS: [(&str, &str, u64, u64); 5] = [
        ("4 2 6 1 5", "1000.00 USD", 65_321, 1),
        ("4 2 6 1 5", "0.01 USD", 1, 1),
        ("4 2 6 1 5", "655.37 USD", 32_661, 3),
        ("an ü", "75000.00 EUR", 5_862_331, 2),
        ("4 2 6 1 5", "100 JPY", 19, 1),
    ];

    #[test]
    fn starts_that_another_program_computed() {
        for (seed, interval, unit, draws) in STARTS {
            assert_eq!(started(seed, "bb", interval), Start { unit, draws }, "{seed} {interval}");
        }
        assert_ne!(started("4 2 6 1 5", "bc", "1000.00 USD"), started("4 2 6 1 5", "bb", "1000.00 USD"));
        assert_ne!(started("4 2 6 1 6", "bb", "1000.00 USD"), started("4 2 6 1 5", "bb", "1000.00 USD"));
    }

    #[test]
    fn no_start_is_likelier_than_another() {
        let mut counts = [0u32; 5];
        for seed in 0..5000 {
            let interval = Money::from_minor(5, Currency::JPY).unwrap();
            let Start { unit, .. } = start(&seed.to_string(), &digest("aa"), &digest("bb"), interval);
            counts[usize::try_from(unit - 1).unwrap()] += 1;
        }
        // 1000 each, give or take four standard deviations of 28; the seeds are always the same.
        assert!(counts.iter().all(|count| (887..=1113).contains(count)), "{counts:?}");
    }
}
