//! What an auditor keeps of a verification that held, so that the next one checks only what came since.
//!
//! The file is her own: she believes it as she believes her own notes, so it carries no signature. What it is guarded
//! against is damage: its header names the SHA-256 of everything after it, and what it says must be one log's. It is
//! text, one canonical JSON document a line, and the same state always gives the same bytes:
//!
//! 1. the header: `{"digest","format","ledger","root","rules","size"}`;
//! 2. `{"log":{...}}`: the signed checkpoint, the tree's frontier, the last group's time, and what was counted;
//! 3. `{"entity":{"json","key"}}` for each entity of the state, in the order of [`Key`], as the store encodes it;
//! 4. `{"hold":{...}}` for each hold that is open and `{"resolved":"<id>"}` for each that was, by id;
//! 5. `{"reversed":"<entry id>"}` for each entry that was reversed.
//!
//! The rest follows from these: the balances of the second set of books are the state's, since the verification found
//! them equal; the keys that records carry are in the founding and in the proposals; what lapses and what expires next
//! is in the disbursements and the instructions.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufWriter, Write};
use std::sync::Arc;

use ledger::account::Account;
use ledger::books::{BalanceKey, Books, OpenHold};
use ledger::id::{CaseRef, EntryId, FundId, HoldId};
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::entity::{CaseState, CharterState, Entity, ObligationState};
use programme::{Key, RULES_VERSION, State};
use records::Kind;
use records::scalar::Integer;
use serde::{Deserialize, Serialize};
use signing::canonical;
use signing::digest::{Digest, Hasher};
use translog::tree::Frontier;

use crate::lines::{Lines, Next};
use crate::report::{Checked, Head, Signatures};
use crate::tally::Tally;

/// The most bytes of a line: no entity comes near.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// All that is needed to go on with a log that was verified up to a checkpoint.
#[derive(Debug)]
pub struct KeptState {
    pub(crate) ledger: Digest,
    /// The signed note that covers the log so far.
    pub(crate) note: String,
    pub(crate) frontier: Frontier,
    /// The last group's, or the founding's.
    pub(crate) time: Timestamp,
    /// What was counted so far, and nothing else.
    pub(crate) counted: Checked,
    pub(crate) state: State,
    pub(crate) tally: Tally,
}

/// Why a file is no kept state of this ledger.
#[derive(Debug, thiserror::Error)]
pub enum KeptStateError {
    /// It could not be read.
    #[error("the kept state could not be read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not a header of ours.
    #[error(
        "it is not a kept state that this program can read ({0}); verify a whole bundle, and keep its state"
    )]
    Format(String),
    /// It is of another ledger.
    #[error("the kept state is of ledger {0}")]
    OtherLedger(Digest),
    /// It is not what was written.
    #[error("the kept state is damaged{}: {reason}; verify a whole bundle, and keep its state", at(.line))]
    Damaged {
        /// The line at which that shows, from 1.
        line: Option<u64>,
        /// How it shows.
        reason: String,
    },
}

fn at(line: &Option<u64>) -> String {
    line.map_or(String::new(), |line| format!(" at line {line}"))
}

#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "safeconduct-state.v1")]
    V1,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The SHA-256 of all lines after this one.
    digest: Digest,
    format: Format,
    ledger: Digest,
    root: Digest,
    /// The version of the rules that made the state.
    rules: Integer,
    size: Integer,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    Log(Box<Log>),
    Entity { json: String, key: String },
    Hold { account: Account, fund: FundId, id: HoldId, money: Money },
    Resolved(HoldId),
    Reversed(EntryId),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    approvals: Integer,
    checkpoint: String,
    entries: Integer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_group_at: Option<Timestamp>,
    frontier: Vec<Digest>,
    groups: Integer,
    instructions: Integer,
    kinds: BTreeMap<String, Integer>,
    possessions: Integer,
    time: Timestamp,
}

impl KeptState {
    /// The end of the log that it is of.
    pub fn head(&self) -> Head {
        Head { root: self.frontier.root(), size: self.frontier.size() }
    }

