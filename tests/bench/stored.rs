//! What lies in PostgreSQL, and what an auditor does with the whole of it.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use postgres::NoTls;
use signing::digest::Digest;
use tests::people::Person;
use tests::world::{Desk, nonce};

use crate::figures::Window;
use crate::process::Process;

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

/// Payloads and entities, unpacked.
pub fn packed(process: &Process) -> Vec<Vec<u8>> {
    let sql = "SELECT payload FROM records UNION ALL SELECT value FROM entities \
        UNION ALL SELECT state FROM disbursements";
    let rows = ledger(process).query(sql, &[]).expect("rows");
    rows.iter().map(|row| store::packed::unpack(row.get(0)).expect("a frame")).collect()
}

/// What the server says about itself.
pub fn server(process: &Process) -> Vec<(&'static str, String)> {
    let mut client = ledger(process);
    ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"]
        .map(|name| (name, client.query_one(&format!("SHOW {name}"), &[]).expect("a setting").get(0)))
        .to_vec()
}

/// The bundle in a file of the auditor's.
pub struct Bundle {
    path: PathBuf,
    ledger: Digest,
}

impl Bundle {
    /// Verifies it on all cores; counts the records that hold.
    pub fn replay(&self, process: &Process) -> Window {
        let (began, before) = (Instant::now(), process.cpu());
        let file = BufReader::with_capacity(1 << 20, File::open(&self.path).expect("the bundle"));
        let report = auditor::verify(file, self.ledger).expect("an audit");
        let (elapsed_s, cpu) = (began.elapsed().as_secs_f64(), process.cpu() - before);
        assert!(report.is_verified(), "{report}");
        let count = report.checked.records;
        Window { count, elapsed_s, cpu, log: (count, count), ..Window::default() }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Exports the bundle, as an auditor does.
pub fn export(process: &Process, desk: &Desk, dir: &Path) -> Bundle {
    let (path, ada) = (dir.join("bundle.ndjson"), Person::new("ada"));
    let target = format!("{}/v1/bundle", process.url());
    let now = desk.clock.now().unix();
    let signed = signing::http::sign("GET", &target, b"", &ada.key, now, &nonce()).expect("a signature");
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let request = agent
        .get(&target)
        .header("signature-input", signed.signature_input)
        .header("signature", signed.signature);
    let mut response = request.call().expect("a bundle");
    let mut file = File::create(&path).expect("a file");
    io::copy(&mut response.body_mut().as_reader(), &mut file).expect("the whole bundle");
    Bundle { path, ledger: desk.ledger }
}
