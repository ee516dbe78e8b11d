//! The run of a plan: facts in, effects out.

use std::time::Duration;

use baton_protocol::{Order, Record, Timestamp};

use crate::effect::{Effect, Notice};
use crate::event::{Death, Event, StopReason};
use crate::outcome::{Cause, NotRun, Outcome, StepState};
use crate::plan::{Kind, Plan};

mod advance;
mod fold;
mod track;

use track::{End, Track};

/// Time past its grace that an entrypoint has to stop its command and leave its record before it is
/// killed; and again that long until a killed one is given up.
pub const KILL_MARGIN: Duration = Duration::from_secs(5);

/// The run of one plan: everything that is known, and the order that follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    plan: Plan,
    /// The latest time that was told.
    now: Timestamp,
    /// What is known of each number, from 1.
    tracks: Vec<Track>,
    begun: Option<Timestamp>,
    stop: Option<Stop>,
    killed: Option<Killed>,
    /// The first awaited sidecar that ended before it was ready.
    unready: Option<u32>,
    /// The first step that was found unable to start.
    never_started: Option<u32>,
    order: Order,
    /// What an earlier life decided is found again; the clock has no part in that.
    catching_up: bool,
    stage: Stage,
    cause: Option<Cause>,
    wake: Option<Timestamp>,
}

/// The task was told to stop while it was the turn of step `turn`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stop {
    why: StopReason,
    turn: u32,
    at: Timestamp,
}

/// Everything was told to end at once while it was the turn of step `turn`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Killed {
    turn: u32,
    at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Before the first step.
    Hold,
    /// It is this step's or `finally` step's turn.
    Turn(u32),
    /// The task stops; this step had its turn and is still to end.
    Stopping(u32),
    /// No step will start any more. Sidecars, and where everything is killed one step, are to end.
    Winding {
        step: Option<u32>,
        since: Timestamp,
    },
    Over(Outcome),
}

/// What a display shows of a step or sidecar.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView<'a> {
    /// Its number.
    pub number: u32,
    /// What the number stands for.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// How it stands.
    pub state: StepState,
    /// A sidecar answered its readiness probe.
    pub ready: bool,
}

/// Effects in the making.
#[derive(Default)]
struct Out {
    before: Vec<Event>,
    after: Vec<Event>,
    kills: Vec<u32>,
    notices: Vec<Notice>,
}

impl Run {
    /// A run before its beginning. The order is 0.
    pub fn new(plan: Plan) -> Run {
        let tracks = (0..plan.total()).map(|_| Track::default()).collect();
        Run {
            plan,
            now: Timestamp(std::time::SystemTime::UNIX_EPOCH),
            tracks,
            begun: None,
            stop: None,
            killed: None,
            unready: None,
            never_started: None,
            order: Order::HOLD,
            catching_up: false,
            stage: Stage::Hold,
            cause: None,
            wake: None,
        }
    }

