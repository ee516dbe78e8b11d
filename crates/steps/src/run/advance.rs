//! What follows from the facts: the turns, the order, and the deadlines.

use baton_protocol::{Order, Timestamp};

use super::track::End;
use super::{KILL_MARGIN, Out, Run, Stage, Stop, after};
use crate::effect::Notice;
use crate::event::{Death, StopReason};
use crate::outcome::{Cause, Outcome, Phase};

impl Run {
    /// Goes on until the facts lead no further.
    pub(super) fn settle(&mut self, out: &mut Out) {
        while self.advance(out) {}
    }

    /// One step of the way; false where there is none.
    fn advance(&mut self, out: &mut Out) -> bool {
        let step = self.turn();
        let turn = step.unwrap_or(0);
        let on_the_way = step.is_some() || self.stage == Stage::Hold;
        if on_the_way && self.killed.is_some_and(|k| turn >= k.turn) {
            // A stop that is known came before.
            if self.stop.is_some_and(|s| turn >= s.turn) {
                self.blame_stop();
            }
            self.blame(Cause::Cancelled { turn });
            self.write(Order::Turn(self.plan.finished()));
            self.wind(step);
            return true;
        }
        match self.stage {
            Stage::Hold => self.hold(out),
            Stage::Turn(turn) => self.take_turn(turn, out),
            Stage::Stopping(turn) => {
                let since = self.stop.map_or(self.now, |s| s.at);
                if !self.has_ended(turn) {
                    return self.press(turn, self.stop_deadline(since), out);
                }
                self.tell_end(turn, out);
                self.leave_steps();
                true
            }
            Stage::Winding { step, since } => self.unwind(step, since, out),
            Stage::Over(_) => false,
        }
    }

    fn hold(&mut self, out: &mut Out) -> bool {
        if self.begun.is_none() {
            if !self.is_stopped(0, out) {
                return false;
            }
            // Nothing ran, so there is nothing for `finally` steps to tidy up.
            self.blame_stop();
            let finished = Order::Turn(self.plan.finished());
            let ignored = !self.plan.finally.is_empty();
            self.write(if ignored { finished } else { Order::Cancelled });
            self.wind(None);
            return true;
        }
        // A resumed run whose order is at a step's number had every awaited sidecar ready.
        let was_ready =
            matches!(self.order, Order::Turn(n) if (1..=self.plan.main_count()).contains(&n));
        if !was_ready {
            // A stop that is known came before: nothing stops a run whose sidecar failed.
            let unready = self.unready().filter(|_| self.stop.is_none());
            if unready.is_some() || self.is_stopped(0, out) {
                match unready {
                    Some(cause) => self.blame(cause),
                    None => self.blame_stop(),
                }
                self.leave_steps();
                return true;
            }
        }
        if self.order == Order::HOLD && !self.all_ready() {
            return false;
        }
        self.release(1);
        true
    }

    fn take_turn(&mut self, turn: u32, out: &mut Out) -> bool {
        let main = turn <= self.plan.main_count();
        let Some(end) = self.track(turn).and_then(|t| t.end.as_ref()) else {
            if !main || !self.is_stopped(turn, out) {
                return false;
            }
            self.blame_stop();
            self.write(Order::Cancelled);
            self.stage = Stage::Stopping(turn);
            return true;
        };
        let cause = end.failure(turn, self.plan.name(turn));
        let failed = cause.is_some();
        self.tell_end(turn, out);
        let stopped = self.stop.is_some_and(|s| turn >= s.turn);
        // Time cannot be up for a task whose last step is over.
        let goes_on = main && !failed && turn != self.plan.main_count();
        if main && (stopped || goes_on && self.is_stopped(turn, out)) {
            self.blame_stop();
            self.leave_steps();
        } else if main && failed {
            cause.into_iter().for_each(|c| self.blame(c));
            self.leave_steps();
        } else if turn == self.plan.last() {
            cause.into_iter().for_each(|c| self.blame(c));
            self.write(Order::Turn(self.plan.finished()));
            self.wind(None);
        } else {
            cause.into_iter().for_each(|c| self.blame(c));
            self.release(turn.saturating_add(1));
        }
        true
    }

    /// The steps end here; `finally` steps follow, if there are any.
    fn leave_steps(&mut self) {
        if !self.plan.finally.is_empty() {
            self.release(self.plan.main_count().saturating_add(1));
            return;
        }
        self.write(Order::Cancelled);
        self.wind(None);
    }

    fn unwind(&mut self, step: Option<u32>, since: Timestamp, out: &mut Out) -> bool {
        let deadline = match self.killed {
            Some(killed) => killed.at,
            None => self.stop_deadline(since),
        };
        let first_sidecar = self.plan.finished();
        for number in step.into_iter().chain(first_sidecar..=self.plan.total()) {
            if !self.has_ended(number) && self.press(number, deadline, out) {
                return true;
            }
        }
        if let Some(step) = step.filter(|n| self.has_ended(*n)) {
            self.tell_end(step, out);
            self.stage = Stage::Winding { step: None, since };
            return true;
        }
        if step.is_some() || (first_sidecar..=self.plan.total()).any(|n| !self.has_ended(n)) {
            return false;
        }
        let cause = self.cause.clone();
        let outcome = Outcome {
            phase: cause.as_ref().map_or(Phase::Succeeded, Cause::phase),
            exit_code: cause.as_ref().map_or(0, Cause::exit_code),
            cause,
            started_at: self.begun,
            finished_at: self.now,
        };
        out.notices.push(Notice::TaskFinished {
            outcome: outcome.clone(),
        });
        self.stage = Stage::Over(outcome);
        true
    }

