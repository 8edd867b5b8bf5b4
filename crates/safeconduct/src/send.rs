//! The one way in which a command signs and sends: words, question, signature, answer, receipt, next step.

use std::process::ExitCode;

use client::describe::{Words, describe, summarise};
use client::{Client, Outcome, Submission, outbox};
use records::{Body, Verified};
use serde_json::{Map, Value, json};
use signing::digest::Digest;

use crate::context::Global;
use crate::error::{FAILED, REFUSED, Result};
use crate::ui;

/// The life of an instruction.
pub const DAY_S: u64 = 24 * 60 * 60;
/// The life of what further persons have to sign after the first.
pub const WEEK_S: u64 = 7 * DAY_S;

/// What is to be signed, with its words.
pub struct Planned {
    /// The body.
    pub body: Body,
    /// The words that are shown for it.
    pub words: Words,
}

impl From<Body> for Planned {
    fn from(body: Body) -> Planned {
        let words = describe(&body);
        Planned { body, words }
    }
}

impl Planned {
    /// Adds what the body alone does not say.
    pub fn and(mut self, label: &str, value: impl ToString) -> Planned {
        self.words.details.push((label.to_owned(), value.to_string()));
        self
    }
}

/// How a command sends.
pub struct Manner<'a> {
    /// How long the instructions are valid.
    pub life_s: u64,
    /// Whether the basis is the founding record.
    pub on_founding: bool,
    /// The next step, given the digests of what was accepted.
    pub next: &'a dyn Fn(&[Digest]) -> String,
    /// What is written on this machine once the person agreed, before anything is sent.
    pub keep: Option<&'a dyn Fn() -> Result<()>>,
}

