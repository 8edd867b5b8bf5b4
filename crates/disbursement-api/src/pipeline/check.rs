//! Deciding without storing: one snapshot of the present state, and each envelope on its own.

use std::collections::HashSet;
use std::sync::Arc;

use ledger::time::Timestamp;
use programme::entity::{CharterState, PolicyState};
use programme::{At, Halt, Key, RULES_VERSION, State, begin_group, decide};
use records::Payload;
use records::journal::Group;
use records::scalar::Integer;
use store::load::in_snapshot;
use store::log::Head;

use super::clock::{Confirmed, group_time};
use super::draft::founding_problem;
use super::incoming::{Incoming, Prepared};
use super::{Checked, LOADS_MAX, Shared, Unavailable};

pub(super) async fn check(
    shared: &Arc<Shared>,
    incoming: Vec<Incoming>,
) -> Result<Vec<Checked>, Unavailable> {
    let items: Vec<&Prepared> = incoming.iter().filter_map(Incoming::ready).collect();
    let keys: HashSet<Key> = items.iter().flat_map(|item| item.keys.iter().cloned()).collect();
    let keys = keys.into_iter().chain([Key::Charter, Key::Policy]).collect::<HashSet<Key>>();
    let mut state = State::partial();
    let mut at: Option<Result<At, Unavailable>> = None;
    let mut loads = 0;
    in_snapshot(&shared.databases, keys.into_iter().collect(), |head, loaded| {
        for (key, entity) in loaded {
            state.load(key, entity);
        }
        loads += 1;
        let at = match at.get_or_insert_with(|| begin(shared, head, &mut state)) {
            Ok(at) if loads <= LOADS_MAX => *at,
            _ => return Vec::new(),
        };
        let missing: HashSet<Key> = items
            .iter()
            .filter_map(|item| match decide(&state, at, &item.record) {
                Err(Halt::Missing(keys)) => Some(keys),
                _ => None,
            })
            .flatten()
            .collect();
        missing.into_iter().collect()
    })
    .await
    .map_err(Unavailable::of_read)?;
    let at = at.unwrap_or(Err(Unavailable::Internal))?;
    incoming
        .iter()
        .map(|one| match one {
            Incoming::Ready(item) => checked(shared, &state, at, item),
            Incoming::Settled(settled) => Ok(settled.clone().into()),
        })
        .collect()
}

/// As if a group began now. Nothing lapses here, so what an overdue disbursement still holds is not free.
fn begin(shared: &Shared, head: &Head, state: &mut State) -> Result<At, Unavailable> {
    let clock = shared.now();
    let charter = state.get::<CharterState>(&Key::Charter).map(|charter| charter.ledger);
    let policy = state.get::<PolicyState>(&Key::Policy);
    let (Some(ledger), Some(policy)) = (charter, policy) else {
        return Ok(At { position: head.size, recorded_at: clock });
    };
    let confirmed = Confirmed::new(shared.settings.confirm_clock, clock);
    let recorded_at: Timestamp =
        group_time(clock, head.recorded_at, &policy.at(head.recorded_at).policy, confirmed)?;
    let group = Group {
        epoch: shared.keys.origin.clone(),
        first: Integer(head.size),
        ledger,
        record_key: None,
        recorded_at,
        root: head.root,
        rules: Integer(RULES_VERSION),
    };
    begin_group(state, &group);
    Ok(At { position: head.size.saturating_add(1), recorded_at })
}

fn checked(shared: &Shared, state: &State, at: At, item: &Prepared) -> Result<Checked, Unavailable> {
    let digest = item.record.digest();
    let decided = decide(state, at, &item.record);
    if let (Ok(_), Payload::Founding(founding)) = (&decided, item.record.payload())
        && let Some(refusal) = founding_problem(&shared.keys, founding, shared.now())
    {
        return Ok(Checked::Refused { digest, refusal });
    }
    match decided {
        Ok(decision) => Ok(Checked::WouldAccept { digest, entry: decision.entry().cloned().map(Box::new) }),
        Err(Halt::Known { .. }) => Ok(Checked::WouldAccept { digest, entry: None }),
        Err(Halt::Refused(refusal)) => Ok(Checked::Refused { digest, refusal }),
        Err(Halt::Missing(keys)) => {
            tracing::error!(?keys, "a guard still lacks keys after every load");
            Err(Unavailable::Internal)
        }
    }
}
