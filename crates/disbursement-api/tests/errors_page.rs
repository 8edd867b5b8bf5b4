//! `docs/errors.md` lists every code there is, in order, with its status and what to do: the page is held to the code.

use disbursement_api::problem::{CODES, status_of};
use programme::Code;

fn row(code: &str, status: u16, transient: bool, what: &str) -> String {
    let permanence = if transient { "transient" } else { "permanent" };
    format!("| `{code}` | {status} | {permanence} | {what} |")
}

#[test]
fn the_page_lists_every_code() {
    let rules =
        Code::ALL.iter().map(|code| row(code.as_str(), status_of(*code), code.is_transient(), code.advice()));
    let others = CODES.iter().map(|known| row(known.code, known.status, known.transient, known.title));
    let expected: Vec<String> = rules.chain(others).collect();

    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md")).unwrap();
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for (expected, listed) in expected.iter().zip(&listed) {
        assert_eq!(expected, listed);
    }
    assert_eq!(expected.len(), listed.len(), "the page has other rows than the code, the last aside");
}

#[test]
fn no_code_is_there_twice() {
    let mut codes: Vec<&str> =
        Code::ALL.iter().map(|code| code.as_str()).chain(CODES.iter().map(|known| known.code)).collect();
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}
