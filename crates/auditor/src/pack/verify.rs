//! Verifying a pack: the order of the checks. `docs/spec/pack.md` lists what is wrong by code.
//!
//! The governance records of a pack are enough to run the rules over them, so keys, roles and policy are what they were
//! where a record stands. Of every other record the rules are asked too, and what they say of the frame and the role counts;
//! what they would have to know the whole log for does not.

use std::collections::BTreeMap;
use std::io::BufRead;

use ledger::time::Timestamp;
use programme::entity::{CharterState, PrincipalState};
use programme::reopening::Rekeying;
use programme::replay::Reason;
use programme::{At, Code, Halt, Key, RULES_VERSION, State, apply, begin_group, decide};
use records::governance::Role;
use records::journal::Group;
use records::scalar::Integer;
use records::{Payload, Record, Verified};
use signing::canonical;
use signing::digest::Digest;
use translog::checkpoint::Checkpoint;
use translog::proof::{verify_consistency, verify_inclusion};

use super::extent::{Extent, Part, may_stand, part};
use super::format::{EARLIER_MAX, HEADER_BYTES_MAX, Header, RECORD_BYTES_MAX, RecordLine};
use super::heads;
use super::report::{NOT_SHOWN, PackReport, Seen, Shown};
use super::web::{Web, wrong};
use crate::CouldNotRun;
use crate::chunk::{Chunk, Item, Keys, Wrong};
use crate::lines::{Lines, Next};
use crate::report::{CheckedCheckpoint, Verdict};
use crate::stop::{Place, Stop, code_of_checkpoint, expect_line};

/// Verifies a pack of the ledger with this id, and compares it with checkpoints that somebody kept, each a signed note.
pub fn verify(pack: impl BufRead, ledger: Digest, kept: &[String]) -> Result<PackReport, CouldNotRun> {
    let mut report = PackReport {
        kept: vec![],
        ledger,
        not_shown: NOT_SHOWN,
        scope: None,
        shown: Shown::default(),
        verdict: Verdict::Verified,
    };
    match check(&mut Lines::new(pack), kept, &mut report) {
        Ok(()) => Ok(report),
        Err(Stop::Wrong(finding)) => Ok(PackReport { verdict: Verdict::Refuted(finding), ..report }),
        Err(Stop::Alone { from }) => Err(CouldNotRun::PartAlone { from }),
        Err(Stop::Io(error)) => Err(CouldNotRun::Io(error)),
    }
}

fn check<R: BufRead>(lines: &mut Lines<R>, kept: &[String], report: &mut PackReport) -> Result<(), Stop> {
    let header = read_header(lines, report.ledger)?;
    report.scope = Some(header.scope.clone());
    let mut check = Check {
        checkpoint: None,
        extent: Extent::new(&header.scope),
        header: &header,
        last: None,
        ledger: report.ledger,
        now: None,
        rekeying: None,
        seen: Seen::default(),
        shown: &mut report.shown,
        state: State::complete(),
        web: Web::new(&header.scope),
    };
    check.take_records(lines)?;
    let Check { checkpoint, rekeying, seen, state, web, .. } = check;
    if rekeying.is_some() {
        return Err(Place::default().of(rekey_incomplete()));
    }
    if let Some(place) = web.first_uncited() {
        return Err(
            place.wrong("out_of_scope", "it is not in the pack's scope, and no record of the pack cites it")
        );
    }
    // There is at least one record, the founding: a header that promises none is refused there.
    if let (Some(checkpoint), Some(charter)) = (checkpoint, state.get::<CharterState>(&Key::Charter)) {
        if charter.origin().as_str() != checkpoint.origin {
            let reason =
                "the checkpoint is under another origin than the log ends with, as far as the pack says";
            return Err(Place::HEADER.wrong("checkpoint_origin", reason));
        }
        // By the key of the end, which the first record need not know.
        charter
            .read_note(&header.checkpoint)
            .map_err(|error| Place::HEADER.wrong(code_of_checkpoint(error), error.to_string()))?;
        let judged = kept.iter().map(|note| heads::judge(note, charter, &checkpoint, &header.earlier));
        report.kept = judged.collect();
    }
    match lines.next(RECORD_BYTES_MAX)? {
        Next::End => {}
        Next::Line(_) | Next::Unterminated | Next::TooLong => {
            return Err(
                Place::line(lines.number()).wrong("trailing_data", "something follows the last record")
            );
        }
    }
    seen.show(web.into_threads(), &mut report.shown);
    Ok(())
}

