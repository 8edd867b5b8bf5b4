//! What the process itself uses, as Linux tells it. What cannot be read is left out.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// The memory that is resident, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// How long all threads together have been on a processor.
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How many files and connections are open.
pub(super) fn open_files() -> Option<u64> {
    // One of them is the directory that is being read.
    let count = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    count.checked_sub(1)
}

/// How many may be.
pub(super) fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_uses() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(cpu_seconds() > 0.0);
        let open = open_files().unwrap();
        let _more = fs::File::open("/proc/self/status").unwrap();
        assert!(open >= 3 && open_files_max().unwrap() > open);
    }
}
