//! What is public of the log: the same of a quiet ledger as of a busy one, at the same times, and nothing in between; and the
//! static files that are made of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Connection, Home};
use disbursement_api::pipeline::Settings;
use records::Body;
use records::assets::BankOpening;
use records::governance::{Policy, Publication};
use records::scalar::Integer;
use serde_json::json;
use store::register::Register;
use tests::binary::{root, safeconduct};
use tests::cluster::scratch;
use tests::people::Person;
use tests::replay::prove;
use tests::service::ledger_keys;
use tests::wait::until;
use tests::world::{Answer, World, get_unsigned, id, policy};
use translog::checkpoint::Checkpoint;
use translog::tile::{TileId, entries_path, path, width};
use translog::tree::leaf_hash;

use crate::foreign;

const HOUR_S: i64 = 3600;
const MULTIPLE: u64 = 256;
const PASSPHRASE: &str = "correct horse battery staple";

fn settings() -> Settings {
    Settings { tick: Duration::from_millis(50), ..Settings::default() }
}

/// How far a ledger's clock is from the machine's, in whole hours and what brings it into the middle of one.
struct Place {
    world: World,
    offset_s: i64,
}

impl Place {
    /// A ledger that is founded some hours ago, half past, and has a head public every hour.
    fn founded(hours_ago: i64) -> Place {
        let mut place = Place { world: World::empty(), offset_s: 0 };
        let into_the_hour = place.world.clock.now().unix().rem_euclid(HOUR_S);
        place.go(HOUR_S / 2 - into_the_hour - hours_ago * HOUR_S);
        // A service takes no request that was signed before it began.
        let (settings, register) = (settings(), place.world.register.clone());
        place.world.restart_with(&register, settings);
        let publication = Publication { every_s: Integer(3600), multiple: Integer(MULTIPLE) };
        place.world.found(Policy { publication: Some(publication), ..policy() });
        place
    }

    fn go(&mut self, seconds: i64) {
        self.world.clock.advance(seconds);
        self.offset_s += seconds;
    }

    /// Half past the next hour, when the group is there that is the first of it.
    fn next_hour(&mut self) {
        let before = self.heads().len();
        self.go(HOUR_S);
        until("the hour's first group", || self.heads().len() > before);
    }

    /// The signed heads that are or become public.
    fn heads(&self) -> Vec<i64> {
        let sql = "SELECT coalesce(array_agg(size ORDER BY size), '{}') FROM checkpoints WHERE is_public";
        self.world.database.superuser().query_one(sql, &[]).unwrap().get(0)
    }

    fn size(&self) -> u64 {
        let size: i64 =
            self.world.database.superuser().query_one("SELECT size FROM head", &[]).unwrap().get(0);
        u64::try_from(size).unwrap()
    }

    fn ask(&self, path: &str) -> Answer {
        get_unsigned(&self.world.url, path)
    }

    /// The size that is public.
    fn public(&self) -> Option<u64> {
        let answer = self.ask("/checkpoint");
        if answer.status == 404 {
            assert_eq!(answer.code(), "not_public");
            return None;
        }
        let keys = ledger_keys();
        let read = Checkpoint::parse_and_verify(&answer.text, keys.origin.as_str(), keys.checkpoint.public());
        Some(read.unwrap().size)
    }

    /// Some banks, each in a group of its own.
    fn work(&self, banks: std::ops::Range<u64>) {
        for number in banks {
            let bank = BankOpening { bank: id(&format!("b{number}")), currency: id("USD") };
            self.world.ok("dora", Body::BankOpening(bank));
        }
    }
}

/// Of two ledgers the public sees the same, although one is busy; and of neither more than its public size.
#[test]
fn a_busy_ledger_shows_what_a_quiet_one_shows() {
    let mut places = [Place::founded(9), Place::founded(9)];
    for hour in 0..4_u64 {
        places.iter_mut().for_each(Place::next_hour);
        // The head of the first hour becomes public when that is over.
        let public = (hour > 0).then_some(hour * MULTIPLE);
        let shows = |when: &str| {
            for place in &places {
                assert_eq!(place.public(), public, "hour {hour}, {when}");
                assert_nothing_else(place, public.unwrap_or(0));
            }
        };
        shows("before anything is done");
        places[1].work(hour * 20..(hour + 1) * 20);
        assert!(places[1].size() > places[0].size() + 20);
        shows("afterwards");
        // It becomes public with the hour, and not when the next group is written.
        let sizes = places.each_ref().map(Place::size);
        for (place, size) in places.iter_mut().zip(sizes) {
            place.go(HOUR_S / 2 - 60);
            assert_eq!(place.public(), public, "a minute before the hour");
            assert_eq!(place.size(), size, "something was written at another time");
            place.go(60 - HOUR_S / 2);
        }
    }
    // Whether a head was cosigned, and when, tells how soon another one followed.
    let sql = "INSERT INTO cosigned SELECT size, note || 'a cosignature' FROM checkpoints";
    assert!(places[1].world.database.superuser().execute(sql, &[]).unwrap() > 4);
    for place in &places {
        assert_eq!(place.ask("/checkpoint").text.lines().count(), 5, "only the log's own signature");
    }
    for place in &mut places {
        assert_eq!(place.heads(), [256, 512, 768, 1024]);
        prove(&mut place.world);
    }
}