    /// The signed checkpoint of the bundle that was read last; empty, where that had none.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Writes it.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let entities = self.sorted();
        // The digest stands before what it is of, so all is made twice rather than held in memory.
        let mut body = BufWriter::new(Hasher::default());
        self.write_body(&entities, &mut body)?;
        let Head { root, size } = self.head();
        let header = Header {
            digest: body.into_inner().map_err(io::IntoInnerError::into_error)?.finish(),
            format: Format::V1,
            ledger: self.ledger,
            root,
            rules: Integer(RULES_VERSION),
            size: Integer(size),
        };
        let mut out = BufWriter::with_capacity(1 << 20, out);
        write_line(&mut out, &header)?;
        self.write_body(&entities, &mut out)?;
        out.flush()
    }

    /// Reads the one of this ledger.
    pub fn read(file: impl BufRead, ledger: Digest) -> Result<KeptState, KeptStateError> {
        let mut lines = Lines::new(file);
        let header = read_header(&mut lines, ledger)?;
        let state = State::complete();
        let mut read =
            Reading { log: None, state, open: Vec::new(), resolved: Vec::new(), reversed: Vec::new() };
        let mut body = Hasher::default();
        loop {
            let line = match lines.next(LINE_BYTES_MAX)? {
                Next::End => break,
                Next::Line(line) => line,
                Next::Unterminated | Next::TooLong => {
                    return Err(damaged(lines.number(), "the line does not end"));
                }
            };
            body.write_all(&line)?;
            body.write_all(b"\n")?;
            read.take(&line).map_err(|reason| damaged(lines.number(), reason))?;
        }
        if body.finish() != header.digest {
            return Err(whole("its digest is not the one that its header names"));
        }
        read.finish(&header).map_err(whole)
    }

    /// The end of the log that the header of this ledger's names. Nothing else is looked at.
    pub fn read_head(file: impl BufRead, ledger: Digest) -> Result<Head, KeptStateError> {
        let Header { root, size, .. } = read_header(&mut Lines::new(file), ledger)?;
        Ok(Head { root, size: size.0 })
    }

    fn sorted(&self) -> Vec<(&Key, &Entity)> {
        let mut entities: Vec<(&Key, &Entity)> = self.state.entities().collect();
        entities.sort_unstable_by_key(|(key, _)| *key);
        entities
    }

    fn write_body(&self, entities: &[(&Key, &Entity)], out: &mut impl Write) -> io::Result<()> {
        let counted = &self.counted;
        let kinds = counted.records_by_kind.iter();
        let hashes = self.frontier.encode();
        let (_, hashes) = hashes.split_at(size_of::<u64>());
        let log = Log {
            approvals: Integer(counted.approvals),
            checkpoint: self.note.clone(),
            entries: Integer(counted.entries),
            first_group_at: counted.first_group_at,
            frontier: hashes.as_chunks().0.iter().copied().map(Digest::from_bytes).collect(),
            groups: Integer(counted.groups),
            instructions: Integer(counted.instructions),
            kinds: kinds.map(|(kind, count)| ((*kind).to_owned(), Integer(*count))).collect(),
            possessions: Integer(counted.signatures.possessions),
            time: self.time,
        };
        write_line(out, &Line::Log(Box::new(log)))?;
        for (key, entity) in entities {
            write_line(out, &Line::Entity { json: entity.to_json(), key: key.to_string() })?;
        }
        let books = self.tally.books();
        for (id, hold) in books.open_holds() {
            let (BalanceKey { account, fund, .. }, money) = (hold.key().clone(), hold.money());
            write_line(out, &Line::Hold { account, fund, id: id.clone(), money })?;
        }
        books.resolved().try_for_each(|id| write_line(out, &Line::Resolved(id.clone())))?;
        books.reversed().try_for_each(|id| write_line(out, &Line::Reversed(*id)))
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    out.write_all(&canonical::encode(line))?;
    out.write_all(b"\n")
}

fn damaged(line: u64, reason: impl Into<String>) -> KeptStateError {
    KeptStateError::Damaged { line: Some(line), reason: reason.into() }
}

fn whole(reason: impl Into<String>) -> KeptStateError {
    KeptStateError::Damaged { line: None, reason: reason.into() }
}

fn read_header<R: BufRead>(lines: &mut Lines<R>, ledger: Digest) -> Result<Header, KeptStateError> {
    let line = match lines.next(LINE_BYTES_MAX)? {
        Next::Line(line) => line,
        Next::End | Next::Unterminated | Next::TooLong => {
            return Err(KeptStateError::Format("its first line is not a header".to_owned()));
        }
    };
    let header = canonical::decode::<Header>(&line);
    let header = header.map_err(|error| KeptStateError::Format(format!("its first line: {error}")))?;
    if header.rules.0 != RULES_VERSION {
        return Err(KeptStateError::Format(format!("it was made by rules of version {}", header.rules)));
    }
    if header.ledger != ledger {
        return Err(KeptStateError::OtherLedger(header.ledger));
    }
    Ok(header)
}

