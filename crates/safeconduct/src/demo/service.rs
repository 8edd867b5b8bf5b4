//! The service as a process of its own, as `safeconduct serve` starts it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::ui;

/// The demo's passphrase for every key; real ones are asked for at the terminal.
pub const PASSPHRASE: &str = "demo passphrase, not a secret";

/// A running service. Dropping it stops it.
pub struct Service {
    child: Child,
    url: String,
}

impl Service {
    /// Starts it and waits until it says that it is ready.
    pub fn start(data: &Path, postgres_bin: Option<&Path>) -> Result<Service> {
        ui::line("== A service starts its own PostgreSQL ==\n");
        ui::line(format!("$ safeconduct serve --data {} --listen 127.0.0.1:0", data.display()));
        std::fs::create_dir_all(data)?;
        let log = data.join("service.log");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
        if let Some(bin) = postgres_bin {
            command.arg("--postgres-bin").arg(bin);
        }
        let mut child = command
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let said = child.stdout.take().map(BufReader::new);
        let mut url = None;
        for line in said.into_iter().flat_map(BufRead::lines) {
            let line = line?;
            ui::line(format!("  {line}"));
            if let Some(found) = line.strip_prefix("url ") {
                url = Some(found.trim().to_owned());
            }
            if line == "ready" {
                break;
            }
        }
        let mut service = Service { child, url: String::new() };
        match url {
            Some(url) if service.child.try_wait()?.is_none() => {
                service.url = url;
                Ok(service)
            }
            _ => {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                Err(Error::new(format!("the service did not start: {}", log.trim())))
            }
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Err(Error::new("the service had ended by itself; see service.log"));
        }
        self.signal();
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(Error::new(format!("the service ended with {status}; see service.log")))
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(Error::new("the service did not stop within 20 seconds"))
    }

    fn signal(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended in the meantime.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal();
            let _ = self.child.wait();
        }
    }
}