fn read_header<R: BufRead>(lines: &mut Lines<R>, ledger: Digest) -> Result<Header, Stop> {
    let bytes = expect_line(lines, HEADER_BYTES_MAX, None, ("header_missing", "the file is empty"))?;
    let header = canonical::decode::<Header>(&bytes).map_err(|error| {
        Place::HEADER.wrong("header_malformed", format!("the header is not one of a pack: {error}"))
    })?;
    if header.ledger != ledger {
        return Err(Place::HEADER.wrong("other_ledger", format!("the pack is of ledger {}", header.ledger)));
    }
    if header.records.0 == 0 {
        return Err(Place::HEADER.wrong("founding_missing", "a pack has the founding record at least"));
    }
    let rises =
        header.earlier.iter().zip(header.earlier.iter().skip(1)).all(|(one, next)| one.size < next.size);
    if header.earlier.len() > EARLIER_MAX || !rises {
        let reason = format!("the earlier heads are not at most {EARLIER_MAX}, by rising size, each once");
        return Err(Place::HEADER.wrong("header_malformed", reason));
    }
    Ok(header)
}

const NOT_FOUNDED: &str = "the first record is not the ledger's founding record";

/// Where the pack says that a record stands.
struct Claim {
    position: u64,
    proof: Vec<Digest>,
}

/// The fold over the records.
struct Check<'a> {
    /// Once the founding record has said whose it must be.
    checkpoint: Option<Checkpoint>,
    extent: Extent,
    header: &'a Header,
    last: Option<u64>,
    ledger: Digest,
    /// The time of the last group that the pack has, the founding's before the first.
    now: Option<Timestamp>,
    /// The act with which the present group has to begin, until it is there.
    rekeying: Option<Rekeying>,
    seen: Seen,
    shown: &'a mut Shown,
    state: State,
    web: Web,
}

