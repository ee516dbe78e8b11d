//! A pod that may do whatever a pod can, and the run that orders it: one world, step by step.

use std::collections::BTreeSet;

use super::{at, record};
use crate::{Death, Effect, Event, Kind, NotRun, Notice, Phase, Plan, Run, StepState};
use baton_protocol::order::{Awaited, Verdict};
use baton_protocol::{Order, Reason, Timestamp};

#[derive(Debug, Clone, PartialEq)]
enum Life {
    Waiting,
    Running,
    /// It ended, and left this fact behind; `None`: killed, and nobody tells.
    Over(Option<Event>),
}

pub(super) struct World {
    pub(super) run: Run,
    plan: Plan,
    now: u64,
    order: Order,
    lives: Vec<Life>,
    started: Vec<u32>,
    /// What is on its way to the run.
    mail: Vec<Event>,
    journal: Vec<(Timestamp, Event)>,
    told: BTreeSet<String>,
    killed: bool,
    cancelled: bool,
}

impl World {
    pub(super) fn new(plan: Plan) -> World {
        World {
            run: Run::new(plan.clone()),
            now: 0,
            order: Order::HOLD,
            lives: vec![Life::Waiting; plan.total() as usize],
            plan,
            started: Vec::new(),
            mail: Vec::new(),
            journal: Vec::new(),
            told: BTreeSet::new(),
            killed: false,
            cancelled: false,
        }
    }

    fn life(&mut self, number: u32) -> &mut Life {
        &mut self.lives[number as usize - 1]
    }

    fn rank(&self, order: Order) -> u32 {
        let main = self.plan.main_count();
        match order {
            Order::Turn(n) if n <= main => n,
            Order::Cancelled => main + 1,
            Order::Turn(n) => n + 1,
        }
    }

