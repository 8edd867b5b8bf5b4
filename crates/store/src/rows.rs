//! What a group changes in the database, as columns: a pure function of its records and decisions.
//!
//! Where several records of a group change the same thing, only its last state is written. Balances are not here: the
//! trigger on `postings` keeps them.

use std::collections::BTreeMap;

use ledger::entry::Action;
use ledger::id::{CaseRef, DisbursementId, FundId};
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::entity::{CaseState, DisbursementState, Entity, FundState, ReportState, ReportStatus};
use programme::stage::Stage;
use programme::{Decision, Key, Lookup, State};
use records::assets::FundKind;
use records::cases::ScreeningOutcome;
use records::journal::JournalEntry;
use records::{Kind, Record};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, Signature};

use crate::log::signed;

/// The records of a group, or the founding record alone, and all that they change.
#[derive(Debug, Clone)]
pub struct Rows {
    next: u64,
    pub(crate) recorded_at: Timestamp,
    pub(crate) records: Records,
    pub(crate) postings: Postings,
    pub(crate) entities: BTreeMap<String, Option<String>>,
    pub(crate) instructions: BTreeMap<(String, String), Instruction>,
    pub(crate) tables: Tables,
    pub(crate) changes: Changes,
}

/// Whether a table has a row already that the group changes: where all are new, there is nothing to look for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pub entities: bool,
    pub instructions: bool,
    pub disbursements: bool,
}

/// The tables for queries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub funds: Vec<(FundId, FundState)>,
    pub cases: BTreeMap<CaseRef, CaseState>,
    pub disbursements: BTreeMap<DisbursementId, DisbursementState>,
    pub statement_lines: Vec<StatementLine>,
    pub reports: BTreeMap<Digest, Report>,
    /// Proposals that are made, and where they stand.
    pub proposals: Vec<(Digest, i64)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub kinds: Vec<i16>,
    pub keys: Vec<Vec<u8>>,
    pub payloads: Vec<Vec<u8>>,
    pub signatures: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Postings {
    pub entries: Vec<i64>,
    pub lines: Vec<i16>,
    pub actions: Vec<i8>,
    pub accounts: Vec<String>,
    pub funds: Vec<String>,
    pub currencies: Vec<String>,
    pub amounts: Vec<String>,
    pub holds: Vec<Option<String>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub digest: Digest,
    pub position: i64,
    pub not_after: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct StatementLine {
    pub position: i64,
    pub disbursement: DisbursementId,
    pub state: DisbursementState,
}

/// A report that this group begins has a position and a kind.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub begins: Option<(i64, &'static str)>,
    pub status: &'static str,
}

