//! Everything has a limit: what comes above is refused beforehand, what is slow is cut off, and whoever floods the service
//! fills no more than a share of it.

mod slow;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use disbursement_api::app;
use disbursement_api::limits::HttpLimits;
use disbursement_api::pipeline::Settings;
use records::Body;
use records::assets::BankOpening;
use signing::dsse::Envelope;
use tests::binary::{root, safeconduct};
use tests::cluster::scratch;
use tests::http::submission;
use tests::service::Service;
use tests::wait::until;
use tests::world::{Answer, Desk, World, clearance, id, opening, post_raw};

/// Another service of a world's ledger, with other limits of its interface.
fn service(world: &World, settings: Settings, adjust: impl FnOnce(&mut HttpLimits)) -> Service {
    let adjust = |interface: &mut app::Settings| adjust(&mut interface.limits);
    Service::adjusted(&world.database, &world.register, &world.clock, settings, adjust)
}

/// An instruction of dora's, of no consequence to any other.
fn bank(desk: &Desk, name: &str) -> Envelope {
    desk.sign("dora", Body::BankOpening(BankOpening { bank: id(name), currency: id("USD") }))
        .envelope()
        .clone()
}

/// As many of dora's, signed on one basis.
fn banks(desk: &Desk, count: usize) -> Vec<Envelope> {
    let basis = desk.basis();
    let of_one = |number| {
        let opening = BankOpening { bank: id(&format!("b{number}")), currency: id("USD") };
        desk.sign_on(basis, "dora", Body::BankOpening(opening)).envelope().clone()
    };
    (0..count).map(of_one).collect()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text);
    let waits = matches!(status, 429 | 503).then_some("1");
    assert_eq!(answer.headers.get("retry-after").map(String::as_str), waits, "{}", answer.text);
}

fn address(service: &Service) -> SocketAddr {
    service.url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Tells whoever looks that it is over, however that comes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// dora sends a long list again and again on many connections, reads on further ones, and holds hundreds more.
#[test]
fn a_flood_of_one_does_not_starve_the_others() {
    const LISTS: usize = 40;
    const READS: usize = 20;
    const IDLE: usize = 300;
    const SINGLES: usize = 10;
    let world = World::new();
    world.offer();
    let service =
        service(&world, Settings { queue_share: 250, open_share: 10, ..Settings::default() }, |_| {});
    let desk = world.at(&service.url);
    let list = submission(&banks(&world, 100), "each");
    let basis = world.basis();
    let single = |number| world.sign_on(basis, "anna", opening(&format!("case-{number}"), "north"));
    let singles: Vec<Envelope> = (0..SINGLES).map(|number| single(number).envelope().clone()).collect();
    let (is_over, told) = (AtomicBool::new(false), Mutex::new(BTreeMap::<String, usize>::new()));
    let tell = |answer: &Answer| {
        match (answer.status, answer.code()) {
            (200, "ok") => {}
            // A machine that has much else to do.
            (503, code) => assert_refused(answer, 503, code),
            _ => assert_refused(answer, 429, "too_many_open"),
        }
        *told.lock().unwrap().entry(answer.code().to_owned()).or_default() += 1;
        // The clients' own work is not to be the flood.
        thread::sleep(Duration::from_millis(20));
    };
    let count = |code: &str| told.lock().unwrap().get(code).copied().unwrap_or(0);
    let _idle: Vec<TcpStream> = (0..IDLE).map(|_| TcpStream::connect(address(&service)).unwrap()).collect();
    thread::scope(|scope| {
        let _end = End(&is_over);
        for _ in 0..LISTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    tell(&post_raw(&format!("{}/v1/instructions", desk.url), &list));
                }
            });
        }
        for _ in 0..READS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    tell(&desk.get("dora", "/v1/funds"));
                }
            });
        }
        until("the flood", || count("too_many_open") > 20 && count("ok") > 0);
        for single in &singles {
            let answer = desk.post(std::slice::from_ref(single), "each");
            assert_eq!((answer.status, answer.code()), (200, "ok"), "{}", answer.text);
            assert_eq!(desk.get("north", "/v1/agency/cases?limit=1").status, 200);
        }
    });
}

