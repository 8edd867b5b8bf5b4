//! What people see: tables, JSON, questions. Nothing that a service says reaches the terminal unfiltered.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use comfy_table::{LineStyle, Table, TableStyle, presets};
use ledger::currency::Currency;
use ledger::money::Money;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

const PASSPHRASE: &str = "SAFECONDUCT_PASSPHRASE";
const PIN: &str = "SAFECONDUCT_PIN";

/// Columns under a header, without lines between the rows.
const STYLE: TableStyle = presets::ASCII_MARKDOWN.row_separator(LineStyle::none());

/// Text without control characters, line feeds aside: a service must not steer the terminal.
pub fn clean(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hidden(c) { '\u{FFFD}' } else { c }).collect()
}

/// Prints a line. A reader who went away is no error.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", clean(text.as_ref()));
}

/// Prints a line beside the result.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", clean(text.as_ref()));
}

/// Prints a JSON document.
pub fn json(value: &Value) {
    let _ = writeln!(io::stdout().lock(), "{value:#}");
}

/// Prints a table, or says that there is nothing.
pub fn table(header: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
    if rows.is_empty() {
        return line(nothing);
    }
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    line(table.trim_fmt());
}

/// An amount as a service gives it, for people to read: `100,000.00`.
pub fn grouped(amount: &str, currency: Currency) -> String {
    let text = Money::parse(amount, currency).map(Money::grouped);
    text.ok()
        .and_then(|text| text.split_once(' ').map(|(_, digits)| digits.to_owned()))
        .unwrap_or(amount.to_owned())
}

/// Asks on the terminal whether to go on.
pub fn confirm(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Error::new(
            "nothing was sent: there is no terminal to ask on. Read what is to be signed with \
                               --dry-run, then run the command with --yes",
        ));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} [y/N] ", clean(question))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The passphrase of the home's key, from the environment or the terminal.
pub fn passphrase() -> Result<Zeroizing<String>> {
    match from_environment(PASSPHRASE)? {
        Some(given) => Ok(given),
        None => ask("Passphrase: ", PASSPHRASE),
    }
}

/// The PIN of the token that the home's key is in, from the environment or the terminal.
pub fn pin() -> Result<Zeroizing<String>> {
    match from_environment(PIN)? {
        Some(given) => Ok(given),
        None => ask("The token's PIN: ", PIN),
    }
}

/// A new passphrase, asked for twice.
pub fn new_passphrase() -> Result<Zeroizing<String>> {
    let given = match from_environment(PASSPHRASE)? {
        Some(given) => given,
        None => {
            let first = ask("New passphrase: ", PASSPHRASE)?;
            if *ask("The same again: ", PASSPHRASE)? != *first {
                return Err(Error::new("the two passphrases differ; run the command again"));
            }
            first
        }
    };
    if given.chars().count() < 8 {
        return Err(Error::new(
            "the passphrase is too short: use 8 characters at least, better five random words",
        ));
    }
    Ok(given)
}

fn from_environment(variable: &str) -> Result<Option<Zeroizing<String>>> {
    match std::env::var(variable) {
        Ok(given) => Ok(Some(Zeroizing::new(given))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(_) => Err(Error::new(format!("{variable} is not valid UTF-8"))),
    }
}

fn ask(prompt: &str, variable: &str) -> Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        let what = prompt.trim_end_matches([':', ' ']).to_lowercase();
        return Err(Error::new(format!("there is no terminal to ask on for {what}; set {variable}")));
    }
    Ok(Zeroizing::new(rpassword::prompt_password(prompt)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202E}d\u{9b}"), "a\u{FFFD}[2Jb\nc\u{FFFD}d\u{FFFD}");
    }
}
