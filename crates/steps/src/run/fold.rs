//! Facts are noted here; nothing is decided.

use baton_protocol::Timestamp;

use super::track::End;
use super::{Killed, Out, Run, Stage, Stop};
use crate::effect::Notice;
use crate::event::{Event, StopReason};
use crate::plan::Kind;

impl Run {
    /// Notes a fact, without deciding anything by it.
    pub(super) fn fold(&mut self, event: Event, out: &mut Out) {
        match event {
            Event::Begin => self.begin(out),
            Event::Started {
                number,
                attempt,
                at,
            } => self.started(number, attempt, at, out),
            Event::Retrying {
                number,
                attempt,
                reason,
                exit_code,
                delay_ms,
                at,
            } => {
                let at = at.min(self.now);
                if let Some(kind) = self.speaks(number)
                    && self.track_mut(number).is_some_and(|t| t.retrying(attempt))
                {
                    out.notices.push(Notice::StepRetrying {
                        number,
                        kind,
                        attempt,
                        reason,
                        exit_code,
                        delay_ms,
                        at,
                    });
                }
            }
            Event::Ready { number } => {
                let at = self.now;
                if self.plan.kind(number) == Some(Kind::Sidecar)
                    && let Some(track) = self.track_mut(number)
                    && track.end.is_none()
                    && !std::mem::replace(&mut track.ready, true)
                {
                    out.after.push(Event::Ready { number });
                    out.notices.push(Notice::SidecarReady { number, at });
                }
            }
            Event::Finished { number, record } => self.end(number, End::Record(record), out),
            Event::Died { number, how } => {
                let at = self.now;
                self.end(number, End::died(how, at), out);
            }
            Event::Cancel => {
                let turn = self.turn().unwrap_or(0);
                self.stop(StopReason::Cancelled, turn, out);
            }
            Event::Stopped { why, turn } => self.stop(why, turn, out),
            Event::Kill => {
                let turn = match self.stage {
                    Stage::Hold => 0,
                    Stage::Turn(turn) | Stage::Stopping(turn) => turn,
                    Stage::Winding { .. } | Stage::Over(_) => self.plan.finished(),
                };
                self.kill(turn, out);
            }
            Event::Killed { turn } => self.kill(turn, out),
            Event::Tick => {}
        }
    }

    pub(super) fn begin(&mut self, out: &mut Out) {
        if self.begun.is_none() && self.stage == Stage::Hold {
            self.begun = Some(self.now);
            out.before.push(Event::Begin);
            out.notices.push(Notice::TaskStarted { at: self.now });
        }
    }

    /// A started command counts from steps that had their turn; what others claim is not so.
    fn speaks(&self, number: u32) -> Option<Kind> {
        let kind = self.plan.kind(number)?;
        let released = self.track(number)?.released.is_some();
        (kind == Kind::Sidecar || released).then_some(kind)
    }

    fn started(&mut self, number: u32, attempt: u32, at: Timestamp, out: &mut Out) {
        let at = at.min(self.now);
        if let Some(kind) = self.speaks(number)
            && self
                .track_mut(number)
                .is_some_and(|t| t.started(attempt, at))
        {
            out.notices.push(Notice::StepStarted {
                number,
                kind,
                attempt,
                at,
            });
        }
    }

    pub(super) fn end(&mut self, number: u32, end: End, out: &mut Out) {
        let Some(kind) = self.plan.kind(number) else {
            return;
        };
        let over = self.outcome().is_some();
        let Some(track) = self.track_mut(number) else {
            return;
        };
        let never_started = end.is_never_started();
        if track.end.is_some() || over || never_started && track.has_begun() {
            return;
        }
        // What stops the task has to be known when its order is.
        let remembered = if never_started {
            &mut out.before
        } else {
            &mut out.after
        };
        remembered.push(end.event(number));
        if kind == Kind::Sidecar || never_started {
            out.notices.push(Notice::StepFinished {
                number,
                kind,
                state: end.state(),
            });
        }
        let was_ready = track.ready;
        track.end = Some(end);
        if !was_ready && self.plan.is_awaited(number) {
            self.unready.get_or_insert(number);
        }
        if never_started && kind == Kind::Step {
            self.never_started.get_or_insert(number);
        }
    }

    pub(super) fn stop(&mut self, why: StopReason, turn: u32, out: &mut Out) {
        let open = match self.stage {
            Stage::Hold => true,
            Stage::Turn(turn) => turn <= self.plan.main_count(),
            _ => false,
        };
        if open && self.stop.is_none() {
            let at = self.now;
            self.stop = Some(Stop { why, turn, at });
            out.before.push(Event::Stopped { why, turn });
            out.notices.push(Notice::TaskStopping { why, at });
        }
    }

    pub(super) fn kill(&mut self, turn: u32, out: &mut Out) {
        if self.killed.is_none() && self.outcome().is_none() {
            let at = self.now;
            self.killed = Some(Killed { turn, at });
            out.before.push(Event::Killed { turn });
        }
    }
}