impl<'a> Manner<'a> {
    /// Valid for a day, on the present checkpoint.
    pub fn then(next: &'a dyn Fn(&[Digest]) -> String) -> Manner<'a> {
        Manner { life_s: DAY_S, on_founding: false, next, keep: None }
    }

    /// Valid for a week, since others have to sign too.
    pub fn for_others(next: &'a dyn Fn(&[Digest]) -> String) -> Manner<'a> {
        Manner { life_s: WEEK_S, ..Manner::then(next) }
    }
}

/// Shows, asks, signs, sends, and prints what became of it.
pub fn send(global: &Global, client: &Client, planned: Vec<Planned>, manner: Manner<'_>) -> Result<ExitCode> {
    if planned.is_empty() {
        return nothing(global);
    }
    let kept = match (manner.on_founding, global.dry_run) {
        (true, _) => client.founding(),
        (false, false) => client.refresh()?,
        (false, true) => client.peek()?,
    };
    warn_of_outbox(client)?;
    let (bodies, words): (Vec<Body>, Vec<Words>) = planned.into_iter().map(|p| (p.body, p.words)).unzip();
    let count = bodies.len();
    if !global.json {
        let identity = client.identity();
        ui::line(format!("As {} you sign ({}):", identity.principal, summarise(&bodies)));
        show_words(&words);
    }
    let question = format!("Sign and send {count} instruction{}?", if count == 1 { "" } else { "s" });
    if !agreed(global, &question)? {
        return Ok(ExitCode::from(FAILED));
    }
    if let Some(keep) = manner.keep.filter(|_| !global.dry_run) {
        keep()?;
    }
    let records = client.sign(kept.basis(), bodies, manner.life_s)?;
    let submission =
        if global.dry_run { client.check(&records)? } else { client.submit(&records, global.mode.into())? };
    let accepted = accepted(&records, &submission);
    let next = if accepted.is_empty() { String::new() } else { (manner.next)(&accepted) };
    Ok(report(global, &words, &records, &submission, &next, Map::new()))
}

/// There is nothing to sign.
pub fn nothing(global: &Global) -> Result<ExitCode> {
    if global.json {
        ui::json(&json!({"instructions": [], "results": []}));
    } else {
        ui::line("There is nothing to sign.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the person agrees: asked on the terminal, unless told not to ask.
pub fn agreed(global: &Global, question: &str) -> Result<bool> {
    if global.dry_run || global.yes || ui::confirm(question)? {
        return Ok(true);
    }
    ui::note("Nothing was signed and nothing was sent.");
    Ok(false)
}

/// Prints what is signed.
pub fn show_words(words: &[Words]) {
    for (index, words) in words.iter().enumerate() {
        ui::line(format!("{:>4}. {}", index + 1, words.headline));
        for (label, value) in &words.details {
            ui::line(format!("      {label}: {value}"));
        }
    }
}

fn warn_of_outbox(client: &Client) -> Result<()> {
    let unknown = outbox::list(client.home())?.iter().filter(|sent| sent.refused.is_none()).count();
    if unknown > 0 {
        ui::note(format!(
            "Note: {unknown} earlier instructions have no answer yet. Before you sign the same again, run: \
             safeconduct outbox resend"
        ));
    }
    Ok(())
}

fn accepted(records: &[Verified], submission: &Submission) -> Vec<Digest> {
    let both = records.iter().zip(&submission.outcomes);
    both.filter(|(_, outcome)| matches!(outcome, Outcome::Accepted { .. } | Outcome::Pending { .. }))
        .map(|(record, _)| record.digest())
        .collect()
}

/// Prints what became of it; the exit code is 0 if all was accepted, 1 if something was refused, 2 if something is
/// unknown or was not sent.
pub fn report(
    global: &Global,
    words: &[Words],
    records: &[Verified],
    submission: &Submission,
    next: &str,
    extra: Map<String, Value>,
) -> ExitCode {
    let digests: Vec<(Digest, &'static str)> =
        records.iter().map(|record| (record.digest(), record.kind().name())).collect();
    if global.json {
        let mut document = extra;
        let instructions = words.iter().zip(&digests).map(|(words, (digest, kind))| {
            let details: Vec<Value> =
                words.details.iter().map(|(label, value)| json!({"label": label, "value": value})).collect();
            json!({"details": details, "digest": digest, "kind": kind, "words": words.headline})
        });
        document.insert("dry_run".to_owned(), json!(global.dry_run));
        document.insert("instructions".to_owned(), instructions.collect());
        document.insert("results".to_owned(), results_json(&digests, submission));
        if !next.is_empty() {
            document.insert("next".to_owned(), json!(next));
        }
        if let Some(trouble) = &submission.trouble {
            document.insert("trouble".to_owned(), json!(trouble.to_string()));
        }
        ui::json(&Value::Object(document));
    } else {
        results_table(&digests, submission);
        if !next.is_empty() {
            ui::line(format!("Next: {next}"));
        }
    }
    exit_code(submission)
}

/// Says what went wrong on the way, and gives the exit code.
pub fn exit_code(submission: &Submission) -> ExitCode {
    if let Some(trouble) = &submission.trouble {
        ui::note(trouble.to_string());
    }
    let outcomes = &submission.outcomes;
    let open =
        |outcome: &Outcome| matches!(outcome, Outcome::Unknown | Outcome::NotSent | Outcome::Pending { .. });
    if submission.trouble.is_some() || outcomes.iter().any(open) {
        ExitCode::from(FAILED)
    } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(_) | Outcome::NoneAccepted)) {
        ExitCode::from(REFUSED)
    } else {
        ExitCode::SUCCESS
    }
}

/// The results as JSON.
pub fn results_json(digests: &[(Digest, &'static str)], submission: &Submission) -> Value {
    let results = digests.iter().zip(&submission.outcomes).map(|((digest, _), outcome)| match outcome {
        Outcome::Accepted { position } => {
            json!({"digest": digest, "position": position.to_string(), "status": "accepted"})
        }
        Outcome::Pending { position } => {
            json!({"digest": digest, "position": position.to_string(), "status": "receipt_pending"})
        }
        Outcome::Refused(problem) => {
            json!({"digest": digest, "problem": problem, "advice": problem.advice(), "status": "refused"})
        }
        Outcome::NoneAccepted => json!({"digest": digest, "status": "none_accepted"}),
        Outcome::Unknown => json!({"digest": digest, "status": "unknown"}),
        Outcome::NotSent => json!({"digest": digest, "status": "not_sent"}),
        Outcome::WouldAccept { entry: Some(entry) } => {
            json!({"digest": digest, "entry": entry, "status": "would_accept"})
        }
        Outcome::WouldAccept { entry: None } => json!({"digest": digest, "status": "would_accept"}),
    });
    results.collect()
}

/// The results as a table.
pub fn results_table(digests: &[(Digest, &'static str)], submission: &Submission) {
    let rows =
        digests.iter().zip(&submission.outcomes).enumerate().map(|(index, ((digest, kind), outcome))| {
            let result = match outcome {
                Outcome::Accepted { position } => format!("accepted at position {position}; receipt kept"),
                Outcome::Pending { position } => {
                    format!(
                        "in the log at position {position}; the receipt is pending: safeconduct outbox resend"
                    )
                }
                Outcome::Refused(problem) => format!("refused, {problem}"),
                Outcome::NoneAccepted => "not accepted, since another one was refused".to_owned(),
                Outcome::Unknown => "unknown: safeconduct outbox resend".to_owned(),
                Outcome::NotSent => "not sent".to_owned(),
                Outcome::WouldAccept { entry } => would_accept(entry.as_ref()),
            };
            vec![(index + 1).to_string(), (*kind).to_owned(), digest.to_string(), result]
        });
    ui::table(&["#", "kind", "digest", "result"], rows.collect(), "");
}

fn would_accept(entry: Option<&Value>) -> String {
    let parsed =
        entry.and_then(|entry| serde_json::from_value::<records::journal::JournalEntry>(entry.clone()).ok());
    let Some(entry) = parsed else {
        return "would be accepted".to_owned();
    };
    let mut text = "would be accepted, and cause:".to_owned();
    for line in entry.lines {
        use ledger::entry::Action;
        let action = match line.action {
            Action::Debit => "debit",
            Action::Credit => "credit",
            Action::Hold(_) => "hold",
            Action::PostHold(_) => "post the hold",
            Action::VoidHold(_) => "free the hold",
        };
        text.push_str(&format!("\n{action} {} {}", line.account.name(), line.money.grouped()));
    }
    text
}
