//! Choosing the records of a pack, and writing them.
//!
//! The bundle is verified by replay first, then read twice: once to learn what each record names and to keep the tree's
//! hashes, once to write. In between, the records that the scope concerns are completed by those without which they cannot
//! be checked, until nothing is missing. About 200 bytes a record of the bundle stay in memory, whatever the scope.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Seek, Write};

use ledger::id::{OfferId, PrincipalId};
use ledger::time::{Date, Timestamp};
use programme::State;
use programme::entity::Entity;
use records::cases::OfferVersion;
use records::governance::Act;
use records::scalar::Integer;
use records::{Body, Kind, Payload, Record};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::KeyId;
use translog::checkpoint::Checkpoint;
use translog::proof::{self, HashSource as _, MemoryHashes, ProofError};
use translog::tree::leaf_hash;

use super::extent::{Extent, cites, may_stand};
use super::format::{EARLIER_MAX, EarlierHead, Format, Header, RecordLine, Scope, line};
use crate::lines::{HEADER_BYTES_MAX, LINE_BYTES_MAX, Lines, Next};
use crate::observe::{Observer, Replayed};
use crate::report::{CheckedCheckpoint, Report};
use crate::{CouldNotRun, verify_observed};

/// Why no pack was cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The bundle does not hold, or does not account for a checkpoint that was kept: a pack of it would prove nothing.
    #[error("the bundle does not hold")]
    Refuted(Box<Report>),
    /// There is nothing in it for this scope.
    #[error("the bundle has no record that concerns {0}; look the id up, and mind that ids are exact")]
    NothingConcerned(Scope),
    /// More earlier heads than a header may name.
    #[error("a pack proves at most {EARLIER_MAX} earlier checkpoints; give fewer")]
    TooManyEarlier,
    /// Somebody writes to the bundle.
    #[error("the bundle changed while it was read; copy it, and cut the pack from the copy")]
    Changed,
    /// The pack could not be written.
    #[error("the pack could not be written: {0}; nothing is wrong with the bundle")]
    Write(io::Error),
    /// The bundle could not be read.
    #[error(transparent)]
    CouldNotRun(#[from] CouldNotRun),
}

impl From<io::Error> for CutError {
    fn from(error: io::Error) -> CutError {
        CutError::CouldNotRun(CouldNotRun::Io(error))
    }
}

impl From<ProofError> for CutError {
    /// A proof is refused only where the tree lacks something that it had.
    fn from(_: ProofError) -> CutError {
        CutError::Changed
    }
}

/// Cuts a pack of a scope out of a bundle of the ledger with this id, and says how many records it has. `kept` are
/// checkpoints that the receiver has, each a signed note: the pack proves that its log begins with them.
///
/// Whoever hands it over verifies it first, as its receiver will.
pub fn cut<R: BufRead + Seek>(
    mut bundle: R,
    ledger: Digest,
    scope: &Scope,
    kept: &[String],
    out: &mut impl Write,
) -> Result<u64, CutError> {
    let mut owners = Owners::default();
    let report = verify_observed(&mut bundle, ledger, kept, &mut owners)?;
    let Some(checkpoint) = report.checked.checkpoint.clone().filter(|_| report.accounts_for_kept()) else {
        return Err(CutError::Refuted(Box::new(report)));
    };
    bundle.rewind()?;
    let mut index = Index::new(scope, owners);
    let note = index.read(&mut bundle)?;
    if proof::root(checkpoint.size, &index.hashes)? != checkpoint.root {
        return Err(CutError::Changed);
    }
    if index.seeds.is_empty() {
        return Err(CutError::NothingConcerned(scope.clone()));
    }
    let chosen = index.chosen();
    let records = chosen.iter().filter(|chosen| **chosen).count() as u64;
    let header = Header {
        checkpoint: note,
        earlier: earlier(&index.hashes, &checkpoint, &report)?,
        format: Format::V1,
        ledger,
        records: Integer(records),
        scope: scope.clone(),
    };
    out.write_all(&line(&header)).map_err(CutError::Write)?;
    bundle.rewind()?;
    write_records(&mut bundle, &index.hashes, &chosen, out)?;
    Ok(records)
}

