//! Packs of a ledger with several cases, funds and days: what they show, what they must not betray, and what is found in
//! one that was changed.

mod betrays;
mod forged;
mod shows;
mod tampered;
mod town;

use std::io::Cursor;
use std::sync::OnceLock;

use auditor::pack::{self, CutError, PackReport, RecordLine, Scope};
use auditor::{Finding, Verdict};
use records::Record;
use signing::canonical;
use signing::digest::Digest;

use crate::ledger::{Ledger, parse};

/// Every scope and every value that occurs in the town.
fn scopes() -> Vec<Scope> {
    let period = |from: &str, to: &str| Scope::Period { from: parse(from), to: parse(to) };
    let cases = ["aurora-5d1f", "borealis-77aa", "c-1"].map(|case| Scope::Case(parse(case)));
    let funds = ["f1", "f2", "h1", "h2"].map(|fund| Scope::Fund(parse(fund)));
    let assets = ["a1", "a2"].map(|asset| Scope::Asset(parse(asset)));
    let disbursements = town::DISBURSEMENTS.map(|disbursement| Scope::Disbursement(parse(disbursement)));
    let days = (1..=9).map(|day| period(&format!("2030-01-0{day}"), &format!("2030-01-0{day}")));
    let others = [period("2030-01-01", "2030-01-31"), period("2030-01-03", "2030-01-05"), Scope::NoCases {}];
    cases.into_iter().chain(funds).chain(assets).chain(disbursements).chain(days).chain(others).collect()
}

fn cut_of(bundle: &[u8], ledger: Digest, scope: &Scope, kept: &[String]) -> Result<Vec<u8>, CutError> {
    let mut out = Vec::new();
    let records = pack::cut(Cursor::new(bundle), ledger, scope, kept, &mut out)?;
    assert_eq!(records as usize + 1, out.iter().filter(|byte| **byte == b'\n').count());
    Ok(out)
}

/// The town's packs, each with its scope.
fn cuts() -> &'static [(Scope, Vec<u8>)] {
    static CUTS: OnceLock<Vec<(Scope, Vec<u8>)>> = OnceLock::new();
    CUTS.get_or_init(|| {
        let bundle = town::town().bundle().bytes();
        let cut = |scope: Scope| match cut_of(&bundle, town::town().id, &scope, &[]) {
            Ok(bytes) => Some((scope, bytes)),
            // A day on which nothing was recorded.
            Err(CutError::NothingConcerned(of)) if of == scope && matches!(of, Scope::Period { .. }) => None,
            Err(error) => panic!("{scope}: {error}"),
        };
        scopes().into_iter().filter_map(cut).collect()
    })
}

/// The pack of a scope of a ledger that holds.
#[track_caller]
fn cut(ledger: &Ledger, scope: &Scope) -> Vec<u8> {
    cut_of(&ledger.bundle().bytes(), ledger.id, scope, &[]).unwrap()
}

#[track_caller]
fn holds(bytes: &[u8], ledger: Digest) -> PackReport {
    let report = pack::verify(bytes, ledger, &[]).unwrap();
    assert!(report.holds(), "{report}");
    report
}

#[track_caller]
fn refuted(bytes: &[u8], ledger: Digest) -> Finding {
    match pack::verify(bytes, ledger, &[]).unwrap().verdict {
        Verdict::Refuted(finding) => finding,
        Verdict::Verified => panic!("it holds"),
    }
}

/// A pack taken apart.
#[derive(Clone)]
struct Lines {
    header: pack::Header,
    records: Vec<RecordLine>,
}

impl Lines {
    fn of(bytes: &[u8]) -> Lines {
        let mut lines =
            bytes.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap());
        let header = canonical::decode(lines.next().unwrap()).unwrap();
        Lines { header, records: lines.map(|line| canonical::decode(line).unwrap()).collect() }
    }

    /// The file, with a header that promises what is there.
    fn sealed(mut self) -> Vec<u8> {
        self.header.records.0 = self.records.len() as u64;
        self.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let header = canonical::encode(&self.header);
        let records = self.records.iter().map(canonical::encode);
        [header].into_iter().chain(records).flat_map(|line| [line, b"\n".to_vec()]).flatten().collect()
    }

    fn positions(&self) -> Vec<u64> {
        self.records.iter().map(|line| line.position.0).collect()
    }

    fn record(&self, index: usize) -> Record {
        Record::parse(self.records[index].envelope.clone()).unwrap()
    }
}
