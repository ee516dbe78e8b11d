//! What a person sees while a task runs: the steps' output line by line, each after its step's name,
//! and Baton's own lines between them.
//!
//! Pure but for where it writes to: times come from its caller.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::{Reason, Timestamp};
use baton_steps::{Kind, Notice, Plan, StepState, StopReason};

use super::lines::Lines;
pub use super::prefixed::Look;
pub(crate) use super::prefixed::{aligned, prefix, write_line};
use super::style::{FAINT, GREEN, RED, Style, YELLOW, fit, of_step, one_line, span, width};
use super::terminal::To;
use super::words;

/// Longest name that the others are aligned to, in columns.
const MAX_NAME: usize = 24;
/// Most output that is held back until its step is known to have started, in bytes.
const MAX_HELD: usize = 64 << 10;
/// A step that is over sooner needs no status line.
const SOON: Duration = Duration::from_millis(400);
/// The pictures of the status line.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The screen of one task.
pub struct Screen {
    look: Look,
    name_width: usize,
    /// Added to numbers for the colours.
    hue: u32,
    total: u32,
    steps: BTreeMap<u32, StepScreen>,
    stopping: Option<StopReason>,
}

struct StepScreen {
    name: String,
    /// The name before its lines.
    label: String,
    kind: Kind,
    lines: Lines,
    /// What was printed before the step was known to have started: its entrypoint's words, or an
    /// output that was faster than the news of its start.
    held: Vec<u8>,
    /// A line of the entrypoint's own, which tells the same as the record that is about to come.
    last_words: Option<Vec<u8>>,
    /// What it prints is shown: its present attempt is known to have started.
    flowing: bool,
    over: bool,
    /// When its first attempt was started.
    since: Option<Timestamp>,
    awaited: bool,
    ready: bool,
}

/// Takes what a screen writes.
pub trait Sink {
    /// Writes bytes that end with a line end.
    fn put(&mut self, to: To, bytes: &[u8]);
}

impl Sink for super::terminal::Terminal {
    fn put(&mut self, to: To, bytes: &[u8]) {
        super::terminal::Terminal::put(self, to, bytes);
    }
}

impl Screen {
    /// The screen of a plan that did not begin.
    pub fn new(plan: &Plan, look: Look) -> Screen {
        let awaited: Vec<&str> = plan
            .sidecars
            .iter()
            .filter(|s| s.awaited)
            .map(|s| s.name.as_str())
            .collect();
        let steps: BTreeMap<u32, StepScreen> = plan
            .numbered()
            .map(|(number, kind, name)| {
                let step = StepScreen {
                    name: name.to_owned(),
                    label: name.to_owned(),
                    kind,
                    lines: Lines::default(),
                    held: Vec::new(),
                    last_words: None,
                    flowing: false,
                    over: false,
                    since: None,
                    awaited: awaited.contains(&name),
                    ready: false,
                };
                (number, step)
            })
            .collect();
        let widest = steps.values().map(|s| width(&s.name)).max().unwrap_or(0);
        Screen {
            look,
            name_width: widest.min(MAX_NAME),
            hue: 0,
            total: plan.last(),
            steps,
            stopping: None,
        }
    }

    /// Shows the task beside others: its name before those of its steps, in so many columns,
    /// and the colours from this number on.
    pub fn be_part(&mut self, task: &str, columns: usize, hue: u32) {
        for step in self.steps.values_mut() {
            step.label = format!("{task}/{}", step.name);
        }
        (self.name_width, self.hue) = (columns, hue);
    }

    /// A step printed this.
    pub fn printed(&mut self, number: u32, bytes: &[u8], sink: &mut impl Sink) {
        let Some(step) = self.steps.get_mut(&number) else {
            return;
        };
        if step.flowing {
            self.show(number, bytes, sink);
        } else {
            step.held.extend_from_slice(bytes);
            if step.held.len() > MAX_HELD {
                self.release(number, sink);
            }
        }
    }

