//! What is drawn at random: references, ids, salts, nonces. From the operating system, nowhere else.

use ledger::time::Timestamp;
use records::scalar::{InstructionId, Salt};

use crate::error::Error;

/// Random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

/// A reference that nobody can guess: a prefix such as `c-` and 20 hexadecimal digits.
pub fn reference(prefix: &str) -> Result<String, Error> {
    Ok(format!("{prefix}{}", hex::encode(bytes::<10>()?)))
}

/// The id of a disbursement that is asked for at this time: `d-`, ten hexadecimal digits of the time, and ten that nobody can
/// guess. Those of one time stand together in the database's indexes; in no order, each would touch a page of its own.
pub fn disbursement(now: Timestamp) -> Result<String, Error> {
    Ok(format!("d-{:010x}{}", now.unix(), hex::encode(bytes::<5>()?)))
}

/// A nonce for a signed read, 32 characters.
pub fn nonce() -> Result<String, Error> {
    Ok(hex::encode(bytes::<16>()?))
}

/// A salt.
pub fn salt() -> Result<Salt, Error> {
    Ok(Salt::from_bytes(bytes()?))
}

/// The id of an instruction that is issued at this time: a UUID of version 7.
pub fn instruction_id(now: Timestamp) -> Result<InstructionId, Error> {
    let millis = u64::try_from(now.unix()).unwrap_or(0).saturating_mul(1000);
    let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &bytes()?).into_uuid();
    InstructionId::from_uuid(uuid).map_err(|error| Error::Build(error.to_string()))
}
