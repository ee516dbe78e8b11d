//! All that is known of a Task, for people. Pure.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use baton_api::status::{Carrier, StepKind, StepPhase, StepStatus, TaskStatus};
use baton_protocol::Timestamp;
use baton_steps::StepState;

use super::super::advice::{Next, advice, next, of_container};
use super::super::object::Task;
use super::super::states::state;
use super::super::table::{age, duration, standing, style};
use crate::show::style::{BOLD, FAINT, Palette, RED, YELLOW, fit, one_line, size, span};
use crate::show::table::{Cell, write_rows};
use crate::show::words;

/// Longest value of a result that is shown, in columns.
const MAX_RESULT: usize = 60;
/// Longest message that is shown, in columns.
const MAX_MESSAGE: usize = 200;

/// An event of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// When it was seen last.
    pub at: Option<Timestamp>,
    /// Something may be wrong.
    pub warning: bool,
    /// What it is about: `task`, `pod`.
    pub of: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How often it was seen.
    pub count: i32,
}

/// What is known.
pub struct Known<'a> {
    /// The Task.
    pub task: &'a Task,
    /// Its status.
    pub status: &'a TaskStatus,
    /// The events of it and its pod, or why they are not known.
    pub events: Result<&'a [EventLine], String>,
    /// The time.
    pub now: Timestamp,
}

/// Writes it.
pub fn text(known: &Known<'_>, palette: Palette) -> String {
    let mut page = Page {
        text: String::new(),
        palette,
    };
    page.head(known);
    page.steps(known);
    page.results(known.status);
    page.conditions(known.status, known.now);
    page.callbacks(known.status);
    page.warnings(known.status);
    page.runs(known.status);
    page.events(known);
    page.next(known);
    page.text
}

struct Page {
    text: String,
    palette: Palette,
}

impl Page {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    fn title(&mut self, title: &str) {
        let title = self.palette.paint(BOLD, title);
        let _ = writeln!(self.text, "\n{title}");
    }

