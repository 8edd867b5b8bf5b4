//! Files that people bring: CSV with a header line, JSON, and documents of which only the digest is taken.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use client::tags;
use ledger::id::{AgencyRef, BenefitId, CaseRef, FundId, PrincipalId};
use ledger::money::Money;
use ledger::time::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use signing::digest::Digest;

use crate::amount;
use crate::error::{Error, Result};

/// A line of `cases.csv`. References that are not given are drawn at random.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRow {
    /// The agency that accompanies the case.
    pub agency: PrincipalId,
    /// When the person entered.
    pub entered: Date,
    /// The case's reference.
    #[serde(default)]
    pub case: Option<CaseRef>,
    /// The agency's reference.
    #[serde(default)]
    pub agency_ref: Option<AgencyRef>,
}

/// A line of `requests.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRow {
    /// To which case.
    pub case: CaseRef,
    /// Under which benefit.
    pub benefit: BenefitId,
    /// How much, with its currency.
    #[serde(deserialize_with = "money")]
    pub amount: Money,
    /// From which fund.
    pub fund: FundId,
}

/// A line of a screener's `tags.csv`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagRow {
    /// The case.
    pub case: CaseRef,
    /// The person's tag, which stays here.
    pub tag: String,
}

fn money<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Money, D::Error> {
    amount::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The lines of a CSV file. What is wrong is named by its line, never by its content.
pub fn csv_file<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    csv_rows(open(path)?).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

fn csv_rows<T: DeserializeOwned>(input: impl Read) -> std::result::Result<Vec<T>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let mut rows = Vec::new();
    for row in reader.deserialize() {
        rows.push(row.map_err(|error: csv::Error| words(&error))?);
    }
    if rows.is_empty() { Err("there is no line below the header".to_owned()) } else { Ok(rows) }
}

fn words(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { pos, err } => {
            let line = pos.as_ref().map_or(String::new(), |pos| format!("line {}: ", pos.line()));
            format!("{line}{}", err.kind())
        }
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(String::new(), |pos| format!("line {}: ", pos.line()));
            format!(
                "{line}{len} fields where the header has {expected_len}; put a field with a comma in quotes"
            )
        }
        _ => error.to_string(),
    }
}

/// What a JSON file holds.
pub fn json_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read(path)?;
    serde_json::from_slice(&text).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// The SHA-256 of a document.
pub fn sha256(path: &Path) -> Result<Digest> {
    Digest::of_reader(open(path)?).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// The bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// Writes a file that others may read.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// A fresh commitment to a person's tag, or to a random one where there is none.
pub fn screened(case: &CaseRef, tag: Option<&str>) -> Result<tags::Screened> {
    let salt = client::draw::salt()?;
    let random = client::draw::reference("")?;
    let person = tags::commit(&salt, tag.unwrap_or(&random));
    Ok(tags::Screened { case: case.clone(), person, salt })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<T: DeserializeOwned>(text: &str) -> std::result::Result<Vec<T>, String> {
        csv_rows(text.as_bytes())
    }

    #[test]
    fn cases_with_and_without_references() {
        let cases: Vec<CaseRow> = rows("agency,entered\nred-cross, 2026-03-01\nb,2026-03-02\n").unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!(
            (cases[0].agency.as_str(), cases[0].entered.to_string().as_str()),
            ("red-cross", "2026-03-01")
        );
        assert_eq!(cases[0].case, None);
        let cases: Vec<CaseRow> = rows("agency,entered,case,agency_ref\na,2026-03-01,c-1,\n").unwrap();
        assert_eq!(cases[0].case.as_ref().unwrap().as_str(), "c-1");
        assert_eq!(cases[0].agency_ref, None);
    }

    #[test]
    fn requests_with_grouped_amounts() {
        let text = "case,benefit,amount,fund\nc-1,bonus,\"USD 100,000.00\",f1\nc-2,bonus,USD 5.00,f1\n";
        let requests: Vec<RequestRow> = rows(text).unwrap();
        assert_eq!(requests[0].amount.grouped(), "USD 100,000.00");
        assert_eq!(requests[1].amount.grouped(), "USD 5.00");
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_not_by_content() {
        for (text, says) in [
            ("agency,entered\n", "no line"),
            ("agency,entered\na,2026-03-01\nSECRET,2026-03-01\n", "line 3"),
            ("agency,entered\na,2026-02-30\n", "line 2"),
            ("agency,entered,name\na,2026-03-01,SECRET\n", "unknown field `name`"),
            ("agency\na\n", "missing field `entered`"),
            ("agency,entered\na,2026-03-01,SECRET\n", "3 fields"),
        ] {
            let error = rows::<CaseRow>(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("SECRET"), "{text:?}: {error}");
        }
        let error = rows::<RequestRow>("case,benefit,amount,fund\nc-1,b,USD 1,f\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("2 decimals"), "{error}");
    }
}
