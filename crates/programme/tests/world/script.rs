//! Scripts: one instruction a line, so that a test reads as the table of what happened.
//!
//! ```text
//! who    verb  words and name=value            -> what comes of it, where not `ok`
//! app1   approve d1                            -> own_request
//! prep1  request d1 c-1 small 5000.00 f1 as=asked
//! wait   3600
//! ```
//!
//! `see f1 free=8,900,000 held=100,000` asserts a fund's balances, and `is d1 due` a disbursement's stage.
//! `wait` moves the clock and lets the ledger log what ran out; `clock` only moves the clock; `lapse d1` is the
//! ledger's own word; `found` is the founding. Lines may also be parted by `;`. Values that frame any instruction:
//! `key=` signs with another key, `ledger=other`, `basis=forged|first|never`, `id=<n>`, `issued=<offset>`, `life=<span>`;
//! `as=` names the digest.

use ledger::currency::Currency;
use ledger::money::Money;
use programme::{Code, Halt};
use records::governance::Founding;
use records::journal::JournalEntry;
use records::scalar::Integer;
use records::{Basis, Payload};
use signing::digest::Digest;

use super::{Frame, World, bodies, cast, secret};

/// What came of a line.
pub type Outcome = Result<Option<JournalEntry>, Halt>;

/// The words of a line after its verb.
pub struct Words<'a> {
    plain: std::vec::IntoIter<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(words: impl Iterator<Item = &'a str>) -> Words<'a> {
        let (mut plain, mut named) = (vec![], vec![]);
        for word in words {
            match word.split_once('=') {
                Some(pair) => named.push(pair),
                None => plain.push(word),
            }
        }
        Words { plain: plain.into_iter(), named }
    }

    /// The next plain word.
    pub fn next(&mut self) -> &'a str {
        self.plain.next().expect("a word is missing")
    }

    /// The value of a name, once.
    pub fn take(&mut self, name: &str) -> Option<&'a str> {
        let index = self.named.iter().position(|(found, _)| *found == name)?;
        Some(self.named.remove(index).1)
    }

    /// Every name and value that was not taken.
    pub fn take_rest(&mut self) -> Vec<(&'a str, &'a str)> {
        std::mem::take(&mut self.named)
    }

    fn end(mut self, line: &str) {
        assert_eq!(self.plain.next(), None, "a word too many: {line}");
        assert_eq!(self.named, [], "nobody takes these: {line}");
    }
}

/// `-90s`, `60m`, `2h`, `40d`.
fn seconds(span: &str) -> i64 {
    let (number, unit) = span.split_at(span.len() - 1);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => panic!("no unit {other}"),
    };
    number.parse::<i64>().unwrap() * unit_s
}

