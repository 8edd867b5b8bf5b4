//! Places of which no one holder may have more than a share: how a flood of one principal's leaves room for the others.
//!
//! It is not a queue. Who finds no place is told so at once, and comes again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// The places.
#[derive(Debug)]
pub(crate) struct Places<K> {
    all: usize,
    share: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    all: usize,
    /// Only of those who hold any, so this does not grow with who ever came.
    by: HashMap<K, usize>,
    is_closed: bool,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There is none for anybody.
    All,
    /// The holder has its share.
    Share,
    /// Nobody gets one any more.
    Closed,
}

impl<K: Hash + Eq + Clone> Places<K> {
    pub(crate) fn new(all: usize, share: usize) -> Arc<Places<K>> {
        let held = Held { all: 0, by: HashMap::new(), is_closed: false };
        Arc::new(Places { all, share, held: Mutex::new(held) })
    }

    /// Takes `count` places, of which some are on the account of holders. All or none.
    pub(crate) fn take(self: &Arc<Self>, count: usize, by: HashMap<K, usize>) -> Result<Taken<K>, Full> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&held, count, &by)?;
        held.all += count;
        for (holder, count) in &by {
            *held.by.entry(holder.clone()).or_default() += count;
        }
        drop(held);
        Ok(Taken { places: Arc::clone(self), count, by })
    }

    /// Takes one place for one holder.
    pub(crate) fn take_one(self: &Arc<Self>, holder: &K) -> Result<Taken<K>, Full> {
        self.take(1, HashMap::from([(holder.clone(), 1)]))
    }

    /// Whether there would be places now.
    pub(crate) fn would_take(&self, count: usize, by: &HashMap<K, usize>) -> Result<(), Full> {
        self.check(&self.held.lock().unwrap_or_else(PoisonError::into_inner), count, by)
    }

    fn check(&self, held: &Held<K>, count: usize, by: &HashMap<K, usize>) -> Result<(), Full> {
        let is_over = |(holder, count): (&K, &usize)| {
            held.by.get(holder).copied().unwrap_or(0).saturating_add(*count) > self.share
        };
        if held.is_closed {
            Err(Full::Closed)
        } else if by.iter().any(is_over) {
            Err(Full::Share)
        } else if held.all.saturating_add(count) > self.all {
            Err(Full::All)
        } else {
            Ok(())
        }
    }

    /// How many places are held.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Gives no more places; those that are held stay held.
    pub(crate) fn close(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
    }
}

/// Places that are held, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<K: Hash + Eq> {
    places: Arc<Places<K>>,
    count: usize,
    by: HashMap<K, usize>,
}

impl<K: Hash + Eq> Drop for Taken<K> {
    fn drop(&mut self) {
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(self.count);
        for (holder, count) in &self.by {
            if let Some(has) = held.by.get_mut(holder) {
                *has = has.saturating_sub(*count);
                if *has == 0 {
                    held.by.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by<const N: usize>(shares: [(&'static str, usize); N]) -> HashMap<&'static str, usize> {
        HashMap::from(shares)
    }

    #[test]
    fn nobody_takes_more_than_a_share() {
        let places = Places::new(10, 4);
        let anna = places.take(4, by([("anna", 4)])).unwrap();
        assert_eq!(places.take_one(&"anna").unwrap_err(), Full::Share);
        // Where one of two has no room left, neither takes any.
        assert_eq!(places.take(2, by([("anna", 1), ("boris", 1)])).unwrap_err(), Full::Share);
        let boris = places.take(5, by([("boris", 4)])).unwrap();
        assert_eq!(places.would_take(2, &by([("dora", 2)])), Err(Full::All));
        let dora = places.take_one(&"dora").unwrap();
        assert_eq!(places.take_one(&"sven").unwrap_err(), Full::All);
        drop(anna);
        assert!(places.take(4, by([("anna", 4)])).is_ok());
        drop((boris, dora));
        let held = places.held.lock().unwrap();
        assert_eq!((held.all, held.by.len()), (0, 0));
    }

    #[test]
    fn a_closed_one_gives_none() {
        let places = Places::new(2, 2);
        let one = places.take_one(&"anna").unwrap();
        places.close();
        assert_eq!(places.take_one(&"boris").unwrap_err(), Full::Closed);
        drop(one);
        assert_eq!(places.would_take(0, &by([])), Err(Full::Closed));
    }
}
