//! What to do with which service, and when. Pure: it is told what happened and says what to do.
//!
//! ```text
//!              needs ready          ready, or a oneshot's 0
//!   Waiting ───────────────> Starting ─────────────> Ready, Done
//!      ^                        │ death                │ death
//!      │ its delay is over      v                      v
//!      └──────────────────── Backoff <─────────────────┤
//!                                                      └──> Over (gave up, or no restart)
//! ```
//! A stop ends services in the reverse order of their needs, within one deadline for all of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use baton_pid1::Stop;
use baton_pid1::stop::Act;

mod model;
#[cfg(test)]
mod tests;

pub use model::{Action, Event, Index, Kind, Restart, Service, State, When, Why};

/// The container's exit code where its main service has none: as if SIGTERM had ended it.
const TERMINATED: i32 = 128 + 15;

/// A chance in [0, 1), asked for once a restart.
pub type Jitter = Box<dyn FnMut() -> f64>;

/// All services of a workspace.
pub struct Plan {
    services: Vec<Service>,
    main: Index,
    tracks: Vec<Track>,
    stop: Stop,
    asked: bool,
    childless: bool,
    rest_told: bool,
    exit: Option<i32>,
    ended: bool,
    jitter: Jitter,
}

/// What is remembered of a service.
#[derive(Debug)]
struct Track {
    state: State,
    deaths: VecDeque<Instant>,
    /// Deaths since it was healthy, which set the delay.
    streak: u32,
    restarts: u32,
    last: Option<i32>,
}

impl Plan {
    /// Nothing runs yet. `stop_deadline` is what all services together have to end.
    pub fn new(
        services: Vec<Service>,
        main: Index,
        stop_deadline: Duration,
        jitter: Jitter,
    ) -> Plan {
        let track = |_: &Service| Track {
            state: State::Waiting,
            deaths: VecDeque::new(),
            streak: 0,
            restarts: 0,
            last: None,
        };
        Plan {
            tracks: services.iter().map(track).collect(),
            services,
            main,
            stop: Stop::new(stop_deadline),
            asked: false,
            childless: true,
            rest_told: false,
            exit: None,
            ended: false,
            jitter,
        }
    }

    /// Takes an event and gives what is to be done, in order.
    pub fn apply(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut todo = Vec::new();
        if self.ended {
            return todo;
        }
        match event {
            Event::Begin => {}
            Event::Started(index) => self.started(index, now, &mut todo),
            Event::Ready(index) => self.ready(index, &mut todo),
            Event::Ended { index, code } => self.died(index, code, now, &mut todo),
            Event::Stop if self.asked || !self.stop.is_requested() => {
                self.asked = true;
                self.begin_stop(Why::Asked, now, &mut todo);
            }
            // It is ending already, and nobody had asked for that.
            Event::Stop => self.asked = true,
            Event::Childless => self.childless = true,
            Event::Tick => {
                if self.stop.tick(now) == Act::Kill {
                    todo.push(Action::KillAll);
                }
            }
        }
        self.settle(now, &mut todo);
        todo
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let delays = self.tracks.iter().filter_map(|track| match track.state {
            State::Backoff(until) => Some(until),
            _ => None,
        });
        delays.chain(self.stop.deadline()).min()
    }

    /// What goes on with a service.
    pub fn state(&self, index: Index) -> State {
        self.tracks
            .get(index)
            .map_or(State::Stopped, |track| track.state)
    }

    /// How often a service was started again.
    pub fn restarts(&self, index: Index) -> u32 {
        self.tracks.get(index).map_or(0, |track| track.restarts)
    }

    /// The last exit code of a service.
    pub fn last_code(&self, index: Index) -> Option<i32> {
        self.tracks.get(index)?.last
    }

