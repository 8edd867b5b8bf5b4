//! Where the acts stand that enrolled custodians: whoever accepts a reopening without a replay counts with their help.

use std::collections::BTreeMap;

use auditor::observe::{Observer, Replayed};
use client::reopening::proposed;
use programme::entity::{ProposalState, ProposalStatus};
use programme::{Key, State};
use records::governance::{Act, Role};
use records::{Body, Payload};
use signing::digest::Digest;

/// Looks for them while a log is verified.
#[derive(Debug, Default)]
pub(super) struct Enrolments {
    /// Of each such proposal, where it and its concurrences stand.
    proposals: BTreeMap<Digest, Vec<u64>>,
}

impl Enrolments {
    /// Where the records of all that were decided stand, in the order of the log.
    pub fn positions(self) -> Vec<u64> {
        let mut positions: Vec<u64> = self.proposals.into_values().flatten().collect();
        positions.sort_unstable();
        positions
    }
}

impl Observer for Enrolments {
    fn record(&mut self, replayed: &Replayed<'_>) {
        let Payload::Instruction(_, body) = replayed.record.payload() else { return };
        match &**body {
            Body::Proposal(_) => {
                let enrols =
                    |act: &Act| matches!(act, Act::Enrol { roles, .. } if roles.contains(&Role::Custodian));
                if proposed(replayed.record).is_some_and(|(_, act)| enrols(act)) {
                    self.proposals.insert(replayed.record.digest(), vec![replayed.position]);
                }
            }
            Body::Concurrence(concurrence) => {
                if let Some(positions) = self.proposals.get_mut(&concurrence.proposal) {
                    positions.push(replayed.position);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, state: &State) {
        self.proposals.retain(|digest, _| {
            let known = state.get::<ProposalState>(&Key::Proposal(*digest));
            known.is_some_and(|known| matches!(known.status, ProposalStatus::Decided { .. }))
        });
    }
}
