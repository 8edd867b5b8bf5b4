//! The accounts of the system that the service and its server run as: what the server's can reach and own, and which
//! database roles either may take.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::{EmbeddedError, ROLES, io_at};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    gid: u32,
}

impl Account {
    /// By name or by number.
    fn find(key: &str) -> Option<Account> {
        let local = fs::read_to_string("/etc/passwd").unwrap_or_default();
        local.lines().find_map(|line| Account::parse(line, key)).or_else(|| {
            // Accounts of a directory service are not in the file.
            let output = Command::new("getent").args(["passwd", key]).stdin(Stdio::null()).output().ok()?;
            Account::parse(String::from_utf8_lossy(&output.stdout).trim_end(), key)
        })
    }

    fn parse(line: &str, key: &str) -> Option<Account> {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == key || uid == key).then_some(Account {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        })
    }
}

/// Whom the service runs as, and whom the server: the same, unless that is root.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) service: Account,
    pub(super) server: Account,
}

impl Accounts {
    pub(super) fn of(cluster: &Path) -> Result<Accounts, EmbeddedError> {
        let by_uid = |uid: u32| {
            let key = uid.to_string();
            Account::find(&key).ok_or(EmbeddedError::NoAccount(key))
        };
        let service = by_uid(geteuid().as_raw())?;
        if service.uid != 0 {
            return Ok(Accounts { server: service.clone(), service });
        }
        let server = match fs::metadata(cluster) {
            Ok(meta) if meta.uid() != 0 => by_uid(meta.uid())?,
            _ => Account::find("postgres")
                .or_else(|| Account::find("nobody"))
                .ok_or_else(|| EmbeddedError::NoAccount("postgres".to_owned()))?,
        };
        Ok(Accounts { service, server })
    }

    /// Lets the server's account through the data directory, and makes sure that it reaches it and its programs.
    pub(super) fn admit(&self, data_dir: &Path, bin: &Path) -> Result<(), EmbeddedError> {
        if self.service == self.server {
            return Ok(());
        }
        let meta = fs::metadata(data_dir).map_err(io_at("read", data_dir))?;
        if !self.may_enter(&meta) && meta.uid() == self.service.uid {
            let let_in = || {
                chown(data_dir, None, Some(self.server.gid))?;
                fs::set_permissions(data_dir, Permissions::from_mode(meta.mode() & 0o707 | 0o010))
            };
            let_in().map_err(io_at("change the mode of", data_dir))?;
        }
        self.reach(data_dir)?;
        self.reach(bin)
    }

    /// Makes sure that the server's account can enter a directory and all above it.
    pub(super) fn reach(&self, dir: &Path) -> Result<(), EmbeddedError> {
        for path in dir.ancestors() {
            if !self.may_enter(&fs::metadata(path).map_err(io_at("read", path))?) {
                let account = self.server.name.clone();
                return Err(EmbeddedError::Unreachable { path: path.to_owned(), account });
            }
        }
        Ok(())
    }

    fn may_enter(&self, meta: &fs::Metadata) -> bool {
        let bit = match () {
            () if meta.uid() == self.server.uid => 0o100,
            () if meta.gid() == self.server.gid => 0o010,
            () => 0o001,
        };
        meta.mode() & bit != 0
    }

    /// Peer authentication over the socket, and nothing else: the kernel says which account connects, and the map
    /// says which roles it may be.
    pub(super) fn write_access(&self, data_dir: &Path) -> Result<(), EmbeddedError> {
        let hba = "local all all peer map=safeconduct\nlocal replication postgres peer map=safeconduct\n";
        let mut ident = String::new();
        for role in ROLES {
            ident.push_str(&format!("safeconduct \"{}\" {role}\n", self.service.name));
            if self.service != self.server {
                ident.push_str(&format!("safeconduct \"{}\" {role}\n", self.server.name));
            }
        }
        for (name, text) in [("pg_hba.conf", hba), ("pg_ident.conf", ident.as_str())] {
            let path = data_dir.join(name);
            fs::write(&path, text).map_err(io_at("write", &path))?;
            fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(io_at("write", &path))?;
        }
        Ok(())
    }

    /// Makes the server's account the owner of what the service's made.
    pub(super) fn give(&self, path: &Path) -> Result<(), EmbeddedError> {
        if self.service == self.server {
            return Ok(());
        }
        lchown(path, Some(self.server.uid), Some(self.server.gid)).map_err(io_at("change the owner of", path))
    }

    /// A program run as the server's account, with no other group and nothing of our environment.
    pub(super) fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        if self.service != self.server {
            command.uid(self.server.uid).gid(self.server.gid);
        }
        command
    }
}