/// dora's share is full of the largest lists that there may be, and she sends further ones without a pause. The others come
/// later, with one instruction each, and find their places: behind no more than her share, before whatever she sends then.
#[test]
fn the_largest_lists_of_one_cost_the_others_the_time_of_a_share() {
    // The proportions of config/limits.toml.
    const LIST: usize = 200;
    const SHARE: usize = 2 * LIST;
    const FLOODS: usize = 6;
    let world = World::new();
    world.offer();
    world.case("waiting", "north", false);
    let receipt_wait = Duration::from_secs(50);
    let settings = Settings {
        group_limit: LIST,
        queue_share: SHARE,
        queue_limit: 5 * SHARE,
        receipt_wait,
        ..Settings::default()
    };
    let service = service(&world, settings, |limits| {
        limits.request_instructions = LIST;
        limits.answer_timeout = Duration::from_secs(55);
    });
    let desk = world.at(&service.url);
    let all = banks(&world, (2 + FLOODS) * LIST);
    let mut lists = all.chunks(LIST);
    let basis = world.basis();
    let act = world.enrolment("later", "later", &[records::governance::Role::Payer]);
    let mut singles: Vec<Envelope> = [
        world.sign_on(basis, "sven", clearance("waiting")),
        world.sign_on(basis, "karl", Body::Proposal(records::governance::Proposal { act })),
    ]
    .map(|record| record.envelope().clone())
    .into();
    singles.extend((0..5).map(|number| {
        world.sign_on(basis, "anna", opening(&format!("case-{number}"), "north")).envelope().clone()
    }));
    let waiting = |count| until("so many that wait", || service.pipeline().waiting() == count);
    let mut held = world.database.superuser();
    let mut lock = held.transaction().unwrap();
    let before: i64 = lock.query_one("SELECT size FROM head FOR UPDATE", &[]).unwrap().get(0);
    let (is_over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let later = thread::scope(|scope| {
        let _end = End(&is_over);
        let mut hers = vec![];
        for (number, list) in lists.by_ref().take(2).enumerate() {
            hers.push(scope.spawn(|| desk.post(list, "each")));
            waiting((number + 1) * LIST);
        }
        let flood: Vec<_> = lists
            .map(|list| {
                let (desk, is_over) = (&desk, &is_over);
                let refused = &refused;
                scope.spawn(move || {
                    let mut is_first = true;
                    loop {
                        let answer = desk.post(list, "each");
                        if answer.status == 200 || is_over.load(Ordering::Relaxed) {
                            return answer;
                        }
                        assert_refused(&answer, 429, "too_many_open");
                        refused.fetch_add(usize::from(is_first), Ordering::Relaxed);
                        is_first = false;
                    }
                })
            })
            .collect();
        until("the flood", || refused.load(Ordering::Relaxed) == FLOODS);
        let others: Vec<_> = singles
            .iter()
            .zip(1..)
            .map(|(single, number)| {
                let other = scope.spawn(|| desk.post(std::slice::from_ref(single), "each"));
                waiting(SHARE + number);
                other
            })
            .collect();
        assert!(hers.iter().chain(&others).all(|answer| !answer.is_finished()));
        lock.rollback().unwrap();
        let share = u64::try_from(before).unwrap() + SHARE as u64;
        for other in others {
            let answer = other.join().unwrap();
            desk.accept(&answer);
            // Each group begins with a record of its own.
            assert!(answer.position() < share + 20, "{} after {share}", answer.position());
        }
        for answer in hers {
            desk.accept(&answer.join().unwrap());
        }
        flood.into_iter().map(|flood| flood.join().unwrap()).collect::<Vec<_>>()
    });
    let last = singles.iter().map(|single| desk.post(std::slice::from_ref(single), "each").position()).max();
    for answer in later {
        desk.accept(&answer);
        assert!(Some(answer.position()) > last, "a list that came later stands before");
    }
}

/// How many connections wait for somebody's lock.
fn locked(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    world.database.superuser().query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn one_principal_has_so_many_reads_open() {
    let world = World::new();
    let service = service(&world, Settings { open_share: 3, ..Settings::default() }, |_| {});
    let desk = world.at(&service.url);
    let mut held = world.database.superuser();
    let mut lock = held.transaction().unwrap();
    lock.batch_execute("LOCK TABLE funds IN ACCESS EXCLUSIVE MODE").unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| desk.get("robot", "/v1/funds"))).collect();
        until("three that wait", || locked(&world) == 3);
        assert_refused(&desk.get("robot", "/v1/founding"), 429, "too_many_open");
        assert_eq!(desk.get("south", "/v1/founding").status, 200);
        lock.rollback().unwrap();
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap().status, 200);
        }
    });
    assert_eq!(desk.get("robot", "/v1/founding").status, 200);
}

#[test]
fn one_principal_has_so_many_instructions_waiting() {
    let world = World::new();
    world.offer();
    let settings = Settings { queue_share: 5, queue_limit: 8, open_share: 3, ..Settings::default() };
    let service = service(&world, settings, |_| {});
    let desk = world.at(&service.url);
    let mine = banks(&world, 9);
    let basis = world.basis();
    let others: Vec<Envelope> = (0..4)
        .map(|n| world.sign_on(basis, "anna", opening(&format!("case-{n}"), "north")).envelope().clone())
        .collect();
    let waiting = |count| until("so many that wait", || service.pipeline().waiting() == count);
    assert_refused(&desk.post(&mine[..6], "each"), 429, "too_many_open");
    let mut held = world.database.superuser();
    let mut lock = held.transaction().unwrap();
    lock.query_one("SELECT size FROM head FOR UPDATE", &[]).unwrap();
    thread::scope(|scope| {
        let four = scope.spawn(|| desk.post(&mine[..4], "each"));
        waiting(4);
        for mode in ["each", "all"] {
            assert_refused(&desk.post(&mine[4..6], mode), 429, "too_many_open");
        }
        // Of two who signed a list, one is enough.
        let both = [&others[..1], &mine[4..6]].concat();
        assert_refused(&desk.post(&both, "each"), 429, "too_many_open");
        let one = scope.spawn(|| desk.post(&mine[4..5], "each"));
        waiting(5);
        assert_refused(&desk.post(&mine[5..6], "each"), 429, "too_many_open");
        // The others have what is left.
        let anna = scope.spawn(|| desk.post(&others[..3], "each"));
        waiting(8);
        assert_refused(&desk.post(&others[3..], "each"), 429, "queue_full");
        assert!(!four.is_finished() && !one.is_finished() && !anna.is_finished());
        lock.rollback().unwrap();
        for answer in [four, one, anna] {
            desk.accept(&answer.join().unwrap());
        }
    });
    desk.accept(&desk.post(&mine[5..], "each"));
    desk.accept(&desk.post(&others, "each"));
}

