//! The disk: full, and back; and one that does not answer for a while.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use std::thread;
use std::time::{Duration, Instant};

use records::Verified;
use store::embedded::find_server;
use tests::cluster::{runtime, say, scratch};
use tests::replay::prove;
use tests::world::{Desk, World, try_post_to};

use super::{instructions, is_told_to_wait};
use crate::evidence::Log;
use crate::ground::{Ground, PAUSE, UP_LIMIT};
use crate::load::{Follower, Seen, audit, client, read, send};

/// A disk whose faults come and go: see `disk.c`.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Disk {
        let disk = Disk(scratch("disk"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/faults/disk.c");
        let library = disk.library();
        // The linker of every Rust program, so it is there.
        let compile =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
        let compiled = compile.unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let real = find_server(None).unwrap();
        fs::create_dir(disk.bin()).unwrap();
        for program in ["postgres", "initdb"] {
            let preload = if program == "postgres" { library.display().to_string() } else { String::new() };
            let script = format!(
                "#!/bin/sh\nDISK='{}' LD_PRELOAD='{preload}' exec '{}/{program}' \"$@\"\n",
                disk.0.display(),
                real.display()
            );
            fs::write(disk.bin().join(program), script).unwrap();
            fs::set_permissions(disk.bin().join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        disk
    }

    fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    fn library(&self) -> PathBuf {
        self.0.join("disk.so")
    }

    /// The fault begins.
    fn is(&self, fault: &str) {
        fs::write(self.0.join(fault), "").unwrap();
    }

    /// It has passed.
    fn is_no_longer(&self, fault: &str) {
        fs::remove_file(self.0.join(fault)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A server could not stop, after a test that failed.
        for fault in ["full", "stuck"] {
            let _ = fs::remove_file(self.0.join(fault));
        }
    }
}

/// Sends until one is not accepted, and answers it.
fn until_refused<'a>(
    desk: &Desk,
    records: &mut impl Iterator<Item = &'a Verified>,
    seen: &Seen,
) -> &'a Verified {
    for record in records {
        let answer = try_post_to(&desk.url, &[record.envelope().clone()], "each").unwrap();
        if answer.status != 200 {
            is_told_to_wait(desk, record, &["database_unavailable", "outcome_unknown"]);
            return record;
        }
        send(&desk.url, record, seen);
    }
    panic!("everything was accepted, so the disk was not full");
}

#[test]
fn a_full_disk_stops_nothing_for_longer_than_it_is_full() {
    let disk = Disk::new();
    let mut ground = Ground::beside_a_server(Some(&disk.bin()));
    let desk = ground.found();
    let (seen, mut follower) = (Seen::default(), Follower::default());
    let records = instructions(&desk, "case", 1000);
    let mut records = records.iter();
    send(&desk.url, records.next().unwrap(), &seen);

    // No table grows.
    disk.is("full");
    let refused = until_refused(&desk, &mut records, &seen);
    assert_eq!(desk.get("ada", "/v1/funds").status, 200, "what is there is still shown");
    disk.is_no_longer("full");
    assert!(ground.server_runs());
    send(&desk.url, refused, &seen);
    follower.check(&ground, &desk, &seen);

    // Nor does the log of PostgreSQL itself, which ends a server.
    disk.is("full");
    runtime().block_on(async {
        let (client, connection) = ground.superuser().connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        while client.batch_execute("SELECT pg_switch_wal(); CREATE TABLE t (); DROP TABLE t").await.is_ok() {}
    });
    let refused = until_refused(&desk, &mut records, &seen);
    disk.is_no_longer("full");
    let deadline = Instant::now() + Duration::from_secs(5);
    while ground.server_runs() && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
    if !ground.server_runs() {
        ground.start_server();
    }
    send(&desk.url, refused, &seen);
    assert_eq!(ground.ended(), None);
    follower.check(&ground, &desk, &seen);
    audit(&desk, &seen);
}

#[test]
fn a_disk_that_does_not_answer_is_waited_for() {
    let disk = Disk::new();
    let mut ground = Ground::beside_a_server(Some(&disk.bin()));
    let desk = ground.found();
    let (seen, mut follower) = (Seen::default(), Follower::default());
    let records = instructions(&desk, "case", 40);
    records[..2].iter().for_each(|record| send(&desk.url, record, &seen));
    disk.is("stuck");
    thread::scope(|scope| {
        let _watch = seen.watch();
        for part in records[2..].chunks(14) {
            let (url, seen) = (&desk.url, &seen);
            scope.spawn(move || {
                let _watch = seen.watch();
                part.iter().for_each(|record| send(url, record, seen));
            });
        }
        // Longer than the patience of the writer and a connection's time to idle in a transaction.
        thread::sleep(Duration::from_secs(11));
        assert_eq!(seen.accepted().len(), 2, "what is not on disk was acknowledged");
        assert_eq!(desk.get("ada", "/v1/funds").status, 200, "what is there is still shown");
        disk.is_no_longer("stuck");
    });
    assert_eq!(seen.accepted().len(), records.len());
    assert_eq!(ground.ended(), None);
    follower.check(&ground, &desk, &seen);
    audit(&desk, &seen);
}

/// The register is written in place, so it needs no space once it is there: what a new file would be written to is a device
/// that is always full.
#[test]
fn a_full_disk_under_the_register_stops_nothing() {
    let mut world = World::new();
    world.offer();
    let (seen, records) = (Seen::default(), instructions(&world, "case", 4));
    let new = world.register.with_extension("json.new");
    symlink("/dev/full", &new).unwrap();
    for record in &records {
        send(&world.url, record, &seen);
    }
    fs::remove_file(&new).unwrap();
    prove(&mut world);
    world.restart();
    Log::read(&world.bundle()).holds_once(&seen.accepted());
}

/// The disk of a service's register.
struct RegisterDisk {
    disk: Disk,
    register: PathBuf,
}

impl RegisterDisk {
    fn under(ground: &mut Ground) -> RegisterDisk {
        let disk = Disk::new();
        let register = ground.data.join("register.json");
        ground.environment =
            vec![("LD_PRELOAD", disk.library()), ("DISK", disk.0.clone()), ("REGISTER", register.clone())];
        RegisterDisk { disk, register }
    }

    fn platter(&self) -> PathBuf {
        self.disk.0.join("platter")
    }

    /// All that is in the file is on the disk.
    fn settle(&self) {
        fs::copy(&self.register, self.platter()).unwrap();
    }

    /// Nobody who announced anything so far announced what is not on the disk.
    fn holds(&self, ground: &Ground, desk: &Desk, seen: &Seen) {
        seen.head(&read(desk, "karl", "/v1/checkpoint").0);
        let stored = runtime().block_on(async {
            let (client, connection) = ground.superuser().connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.query_one("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1", &[]).await.unwrap()
        });
        seen.head(stored.get(0));
        let announced = seen.newest();
        let on_disk = store::register::read(&self.platter()).unwrap().unwrap();
        assert!(
            seen.head(&on_disk.checkpoint) >= announced,
            "{announced} is announced, {} on disk",
            on_disk.size
        );
    }

    fn failures(&self) -> u64 {
        fs::metadata(self.disk.0.join("failures")).map_or(0, |file| file.len())
    }

    /// The fault begins, and lasts for several tries of the publisher. Nothing is taken meanwhile.
    fn fails(&self, fault: &str, ground: &mut Ground, desk: &Desk, seen: &Seen, record: &Verified) {
        let deadline = Instant::now() + UP_LIMIT;
        self.disk.is(fault);
        let begin = self.failures();
        say(fault);
        while self.failures() < begin + 4 {
            assert!(Instant::now() < deadline, "{fault}: it is not tried any more:\n{}", ground.log());
            self.holds(ground, desk, seen);
            thread::sleep(PAUSE);
        }
        is_told_to_wait(desk, record, &["register_missing"]);
        assert_eq!(ground.ended(), None);
    }

    /// Power fails: what is not on the disk is gone.
    fn power_fails(&self, ground: &mut Ground) {
        ground.kill_service();
        fs::copy(self.platter(), &self.register).unwrap();
    }
}

/// The write of the register, in place: it fails, is torn, or is never synced. What it would have said is not announced, and
/// it is written when that is possible again, by the same process or, after a power failure, by the next.
#[test]
fn what_is_not_on_the_registers_disk_is_announced_to_nobody() {
    let mut ground = Ground::beside_a_server(None);
    let register = RegisterDisk::under(&mut ground);
    let desk = ground.found();
    let (basis, seen, mut follower) = (desk.basis(), Seen::default(), Follower::default());
    let records = instructions(&desk, "by-hand", 8);
    let mut records = records.iter();
    register.settle();
    thread::scope(|scope| {
        let _watch = seen.watch();
        for name in ["a", "b", "c"] {
            let (desk, seen) = (&desk, &seen);
            scope.spawn(move || client(desk, basis, name, seen));
        }
        for fault in ["register-fails", "register-full", "register-torn", "register-unsynced"] {
            seen.wait_for_more(&ground);
            let record = records.next().unwrap();
            register.fails(fault, &mut ground, &desk, &seen, record);
            register.disk.is_no_longer(fault);
            // Without a restart.
            send(&desk.url, record, &seen);
            seen.wait_for_more(&ground);
            assert_eq!(ground.ended(), None);
            follower.check(&ground, &desk, &seen);

            let record = records.next().unwrap();
            register.fails(fault, &mut ground, &desk, &seen, record);
            register.power_fails(&mut ground);
            register.disk.is_no_longer(fault);
            ground.start();
            ground.wait_up();
            send(&desk.url, record, &seen);
            follower.check(&ground, &desk, &seen);
        }
        seen.end();
    });
    register.holds(&ground, &desk, &seen);
    follower.check(&ground, &desk, &seen);
    audit(&desk, &seen);
}
