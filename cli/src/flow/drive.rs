//! The loop around the planner: it starts attempts, hears of their ends, keeps the time and shows what
//! happens. What is to be done is decided by [`baton_flow`]; what the ends of attempts and requests to
//! stop change is in [`heard`](super::heard), what is told of it in [`shown`](super::shown).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, SystemTime};

use baton_api::flow::JobFlow;
use baton_api::flow_status::{JobFlowStatus, MAX_FLOW_JOBS};
use baton_flow::{Action, Begin, Graph, InstanceId, NodePhase, Seen, State, actions, fold};
use baton_protocol::Timestamp;

use super::child::{self, Ended, Told};
use super::make::Maker;
use crate::run::callbacks::Callbacks;
use crate::run::children::Children;
use crate::run::task::{Options, Part, deliver};
use crate::show::terminal::Terminal;

/// Most Jobs and Tasks at one time, where the flow itself allows more: each takes threads and
/// processes of this one machine.
pub const MAX_AT_ONCE: u32 = 128;
/// How often the status line moves.
const TICK: Duration = Duration::from_millis(200);

/// What the loop hears.
pub(super) enum Event {
    /// Somebody asks for the end.
    Stop { nth: u32 },
    /// An attempt is over; its callbacks may still have to be told.
    Ended {
        id: InstanceId,
        attempt: u32,
        ended: Box<Ended>,
        tells: bool,
    },
    /// An attempt's callbacks were told, but for these.
    Told {
        id: InstanceId,
        attempt: u32,
        lost: Vec<String>,
    },
}

/// The time.
pub(super) fn now() -> Timestamp {
    Timestamp(SystemTime::now())
}

/// What every attempt is given.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) source: &'a str,
    pub(super) base: &'a Path,
    pub(super) options: &'a Options<'a>,
    pub(super) children: &'a Children,
}

/// The loop's state.
pub(super) struct Run<'a> {
    pub(super) flow: &'a JobFlow,
    pub(super) graph: &'a Graph,
    pub(super) maker: Maker<'a>,
    pub(super) columns: usize,
    pub(super) state: State,
    pub(super) status: JobFlowStatus,
    pub(super) live: BTreeMap<(InstanceId, u32), Children>,
    /// Attempts that are over and tell their callbacks.
    pub(super) telling: BTreeMap<(InstanceId, u32), Children>,
    pub(super) over: BTreeMap<(InstanceId, u32), Seen>,
    pub(super) attempts: BTreeMap<(InstanceId, u32), Told>,
    pub(super) notes: Vec<String>,
    pub(super) callbacks: Option<Callbacks>,
    pub(super) cancelled: bool,
    pub(super) killed: bool,
    pub(super) site: Site<'a>,
    pub(super) tell: Sender<Event>,
    pub(super) terminal: &'a mut Terminal,
}