impl Rows {
    /// Nothing yet; the first record will stand at `first`.
    pub fn new(first: u64, recorded_at: Timestamp) -> Rows {
        Rows {
            next: first,
            recorded_at,
            records: Records::default(),
            postings: Postings::default(),
            entities: BTreeMap::new(),
            instructions: BTreeMap::new(),
            tables: Tables::default(),
            changes: Changes::default(),
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.kinds.len()
    }

    /// Whether there are no records yet.
    pub fn is_empty(&self) -> bool {
        self.records.kinds.is_empty()
    }

    /// The records' signatures, in order.
    pub fn signatures(&self) -> Vec<Vec<u8>> {
        self.records.signatures.clone()
    }

    /// The records, as they will stand in the log.
    pub fn envelopes(&self) -> Vec<Envelope> {
        let Records { kinds, keys, payloads, signatures } = &self.records;
        let columns = kinds.iter().zip(keys).zip(payloads.iter().zip(signatures));
        columns
            .filter_map(|((kind, key), (payload, signature))| {
                Some(Envelope {
                    payload_type: Kind::of_code(*kind)?.payload_type().to_owned(),
                    payload: payload.clone(),
                    key_id: KeyId(Digest::try_from(key.as_slice()).ok()?),
                    signature: Signature(signature.as_slice().try_into().ok()?),
                })
            })
            .collect()
    }

    /// Appends a record.
    pub fn record(&mut self, record: &Record) {
        let envelope = record.envelope();
        self.records.kinds.push(record.kind().code());
        self.records.keys.push(envelope.key_id.as_bytes().to_vec());
        self.records.payloads.push(envelope.payload.clone());
        self.records.signatures.push(envelope.signature.as_bytes().to_vec());
        self.next += 1;
    }

    /// Appends an entry: its record and its postings.
    pub fn entry(&mut self, record: &Record, entry: &JournalEntry) {
        let position = signed(self.next);
        self.record(record);
        let postings = &mut self.postings;
        for (number, line) in (0i16..).zip(&entry.lines) {
            postings.entries.push(position);
            postings.lines.push(number);
            postings.actions.push(action_code(&line.action));
            postings.accounts.push(line.account.to_string());
            postings.funds.push(line.fund.to_string());
            postings.currencies.push(line.money.currency().to_string());
            postings.amounts.push(line.money.amount().to_string());
            postings.holds.push(line.action.hold().map(|hold| hold.to_string()));
        }
    }

    /// Takes what the record that was appended last changes. `before` is the state that it was decided in.
    pub fn decision(&mut self, record: &Record, decision: &Decision, before: &State) {
        let position = signed(self.next.saturating_sub(1));
        for (key, entity) in decision.changes() {
            let is_known = !matches!(before.lookup(key), Lookup::Absent);
            match (key, entity) {
                // Balances follow the postings, and a head is the group's record itself.
                (Key::Balance(_) | Key::Head(_), _) => {}
                // It has its own table.
                (Key::Disbursement(id), _) => {
                    let is_first = !self.tables.disbursements.contains_key(id);
                    self.changes.disbursements |= is_first && is_known;
                }
                (Key::Instruction(signer, id), Some(Entity::Instruction(known))) => {
                    let known = Instruction {
                        digest: known.digest,
                        position: signed(known.position),
                        not_after: known.not_after.unix(),
                    };
                    let name = (signer.to_string(), id.to_string());
                    let is_first = self.instructions.insert(name, known).is_none();
                    self.changes.instructions |= is_first && is_known;
                }
                (key, entity) => {
                    let json = entity.as_ref().map(Entity::to_json);
                    let is_first = self.entities.insert(key.to_string(), json).is_none();
                    self.changes.entities |= is_first && is_known;
                }
            }
            self.tables.follow(record, position, (key, entity.as_ref()), before);
        }
    }
}

impl Tables {
    fn follow(&mut self, record: &Record, position: i64, change: (&Key, Option<&Entity>), before: &State) {
        match change {
            (Key::Fund(id), Some(Entity::Fund(fund))) => {
                self.funds.push((id.clone(), FundState::clone(fund)));
            }
            (Key::Case(case), Some(Entity::Case(state))) => {
                self.cases.insert(case.clone(), CaseState::clone(state));
            }
            (Key::Report(digest), Some(Entity::Report(state))) => {
                self.report(record, position, *digest, state);
            }
            (Key::Proposal(digest), Some(_)) if record.digest() == *digest => {
                self.proposals.push((*digest, position));
            }
            (key @ Key::Disbursement(id), Some(Entity::Disbursement(state))) => {
                let was = before.get::<DisbursementState>(key).map(|before| before.stage.name());
                if was != Some(state.stage.name()) {
                    let state = DisbursementState::clone(state);
                    let line = StatementLine { position, disbursement: id.clone(), state };
                    self.statement_lines.push(line);
                }
                self.disbursements.insert(id.clone(), DisbursementState::clone(state));
            }
            _ => {}
        }
    }

    fn report(&mut self, record: &Record, position: i64, digest: Digest, state: &ReportState) {
        let status = match state.status {
            ReportStatus::Waiting { .. } => "waiting",
            ReportStatus::Posted(_) => "posted",
            ReportStatus::Reversed => "reversed",
        };
        let begins = (record.digest() == digest).then(|| (position, record.kind().name()));
        self.reports.entry(digest).or_insert(Report { begins, status }).status = status;
    }
}

/// What a disbursement costs: what is owed once that is known, until then what was asked for.
pub(crate) fn amount(state: &DisbursementState) -> Money {
    match &state.stage {
        Stage::Due(owed) => owed.payable,
        Stage::Released(sent) | Stage::Paid(sent) => sent.owed.payable,
        Stage::Requested { .. } | Stage::Obligated { .. } | Stage::Ended(_) => state.amount,
    }
}

/// The letter of an action in the table `postings`.
fn action_code(action: &Action) -> i8 {
    let letter = match action {
        Action::Debit => b'd',
        Action::Credit => b'c',
        Action::Hold(_) => b'h',
        Action::PostHold(_) => b'p',
        Action::VoidHold(_) => b'v',
    };
    letter.cast_signed()
}

/// The word of a fund's kind in the table `funds`.
pub(crate) fn fund_kind(kind: FundKind) -> &'static str {
    match kind {
        FundKind::Fiduciary => "fiduciary",
        FundKind::Spendable => "spendable",
    }
}

/// The word of a screening's outcome in the table `cases`.
pub(crate) fn screening(outcome: Option<ScreeningOutcome>) -> &'static str {
    match outcome {
        None => "open",
        Some(ScreeningOutcome::Cleared) => "cleared",
        Some(ScreeningOutcome::Refused) => "refused",
    }
}