/// Beyond the public size nobody gets a tile, and an auditor no entries.
fn assert_nothing_else(place: &Place, public: u64) {
    let size = place.size();
    assert!(size > public);
    for level in [0, 1] {
        for index in 0..=size >> (8 * (level + 1)) {
            let tile = TileId { level, index };
            for shown in 1..=256 {
                // Asked for all of them it would take minutes.
                let is_asked = !(3..255).contains(&shown) || shown == width(tile, size) || shown % 97 == 0;
                if !is_asked || width(tile, public) == shown {
                    continue;
                }
                let answer = place.ask(&format!("/{}", path(tile, shown).unwrap()));
                assert_eq!((answer.status, answer.code()), (404, "not_public"), "{tile:?} {shown}");
            }
            let shown = width(tile, size);
            if level == 0 && shown > 0 && width(tile, public) != shown {
                let path = entries_path(index, shown).unwrap();
                let answer = place.world.get("ada", &format!("/{path}"));
                assert_eq!((answer.status, answer.code()), (404, "not_public"), "{path}");
            }
        }
    }
}

/// More than a multiple shows, as a further multiple: nothing can be hidden that is larger than what hides it.
#[test]
fn more_than_a_multiple_is_a_further_multiple() {
    let mut place = Place::founded(9);
    place.next_hour();
    let basis = place.world.basis();
    let banks: Vec<_> = (0..300)
        .map(|number| BankOpening { bank: id(&format!("b{number}")), currency: id("USD") })
        .map(|bank| place.world.sign_on(basis, "dora", Body::BankOpening(bank)).envelope().clone())
        .collect();
    for some in banks.chunks(100) {
        place.world.accept(&place.world.post(some, "all"));
    }
    place.next_hour();
    place.next_hour();
    assert_eq!(place.heads(), [256, 768, 1024]);
    assert_eq!(place.public(), Some(768));
    prove(&mut place.world);
}

/// A publisher that finds several groups at once signs those between that become public.
#[test]
fn no_public_head_is_passed_over() {
    let mut place = Place::founded(9);
    place.next_hour();
    place.world.service.stop();
    let register = Register::open(&place.world.register).unwrap();
    let path = place.world.register.clone();
    place.world.restart_with(&path, settings());
    for hour in 2..5 {
        place.go(HOUR_S);
        until("the hour's first group", || place.size() == hour * MULTIPLE);
    }
    assert_eq!(place.heads(), [256], "somebody else signs");
    drop(register);
    until("the heads", || place.heads() == [256, 512, 768, 1024]);
    assert_eq!(place.public(), Some(768));
}

/// A home of somebody's, which has joined.
fn home(place: &mut Place, who: &str) -> PathBuf {
    let dir = scratch("publishing").join(who);
    let person = Person::new(who);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("key.pem"), person.key.to_pkcs8_pem(PASSPHRASE).unwrap().as_bytes()).unwrap();
    let public = person.key.public();
    let identity = json!({"key": public.id(), "principal": person.principal, "public": public});
    fs::write(dir.join("identity.json"), identity.to_string()).unwrap();
    let ledger = place.world.ledger.to_string();
    let joined = run(&dir, &["join", "--url", &place.world.url, "--ledger", &ledger]);
    assert!(joined.status.success(), "{}", said(&joined));
    dir
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(safeconduct());
    command.arg("--home").arg(home).env("SAFECONDUCT_PASSPHRASE", PASSPHRASE).current_dir(root());
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Every file of a folder, by its path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn gather(dir: &Path, base: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, base, found);
            } else {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    gather(dir, dir, &mut found);
    found
}

