//! What the machine and PostgreSQL can do without us, on the same cluster: one-row commits, COPY of the same rows, and
//! Ed25519.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use postgres::NoTls;
use signing::digest::Digest;
use tests::cluster::runtime;
use tokio::sync::Barrier;

use crate::figures::Window;
use crate::process::Process;

/// As many rows as a list of 1,000 requests makes.
const LIST_RECORDS: i64 = 2_001;
const COPIED: [&str; 2] = ["records", "postings"];

/// The table of one-row commits: a key, and 800 bytes that do not shrink.
pub struct Commits {
    database: tokio_postgres::Config,
    next: Arc<AtomicI64>,
}

fn blocking(config: &tokio_postgres::Config) -> postgres::Client {
    postgres::Config::from(config.clone()).connect(NoTls).expect("PostgreSQL answers")
}

impl Commits {
    /// In a database of its own on the service's cluster.
    pub fn prepare(process: &Process) -> Commits {
        let (admin, database) = (process.database("postgres"), process.database("commits"));
        runtime().block_on(store::migrate::ensure_database(&admin, "commits")).expect("a database");
        let table = "CREATE TABLE IF NOT EXISTS rows (id bigint PRIMARY KEY, payload bytea NOT NULL)";
        blocking(&database).batch_execute(table).expect("a table");
        Commits { database, next: Arc::default() }
    }

    /// One row a commit, on this many connections.
    pub fn window(&self, process: &Process, connections: usize, limit: Duration) -> Window {
        runtime().block_on(async {
            let ready = Arc::new(Barrier::new(connections + 1));
            let mut tasks = vec![];
            for _ in 0..connections {
                let (client, connection) = self.database.connect(NoTls).await.expect("PostgreSQL answers");
                tokio::spawn(connection);
                let (next, ready) = (Arc::clone(&self.next), Arc::clone(&ready));
                tasks.push(tokio::spawn(async move {
                    let insert =
                        client.prepare("INSERT INTO rows VALUES ($1, $2)").await.expect("a statement");
                    let payload: Vec<u8> = (0..25).flat_map(|n: u8| *Digest::of([n]).as_bytes()).collect();
                    ready.wait().await;
                    let (deadline, mut latencies_us) = (Instant::now() + limit, vec![]);
                    loop {
                        let began = Instant::now();
                        if began >= deadline {
                            return latencies_us;
                        }
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        client.execute(&insert, &[&id, &payload]).await.expect("a commit");
                        latencies_us.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                }));
            }
            ready.wait().await;
            let (began, before) = (Instant::now(), process.cpu());
            let mut latencies_us = vec![];
            for task in tasks {
                latencies_us.extend(task.await.expect("a connection"));
            }
            let (elapsed_s, cpu) = (began.elapsed().as_secs_f64(), process.cpu() - before);
            Window { count: latencies_us.len() as u64, elapsed_s, latencies_us, cpu, ..Window::default() }
        })
    }
}

/// COPY of the rows of the log's first records, with their postings, into the same schema with the same indexes and
/// triggers: in transactions as large as a list of 1,000, or all in one. Counts entries, as lists count lines.
pub fn copy(process: &Process, records: u64, in_one: bool) -> Window {
    let (from, admin, to) = ("safeconduct", process.database("postgres"), "copied");
    blocking(&admin).batch_execute("DROP DATABASE IF EXISTS copied").expect("no database");
    let target = process.database(to);
    runtime()
        .block_on(async {
            store::migrate::ensure_database(&admin, to).await?;
            store::migrate::migrate_at(&store::Transport::Sockets, &target).await
        })
        .expect("a migrated database");
    let (mut source, mut target) = (blocking(&process.database(from)), blocking(&target));
    let records = i64::try_from(records).expect("a size");
    let step = if in_one { records } else { LIST_RECORDS };
    let mut read = |sql: &str| {
        let mut bytes = vec![];
        let sql = format!("COPY ({sql}) TO STDOUT (FORMAT binary)");
        source.copy_out(&sql).expect("a COPY").read_to_end(&mut bytes).expect("rows");
        bytes
    };
    let funds = read("SELECT * FROM funds");
    let parts: Vec<_> = (0..records)
        .step_by(usize::try_from(step).expect("a size"))
        .map(|first| {
            let last = records.min(first + step) - 1;
            COPIED.map(|table| {
                let key = if table == "records" { "position" } else { "entry" };
                read(&format!("SELECT * FROM {table} WHERE {key} BETWEEN {first} AND {last} ORDER BY {key}"))
            })
        })
        .collect();
    let write = |transaction: &mut postgres::Transaction<'_>, table: &str, bytes: &[u8]| {
        let sql = format!("COPY {table} FROM STDIN (FORMAT binary)");
        let mut writer = transaction.copy_in(&sql).expect("a COPY");
        writer.write_all(bytes).expect("rows");
        writer.finish().expect("rows that the triggers let through");
    };
    let mut transaction = target.transaction().expect("a transaction");
    write(&mut transaction, "funds", &funds);
    transaction.commit().expect("a commit");

    let (began, before) = (Instant::now(), process.cpu());
    for part in &parts {
        let mut transaction = target.transaction().expect("a transaction");
        for (table, bytes) in COPIED.iter().zip(part) {
            write(&mut transaction, table, bytes);
        }
        transaction.commit().expect("a commit");
    }
    let (elapsed_s, cpu) = (began.elapsed().as_secs_f64(), process.cpu() - before);
    let entries = target.query_one("SELECT count(DISTINCT entry) FROM postings", &[]).expect("a count");
    let count = u64::try_from(entries.get::<_, i64>(0)).expect("a count");
    drop(target);
    blocking(&admin).batch_execute("DROP DATABASE copied").expect("no database");
    Window { count, elapsed_s, cpu, ..Window::default() }
}

/// Which half of a signature scheme.
#[derive(Debug, Clone, Copy)]
pub enum Ed25519 {
    /// Signing.
    Sign,
    /// Strict verification.
    Verify,
}

/// How often this machine signs, or verifies strictly, messages as long as an instruction, on this many cores. The crate
/// alone, with keys that are parsed already.
pub fn ed25519(process: &Process, half: Ed25519, cores: usize, limit: Duration) -> Window {
    let (began, before) = (Instant::now(), process.cpu());
    let count = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| of_one(half, limit))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    });
    let (elapsed_s, cpu) = (began.elapsed().as_secs_f64(), process.cpu() - before);
    Window { count, elapsed_s, cpu, ..Window::default() }
}

fn of_one(half: Ed25519, limit: Duration) -> u64 {
    let signed: Vec<(SigningKey, Vec<u8>, Signature)> = (0..32_u8)
        .map(|number| {
            let key = SigningKey::from_bytes(Digest::of([number]).as_bytes());
            let message = vec![number; 700];
            let signature = key.sign(&message);
            (key, message, signature)
        })
        .collect();
    let verifying: Vec<_> = signed.iter().map(|(key, _, _)| key.verifying_key()).collect();
    let (deadline, mut count) = (Instant::now() + limit, 0);
    while Instant::now() < deadline {
        for ((key, message, signature), verifying) in signed.iter().zip(&verifying) {
            match half {
                Ed25519::Sign => drop(black_box(key.sign(message))),
                Ed25519::Verify => verifying.verify_strict(message, signature).expect("a good signature"),
            }
            count += 1;
        }
    }
    count
}
