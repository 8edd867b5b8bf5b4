//! How much memory an audit takes: `cargo bench -p auditor --bench memory -- 2000000`.
//!
//! Two logs of so many records are made up, of twelve monthly stipends a case: in one every payment went through (request, approval, release,
//! confirmation), in the other every request is still open. Each is written as a bundle, and verified by a process of its own, which
//! says how much it had resident at most.

#![allow(clippy::unwrap_used, reason = "a measurement, like a test, ends where something is wrong")]
#![allow(missing_docs, reason = "it shares modules with the tests")]
#![allow(dead_code, reason = "the same")]

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use records::Body;
use records::bundle::{balance_line, header_line};
use records::cases::{Benefit, BenefitKind, CaseOpening, Offer, OfferVersion, Screening, ScreeningOutcome};
use records::disbursements::{BankConfirmation, Channel, Request};
use records::scalar::{Evidence, Integer, Salt};
use signing::digest::Digest;

use crate::ledger::{DAY_S, HOUR_S, parse, usd};
use crate::story::Story;

#[path = "../tests/audit/ledger.rs"]
mod ledger;
#[path = "../tests/audit/staff.rs"]
mod staff;
#[path = "../tests/audit/story.rs"]
mod story;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How far each payment of a log goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Requested,
    Paid,
}

/// How many requests a group has.
const GROUP: u64 = 100;
const MONTHS: u64 = 12;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match &args[..] {
        [verb, file, ledger] if verb == "verify" => verify(Path::new(file), parse(ledger)),
        [] => measure(100_000),
        [records] => measure(records.parse().expect("a number of records")),
        _ => panic!("give a number of records"),
    }
}

fn measure(records: u64) {
    for (name, until) in [("open requests", Until::Requested), ("payments", Until::Paid)] {
        let file = std::env::temp_dir().join(format!("safeconduct-memory-{}.ndjson", std::process::id()));
        let ledger = write(&file, records, until);
        let program = std::env::current_exe().unwrap();
        let verified =
            Command::new(program).arg("verify").arg(&file).arg(ledger.to_string()).output().unwrap();
        fs::remove_file(&file).unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        println!("{name}: {}", String::from_utf8_lossy(&verified.stdout).trim());
    }
}

fn verify(file: &Path, ledger: Digest) {
    let began = Instant::now();
    let bundle = BufReader::with_capacity(1 << 20, File::open(file).unwrap());
    let report = auditor::verify(bundle, ledger).unwrap();
    assert!(report.is_verified(), "{report}");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kb =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    let mb = kb.parse::<u64>().unwrap() / 1024;
    println!("{} records in {:.0} s, {mb} MB at most", report.checked.records, began.elapsed().as_secs_f64());
}

/// Writes the bundle of such a log, and gives the ledger's id.
fn write(file: &Path, records: u64, until: Until) -> Digest {
    let mut story = Story::funded("safeconduct.test/log");
    story.ledger.keeps_earlier = false;
    offer_stipends(&mut story);
    let mut made = 0;
    while story.ledger.size() < records {
        if made % MONTHS == 0 {
            open_case(&mut story, made / MONTHS);
        }
        let one = (made / MONTHS, made % MONTHS);
        if made % GROUP == 0 {
            story.ledger.begin_group(if until == Until::Paid { HOUR_S } else { 60 });
        }
        pay(&mut story, one, until);
        made += 1;
    }
    let ledger = &story.ledger;
    let mut out = BufWriter::new(File::create(file).unwrap());
    let balances = ledger.balances();
    let sealed = ledger.bundle_header(&balances);
    out.write_all(header_line(&sealed).as_bytes()).unwrap();
    for balance in &balances {
        out.write_all(balance_line(balance).as_bytes()).unwrap();
    }
    for leaf in &ledger.leaves {
        out.write_all(leaf).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.flush().unwrap();
    ledger.id
}

fn evidence() -> Evidence {
    Evidence { holder: parse("dora"), kind: parse("a document"), sha256: Digest::of("a document") }
}

fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}{}", &Digest::of(format!("{prefix}{number}")).to_string()[..20])
}

fn open_case(story: &mut Story, case: u64) {
    let Story { ledger, staff } = story;
    ledger.begin_group(1);
    let opening = CaseOpening {
        agency: staff.agency.principal.clone(),
        agency_ref: parse(&name("r-", case)),
        case: parse(&name("c-", case)),
        entered: parse("2030-01-01"),
        offer: offer(),
    };
    ledger.take(&staff.preparer, Body::CaseOpening(opening));
    let screening = Screening {
        case: parse(&name("c-", case)),
        evidence: evidence(),
        outcome: ScreeningOutcome::Cleared,
        person: Digest::of("a salted commitment"),
    };
    ledger.take(&staff.screener, Body::Screening(screening));
}

fn offer() -> OfferVersion {
    OfferVersion { offer: parse("stipends"), version: Integer(1) }
}

fn month(number: u64) -> String {
    format!("month-{number:02}")
}

fn offer_stipends(Story { ledger, staff }: &mut Story) {
    let stipend =
        |number| Benefit { benefit: parse(&month(number)), kind: BenefitKind::Cash { amount: usd("1.00") } };
    let offer = Offer {
        benefits: (0..MONTHS).map(stipend).collect(),
        offer: offer().offer,
        valid_from: parse("2030-01-01"),
        version: Integer(1),
    };
    ledger.begin_group(60);
    ledger.take(&staff.director, Body::Offer(offer));
}

/// One month's stipend of a case.
fn pay(story: &mut Story, (case, number): (u64, u64), until: Until) {
    let disbursement = name("d-", case * MONTHS + number);
    let request = Request {
        amount: usd("1.00"),
        benefit: parse(&month(number)),
        case: parse(&name("c-", case)),
        channel: Channel::Manual {},
        disbursement: parse(&disbursement),
        expires: story.ledger.now.plus(60 * DAY_S).unwrap(),
        fund: parse("f1"),
        occurrence: Integer(1),
        offer: offer(),
        salt: Salt::from_bytes(*Digest::of(&disbursement).as_bytes()),
    };
    let request = story.ledger.take(&story.staff.preparer, Body::Request(request));
    if until == Until::Requested {
        return;
    }
    story.approve(|staff| &staff.approver, &disbursement);
    let release = story.release(&disbursement, request);
    story.ledger.take(&story.staff.payer, release);
    let confirmation = BankConfirmation {
        disbursement: parse(&disbursement),
        evidence: evidence(),
        value_date: parse("2030-01-01"),
    };
    story.ledger.take(&story.staff.reconciler, Body::BankConfirmation(confirmation));
}
