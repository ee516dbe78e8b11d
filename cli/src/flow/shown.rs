//! What is told of a run while it goes on: to people, and to its callbacks.

use baton_flow::{State, StopReason};
use baton_protocol::Timestamp;

use super::drive::{Run, now};
use super::present::present;
use super::screen;
use super::telling::happenings;
use crate::run::shown::warn;
use crate::show::style::{YELLOW, span};

impl Run<'_> {
    /// The state is another one than before.
    pub(super) fn changed(&mut self, before: &State) {
        self.tell_status();
        self.say(before);
        if let Some(callbacks) = &self.callbacks {
            for (at, what) in happenings(before, &self.state, &self.status, now()) {
                callbacks.say(at, what);
            }
        }
    }

    /// The status says what the state holds.
    pub(super) fn tell_status(&mut self) {
        let maker = &self.maker;
        self.status
            .set_state(self.graph, &self.state, &|id, n| maker.name(id, n));
        let suspended = self.flow.spec.suspend;
        present(&mut self.status, self.state.phase(), suspended, now());
    }

    /// Says what changed.
    fn say(&mut self, before: &State) {
        let quiet = self.site.options.quiet;
        let nodes = self.state.nodes.iter().zip(&before.nodes);
        for ((now, before), told) in nodes.zip(&self.status.nodes) {
            for (new, old) in now.instances.iter().zip(&before.instances) {
                if new.retry_at.is_some() && old.retry_at.is_none() {
                    let delay = new.retry_at.map(|at| at.since(self::now()));
                    let delay = span(delay.unwrap_or_default());
                    let said = format!(
                        "attempt {} failed; the next one starts in {delay}",
                        new.attempts
                    );
                    screen::say(&told.name, "↻", YELLOW, &said, self.terminal);
                }
            }
            if now.phase.is_over() && !before.phase.is_over() {
                screen::over(told, quiet, self.terminal);
            }
        }
        if let (Some((why, _)), None) = (self.state.stopped, before.stopped)
            && why != StopReason::Cancelled
        {
            let said = match why {
                StopReason::DeadlineExceeded => "the flow's time is up: stopping",
                _ => "a flow failed, and failurePolicy is FailFast: stopping",
            };
            warn(self.terminal, said);
            self.terminal.flush();
        }
    }

    /// The status line as it is now; `wake` is when the next attempt may start.
    pub(super) fn show_status(&mut self, wake: Option<Timestamp>) {
        if !self.terminal.is_live() {
            return;
        }
        let waits = match (self.live.is_empty(), wake) {
            (true, Some(at)) => Some(at.since(now())),
            _ => None,
        };
        let text = screen::status(
            self.flow.metadata.display_name(),
            self.live.len(),
            &self.status,
            waits,
            self.terminal.baton,
            self.terminal.columns(),
        );
        self.terminal.set_status(text);
        self.terminal.flush();
    }
}
