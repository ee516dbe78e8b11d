//! One run of a Task as it is followed: what is shown of it, and what is known.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use baton_api::status::TaskStatus;
use baton_protocol::Timestamp;
use baton_steps::{Notice, Outcome, Plan};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::logs::Piece;
use super::reading::Reading;
use super::states;
use super::telling::{Gate, Telling};
use crate::run::shown::warn;
use crate::run::story::Story;
use crate::show::terminal::Terminal;
use crate::show::text::{Look, Screen};

/// How long what a step printed waits for a status that says that the step before it is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How it looks.
    pub look: Look,
    /// The steps whose output is shown; all where none is named.
    pub only: Vec<String>,
    /// Keep what the steps print, for a report.
    pub keep: bool,
    /// Go on until the containers have ended.
    pub follow: bool,
}

/// One run.
pub struct Shown {
    /// Which, from 1; 0 while nobody has taken the Task up.
    pub run: u32,
    /// What it runs.
    pub plan: Plan,
    /// What the steps printed, where it is kept.
    pub story: Story,
    /// The logs.
    pub reading: Reading,
    screen: Screen,
    telling: Telling,
    gate: Gate,
    /// When each step printed something first.
    early: BTreeMap<u32, Instant>,
    keep: bool,
    over: bool,
}

impl Shown {
    /// A run of which nothing was shown yet.
    pub fn new(task: &str, source: &str, run: u32, plan: Plan, wanted: &Wanted) -> Shown {
        Shown {
            run,
            story: Story::new(task, source, &plan),
            reading: Reading::new(&plan, &wanted.only, wanted.follow),
            screen: Screen::new(&plan, wanted.look),
            telling: Telling::default(),
            gate: Gate::default(),
            early: BTreeMap::new(),
            keep: wanted.keep,
            over: false,
            plan,
        }
    }

    /// The Task stands so.
    pub fn status(&mut self, status: &TaskStatus, terminal: &mut Terminal) {
        for notice in self.telling.status(status) {
            self.gate.push(notice);
        }
        self.reading.status(status);
        self.begin(terminal);
    }

    /// Begins to read the logs that can be read now.
    pub fn advance(&mut self, pods: &Api<Pod>, pod: &str) {
        self.reading.advance(pods, pod);
    }

    /// Something was read of a log.
    pub fn piece(&mut self, number: u32, piece: Piece, terminal: &mut Terminal) {
        match piece {
            Piece::Printed(bytes) => {
                self.reading.goes_on(number);
                self.printed(number, &bytes, terminal);
            }
            Piece::Pause => self.reading.ended(number, false),
            Piece::Warning(text) => warn(terminal, &text),
            Piece::End => self.reading.ended(number, true),
        }
        self.show(terminal);
    }

    fn printed(&mut self, number: u32, bytes: &[u8], terminal: &mut Terminal) {
        let name = self.story.step(number).map_or("", |s| s.name.as_str());
        let own = format!("entrypoint: {name}: ");
        if !bytes.starts_with(own.as_bytes()) {
            self.early.entry(number).or_insert_with(Instant::now);
            self.begin(terminal);
        }
        self.screen.printed(number, bytes, terminal);
        if self.keep
            && let Some(step) = self.story.step_mut(number)
        {
            step.log.push(bytes);
        }
    }

    /// Tells of the steps that began by what they printed, where no status did for a while or those
    /// before them are over.
    pub fn begin(&mut self, terminal: &mut Terminal) {
        let now = Timestamp(SystemTime::now());
        for (number, since) in &self.early {
            let kind = self.reading.kind(*number);
            let due = self.telling.is_due(*number, kind) || since.elapsed() > PATIENCE;
            if due && let Some(notice) = self.telling.printed(*number, kind, now) {
                self.gate.push(notice);
            }
        }
        self.show(terminal);
    }

    fn show(&mut self, terminal: &mut Terminal) {
        let to_come = self.reading.to_come();
        while let Some(notice) = self.gate.pop(&to_come) {
            self.screen.notice(&notice, terminal);
            self.over |= matches!(notice, Notice::TaskFinished { .. });
        }
    }

    /// Nothing more of the logs is waited for.
    pub fn give_up(&mut self, terminal: &mut Terminal) {
        for number in self.reading.to_come() {
            let name = self.story.step(number).map_or("?", |s| s.name.as_str());
            let said =
                format!("the log of {name} did not come to its end in time: see `baton logs`");
            warn(terminal, &said);
            self.reading.ended(number, true);
        }
        self.show(terminal);
    }

    /// Shows what has no line end, of a run of which no status tells any more.
    pub fn finish(&mut self, outcome: Option<Outcome>, terminal: &mut Terminal) {
        if let Some(outcome) = outcome {
            self.gate.push(Notice::TaskFinished { outcome });
        }
        self.show(terminal);
    }

    /// Shows what can be shown now.
    pub fn refresh(&mut self, terminal: &mut Terminal) {
        self.show(terminal);
    }

    /// Its end was shown.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The status line at this moment.
    pub fn line(&self, frame: usize, columns: usize) -> String {
        let now = Timestamp(SystemTime::now());
        self.screen.status(now, frame, columns)
    }

    /// The whole story, by the status that ended it.
    pub fn conclude(mut self, status: &TaskStatus) -> Story {
        let source = std::mem::take(&mut self.story.source);
        let mut story = states::story(&self.story.task, &source, &self.plan, status);
        for (step, followed) in story.steps.iter_mut().zip(self.story.steps) {
            step.log = followed.log;
        }
        story
    }
}
