//! The documents that records name by their SHA-256, and which of them an auditor has seen.
//!
//! A document stays with its holder; the log has its digest. Whoever has the documents hashes them and compares. That one
//! was not seen says nothing against the log: it says whom to ask.

use std::collections::{BTreeMap, BTreeSet};

use ledger::id::PrincipalId;
use records::scalar::Evidence;
use records::{Body, Payload};
use serde::Serialize;
use signing::digest::Digest;

use crate::observe::{Observer, Replayed};
use crate::page::{Align, Page, Table, counted};
use crate::report::{decimal, positions};

/// The document that an instruction names, where its kind names one.
pub(crate) fn evidence_of(body: &Body) -> Option<&Evidence> {
    match body {
        Body::AssetRegistration(body) => Some(&body.instrument),
        Body::Restraint(body) => Some(&body.instrument),
        Body::Custody(body) => Some(&body.evidence),
        Body::CustodyInterest(body) => Some(&body.evidence),
        Body::Forfeiture(body) => Some(&body.instrument),
        Body::ClaimPayment(body) => Some(&body.evidence),
        Body::WindfallIncome(body) => Some(&body.evidence),
        Body::BankFee(body) => Some(&body.evidence),
        Body::Screening(body) => Some(&body.evidence),
        Body::Delivery(body) => Some(&body.evidence),
        Body::BankConfirmation(body) => Some(&body.evidence),
        Body::BankRejection(body) => Some(&body.evidence),
        Body::BankReturn(body) => Some(&body.evidence),
        Body::Acceptance(_)
        | Body::Activation(_)
        | Body::Proposal(_)
        | Body::Concurrence(_)
        | Body::Veto(_) => None,
        Body::FundOpening(_) | Body::BankOpening(_) | Body::Countersignature(_) | Body::Reversal(_) => None,
        Body::Offer(_) | Body::CaseOpening(_) | Body::Request(_) | Body::Approval(_) => None,
        Body::Rejection(_) | Body::Cancellation(_) | Body::Release(_) => None,
    }
}

/// Gathers what records name.
#[derive(Debug, Default)]
pub struct Documents(BTreeMap<Digest, Named>);

#[derive(Debug, Default)]
struct Named {
    names: BTreeSet<(String, PrincipalId)>,
    positions: Vec<u64>,
}

impl Observer for Documents {
    fn record(&mut self, replayed: &Replayed<'_>) {
        let Payload::Instruction(_, body) = replayed.record.payload() else { return };
        if let Some(Evidence { holder, kind, sha256 }) = evidence_of(body) {
            let named = self.0.entry(*sha256).or_default();
            named.names.insert((kind.to_string(), holder.clone()));
            named.positions.push(replayed.position);
        }
    }
}

/// A file that the auditor has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DocumentFile {
    /// Its path, for people.
    pub file: String,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
}

/// What records say of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentName {
    /// Who keeps it.
    pub holder: PrincipalId,
    /// What it is.
    pub kind: String,
}

/// A document that records name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The files that are it; none where it was not seen.
    pub files: Vec<String>,
    /// What records say of it; more than one thing where they differ.
    pub named: Vec<DocumentName>,
    /// The positions of the records that name it.
    #[serde(serialize_with = "positions")]
    pub positions: Vec<u64>,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
}

/// How the documents that records name stand to files that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenDocuments {
    /// How many files were compared.
    #[serde(serialize_with = "decimal")]
    pub files: u64,
    /// Named, and not among the files. That is no refutation.
    pub not_seen: Vec<Document>,
    /// Named, and among the files.
    pub seen: Vec<Document>,
    /// Files that no record names.
    pub unnamed: Vec<DocumentFile>,
}

impl Documents {
    /// Compares what records name with files. It says something only where the bundle was verified.
    pub fn compare(self, files: &[DocumentFile]) -> SeenDocuments {
        let mut by_digest: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for DocumentFile { file, sha256 } in files {
            by_digest.entry(*sha256).or_default().push(file.clone());
        }
        let named = self.0.into_iter().map(|(sha256, Named { names, positions })| {
            let files = by_digest.remove(&sha256).unwrap_or_default();
            let named = names.into_iter().map(|(kind, holder)| DocumentName { holder, kind }).collect();
            Document { files, named, positions, sha256 }
        });
        let (mut not_seen, mut seen): (Vec<_>, Vec<_>) =
            named.partition(|document| document.files.is_empty());
        // In the order of the log.
        not_seen.sort_by(|one, other| one.positions.cmp(&other.positions));
        seen.sort_by(|one, other| one.positions.cmp(&other.positions));
        let mut unnamed: Vec<DocumentFile> = by_digest
            .into_iter()
            .flat_map(|(sha256, files)| files.into_iter().map(move |file| DocumentFile { file, sha256 }))
            .collect();
        unnamed.sort();
        SeenDocuments { files: files.len() as u64, not_seen, seen, unnamed }
    }
}

impl SeenDocuments {
    /// The comparison for people to read.
    pub fn page(&self) -> Page {
        let SeenDocuments { files, not_seen, seen, unnamed } = self;
        let mut page = Page::new("Documents");
        page.line(format!(
            "Records name {} by SHA-256: {} seen, {} NOT SEEN. No record names {} of {}.",
            counted((seen.len() + not_seen.len()) as u64, "document"),
            seen.len(),
            not_seen.len(),
            unnamed.len(),
            counted(*files, "file"),
        ));
        if !not_seen.is_empty() {
            page.line("That a document was not seen does not refute the log: ask its holder for it.");
        }
        let columns = [("sha-256", Align::Left), ("kind", Align::Left), ("holder", Align::Left)];
        let mut table =
            Table::new("Not seen", &[&columns[..], &[("records at positions", Align::Left)]].concat());
        not_seen
            .iter()
            .for_each(|document| table.row(document.cells().into_iter().chain([document.shown()])));
        page.table(table);
        let columns = [&[("file", Align::Left)][..], &columns, &[("records at positions", Align::Left)]];
        let mut table = Table::new("Seen", &columns.concat());
        for document in seen {
            let files = [document.files.join(", ")].into_iter();
            table.row(files.chain(document.cells()).chain([document.shown()]));
        }
        page.table(table);
        let mut table =
            Table::new("Files that no record names", &[("file", Align::Left), ("sha-256", Align::Left)]);
        unnamed.iter().for_each(|file| table.row([file.file.clone(), file.sha256.to_string()]));
        page.table(table);
        page
    }
}

impl Document {
    fn cells(&self) -> [String; 3] {
        let joined = |word: fn(&DocumentName) -> String| {
            let words: BTreeSet<String> = self.named.iter().map(word).collect();
            words.into_iter().collect::<Vec<_>>().join("; ")
        };
        [self.sha256.to_string(), joined(|name| name.kind.clone()), joined(|name| name.holder.to_string())]
    }

    fn shown(&self) -> String {
        shown_positions(&self.positions)
    }
}

/// How many positions are printed in one place; JSON has all.
const SHOWN_MAX: usize = 10;

/// Positions for people: the first ones, and how many there are besides.
pub(crate) fn shown_positions(positions: &[u64]) -> String {
    let shown: Vec<String> = positions.iter().take(SHOWN_MAX).map(u64::to_string).collect();
    match positions.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
