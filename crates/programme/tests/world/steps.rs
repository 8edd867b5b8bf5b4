//! Random steps, good and bad, as lines of a script.
//!
//! A step is a handful of numbers; what they mean depends on what there is by then. Mostly the right person does what a
//! disbursement's stage allows next, so that sequences get far; sometimes anybody does anything.

use programme::Key;
use programme::entity::{DisbursementState, Entity};
use programme::stage::Stage;
use proptest::prelude::*;

use super::World;
use super::script::Outcome;

/// The numbers from which a line is made.
#[derive(Debug, Clone)]
pub struct Step {
    what: u8,
    wild: u8,
    pick: [u16; 3],
    amount: u32,
}

/// A sequence of steps.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let amount = prop_oneof![1..1_000u32, 1..1_000_000u32, 1..2_000_000_000u32];
    let step = (any::<u8>(), any::<u8>(), any::<[u16; 3]>(), amount);
    let step = step.prop_map(|(what, wild, pick, amount)| Step { what, wild, pick, amount });
    prop::collection::vec(step, 1..most)
}

const ANYBODY: [&str; 20] = [
    "ag1", "all1", "all2", "app1", "app2", "app3", "aud1", "c1", "c2", "c3", "dir1", "dir2", "nobody",
    "pay1", "prep1", "prep2", "rec1", "rec2", "scr1", "x",
];

/// What was tried, and what came of it.
pub struct Tried {
    pub line: String,
    pub outcome: Outcome,
}

impl World {
    /// Tries a step, and logs first what ran out.
    pub fn try_step(&mut self, step: &Step) -> Tried {
        let line = step.line(self);
        let outcome = self.line(&line);
        Tried { line, outcome }
    }
}