#[test]
fn a_client_that_goes_away_frees_no_place_of_what_it_left_behind() {
    let world = World::new();
    let service = service(&world, Settings { open_share: 1, ..Settings::default() }, |limits| {
        limits.answer_timeout = Duration::from_secs(2);
    });
    let desk = world.at(&service.url);
    let (first, second) = (bank(&world, "b1"), bank(&world, "b2"));
    let mut held = world.database.superuser();
    let mut lock = held.transaction().unwrap();
    lock.query_one("SELECT size FROM head FOR UPDATE", &[]).unwrap();
    assert_refused(&desk.post(std::slice::from_ref(&first), "each"), 503, "request_timeout");
    assert_refused(&desk.post(std::slice::from_ref(&second), "each"), 429, "too_many_open");
    lock.rollback().unwrap();
    until("room", || desk.post(std::slice::from_ref(&second), "each").status == 200);
    // It is in the log all the same, and before the other.
    let position = |envelope: &Envelope| world.post(std::slice::from_ref(envelope), "each").position();
    assert!(position(&first) < position(&second));
}

#[test]
fn what_is_above_a_limit_is_refused_beforehand() {
    let world = World::new();
    let service = service(&world, Settings::default(), |limits| {
        limits.body_small_bytes = 2000;
        limits.body_bytes = 3000;
        limits.request_instructions = 1;
        limits.page_items = 2;
        limits.page_items_default = 1;
        limits.nonces_per_key = 3;
    });
    let desk = world.at(&service.url);
    let url = format!("{}/v1/instructions", service.url);
    let one = submission(&[bank(&world, "b1")], "each");
    let padded = |bytes: usize| format!("{}{one}", " ".repeat(bytes - one.len()));
    for path in ["", "/check"] {
        let refused = post_raw(&format!("{url}{path}"), &padded(3001));
        assert_refused(&refused, 413, "body_too_large");
        assert_eq!(refused.json["detail"], "3000 bytes at most");
        let pair = submission(&banks(&world, 2), "each");
        if pair.len() <= 3000 {
            let refused = post_raw(&format!("{url}{path}"), &pair);
            assert_refused(&refused, 400, "too_many_instructions");
            assert_eq!(refused.json["detail"], "1 at most");
        }
    }
    assert!(submission(&banks(&world, 2), "each").len() <= 3000, "two are not too many bytes");
    desk.accept(&post_raw(&url, &padded(3000)));
    assert_eq!(desk.get("karl", "/v1/principals").json["items"].as_array().unwrap().len(), 1);
    assert_eq!(desk.get("karl", "/v1/principals?limit=2").json["items"].as_array().unwrap().len(), 2);
    let refused = desk.get("karl", "/v1/principals?limit=3");
    assert_refused(&refused, 400, "query_invalid");
    assert_eq!(refused.json["detail"], "limit is 1 to 2");
    assert_refused(&desk.get("karl", "/v1/principals"), 429, "too_many_requests");
    assert_eq!(desk.get("kira", "/v1/principals").status, 200);
}

#[test]
fn the_program_takes_a_whole_file_of_limits_or_none() {
    let committed = std::fs::read_to_string(root().join("config/limits.toml")).unwrap();
    let file = scratch("limits").join("limits.toml");
    let data = scratch("limits").join("data");
    for (text, says) in [
        (committed.replace("\nrequests = 512\n", "\n"), "missing field `requests`"),
        (committed.replace("\nrequests = 512\n", "\nrequests = 512\nmore = 1\n"), "unknown field `more`"),
        (committed.replace("\nrequests = 512\n", "\nrequests = 8\n"), "must not exceed requests"),
    ] {
        assert_ne!(text, committed);
        std::fs::write(&file, text).unwrap();
        let mut serve = Command::new(safeconduct());
        serve.args(["serve", "--data"]).arg(&data).arg("--limits").arg(&file);
        let output = serve.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(says) && error.contains("limits.toml"), "{says}: {error}");
        assert!(!output.status.success() && !data.exists());
    }
}
