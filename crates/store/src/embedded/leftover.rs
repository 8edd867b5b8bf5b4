//! What a service that was killed leaves behind: a server that still runs, the files that name it, and an initdb that
//! was not finished. Whoever comes here holds the data directory's lock, so all of it is left over.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{EmbeddedError, FAST_STOP_LIMIT, IMMEDIATE_STOP_LIMIT, POLL, io_at};

/// Stops what still runs on our cluster: we hold the lock, so it is left over from a service that was killed.
pub(super) fn stop_stale(cluster: &Path) -> Result<(), EmbeddedError> {
    let pid_file = cluster.join("postmaster.pid");
    let postmaster =
        fs::read_to_string(&pid_file).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
    let begun = Instant::now();
    let mut last_signal = None;
    loop {
        let running = server_processes(cluster)?;
        let Some(&first) = running.first() else { break };
        let orderly = postmaster.filter(|pid| running.contains(pid) && begun.elapsed() < FAST_STOP_LIMIT);
        if begun.elapsed() >= FAST_STOP_LIMIT + IMMEDIATE_STOP_LIMIT {
            return Err(EmbeddedError::StillRunning { path: cluster.to_owned(), pid: first });
        }
        // Without a postmaster there is no order left to keep: what remains is about to be recovered from anyway.
        let (signal, targets) = match orderly {
            Some(pid) => (Signal::INT, vec![pid]),
            None => (Signal::QUIT, running),
        };
        if last_signal != Some(signal) {
            tracing::warn!(?signal, ?targets, "stopping a server left over on {}", cluster.display());
            targets.into_iter().for_each(|pid| send(signal, pid));
            last_signal = Some(signal);
        }
        sleep(POLL);
    }
    remove_stale(&pid_file)
}

/// Removes a file that names a server, where nobody works any more. A new server would refuse to start if that number
/// were by now another process's, as happens in containers, where the same numbers come back at each start, or if the
/// old server were dead and its parent had not taken note of it yet.
pub(super) fn remove_stale(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The processes named `postgres` whose working directory is the cluster, as each of its server processes has it, or
/// whose arguments name it.
pub(super) fn server_processes(cluster: &Path) -> Result<Vec<u32>, EmbeddedError> {
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).map_err(io_at("list", proc))?.flatten();
    let is_named = |arguments: Vec<u8>| {
        arguments.split(|byte| *byte == 0).any(|argument| argument == cluster.as_os_str().as_bytes())
    };
    let works_here = |dir: &Path| {
        fs::read_to_string(dir.join("comm")).is_ok_and(|name| name.trim_end() == "postgres")
            // One that has only just begun has not gone there yet.
            && (fs::read_link(dir.join("cwd")).is_ok_and(|cwd| cwd == cluster)
                || fs::read(dir.join("cmdline")).is_ok_and(is_named))
    };
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(|pid| (pid, entry.path())))
        .filter(|(_, dir)| works_here(dir))
        .map(|(pid, _)| pid)
        .collect())
}

pub(super) fn send(signal: Signal, pid: u32) {
    // A failure means that it is gone, which the caller looks for, or never was ours.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// An interrupted initdb may still put files there; without those that were removed, it soon gives up.
pub(super) fn remove_unfinished(cluster: &Path) -> Result<(), EmbeddedError> {
    let deadline = Instant::now() + IMMEDIATE_STOP_LIMIT;
    loop {
        match fs::remove_dir_all(cluster) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < deadline => {
                sleep(POLL);
            }
            result => return result.map_err(io_at("remove", cluster)),
        }
    }
}
