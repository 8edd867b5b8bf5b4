//! What can go wrong with the database, classed by SQLSTATE and constraint name, never by a message's text.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{Severity, SqlState};

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or none in time.
    #[error("no connection to the database")]
    Pool(#[source] Box<PoolError>),
    /// A statement failed, or the connection did.
    #[error("the database failed")]
    Database(#[from] tokio_postgres::Error),
    /// The connection is gone.
    #[error("the connection to the database is gone")]
    Gone,
    /// The server did not answer in time.
    #[error("the database does not answer")]
    Silent,
    /// The wait for a standby was cancelled: what was committed may be lost with the primary.
    #[error("it is not known whether a standby has what was committed")]
    NotReplicated,
    /// A newer primary was seen while this one was connected to.
    #[error("there is a newer primary than this server")]
    Overtaken,
    /// What is to be stored could not be packed.
    #[error("what is to be stored could not be packed")]
    Packing(#[from] std::io::Error),
    /// The database holds what the service never wrote there.
    #[error("the table {table} holds what the service never wrote: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// What a failure means for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection or the server is gone, or too busy: the same may work on a new connection.
    Lost,
    /// The server is not the primary that was seen last: it is a standby, or older.
    Standby,
    /// A constraint refused the data, by name. After the rules have decided, that is a fault of this program.
    Refused {
        /// The constraint's name.
        constraint: String,
    },
    /// Anything else: a fault of this program or of the database.
    Other,
}

impl StoreError {
    /// What it means.
    pub fn fault(&self) -> Fault {
        let error = match self {
            StoreError::Pool(error) => match &**error {
                PoolError::Backend(error) => error,
                PoolError::Timeout(_) => return Fault::Lost,
                _ => return Fault::Other,
            },
            StoreError::Database(error) => error,
            StoreError::Gone | StoreError::Silent | StoreError::NotReplicated => return Fault::Lost,
            StoreError::Overtaken => return Fault::Standby,
            StoreError::Packing(_) | StoreError::Corrupt { .. } => return Fault::Other,
        };
        let Some(refused) = error.as_db_error() else {
            // Without an answer of the server only the connection can have failed, or the encoding of a parameter.
            return if error.code().is_none() && is_of_connection(error) {
                Fault::Lost
            } else {
                Fault::Other
            };
        };
        let code = refused.code();
        match code.code().get(..2) {
            // Connections, resources, an operator, a lost race; 58 is the system below, such as its disk.
            Some("08" | "53" | "57" | "58" | "40") => Fault::Lost,
            Some("23") => {
                Fault::Refused { constraint: refused.constraint().unwrap_or("(unnamed)").to_owned() }
            }
            // The limits on locks and statements.
            Some("55") if *code == SqlState::LOCK_NOT_AVAILABLE => Fault::Lost,
            Some("55") if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Fault::Standby,
            Some("25") if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Fault::Standby,
            _ => Fault::Other,
        }
    }

    /// Whether a statement failed, and nothing else: it did nothing, and the connection is still there. What ends a session
    /// may come after its commit.
    pub(crate) fn is_of_statement(&self) -> bool {
        let StoreError::Database(error) = self else { return false };
        match error.as_db_error() {
            Some(refused) => refused.parsed_severity() == Some(Severity::Error),
            None => !is_of_connection(error),
        }
    }

    /// Whether the server answered that the log has another head than the one that was to be followed.
    pub(crate) fn has_moved(&self) -> bool {
        matches!(self, StoreError::Database(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE))
    }

    pub(crate) fn corrupt(table: &'static str, problem: impl std::fmt::Display) -> StoreError {
        StoreError::Corrupt { table, problem: problem.to_string() }
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> StoreError {
        StoreError::Pool(Box::new(error))
    }
}

fn is_of_connection(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Transport;
    use crate::embedded::tests::{TestDir, connect};
    use crate::embedded::{Embedded, find_server};
    use crate::pool::{Databases, PoolSizes};

    #[tokio::test]
    async fn faults_are_classed_by_what_the_server_says() {
        let dir = TestDir::new("faults");
        let server = Embedded::start(&find_server(None).unwrap(), dir.path()).unwrap();
        let config = server.config("postgres", "postgres");
        let client = connect(&config).await.unwrap();
        let fault = async |sql: &str| StoreError::from(client.batch_execute(sql).await.unwrap_err()).fault();
        client.batch_execute("CREATE TABLE t (n int CONSTRAINT small CHECK (n < 9))").await.unwrap();
        assert_eq!(
            fault("INSERT INTO t VALUES (9)").await,
            Fault::Refused { constraint: "small".to_owned() }
        );
        assert_eq!(fault("SELEC").await, Fault::Other);
        let standby = "BEGIN READ ONLY; INSERT INTO t VALUES (1)";
        assert_eq!(fault(standby).await, Fault::Standby);
        assert_eq!(
            fault("ROLLBACK; SET lock_timeout = 0; SET statement_timeout = 1; SELECT pg_sleep(1)").await,
            Fault::Lost
        );
        // A parameter of the wrong type never reaches the server, and no new connection mends it.
        let error = client.query("SELECT n FROM t WHERE n = $1", &[&"text"]).await.unwrap_err();
        assert_eq!(StoreError::from(error).fault(), Fault::Other);
        assert_eq!(fault("SELECT pg_terminate_backend(pg_backend_pid())").await, Fault::Lost);
        assert_eq!(fault("SELECT 1").await, Fault::Lost);

        let wait = std::time::Duration::from_secs(5);
        let sizes = PoolSizes { service: 4, read: 16, agency: 16, wait };
        let databases = Databases::new(&Transport::Sockets, |_| config.clone(), sizes).unwrap();
        assert!(databases.read().await.is_ok());
        assert_eq!(databases.session().await.unwrap().epoch().timeline, 1);
        server.stop().unwrap();
        let nowhere = Databases::new(&Transport::Sockets, |_| config.clone(), sizes).unwrap();
        assert_eq!(nowhere.read().await.unwrap_err().fault(), Fault::Lost);
        assert_eq!(nowhere.session().await.unwrap_err().fault(), Fault::Lost);
    }
}
