//! Cosigned checkpoints: how many witnesses a checkpoint must have, and receipts under one that has as many.
//!
//! What is demanded is what the founding record's policy says, or a later policy of which this home has the custodians' acts
//! (`safeconduct witnesses accept`). These are receipts, verified with the founding record alone, as a reopening is: who
//! signed with a key that was enrolled later counts where receipts of its enrolment come first. That an act was vetoed, or
//! waits for its delay, only a replay tells.

use records::Record;
use records::governance::{Act, Founding};
use records::witnessing::Witnessing;
use translog::checkpoint::Checkpoint;
use translog::proof::verify_consistency;

use crate::client::Client;
use crate::custodians::Custodians;
use crate::error::Error;
use crate::home::{Home, RECEIPTS, WITNESSING, json};
use crate::membership::Ledger;
use crate::reads::Proof;
use crate::receipt::{Receipt, ReceiptError};
use crate::reopening::{founding, proposed};

/// What is demanded of a checkpoint, and since which position of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demanded {
    /// The witnesses and the threshold; none are demanded without.
    pub witnessing: Option<Witnessing>,
    /// Where the act stands that says so; 0 is the founding record.
    pub position: u64,
}

/// What became of a home's receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    /// The size of the cosigned checkpoint.
    pub size: u64,
    /// Receipts that are under a cosigned checkpoint now and were not before.
    pub refreshed: usize,
    /// Receipts of records that no cosigned checkpoint covers yet.
    pub waiting: usize,
    /// Receipts of records that are lost, since the log was reopened before them; they stay as they are.
    pub lost: usize,
}

impl Demanded {
    /// What a founding record demands.
    pub fn of_founding(founding: &Founding) -> Result<Demanded, Error> {
        let witnessing = founding.body.policy.witnessing.clone();
        Demanded { witnessing, position: 0 }.checked(founding)
    }

    /// Refuses what the rules would have refused, since nobody may have replayed the log here.
    fn checked(self, founding: &Founding) -> Result<Demanded, Error> {
        let ours = [&founding.body.record_key, &founding.body.checkpoint_key];
        match self.witnessing.as_ref().and_then(|witnessing| witnessing.problem(ours)) {
            Some(problem) => {
                Err(Error::Witnesses(format!("the policy is none that the rules take: {problem}")))
            }
            None => Ok(self),
        }
    }

    /// What a later policy demands: receipts of the proposal and the concurrences of a quorum, in the order of the log, and before
    /// them those of acts that enrolled custodians. It stands where the last of them stands that the quorum needed.
    pub fn of_act(receipts: &[Receipt], ledger: &Ledger, founding: &Founding) -> Result<Demanded, Error> {
        let wrong = |reason: &str| Error::Witnesses(reason.to_owned());
        let mut records = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            if ledger.has_lost(receipt) {
                return Err(wrong("a record in it is lost, since the log was reopened before it"));
            }
            records.push(ledger.verify(receipt).map_err(|error| wrong(&error.to_string()))?.record);
        }
        let of_policy = |record: &Record| matches!(proposed(record), Some((_, Act::Policy { .. })));
        let enrolments = records.iter().take_while(|record| !of_policy(record)).count();
        let (enrolled, acts) = records.split_at(enrolments);
        let proposal = acts.first().ok_or_else(|| wrong("no receipt in it is of a proposal of a policy"))?;
        let Some((_, Act::Policy { policy })) = proposed(proposal) else {
            return Err(wrong("no receipt in it is of a proposal of a policy"));
        };
        let known = Custodians::of_founding(founding, ledger.ledger);
        let known = known.and_enrolled(enrolled).map_err(|reason| wrong(&reason))?;
        let by = known.behind(acts).map_err(|reason| wrong(&reason))?;
        let positions = by.values().filter_map(|place| receipts.get(enrolments + place));
        let position = positions.map(|receipt| receipt.position.0).max().unwrap_or_default();
        Demanded { witnessing: policy.witnessing.clone(), position }.checked(founding)
    }

    /// What is demanded in a home.
    pub fn read(home: &Home, ledger: &Ledger) -> Result<Demanded, Error> {
        let founding = founding(home, ledger)?;
        match home.read_json::<Vec<Receipt>>(WITNESSING)? {
            // An act that is lost demands nothing any more.
            Some(act) if !act.iter().any(|receipt| ledger.has_lost(receipt)) => {
                Demanded::of_act(&act, ledger, &founding)
            }
            _ => Demanded::of_founding(&founding),
        }
    }

    /// Whether a receipt's checkpoint, which holds, has as many cosignatures as are demanded.
    pub fn is_met_by(&self, note: &str) -> Result<bool, ReceiptError> {
        let Some(witnessing) = &self.witnessing else { return Ok(true) };
        Ok(witnessing.suffices(&witnessing.cosigned_by(note)?))
    }
}

