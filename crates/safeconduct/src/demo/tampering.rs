//! An insider alters copies of the bundle; the audit finds each.

use signing::dsse::Envelope;

use super::stage::{Stage, text};
use crate::error::{Error, Result};
use crate::ui;

type Forgery = fn(&mut Vec<String>) -> Option<()>;

/// Alters copies of the bundle and has the auditor verify each.
pub fn show(stage: &mut Stage, bundle: &str, ledger: &str) -> Result<()> {
    ui::line("\n== Copies of it are tampered with, and each is refuted ==\n");
    let lines: Vec<String> = std::fs::read_to_string(bundle)?.lines().map(str::to_owned).collect();
    let forgeries: [(&str, Forgery); 4] = [
        ("an entry's amount is raised from USD 100,000.00 to 900,000.00", raise_amount),
        ("an approval is taken out of the log", drop_approval),
        ("a claimed balance is altered by one cent", alter_balance),
        ("the log's last record is cut off", cut_tail),
    ];
    for (number, (what, forge)) in forgeries.into_iter().enumerate() {
        let mut forged = lines.clone();
        forge(&mut forged).ok_or_else(|| Error::new(format!("cannot forge: {what}")))?;
        let path = text(&stage.file(&format!("tampered-{}.ndjson", number + 1)));
        std::fs::write(&path, forged.join("\n") + "\n")?;
        ui::line(format!("{what}:"));
        let answer = stage.run("ada", &["audit", &path, "--ledger", ledger])?;
        let verdict = &answer.json["verdict"];
        let is_refuted = answer.code == 1 && verdict["outcome"] == "refuted";
        stage.expect(what, is_refuted);
        if is_refuted {
            let place = verdict["position"].as_str().map_or(String::new(), |at| format!(" at position {at}"));
            let reason: String = verdict["reason"].as_str().unwrap_or_default().chars().take(160).collect();
            ui::line(format!("  REFUTED{place}: {reason}"));
        }
    }
    Ok(())
}

fn envelope(line: &str) -> Option<Envelope> {
    Envelope::parse(line.as_bytes()).ok()
}

/// The index of the line with the first record of a kind whose payload holds a text.
fn find(lines: &[String], kind: &str, held: &str) -> Option<usize> {
    lines.iter().position(|line| {
        envelope(line).is_some_and(|envelope| {
            envelope.payload_type.ends_with(&format!(".{kind}.v1+json"))
                && String::from_utf8_lossy(&envelope.payload).contains(held)
        })
    })
}

#[expect(clippy::ptr_arg, reason = "all forgeries have one type")]
fn raise_amount(lines: &mut Vec<String>) -> Option<()> {
    let index = find(lines, "entry", "100000.00")?;
    let line = lines.get_mut(index)?;
    let original = envelope(line)?;
    let payload = String::from_utf8(original.payload.clone()).ok()?.replace("100000.00", "900000.00");
    let forged = Envelope { payload: payload.into_bytes(), ..original };
    *line = String::from_utf8(forged.encode()).ok()?;
    Some(())
}

fn drop_approval(lines: &mut Vec<String>) -> Option<()> {
    let index = find(lines, "approval", "")?;
    lines.remove(index);
    Some(())
}

#[expect(clippy::ptr_arg, reason = "all forgeries have one type")]
fn alter_balance(lines: &mut Vec<String>) -> Option<()> {
    let line = lines.iter_mut().find(|line| line.starts_with("{\"account\":\"1100/"))?;
    let (before, after) = line.split_once("\"amount\":\"")?;
    let (amount, rest) = after.split_once('"')?;
    let last = if amount.ends_with('1') { '2' } else { '1' };
    let altered = format!("{}{last}", amount.get(..amount.len() - 1)?);
    *line = format!("{before}\"amount\":\"{altered}\"{rest}");
    Some(())
}

fn cut_tail(lines: &mut Vec<String>) -> Option<()> {
    lines.pop().map(|_| ())
}
