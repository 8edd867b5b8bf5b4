//! The order of the checks, and everything that is done record by record.
//!
//! What is reported is the first thing that is wrong in the order of the file, except for what can only be told later:
//! the checkpoint's signature once the founding record has said whose it must be, and the claimed balances once replay
//! is where they were read.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::panic::resume_unwind;
use std::thread;

use ledger::books::{Balance, BalanceKey};
use ledger::time::Timestamp;
use programme::entity::{CharterState, Reopening};
use programme::replay::{Reason, Refuted, Replay};
use programme::{Key, State};
use records::bundle::{BalanceLine, Header};
use records::{Basis, Body, Payload};
use signing::canonical;
use signing::digest::Digest;
use translog::checkpoint::{Checkpoint, CheckpointError};
use translog::tree::Frontier;

use crate::CouldNotRun;
use crate::chunk::{Chunk, Item, Keys, Wrong};
use crate::kept::{Kept, KeptHead};
use crate::lines::{HEADER_BYTES_MAX, LINE_BYTES_MAX, Lines, Next};
use crate::observe::{Observer, Replayed};
use crate::report::{
    Checked, CheckedBalances, CheckedCheckpoint, Finding, Head, NOT_CHECKED, Reopened, Report, Verdict,
};
use crate::tally::{Tally, first_difference};

/// What a bundle is verified against.
pub(crate) struct Against {
    /// Checkpoints that were kept elsewhere.
    pub kept: Kept,
    /// Whether its own checkpoint has to cover it; nobody has signed the end of a log that was restored.
    pub is_signed: bool,
}

/// Verifies a bundle, and shows each record that holds to an observer.
pub(crate) fn run(
    bundle: impl BufRead,
    ledger: Digest,
    against: Against,
    observer: &mut dyn Observer,
) -> Result<Report, CouldNotRun> {
    let (mut checked, mut kept) = (Checked::default(), Vec::new());
    let mut lines = Lines::new(bundle);
    let verdict = match check_bundle(&mut lines, ledger, against, &mut checked, &mut kept, observer) {
        Ok(()) => Verdict::Verified,
        Err(Stop::Wrong(finding)) => Verdict::Refuted(finding),
        Err(Stop::Io(error)) => return Err(CouldNotRun::Io(error)),
    };
    Ok(Report { checked, ledger, kept, not_checked: NOT_CHECKED, verdict })
}

/// Why a verification ends early.
enum Stop {
    Wrong(Finding),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// Where something is wrong.
#[derive(Clone, Copy, Default)]
struct Place {
    position: Option<u64>,
    line: Option<u64>,
}

impl Place {
    const HEADER: Place = Place { position: None, line: Some(1) };

    fn line(line: u64) -> Place {
        Place { position: None, line: Some(line) }
    }

    fn wrong(self, code: &str, reason: impl Into<String>) -> Stop {
        let Place { position, line } = self;
        Stop::Wrong(Finding { code: code.to_owned(), line, position, reason: reason.into() })
    }