/// What the layout says of the first leaves of a log: its hash tiles, and the bundles of its entries.
fn layout(leaves: &[&str], with_entries: bool) -> BTreeMap<String, Vec<u8>> {
    let mut made = BTreeMap::new();
    let tiles = leaves.chunks(256).enumerate().map(|(index, part)| {
        let width = if part.len() == 256 { String::new() } else { format!(".p/{}", part.len()) };
        (format!("{index:03}{width}"), part)
    });
    let mut roots: Vec<u8> = vec![];
    for (name, part) in tiles {
        let hashes: Vec<_> = part.iter().map(|leaf| leaf_hash(leaf.as_bytes())).collect();
        let mut level = hashes.clone();
        while level.len() > 1 && part.len() == 256 {
            level = level.chunks(2).map(|two| translog::tree::node_hash(two[0], two[1])).collect();
        }
        if part.len() == 256 {
            roots.extend(level[0].as_bytes());
        }
        made.insert(format!("tile/0/{name}"), hashes.iter().flat_map(|hash| *hash.as_bytes()).collect());
        let entry =
            |leaf: &&str| [&u16::try_from(leaf.len()).unwrap().to_be_bytes(), leaf.as_bytes()].concat();
        if with_entries {
            made.insert(format!("tile/entries/{name}"), part.iter().flat_map(entry).collect());
        }
    }
    made.insert(format!("tile/1/000.p/{}", roots.len() / 32), roots);
    made
}

/// The static files are those of C2SP tlog-tiles, of the public size; a second export writes what is new, and nothing that
/// does not begin with the first one.
#[test]
fn static_files_of_what_is_public() {
    let mut place = Place::founded(5);
    (0..4).for_each(|_| place.next_hour());
    place.work(0..40);
    // Now, by the machine's clock, which the program has.
    place.go(-place.offset_s);
    until("this hour's first group", || place.heads().len() == 5);
    let size = place.public().unwrap();
    assert_eq!(size, 1024);
    let bundle = place.world.bundle();
    let balances: usize = bundle.lines().filter(|line| line.starts_with("{\"account\"")).count();
    let leaves: Vec<&str> = bundle.lines().skip(1 + balances).collect();

    let (ada, boris) = (home(&mut place, "ada"), home(&mut place, "boris"));
    let (public, secret) = (scratch("export").join("public"), scratch("export").join("secret"));
    let (out, entries) = (public.to_str().unwrap(), secret.to_str().unwrap());
    let exported = run(&boris, &["log", "export", "--out", out]);
    assert!(exported.status.success(), "{}", said(&exported));
    let checkpoint = place.ask("/checkpoint").bytes;
    let with = |mut files: BTreeMap<String, Vec<u8>>| {
        files.insert("checkpoint".to_owned(), checkpoint.clone());
        files
    };
    assert!(files(&public) == with(layout(&leaves[..1024], false)));
    for (path, bytes) in layout(&leaves[..1024], false) {
        let answer = place.ask(&format!("/{path}"));
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        assert!(answer.status == 200 && answer.bytes == bytes, "{path}");
    }

    // Entries are for auditors, and in a folder of their own.
    let refused = run(&boris, &["log", "export", "--entries", "--out", entries]);
    assert!(said(&refused).contains("role_missing"), "{}", said(&refused));
    fs::remove_dir_all(&secret).unwrap();
    let exported = run(&ada, &["--json", "log", "export", "--entries", "--out", entries]);
    assert_eq!(said(&exported).trim().replace([' ', '\n'], ""), r#"{"size":"1024","written":"10"}"#);
    assert!(files(&secret) == with(layout(&leaves[..1024], true)));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&secret), mode(&secret.join("tile/entries/000"))), (0o700, 0o600));
    let mixed = run(&ada, &["log", "export", "--out", entries]);
    assert!(said(&mixed).contains("holds entry bundles"), "{}", said(&mixed));
    let mixed = run(&ada, &["log", "export", "--entries", "--out", out]);
    assert!(said(&mixed).contains("a folder for the public"), "{}", said(&mixed));

    for folder in [&public, &secret] {
        foreign::verify_tiles(folder, 1024);
    }

    // Later, by the ledger's clock.
    let clock = place.world.clock.clone();
    let later = || {
        let connection = Connection::new(
            &place.world.url,
            Arc::new({
                let clock = clock.clone();
                move || clock.now()
            }),
        );
        Client::open(Home::open(&ada).unwrap(), Box::new(Person::new("ada").key), connection.unwrap())
            .unwrap()
    };
    let again = later().export(&secret, true).unwrap();
    assert_eq!((again.size, again.written), (1024, 0));
    clock.advance(HOUR_S);
    until("the next hour's first group", || place.heads().len() == 6);
    let next = later().export(&secret, true).unwrap();
    // A tile, its entries, the tile above, and the checkpoint.
    assert_eq!((next.size, next.written), (1280, 4));
    let tile = public.join("tile/0/002");
    let kept = fs::read(&tile).unwrap();
    for damage in [vec![], [&[1], &kept[1..]].concat()] {
        fs::write(&tile, &damage).unwrap();
        let before = files(&public);
        let error = later().export(&public, false).unwrap_err().to_string();
        assert!(error.contains("does not begin the public one") || error.contains("the tile 2"), "{error}");
        assert!(files(&public) == before, "it wrote all the same");
    }
    fs::write(&tile, &kept).unwrap();
    assert_eq!(later().export(&public, false).unwrap().written, 3);
}