    pub(super) fn apply(&mut self, event: Event) {
        let effects = self.run.apply(at(self.now), event.clone());
        self.perform(effects);
        let again = self.run.apply(at(self.now), event.clone());
        assert_eq!(again, [], "{event:?} did something twice");
        if is_never_started(&event)
            && let Event::Died { number, .. } = event
            && self.plan.kind(number) == Some(Kind::Step)
        {
            assert!(self.run.cause().is_some(), "{event:?} fails the task");
            let main = self.plan.main_count();
            assert!(
                !matches!(self.order, Order::Turn(n) if n <= main),
                "{event:?} stops the steps at once, not at {}",
                self.order
            );
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Remember(event) => self.journal.push((at(self.now), event)),
                Effect::WriteOrder(order) => {
                    assert!(
                        self.rank(order) > self.rank(self.order),
                        "{} after {}",
                        order,
                        self.order
                    );
                    self.order = order;
                }
                Effect::Kill(number) => {
                    // Every third kill is one of which nobody hears again.
                    let heard = !(self.now + u64::from(number)).is_multiple_of(3);
                    let how = Death::Signal(9);
                    let died = heard.then_some(Event::Died { number, how });
                    if !matches!(self.life(number), Life::Over(_)) {
                        self.mail.extend(died.clone());
                        *self.life(number) = Life::Over(died);
                    }
                }
                Effect::Notify(notice) => {
                    let key = match notice {
                        Notice::StepStarted {
                            number, attempt, ..
                        } => format!("+{number}.{attempt}"),
                        Notice::StepRetrying {
                            number, attempt, ..
                        } => format!("~{number}.{attempt}"),
                        Notice::StepFinished { number, .. } => format!("-{number}"),
                        Notice::SidecarReady { number, .. } => format!("ready {number}"),
                        Notice::TaskStarted { .. } => "start".to_owned(),
                        Notice::TaskStopping { .. } => "stop".to_owned(),
                        Notice::TaskFinished { .. } => "end".to_owned(),
                    };
                    assert!(self.told.insert(key.clone()), "{key} was told twice");
                }
                Effect::WakeAt(_) | Effect::Ended(_) => {}
            }
        }
    }

    /// Lets one entrypoint do what it can do next.
    fn act(&mut self, number: u32, choice: u8) {
        let kind = self.plan.kind(number).unwrap();
        let through = kind == Kind::Finally || !self.plan.finally.is_empty();
        let through = through && kind != Kind::Step;
        match self.life(number).clone() {
            Life::Over(_) => {}
            Life::Waiting if choice == 14 => {
                let how = Death::NeverStarted("no such image".to_owned());
                self.end(number, Event::Died { number, how });
            }
            Life::Waiting if kind == Kind::Sidecar => {
                *self.life(number) = Life::Running;
                self.mail.push(started(number));
            }
            Life::Waiting => match Awaited::Turn(number).judge(self.order.to_string().as_bytes()) {
                Verdict::Go => self.start(number),
                Verdict::Cancelled if !through => self.leave(number, Reason::Cancelled, false),
                Verdict::Passed(_) => self.leave(number, Reason::Passed, false),
                _ if choice == 7 => self.die(number),
                _ => {}
            },
            Life::Running => {
                let stop = match self.order {
                    Order::Cancelled => !through,
                    Order::Turn(n) => kind == Kind::Sidecar && n >= self.plan.finished(),
                };
                match choice {
                    0..=1 if kind == Kind::Sidecar => self.mail.push(Event::Ready { number }),
                    0..=2 if kind != Kind::Sidecar => self.leave(number, Reason::Completed, false),
                    3 => self.leave(number, Reason::Error, false),
                    4 => self.leave(number, Reason::Error, true),
                    5 => self.leave(number, Reason::Skipped, false),
                    6 => self.mail.push(Event::Retrying {
                        number,
                        attempt: 1,
                        reason: Reason::Error,
                        exit_code: 1,
                        delay_ms: 5,
                        at: at(self.now),
                    }),
                    7 => self.die(number),
                    // The others hang until they are killed.
                    _ if stop && choice < 12 => self.leave(number, Reason::Cancelled, false),
                    _ => {}
                }
            }
        }
    }

    fn start(&mut self, number: u32) {
        for before in 1..number {
            let life = self.life(before).clone();
            assert_ne!(life, Life::Running, "{before} runs while {number} starts");
            if self.plan.kind(number) == Some(Kind::Step) {
                let Life::Over(Some(Event::Finished { record, .. })) = life else {
                    panic!("{number} starts, and {before} left no record: {life:?}");
                };
                assert!(record.lets_next_start(), "{number} starts after a failure");
            }
        }
        assert!(!self.started.contains(&number));
        self.started.push(number);
        *self.life(number) = Life::Running;
        self.mail.push(started(number));
    }

    fn leave(&mut self, number: u32, reason: Reason, continued: bool) {
        let record = record(reason, continued);
        self.end(number, Event::Finished { number, record });
    }

    fn die(&mut self, number: u32) {
        let how = Death::Gone;
        self.end(number, Event::Died { number, how });
    }

    fn end(&mut self, number: u32, fact: Event) {
        self.mail.push(fact.clone());
        *self.life(number) = Life::Over(Some(fact));
    }

    /// What a look at all folders finds.
    fn facts(&self) -> impl Iterator<Item = Event> {
        self.lives.iter().filter_map(|life| match life {
            Life::Over(fact) => fact.clone(),
            _ => None,
        })
    }

    pub(super) fn restart(&mut self) {
        let (run, effects) = Run::resume(
            self.plan.clone(),
            self.order,
            self.journal.clone(),
            // No file tells that a container cannot be started.
            self.facts()
                .filter(|fact| !is_never_started(fact))
                .collect::<Vec<_>>(),
            at(self.now),
        );
        self.run = run;
        // A new life tells everything again.
        self.told.clear();
        self.perform(effects);
    }

    pub(super) fn step(&mut self, op: u8, arg: u8) {
        let pick = |len: usize| usize::from(arg) % len.max(1);
        match op {
            0..=9 => {
                let number = u32::try_from(pick(self.lives.len())).unwrap() + 1;
                self.act(number, (arg / 7).wrapping_add(op) % 16);
            }
            10..=15 if !self.mail.is_empty() => {
                let event = self.mail.remove(pick(self.mail.len()));
                self.apply(event);
            }
            16 if !self.mail.is_empty() => {
                let event = self.mail[pick(self.mail.len())].clone();
                self.apply(event);
            }
            17 if !self.mail.is_empty() => {
                // Lost: only a look at the folders will find it.
                let place = pick(self.mail.len());
                self.mail.remove(place);
            }
            18 => self.now += u64::from(arg) / 8,
            19 => self.apply(Event::Tick),
            20 => self.apply(Event::Begin),
            21 if arg < 30 => {
                self.cancelled = true;
                self.apply(Event::Cancel);
            }
            22 if arg < 12 => {
                self.killed = true;
                self.apply(Event::Kill);
            }
            23 => self.restart(),
            24 => {
                for fact in self.facts().collect::<Vec<_>>() {
                    self.apply(fact);
                }
            }
            _ => {}
        }
    }

    /// Everything that can happen happens; whoever hangs, hangs on.
    pub(super) fn finish(&mut self) {
        self.apply(Event::Begin);
        for round in 0..100 {
            if self.run.outcome().is_some() {
                return;
            }
            for number in 1..=self.plan.total() {
                let hangs = (number + round).is_multiple_of(2);
                match self.plan.kind(number) {
                    // Twice: one look to start, one to end.
                    Some(Kind::Sidecar) => {
                        self.act(number, 0);
                        self.act(number, 0);
                        self.act(number, if hangs { 15 } else { 8 });
                    }
                    _ => {
                        self.act(number, 8);
                        let stopping = self.order == Order::Cancelled;
                        self.act(number, if stopping && hangs { 15 } else { 0 });
                    }
                }
            }
            for event in std::mem::take(&mut self.mail) {
                self.apply(event);
            }
            for fact in self.facts().collect::<Vec<_>>() {
                self.apply(fact);
            }
            if let Some(wake) = self.run.wake_at() {
                let wake = wake.since(at(0)).as_secs();
                assert!(self.run.outcome().is_some() || wake < 1_000_000);
                self.now = self.now.max(wake);
                self.apply(Event::Tick);
            }
        }
        panic!("the run does not end: {:?}", self.run);
    }

    pub(super) fn states(&self) -> Vec<StepState> {
        // When a death was found is not part of what is the same after a restart.
        let state = |state| match state {
            StepState::Died { how, .. } => StepState::Died { how, at: at(0) },
            state => state,
        };
        self.run.steps().map(|s| state(s.state)).collect()
    }

    pub(super) fn check_end(&self) {
        let outcome = self.run.outcome().unwrap();
        let views: Vec<_> = self.run.steps().collect();
        let of = |kind| views.iter().filter(move |v| v.kind == kind);
        let fine = |state: &StepState| matches!(state, StepState::Done { record } if record.lets_next_start());
        let all_fine = of(Kind::Step)
            .chain(of(Kind::Finally))
            .all(|v| fine(&v.state));
        match outcome.phase {
            Phase::Succeeded => {
                assert!(all_fine, "{views:?}");
                assert_eq!((outcome.exit_code, &outcome.cause), (0, &None));
            }
            phase => {
                let cause = outcome.cause.as_ref().unwrap();
                assert_eq!(cause.phase(), phase);
                assert!((1..=255).contains(&outcome.exit_code));
            }
        }
        assert!(outcome.phase != Phase::TimedOut || self.plan.timeout.is_some());
        if !self.killed && outcome.started_at.is_some() {
            for view in of(Kind::Finally) {
                assert!(
                    !matches!(view.state, StepState::NotRun { .. }),
                    "{view:?} of {outcome:?}"
                );
            }
        }
        for view in &views {
            let known = !matches!(
                view.state,
                StepState::Pending | StepState::Released { .. } | StepState::Running { .. }
            );
            assert!(known, "{view:?} at the end");
            if view.state
                == (StepState::NotRun {
                    why: NotRun::Cancelled,
                })
            {
                let stopped = self.killed || self.cancelled || outcome.phase == Phase::Cancelled;
                assert!(stopped, "{view:?} of {outcome:?}");
            }
        }
    }
}

fn is_never_started(event: &Event) -> bool {
    matches!(
        event,
        Event::Died {
            how: Death::NeverStarted(_),
            ..
        }
    )
}

fn started(number: u32) -> Event {
    Event::Started {
        number,
        attempt: 1,
        at: at(0),
    }
}