impl Client {
    /// Demands from now on what a later policy says, of which these are the receipts. An older one than is known is refused.
    pub fn accept_witnesses(&self, receipts: &[Receipt]) -> Result<Demanded, Error> {
        let ledger = self.ledger();
        let known = Demanded::read(self.home(), ledger)?;
        let demanded = Demanded::of_act(receipts, ledger, &founding(self.home(), ledger)?)?;
        if demanded.position < known.position {
            return Err(Error::Witnesses(format!(
                "this home knows a later policy, decided at position {}; this one was at {}",
                known.position, demanded.position
            )));
        }
        // They have to be of the log that this machine knows.
        for receipt in receipts {
            self.follow_any(&receipt.checkpoint)?;
        }
        self.home().write_json(WITNESSING, &receipts)?;
        Ok(demanded)
    }

    /// The latest checkpoint that as many witnesses cosigned as are demanded, verified, and its note.
    pub fn cosigned(&self) -> Result<(Checkpoint, String), Error> {
        let demanded = Demanded::read(self.home(), self.ledger())?;
        let note = self.get_note("/v1/checkpoint/cosigned")?;
        let checkpoint = self.follow_any(&note)?;
        match demanded.is_met_by(&note) {
            Ok(true) => Ok((checkpoint, note)),
            Ok(false) => Err(Error::Witnesses(
                "the service's checkpoint has fewer cosignatures than the policy demands that this home knows; if custodians \
                 named other witnesses since, run `safeconduct witnesses accept` with their receipts"
                    .to_owned(),
            )),
            Err(error) => Err(Error::Witnesses(error.to_string())),
        }
    }

    /// The checkpoint in a note, which has to be of the log that this machine knows: under the present origin, or an earlier one
    /// and not lost since.
    pub(crate) fn follow_any(&self, note: &str) -> Result<Checkpoint, Error> {
        let ledger = self.ledger();
        let wrong = |reason: &str| Error::Witnesses(reason.to_owned());
        let (origin, key) = ledger.signer_of(note);
        let earlier = ledger.earlier.iter().find(|earlier| earlier.origin.as_str() == origin);
        if earlier.is_none() {
            // It raises the alarm where the note is not the ledger's.
            self.follow_answer(note)?;
        }
        let checkpoint =
            Checkpoint::parse_and_verify(note, origin, key).map_err(|error| wrong(&error.to_string()))?;
        let Some(earlier) = earlier else { return Ok(checkpoint) };
        if checkpoint.size > earlier.size.0 {
            return Err(wrong(
                "the checkpoint covers records that are lost, since the log was reopened before them",
            ));
        }
        let kept = self.kept()?.checkpoint;
        if checkpoint.size <= kept.size {
            let proof = self.consistency(checkpoint.size, kept.size)?;
            verify_consistency(checkpoint.size, checkpoint.root, kept.size, kept.root, &proof)
                .map_err(|_| wrong("the checkpoint is not of the log that this machine verified"))?;
        }
        Ok(checkpoint)
    }

    /// Brings the home's receipts under the latest cosigned checkpoint, as far as it covers them.
    pub fn refresh_receipts(&self) -> Result<Refreshed, Error> {
        let ledger = self.ledger();
        let demanded = Demanded::read(self.home(), ledger)?;
        let (checkpoint, note) = self.cosigned()?;
        let (mut refreshed, mut waiting, mut lost) = (0, 0, 0);
        for name in self.home().list(RECEIPTS)? {
            let path = format!("{RECEIPTS}/{name}");
            let Some(receipt) = self.home().read_json::<Receipt>(&path)? else { continue };
            if demanded.is_met_by(&receipt.checkpoint).is_ok_and(|is_met| is_met) {
                continue;
            }
            if ledger.has_lost(&receipt) {
                lost += 1;
                continue;
            }
            let (position, size) = (receipt.position.0, checkpoint.size);
            if position >= size {
                waiting += 1;
                continue;
            }
            let proof: Proof = self.get(&format!("/v1/proofs/inclusion?position={position}&size={size}"))?;
            let new = Receipt { checkpoint: note.clone(), hashes: proof.hashes, ..receipt };
            ledger.verify(&new).map_err(|error| {
                Error::Witnesses(format!("{}: {error}; keep the receipt as it is", new.envelope.digest()))
            })?;
            self.home().write_many([(path, json(&new)?)])?;
            refreshed += 1;
        }
        Ok(Refreshed { size: checkpoint.size, refreshed, waiting, lost })
    }
}