impl<'a> Run<'a> {
    /// Runs until nothing is left to do.
    pub(super) fn drive<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        told: &Receiver<Event>,
    ) {
        loop {
            self.fold();
            let wake = match self.killed {
                true => None,
                false => self.act(scope),
            };
            let waits = self.live.is_empty() && wake.is_none();
            if self.state.finished_at.is_some() || waits {
                // Over, or killed, or suspended with nobody who could resume it.
                break;
            }
            self.show_status(wake);
            self.wait(told, wake);
        }
        if self.killed {
            let before = self.state.clone();
            self.give_up();
            self.changed(&before);
        }
        while !self.telling.is_empty() {
            self.wait(told, None);
        }
        self.tell_status();
    }

    fn see(&self, id: InstanceId, attempt: u32) -> Seen {
        let key = (id, attempt);
        match self.over.get(&key) {
            Some(seen) => seen.clone(),
            None if self.live.contains_key(&key) => Seen::Live,
            None => Seen::Absent,
        }
    }

    fn fold(&mut self) {
        let now = now();
        let mut rules = self.flow.spec.rules(self.state.started_at);
        rules.cancelled |= self.cancelled;
        rules.max_parallel = Some(rules.max_parallel.unwrap_or(MAX_AT_ONCE).min(MAX_AT_ONCE));
        let results = |node: &str, step: &str, name: &str| self.result(node, step, name);
        let mut begin = |state: &State, place: usize| {
            let Some(node) = self.flow.spec.node(place) else {
                return Begin::Skip;
            };
            let begin = node.begin(&results);
            let Begin::Run(count) = begin else {
                return begin;
            };
            let others: usize = state.nodes.iter().map(|n| n.instances.len()).sum();
            if others.saturating_add(count) > MAX_FLOW_JOBS {
                return Begin::Fail(format!(
                    "its {count} Jobs are more than the {MAX_FLOW_JOBS} that a whole flow can have"
                ));
            }
            let first = InstanceId {
                node: place,
                index: 0,
            };
            match self.maker.make(first, 1, &results) {
                Err(why) if count > 0 => Begin::Fail(why),
                _ => begin,
            }
        };
        let seen = |id, attempt| self.see(id, attempt);
        let state = fold(self.graph, &rules, &self.state, now, &seen, &mut begin);
        if state != self.state {
            let before = std::mem::replace(&mut self.state, state);
            self.changed(&before);
        }
    }

    /// A result of an earlier node.
    fn result(&self, node: &str, step: &str, name: &str) -> Result<String, String> {
        let node = self.status.node(node);
        let node = node.ok_or_else(|| "there is no such flow".to_owned())?;
        let mut results = node.results.iter();
        match (
            results.find(|r| r.step == step && r.name == name),
            node.state,
        ) {
            (Some(result), _) => Ok(result.value.clone()),
            (None, NodePhase::Skipped) => Err(format!("{:?} was skipped", node.name)),
            (None, NodePhase::Failed | NodePhase::Cancelled) => {
                Err(format!("{:?} failed before it was written", node.name))
            }
            (None, _) => Err(format!("step {step:?} of {:?} did not write it", node.name)),
        }
    }

    /// Does what the state asks for, and says when to look again.
    fn act<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>) -> Option<Timestamp> {
        let mut rules = self.flow.spec.rules(self.state.started_at);
        rules.cancelled |= self.cancelled;
        let seen = |id, attempt| self.see(id, attempt);
        let mut wake = None;
        for action in actions(self.graph, &rules, &self.state, now(), &seen) {
            match action {
                Action::Start { id, attempt } => self.start(scope, id, attempt),
                Action::Stop { id, attempt } => {
                    if let Some(children) = self.live.get(&(id, attempt)) {
                        children.stop(1);
                    }
                }
                Action::WakeAt(at) => wake = Some(at),
            }
        }
        wake
    }

    fn start<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>, id: InstanceId, attempt: u32) {
        let results = |node: &str, step: &str, name: &str| self.result(node, step, name);
        let made = self.maker.make(id, attempt, &results);
        let children = self.site.children.group();
        let key = (id, attempt);
        let (tell, site) = (self.tell.clone(), self.site);
        let (group, mut terminal) = (children.clone(), self.terminal.share());
        let part = Part {
            columns: self.columns,
            colour: u32::try_from(id.node).unwrap_or(0),
        };
        let work = move || {
            let options = Options {
                env: site.options.env,
                part: Some(part),
                ..*site.options
            };
            let (ended, callbacks) = match made {
                Ok((made, _)) => {
                    let at = (site.source, site.base);
                    child::run(&made, at.0, at.1, &options, &group, &mut terminal)
                }
                Err(why) => (failed("Invalid", why), None),
            };
            // Nobody listens any more only where the run is over.
            let _ = tell.send(Event::Ended {
                id,
                attempt,
                ended: Box::new(ended),
                tells: callbacks.is_some(),
            });
            if let Some(callbacks) = callbacks {
                let lost = deliver(callbacks, &group, &mut terminal);
                let _ = tell.send(Event::Told { id, attempt, lost });
            }
        };
        let name = format!("flow-{}-{}", id.node, id.index);
        self.live.insert(key, children);
        if let Err(e) = std::thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, work)
        {
            let ended = failed("StartError", format!("cannot start its thread: {e}"));
            let _ = self.tell.send(Event::Ended {
                id,
                attempt,
                ended: Box::new(ended),
                tells: false,
            });
        }
    }

    /// Waits for the next event, or until it is time to look again.
    fn wait(&mut self, told: &Receiver<Event>, wake: Option<Timestamp>) {
        let until = wake.map(|at| at.since(now()));
        let tick = self.terminal.is_live().then_some(TICK);
        let event = match until.into_iter().chain(tick).min() {
            Some(patience) => told.recv_timeout(patience),
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let Ok(event) = event else {
            return;
        };
        self.take(event);
        while let Ok(event) = told.try_recv() {
            self.take(event);
        }
    }
}

fn failed(reason: &str, message: String) -> Ended {
    Ended {
        seen: Seen::Failed(reason.to_owned()),
        message,
        told: None,
    }
}