    /// Has a step or sidecar killed that did not end by `deadline`, and gives it up where nothing is
    /// heard of it for [`KILL_MARGIN`] after that.
    fn press(&mut self, number: u32, deadline: Timestamp, out: &mut Out) -> bool {
        let now = self.now;
        let Some(track) = self.track_mut(number) else {
            return false;
        };
        match track.killed {
            None if now >= deadline => {
                track.killed = Some(now);
                out.kills.push(number);
                true
            }
            Some(at) if now >= after(at, KILL_MARGIN) => {
                self.end(number, End::died(Death::Unresponsive, now), out);
                true
            }
            _ => false,
        }
    }

    fn stop_deadline(&self, since: Timestamp) -> Timestamp {
        after(after(since, self.plan.grace), KILL_MARGIN)
    }

    fn wind(&mut self, step: Option<u32>) {
        let since = self.now;
        self.stage = Stage::Winding { step, since };
    }

    /// Whether the task stops at this turn; looks at the clock, and at steps that can never start, too.
    fn is_stopped(&mut self, turn: u32, out: &mut Out) -> bool {
        if self.stop.is_none() && !self.catching_up {
            if self.never_started.is_some() {
                self.stop(StopReason::NeverStarted, turn, out);
            } else if self.time_up().is_some_and(|t| self.now >= t) {
                self.stop(StopReason::TimedOut, turn, out);
            }
        }
        self.stop.is_some_and(|s| turn >= s.turn)
    }

    fn time_up(&self) -> Option<Timestamp> {
        self.begun
            .zip(self.plan.timeout)
            .map(|(at, timeout)| after(at, timeout))
    }

    fn all_ready(&self) -> bool {
        let sidecars = self.plan.sidecars.iter().zip(self.plan.finished()..);
        sidecars
            .filter(|(sidecar, _)| sidecar.awaited)
            .all(|(_, number)| self.track(number).is_some_and(|t| t.ready))
    }

    /// What the task failed of before its first step, if it did.
    fn unready(&self) -> Option<Cause> {
        let number = self.unready?;
        let end = self.track(number)?.end.as_ref()?;
        Some(Cause::NotReady {
            number,
            name: self.plan.name(number).to_owned(),
            exit_code: end.exit_code(),
            message: end.to_string(),
        })
    }

    fn release(&mut self, turn: u32) {
        let now = self.now;
        if let Some(track) = self.track_mut(turn) {
            track.released = Some(now);
        }
        self.write(Order::Turn(turn));
        self.stage = Stage::Turn(turn);
    }

    /// Changes the order, forward only.
    fn write(&mut self, order: Order) {
        if self.rank(order) > self.rank(self.order) {
            self.order = order;
        }
    }

    /// Where an order stands on the way from 0 to K+1: `-1` between the steps and the `finally` steps.
    fn rank(&self, order: Order) -> u64 {
        let main = u64::from(self.plan.main_count());
        match order {
            Order::Turn(n) if u64::from(n) <= main => u64::from(n),
            Order::Cancelled => main + 1,
            Order::Turn(n) => u64::from(n) + 1,
        }
    }

    fn blame(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    fn blame_stop(&mut self) {
        if let Some(Stop { why, turn, .. }) = self.stop {
            self.blame(match why {
                StopReason::Cancelled => Cause::Cancelled { turn },
                StopReason::TimedOut => Cause::TimedOut { turn },
                // The journal of an earlier life may have kept the stop alone.
                StopReason::NeverStarted => self.unstartable().unwrap_or(Cause::Died {
                    number: turn,
                    name: self.plan.name(turn).to_owned(),
                    how: Death::NeverStarted("the cause is no longer known".to_owned()),
                }),
            });
        }
    }

    /// What the task fails of where a step's container can never start.
    fn unstartable(&self) -> Option<Cause> {
        let number = self.never_started?;
        let end = self.track(number)?.end.as_ref()?;
        end.failure(number, self.plan.name(number))
    }

    fn tell_end(&self, number: u32, out: &mut Out) {
        let end = self.track(number).and_then(|t| t.end.as_ref());
        // That was told when it was found.
        let end = end.filter(|end| !end.is_never_started());
        if let Some((kind, end)) = self.plan.kind(number).zip(end) {
            out.notices.push(Notice::StepFinished {
                number,
                kind,
                state: end.state(),
            });
        }
    }

    /// The time at which something is to happen without a fact.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let pressed = |number: u32, deadline: Timestamp| {
            let track = self.track(number).filter(|t| t.end.is_none())?;
            Some(track.killed.map_or(deadline, |at| after(at, KILL_MARGIN)))
        };
        match &self.stage {
            Stage::Hold => self.time_up(),
            Stage::Turn(turn) if *turn <= self.plan.main_count() => self.time_up(),
            Stage::Turn(_) | Stage::Over(_) => None,
            Stage::Stopping(turn) => {
                let since = self.stop.map_or(self.now, |s| s.at);
                pressed(*turn, self.stop_deadline(since))
            }
            Stage::Winding { step, since } => step
                .iter()
                .copied()
                .chain(self.plan.finished()..=self.plan.total())
                .filter_map(|n| pressed(n, self.stop_deadline(*since)))
                .min(),
        }
    }
}
