//! Base backups and archived WAL of the server of our own, made and used by PostgreSQL's own programs: the database as
//! it was at any time since the first base backup. Not the ledger's keys, and not the register: neither is ever in here.
//!
//! | entry | what it is |
//! |---|---|
//! | `base/<time>/` | a base backup that was complete at that time (UTC), verified |
//! | `wal/<segment>.gz` | archived WAL, written by the server's account and never overwritten |
//!
//! The server archives a segment when it is full, and at least every minute in which something was written. It tries
//! again until it succeeds and keeps the segment until then, so that the archive has no gap; what is lost with the
//! server's disk is what was written since, a minute at most.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ledger::time::Timestamp;

use super::accounts::Accounts;
use super::leftover::server_processes;
use super::{
    Embedded, EmbeddedError, Settings, io_at, make_data_dir, make_private_dir, socket_dir, take_lock,
};

/// A segment is archived this long after its first record, full or not.
const TIMEOUT: &str = "archive_timeout=60s";
/// Years of WAL take hours to replay.
const RESTORE_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// An archive: a directory, on another disk than the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    dir: PathBuf,
}

/// To what a database is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that the archive has.
    Latest,
    /// What was committed by this time. The archive must reach beyond it.
    Time(Timestamp),
}

impl Archive {
    /// The archive in a directory, which need not be there yet.
    pub fn at(dir: &Path) -> Result<Archive, EmbeddedError> {
        fs::create_dir_all(dir).map_err(io_at("make", dir))?;
        Ok(Archive { dir: dir.canonicalize().map_err(io_at("find", dir))? })
    }

    /// What makes a server archive here. Its account owns the WAL's directory.
    pub(super) fn open(&self, accounts: &Accounts) -> Result<Vec<OsString>, EmbeddedError> {
        let wal = self.dir.join("wal");
        make_private_dir(&wal)?;
        accounts.give(&wal)?;
        accounts.reach(&wal)?;
        let mut command = OsString::from("archive_command=");
        command.push(archive_command(&wal));
        Ok(vec!["wal_level=replica".into(), "archive_mode=on".into(), TIMEOUT.into(), command])
    }

    /// Whether the server that runs on a data directory archives here: it then finds this directory in its arguments.
    pub fn is_written_by(&self, data_dir: &Path) -> Result<bool, EmbeddedError> {
        let cluster = data_dir.join("pg");
        let cluster = cluster.canonicalize().map_err(io_at("find", &cluster))?;
        let mut wanted = b"archive_command=".to_vec();
        wanted.extend_from_slice(archive_command(&self.dir.join("wal")).as_bytes());
        let archives = |pid: u32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|argument| argument == wanted)
        };
        Ok(server_processes(&cluster)?.into_iter().any(archives))
    }

    /// Takes a base backup of the server that runs on a data directory, and verifies it. Answers its directory; `now`,
    /// asked when it is complete, is its name.
    pub fn back_up(
        &self,
        bin: &Path,
        data_dir: &Path,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<PathBuf, EmbeddedError> {
        let data_dir = data_dir.canonicalize().map_err(io_at("find", data_dir))?;
        let bases = self.dir.join("base");
        make_private_dir(&bases)?;
        let new = bases.join(format!("new-{}", std::process::id()));
        let mut backup = Command::new(bin.join("pg_basebackup"));
        backup.arg("--pgdata").arg(&new).arg("--host").arg(socket_dir(&data_dir)?);
        backup.args(["--port=5432", "--username=postgres", "--no-password", "--checkpoint=fast"]);
        backup.args(["--wal-method=stream", "--manifest-checksums=SHA256"]);
        run("pg_basebackup", backup)?;
        self.verify(bin, &new)?;
        let base = bases.join(now().to_string());
        fs::rename(&new, &base).map_err(io_at("rename", &new))?;
        File::open(&bases).and_then(|dir| dir.sync_all()).map_err(io_at("sync", &bases))?;
        Ok(base)
    }

    /// The newest base backup that can be brought to a target, and its time.
    pub fn base(&self, target: Target) -> Result<(PathBuf, Timestamp), EmbeddedError> {
        let bases = self.dir.join("base");
        let missing = || EmbeddedError::NoBase(self.dir.clone(), matches!(target, Target::Time(_)));
        let entries = fs::read_dir(&bases).map_err(|_| missing())?.flatten();
        let dated = entries.filter_map(|entry| {
            let time: Timestamp = entry.file_name().to_str()?.parse().ok()?;
            Some((time, entry.path()))
        });
        let fits = |time: &Timestamp| match target {
            Target::Latest => true,
            Target::Time(wanted) => *time <= wanted,
        };
        let newest = dated.filter(|(time, _)| fits(time)).max();
        newest.map(|(time, path)| (path, time)).ok_or_else(missing)
    }

    /// Restores into a new data directory, with WAL from here and, where it is named, from the `pg_wal` of a server that
    /// is gone. When this returns, the database is as it was at the target, on a new timeline, and no server runs.
    pub fn restore(
        &self,
        bin: &Path,
        target: Target,
        lost_wal: Option<&Path>,
        data_dir: &Path,
    ) -> Result<Timestamp, EmbeddedError> {
        let (base, time) = self.base(target)?;
        self.verify(bin, &base)?;
        let bin = bin.canonicalize().map_err(io_at("find", bin))?;
        let lost_wal = lost_wal.map(|dir| dir.canonicalize().map_err(io_at("find", dir))).transpose()?;
        let data_dir = make_data_dir(data_dir)?;
        let lock = take_lock(&data_dir)?;
        let cluster = data_dir.join("pg");
        if cluster.exists() {
            return Err(EmbeddedError::NotEmpty(data_dir));
        }
        let accounts = Accounts::of(&cluster)?;
        accounts.admit(&data_dir, &bin)?;
        copy(&base, &cluster, &accounts)?;
        let signal = cluster.join("recovery.signal");
        File::create(&signal).map_err(io_at("write", &signal))?;
        accounts.give(&signal)?;

        let mut command = OsString::from("restore_command=");
        command.push(restore_command(&self.dir.join("wal"), lost_wal.as_deref()));
        // Without standby connections it is ready only when it has come to the target and takes writes.
        let mut recovery = vec!["archive_mode=off".into(), "hot_standby=off".into(), command];
        if let Target::Time(time) = target {
            // As PostgreSQL writes it: the letters of RFC 3339 mean nothing to it here.
            let time = time.to_string().replace('T', " ").replace('Z', "+00");
            recovery.push(format!("recovery_target_time={time}").into());
            recovery.push("recovery_target_action=promote".into());
        }
        let settings = Settings::default();
        let restored =
            Embedded::launch(&bin, &data_dir, cluster, lock, &accounts, &settings, recovery, RESTORE_LIMIT)?;
        restored.stop()?;
        Ok(time)
    }

    fn verify(&self, bin: &Path, base: &Path) -> Result<(), EmbeddedError> {
        let mut verify = Command::new(bin.join("pg_verifybackup"));
        verify.arg("--exit-on-error").arg("--quiet").arg(base);
        run("pg_verifybackup", verify)
    }
}

