//! What lies in PostgreSQL, and what an auditor does with the whole of it.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::time::Instant;

use postgres::NoTls;
use tests::people::Person;
use tests::world::nonce;

use crate::figures::Window;
use crate::process::Process;
use crate::supply::Supply;

fn ledger(process: &Process) -> postgres::Client {
    postgres::Config::from(process.database("safeconduct")).connect(NoTls).expect("PostgreSQL answers")
}

fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).expect("a size")
}

/// Bytes of the ledger's database, everything in it; the write-ahead log is not.
pub fn database_bytes(process: &Process) -> u64 {
    let sql = "SELECT pg_database_size(current_database())";
    unsigned(ledger(process).query_one(sql, &[]).expect("a size").get(0))
}

/// Bytes by table, without its indexes, and by index; the largest first.
pub fn bytes_by_relation(process: &Process) -> Vec<(String, u64)> {
    let sql = "SELECT relname::text, pg_table_size(oid) FROM pg_class \
        WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC, 1";
    let rows = ledger(process).query(sql, &[]).expect("sizes");
    rows.iter().map(|row| (row.get(0), unsigned(row.get(1)))).collect()
}

/// What the server says about itself.
pub fn server(process: &Process) -> Vec<(&'static str, String)> {
    let mut client = ledger(process);
    ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"]
        .map(|name| (name, client.query_one(&format!("SHOW {name}"), &[]).expect("a setting").get(0)))
        .to_vec()
}

/// Exports the bundle to a file, as an auditor does, and has it verified on all cores: how many records it holds.
pub fn replay(process: &Process, supply: &Supply, dir: &Path) -> Window {
    let path = dir.join("bundle.ndjson");
    export(process, &Person::new("ada"), &supply.desk, &path);
    let (began, before) = (Instant::now(), process.cpu());
    let bundle = BufReader::with_capacity(1 << 20, File::open(&path).expect("the bundle"));
    let report = auditor::verify(bundle, supply.desk.ledger).expect("an audit");
    let (elapsed_s, cpu) = (began.elapsed().as_secs_f64(), process.cpu() - before);
    assert!(report.is_verified(), "{report}");
    fs::remove_file(&path).expect("the bundle goes");
    let count = report.checked.records;
    Window { count, elapsed_s, cpu, log: (count, count), ..Window::default() }
}

fn export(process: &Process, person: &Person, desk: &tests::world::Desk, path: &Path) {
    let target = format!("{}/v1/bundle", process.url());
    let now = desk.clock.now().unix();
    let signed = signing::http::sign("GET", &target, b"", &person.key, now, &nonce()).expect("a signature");
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let request = agent
        .get(&target)
        .header("signature-input", signed.signature_input)
        .header("signature", signed.signature);
    let mut response = request.call().expect("a bundle");
    let mut file = File::create(path).expect("a file");
    io::copy(&mut response.body_mut().as_reader(), &mut file).expect("the whole bundle");
}
