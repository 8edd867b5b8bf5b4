//! The publisher's connection: what it asks for each head is one round trip, and one more to store the checkpoint.

use std::ops::Deref;

use signing::digest::Digest;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::error::StoreError;
use crate::log::{self, Head, SignedHead, head_of, signed};
use crate::session::{REPLICATED, Session};

/// A session whose task follows the log. The statements that it repeats are prepared.
#[derive(Debug)]
pub struct Follower {
    session: Session,
    head: Statement,
    records: Statement,
    checkpoint: Statement,
    replicated: Statement,
}

impl Deref for Follower {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Follower {
    pub(crate) async fn prepare(session: Session) -> Result<Follower, StoreError> {
        let client = session.client();
        let (head, records, checkpoint, replicated) = tokio::try_join!(
            client.prepare(log::HEAD),
            client.prepare(log::RECORDS),
            client.prepare(log::CHECKPOINT),
            client.prepare(REPLICATED),
        )?;
        Ok(Follower { session, head, records, checkpoint, replicated })
    }

    /// The head as it was committed last, and the leaf hashes of the records before it from a position on, `limit` at most,
    /// computed from the envelopes.
    pub async fn head_and_leaves(&self, from: u64, limit: u32) -> Result<(Head, Vec<Digest>), StoreError> {
        let client = self.session.client();
        let (first, end, most) = (signed(from), i64::MAX, i64::from(limit));
        let range: [&(dyn ToSql + Sync); 3] = [&first, &end, &most];
        // Sent in this order, so that the records of the head are there when they are read; later ones may be too.
        let (head, rows) = tokio::join!(
            biased;
            client.query_one(&self.head, &[]),
            client.query(&self.records, &range),
        );
        let head = head_of(&head?)?;
        // What cannot be read here is asked for again, and found out, by whoever needs it.
        let mut envelopes = log::envelopes_of(&rows?, from).unwrap_or_default();
        envelopes.truncate(usize::try_from(head.size.saturating_sub(from)).unwrap_or(usize::MAX));
        Ok((head, envelopes.iter().map(log::leaf_hash).collect()))
    }

    /// [`Session::replicated`].
    pub async fn replicated(&self) -> Result<(), StoreError> {
        let sent = self.session.client().query(&self.replicated, &[]);
        self.session.committed(async { Ok(sent.await.map(drop)?) }).await
    }

    /// Stores a checkpoint and tells everybody. Storing the same one again changes nothing.
    ///
    /// It does not wait for the disk: the register remembers the latest checkpoint, and its publisher stores it again.
    pub async fn store_checkpoint(&self, head: &SignedHead) -> Result<(), StoreError> {
        self.session.client().query(&self.checkpoint, &[&signed(head.size), &head.note]).await?;
        Ok(())
    }
}