    /// Something happened.
    pub fn notice(&mut self, notice: &Notice, sink: &mut impl Sink) {
        match notice {
            Notice::StepStarted {
                number,
                attempt,
                at,
                ..
            } => {
                let said = if *attempt > 1 {
                    format!("attempt {attempt} started")
                } else {
                    "started".to_owned()
                };
                self.say(*number, "▶", FAINT, &said, sink);
                if let Some(step) = self.steps.get_mut(number) {
                    step.since.get_or_insert(*at);
                }
                self.release(*number, sink);
            }
            Notice::StepRetrying {
                number,
                attempt,
                reason,
                exit_code,
                delay_ms,
                ..
            } => {
                self.release(*number, sink);
                self.finish_lines(*number, "", sink);
                if let Some(step) = self.steps.get_mut(number) {
                    step.flowing = false;
                }
                let how = match reason {
                    Reason::TimedOut => "timed out".to_owned(),
                    Reason::OomKilled => "ran out of memory".to_owned(),
                    _ => format!("failed (exit {exit_code})"),
                };
                let delay = span(Duration::from_millis(*delay_ms));
                let said = format!("attempt {attempt} {how}; the next one starts in {delay}");
                self.say(*number, "↻", YELLOW, &said, sink);
            }
            Notice::SidecarReady { number, .. } => {
                if let Some(step) = self.steps.get_mut(number) {
                    step.ready = true;
                }
                self.say(*number, "✔", GREEN, "ready", sink);
            }
            Notice::StepFinished { number, state, .. } => self.finished(*number, state, sink),
            Notice::TaskStopping { why, .. } => {
                self.stopping = Some(*why);
                let said = match why {
                    StopReason::Cancelled => "cancelled: stopping; once more kills everything",
                    StopReason::TimedOut => "the task's time is up: stopping",
                    StopReason::NeverStarted => "a step's container cannot be started: stopping",
                };
                let line = format!("{}\n", self.look.baton.paint(YELLOW, said));
                sink.put(To::Baton, line.as_bytes());
            }
            Notice::TaskStarted { .. } => {}
            Notice::TaskFinished { .. } => self.end(sink),
        }
    }

    /// The status line at this time, at most so many columns wide; the frame turns its wheel.
    pub fn status(&self, now: Timestamp, frame: usize, columns: usize) -> String {
        let running: Vec<&StepScreen> = self
            .steps
            .values()
            .filter(|s| s.since.is_some() && !s.over && s.kind != Kind::Sidecar)
            .collect();
        let done = self
            .steps
            .values()
            .filter(|s| s.over && s.kind != Kind::Sidecar)
            .count();
        let said = match running.first() {
            Some(step) => {
                let took = step.since.map(|at| now.since(at)).unwrap_or_default();
                if took < SOON {
                    return String::new();
                }
                format!("{} {}", step.name, seconds(took))
            }
            None => {
                let waiting: Vec<&str> = self
                    .steps
                    .values()
                    .filter(|s| s.awaited && !s.ready && !s.over)
                    .map(|s| s.name.as_str())
                    .collect();
                if waiting.is_empty() || done > 0 {
                    return String::new();
                }
                format!("waiting for {}", waiting.join(", "))
            }
        };
        let wheel = SPINNER.get(frame % SPINNER.len()).unwrap_or(&' ');
        let stopping = match self.stopping {
            Some(_) => " · stopping",
            None => "",
        };
        let text = format!("{wheel} {said} · {done} of {} done{stopping}", self.total);
        let text = fit(&text, columns.saturating_sub(1));
        self.look.baton.paint(FAINT, text).to_string()
    }

    fn finished(&mut self, number: u32, state: &StepState, sink: &mut impl Sink) {
        let message = match state {
            StepState::Done { record } => record.message.clone(),
            StepState::Died { how, .. } => how.to_string(),
            _ => String::new(),
        };
        // Where it started, that is told even if no news of it came.
        let ran = matches!(state, StepState::Done { record } if record.attempts > 0);
        let never = match state {
            StepState::Done { record } => {
                !ran && matches!(
                    record.reason,
                    Reason::Cancelled | Reason::Passed | Reason::Skipped
                )
            }
            _ => false,
        };
        if never && let Some(step) = self.steps.get_mut(&number) {
            step.held.clear();
        }
        self.release(number, sink);
        self.finish_lines(number, &message, sink);
        if let Some(step) = self.steps.get_mut(&number) {
            step.over = true;
        }
        let end = words::end(state);
        let mut said = end.words.clone();
        if let StepState::Done { record } = state {
            use std::fmt::Write;
            let took = span(Duration::from_millis(record.ran_ms));
            let _ = match record.reason {
                Reason::Completed => write!(said, " in {took}"),
                Reason::Error if record.signal.is_none() => {
                    write!(said, " (exit {}) after {took}", record.exit_code)
                }
                _ if ran => write!(said, " after {took}"),
                _ => Ok(()),
            };
        }
        if !message.is_empty() {
            said = format!("{said}: {}", one_line(&message));
        }
        if end.failed {
            self.say_always(number, end.mark, end.style, &said, sink);
        } else {
            self.say(number, end.mark, end.style, &said, sink);
        }
    }