    /// A run that an earlier life of this program began, from the order that its file holds, the
    /// facts which that life was asked to remember (with their times), and those found since.
    ///
    /// All facts count before anything is decided, so their order does not matter. The run never goes
    /// back behind `order`: a step before it whose end is no longer known counts as failed.
    pub fn resume(
        plan: Plan,
        order: Order,
        remembered: impl IntoIterator<Item = (Timestamp, Event)>,
        found: impl IntoIterator<Item = Event>,
        now: Timestamp,
    ) -> (Run, Vec<Effect>) {
        let mut run = Run::new(plan);
        let (mut known, mut out) = (Out::default(), Out::default());
        run.order = order;
        for (at, event) in remembered {
            run.now = at;
            run.fold(event, &mut known);
        }
        out.notices = known.notices;
        run.now = now;
        // Whose claims to have started are true shows once it is known who had a turn.
        let (claims, facts): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|e| matches!(e, Event::Started { .. } | Event::Retrying { .. }));
        for event in facts {
            run.fold(event, &mut out);
        }
        // A run that was stopped before it began has an order, too, and says so.
        if order != Order::HOLD && run.stop.is_none() && run.killed.is_none() {
            run.begin(&mut out);
        }
        let floor = match (run.killed, run.stop, order) {
            (Some(killed), _, _) => killed.turn,
            (None, stop, Order::Cancelled) => stop.map_or(0, |s| s.turn),
            (None, _, Order::Turn(turn)) => turn.min(run.plan.finished()),
        };
        run.catching_up = true;
        run.settle(&mut out);
        while let Stage::Turn(turn) | Stage::Stopping(turn) = run.stage {
            if turn < floor {
                run.end(turn, End::died(Death::RecordLost, now), &mut out);
            } else if order == Order::Cancelled
                && run.stop.is_none()
                && turn <= run.plan.main_count()
            {
                run.stop(StopReason::Cancelled, turn, &mut out);
            } else {
                break;
            }
            run.settle(&mut out);
        }
        run.catching_up = false;
        run.settle(&mut out);
        for event in claims {
            run.fold(event, &mut out);
        }
        out.notices.sort_by_key(Notice::place);
        let effects = run.effects(order, out);
        (run, effects)
    }

    /// Takes a fact at time `now` and tells what is to be done. A fact that is known already does
    /// nothing by itself; `now` may still bring a deadline.
    pub fn apply(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        self.now = self.now.max(now);
        let order = self.order;
        let mut out = Out::default();
        self.fold(event, &mut out);
        self.settle(&mut out);
        self.effects(order, out)
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The order as it should stand in its file.
    pub fn order(&self) -> Order {
        self.order
    }

    /// How the task ended; `None` while it has not.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.stage {
            Stage::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// What kept or will keep the task from success, as far as is known now.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// The step whose turn it is.
    pub fn turn(&self) -> Option<u32> {
        match self.stage {
            Stage::Turn(turn) | Stage::Stopping(turn) => Some(turn),
            _ => None,
        }
    }

    /// Whether the end of a step or sidecar is known.
    pub fn has_ended(&self, number: u32) -> bool {
        self.track(number).is_some_and(|t| t.end.is_some())
    }

    /// The final record of a step or sidecar that left one.
    pub fn record(&self, number: u32) -> Option<&Record> {
        match self.track(number)?.end.as_ref()? {
            End::Record(record) => Some(record),
            End::Died { .. } => None,
        }
    }

    /// When [`Event::Tick`] is due; `None` where nothing waits for time.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.wake
    }

    /// Every step, `finally` step and sidecar, by number.
    pub fn steps(&self) -> impl Iterator<Item = StepView<'_>> {
        let views = self.plan.numbered().zip(&self.tracks);
        views.map(|((number, kind, name), track)| StepView {
            number,
            kind,
            name,
            state: self.state(number, kind, track),
            ready: track.ready,
        })
    }

    fn state(&self, number: u32, kind: Kind, track: &Track) -> StepState {
        let had_turn = kind == Kind::Sidecar || track.released.is_some();
        let never_started = track.end.as_ref().is_some_and(End::is_never_started);
        match (&track.end, track.started, track.released) {
            (Some(end), _, _) if had_turn || never_started => end.state(),
            (_, Some((since, attempt)), _) if had_turn => StepState::Running { since, attempt },
            (_, _, Some(since)) => StepState::Released { since },
            _ if kind != Kind::Sidecar && self.is_past(number) => StepState::NotRun {
                why: self.why_not(kind),
            },
            _ => StepState::Pending,
        }
    }

    /// Whether the turn of a step that did not have it will not come any more.
    fn is_past(&self, number: u32) -> bool {
        match self.stage {
            Stage::Hold => false,
            Stage::Turn(turn) => number < turn,
            Stage::Stopping(_) => number <= self.plan.main_count(),
            Stage::Winding { .. } | Stage::Over(_) => true,
        }
    }

    fn why_not(&self, kind: Kind) -> NotRun {
        let why = self.stop.map(|s| s.why);
        match &self.cause {
            // Only a kill, or a task that never began, keeps `finally` steps from running.
            _ if kind == Kind::Finally && (self.killed.is_some() || self.begun.is_some()) => {
                NotRun::Cancelled
            }
            Some(
                Cause::Step { number, .. }
                | Cause::Died { number, .. }
                | Cause::NotReady { number, .. },
            ) => NotRun::Failure { number: *number },
            Some(Cause::TimedOut { .. }) => NotRun::TimedOut,
            None if why == Some(StopReason::TimedOut) => NotRun::TimedOut,
            _ => NotRun::Cancelled,
        }
    }

    fn track(&self, number: u32) -> Option<&Track> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.tracks.get(index)
    }

    fn track_mut(&mut self, number: u32) -> Option<&mut Track> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.tracks.get_mut(index)
    }

    fn effects(&mut self, before: Order, out: Out) -> Vec<Effect> {
        let mut effects: Vec<_> = out.before.into_iter().map(Effect::Remember).collect();
        if self.order != before {
            effects.push(Effect::WriteOrder(self.order));
        }
        effects.extend(out.after.into_iter().map(Effect::Remember));
        effects.extend(out.kills.into_iter().map(Effect::Kill));
        effects.extend(out.notices.into_iter().map(Effect::Notify));
        let wake = self.deadline();
        if wake != self.wake {
            self.wake = wake;
            effects.extend(wake.map(Effect::WakeAt));
        }
        if let Stage::Over(outcome) = &self.stage
            && effects.iter().any(
                |e| matches!(e, Effect::Notify(Notice::TaskFinished { outcome: o }) if o == outcome),
            )
        {
            effects.push(Effect::Ended(outcome.clone()));
        }
        effects
    }
}

fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.0.checked_add(time).map_or(at, Timestamp)
}

#[cfg(test)]
mod tests;
