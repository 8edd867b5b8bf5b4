//! Conventions that a reviewer would otherwise have to remember.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crate may use which: itself and, over others, what those may use. As in `docs/ARCHITECTURE.md`.
const DEPENDENCIES: &str = "
    ledger
    signing
    translog          signing
    records           ledger signing translog
    programme         ledger records
    store             programme translog
    disbursement-api  store
    client            programme translog
    auditor           programme translog
    console           disbursement-api
    safeconduct       auditor client disbursement-api store
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

/// The folder of each crate, by its name.
fn crates() -> BTreeMap<String, PathBuf> {
    sorted(&root().join("crates")).into_iter().map(|path| (name(&path).to_owned(), path)).collect()
}

/// Every Rust source below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in sorted(folder) {
        if path.is_dir() && name(&path) != "target" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The crates of the workspace that a manifest names, for whatever purpose.
fn declared(manifest: &Path, known: &BTreeSet<&str>) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut in_dependencies = false;
    let mut names = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if in_dependencies {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.extend(known.get(name).map(|name| (*name).to_owned()));
        }
    }
    names
}

/// What a table of direct dependencies comes to, over any number of steps.
fn reachable(direct: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(one) = next.pop() {
        for other in direct.get(&one).into_iter().flatten() {
            if reached.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    reached
}

#[test]
fn crates_depend_one_way() {
    let allowed: BTreeMap<String, BTreeSet<String>> = DEPENDENCIES
        .lines()
        .map(|row| row.split_whitespace().map(str::to_owned))
        .filter_map(|mut row| Some((row.next()?, row.collect())))
        .collect();
    let known: BTreeSet<&str> = allowed.keys().map(String::as_str).collect();
    let crates = crates();
    let mut direct = BTreeMap::new();
    for (name, folder) in &crates {
        let row = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let declared = declared(&folder.join("Cargo.toml"), &known);
        let may = reachable(&allowed, name);
        assert!(declared.is_subset(&may), "{name} depends on {:?}", declared.difference(&may));
        let missing: Vec<_> = row.difference(&declared).filter(|other| crates.contains_key(*other)).collect();
        assert!(missing.is_empty(), "{name} does not depend on {missing:?}, and the table says so");
        direct.insert(name.clone(), declared);
    }
    for offline in ["client", "auditor"] {
        let reached = reachable(&direct, offline);
        assert!(
            !reached.contains("store") && !reached.contains("disbursement-api"),
            "{offline}: {reached:?}"
        );
        assert!(reached.contains("ledger"));
    }
}

/// A source taken apart: the code without comments and literals, and the text of its string literals.
struct Source {
    path: PathBuf,
    code: String,
    strings: Vec<String>,
}

impl Source {
    fn read(path: PathBuf) -> Source {
        let text = fs::read_to_string(&path).unwrap();
        let (code, strings) = take_apart(&text);
        Source { path, code, strings }
    }
}

fn take_apart(text: &str) -> (String, Vec<String>) {
    let (mut code, mut strings) = (String::new(), vec![]);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((taken, string)) = string_literal(rest) {
            strings.push(string.to_owned());
            taken
        } else if let Some(taken) = char_literal(rest) {
            taken
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    (code, strings)
}

/// The length and the text of a string literal that the text begins with, raw or not.
fn string_literal(text: &str) -> Option<(usize, &str)> {
    if let Some(hashes) = text.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len())
        && text[1 + hashes..].starts_with('"')
    {
        let begin = 2 + hashes;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = text[begin..].find(&end)?;
        return Some((begin + length + end.len(), &text[begin..begin + length]));
    }
    let rest = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((end + 2, &rest[..end]))
}

/// The length of a character literal that the text begins with; a lifetime is none.
fn char_literal(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let mut chars = rest.char_indices();
    match chars.next()?.1 {
        '\\' => rest[2..].find('\'').map(|end| end + 4),
        _ => chars.next().filter(|(_, c)| *c == '\'').map(|(end, _)| end + 2),
    }
}

#[test]
fn a_source_is_taken_apart() {
    let text = "a(\"x\\\"y\") // \"no\"\n 'b' '\\'' '\"' &'static r#\"z\"z\"# /* \"no\" */ c";
    let (code, strings) = take_apart(text);
    assert_eq!(strings, ["x\\\"y", "z\"z"]);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a()", "&'static", "c"]);
}

fn sources_of(name: &str) -> Vec<Source> {
    let folder = crates().remove(name).unwrap_or_else(|| panic!("no crate {name}"));
    sources(&folder.join("src")).into_iter().map(Source::read).collect()
}

#[test]
fn only_the_store_speaks_sql() {
    let speaks = |source: &Source| {
        let words = ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM"];
        source.strings.iter().any(|string| words.iter().any(|word| string.contains(word)))
    };
    assert!(
        sources_of("store").iter().any(speaks),
        "the store speaks no SQL, so this looks for the wrong thing"
    );
    for name in crates().keys().filter(|name| *name != "store") {
        for source in sources_of(name) {
            assert!(!speaks(&source), "SQL outside the store: {}", source.path.display());
        }
    }
}

/// The paths that a source's code names, white space left out.
fn uses(source: &Source, words: &[&str]) -> Option<String> {
    let code: String = source.code.split_whitespace().collect();
    words.iter().find(|word| code.contains(**word)).map(|word| format!("{word} in {}", source.path.display()))
}

#[test]
fn the_rules_have_no_io_clock_or_randomness() {
    let outside = [
        "std::time",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "tokio",
        "rand::",
        "getrandom",
        "SystemTime",
        "Instant::",
        "now_utc",
        "now_v7",
        "asyncfn",
    ];
    for name in ["ledger", "records", "programme"] {
        for source in sources_of(name) {
            assert_eq!(uses(&source, &outside), None);
        }
    }
}

#[test]
fn only_the_program_reads_environment_and_clock() {
    let outside = ["env::var", "SystemTime::now", "now_utc", "now_local", "now_v7"];
    assert!(sources_of("safeconduct").iter().any(|source| uses(source, &outside).is_some()));
    for name in crates().keys().filter(|name| *name != "safeconduct") {
        for source in sources_of(name) {
            assert_eq!(uses(&source, &outside), None);
        }
    }
}

fn every_source() -> Vec<Source> {
    let all: Vec<Source> =
        ["crates", "fuzz", "tests"].iter().flat_map(|f| sources(&root().join(f))).map(Source::read).collect();
    assert!(all.len() > 50);
    all
}

#[test]
fn sources_are_short_and_finished() {
    for source in every_source() {
        let lines = fs::read_to_string(&source.path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", source.path.display());
        assert_eq!(uses(&source, &["todo!", "unimplemented!", "dbg!", "#[ignore"]), None);
    }
}

#[test]
fn decisions_are_numbered() {
    let mut numbers = BTreeSet::new();
    for path in sorted(&root().join("docs/decisions")) {
        let file = name(&path);
        let (number, rest) = file.split_once('-').unwrap_or_else(|| panic!("{file} has no number"));
        assert!(number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()), "{file}");
        assert!(rest.ends_with(".md"), "{file}");
        assert!(numbers.insert(number.to_owned()), "{number} stands twice");
        let title = format!("# {}. ", number.trim_start_matches('0'));
        assert!(fs::read_to_string(&path).unwrap().starts_with(&title), "{file} begins with another number");
    }
    assert!(!numbers.is_empty());
}
