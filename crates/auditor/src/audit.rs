//! The order of the checks, and everything that is done record by record.
//!
//! What is reported is the first thing that is wrong in the order of the file, except for what can only be told later:
//! the checkpoint's signature once the founding record has said whose it must be, and the claimed balances once replay
//! is where they were read.

use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;
use std::panic::resume_unwind;
use std::thread;

use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{CharterState, Entity, PolicyState, Reopening};
use programme::replay::Replay;
use records::bundle::Header;
use records::scalar::Integer;
use records::{Basis, Body, Payload, Verified};
use signing::canonical;
use signing::digest::Digest;
use translog::checkpoint::{Checkpoint, CheckpointError};
use translog::tree::Frontier;

use crate::CouldNotRun;
use crate::chunk::{Chunk, Item, Keys};
use crate::claims::{Claims, compare_claims, read_claims};
use crate::kept::{Kept, KeptHead};
use crate::kept_state::KeptState;
use crate::keys;
use crate::lines::{HEADER_BYTES_MAX, LINE_BYTES_MAX, Lines, Next};
use crate::observe::{Observer, Replayed};
use crate::report::{
    Checked, CheckedCheckpoint, Head, NOT_CHECKED, NewKeys, Reopened, Report, Signatures, Verdict,
};
use crate::review::Signed;
use crate::stop::{Place, Stop, code_of_checkpoint, expect_line, stop_of};
use crate::tally::{Tally, first_difference};

/// What a bundle is verified against, besides its ledger's id.
#[derive(Default)]
pub struct Against<'a> {
    /// Checkpoints that somebody kept elsewhere, each a signed note.
    pub kept: &'a [String],
    /// Sees each record that holds.
    pub observer: Option<&'a mut dyn Observer>,
    /// Is told, now and then, how many of the log's records are verified, and how many there are.
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
    /// Digests of records whose positions are wanted.
    pub sought: HashSet<Digest>,
    /// What was kept of an earlier verification. A part is verified on top of it; of a whole bundle, its checkpoint is
    /// one more that was kept.
    pub state: Option<KeptState>,
}

/// What a verification comes to.
pub struct Audited {
    /// What was found.
    pub report: Report,
    /// The positions of the sought records that the log has. Before a part, only those are known that might still have
    /// been sent again where it begins.
    pub found: BTreeMap<Digest, u64>,
    /// What to keep for the next one, where everything holds.
    pub state: Option<KeptState>,
}

/// Verifies a bundle. `is_signed` is whether its own checkpoint has to cover it; nobody has signed the end of a log that
/// was restored.
pub(crate) fn run(
    bundle: impl BufRead,
    ledger: Digest,
    against: Against<'_>,
    is_signed: bool,
) -> Result<Audited, CouldNotRun> {
    if let Some(state) = against.state.as_ref().filter(|state| state.ledger != ledger) {
        return Err(CouldNotRun::OtherState(state.ledger));
    }
    let mut found = Found::default();
    let (state, verdict) = match check_bundle(&mut Lines::new(bundle), ledger, against, is_signed, &mut found)
    {
        Ok(state) => (state, Verdict::Verified),
        Err(Stop::Wrong(finding)) => (None, Verdict::Refuted(finding)),
        Err(Stop::Alone { from }) => return Err(CouldNotRun::PartAlone { from }),
        Err(Stop::Io(error)) => return Err(CouldNotRun::Io(error)),
    };
    let Found { checked, judged, positions } = found;
    let report = Report { checked, ledger, kept: judged, not_checked: NOT_CHECKED, verdict };
    Ok(Audited { report, found: positions, state })
}

/// What was found until now.
#[derive(Default)]
struct Found {
    checked: Checked,
    judged: Vec<KeptHead>,
    positions: BTreeMap<Digest, u64>,
}

