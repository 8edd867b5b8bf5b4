//! The publisher's connection: what it asks for each head is one message, and one more to store the checkpoint.

use std::ops::Deref;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::error::StoreError;
use crate::load::Cells;
use crate::log::{self, Head, Leaf, SignedHead, head_of, signed};
use crate::session::Session;

/// The head, and the records before it from a position on. A head that is larger than `$3` has to be on a standby too, where
/// the server waits for one: so something is committed after it, which says nothing ([`Session::replicated`]).
const READ: &str = "SELECT h.size, h.root, h.frontier, h.recorded_at, h.forked, r.*, \
        CASE WHEN h.size > $3 AND current_setting('synchronous_standby_names') <> '' \
            THEN pg_logical_emit_message(true, 'safeconduct', '') END \
    FROM head h \
    CROSS JOIN LATERAL ( \
        SELECT array_agg(position), array_agg(kind), array_agg(keyid), array_agg(payload), array_agg(signature) \
        FROM ( \
            SELECT position, kind, keyid, payload, signature FROM envelopes \
            WHERE position >= $1 AND position < h.size ORDER BY position LIMIT $2) p) r";

/// A session whose task follows the log. The statements that it repeats are prepared.
#[derive(Debug)]
pub struct Follower {
    session: Session,
    read: Statement,
    checkpoint: Statement,
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
        let (read, checkpoint) = tokio::try_join!(client.prepare(READ), client.prepare(log::CHECKPOINT))?;
        Ok(Follower { session, read, checkpoint })
    }

    /// The head as it was committed last, and the leaves of the records before it from a position on, `limit` at most,
    /// computed from the envelopes. A head that is larger than what is `published` is where a promoted standby has it
    /// ([`Session::replicated`]).
    pub async fn head_and_leaves(
        &self,
        from: u64,
        limit: u32,
        published: u64,
    ) -> Result<(Head, Vec<Leaf>), StoreError> {
        let (first, most, known) = (signed(from), i64::from(limit), signed(published));
        let parameters: [&(dyn ToSql + Sync); 3] = [&first, &most, &known];
        let asked = self.session.client().query_one(&self.read, &parameters);
        let row = self.session.committed(async { Ok(asked.await?) }).await?;
        // What cannot be read here is asked for again, and found out, by whoever needs it.
        Ok((head_of(&row)?, leaves_of(&row, first).unwrap_or_default()))
    }

    /// Stores a checkpoint. Storing the same one again changes nothing.
    ///
    /// It does not wait for the disk: the register remembers the latest checkpoint, and its publisher stores it again.
    pub async fn store_checkpoint(&self, head: &SignedHead) -> Result<(), StoreError> {
        self.session.client().query(&self.checkpoint, &[&signed(head.size), &head.note]).await?;
        Ok(())
    }
}

/// The leaves of a row's records, which begin at a position and have no gap.
fn leaves_of(row: &Row, first: i64) -> Result<Vec<Leaf>, StoreError> {
    let mut cells = Cells::after_head(row);
    let (positions, kinds): (Vec<i64>, Vec<i16>) = (cells.column()?, cells.column()?);
    let keys: Vec<&[u8]> = cells.column()?;
    let (payloads, signatures): (Vec<&[u8]>, Vec<&[u8]>) = (cells.column()?, cells.column()?);
    if positions.iter().zip(first..).any(|(position, expected)| *position != expected) {
        return Err(StoreError::corrupt("records", "a position is missing"));
    }
    let rows = kinds.into_iter().zip(keys).zip(payloads.into_iter().zip(signatures));
    rows.map(|((kind, key), (payload, signature))| {
        Ok(Leaf::of(&log::envelope_of(kind, key, payload, signature)?))
    })
    .collect()
}
