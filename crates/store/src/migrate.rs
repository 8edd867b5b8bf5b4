//! Brings a database to the schema of `migrations/`, which this program carries. Not the schema itself, and not the
//! roles' passwords.

use std::time::Duration;

pub use tokio_postgres::Config;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::connect::{Fence, Target, Transport, TransportError, Wanted};

mod sql {
    refinery::embed_migrations!("../../migrations");
}

/// The advisory lock that the migrations of one database take turns on.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"migrate\0");

/// How long a server may take to answer at all.
const CONNECT: Duration = Duration::from_secs(30);

/// Why a database could not be made or migrated.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum MigrateError {
    #[error("cannot make the database {name}")]
    Create { name: String, source: tokio_postgres::Error },
    #[error("cannot connect in order to migrate the database")]
    Connect(#[source] tokio_postgres::Error),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the database does not answer")]
    Silent,
    #[error("cannot take turns with other migrations")]
    Lock(#[source] tokio_postgres::Error),
    #[error("cannot migrate the database")]
    Migrate(#[source] Box<refinery::Error>),
}

/// Applies what the database lacks. Any number of processes may call this at once: one works, the others wait and find
/// nothing left to do. `admin` must be allowed to create roles and to own the schema. If the future is dropped before
/// it is done, drop `admin` as well: its session holds the lock.
pub async fn migrate(admin: &mut Client) -> Result<(), MigrateError> {
    admin.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]).await.map_err(MigrateError::Lock)?;
    let migrated = sql::migrations::runner().run_async(admin).await;
    let unlocked = admin.execute("SELECT pg_advisory_unlock($1)", &[&LOCK_KEY]).await;
    migrated.map_err(|error| MigrateError::Migrate(Box::new(error)))?;
    unlocked.map_err(MigrateError::Lock)?;
    Ok(())
}

/// As [`migrate`], on a connection of its own to the newest primary.
pub async fn migrate_at(transport: &Transport, admin: &Config) -> Result<(), MigrateError> {
    let target = Target::new(admin, transport, Wanted::Primary, &Fence::new())?;
    let connected = tokio::time::timeout(CONNECT, target.connect()).await;
    let mut link = connected.map_err(|_| MigrateError::Silent)?.map_err(MigrateError::Connect)?;
    migrate(&mut link.client).await
}

/// Makes the database `name` if it is not there, in UTF-8 and ordered by bytes wherever it runs. `admin` connects to
/// another database of a server on the same machine (without TLS) as a role that may create databases.
pub async fn ensure_database(admin: &Config, name: &str) -> Result<(), MigrateError> {
    let created = create_database(admin, name).await;
    created.map_err(|source| MigrateError::Create { name: name.to_owned(), source })
}

async fn create_database(admin: &Config, name: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = admin.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let found = client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await?;
    if found.is_none() {
        let quoted = name.replace('"', "\"\"");
        let sql = format!("CREATE DATABASE \"{quoted}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
        let taken = [SqlState::DUPLICATE_DATABASE, SqlState::UNIQUE_VIOLATION];
        match client.batch_execute(&sql).await {
            // Another process was faster.
            Err(error) if error.code().is_some_and(|code| taken.contains(code)) => {}
            other => other?,
        }
    }
    drop(client);
    // The session is over before anybody uses this database as a template, or drops it.
    let _ = connection.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::tests::{TestDir, connect};
    use crate::embedded::{Embedded, find_server};

    #[tokio::test]
    async fn migrates_many_databases_of_one_cluster_at_once() {
        let dir = TestDir::new("migrate");
        let server = Embedded::start(&find_server(None).unwrap(), dir.path()).unwrap();
        let admin = server.config("postgres", "postgres");
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let name = format!("ledger \"{}\"", n % 4);
                let (admin, target) = (admin.clone(), server.config("postgres", &name));
                tokio::spawn(async move {
                    ensure_database(&admin, &name).await.unwrap();
                    let mut client = connect(&target).await.unwrap();
                    migrate(&mut client).await.unwrap();
                    migrate(&mut client).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for role in crate::embedded::ROLES {
            connect(&server.config(role, "ledger \"3\"")).await.unwrap();
        }
        let client = connect(&admin).await.unwrap();
        let sql = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'safeconduct_owner'";
        assert!(!client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
        server.stop().unwrap();
    }
}
