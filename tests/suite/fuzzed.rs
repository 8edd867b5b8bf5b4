//! The fuzzer's functions without the fuzzer: over every seed, everything that it once found, and a fixed set of mutations.
//! `make fuzz` looks further. `UPDATE_VECTORS=1` writes the seeds again.

#[path = "../../fuzz/src/lib.rs"]
#[allow(clippy::expect_used, reason = "it panics where something does not hold")]
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use tests::binary::root;

use crate::choices::Choices;
use targets::TARGETS;

/// Files of a target: `fuzz/seeds` has what parses or nearly does, `fuzz/found` what once broke something.
fn files(folder: &str, target: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(root().join("fuzz").join(folder).join(target)) else {
        return BTreeMap::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

fn seeds(target: &str) -> BTreeMap<String, Vec<u8>> {
    let mut seeds = files("seeds", target);
    if target == "bundle" {
        let log = root().join("tests/vectors/logs/first-disbursement.ndjson");
        seeds.insert("golden".to_owned(), fs::read(log).unwrap());
    }
    seeds
}

/// How many mutations of each seed: verifying a whole log or opening a key's file takes its time.
fn rounds(target: &str) -> usize {
    match target {
        "bundle" | "pack" => 120,
        "key_file" => 40,
        _ => 400,
    }
}

/// One to three changes, of the kinds that a fuzzer makes.
fn mutate(choices: &mut Choices, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=choices.index(3) {
        let at = choices.index(bytes.len().max(1));
        let end = (at + 1 + choices.index(16)).min(bytes.len());
        match (choices.index(7), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte ^= 1 << choices.index(8),
            (1, Some(byte)) => *byte = b"\0\n \"\\{}[],:=-_/+.09afAFZ\xff"[choices.index(25)],
            (2, Some(_)) => drop(bytes.drain(at..end)),
            (3, Some(_)) => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            (4, Some(_)) => bytes.truncate(at),
            (5, Some(_)) => bytes.swap(at, end - 1),
            _ => {
                let from = choices.index(other.len().max(1)).min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn no_mutation_of_a_seed_is_taken_for_what_it_is_not() {
    for (name, check) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let mut choices = Choices::of(7);
        let all: Vec<&Vec<u8>> = seeds.values().collect();
        for (file, seed) in &seeds {
            check(seed);
            for _ in 0..rounds(name) {
                let other = all[choices.index(all.len())];
                let bytes = mutate(&mut choices, seed, other);
                let held = std::panic::catch_unwind(|| check(&bytes));
                assert!(held.is_ok(), "{name}, from {file}: {:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}

#[test]
fn what_the_fuzzer_found_stays_mended() {
    for (name, check) in TARGETS {
        for bytes in files("found", name).values() {
            check(bytes);
        }
    }
}

#[test]
fn the_seeds_are_those_of_the_vectors() {
    for (name, _) in TARGETS {
        let made = targets::seeds(name);
        let folder = root().join("fuzz/seeds").join(name);
        if std::env::var_os("UPDATE_VECTORS").is_some() && !made.is_empty() {
            fs::create_dir_all(&folder).unwrap();
            for (file, bytes) in &made {
                fs::write(folder.join(file), bytes).unwrap();
            }
        }
        let committed = files("seeds", name);
        assert_eq!(committed.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>(), "{name}");
        assert!(committed == made, "the seeds of {name} are not those that are made now");
    }
}

#[test]
fn every_function_has_a_program_for_the_fuzzer() {
    let folder = root().join("fuzz/fuzz_targets");
    let programs: BTreeSet<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let expected = TARGETS.iter().map(|(name, _)| folder.join(format!("{name}.rs"))).collect();
    assert_eq!(programs, expected);
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzz::{name}(bytes)")), "{program}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
