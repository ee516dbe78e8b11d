//! One pod: its folder, its run, and what it has to tell.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::path::Path;
use std::time::Instant;

use baton_protocol::layout::{EVENTS, EXIT, ORDER};
use baton_protocol::{Order, Timestamp};
use baton_steps::{Death, Effect, Event, Outcome, Plan, Run};

use crate::journal::Journal;
use crate::node::Deaths;
use crate::notice::{NodeError, Notice};
use crate::root::{FACTS, Root};
use crate::step::StepDir;

/// A final record is there, and the node's side cannot read it now.
struct Unread;

#[derive(Debug)]
pub(crate) struct Pod {
    root: Root,
    journal: Journal,
    run: Run,
    steps: Vec<StepDir>,
    deaths: Deaths,
    /// What is told once the orders are written.
    notices: Vec<Notice>,
    /// Steps whose end was found and whose last events are still to be read, each with the number of
    /// notices before its end's.
    ended: Vec<(u32, usize)>,
    /// The order that could not be written yet.
    unwritten: Option<Order>,
    /// When an order was last written, until somebody asks.
    written: Option<Instant>,
    /// Something failed on the node's side: everything is looked at again soon.
    again: bool,
    /// What failed so far: each is told of once.
    troubles: BTreeSet<&'static str>,
}

impl Pod {
    /// Opens a folder that [`prepare`](crate::prepare) made, in whatever state an earlier life left it.
    /// Its watches have to be armed before.
    pub(crate) fn open(
        path: &Path,
        plan: Plan,
        deaths: Deaths,
        now: Timestamp,
    ) -> Result<Pod, NodeError> {
        plan.check().map_err(|source| NodeError::Plan {
            root: path.to_owned(),
            source,
        })?;
        let mut root = Root::open(path, &plan)?;
        let order = root.order()?;
        let facts = path.join(FACTS);
        let (journal, known) = Journal::open(&facts, remembered(&plan))
            .map_err(|e| NodeError::io("open", facts, e))?;
        let mut pod = Pod {
            root,
            journal,
            deaths,
            steps: (1..=plan.total()).map(StepDir::new).collect(),
            run: Run::new(plan.clone()),
            notices: Vec::new(),
            ended: Vec::new(),
            unwritten: None,
            written: None,
            again: false,
            troubles: BTreeSet::new(),
        };
        let numbers = 1..=plan.total();
        let mut found: Vec<_> = numbers.clone().flat_map(|n| pod.facts(n)).collect();
        found.extend(numbers.filter_map(|n| pod.found_end(n).ok().flatten()));
        let (run, effects) = Run::resume(plan, order, known, found, now);
        pod.run = run;
        pod.perform(now, effects);
        pod.find_dead(now);
        Ok(pod)
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.run.outcome()
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// When the pod is to be looked after though nothing was heard of it.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.run.wake_at()
    }

    pub(crate) fn again(&self) -> bool {
        self.again || self.unwritten.is_some()
    }

    pub(crate) fn apply(&mut self, now: Timestamp, event: Event) {
        let effects = self.run.apply(now, event);
        self.perform(now, effects);
    }

    /// When an order was written, if one was since this was last asked for.
    pub(crate) fn take_written(&mut self) -> Option<Instant> {
        self.written.take()
    }

    /// Reads a step's final record and hands over to the next: the path that has to be fast.
    /// Tells whether the step has ended.
    pub(crate) fn end(&mut self, now: Timestamp, number: u32) -> bool {
        if self.run.has_ended(number) {
            return true;
        }
        match self.found_end(number) {
            Ok(None) => false,
            Ok(Some(event)) => {
                self.ended.push((number, self.notices.len()));
                self.apply(now, event);
                true
            }
            // It is there, and is read when that works.
            Err(Unread) => true,
        }
    }

    fn found_end(&mut self, number: u32) -> Result<Option<Event>, Unread> {
        let Some(step) = step_of(&mut self.steps, number) else {
            return Ok(None);
        };
        let end = step.end(&self.root.dir).map_err(|e| {
            self.again = true;
            self.trouble("read a final record", &e);
            Unread
        })?;
        if let Some(Event::Died {
            how: Death::BadRecord(cause),
            ..
        }) = &end
        {
            self.notices.push(Notice::Bad {
                number,
                file: EXIT,
                cause: cause.clone(),
            });
        }
        Ok(end)
    }

    /// Takes the news that an entrypoint is gone; its final record counts for more.
    pub(crate) fn died(&mut self, now: Timestamp, number: u32, how: Death) {
        if !self.end(now, number) {
            self.ended.push((number, self.notices.len()));
            self.apply(now, Event::Died { number, how });
        }
    }