/// What was read so far.
struct Reading {
    log: Option<Box<Log>>,
    state: State,
    open: Vec<(HoldId, OpenHold)>,
    resolved: Vec<HoldId>,
    reversed: Vec<EntryId>,
}

impl Reading {
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        match canonical::decode::<Line>(line).map_err(|error| error.to_string())? {
            Line::Log(log) => self.log = Some(log),
            Line::Entity { json, key } => {
                let key: Key = key.parse().map_err(|error| format!("{key}: {error}"))?;
                let entity = Entity::from_json(&key, &json).map_err(|error| format!("{key}: {error}"))?;
                // The lists in what was parsed have room to grow, which comes to a lot; those of a clone have none.
                let (key, entity) = self.shared(key, entity.clone());
                self.state.load(key, Some(entity));
            }
            Line::Hold { account, fund, id, money } => {
                self.open.push((id, OpenHold::new(account, fund, money)));
            }
            Line::Resolved(id) => self.resolved.push(id),
            Line::Reversed(id) => self.reversed.push(id),
        }
        Ok(())
    }

    /// What is said twice is kept once, as it was in the state that was written: a case stands before its obligations, and these
    /// before the disbursements that fulfil them.
    fn shared(&self, key: Key, mut entity: Entity) -> (Key, Entity) {
        let case = |case: &CaseRef| self.state.get::<CaseState>(&Key::Case(case.clone()));
        let key = match (key, &mut entity) {
            (Key::Obligation(of, benefit, occurrence), _) => {
                let of = case(&of).map_or(of, |known| known.opening.case.clone());
                Key::Obligation(of, benefit, occurrence)
            }
            (Key::Disbursement(id), Entity::Disbursement(known)) => {
                if let Some(case) = case(&known.opening.case).filter(|case| case.opening == known.opening) {
                    known.opening = Arc::clone(&case.opening);
                }
                let opening = &known.opening;
                let obligation =
                    Key::Obligation(opening.case.clone(), known.benefit.clone(), known.occurrence);
                let fulfils = self.state.get::<ObligationState>(&obligation);
                let fulfils = fulfils.filter(|fulfils| fulfils.disbursement == id);
                Key::Disbursement(fulfils.map_or(id, |fulfils| fulfils.disbursement.clone()))
            }
            (key, _) => key,
        };
        (key, entity)
    }

    fn finish(self, header: &Header) -> Result<KeptState, String> {
        let log = self.log.ok_or("nothing is said of the log")?;
        let hashes = log.frontier.iter().flat_map(|hash| *hash.as_bytes());
        let frontier: Vec<u8> = header.size.0.to_be_bytes().into_iter().chain(hashes).collect();
        let frontier = Frontier::decode(&frontier).map_err(|error| error.to_string())?;
        if frontier.root() != header.root {
            return Err("its tree has another root than its header names".to_owned());
        }
        let state = self.state;
        let charter = state.get::<CharterState>(&Key::Charter);
        let charter = charter.filter(|charter| charter.ledger == header.ledger);
        let charter = charter.ok_or("it does not have the ledger's founding")?;
        let covered = charter.read_note(&log.checkpoint).map_err(|error| error.to_string())?;
        if (covered.size, covered.root) != (header.size.0, header.root) {
            return Err("its checkpoint is not of the log's end".to_owned());
        }
        let balances = state.balances().map(|(key, balance)| (key.clone(), *balance));
        let tally = Tally::on(Books::brought_forward(balances, self.open, self.resolved, self.reversed));
        let counted = log.counted(header.size.0)?;
        let Log { checkpoint, time, .. } = *log;
        Ok(KeptState { ledger: header.ledger, note: checkpoint, frontier, time, counted, state, tally })
    }
}

impl Log {
    fn counted(&self, size: u64) -> Result<Checked, String> {
        let named = |(name, count): (&String, &Integer)| {
            let kind = Kind::ALL.iter().find(|kind| kind.name() == name);
            kind.map(|kind| (kind.name(), count.0)).ok_or(format!("there is no kind {name}"))
        };
        Ok(Checked {
            approvals: self.approvals.0,
            entries: self.entries.0,
            first_group_at: self.first_group_at,
            groups: self.groups.0,
            instructions: self.instructions.0,
            last_group_at: self.first_group_at.map(|_| self.time),
            records: size,
            records_by_kind: self.kinds.iter().map(named).collect::<Result<_, _>>()?,
            signatures: Signatures { checkpoints: 0, possessions: self.possessions.0, records: size },
            ..Checked::default()
        })
    }
}
