//! Trains the dictionary that payloads and entities are packed with (`crates/store/src/packed.rs`).
//!
//! The samples are what lies in a database under load and the records of the kept logs, which have every kind. Ids, digests and
//! keys are replaced, so that the dictionary knows their form and none of them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use signing::digest::Digest;
use tests::binary::root;

use crate::process::Process;
use crate::stored;

/// Larger ones pack no better.
const SIZE: usize = 16 * 1024;

/// How often each record of a kept log is taken, with other ids each time: there are few.
const KEPT_LOG: usize = 6;

/// From this many digits on, a hexadecimal number is an id.
const ID_DIGITS: usize = 8;

/// Trains one and writes it.
pub fn train(process: &Process, file: &Path) {
    let mut ids = 0;
    let mut samples: Vec<Vec<u8>> =
        stored::packed(process).iter().map(|sample| renamed(sample, &mut ids)).collect();
    for log in fs::read_dir(root().join("tests/vectors/logs")).expect("the kept logs") {
        let text = fs::read_to_string(log.expect("a file").path()).expect("a bundle");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        for payload in lines.filter_map(|line| Some(line.get("payload")?.as_str()?.to_owned())) {
            let payload = BASE64_STANDARD.decode(payload).expect("base64");
            samples.extend((0..KEPT_LOG).map(|_| renamed(&payload, &mut ids)));
        }
    }
    // Training looks at them in order, in parts.
    samples.sort_by_key(|sample| Digest::of(sample));
    let dictionary = zstd::dict::from_samples(&samples, SIZE).expect("a dictionary");
    let (before, after) = samples.iter().fold((0, 0), |(before, after), sample| {
        let mut compressor = zstd::bulk::Compressor::with_dictionary(1, &dictionary).expect("a compressor");
        (before + sample.len(), after + compressor.compress(sample).expect("a frame").len())
    });
    fs::write(file, &dictionary).expect("a file");
    println!("{} samples of {before} bytes are packed in {after} by {}", samples.len(), file.display());
}

/// The same with other ids.
fn renamed(sample: &[u8], ids: &mut u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(sample.len());
    for part in sample.chunk_by(|one, next| one.is_ascii_hexdigit() == next.is_ascii_hexdigit()) {
        if part.len() < ID_DIGITS || !part[0].is_ascii_hexdigit() {
            out.extend_from_slice(part);
            continue;
        }
        *ids += 1;
        let other = Digest::of(ids.to_be_bytes()).to_string().repeat(part.len().div_ceil(64));
        out.extend_from_slice(&other.as_bytes()[..part.len()]);
    }
    out
}