    /// Takes the news that an event file was closed by somebody who could write in it.
    pub(crate) fn closed(&mut self, now: Timestamp, number: u32) {
        if self.deaths == Deaths::Told || self.end(now, number) {
            return;
        }
        let step = step_of(&mut self.steps, number);
        match step.and_then(|s| s.is_alive(&self.root.dir)) {
            // Somebody else closed it, or the kernel is not done with closing: look once more.
            Some(true) => self.again = true,
            Some(false) | None => self.died(now, number, Death::Gone),
        }
    }

    /// Looks for entrypoints that died while nobody watched.
    fn find_dead(&mut self, now: Timestamp) {
        if self.deaths == Deaths::Told {
            return;
        }
        for number in 1..=self.run.plan().total() {
            if !self.run.has_ended(number)
                && let Some(step) = step_of(&mut self.steps, number)
                && step.is_alive(&self.root.dir) == Some(false)
            {
                self.died(now, number, Death::Gone);
            }
        }
    }

    /// Reads what a step's event file has that is new.
    pub(crate) fn look(&mut self, now: Timestamp, number: u32) {
        for fact in self.facts(number) {
            self.apply(now, fact);
        }
    }

    fn facts(&mut self, number: u32) -> Vec<Event> {
        let Some(step) = step_of(&mut self.steps, number) else {
            return Vec::new();
        };
        let look = step.look(&self.root.dir);
        self.notices
            .extend(look.bad.into_iter().map(|cause| Notice::Bad {
                number,
                file: EVENTS,
                cause,
            }));
        if let Some(e) = look.trouble {
            self.again = true;
            self.trouble("read an event file", &e);
        }
        look.facts
    }

    /// Looks at everything: nothing tells what happened.
    pub(crate) fn rescan(&mut self, now: Timestamp) {
        self.again = false;
        for number in 1..=self.run.plan().total() {
            self.end(now, number);
        }
        for number in 1..=self.run.plan().total() {
            if !self.run.has_ended(number) {
                self.look(now, number);
            }
        }
        self.find_dead(now);
        self.write_again();
    }

    /// What is left once the orders are written: the last events of the steps that ended, which
    /// are told before their ends, and the file for the next hand-off.
    pub(crate) fn finish(&mut self, now: Timestamp) -> Vec<Notice> {
        let mut rest = mem::take(&mut self.notices).into_iter();
        let (mut notices, mut at) = (Vec::new(), 0);
        for (number, mark) in mem::take(&mut self.ended) {
            notices.extend(rest.by_ref().take(mark.saturating_sub(at)));
            at = mark;
            self.look(now, number);
            notices.append(&mut self.notices);
        }
        notices.extend(rest);
        if self.root.take_was_full() {
            let root = self.root.path.display();
            self.tell(
                "room",
                format!("{root} is full; room that was set aside for the order is used"),
            );
            notices.append(&mut self.notices);
        }
        if let Some(turn) = self.run.turn() {
            // It is remade if this fails or comes otherwise.
            let _ = self.root.stage(Order::Turn(turn.saturating_add(1)));
        }
        notices
    }

    pub(crate) fn tell(&mut self, kind: &'static str, message: String) {
        if self.troubles.insert(kind) {
            self.notices.push(Notice::Trouble { message });
        }
    }

    fn perform(&mut self, now: Timestamp, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Remember(event) => {
                    let journal = &mut self.journal;
                    let append = |_: &mut Root| journal.append(now, event.clone());
                    if let Err(e) = self.root.in_reserve(append) {
                        self.trouble("append to the journal", &e);
                    }
                }
                Effect::WriteOrder(order) => {
                    self.unwritten = Some(order);
                    self.write_again();
                }
                Effect::Kill(number) => self.notices.push(Notice::Kill { number }),
                Effect::Notify(notice) => self.notices.push(Notice::Run(notice)),
                // Asked for by `wake_at` and `outcome`.
                Effect::WakeAt(_) | Effect::Ended(_) => {}
            }
        }
    }

    fn write_again(&mut self) {
        let Some(order) = self.unwritten else { return };
        match self.root.write(order) {
            Ok(()) => {
                self.unwritten = None;
                self.written = Some(Instant::now());
            }
            Err(e) => self.trouble("write the order", &e),
        }
    }

    fn trouble(&mut self, what: &'static str, e: &io::Error) {
        let root = self.root.path.display();
        let message = match what {
            "write the order" => format!("cannot {what} to {root}/{ORDER}: {e}"),
            _ => format!("cannot {what} of {root}: {e}"),
        };
        self.tell(what, message);
    }
}

/// Most events that a journal is read for: of each step and sidecar that it is ready and that it ended, and
/// four of the pod, each twice.
fn remembered(plan: &Plan) -> usize {
    let total = usize::try_from(plan.total()).unwrap_or(usize::MAX);
    total.saturating_mul(4).saturating_add(8)
}

fn step_of(steps: &mut [StepDir], number: u32) -> Option<&mut StepDir> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    steps.get_mut(index)
}