    /// `Name       value`, where there is a value.
    fn field(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let name = self.palette.paint(FAINT, format!("{name:<11}"));
            let _ = writeln!(self.text, "  {name} {value}");
        }
    }

    fn rows(&mut self, rows: &[Vec<Cell>]) {
        write_rows(rows, self.palette, &mut self.text);
    }

    fn head(&mut self, known: &Known<'_>) {
        let (task, status) = (known.task, known.status);
        let name = self.palette.paint(BOLD, format!("Task {}", task.name()));
        let _ = writeln!(self.text, "{name} in namespace {}", task.namespace());
        let mut stands = standing(task, status);
        if task.status.is_none() {
            stands.push_str(" (nothing has taken it up yet: does the coordinator run?)");
        } else if !status.reason.is_empty()
            && status.reason != format!("{:?}", status.phase)
            && status.reason != "Completed"
        {
            let _ = write!(stands, ", {}", one_line(&status.reason));
        }
        let painted = match style(status.phase) {
            Some(style) => self.palette.paint(style, stands).to_string(),
            None => stands,
        };
        self.field("Status", &painted);
        self.field("Message", &fit(&one_line(&status.message), MAX_MESSAGE));
        self.field("Progress", &status.progress);
        let mut run = match status.run {
            0 => String::new(),
            run => run.to_string(),
        };
        let retries = [
            (status.infrastructure_retries, "lost to the infrastructure"),
            (status.failure_retries, "failed by their steps"),
        ];
        for (count, why) in retries.into_iter().filter(|(count, _)| *count > 0) {
            let _ = write!(run, "; {count} before it {why}");
        }
        self.field("Run", &run);
        if let Some(pod) = &status.pod {
            let mut text = pod.name.clone();
            if !pod.node.is_empty() {
                let _ = write!(text, " on {}", pod.node);
            }
            if pod.carrier == Carrier::DownwardAPI {
                text.push_str(", ordered by the coordinator: no agent serves its node");
            }
            self.field("Pod", &text);
        }
        let created = task.metadata.creation_timestamp.as_ref();
        let created = created.map(|at| Timestamp(SystemTime::from(at.0)));
        self.field("Created", &moment(created, known.now));
        self.field("Started", &moment(status.started_at, known.now));
        self.field("Finished", &moment(status.finished_at, known.now));
        self.field("Duration", &duration(status, known.now));
        let code = status.exit_code.map(|code| code.to_string());
        self.field("Exit code", &code.unwrap_or_default());
        if let Some(observed) = status.observed_generation
            && observed < task.generation()
        {
            let said = format!(
                "generation {}; the status is of generation {observed}",
                task.generation()
            );
            self.field("Spec", &self.palette.paint(YELLOW, said).to_string());
        }
    }

    fn steps(&mut self, known: &Known<'_>) {
        let status = known.status;
        if status.steps.is_empty() {
            return;
        }
        self.title("Steps");
        let faint = |text: &str| Cell::left(text, Some(FAINT));
        let right = |text: &str| Cell {
            style: Some(FAINT),
            ..Cell::right(text)
        };
        let mut rows = vec![vec![
            right("#"),
            faint("STEP"),
            faint("STATE"),
            faint("REASON"),
            right("EXIT"),
            right("ATTEMPTS"),
            right("RAN"),
            right("CPU"),
            right("PEAK"),
        ]];
        rows.extend(status.steps.iter().map(|step| row(step, known)));
        self.rows(&rows);
        for step in &status.steps {
            let state = state(step, status.phase);
            let mut said = one_line(&step.message);
            for retry in &step.retries {
                let _ = write!(
                    said,
                    "{}attempt {} ended as {:?} (exit {})",
                    if said.is_empty() { "" } else { "; " },
                    retry.attempt,
                    retry.reason,
                    retry.exit_code
                );
            }
            if !said.is_empty() {
                let name = self.palette.paint(BOLD, &step.name);
                self.line(&format!("  {name}: {}", fit(&said, MAX_MESSAGE)));
            }
            let advice = match &state {
                StepState::Done { record } => advice(record),
                _ => of_container(&step.reason).map(str::to_owned),
            };
            if let Some(advice) = advice {
                self.line(&format!("    → {advice}"));
            }
        }
    }

    fn results(&mut self, status: &TaskStatus) {
        let all: Vec<(String, &str)> = status
            .steps
            .iter()
            .flat_map(|step| {
                let named = step.results.iter();
                named.map(move |r| (format!("{}.{}", step.name, r.name), r.value.as_str()))
            })
            .collect();
        let missing = || {
            let steps = status.steps.iter();
            steps.flat_map(|s| s.missing_results.iter().map(move |m| (s, m)))
        };
        if all.is_empty() && missing().next().is_none() {
            return;
        }
        self.title("Results");
        let rows: Vec<_> = all
            .iter()
            .map(|(name, value)| {
                let mut shown = fit(&one_line(value), MAX_RESULT);
                if shown != *value {
                    let _ = write!(shown, " ({})", size(value.len() as u64));
                }
                vec![Cell::left(name, None), Cell::left(shown, Some(BOLD))]
            })
            .collect();
        self.rows(&rows);
        let lines: Vec<_> = missing()
            .map(|(step, m)| {
                format!(
                    "  {}.{} is not here: {}",
                    step.name,
                    m.name,
                    one_line(&m.why)
                )
            })
            .collect();
        for line in lines {
            let line = self.palette.paint(YELLOW, line).to_string();
            self.line(&line);
        }
    }

    fn conditions(&mut self, status: &TaskStatus, now: Timestamp) {
        if status.conditions.is_empty() {
            return;
        }
        self.title("Conditions");
        let rows: Vec<_> = status
            .conditions
            .iter()
            .map(|c| {
                let since = c.last_transition_time.map(|at| age(now.since(at)));
                vec![
                    Cell::left(format!("{}={}", c.kind, c.status), None),
                    Cell::left(&c.reason, None),
                    Cell::left(since.unwrap_or_default(), Some(FAINT)),
                    Cell::left(fit(&one_line(&c.message), MAX_MESSAGE), None),
                ]
            })
            .collect();
        self.rows(&rows);
    }

    fn callbacks(&mut self, status: &TaskStatus) {
        if status.callbacks.is_empty() {
            return;
        }
        self.title("Callbacks");
        for callback in &status.callbacks {
            let mut said = format!("{} delivered", callback.delivered);
            if callback.waiting > 0 {
                let _ = write!(said, ", {} waiting", callback.waiting);
            }
            if callback.given_up > 0 {
                let _ = write!(said, ", {} given up", callback.given_up);
            }
            let troubled = callback.given_up > 0 || callback.last_error.is_some();
            let said = match troubled {
                true => self.palette.paint(YELLOW, said).to_string(),
                false => said,
            };
            self.line(&format!("  {}   {said}", one_line(&callback.sink)));
            if let Some(error) = &callback.last_error {
                self.line(&format!("    {}", fit(&one_line(error), MAX_MESSAGE)));
            }
        }
    }

    fn warnings(&mut self, status: &TaskStatus) {
        let all: Vec<_> = status
            .steps
            .iter()
            .flat_map(|s| s.warnings.iter().map(move |w| (&s.name, w)))
            .collect();
        if all.is_empty() {
            return;
        }
        self.title("Warnings");
        for (step, warning) in all {
            let said = format!("  {step}: {}", fit(&one_line(warning), MAX_MESSAGE));
            let said = self.palette.paint(YELLOW, said).to_string();
            self.line(&said);
        }
    }

    fn runs(&mut self, status: &TaskStatus) {
        if status.runs.is_empty() {
            return;
        }
        self.title("Earlier runs");
        let rows: Vec<_> = status
            .runs
            .iter()
            .map(|run| {
                let took = run.started_at.zip(run.finished_at);
                vec![
                    Cell::right(run.run.to_string()),
                    Cell::left(format!("{:?}", run.phase), style(run.phase)),
                    Cell::left(&run.reason, None),
                    Cell::right(took.map(|(a, b)| span(b.since(a))).unwrap_or_default()),
                    Cell::left(format!("pod {}", run.pod), Some(FAINT)),
                ]
            })
            .collect();
        self.rows(&rows);
    }

    fn events(&mut self, known: &Known<'_>) {
        let events = match &known.events {
            Ok([]) => return,
            Ok(events) => *events,
            Err(why) => {
                self.title("Events");
                self.line(&format!("  cannot be read: {}", one_line(why)));
                return;
            }
        };
        self.title("Events");
        let rows: Vec<_> = events
            .iter()
            .map(|event| {
                let at = event.at.map(|at| age(known.now.since(at)));
                let times = match event.count {
                    ..=1 => String::new(),
                    count => format!(" (×{count})"),
                };
                let style = event.warning.then_some(YELLOW);
                vec![
                    Cell::right(at.unwrap_or_default()),
                    Cell::left(&event.of, Some(FAINT)),
                    Cell::left(format!("{}{times}", one_line(&event.reason)), style),
                    Cell::left(fit(&one_line(&event.message), MAX_MESSAGE), None),
                ]
            })
            .collect();
        self.rows(&rows);
    }

    fn next(&mut self, known: &Known<'_>) {
        let (task, status) = (known.task, known.status);
        let all = next(task.name(), task.namespace(), task.is_cancelled(), status);
        if all.is_empty() {
            return;
        }
        self.title("Next");
        let commands = all.iter().filter_map(|next| match next {
            Next::Command(command, what) => Some(vec![
                Cell::left(command, None),
                Cell::left(*what, Some(FAINT)),
            ]),
            Next::Hint(_) => None,
        });
        self.rows(&commands.collect::<Vec<_>>());
        for next in &all {
            if let Next::Hint(hint) = next {
                self.line(&format!("  {hint}"));
            }
        }
    }
}

