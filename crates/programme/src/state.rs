//! The state: a map of entities by key, whole or in part.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use ledger::books::{Balance, BalanceKey};
use ledger::money::Money;

use crate::decide::Decision;
use crate::entity::{Entity, Stored};
use crate::key::Key;
use crate::refusal::{Code, Refusal};

/// The entities by key. A complete state knows every entity there is; a partial one knows which it was given.
#[derive(Debug, Clone, Default)]
pub struct State {
    entities: HashSet<Known>,
    complete: bool,
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        let as_there = |one: &Known| other.known(one.key()) == Some(one.entity());
        self.complete == other.complete && self.len() == other.len() && self.entities.iter().all(as_there)
    }
}

impl Eq for State {}

/// What is known of a key; equal to another of the same key. In one box, so that the table, of which up to half is empty, is small.
#[derive(Debug, Clone)]
struct Known(Box<(Key, Option<Entity>)>);

impl Known {
    fn key(&self) -> &Key {
        &self.0.0
    }

    fn entity(&self) -> Option<&Entity> {
        self.0.1.as_ref()
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Known) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Borrow<Key> for Known {
    fn borrow(&self) -> &Key {
        self.key()
    }
}

/// What a state said of the keys that a decision changed, to take it back.
#[derive(Debug, Clone)]
pub struct Before(Vec<(Key, Option<Option<Entity>>)>);

/// What a state says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// There is such an entity.
    Present(&'a Entity),
    /// There is none.
    Absent,
    /// This state does not know.
    NotLoaded,
}

impl State {
    /// The complete state of an empty log.
    pub fn complete() -> State {
        State { entities: HashSet::new(), complete: true }
    }

    /// A state that knows nothing yet.
    pub fn partial() -> State {
        State::default()
    }

    /// What it says of a key.
    pub fn lookup(&self, key: &Key) -> Lookup<'_> {
        match self.known(key) {
            Some(Some(entity)) => Lookup::Present(entity),
            Some(None) => Lookup::Absent,
            None if self.complete => Lookup::Absent,
            None => Lookup::NotLoaded,
        }
    }

    /// The entity or that there is none, where it knows.
    fn known(&self, key: &Key) -> Option<Option<&Entity>> {
        self.entities.get(key).map(Known::entity)
    }

    /// Tells a partial state of an entity, or that there is none.
    pub fn load(&mut self, key: Key, entity: Option<Entity>) {
        self.entities.replace(Known(Box::new((key, entity))));
    }

    /// Sets or ends an entity.
    pub(crate) fn set(&mut self, key: Key, entity: Option<Entity>) {
        // What is not there is zero, and most accounts of disbursements end with it.
        let is_zero = |entity: &Entity| matches!(entity, Entity::Balance(balance) if balance.is_zero());
        if self.complete && entity.as_ref().is_none_or(is_zero) {
            self.entities.remove(&key);
        } else {
            self.load(key, entity);
        }
    }

    /// How many keys it holds, whether there is such an entity or not.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// What it says now of the keys that a decision changes.
    pub fn before(&self, decision: &Decision) -> Before {
        let said =
            |(key, _): &(Key, Option<Entity>)| (key.clone(), self.known(key).map(Option::<&Entity>::cloned));
        Before(decision.changes().iter().map(said).collect())
    }

    /// Says again what it said before a decision was applied; of several, the last is taken back first.
    pub fn take_back(&mut self, before: Before) {
        for (key, said) in before.0 {
            match said {
                Some(entity) => self.load(key, entity),
                None => {
                    self.entities.remove(&key);
                }
            }
        }
    }

    /// Every entity that there is, in no particular order.
    pub fn entities(&self) -> impl Iterator<Item = (&Key, &Entity)> {
        self.entities.iter().filter_map(|one| Some((one.key(), one.entity()?)))
    }

    /// The entity of a key, where this state holds one.
    pub fn get<T: Stored>(&self, key: &Key) -> Option<&T> {
        match self.lookup(key) {
            Lookup::Present(entity) => T::of(entity),
            Lookup::Absent | Lookup::NotLoaded => None,
        }
    }

    /// Every balance that there is, in no particular order.
    pub fn balances(&self) -> impl Iterator<Item = (&BalanceKey, &Balance)> {
        self.entities().filter_map(|(key, entity)| match (key, entity) {
            (Key::Balance(key), Entity::Balance(balance)) => Some((&**key, &**balance)),
            _ => None,
        })
    }
}

