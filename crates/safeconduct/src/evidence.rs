//! Evidence on the command line: the document stays with its holder, its digest is signed.

use std::path::PathBuf;

use clap::Args;
use client::Client;
use ledger::id::PrincipalId;
use records::scalar::{Evidence, Text};
use signing::digest::Digest;

use crate::error::Result;
use crate::input;

/// The flags of a document.
#[derive(Debug, Clone, Args)]
pub struct EvidenceArgs {
    /// The document, of which the SHA-256 is signed; the document itself goes nowhere
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "evidence_sha256",
        required_unless_present = "evidence_sha256"
    )]
    evidence_file: Option<PathBuf>,
    /// The document's SHA-256, instead of the file
    #[arg(long, value_name = "HEX")]
    evidence_sha256: Option<Digest>,
    /// What kind of document it is
    #[arg(long, value_name = "WORDS")]
    evidence_kind: Option<Text>,
    /// Who keeps the document; else the signer
    #[arg(long, value_name = "PRINCIPAL")]
    evidence_holder: Option<PrincipalId>,
}

impl EvidenceArgs {
    /// What is signed about the document.
    pub fn read(&self, client: &Client, default_kind: &str) -> Result<Evidence> {
        let sha256 = match (&self.evidence_file, self.evidence_sha256) {
            (Some(file), _) => input::sha256(file)?,
            (None, Some(digest)) => digest,
            (None, None) => return Err(crate::error::Error::new("name the document with --evidence-file")),
        };
        let kind = match &self.evidence_kind {
            Some(kind) => kind.clone(),
            None => default_kind.parse()?,
        };
        let holder = self.evidence_holder.clone().unwrap_or_else(|| client.identity().principal.clone());
        Ok(Evidence { holder, kind, sha256 })
    }
}