    /// The task is over. What is held back now comes from steps whose turn never came.
    fn end(&mut self, sink: &mut impl Sink) {
        let started: Vec<u32> = self
            .steps
            .iter()
            .filter(|(_, step)| step.since.is_some() && !step.over)
            .map(|(number, _)| *number)
            .collect();
        for number in started {
            self.release(number, sink);
            self.finish_lines(number, "", sink);
        }
    }

    fn release(&mut self, number: u32, sink: &mut impl Sink) {
        if let Some(step) = self.steps.get_mut(&number) {
            step.flowing = true;
            let held = std::mem::take(&mut step.held);
            self.show(number, &held, sink);
        }
    }

    fn show(&mut self, number: u32, bytes: &[u8], sink: &mut impl Sink) {
        let Some(step) = self.steps.get_mut(&number) else {
            return;
        };
        let prefix = prefix(&self.look, number + self.hue, &step.label, self.name_width);
        let own = format!("entrypoint: {}: ", step.name);
        let (look, last_words) = (&self.look, &mut step.last_words);
        let mut out = Vec::with_capacity(bytes.len() + prefix.len() * 4);
        step.lines.feed(bytes, |line| {
            if let Some(words) = last_words.take() {
                write_line(look, &prefix, &words, &mut out);
            }
            if line.starts_with(own.as_bytes()) {
                *last_words = Some(line.to_vec());
            } else {
                write_line(look, &prefix, line, &mut out);
            }
        });
        sink.put(To::Steps, &out);
    }

    /// Shows what has no line end yet. Of the entrypoint's own last words those are left out that the
    /// record's message repeats.
    fn finish_lines(&mut self, number: u32, message: &str, sink: &mut impl Sink) {
        let Some(step) = self.steps.get_mut(&number) else {
            return;
        };
        let prefix = prefix(&self.look, number + self.hue, &step.label, self.name_width);
        let own = format!("entrypoint: {}: ", step.name);
        let mut out = Vec::new();
        if let Some(said) = step.last_words.take() {
            let repeated = said
                .strip_prefix(own.as_bytes())
                .is_some_and(|said| !said.is_empty() && message.as_bytes().starts_with(said));
            if !repeated {
                write_line(&self.look, &prefix, &said, &mut out);
            }
        }
        step.lines
            .finish(|line| write_line(&self.look, &prefix, line, &mut out));
        sink.put(To::Steps, &out);
    }

    fn say(&mut self, number: u32, mark: &str, style: Style, said: &str, sink: &mut impl Sink) {
        if !self.look.quiet {
            self.say_always(number, mark, style, said, sink);
        }
    }

    fn say_always(
        &mut self,
        number: u32,
        mark: &str,
        style: Style,
        said: &str,
        sink: &mut impl Sink,
    ) {
        let Some(step) = self.steps.get(&number) else {
            return;
        };
        let palette = self.look.baton;
        let name = aligned(&step.label, self.name_width);
        let name = palette.paint(of_step(number + self.hue), name);
        let line = if style == RED {
            format!(
                "{name} {}\n",
                palette.paint(style, format!("{mark} {said}"))
            )
        } else {
            format!(
                "{name} {} {}\n",
                palette.paint(style, mark),
                palette.paint(FAINT, said)
            )
        };
        sink.put(To::Baton, line.as_bytes());
    }
}

/// A time that is still counting: whole seconds.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        secs @ 0..60 => format!("{secs}s"),
        _ => span(time),
    }
}

#[cfg(test)]
mod tests;