    fn of(self, wrong: Wrong) -> Stop {
        self.wrong(wrong.code, wrong.reason)
    }
}

fn check_bundle<R: BufRead>(
    lines: &mut Lines<R>,
    ledger: Digest,
    against: Against,
    checked: &mut Checked,
    judged: &mut Vec<KeptHead>,
    observer: &mut dyn Observer,
) -> Result<(), Stop> {
    let header = read_header(lines, ledger)?;
    let claims = read_claims(lines, header.balances.0)?;
    let mut audit = Audit {
        checked,
        claims: Some(claims),
        frontier: Frontier::new(),
        header: &header,
        is_signed: against.is_signed,
        kept: against.kept,
        observer,
        replay: Replay::new(ledger),
        tally: Tally::default(),
    };
    audit.take_records(lines)?;
    audit.finish(lines, judged)
}

/// A line that must be there.
fn expect_line<R: BufRead>(
    lines: &mut Lines<R>,
    bytes_max: u64,
    position: Option<u64>,
    missing: (&str, &str),
) -> Result<Vec<u8>, Stop> {
    let next = lines.next(bytes_max)?;
    let place = Place { position, line: Some(lines.number()) };
    match next {
        Next::Line(bytes) => Ok(bytes),
        Next::Unterminated => Err(place.wrong("line_unterminated", "the file ends within a line")),
        Next::TooLong => {
            Err(place.wrong("line_too_long", format!("the line is longer than {bytes_max} bytes")))
        }
        Next::End => Err(Place { position, line: None }.wrong(missing.0, missing.1)),
    }
}

fn read_header<R: BufRead>(lines: &mut Lines<R>, ledger: Digest) -> Result<Header, Stop> {
    let bytes = expect_line(lines, HEADER_BYTES_MAX, None, ("header_missing", "the file is empty"))?;
    let header = canonical::decode::<Header>(&bytes).map_err(|error| {
        Place::HEADER.wrong("header_malformed", format!("the header is not one of a bundle: {error}"))
    })?;
    if header.ledger != ledger {
        let reason = format!("the bundle is of ledger {}", header.ledger);
        return Err(Place::HEADER.wrong("other_ledger", reason));
    }
    if header.balances_at > header.records {
        let reason = "the balances were read at a size beyond the records";
        return Err(Place::HEADER.wrong("balances_at_beyond", reason));
    }
    Ok(header)
}

/// A balance that the bundle claims, and the line where it does.
struct Claim {
    line: u64,
    balance: Balance,
}

type Claims = HashMap<BalanceKey, Claim>;

fn read_claims<R: BufRead>(lines: &mut Lines<R>, count: u64) -> Result<Claims, Stop> {
    let mut claims = Claims::new();
    let mut last: Option<BalanceLine> = None;
    for _ in 0..count {
        let missing = ("balances_missing", "the file ends before the last balance");
        let bytes = expect_line(lines, LINE_BYTES_MAX, None, missing)?;
        let line = lines.number();
        let claimed = canonical::decode::<BalanceLine>(&bytes).map_err(|error| {
            Place::line(line).wrong("balance_malformed", format!("the line is not a balance: {error}"))
        })?;
        if last.as_ref().is_some_and(|last| last.in_order(&claimed).is_ge()) {
            let reason = "the balances are not sorted by fund, account and currency, each once";
            return Err(Place::line(line).wrong("balance_order", reason));
        }
        claims.insert(claimed.key.clone(), Claim { line, balance: claimed.balance });
        last = Some(claimed);
    }
    Ok(claims)
}

/// The fold over the records.
struct Audit<'a> {
    checked: &'a mut Checked,
    /// Until they are compared.
    claims: Option<Claims>,
    frontier: Frontier,
    header: &'a Header,
    is_signed: bool,
    kept: Kept,
    observer: &'a mut dyn Observer,
    replay: Replay,
    tally: Tally,
}

