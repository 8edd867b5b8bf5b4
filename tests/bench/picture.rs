//! The results as a picture: bars with their numbers, from zero, on one scale a panel. No fonts and no scripts.

use std::fmt::Write as _;

use crate::figures::{Stage, Target};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 330.0;
const BAR: f64 = 380.0;
const ROW: f64 = 20.0;
const INKS: [&str; 4] = ["#9db4c8", "#1f4e79", "#c58b2a", "#5a7d3a"];

/// One bar.
struct Bar {
    name: String,
    value: f64,
    label: String,
    ink: &'static str,
    /// Where lines cross it.
    marks: Vec<f64>,
}

/// Draws everything.
pub fn draw(stages: &[Stage], targets: &[Target]) -> String {
    let mut drawing = Drawing { body: String::new(), y: 10.0 };
    let bars = targets.iter().map(of_target).collect();
    drawing.panel(
        "Gates and goals: how far to the goal (full length); the thin line is the gate",
        bars,
        Some(1.5),
    );
    let panels: [(&str, &[&str]); 4] = [
        (
            "Single signed instructions a second, and one-row commits of PostgreSQL",
            &[
                "single, 1",
                "commits, 1",
                "single, 8",
                "commits, 8",
                "single, 32",
                "single, 32, 1000 funds",
                "commits, 32",
                "single, 256",
            ],
        ),
        ("Signed reads a second, 32 in flight", &["balance, 32", "statement, 32", "fund, 32"]),
        (
            "Lines or records a second",
            &[
                "lists of 100",
                "lists of 1000",
                "COPY, 1000 a commit",
                "COPY, all in one",
                "replay",
                "ed25519 verify_strict, all cores",
            ],
        ),
        ("Microseconds of processor time for each instruction", &[]),
    ];
    for (title, names) in panels {
        let bars = if names.is_empty() { cpu(stages) } else { rates(stages, names) };
        drawing.panel(title, bars, None);
    }
    let Drawing { body, y } = drawing;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// As a share of the goal, so that full length is the goal for all of them.
fn of_target(target: &Target) -> Bar {
    let Target { name, records, value, gate, goal, is_limit } = target;
    let share = |value: f64| if *is_limit { goal / value } else { value / goal };
    let ink = match target.verdict() {
        "goal" => INKS[3],
        "gate" => INKS[2],
        _ => "#b03a2e",
    };
    Bar {
        name: format!("{name}, {}", short(*records)),
        value: share(*value),
        label: format!("{value:.2} (gate {gate}, goal {goal})"),
        ink,
        marks: vec![share(*gate), 1.0],
    }
}

fn short(records: u64) -> String {
    if records >= 1_000_000 { format!("{} M", records as f64 / 1e6) } else { format!("{} k", records / 1000) }
}

fn rates(stages: &[Stage], names: &[&str]) -> Vec<Bar> {
    let mut bars = vec![];
    for name in names {
        for (stage, ink) in stages.iter().zip(INKS.iter().cycle()) {
            let value = stage.per_s(name);
            let p99 = stage.figure(name).and_then(|figure| figure.latency_ms(0.99));
            let p99 = p99.map_or_else(String::new, |ms| format!("  p99 {ms:.1} ms"));
            bars.push(Bar {
                name: format!("{name}, {}", short(stage.records)),
                value,
                label: format!("{value:.0}{p99}"),
                ink,
                marks: vec![],
            });
        }
    }
    bars
}

fn cpu(stages: &[Stage]) -> Vec<Bar> {
    let mut bars = vec![];
    for stage in stages {
        for name in ["single, 1", "single, 32", "single, 256", "lists of 1000"] {
            let Some(figure) = stage.figure(name) else { continue };
            for ((who, us), ink) in ["client", "service", "PostgreSQL"].iter().zip(figure.cpu_us()).zip(INKS)
            {
                bars.push(Bar {
                    name: format!("{name}: {who}, {}", short(stage.records)),
                    value: us,
                    label: format!("{us:.0}"),
                    ink,
                    marks: vec![],
                });
            }
        }
    }
    bars
}

struct Drawing {
    body: String,
    y: f64,
}

impl Drawing {
    /// A panel, on the scale of its longest bar or on one that is given.
    fn panel(&mut self, title: &str, bars: Vec<Bar>, scale: Option<f64>) {
        let most = scale.unwrap_or_else(|| bars.iter().map(|bar| bar.value).fold(0.0, f64::max));
        self.text(
            10.0,
            self.y + 16.0,
            "start",
            &format!("<tspan font-weight=\"bold\">{}</tspan>", escaped(title)),
        );
        self.y += 26.0;
        for bar in bars {
            let middle = self.y + ROW * 0.7;
            let length = if bar.value.is_finite() { (bar.value / most).clamp(0.0, 1.0) * BAR } else { 0.0 };
            self.text(LEFT - 8.0, middle, "end", &escaped(&bar.name));
            let (y, height) = (self.y + 3.0, ROW - 6.0);
            let _ = writeln!(
                self.body,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{}\"/>",
                bar.ink
            );
            let mut end = LEFT + length;
            for mark in bar.marks {
                let x = LEFT + (mark / most).clamp(0.0, 1.0) * BAR;
                end = end.max(x);
                let _ = writeln!(
                    self.body,
                    "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#222\"/>",
                    self.y,
                    self.y + ROW
                );
            }
            // A bar that is longer than the scale is cut, and says so.
            let cut = if bar.value > most { "\u{2192} " } else { "" };
            self.text(end + 6.0, middle, "start", &escaped(&format!("{cut}{}", bar.label)));
            self.y += ROW;
        }
        self.y += 18.0;
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, content: &str) {
        let _ =
            writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