impl Check<'_> {
    /// A chunk at a time is checked on all cores, then judged record by record.
    fn take_records<R: BufRead>(&mut self, lines: &mut Lines<R>) -> Result<(), Stop> {
        let (mut keys, mut read) = (Keys::default(), 0);
        while read < self.header.records.0 {
            let (mut chunk, mut claims, mut cut) = (Chunk::default(), vec![], None);
            while read < self.header.records.0 && !chunk.is_full() {
                match read_record(lines) {
                    Ok((claim, leaf)) => {
                        chunk.push(lines.number(), leaf);
                        claims.push(claim);
                        read += 1;
                    }
                    // What was read before is judged first.
                    Err(stop) => {
                        cut = Some(stop);
                        break;
                    }
                }
            }
            for (item, claim) in chunk.check(&mut keys)?.into_iter().zip(claims) {
                self.take(item, claim)?;
            }
            if let Some(stop) = cut {
                return Err(stop);
            }
        }
        Ok(())
    }

    fn take(&mut self, item: Item, claim: Claim) -> Result<(), Stop> {
        let Claim { position, proof } = claim;
        let place = Place { position: Some(position), line: Some(item.line) };
        let is_opened = self.checkpoint.is_some();
        let checked = item.outcome().map_err(|wrong| match wrong.code {
            // Only the founding record is signed by a key that it carries itself.
            "key_unknown" if !is_opened => place.wrong("founding_missing", NOT_FOUNDED),
            _ => place.of(wrong),
        })?;
        let record = &*checked.record;
        if !is_opened {
            self.open(record, position, place)?;
        }
        if self.last.is_some_and(|last| position <= last) {
            return Err(place.wrong("position_order", "the records are not sorted by position, each once"));
        }
        self.last = Some(position);
        if let Some(Checkpoint { root, size, .. }) = self.checkpoint {
            verify_inclusion(checked.leaf_hash, position, size, &proof, root).map_err(|error| {
                place.wrong("proof_wrong", format!("it is not proved to stand there: {error}"))
            })?;
        }
        self.judge(record, place, position).map_err(|wrong| place.of(wrong))?;
        self.count(record, checked.possessions);
        Ok(())
    }

    /// The first record has to be the ledger's founding; it says whose checkpoint the header must have.
    fn open(&mut self, record: &Record, position: u64, place: Place) -> Result<(), Stop> {
        let Payload::Founding(founding) = record.payload() else {
            return Err(place.wrong("founding_missing", NOT_FOUNDED));
        };
        if record.digest() != self.ledger {
            return Err(place.wrong("other_ledger", "the founding record is of another ledger"));
        }
        if position != 0 {
            return Err(place.wrong("founding_missing", "the founding record stands at position 0"));
        }
        let note = &self.header.checkpoint;
        let (origin, key) = (founding.body.origin.as_str(), &founding.body.checkpoint_key);
        let checkpoint = Checkpoint::parse_unverified(note)
            .and_then(|checkpoint| {
                let is_first = checkpoint.origin == origin;
                if is_first { Checkpoint::parse_and_verify(note, origin, key) } else { Ok(checkpoint) }
            })
            .map_err(|error| Place::HEADER.wrong(code_of_checkpoint(error), error.to_string()))?;
        for earlier in &self.header.earlier {
            let is_head = (1..checkpoint.size).contains(&earlier.size.0);
            let (size, root) = (checkpoint.size, checkpoint.root);
            if !is_head
                || verify_consistency(earlier.size.0, earlier.root, size, root, &earlier.proof).is_err()
            {
                let reason =
                    format!("the checkpoint is not proved to extend the head of size {}", earlier.size);
                return Err(Place::HEADER.wrong("earlier_wrong", reason));
            }
        }
        self.now = Some(founding.issued_at);
        self.seen.begin(founding.issued_at);
        let Checkpoint { origin, root, size } = checkpoint.clone();
        self.shown.checkpoint = Some(CheckedCheckpoint { origin, root, size });
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    fn judge(&mut self, record: &Verified, place: Place, position: u64) -> Result<(), Wrong> {
        let kind = record.kind();
        if self.rekeying.as_mut().is_some_and(|rekeying| !rekeying.takes(record)) {
            return Err(rekey_incomplete());
        }
        if kind.signed_by_ledger() {
            self.check_ledgers_key(record)?;
        }
        if let Payload::Group(group) = record.payload() {
            self.take_group(group, position)?;
        }
        let Some(now) = self.now.filter(|_| position == 0 || self.seen.is_in_group()) else {
            return Err(wrong("outside_group", "no group record of the pack stands before it"));
        };
        match record.payload() {
            Payload::Founding(_) | Payload::Instruction(..) => {
                self.decide(record, At { position, recorded_at: now })?;
            }
            Payload::JournalEntry(entry) => self.check_ledger(entry.ledger)?,
            Payload::Lapse(lapse) => self.check_ledger(lapse.ledger)?,
            Payload::Group(_) | Payload::Pad(_) => {}
        }
        if !may_stand(kind, &self.header.scope) {
            let reason =
                format!("a record of the kind {} may not stand in a pack of this scope", kind.name());
            return Err(wrong("kind_not_in_scope", reason));
        }
        let is_in_scope = self.extent.takes(record, now.date());
        let may_always = matches!(part(kind), Part::Frame | Part::Offer);
        if !is_in_scope && !may_always {
            self.web.await_citation(record.digest(), place);
        }
        self.web.take(record, position)?;
        self.seen.take(record, position, self.roles(record, now));
        Ok(())
    }

    fn take_group(&mut self, group: &Group, position: u64) -> Result<(), Wrong> {
        self.check_ledger(group.ledger)?;
        if group.first.0 != position {
            return Err(wrong("group_position", format!("the group names position {}", group.first)));
        }
        if group.rules.0 != RULES_VERSION {
            let reason = format!(
                "the group was decided by rules of version {}, which are not known here",
                group.rules
            );
            return Err(wrong("group_rules", reason));
        }
        if self.now.is_some_and(|last| group.recorded_at < last) {
            return Err(wrong("group_time", "the group's time lies before that of an earlier one"));
        }
        begin_group(&mut self.state, group);
        self.rekeying = Rekeying::of(group);
        self.now = Some(group.recorded_at);
        self.seen.begin(group.recorded_at);
        Ok(())
    }

    /// Asks the rules. What they say of governance counts in full; of other instructions, up to the role.
    fn decide(&mut self, record: &Verified, at: At) -> Result<(), Wrong> {
        let is_governance = part(record.kind()) == Part::Frame;
        match decide(&self.state, at, record) {
            Ok(decision) if is_governance => {
                apply(&mut self.state, &decision);
                // A log never forgets an id too early, so a part of it need not remember any.
                for (key, _) in decision.changes() {
                    if matches!(key, Key::Instruction(..)) {
                        self.state.load(key.clone(), None);
                    }
                }
                let charter = self.state.get::<CharterState>(&Key::Charter);
                self.rekeying.take_if(|rekeying| charter.is_some_and(|charter| rekeying.is_done(charter)));
                Ok(())
            }
            Err(Halt::Refused(refusal)) if is_governance || refusal.code <= Code::RoleMissing => {
                Err(Wrong { code: refusal.code.as_str(), reason: format!("the rules refuse it: {refusal}") })
            }
            Err(Halt::Known { position }) => {
                Err(wrong("repeated", format!("the same instruction stands at position {position} already")))
            }
            Ok(_) | Err(Halt::Refused(_) | Halt::Missing(_)) => Ok(()),
        }
    }

    fn charter(&self) -> Option<&CharterState> {
        self.state.get::<CharterState>(&Key::Charter)
    }

    fn check_ledgers_key(&self, record: &Record) -> Result<(), Wrong> {
        let signed = record.envelope().key_id;
        let carried = match record.payload() {
            Payload::Group(group) => group.record_key.as_deref(),
            _ => None,
        };
        let key = carried.or_else(|| self.charter().map(CharterState::record_key));
        if key.is_some_and(|key| key.id() == signed) {
            return Ok(());
        }
        Err(wrong(
            "not_the_ledgers_key",
            format!("it is signed by key {signed} instead of the ledger's record key"),
        ))
    }

    fn check_ledger(&self, ledger: Digest) -> Result<(), Wrong> {
        if ledger == self.ledger { Ok(()) } else { Err(wrong("wrong_ledger", "it is of another ledger")) }
    }

    /// The roles that the signer held.
    fn roles(&self, record: &Record, now: Timestamp) -> Vec<Role> {
        let signer = match record.payload() {
            Payload::Instruction(header, _) => &header.signer,
            Payload::Founding(founding) => &founding.signer,
            Payload::Group(_) | Payload::JournalEntry(_) | Payload::Lapse(_) | Payload::Pad(_) => {
                return vec![];
            }
        };
        let known = self.state.get::<PrincipalState>(&Key::Principal(signer.clone()));
        known.map_or(vec![], |roles| roles.at(now).clone())
    }

    fn count(&mut self, record: &Record, possessions: usize) {
        let shown = &mut *self.shown;
        let one_more = |count: &mut Integer, more: u64| count.0 = count.0.saturating_add(more);
        one_more(&mut shown.records, 1);
        one_more(&mut shown.possessions, possessions as u64);
        let by_kind: &mut BTreeMap<&'static str, Integer> = &mut shown.records_by_kind;
        one_more(by_kind.entry(record.kind().name()).or_default(), 1);
    }
}

/// A record's line taken apart: where it should stand, and the leaf.
fn read_record<R: BufRead>(lines: &mut Lines<R>) -> Result<(Claim, Vec<u8>), Stop> {
    let missing = ("records_missing", "the file ends before the last record");
    let bytes = expect_line(lines, RECORD_BYTES_MAX, None, missing)?;
    let RecordLine { envelope, position, proof } = canonical::decode(&bytes).map_err(|error| {
        let place = Place::line(lines.number());
        place.wrong("record_malformed", format!("the line is not a record and its proof: {error}"))
    })?;
    Ok((Claim { position: position.0, proof }, envelope.encode()))
}

fn rekey_incomplete() -> Wrong {
    let reason = Reason::RekeyIncomplete;
    wrong(reason.code(), reason.to_string())
}