impl Audit<'_> {
    /// While one chunk is checked on all cores, the rules are run over the one before.
    fn take_records<R: BufRead>(&mut self, lines: &mut Lines<R>) -> Result<(), Stop> {
        let (mut keys, mut before) = (Keys::default(), Vec::new());
        let mut read = 0;
        loop {
            let (chunk, cut) = self.read_chunk(lines, &mut read);
            let is_last = chunk.is_empty();
            thread::scope(|scope| {
                let keys = &mut keys;
                let checking = thread::Builder::new().spawn_scoped(scope, move || chunk.check(keys))?;
                before.drain(..).try_for_each(|item| self.take(item))?;
                let checked = checking.join().unwrap_or_else(|panic| resume_unwind(panic));
                before = checked?;
                Ok::<(), Stop>(())
            })?;
            if let Some(stop) = cut {
                before.drain(..).try_for_each(|item| self.take(item))?;
                return Err(stop);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// The next records, none after the last, and what ended the reading early: what was read before is judged first.
    fn read_chunk<R: BufRead>(&self, lines: &mut Lines<R>, read: &mut u64) -> (Chunk, Option<Stop>) {
        let mut chunk = Chunk::default();
        while *read < self.header.records.0 && !chunk.is_full() {
            let missing = ("records_missing", "the file ends before the last record");
            match expect_line(lines, LINE_BYTES_MAX, Some(*read), missing) {
                Ok(bytes) => {
                    chunk.push(lines.number(), bytes);
                    *read += 1;
                }
                Err(stop) => return (chunk, Some(stop)),
            }
        }
        (chunk, None)
    }

    fn take(&mut self, item: Item) -> Result<(), Stop> {
        let position = self.replay.position();
        let line = item.line;
        let place = Place { position: Some(position), line: Some(line) };
        let item = item.outcome().map_err(|wrong| place.of(wrong))?;
        let record = &*item.record;
        if position == self.header.balances_at.0 {
            let is_end = self.replay.is_settled() && matches!(record.payload(), Payload::Group(_));
            if !is_end {
                let reason =
                    format!("the balances were read at size {position}, which is not the end of a group");
                return Err(Place::HEADER.wrong("balances_at_within_group", reason));
            }
            compare_claims(self.checked, self.claims.take(), self.replay.state(), position)?;
        }
        let frontier = &self.frontier;
        self.replay.push(record, || frontier.root()).map_err(|refuted| stop_of(refuted, Some(line)))?;
        self.frontier.append(item.leaf_hash);
        self.kept.pass(&self.frontier);
        self.count(record.payload(), record.kind().name(), item.possessions);
        match record.payload() {
            Payload::Founding(_) => self.check_checkpoint()?,
            Payload::JournalEntry(entry) => {
                self.tally.enter(entry, self.replay.state()).map_err(|wrong| place.of(wrong))?
            }
            _ => {}
        }
        if let Some(at) = self.replay.time() {
            self.observer.record(&Replayed { at, position, record, state: self.replay.state() });
        }
        Ok(())
    }

    fn count(&mut self, payload: &Payload, kind: &'static str, possessions: usize) {
        let checked = &mut *self.checked;
        checked.records += 1;
        *checked.records_by_kind.entry(kind).or_default() += 1;
        checked.signatures.records += 1;
        checked.signatures.possessions += possessions as u64;
        match payload {
            Payload::Group(group) => {
                checked.groups += 1;
                let time: Timestamp = group.recorded_at;
                checked.first_group_at.get_or_insert(time);
                checked.last_group_at = Some(time);
            }
            Payload::Instruction(_, body) => {
                checked.instructions += 1;
                checked.approvals += u64::from(matches!(**body, Body::Approval(_)));
            }
            Payload::JournalEntry(_) => checked.entries += 1,
            Payload::Founding(_) | Payload::Lapse(_) | Payload::Pad(_) => {}
        }
    }

    /// The founding record, which is the ledger's since its digest is the ledger's id, says whose checkpoint it must be.
    /// Its origin is that of the log's end.
    fn check_checkpoint(&mut self) -> Result<(), Stop> {
        let Some(CharterState { charter, .. }) = self.replay.state().get(&Key::Charter) else {
            return Err(Place::HEADER.wrong("checkpoint_malformed", "no record says whose it must be"));
        };
        self.kept.open(&charter.checkpoint_key);
        self.kept.pass(&self.frontier);
        if !self.is_signed {
            return Ok(());
        }
        let text = &self.header.checkpoint;
        let checkpoint = Checkpoint::parse_and_verify_any(text, &charter.checkpoint_key)
            .map_err(|error| Place::HEADER.wrong(code_of_checkpoint(error), error.to_string()))?;
        if checkpoint.size != self.header.records.0 {
            let reason = format!(
                "the checkpoint covers {} records, and the bundle has {}",
                checkpoint.size, self.header.records
            );
            return Err(Place::HEADER.wrong("checkpoint_size", reason));
        }
        let Checkpoint { origin, root, size } = checkpoint;
        self.checked.checkpoint = Some(CheckedCheckpoint { origin, root, size });
        self.checked.signatures.checkpoints += 1;
        Ok(())
    }

    fn finish<R: BufRead>(self, lines: &mut Lines<R>, judged: &mut Vec<KeptHead>) -> Result<(), Stop> {
        let Audit { checked, claims, frontier, header, is_signed, kept, observer, replay, tally } = self;
        let state = replay.finish().map_err(|refuted| stop_of(refuted, None))?;
        let charter = state.get::<CharterState>(&Key::Charter);
        if is_signed {
            let known = checked.checkpoint.as_ref();
            if known.map(|known| known.origin.as_str()) != charter.map(|charter| charter.origin().as_str()) {
                let reason = CheckpointError::Origin.to_string();
                return Err(Place::HEADER.wrong(code_of_checkpoint(CheckpointError::Origin), reason));
            }
            if known.map(|known| known.root) != Some(frontier.root()) {
                let reason =
                    format!("the root of the records is {}, and not the checkpoint's", frontier.root());
                return Err(Place::HEADER.wrong("checkpoint_root", reason));
            }
        } else {
            checked.head = Some(Head { root: frontier.root(), size: frontier.size() });
        }
        if let Some(charter) = charter {
            checked.reopened = charter.reopened.iter().map(reopened).collect();
            *judged = kept.judge(charter, frontier.size());
        }
        if claims.is_some() {
            compare_claims(checked, claims, &state, header.records.0)?;
        }
        let at_end = Place::default();
        tally.compare(&state).map_err(|wrong| at_end.of(wrong))?;
        checked.funds = tally.funds(&state).map_err(|wrong| at_end.of(wrong))?;
        if let Some(wrong) = first_difference(&checked.funds) {
            return Err(at_end.of(wrong));
        }
        match lines.next(LINE_BYTES_MAX)? {
            Next::End => {
                observer.end(&state);
                Ok(())
            }
            Next::Line(_) | Next::Unterminated | Next::TooLong => {
                let reason = "something follows the last record";
                Err(Place::line(lines.number()).wrong("trailing_data", reason))
            }
        }
    }
}

fn reopened(reopening: &Reopening) -> Reopened {
    let head = |basis: &Basis| Head { root: basis.root, size: basis.size.0 };
    Reopened {
        cited: head(&reopening.cited),
        continued: head(&reopening.continued),
        origin: reopening.origin.to_string(),
        proposal: reopening.proposal,
    }
}

/// Compares the claimed balances with the state's, both ways.
fn compare_claims(checked: &mut Checked, claims: Option<Claims>, state: &State, at: u64) -> Result<(), Stop> {
    let mut claims = claims.unwrap_or_default();
    let claimed = claims.len() as u64;
    let mut unclaimed: Option<(&BalanceKey, &Balance)> = None;
    let mut differing: Vec<(u64, BalanceKey, Balance, Balance)> = Vec::new();
    for (key, real) in state.balances() {
        match claims.remove(key) {
            Some(claim) if claim.balance == *real => {}
            Some(claim) => differing.push((claim.line, key.clone(), claim.balance, *real)),
            None if *real == Balance::zero(key.currency) => {}
            // The state has no order; the same one is to be reported every time.
            None if unclaimed.is_none_or(|(first, _)| key < first) => unclaimed = Some((key, real)),
            None => {}
        }
    }
    for (key, claim) in claims {
        let zero = Balance::zero(key.currency);
        if claim.balance != zero {
            differing.push((claim.line, key, claim.balance, zero));
        }
    }
    if let Some((line, key, claim, real)) = differing.into_iter().min_by_key(|(line, ..)| *line) {
        let reason = format!(
            "{} of fund {} has {} ({} held) at size {at}, and the bundle claims {} ({} held)",
            key.account,
            key.fund,
            real.amount.grouped(),
            real.held.grouped(),
            claim.amount.grouped(),
            claim.held.grouped()
        );
        return Err(Place::line(line).wrong("balance_differs", reason));
    }
    if let Some((key, real)) = unclaimed {
        let reason = format!(
            "{} of fund {} has {} ({} held) at size {at}, and the bundle does not claim it",
            key.account,
            key.fund,
            real.amount.grouped(),
            real.held.grouped()
        );
        return Err(Place::HEADER.wrong("balance_missing", reason));
    }
    checked.balances = Some(CheckedBalances { at, claimed });
    Ok(())
}

fn stop_of(refuted: Refuted, line: Option<u64>) -> Stop {
    let Refuted { position, reason } = refuted;
    let code = match &reason {
        Reason::Refused(refusal) => refusal.code.as_str(),
        reason => reason.code(),
    };
    Place { position: Some(position), line }.wrong(code, reason.to_string())
}

fn code_of_checkpoint(error: CheckpointError) -> &'static str {
    match error {
        CheckpointError::TooLarge | CheckpointError::Note(_) | CheckpointError::Body(_) => {
            "checkpoint_malformed"
        }
        CheckpointError::Origin => "checkpoint_origin",
        CheckpointError::Unsigned => "checkpoint_unsigned",
        CheckpointError::BadSignature => "checkpoint_signature",
    }
}