fn check_bundle<R: BufRead>(
    lines: &mut Lines<R>,
    ledger: Digest,
    against: Against<'_>,
    is_signed: bool,
    found: &mut Found,
) -> Result<Option<KeptState>, Stop> {
    let Against { kept, observer, progress, sought, state } = against;
    let header = read_header(lines, ledger)?;
    let mut notes = kept.to_vec();
    let base = match (header.from, state) {
        (None, state) => {
            notes.extend(state.map(|state| state.note));
            None
        }
        (Some(Integer(from)), None) => return Err(Stop::Alone { from }),
        (Some(_), Some(state)) => {
            check_part(&header, state.head().size)?;
            Some(state)
        }
    };
    let claims = read_claims(lines, header.balances.0)?;
    let mut audit = Audit {
        checkpoint: None,
        claims: Some(claims),
        found,
        frontier: Frontier::new(),
        header: &header,
        is_signed,
        kept: Kept::new(notes),
        observer,
        progress,
        replay: Replay::new(ledger),
        signed: Signed::default(),
        sought,
        tally: Tally::default(),
    };
    let keys = match base {
        None => Keys::default(),
        Some(state) => audit.go_on(state)?,
    };
    audit.take_records(lines, keys)?;
    audit.finish(lines)
}

fn read_header<R: BufRead>(lines: &mut Lines<R>, ledger: Digest) -> Result<Header, Stop> {
    let bytes = expect_line(lines, HEADER_BYTES_MAX, None, ("header_missing", "the file is empty"))?;
    let header = canonical::decode::<Header>(&bytes).map_err(|error| {
        Place::HEADER.wrong("header_malformed", format!("the header is not one of a bundle: {error}"))
    })?;
    if header.from == Some(Integer(0)) {
        let reason = "the header is not one of a bundle: from record 0 on it is whole, which is not said";
        return Err(Place::HEADER.wrong("header_malformed", reason));
    }
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

/// A part goes on where what was kept ends.
fn check_part(header: &Header, kept: u64) -> Result<(), Stop> {
    let (from, records, balances_at) = (header.first(), header.records.0, header.balances_at.0);
    if from != kept {
        let reason = format!("the part begins at record {from}, and the kept state ends at {kept}");
        return Err(Place::HEADER.wrong("part_elsewhere", reason));
    }
    if records < kept {
        let reason = format!(
            "the log has {records} records, and had {kept} when it was verified before: some are gone"
        );
        return Err(Place::HEADER.wrong("part_shorter", reason));
    }
    if balances_at < from {
        let reason = "the balances were read at a size before the part";
        return Err(Place::HEADER.wrong("balances_at_before", reason));
    }
    Ok(())
}

/// The fold over the records.
struct Audit<'a, 'p> {
    /// What the header's says, whoever signed it.
    checkpoint: Option<CheckedCheckpoint>,
    /// Until they are compared.
    claims: Option<Claims>,
    found: &'a mut Found,
    frontier: Frontier,
    header: &'a Header,
    is_signed: bool,
    kept: Kept,
    observer: Option<&'p mut dyn Observer>,
    progress: Option<&'p mut dyn FnMut(u64, u64)>,
    replay: Replay,
    signed: Signed,
    sought: HashSet<Digest>,
    tally: Tally,
}

impl Audit<'_, '_> {
    /// Takes up what an earlier verification ended with, and answers the keys that records carry up to there.
    fn go_on(&mut self, kept: KeptState) -> Result<Keys, Stop> {
        let head = kept.head();
        let KeptState { ledger, frontier, time, counted, state, tally, .. } = kept;
        self.found.checked = Checked { continued: Some(head), ..counted };
        for (_, entity) in state.entities() {
            if let Entity::Instruction(known) = entity
                && self.sought.contains(&known.digest)
            {
                self.found.positions.insert(known.digest, known.position);
            }
        }
        let keys = Keys::of(&state);
        self.frontier = frontier;
        self.tally = tally;
        self.replay = Replay::resume(ledger, state, head.size, time);
        self.check_checkpoint()?;
        Ok(keys)
    }

    /// While one chunk is checked on all cores, the rules are run over the one before.
    fn take_records<R: BufRead>(&mut self, lines: &mut Lines<R>, mut keys: Keys) -> Result<(), Stop> {
        let mut before = Vec::new();
        let mut read = self.replay.position();
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
            if let Some(progress) = &mut self.progress {
                progress(self.found.checked.records, self.header.records.0);
            }
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
        self.check_first_of_part(record, place)?;
        if position == self.header.balances_at.0 {
            let is_end = self.replay.is_settled() && matches!(record.payload(), Payload::Group(_));
            if !is_end {
                let reason =
                    format!("the balances were read at size {position}, which is not the end of a group");
                return Err(Place::HEADER.wrong("balances_at_within_group", reason));
            }
            compare_claims(&mut self.found.checked, self.claims.take(), self.replay.state(), position)?;
        }
        let frontier = &self.frontier;
        self.replay.push(record, || frontier.root()).map_err(|refuted| stop_of(refuted, Some(line)))?;
        self.frontier.append(item.leaf_hash);
        if !self.sought.is_empty() && self.sought.contains(&record.digest()) {
            self.found.positions.insert(record.digest(), position);
        }
        self.kept.pass(&self.frontier, self.replay.state(), self.replay.time());
        self.signed.take(position, record);
        self.count(record.payload(), record.kind().name(), item.possessions);
        match record.payload() {
            Payload::Founding(_) => self.check_checkpoint()?,
            Payload::JournalEntry(entry) => {
                self.tally.enter(entry, self.replay.state()).map_err(|wrong| place.of(wrong))?
            }
            _ => {}
        }
        if let (Some(at), Some(observer)) = (self.replay.time(), &mut self.observer) {
            observer.record(&Replayed { at, position, record, state: self.replay.state() });
        }
        Ok(())
    }

    /// The group with which a part begins, signed by the ledger for this place, names the kept root; else there are two logs,
    /// whatever else differs.
    fn check_first_of_part(&self, record: &Verified, place: Place) -> Result<(), Stop> {
        let continued = self.found.checked.continued.filter(|head| head.size == self.replay.position());
        let (Some(Head { root, size }), Payload::Group(group)) = (continued, record.payload()) else {
            return Ok(());
        };
        let is_of_here = (group.first.0, group.ledger) == (size, self.header.ledger);
        if is_of_here && group.root != root && self.replay.check_ledgers_key(record).is_ok() {
            return Err(place.wrong("part_root", other_root(group.root, root, size)));
        }
        Ok(())
    }

    fn count(&mut self, payload: &Payload, kind: &'static str, possessions: usize) {
        let checked = &mut self.found.checked;
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

    /// The founding record, which is the ledger's since its digest is the ledger's id, says whose checkpoint it must be, if it is
    /// under an origin that the log has so far. Its origin is that of the log's end.
    fn check_checkpoint(&mut self) -> Result<(), Stop> {
        let Some(charter) = self.replay.state().get::<CharterState>(&Key::Charter) else {
            return Err(Place::HEADER.wrong("checkpoint_malformed", "no record says whose it must be"));
        };
        self.kept.recall(self.replay.state(), self.replay.time());
        self.kept.pass(&self.frontier, self.replay.state(), self.replay.time());
        if !self.is_signed {
            return Ok(());
        }
        let text = &self.header.checkpoint;
        let read = Checkpoint::parse_unverified(text).and_then(|checkpoint| {
            let is_known = charter.checkpoint_key_of(&checkpoint.origin).is_some();
            Ok((if is_known { charter.read_note(text)? } else { checkpoint }, is_known))
        });
        let (checkpoint, is_verified) =
            read.map_err(|error| Place::HEADER.wrong(code_of_checkpoint(error), error.to_string()))?;
        if checkpoint.size != self.header.records.0 {
            let reason = format!(
                "the checkpoint covers {} records, and the bundle has {}",
                checkpoint.size, self.header.records
            );
            return Err(Place::HEADER.wrong("checkpoint_size", reason));
        }
        let Checkpoint { origin, root, size } = checkpoint;
        self.checkpoint = Some(CheckedCheckpoint { origin, root, size });
        if is_verified {
            self.found.checked.checkpoint = self.checkpoint.clone();
            self.found.checked.signatures.checkpoints = 1;
        }
        Ok(())
    }

    fn finish<R: BufRead>(self, lines: &mut Lines<R>) -> Result<Option<KeptState>, Stop> {
        let Audit {
            checkpoint,
            claims,
            found,
            frontier,
            header,
            is_signed,
            kept,
            observer,
            replay,
            signed,
            tally,
            ..
        } = self;
        let Found { checked, judged, .. } = found;
        let (ledger, time) = (header.ledger, replay.time());
        let state = replay.finish().map_err(|refuted| stop_of(refuted, None))?;
        let charter = state.get::<CharterState>(&Key::Charter);
        if is_signed {
            let known = checkpoint.as_ref();
            if known.map(|known| known.origin.as_str()) != charter.map(|charter| charter.origin().as_str()) {
                let reason = CheckpointError::Origin.to_string();
                return Err(Place::HEADER.wrong(code_of_checkpoint(CheckpointError::Origin), reason));
            }
            if let Some(charter) = charter.filter(|_| checked.signatures.checkpoints == 0) {
                let read = charter.read_note(&header.checkpoint);
                read.map_err(|error| Place::HEADER.wrong(code_of_checkpoint(error), error.to_string()))?;
                checked.checkpoint = checkpoint.clone();
                checked.signatures.checkpoints = 1;
            }
            if let Some(root) = known.map(|known| known.root).filter(|root| *root != frontier.root()) {
                let (real, size) = (frontier.root(), frontier.size());
                // A part without records.
                if checked.continued.is_some_and(|head| head.size == size) {
                    return Err(Place::HEADER.wrong("part_root", other_root(root, real, size)));
                }
                let reason = format!("the root of the records is {real}, and not the checkpoint's");
                return Err(Place::HEADER.wrong("checkpoint_root", reason));
            }
        } else {
            checked.head = Some(Head { root: frontier.root(), size: frontier.size() });
        }
        if let Some(charter) = charter {
            checked.reopened = charter.reopened.iter().map(reopened).collect();
            *judged = kept.judge(charter, frontier.size());
        }
        checked.activated = keys::activated(&state);
        checked.expiring = time.map_or(vec![], |now| keys::expiring(&state, now));
        checked.to_review = signed.to_review(&state, header.first());
        let policy = state.get::<PolicyState>(&Key::Policy).zip(time).map(|(policy, time)| policy.at(time));
        checked.witnessing = policy.and_then(|known| known.policy.witnessing.clone());
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
                if let Some(observer) = observer {
                    observer.end(&state);
                }
                let note = Some(&header.checkpoint).filter(|_| is_signed);
                let kept = |(note, time): (&String, Timestamp)| {
                    let (note, counted) = (note.clone(), counted(checked));
                    KeptState { ledger, note, frontier, time, counted, state, tally }
                };
                Ok(note.zip(time).map(kept))
            }
            Next::Line(_) | Next::Unterminated | Next::TooLong => {
                let reason = "something follows the last record";
                Err(Place::line(lines.number()).wrong("trailing_data", reason))
            }
        }
    }
}

/// What goes on being counted, without what is said of the log's end.
fn counted(checked: &Checked) -> Checked {
    Checked {
        activated: vec![],
        balances: None,
        checkpoint: None,
        continued: None,
        expiring: vec![],
        funds: vec![],
        head: None,
        reopened: vec![],
        signatures: Signatures { checkpoints: 0, ..checked.signatures.clone() },
        to_review: vec![],
        witnessing: None,
        ..checked.clone()
    }
}

fn other_root(named: Digest, real: Digest, size: u64) -> String {
    format!(
        "the part goes on from a log of {size} records with root {named}, and the kept state is of one with root \
         {real}: there are two logs"
    )
}

fn reopened(reopening: &Reopening) -> Reopened {
    let head = |basis: &Basis| Head { root: basis.root, size: basis.size.0 };
    Reopened {
        cited: head(&reopening.cited),
        continued: head(&reopening.continued),
        keys: reopening.keys.as_ref().map(|keys| NewKeys {
            checkpoint_key: keys.checkpoint_key.id(),
            record_key: keys.record_key.id(),
        }),
        origin: reopening.origin.to_string(),
        proposal: reopening.proposal,
    }
}
