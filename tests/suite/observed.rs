//! What can be seen of the program from outside while it pays: its metrics, its traces and its log, after one whole life of
//! payments. None of them tells whose payments these were.

mod metrics;
mod traces;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use records::Body;
use records::disbursements::{BankConfirmation, BankRejection, BankReturn, Release};
use rustix::process::{Pid, Signal, kill_process};
use signing::digest::Digest;
use tests::binary::safeconduct;
use tests::cluster::scratch;
use tests::service::{Clock, ledger_keys, write_keys};
use tests::world::{Desk, STAFF, evidence, get_unsigned, id, policy, post_raw, usd};

const PASSPHRASE: &str = "correct horse battery staple";

/// The program with its own PostgreSQL, observed.
struct Observed {
    desk: Desk,
    /// What it printed before it was ready, by name.
    printed: Vec<(String, String)>,
    log: PathBuf,
    service: Child,
}

impl Observed {
    fn start(flags: &[&str], level: &str) -> Observed {
        let data = scratch("observed").join("data");
        DirBuilder::new().mode(0o700).create(&data).unwrap();
        write_keys(&data, PASSPHRASE);
        let log = data.join("service.log");
        let mut service = Command::new(safeconduct())
            .args(["serve", "--listen", "127.0.0.1:0", "--origin", ledger_keys().origin.as_str(), "--data"])
            .arg(&data)
            .args(flags)
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut printed = vec![];
        let mut is_ready = false;
        for line in BufReader::new(service.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            is_ready = line == "ready";
            if is_ready {
                break;
            }
            if let Some((name, value)) = line.split_once("  ") {
                printed.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        assert!(is_ready, "{}", fs::read_to_string(&log).unwrap());
        let url = printed.iter().find(|(name, _)| name == "url").unwrap().1.clone();
        let desk = Desk { url, clock: Clock::default(), ledger: Digest::of("no ledger yet") };
        Observed { desk, printed, log, service }
    }

    /// What was printed under a name.
    fn said(&self, name: &str) -> &str {
        let found = self.printed.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no {name} in {:?}", self.printed)).1
    }

    /// Ends it orderly, and answers its log.
    fn stop(&mut self) -> String {
        let pid = Pid::from_raw(self.service.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.service.wait().unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(status.success(), "{status}\n{log}");
        log
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if self.service.try_wait().is_ok_and(|ended| ended.is_none()) {
            let pid = i32::try_from(self.service.id()).ok().and_then(Pid::from_raw);
            // Its PostgreSQL ends with it.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let _ = self.service.wait();
        }
    }
}

/// The ids that occur in [`whole_life`], apart from those of people.
const IDS: [&str; 13] = [
    "a1",
    "b1",
    "f1",
    "h1",
    "case-1",
    "case-1-ref",
    "case-2",
    "case-2-ref",
    "d-1",
    "d-2",
    "bonus",
    "grant",
    "new-life",
];

/// A payment that the bank refuses, books, sends back and books again; reads by everybody; and what is refused.
fn whole_life(desk: &mut Desk) {
    desk.found(policy());
    desk.fund("200000.00");
    desk.offer();
    desk.case("case-1", "north", true);
    desk.case("case-2", "south", false);
    desk.ok("anna", Body::Request(desk.request("d-1", "case-1", "bonus", "100000.00")));
    desk.ok("boris", desk.approval("d-1"));
    desk.ok("dora", desk.approval("d-1"));
    let request = desk.effect("d-1").request;
    let release = || Body::Release(Release { bank: id("b1"), disbursement: id("d-1"), request });
    let value_date = desk.clock.now().date();
    let confirmed = || {
        Body::BankConfirmation(BankConfirmation { disbursement: id("d-1"), evidence: evidence(), value_date })
    };
    desk.ok("paul", release());
    desk.ok("rita", Body::BankRejection(BankRejection { disbursement: id("d-1"), evidence: evidence() }));
    desk.ok("paul", release());
    desk.ok("rita", confirmed());
    let kept = usd("25.00");
    let returned = BankReturn { disbursement: id("d-1"), evidence: evidence(), kept, value_date };
    desk.ok("rita", Body::BankReturn(returned));
    desk.ok("paul", release());
    desk.ok("rita", confirmed());

    let again = desk.request("d-2", "case-1", "bonus", "100000.00");
    desk.refuse("anna", Body::Request(again), "obligation_exists");
    let uncleared = desk.request("d-2", "case-2", "grant", "5000.00");
    desk.refuse("anna", Body::Request(uncleared), "screening_open");
    desk.refuse("anna", release(), "role_missing");
    for (who, path, status) in [
        ("north", "/v1/agency/cases?limit=7", 200),
        ("north", "/v1/agency/cases/case-1-ref", 200),
        ("north", "/v1/agency/cases/case-1-ref/statement?limit=7", 200),
        ("north", "/v1/agency/cases/case-2-ref", 404),
        ("north", "/v1/agency/cases/CASE-2-REF", 400),
        ("sven", "/v1/cases?limit=1&cursor=case-1", 200),
        ("anna", "/v1/funds/f1/accounts", 200),
        ("anna", "/v1/disbursements/d-1", 200),
        ("anna", "/v1/cases/case-1", 404),
        ("mallory", "/v1/agency/cases/case-1-ref", 403),
        ("ada", "/v1/bundle", 200),
    ] {
        assert_eq!(desk.get(who, path).status, status, "{path}");
    }
    assert_eq!(get_unsigned(&desk.url, "/v1/agency/cases/case-1-ref").status, 401);
    let refused = post_raw(&format!("{}/v1/instructions", desk.url), "{\"case-1\": \"case-1-ref\"}");
    assert_eq!((refused.status, refused.code()), (400, "body_invalid"));
}

/// Every id of [`whole_life`], those of people and the ledger's among them.
fn every_id(desk: &Desk) -> BTreeSet<String> {
    let people = STAFF.map(|(name, _)| name).into_iter().chain(["karl", "kira", "mallory"]);
    IDS.into_iter().chain(people).map(str::to_owned).chain([desk.ledger.to_string()]).collect()
}

/// Nothing here tells whose payments these were, or how much.
fn assert_anonymous(text: &str, ids: &BTreeSet<String>) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut words = text.split(|c| !is_part(c));
    let found = words.find(|word| ids.contains(&word.to_ascii_lowercase()));
    assert_eq!(found, None, "{text}");
    for part in ["case-1", "case-2", "-ref", "-REF", "CASE", "100000.00", "200000.00", "5000.00", "USD"] {
        let line = text.lines().find(|line| line.contains(part));
        assert_eq!(line, None, "{part}");
    }
}