impl Step {
    /// One of these, by the n-th number.
    fn one<'a>(&self, n: usize, of: &[&'a str]) -> &'a str {
        of[usize::from(self.pick[n]) % of.len()]
    }

    fn amount(&self) -> String {
        match self.wild {
            0 => "9999999999999.99".to_owned(),
            1 => "0.00".to_owned(),
            2 => "-1.00".to_owned(),
            3 => "EUR:1.00".to_owned(),
            _ => format!("{}.{:02}", self.amount / 100, self.amount % 100),
        }
    }

    /// The right person, or anybody.
    fn who<'a>(&self, right: &[&'a str]) -> &'a str {
        if (4..16).contains(&self.wild) { self.one(2, &ANYBODY) } else { self.one(2, right) }
    }

    /// Something wrong with the frame.
    fn frame(&self) -> &'static str {
        match self.wild {
            16 => " basis=forged",
            17 => " basis=first",
            18 => " issued=61s",
            19 => " life=31d",
            20 => " issued=-30d",
            21 => " ledger=other",
            22 => " key=nobody",
            23 => " id=7",
            24 => " key=dir2",
            _ => "",
        }
    }

    /// The line that the step means here.
    pub fn line(&self, world: &World) -> String {
        let line = match self.what {
            0..=15 => {
                return ["wait 1h", "wait 1d", "wait 9d", "clock 1s"][usize::from(self.pick[0]) % 4].into();
            }
            16..=33 => self.governance(),
            34..=75 => self.fact(),
            76..=80 => self.things(),
            81..=120 => self.request(world),
            _ => self.disbursement(world),
        };
        let frame = if line.contains(" key=") { "" } else { self.frame() };
        line + frame
    }

    fn governance(&self) -> String {
        let custodian = self.who(&["c1", "c2", "c3"]);
        let label = self.one(0, &["p1", "p2"]);
        match self.pick[1] % 20 {
            0 => format!("{custodian} set-policy gap_s={} as={label}", self.amount),
            1 => format!("{custodian} set-policy bands=100000.00/1/0,10000000.00/2/1 as={label}"),
            2 => format!("{custodian} set-policy bank_report_persons=2 receipt_persons=2 as={label}"),
            3 => format!("{custodian} set-policy bank_report_persons=1 receipt_persons=1 as={label}"),
            4 => format!("{custodian} set-roles app2 approver,payer as={label}"),
            5 => format!("{custodian} revoke {} as={label}", self.one(2, &["app3", "rec2", "pay1"])),
            6 => format!("{custodian} enrol pay1 roles=payer keys=pay1/{} as={label}", self.pick[2] % 2),
            7 => format!("c1 set-policy channels=manual as={label}"),
            8 => format!("{} veto {label}", self.who(&["aud1", "c3"])),
            9 => {
                let expires = self.one(2, &["", " expires=2030-01-06T00:00:00Z"]);
                format!(
                    "{custodian} enrol app1 roles=approver spares=app1/{}{expires} as={label}",
                    self.pick[0] % 2
                )
            }
            10 | 11 => {
                let replaces = self.one(2, &["", " replaces=app1", " replaces=dir1", " replaces=app1/1"]);
                format!("app1 activate key=app1/{}{replaces}", self.pick[0] % 2)
            }
            12 => format!("app1 approve d0 key=app1/{}", self.pick[0] % 2),
            _ => format!("{custodian} concur {label}"),
        }
    }

    fn fact(&self) -> String {
        let who = self.who(&["rec1", "rec2", "all1"]);
        let n = usize::from(self.pick[0]) % 2;
        let (h, f, b) = (["h1", "h2"][n], ["f1", "f2"][n], ["b1", "b2"][n]);
        let (amount, label) = (self.amount(), self.one(2, &["r1", "r2", "r3"]));
        let third = format!("{}.00", self.amount / 300);
        let line = match self.pick[1] % 16 {
            0 => format!("{who} restrain {h} {amount}"),
            1 | 2 => format!("{who} custody {h} cust {amount}"),
            3 => format!("{who} interest {h} cust {amount}"),
            4 | 5 => format!("{who} forfeit {h} cust {f} {b} {amount} costs=x:{third} claims=y:{third}"),
            6 => format!("{who} pay-claim {h} cust {} x {third}", self.one(2, &["cost", "claimant"])),
            7 => format!("{who} pay-claim {h} cust other-body un {third}"),
            8 | 9 => format!("{who} windfall {f} {b} {amount} {h} shares=un:{third},x:1.00 retained={third}"),
            10 | 11 => format!("{who} fee {f} {b} {amount}"),
            12 => return format!("{who} countersign {label}"),
            13 => return format!("rec2 countersign {label}"),
            _ => return format!("{} reverse {label}", self.who(&["dir1", "dir2"])),
        };
        format!("{line} as={label}")
    }

    fn things(&self) -> String {
        let director = self.who(&["dir1"]);
        match self.pick[1] % 5 {
            0 => format!("{director} register {}", self.one(0, &["a1", "a3", "a4"])),
            1 => format!("{director} open-fund {} a1 spendable USD", self.one(0, &["f1", "f3"])),
            2 => format!("{director} open-bank {} USD", self.one(0, &["b1", "b3"])),
            3 => format!("prep1 case c-{} o1:1", self.pick[0] % 12),
            _ => format!("scr1 screen c-{} cleared", self.pick[0] % 12),
        }
    }

    fn request(&self, world: &World) -> String {
        let who = self.who(&["prep1", "prep2", "all1"]);
        let name = format!("d{}", world.disbursements().len());
        let case = format!("c-{}", self.pick[0] % 8 + 1);
        let (benefit, amount) = match self.pick[1] % 8 {
            0 => ("bonus", "100000.00".to_owned()),
            1 => ("big", "1000000.00".to_owned()),
            2..=4 => ("small", "5000.00".to_owned()),
            _ if self.wild < 4 => ("trip", self.amount()),
            _ => ("trip", format!("{}.{:02}", self.amount % 6000, self.amount % 100)),
        };
        let fund = self.one(2, &["f1", "f2", "f1", "f2", "f1", "f2", "h1"]);
        format!("{who} request {name} {case} {benefit} {amount} {fund}")
    }

    fn disbursement(&self, world: &World) -> String {
        let all = world.disbursements();
        if all.is_empty() {
            return self.request(world);
        }
        let (name, state) = all[usize::from(self.pick[0]) % all.len()];
        let verb = if (32..64).contains(&self.wild) {
            [
                "approve",
                "reject",
                "cancel",
                "deliver",
                "release",
                "confirm",
                "bank-reject",
                "return",
                "reverse",
            ][usize::from(self.pick[1]) % 9]
        } else {
            self.next_verb(state)
        };
        let bank = if state.fund.as_str() == "f2" { "b2" } else { "b1" };
        let bank = if (28..32).contains(&self.wild) { "b3" } else { bank };
        let part = format!("{}.{:02}", self.amount % 6000, self.amount % 100);
        let label = self.one(2, &["r1", "r2", "r3"]);
        match verb {
            "approve" => {
                format!("{} approve {name}", self.who(&["app1", "app2", "app3", "dir1", "all1", "all2"]))
            }
            "reject" => format!("{} reject {name}", self.who(&["app1"])),
            "cancel" => format!("{} cancel {name}", self.who(&["prep1", "dir1"])),
            "deliver" => format!("{} deliver {name} {part}", self.who(&["prep1"])),
            "release" => format!("{} release {name} {bank}", self.who(&["pay1", "all1"])),
            "confirm" => format!("{} confirm {name} as={label}", self.who(&["rec1", "rec2"])),
            "bank-reject" => format!("{} bank-reject {name} as={label}", self.who(&["rec1", "rec2"])),
            "return" => format!("{} return {name} {part} as={label}", self.who(&["rec1", "rec2"])),
            _ => format!("{} reverse {name}", self.who(&["dir1"])),
        }
    }

    /// What a disbursement at this stage can do next, the way forward more often.
    fn next_verb(&self, state: &DisbursementState) -> &'static str {
        match state.stage {
            Stage::Requested { .. } => {
                self.one(1, &["approve", "approve", "approve", "approve", "reject", "cancel"])
            }
            Stage::Obligated { .. } => self.one(1, &["deliver", "deliver", "deliver", "cancel"]),
            Stage::Due(_) => self.one(1, &["release", "release", "release", "release", "cancel", "reverse"]),
            Stage::Released(_) => self.one(1, &["confirm", "confirm", "confirm", "bank-reject", "reverse"]),
            Stage::Paid(_) => self.one(1, &["return", "reverse", "confirm"]),
            Stage::Ended(_) => self.one(1, &["approve", "release", "reverse"]),
        }
    }
}

impl World {
    /// Every disbursement, by id.
    pub fn disbursements(&self) -> Vec<(&str, &DisbursementState)> {
        let all = self.state.entities().filter_map(|(key, entity)| match (key, entity) {
            (Key::Disbursement(id), Entity::Disbursement(state)) => Some((id.as_str(), &**state)),
            _ => None,
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// A funded ledger for random steps: more cases, every label that a step may name, and perhaps two persons for every
    /// report.
    pub fn for_steps(in_pairs: bool) -> World {
        let mut world = World::funded();
        if in_pairs {
            world.run("c1 set-policy bank_report_persons=2 receipt_persons=2 as=p ; c2 concur p ; wait 1h");
        }
        for number in 5..9 {
            world.run(&format!("prep1 case c-{number} o1:1 ; scr1 screen c-{number} cleared"));
        }
        for label in ["p1", "p2", "r1", "r2", "r3"] {
            world.named.insert(label.to_owned(), signing::digest::Digest::of(label));
        }
        world
    }
}