fn row(step: &StepStatus, known: &Known<'_>) -> Vec<Cell> {
    let kind = match step.kind {
        StepKind::Step => "",
        StepKind::Finally => " (finally)",
        StepKind::Sidecar => " (sidecar)",
    };
    let end = words::end(&state(step, known.status.phase));
    let ran = match (step.started_at, step.finished_at, step.state) {
        (Some(start), Some(end), _) => span(end.since(start)),
        (Some(start), None, StepPhase::Running) => {
            span(Duration::from_secs(known.now.since(start).as_secs()))
        }
        _ => String::new(),
    };
    let optional = |text: Option<String>| Cell::right(text.unwrap_or_default());
    let failed = step.state == StepPhase::Failed;
    vec![
        Cell::right(step.number.to_string()),
        Cell::left(format!("{}{kind}", step.name), None),
        Cell::left(format!("{} {:?}", end.mark, step.state), Some(end.style)),
        Cell::left(one_line(&step.reason), failed.then_some(RED)),
        optional(step.exit_code.map(|code| code.to_string())),
        optional((step.attempts > 0).then(|| step.attempts.to_string())),
        Cell::right(ran),
        optional(step.cpu_ms.map(|ms| span(Duration::from_millis(ms)))),
        optional(step.peak_bytes.map(size)),
    ]
}

/// `2026-11-21T06:00:00Z (3m ago)`
fn moment(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else {
        return String::new();
    };
    let text = jiff::Timestamp::try_from(at.0)
        .ok()
        .and_then(|t| t.round(jiff::Unit::Second).ok());
    let text = text.map(|t| t.to_string()).unwrap_or_default();
    format!("{text} ({} ago)", age(now.since(at)))
}