    /// Whether the workspace is on its way to the end.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_requested()
    }

    fn started(&mut self, index: Index, now: Instant, todo: &mut Vec<Action>) {
        self.childless = false;
        let Some((service, track)) = self.pair(index) else {
            return;
        };
        if matches!(track.state, State::Starting(_)) {
            track.state = State::Starting(now);
            if service.kind == Kind::Daemon && !service.probed {
                self.ready(index, todo);
            }
        }
    }

    fn ready(&mut self, index: Index, todo: &mut Vec<Action>) {
        if let Some((_, track)) = self.pair(index)
            && let State::Starting(since) = track.state
        {
            track.state = State::Ready(since);
            todo.push(Action::Ready(index));
        }
    }

    fn died(&mut self, index: Index, code: i32, now: Instant, todo: &mut Vec<Action>) {
        let (main, stopping) = (index == self.main, self.stop.is_requested());
        let chance = (self.jitter)().clamp(0.0, 1.0);
        let Some((service, track)) = self.pair(index) else {
            return;
        };
        let since = match track.state {
            State::Starting(since) | State::Ready(since) => since,
            State::Stopping => now,
            _ => return,
        };
        track.last = Some(code);
        if stopping {
            track.state = State::Stopped;
            if main && self.exit.is_none() {
                self.exit = Some(code);
            }
            return;
        }
        let restart = service.restart;
        let good = code == 0;
        if good && service.kind == Kind::Oneshot {
            track.state = State::Done;
            todo.push(Action::Ready(index));
            return;
        }
        if restart.when == When::Never || (good && restart.when == When::OnFailure) {
            track.state = State::Over;
            return;
        }
        if now.saturating_duration_since(since) >= restart.healthy {
            track.streak = 0;
            track.deaths.clear();
        }
        track.deaths.push_back(now);
        track
            .deaths
            .retain(|death| now.saturating_duration_since(*death) <= restart.window);
        if restart.deaths > 0 && track.deaths.len() >= restart.deaths as usize {
            track.state = State::Over;
            todo.push(Action::GiveUp(index));
            return;
        }
        if restart.deaths == 0 {
            track.deaths.clear();
        }
        let whole = restart
            .delay
            .saturating_mul(2_u32.saturating_pow(track.streak))
            .min(restart.max_delay);
        let delay = whole.mul_f64(1.0 - chance / 2.0);
        track.streak = track.streak.saturating_add(1);
        track.restarts = track.restarts.saturating_add(1);
        track.state = State::Backoff(now + delay);
        todo.push(Action::Restart { index, delay });
    }

    fn begin_stop(&mut self, why: Why, now: Instant, todo: &mut Vec<Action>) {
        let first = !self.stop.is_requested();
        let act = self.stop.request(now);
        if first {
            todo.push(Action::Stopping(why));
        }
        if act == Act::Kill {
            todo.push(Action::KillAll);
        }
    }

    /// Draws the consequences of what is known now.
    fn settle(&mut self, now: Instant, todo: &mut Vec<Action>) {
        if !self.stop.is_requested() {
            self.start_what_can(now, todo);
            if let Some((why, code)) = self.reason_to_end() {
                self.exit = Some(code);
                self.begin_stop(why, now, todo);
            }
        }
        if self.stop.is_requested() {
            self.stop_what_can(todo);
        }
    }

    fn start_what_can(&mut self, now: Instant, todo: &mut Vec<Action>) {
        for index in 0..self.services.len() {
            if matches!(self.state(index), State::Backoff(until) if now >= until) {
                self.set(index, State::Waiting);
            }
            if self.state(index) == State::Waiting && self.has_its_needs(index) {
                self.set(index, State::Starting(now));
                todo.push(Action::Start(index));
            }
        }
    }

    fn reason_to_end(&self) -> Option<(Why, i32)> {
        let code = |index| self.last_code(index).unwrap_or(TERMINATED);
        match self.state(self.main) {
            State::Over | State::Done => {
                let code = code(self.main);
                Some((Why::MainOver(code), code))
            }
            State::Waiting => {
                let culprit = self.culprit(self.main)?;
                // That it is over is a failure here, whatever its exit code.
                Some((Why::Doomed(culprit), code(culprit).max(1)))
            }
            _ => None,
        }
    }

    /// What a waiting service waits for in vain.
    fn culprit(&self, index: Index) -> Option<Index> {
        let service = self.services.get(index)?;
        service
            .needs
            .iter()
            .find_map(|need| match self.state(*need) {
                State::Over => Some(*need),
                State::Waiting => self.culprit(*need),
                _ => None,
            })
    }

    fn stop_what_can(&mut self, todo: &mut Vec<Action>) {
        for index in 0..self.services.len() {
            match self.state(index) {
                State::Waiting | State::Backoff(_) => self.set(index, State::Stopped),
                State::Starting(_) | State::Ready(_) if !self.is_needed(index) => {
                    self.set(index, State::Stopping);
                    todo.push(Action::Terminate(index));
                }
                _ => {}
            }
        }
        let all_down = (0..self.services.len()).all(|index| !self.is_alive(index));
        if all_down && !self.childless && !self.rest_told {
            self.rest_told = true;
            todo.push(Action::TerminateRest);
        }
        if (all_down && self.childless) || self.stop.gave_up() {
            self.ended = true;
            todo.push(Action::Exit(self.exit.unwrap_or(TERMINATED)));
        }
    }

    fn has_its_needs(&self, index: Index) -> bool {
        let is_there = |need: &Index| matches!(self.state(*need), State::Ready(_) | State::Done);
        self.services
            .get(index)
            .is_some_and(|service| service.needs.iter().all(is_there))
    }

    /// Whether something that needs it still runs.
    fn is_needed(&self, index: Index) -> bool {
        let mut others = self.services.iter().enumerate();
        others.any(|(other, service)| service.needs.contains(&index) && self.is_alive(other))
    }

    fn is_alive(&self, index: Index) -> bool {
        matches!(
            self.state(index),
            State::Starting(_) | State::Ready(_) | State::Stopping
        )
    }

    fn pair(&mut self, index: Index) -> Option<(&Service, &mut Track)> {
        Some((self.services.get(index)?, self.tracks.get_mut(index)?))
    }

    fn set(&mut self, index: Index, state: State) {
        if let Some(track) = self.tracks.get_mut(index) {
            track.state = state;
        }
    }
}
