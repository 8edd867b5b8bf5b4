//! The file in which an auditor keeps what the next audit goes on from.

use std::io::BufReader;
use std::path::Path;

use auditor::{KeptState, KeptStateError};
use signing::digest::Digest;

use crate::error::{Error, Result};
use crate::input;

/// The state in a file, of this ledger.
pub fn read(path: &Path, ledger: Digest) -> Result<KeptState> {
    KeptState::read(open(path)?, ledger).map_err(|error| named(path, &error))
}

/// At which size of this ledger's log it was kept.
pub fn size(path: &Path, ledger: Digest) -> Result<u64> {
    let head = KeptState::read_head(open(path)?, ledger).map_err(|error| named(path, &error))?;
    Ok(head.size)
}

/// Writes it whole, readable by the owner only. An earlier one stays until this one is there.
pub fn write(path: &Path, state: &KeptState) -> Result<()> {
    Ok(client::home::write_private_by(path, |out| state.write(out))?)
}

fn open(path: &Path) -> Result<BufReader<std::fs::File>> {
    Ok(BufReader::with_capacity(1 << 20, input::open(path)?))
}

fn named(path: &Path, error: &KeptStateError) -> Error {
    Error::new(format!("{}: {error}", path.display()))
}
