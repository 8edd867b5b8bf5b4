//! Persons at their own machines: each command is a process of its own, with a home and a key of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::service::PASSPHRASE;
use crate::error::{Error, Result};
use crate::ui;

/// What a command answered.
pub struct Answer {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it printed, as JSON.
    pub json: Value,
    /// What it said beside.
    pub said: String,
}

impl Answer {
    /// The code of the first refusal among the results.
    pub fn refusal(&self) -> Option<&str> {
        self.results().iter().find_map(|result| result["problem"]["code"].as_str())
    }

    /// How many were accepted.
    pub fn accepted(&self) -> usize {
        self.results().iter().filter(|result| result["status"] == "accepted").count()
    }

    fn results(&self) -> &[Value] {
        self.json["results"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// All persons, and what did not go as it should.
pub struct Stage {
    exe: PathBuf,
    dir: PathBuf,
    url: String,
    count: usize,
    refused: Vec<[String; 4]>,
    failed: Vec<String>,
}

impl Stage {
    /// Nobody has a key yet.
    pub fn new(dir: PathBuf, url: String) -> Result<Stage> {
        let exe = std::env::current_exe()?;
        Ok(Stage { exe, dir, url, count: 0, refused: Vec::new(), failed: Vec::new() })
    }

    /// The service's URL.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// A file of the demo's.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// How many commands ran.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Which did not do what they should.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }

    /// What was refused as it should: who, the command, the code, and why.
    pub fn refused(&self) -> &[[String; 4]] {
        &self.refused
    }

    /// Notes something that did not hold.
    pub fn fail(&mut self, what: String) {
        ui::line(format!("  !! {what}"));
        self.failed.push(what);
    }

    /// Holds something against what it should be.
    pub fn expect(&mut self, what: &str, holds: bool) {
        self.count += 1;
        if !holds {
            self.fail(format!("{what}: it is not so"));
        }
    }

    fn process(&self, who: &str, words: &[&str]) -> Result<Output> {
        let output = Command::new(&self.exe)
            .args(words)
            .args(["--yes", "--json"])
            .env("SAFECONDUCT_HOME", self.dir.join("people").join(who))
            .env("SAFECONDUCT_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null())
            .output()?;
        Ok(output)
    }

    fn answer(output: &Output) -> Answer {
        Answer {
            code: output.status.code().unwrap_or(-1),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }

    /// A command as somebody in these directories would type it; a long list is cut.
    fn shown(&self, words: &[&str]) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let short = |word: &str| {
            let inside =
                [&self.dir, &here].into_iter().find_map(|dir| Path::new(word).strip_prefix(dir).ok());
            inside.map_or_else(|| word.to_owned(), |path| path.display().to_string())
        };
        let quoted = |word: &&str| {
            let word = short(word);
            if word.contains([' ', '\'']) { format!("'{word}'") } else { word }
        };
        let mut shown: Vec<String> = words.iter().map(quoted).collect();
        if let Some(hidden) = shown.len().checked_sub(24) {
            shown.splice(8..8 + hidden, [format!("... ({hidden} words) ...")]);
        }
        shown.join(" ")
    }

    /// Several persons run a command each, at the same time.
    pub fn together(&mut self, commands: &[(&str, Vec<String>)]) -> Result<()> {
        let outputs: Vec<Result<Output>> = std::thread::scope(|scope| {
            let running: Vec<_> = commands
                .iter()
                .map(|(who, words)| {
                    let stage = &*self;
                    scope.spawn(move || {
                        let words: Vec<&str> = words.iter().map(String::as_str).collect();
                        stage.process(who, &words)
                    })
                })
                .collect();
            let ended = running.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::new("a command's thread panicked")))
            });
            ended.collect()
        });
        for ((who, words), output) in commands.iter().zip(outputs) {
            let answer = Self::answer(&output?);
            self.count += 1;
            if answer.code != 0 {
                return Err(Error::new(format!("{who}: {} failed: {}", words.join(" "), answer.said)));
            }
        }
        Ok(())
    }

    /// Somebody runs a command; it is shown.
    pub fn run(&mut self, who: &str, words: &[&str]) -> Result<Answer> {
        ui::line(format!("{who}$ safeconduct {}", self.shown(words)));
        let answer = Self::answer(&self.process(who, words)?);
        self.count += 1;
        Ok(answer)
    }

    /// Somebody runs a command that must succeed.
    pub fn ok(&mut self, who: &str, words: &[&str]) -> Result<Answer> {
        let answer = self.run(who, words)?;
        if answer.code != 0 {
            let why = answer.refusal().map_or_else(|| answer.said.clone(), str::to_owned);
            return Err(Error::new(format!("{who}: {} failed: {why}", self.shown(words))));
        }
        match answer.accepted() {
            0 => {}
            count => ui::line(format!("  {count} accepted, receipts verified and kept")),
        }
        Ok(answer)
    }

    /// Somebody runs a command that must be refused with this code.
    pub fn refuse(&mut self, who: &str, words: &[&str], code: &str) -> Result<Answer> {
        let answer = self.run(who, words)?;
        let found = answer.refusal().map_or_else(|| answer.said.clone(), str::to_owned);
        if answer.code == 1 && found.contains(code) {
            let problem = &answer.json["results"][0]["problem"];
            let title = problem["title"].as_str().or(answer.said.lines().next()).unwrap_or_default();
            let why = problem["detail"].as_str().unwrap_or(title);
            let why = why.split_once(&format!("{code}: ")).map_or(why, |(_, why)| why);
            ui::line(format!("  refused as it should be, {code}: {why}"));
            let command = words.first().copied().unwrap_or_default();
            self.refused.push([who, command, code, why].map(str::to_owned));
        } else {
            self.fail(format!("{who}: {} should be refused with {code}, but: {found}", self.shown(words)));
        }
        Ok(answer)
    }

    /// The items of a list.
    pub fn items(&mut self, who: &str, words: &[&str]) -> Result<Vec<Value>> {
        let answer = self.ok(who, words)?;
        Ok(answer.json["items"].as_array().cloned().unwrap_or_default())
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}
