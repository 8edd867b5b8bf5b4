//! The disk: full, and back; and one that does not answer for a while.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use std::thread;
use std::time::{Duration, Instant};

use records::Verified;
use store::embedded::find_server;
use tests::cluster::{runtime, scratch};
use tests::replay::prove;
use tests::world::{Desk, World, try_post_to};

use super::{instructions, is_told_to_wait};
use crate::evidence::Log;
use crate::ground::{Ground, PAUSE};
use crate::load::{Follower, Seen, audit, send};

/// A disk whose faults come and go: see `disk.c`.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Disk {
        let disk = Disk(scratch("disk"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/faults/disk.c");
        let library = disk.0.join("disk.so");
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