/// PostgreSQL's advice: never overwrite; succeed where the same is there already, since a crash may hide a success; be on
/// disk before success is told. Segments that are not full are mostly zeros, which gzip makes nothing of.
fn archive_command(wal: &Path) -> OsString {
    let wal = quoted(wal);
    let parts: [&[u8]; 5] = [
        b"f=",
        &wal,
        b"/%f.gz; if test -f \"$f\"; then gzip -dc \"$f\" | cmp -s - \"%p\"; else gzip -c -1 <\"%p\" >\"$f.new\" && \
          sync \"$f.new\" && mv \"$f.new\" \"$f\" && sync ",
        &wal,
        b"; fi",
    ];
    OsString::from_vec(parts.concat())
}

fn restore_command(wal: &Path, lost: Option<&Path>) -> OsString {
    let mut command =
        [b"f=", &quoted(wal)[..], b"/%f.gz; if test -f \"$f\"; then gzip -dc \"$f\" >\"%p\"; else "].concat();
    match lost {
        Some(lost) => command.extend([b"cp ", &quoted(lost)[..], b"/%f \"%p\""].concat()),
        None => command.extend_from_slice(b"false"),
    }
    command.extend_from_slice(b"; fi");
    OsString::from_vec(command)
}

/// A path for the shell, in a setting where a percent sign means something.
fn quoted(path: &Path) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            b'%' => quoted.extend_from_slice(b"%%"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

fn run(program: &'static str, mut command: Command) -> Result<(), EmbeddedError> {
    let output =
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| EmbeddedError::Tool { program, said: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(EmbeddedError::Tool { program, said })
}

/// Copies a directory of files and directories for the server's account; a base backup has nothing else.
fn copy(from: &Path, to: &Path, accounts: &Accounts) -> Result<(), EmbeddedError> {
    DirBuilder::new().mode(0o700).create(to).map_err(io_at("make", to))?;
    accounts.give(to)?;
    for entry in fs::read_dir(from).map_err(io_at("list", from))? {
        let entry = entry.map_err(io_at("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(io_at("read", &source))?;
        if kind.is_dir() {
            copy(&source, &target, accounts)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(io_at("copy", &source))?;
            accounts.give(&target)?;
        } else {
            return Err(io_at("copy", &source)(io::Error::other("it is neither a file nor a directory")));
        }
    }
    Ok(())
}