/// The earlier heads among those that were kept, each proved.
fn earlier(
    hashes: &MemoryHashes,
    checkpoint: &CheckedCheckpoint,
    report: &Report,
) -> Result<Vec<EarlierHead>, CutError> {
    let heads = report.kept.iter().filter_map(|kept| kept.head.as_ref());
    let mut sizes: Vec<u64> = heads.map(|head| head.size).collect();
    // What covers nothing is no head, and what is not in the log cannot be proved.
    sizes.retain(|size| (1..checkpoint.size).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() > EARLIER_MAX {
        return Err(CutError::TooManyEarlier);
    }
    let head = |size: u64| -> Result<EarlierHead, CutError> {
        let proof = proof::consistency(size, checkpoint.size, hashes)?;
        Ok(EarlierHead { proof, root: proof::root(size, hashes)?, size: Integer(size) })
    };
    sizes.into_iter().map(head).collect()
}

fn write_records(
    bundle: impl BufRead,
    hashes: &MemoryHashes,
    chosen: &[bool],
    out: &mut impl Write,
) -> Result<(), CutError> {
    let mut lines = Lines::new(bundle);
    let _ = read_header(&mut lines)?;
    for (position, is_chosen) in (0_u64..).zip(chosen) {
        let leaf = next(&mut lines, LINE_BYTES_MAX)?;
        if !is_chosen {
            continue;
        }
        if hashes.read(&[(0, position)]).map_err(ProofError::from)? != [leaf_hash(&leaf)] {
            return Err(CutError::Changed);
        }
        let envelope = Envelope::parse(&leaf).map_err(|_| CutError::Changed)?;
        let proof = proof::inclusion(position, hashes.size(), hashes)?;
        let record = line(&RecordLine { envelope, position: Integer(position), proof });
        out.write_all(&record).map_err(CutError::Write)?;
    }
    Ok(())
}

/// A line of a bundle that was verified a moment ago.
fn next<R: BufRead>(lines: &mut Lines<R>, bytes_max: u64) -> Result<Vec<u8>, CutError> {
    match lines.next(bytes_max)? {
        Next::Line(bytes) => Ok(bytes),
        Next::Unterminated | Next::TooLong | Next::End => Err(CutError::Changed),
    }
}

/// The bundle's header; what follows are records.
fn read_header<R: BufRead>(lines: &mut Lines<R>) -> Result<records::bundle::Header, CutError> {
    let bytes = next(lines, HEADER_BYTES_MAX)?;
    let header: records::bundle::Header = canonical::decode(&bytes).map_err(|_| CutError::Changed)?;
    for _ in 0..header.balances.0 {
        next(lines, LINE_BYTES_MAX)?;
    }
    Ok(header)
}

/// What is kept of a record.
struct Seen {
    kind: Kind,
    signer: Option<usize>,
    /// Without which it cannot be checked: what it cites, and the group at its basis.
    needs: Vec<u64>,
}

/// An act of the custodians: its proposal and what followed on it, and whom it is about; nobody is everybody.
struct ActOf {
    about: Option<usize>,
    records: Vec<u64>,
}

/// Whose each key is that a quorum has enrolled. Others may have been proposed to enrol it for somebody else.
#[derive(Default)]
struct Owners(HashMap<KeyId, PrincipalId>);

impl Observer for Owners {
    fn record(&mut self, _replayed: &Replayed<'_>) {}

    fn end(&mut self, state: &State) {
        for (_, entity) in state.entities() {
            if let Entity::PublicKey(known) = entity {
                self.0.insert(known.public.id(), known.principal.clone());
            }
        }
    }
}

/// What each record of the log names.
struct Index {
    scope: Scope,
    extent: Extent,
    hashes: MemoryHashes,
    seen: Vec<Seen>,
    groups: Vec<u64>,
    /// What the scope concerns.
    seeds: Vec<u64>,
    /// What every pack has.
    always: Vec<u64>,
    positions: HashMap<Digest, u64>,
    offers: HashMap<(OfferId, Integer), u64>,
    principals: HashMap<PrincipalId, usize>,
    owners: Owners,
    acts: Vec<ActOf>,
    /// The act to which a record belongs.
    act_of: HashMap<u64, usize>,
    /// The day of the group.
    day: Option<Date>,
}

impl Index {
    fn new(scope: &Scope, owners: Owners) -> Index {
        Index {
            scope: scope.clone(),
            extent: Extent::new(scope),
            hashes: MemoryHashes::new(),
            seen: vec![],
            groups: vec![],
            seeds: vec![],
            always: vec![],
            positions: HashMap::new(),
            offers: HashMap::new(),
            principals: HashMap::new(),
            owners,
            acts: vec![],
            act_of: HashMap::new(),
            day: None,
        }
    }

    /// Reads a whole bundle, and gives its checkpoint.
    fn read(&mut self, bundle: impl BufRead) -> Result<String, CutError> {
        let mut lines = Lines::new(bundle);
        let header = read_header(&mut lines)?;
        for position in 0..header.records.0 {
            let leaf = next(&mut lines, LINE_BYTES_MAX)?;
            self.hashes.append(leaf_hash(&leaf));
            let record = Record::parse_leaf(&leaf).map_err(|_| CutError::Changed)?;
            self.take(position, &record);
        }
        Ok(header.checkpoint)
    }

    fn take(&mut self, position: u64, record: &Record) {
        let kind = record.kind();
        let time: Option<Timestamp> = match record.payload() {
            Payload::Founding(founding) => Some(founding.issued_at),
            Payload::Group(group) => Some(group.recorded_at),
            Payload::Instruction(..) | Payload::JournalEntry(_) | Payload::Lapse(_) | Payload::Pad(_) => None,
        };
        self.day = time.map(Timestamp::date).or(self.day);
        if self.day.is_some_and(|day| self.extent.takes(record, day)) {
            self.seeds.push(position);
        }
        let (request, others) = cites(record.payload());
        let mut needs: Vec<u64> = request
            .into_iter()
            .chain(others)
            .filter_map(|digest| self.positions.get(&digest).copied())
            .filter(|cited| self.kind_at(*cited).is_some_and(|kind| may_stand(kind, &self.scope)))
            .collect();
        let mut signer = None;
        match record.payload() {
            Payload::Founding(founding) => {
                self.always.push(position);
                signer = Some(self.principal(&founding.signer));
            }
            Payload::Group(_) => self.groups.push(position),
            Payload::Instruction(header, body) => {
                let owner = self.principal(&header.signer);
                signer = Some(owner);
                if matches!(**body, Body::Activation(_)) {
                    self.act(position, Some(owner));
                }
                needs.push(header.basis.size.0);
                self.take_body(position, body, &mut needs);
            }
            Payload::JournalEntry(_) | Payload::Lapse(_) | Payload::Pad(_) => {}
        }
        if !matches!(kind, Kind::Group | Kind::JournalEntry) {
            self.positions.insert(record.digest(), position);
        }
        self.seen.push(Seen { kind, signer, needs });
    }

    fn take_body(&mut self, position: u64, body: &Body, needs: &mut Vec<u64>) {
        let offer = match body {
            Body::Acceptance(_) => {
                self.always.push(position);
                None
            }
            Body::Proposal(proposal) => {
                self.propose(position, &proposal.act, needs);
                None
            }
            Body::Concurrence(body) => {
                self.follow(position, body.proposal);
                None
            }
            Body::Veto(body) => {
                self.follow(position, body.proposal);
                None
            }
            Body::Offer(body) => {
                self.offers.insert((body.offer.clone(), body.version), position);
                None
            }
            Body::CaseOpening(body) => Some(&body.offer),
            Body::Request(body) => Some(&body.offer),
            Body::Approval(body) => Some(&body.effect.offer),
            _ => None,
        };
        if let Some(OfferVersion { offer, version }) = offer {
            needs.extend(self.offers.get(&(offer.clone(), *version)));
        }
    }

    fn propose(&mut self, position: u64, act: &Act, needs: &mut Vec<u64>) {
        let about = match act {
            Act::Enrol { principal, .. } | Act::Roles { principal, .. } => Some(self.principal(principal)),
            Act::Revoke { key, .. } => {
                let owner = self.owners.0.get(key).cloned();
                owner.map(|owner| self.principal(&owner))
            }
            Act::Policy { .. } => None,
            Act::Reopen { checkpoint, .. } => {
                let cited = Checkpoint::parse_unverified(checkpoint).ok();
                needs.extend(
                    cited
                        .filter(|cited| self.kind_at(cited.size) == Some(Kind::Group))
                        .map(|cited| cited.size),
                );
                None
            }
        };
        self.act(position, about);
    }

    fn act(&mut self, position: u64, about: Option<usize>) {
        self.act_of.insert(position, self.acts.len());
        self.acts.push(ActOf { about, records: vec![position] });
    }

    /// A concurrence or a veto.
    fn follow(&mut self, position: u64, proposal: Digest) {
        let act = self.positions.get(&proposal).and_then(|proposal| self.act_of.get(proposal)).copied();
        if let Some(index) = act
            && let Some(act) = self.acts.get_mut(index)
        {
            act.records.push(position);
            self.act_of.insert(position, index);
        }
    }

    fn principal(&mut self, principal: &PrincipalId) -> usize {
        let next = self.principals.len();
        *self.principals.entry(principal.clone()).or_insert(next)
    }

    fn seen_at(&self, position: u64) -> Option<&Seen> {
        self.seen.get(usize::try_from(position).ok()?)
    }

    fn kind_at(&self, position: u64) -> Option<Kind> {
        self.seen_at(position).map(|seen| seen.kind)
    }

    /// Which positions the pack has: what the scope concerns, and all without which that cannot be checked.
    fn chosen(&self) -> Vec<bool> {
        let mut chosen = vec![false; self.seen.len()];
        let mut about: HashMap<Option<usize>, Vec<&ActOf>> = HashMap::new();
        for act in &self.acts {
            about.entry(act.about).or_default().push(act);
        }
        let acts_about =
            |who: Option<usize>| about.get(&who).into_iter().flatten().flat_map(|act| &act.records);
        let mut named: HashSet<usize> = HashSet::new();
        let mut waiting: Vec<u64> = self.seeds.iter().chain(&self.always).copied().collect();
        waiting.extend(acts_about(None));
        while let Some(position) = waiting.pop() {
            let (Some(seen), Some(is_chosen)) =
                (self.seen_at(position), usize::try_from(position).ok().and_then(|at| chosen.get_mut(at)))
            else {
                continue;
            };
            if std::mem::replace(is_chosen, true) {
                continue;
            }
            waiting.extend(&seen.needs);
            if seen.kind != Kind::Group {
                waiting.extend(self.groups_around(position));
            }
            let act = self.act_of.get(&position).and_then(|index| self.acts.get(*index));
            waiting.extend(act.iter().flat_map(|act| &act.records));
            for who in seen.signer.into_iter().chain(act.and_then(|act| act.about)) {
                if named.insert(who) {
                    waiting.extend(acts_about(Some(who)));
                }
            }
        }
        chosen
    }

    /// The record's own group, and the one after it: between their times it was recorded.
    fn groups_around(&self, position: u64) -> impl Iterator<Item = u64> {
        let next = self.groups.partition_point(|group| *group < position);
        let own = next.checked_sub(1).and_then(|own| self.groups.get(own));
        own.into_iter().chain(self.groups.get(next)).copied()
    }
}
