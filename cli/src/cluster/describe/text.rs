//! All that is known of a Task, for people. Pure.

use std::fmt::Write;
use std::time::Duration;

use baton_api::status::{Carrier, StepKind, StepPhase, StepStatus, TaskStatus};
use baton_protocol::Timestamp;
use baton_steps::StepState;

use super::super::advice::{advice, next, of_container};
use super::super::object::Object;
use super::super::standing::{Standing, style};
use super::super::states::state;
pub use super::page::EventLine;
use super::page::{MAX_MESSAGE, Page};
use crate::show::style::{BOLD, FAINT, Palette, RED, YELLOW, fit, one_line, size, span};
use crate::show::table::Cell;
use crate::show::words;

/// Longest value of a result that is shown, in columns.
const MAX_RESULT: usize = 60;
/// What is known.
pub struct Known<'a> {
    /// The Task.
    pub task: &'a Object,
    /// Its status.
    pub status: &'a TaskStatus,
    /// The events of it and its pod, or why they are not known.
    pub events: Result<&'a [EventLine], String>,
    /// The time.
    pub now: Timestamp,
}

/// Writes it.
pub fn text(known: &Known<'_>, palette: Palette) -> String {
    let (task, status) = (known.task, known.status);
    let mut page = Page::new(palette);
    page.head(known);
    page.schedule(task, status.schedule.as_ref(), known.now);
    page.steps(known);
    page.results(status);
    page.conditions(&status.conditions, known.now);
    page.callbacks(&status.callbacks);
    page.warnings(status);
    page.runs(status);
    page.events(&known.events, known.now);
    let next = next(task.name(), task.namespace(), task.is_cancelled(), status);
    page.next(&next);
    page.text
}

impl Page {
    fn head(&mut self, known: &Known<'_>) {
        let (task, status) = (known.task, known.status);
        let standing = Standing::of(task).unwrap_or_default();
        self.standing(task, &standing);
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
        self.times(task, &standing, known.now);
        let code = status.exit_code.map(|code| code.to_string());
        self.field("Exit code", &code.unwrap_or_default());
        self.generation(task, &standing);
    }

    fn steps(&mut self, known: &Known<'_>) {
        let status = known.status;
        if status.steps.is_empty() {
            return;
        }
        self.title("Steps");
        let mut rows = vec![vec![
            Cell::head_right("#"),
            Cell::head("STEP"),
            Cell::head("STATE"),
            Cell::head("REASON"),
            Cell::head_right("EXIT"),
            Cell::head_right("ATTEMPTS"),
            Cell::head_right("RAN"),
            Cell::head_right("CPU"),
            Cell::head_right("PEAK"),
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
                    {
                        let phase = format!("{:?}", run.phase);
                        let style = style(&phase);
                        Cell::left(phase, style)
                    },
                    Cell::left(&run.reason, None),
                    Cell::right(took.map(|(a, b)| span(b.since(a))).unwrap_or_default()),
                    Cell::left(format!("pod {}", run.pod), Some(FAINT)),
                ]
            })
            .collect();
        self.rows(&rows);
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