impl World {
    /// Runs a script; each line has to come to what it says.
    pub fn run(&mut self, script: &str) {
        for line in script.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
            let (line, expected) = line.split_once("->").unwrap_or((line, "ok"));
            let outcome = match self.line(line) {
                Ok(_) => "ok".to_owned(),
                Err(Halt::Refused(refusal)) => refusal.code.as_str().to_owned(),
                Err(Halt::Known { position }) => format!("known {position}"),
                Err(halt @ Halt::Missing(_)) => panic!("{line}: {halt:?}"),
            };
            assert_eq!(outcome, expected.trim(), "{line}");
        }
    }

    /// Runs one line.
    pub fn line(&mut self, line: &str) -> Outcome {
        let mut words = line.split_whitespace();
        let who = words.next().expect("a line begins with who acts");
        let mut words = match who {
            "wait" | "clock" | "carry" | "lapse" | "found" | "see" | "is" => Words::of(words),
            _ => return self.instruct(who, line, words.next().expect("a verb"), Words::of(words)),
        };
        let outcome = match who {
            "carry" => {
                self.carried = Some(words.next().to_owned());
                Ok(None)
            }
            "wait" | "clock" => {
                let span_s = u64::try_from(seconds(words.next())).unwrap();
                if who == "wait" {
                    self.pass(span_s)
                } else {
                    self.move_clock(span_s)
                }
                Ok(None)
            }
            "see" => {
                let fund = words.next();
                for (column, expected) in words.take_rest() {
                    assert_eq!(self.column(fund, column), expected, "{column} of {fund}: {line}");
                }
                Ok(None)
            }
            "is" => {
                let stage = self.disbursement(words.next()).map(|state| state.stage.name());
                assert_eq!(stage, Some(words.next()), "{line}");
                Ok(None)
            }
            "lapse" => {
                let name = words.next();
                let state = self.disbursement(name).expect("what lapses was requested").clone();
                self.lapse(self.lapse_of(&super::id(name), &state))
            }
            _ => {
                let (founding, signer) = founding(&mut words);
                self.submit(Payload::Founding(Box::new(founding)), &secret(signer))
            }
        };
        words.end(line);
        outcome
    }

    /// A column of the tables of balances, as people write it: `8,894,527.70`, and `100,000` without decimals.
    pub fn column(&self, fund: &str, column: &str) -> String {
        let codes = match column {
            "restrained" => 8100..=8100,
            "retained" => 8200..=8200,
            "custody-cash" => 1150..=1150,
            "owner-claim" => 2300..=2300,
            "payable" | "payables" => 2100..=2100,
            "cash" | "cash-held" => 1100..=1100,
            "outstanding" => 2200..=2200,
            "overdrawn" => 2600..=2600,
            "income" => 4100..=4199,
            "expense" => 5100..=5199,
            "resources" => 7100..=7100,
            "free" | "held" => 7210..=7210,
            "obligated" => 7300..=7300,
            "accrued" => 7400..=7400,
            "paid" => 7500..=7500,
            "shortfall" => 7900..=7900,
            other => panic!("no column {other}"),
        };
        let (amount, held) = self.sums(fund, codes);
        let minor = match column {
            "held" | "cash-held" => held,
            "free" => amount - held,
            _ => amount,
        };
        let text = Money::from_minor(minor, Currency::USD).unwrap().grouped();
        let text = text.trim_start_matches("USD ");
        text.strip_suffix(".00").unwrap_or(text).to_owned()
    }

    fn instruct(&mut self, who: &str, line: &str, verb: &str, mut words: Words<'_>) -> Outcome {
        let frame = Frame {
            key: words.take("key").map(str::to_owned),
            ledger: words.take("ledger").map(Digest::of),
            basis: words.take("basis").map(|which| self.basis_named(which)),
            id: words.take("id").map(|number| number.parse().unwrap()),
            issued_after_s: words.take("issued").map_or(0, seconds),
            life_s: words.take("life").map(seconds),
        };
        let name = words.take("as");
        let body = bodies::body(self, verb, &mut words);
        words.end(line);
        let (digest, entry) = self.send(who, &frame, body)?;
        if let Some(name) = name {
            self.named.insert(name.to_owned(), digest);
        }
        Ok(entry)
    }

    fn basis_named(&self, which: &str) -> Basis {
        match which {
            "forged" => Basis { root: Digest::of("forged"), ..self.latest_basis() },
            "never" => Basis { size: Integer(999_999), ..self.latest_basis() },
            "first" => self.first_basis(),
            other => panic!("no basis {other}"),
        }
    }

    /// The digest that a script named.
    pub fn digest(&self, name: &str) -> Digest {
        *self.named.get(name).unwrap_or_else(|| panic!("nothing is named {name}"))
    }
}

/// A founding record with one thing changed, and who signs it.
fn founding<'a>(words: &mut Words<'a>) -> (Founding, &'a str) {
    let mut founding = cast::founding();
    let charter = &mut founding.body;
    let mut signer = "c1";
    for (name, value) in words.take_rest() {
        let number = || Integer(value.parse().unwrap());
        match name {
            "quorum" => charter.quorum = number(),
            "currencies" => charter.currencies = bodies::list(value),
            "custodians" if value == "twice" => charter.custodians[1] = charter.custodians[0].clone(),
            "signer" => signer = value,
            name => bodies::set_policy(&mut charter.policy, name, value),
        }
    }
    founding.key = secret(signer).public().id();
    (founding, signer)
}

/// The code of a refusal, where it is one.
pub fn code_of(outcome: &Outcome) -> Option<Code> {
    match outcome {
        Err(Halt::Refused(refusal)) => Some(refusal.code),
        _ => None,
    }
}
