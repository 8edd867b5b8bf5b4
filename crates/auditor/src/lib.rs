//! Offline verification of a whole ledger, from a bundle and the ledger's id alone.
//!
//! [`verify`] reads a bundle (`docs/spec/bundle.md`) from front to back and believes nothing of it: it parses every
//! record, checks every signature with a key that an earlier record carries, hashes every leaf, replays every decision
//! with `programme`, and posts every entry a second time to independent books. What it checked, and the first thing
//! that is wrong, are the [`Report`].
//!
//! | module | what for |
//! |---|---|
//! | [`bundle`] | the lines of a bundle that are not records, for whoever writes one |
//! | `lines` | lines of bounded length from the file |
//! | `chunk` | parsing, hashing and signatures, on all cores |
//! | `audit` | the order of the checks, and everything that is sequential |
//! | `stop` | why a verification ends early, and where |
//! | `claims` | the balances that a bundle claims |
//! | `kept` | checkpoints from elsewhere, compared with the log |
//! | `kept_state` | what an auditor keeps of a verification, so that the next one checks only what came since |
//! | `keys` | spares that were activated, and keys that expire |
//! | `tally` | the second set of books, the proofs P1 to P4 and the table of funds |
//! | `report` | what comes out |
//! | `review` | what a stolen key signed |
//! | [`pack`] | a part of a bundle, for somebody who may not see the rest |
//! | [`observe`] | the seam through which what follows looks on while a bundle is replayed |
//! | `evidence` | the documents that records name, and which of them somebody has |
//! | `payments`, `sample` | a sample of payments by monetary units |
//! | `statements`, `exceptions`, `examine` | the report on a log: financial statements, and what somebody should explain |
//! | `page` | a page as text or HTML |
//!
//! What it is not: it has no network, clock or key. Whether there is a longer log, or another one that was shown to
//! somebody else, it can only tell where it is given a checkpoint that somebody kept: [`verify_against`].
//! [`NOT_CHECKED`] says so in every report.

mod audit;
mod chunk;
mod claims;
mod evidence;
mod examine;
mod exceptions;
mod kept;
mod kept_state;
mod keys;
mod lines;
pub mod observe;
pub mod pack;
mod page;
mod payments;
mod report;
mod review;
mod sample;
mod statements;
mod stop;
mod tally;

/// The lines of a bundle that are not records; `records::bundle` defines them.
pub mod bundle {
    pub use records::bundle::{BalanceLine, Format, Header, balance_line, header_line};
}

pub use audit::{Against, Audited};
pub use evidence::{Document, DocumentFile, DocumentName, Documents, SeenDocuments};
pub use examine::{Examination, examine};
pub use exceptions::{Exception, Exceptions, Hours, Looked, NoHours, Pair};
pub use kept::{CosignedBy, KeptHead, Standing};
pub use kept_state::{KeptState, KeptStateError};
pub use keys::{Activated, EXPIRING_WINDOW_S, Expiring};
pub use page::{Align, Page, Table};
pub use payments::{Payment, PaymentRecords};
pub use report::{
    AccountTotal, Checked, CheckedBalances, CheckedCheckpoint, Finding, FundReport, Head, NOT_CHECKED,
    NewKeys, ProofLine, Reopened, Report, Signatures, Verdict,
};
pub use review::{Compromise, LISTED_MAX, ToReview};
pub use sample::{Population, Sample, Sampling, Selected, sample};
pub use statements::{
    BankLine, BankStatement, Claimable, FundStatements, Period, Statement, StatementLine, Statements, Tie,
};

use std::io::BufRead;

use ledger::currency::Currency;
use ledger::id::FundId;
use observe::Observer;
use signing::digest::Digest;

/// Why nothing can be said about the bundle. Whatever is wrong with its content is a [`Verdict::Refuted`] instead.
#[derive(Debug, thiserror::Error)]
pub enum CouldNotRun {
    /// The file could not be read, or no thread could be started.
    #[error("the file could not be read: {0}")]
    Io(#[from] std::io::Error),
    /// A sample was asked for by an interval of nothing.
    #[error("the sampling interval must be above zero")]
    NoInterval,
    /// A sample was asked for of a fund that there is not.
    #[error("the ledger has no fund {0}; `safeconduct audit` lists its funds")]
    NoSuchFund(FundId),
    /// A sample was asked for of a fund in another currency than the interval's.
    #[error("fund {fund} is in {currency}; give the interval in that currency")]
    OtherCurrency {
        /// The fund.
        fund: FundId,
        /// Its currency.
        currency: Currency,
    },
    /// It is a part, and what it continues was not given.
    #[error(
        "this is a part of a bundle, from record {from} on; verify it on the state that was kept at size {from}, with \
         `safeconduct audit --state FILE`; a report, a sample or a pack takes a whole bundle"
    )]
    PartAlone {
        /// Where it begins.
        from: u64,
    },
    /// What was kept is of another ledger.
    #[error("the kept state is of ledger {0}")]
    OtherState(Digest),
}

/// Verifies a bundle of the ledger with this id.
pub fn verify(bundle: impl BufRead, ledger: Digest) -> Result<Report, CouldNotRun> {
    verify_against(bundle, ledger, &[])
}

/// The same, and how the log stands to checkpoints that somebody kept, each a signed note.
pub fn verify_against(bundle: impl BufRead, ledger: Digest, kept: &[String]) -> Result<Report, CouldNotRun> {
    Ok(audit(bundle, ledger, Against { kept, ..Against::default() })?.report)
}

/// The same, while an observer looks on.
pub fn verify_observed(
    bundle: impl BufRead,
    ledger: Digest,
    kept: &[String],
    observer: &mut dyn Observer,
) -> Result<Report, CouldNotRun> {
    Ok(audit(bundle, ledger, Against { kept, observer: Some(observer), ..Against::default() })?.report)
}

/// Verifies a bundle, or a part of one, against whatever an auditor has besides the ledger's id.
pub fn audit(bundle: impl BufRead, ledger: Digest, against: Against<'_>) -> Result<Audited, CouldNotRun> {
    audit::run(bundle, ledger, against, true)
}

/// Verifies what was exported of a log that was restored: nobody has signed its end, so its own checkpoint is not looked
/// at. Its end is the report's `head`.
pub fn verify_restored(
    bundle: impl BufRead,
    ledger: Digest,
    against: Against<'_>,
) -> Result<Report, CouldNotRun> {
    Ok(audit::run(bundle, ledger, against, false)?.report)
}