/// Why a decision stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// The rules refuse.
    Refused(Refusal),
    /// The state does not know these keys: load them and decide again.
    Missing(Vec<Key>),
    /// The same instruction was accepted before, at this position: answer its first receipt.
    Known {
        /// The position.
        position: u64,
    },
}

impl From<Code> for Halt {
    fn from(code: Code) -> Halt {
        Halt::Refused(code.into())
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refused(refusal)
    }
}

/// What guards read through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a>(pub(crate) &'a State);

impl<'a> View<'a> {
    /// Whether there is nothing that the state does not know.
    pub fn is_complete(&self) -> bool {
        self.0.complete
    }

    /// Asks for several keys at once, so that all that are missing are named together.
    pub fn need(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), Halt> {
        if self.is_complete() {
            return Ok(());
        }
        let missing: Vec<Key> =
            keys.into_iter().filter(|key| self.0.lookup(key) == Lookup::NotLoaded).collect();
        if missing.is_empty() { Ok(()) } else { Err(Halt::Missing(missing)) }
    }

    /// The entity of a key, if there is one.
    pub fn find<T: Stored>(&self, key: &Key) -> Result<Option<&'a T>, Halt> {
        match self.0.lookup(key) {
            Lookup::Present(entity) => Ok(T::of(entity)),
            Lookup::Absent => Ok(None),
            Lookup::NotLoaded => Err(Halt::Missing(vec![key.clone()])),
        }
    }

    /// The entity of a key; without one, the refusal.
    pub fn get<T: Stored>(&self, key: &Key, absent: Code) -> Result<&'a T, Halt> {
        self.find(key)?.ok_or(Halt::Refused(absent.into()))
    }

    /// Whether a key is free.
    pub fn must_be_absent(&self, key: &Key, present: Code) -> Result<(), Halt> {
        match self.0.lookup(key) {
            Lookup::Present(_) => Err(present.into()),
            Lookup::Absent => Ok(()),
            Lookup::NotLoaded => Err(Halt::Missing(vec![key.clone()])),
        }
    }

    /// A balance: zero where nothing was posted yet.
    pub fn balance(&self, key: &BalanceKey) -> Result<Balance, Halt> {
        let found = self.find::<Balance>(&Key::from(key.clone()))?;
        let zero = Money::zero(key.currency);
        Ok(found.cloned().unwrap_or(Balance { amount: zero, held: zero }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::AssetState;

    /// What a partial state does not know is never taken for absent, whichever way a guard asks.
    #[test]
    fn what_is_not_loaded_is_missing() {
        let key = Key::Asset("a1".parse().unwrap());
        let balance = BalanceKey {
            account: "7300".parse().unwrap(),
            fund: "f1".parse().unwrap(),
            currency: "USD".parse().unwrap(),
        };
        let missing = Halt::Missing(vec![key.clone()]);
        let mut partial = State::partial();
        let view = View(&partial);
        assert_eq!(view.need([key.clone()]), Err(missing.clone()));
        assert_eq!(view.find::<AssetState>(&key), Err(missing.clone()));
        assert_eq!(view.get::<AssetState>(&key, Code::AssetUnknown), Err(missing.clone()));
        assert_eq!(view.must_be_absent(&key, Code::AssetExists), Err(missing));
        assert_eq!(view.balance(&balance), Err(Halt::Missing(vec![Key::from(balance.clone())])));

        partial.load(key.clone(), None);
        partial.load(Key::from(balance.clone()), None);
        for known in [&partial, &State::complete()] {
            let view = View(known);
            assert_eq!(view.need([key.clone()]), Ok(()));
            assert_eq!(view.find::<AssetState>(&key), Ok(None));
            assert_eq!(view.get::<AssetState>(&key, Code::AssetUnknown), Err(Code::AssetUnknown.into()));
            assert_eq!(view.must_be_absent(&key, Code::AssetExists), Ok(()));
            assert_eq!(view.balance(&balance), Ok(Balance::zero(balance.currency)));
        }

        partial.load(key.clone(), Some(AssetState { fiduciary: None }.into_entity()));
        assert_eq!(View(&partial).must_be_absent(&key, Code::AssetExists), Err(Code::AssetExists.into()));
    }
}
