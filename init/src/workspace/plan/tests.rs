//! A world in which services behave as badly as they can.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const RESTART: Restart = Restart {
    when: When::Always,
    delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(1),
    healthy: Duration::from_secs(10),
    deaths: 4,
    window: Duration::from_secs(60),
};
const STOP: Duration = Duration::from_secs(25);

fn daemon(needs: &[Index], probed: bool) -> Service {
    Service {
        kind: Kind::Daemon,
        needs: needs.to_vec(),
        probed,
        restart: RESTART,
    }
}

fn oneshot(needs: &[Index]) -> Service {
    Service {
        kind: Kind::Oneshot,
        restart: Restart {
            when: When::OnFailure,
            ..RESTART
        },
        ..daemon(needs, false)
    }
}

fn plan(services: Vec<Service>, main: Index) -> Plan {
    Plan::new(services, main, STOP, Box::new(|| 0.0))
}

fn ended(index: Index, code: i32) -> Event {
    Event::Ended { index, code }
}

#[test]
fn starts_follow_needs_and_stops_go_backwards() {
    let now = Instant::now();
    let mut plan = plan(
        vec![oneshot(&[]), daemon(&[0], true), daemon(&[1], false)],
        2,
    );
    assert_eq!(plan.apply(now, Event::Begin), [Action::Start(0)]);
    assert_eq!(plan.apply(now, Event::Started(0)), []);
    assert_eq!(
        plan.apply(now, ended(0, 0)),
        [Action::Ready(0), Action::Start(1)]
    );
    assert_eq!(plan.apply(now, Event::Started(1)), [], "its probe decides");
    assert_eq!(
        plan.apply(now, Event::Ready(1)),
        [Action::Ready(1), Action::Start(2)]
    );
    assert_eq!(plan.apply(now, Event::Started(2)), [Action::Ready(2)]);
    assert_eq!(
        plan.apply(now, Event::Stop),
        [Action::Stopping(Why::Asked), Action::Terminate(2)]
    );
    assert_eq!(plan.apply(now, ended(2, 7)), [Action::Terminate(1)]);
    assert_eq!(plan.apply(now, ended(1, 143)), [Action::TerminateRest]);
    assert_eq!(plan.apply(now, Event::Childless), [Action::Exit(7)]);
}

#[test]
fn delays_double_up_to_a_bound_and_health_resets_them() {
    let mut now = Instant::now();
    let mut service = daemon(&[], false);
    service.restart.deaths = 0;
    let mut plan = plan(vec![service], 0);
    plan.apply(now, Event::Begin);
    let mut delays = Vec::new();
    for run in [0, 0, 0, 0, 0, 0, 10, 0] {
        plan.apply(now, Event::Started(0));
        now += Duration::from_secs(run);
        let [Action::Restart { delay, .. }] = plan.apply(now, ended(0, 1))[..] else {
            panic!("no restart");
        };
        delays.push(delay.as_millis());
        assert_eq!(plan.deadline(), Some(now + delay));
        now += delay;
        assert_eq!(plan.apply(now, Event::Tick), [Action::Start(0)]);
    }
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 100, 200]);
}

#[test]
fn too_many_deaths_end_the_workspace_with_the_main_services_code() {
    let mut now = Instant::now();
    let mut plan = plan(vec![daemon(&[], false)], 0);
    plan.apply(now, Event::Begin);
    for death in 1..=4 {
        plan.apply(now, Event::Started(0));
        let todo = plan.apply(now, ended(0, 9));
        if death == 4 {
            let over = Action::Stopping(Why::MainOver(9));
            assert_eq!(todo, [Action::GiveUp(0), over, Action::TerminateRest]);
        } else {
            now = plan.deadline().unwrap();
            plan.apply(now, Event::Tick);
        }
    }
    assert_eq!(plan.apply(now, Event::Childless), [Action::Exit(9)]);
}

#[test]
fn a_main_service_that_can_never_start_ends_the_workspace() {
    let now = Instant::now();
    let mut first = oneshot(&[]);
    first.restart.when = When::Never;
    let mut plan = plan(vec![first, oneshot(&[0]), daemon(&[1], false)], 2);
    plan.apply(now, Event::Begin);
    plan.apply(now, Event::Started(0));
    plan.apply(now, Event::Childless);
    assert_eq!(
        plan.apply(now, ended(0, 5)),
        [Action::Stopping(Why::Doomed(0)), Action::Exit(5)]
    );
}

#[test]
fn the_second_signal_and_the_deadline_kill() {
    let start = Instant::now();
    for second in [true, false] {
        let mut plan = plan(vec![daemon(&[], false)], 0);
        plan.apply(start, Event::Begin);
        plan.apply(start, Event::Started(0));
        plan.apply(start, Event::Stop);
        let killed = match second {
            true => plan.apply(start, Event::Stop),
            false => plan.apply(start + STOP, Event::Tick),
        };
        assert_eq!(killed, [Action::KillAll]);
        plan.apply(start + STOP, ended(0, 137));
        let end = plan.apply(start + STOP, Event::Childless);
        assert_eq!(end, [Action::Exit(137)]);
    }
}

#[test]
fn a_signal_while_the_end_has_begun_by_itself_does_not_kill() {
    let now = Instant::now();
    let mut main = daemon(&[0], false);
    main.restart.when = When::Never;
    let mut plan = plan(vec![daemon(&[], false), main], 1);
    plan.apply(now, Event::Begin);
    plan.apply(now, Event::Started(0));
    plan.apply(now, Event::Started(1));
    let todo = plan.apply(now, ended(1, 3));
    assert_eq!(
        todo,
        [Action::Stopping(Why::MainOver(3)), Action::Terminate(0)]
    );
    assert_eq!(plan.apply(now, Event::Stop), []);
    assert_eq!(plan.apply(now, Event::Stop), [Action::KillAll]);
}

/// What the world does next.
#[derive(Debug, Clone)]
enum Turn {
    Ready(prop::sample::Index),
    Die(prop::sample::Index, i32),
    Wait(u64),
    Stop,
}

fn turns() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => any::<prop::sample::Index>().prop_map(Turn::Ready),
        4 => (any::<prop::sample::Index>(), prop_oneof![Just(0), Just(1), Just(137)]).prop_map(|(i, code)| Turn::Die(i, code)),
        4 => (0..20_000_u64).prop_map(Turn::Wait),
        1 => Just(Turn::Stop),
    ]
}

fn service(before: Index) -> impl Strategy<Value = Service> {
    let when = prop_oneof![
        4 => Just(When::Always),
        2 => Just(When::OnFailure),
        1 => Just(When::Never)
    ];
    let needs = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
    (any::<bool>(), any::<bool>(), when, needs).prop_map(move |(once, probed, when, needs)| {
        let needs = needs
            .into_iter()
            .filter(|_| before > 0)
            .map(|need| need.index(before));
        Service {
            kind: if once { Kind::Oneshot } else { Kind::Daemon },
            needs: needs.collect(),
            probed,
            restart: Restart { when, ..RESTART },
        }
    })
}

fn workspace() -> impl Strategy<Value = (Vec<Service>, Index)> {
    (1..7_usize).prop_flat_map(|count| ((0..count).map(service).collect::<Vec<_>>(), 0..count))
}

/// What is true of the processes, known without the plan.
struct World {
    plan: Plan,
    services: Vec<Service>,
    now: Instant,
    running: HashMap<Index, bool>,
    done: Vec<Index>,
    given_up: Vec<Index>,
    died_at: HashMap<Index, Instant>,
    starts: HashMap<Index, Vec<Instant>>,
    stopping: Option<Instant>,
    /// All are dead, and the plan is told of one after the other.
    killed: bool,
    exit: Option<i32>,
}

impl World {
    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.plan.apply(self.now, event) {
                assert_eq!(self.exit, None, "nothing follows the end");
                self.act(action, &mut events);
            }
        }
    }

    fn act(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Start(index) => {
                assert_eq!(self.stopping, None, "no start while stopping");
                assert!(
                    !self.given_up.contains(&index),
                    "no start after it was given up"
                );
                for need in &self.services[index].needs {
                    let ready = self.running.get(need) == Some(&true) || self.done.contains(need);
                    assert!(ready, "{index} starts before {need} is ready");
                }
                if let Some(death) = self.died_at.get(&index) {
                    let least = RESTART.delay / 2;
                    assert!(self.now.duration_since(*death) >= least, "a spin");
                }
                assert!(self.running.insert(index, false).is_none());
                self.starts.entry(index).or_default().push(self.now);
                events.push_back(Event::Started(index));
            }
            Action::Ready(index) => {
                if let Some(ready) = self.running.get_mut(&index) {
                    *ready = true;
                }
            }
            Action::GiveUp(index) => self.given_up.push(index),
            Action::Stopping(_) => self.stopping = Some(self.now),
            Action::Terminate(index) => {
                assert!(self.killed || self.running.contains_key(&index));
                for other in self.running.keys() {
                    let needs = &self.services[*other].needs;
                    assert!(!needs.contains(&index), "{other} still needs {index}");
                }
            }
            Action::KillAll => {
                assert!(self.stopping.is_some());
                self.killed = true;
                let all: Vec<_> = self.running.drain().collect();
                events.extend(all.into_iter().map(|(index, _)| ended(index, 137)));
                events.push_back(Event::Childless);
            }
            Action::Exit(code) => {
                assert!(self.running.is_empty(), "the end comes last");
                self.exit = Some(code);
            }
            Action::TerminateRest => assert!(self.running.is_empty()),
            Action::Restart { .. } => {}
        }
    }

    fn die(&mut self, index: Index, code: i32) {
        self.running.remove(&index);
        self.died_at.insert(index, self.now);
        if code == 0 && self.services[index].kind == Kind::Oneshot {
            self.done.push(index);
        }
        self.tell(ended(index, code));
        if self.running.is_empty() {
            self.tell(Event::Childless);
        }
    }

    fn any_running(&self, which: prop::sample::Index) -> Option<Index> {
        let mut running: Vec<_> = self.running.keys().copied().collect();
        running.sort_unstable();
        (!running.is_empty()).then(|| running[which.index(running.len())])
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.plan.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.tell(Event::Tick);
        }
        self.now = end;
    }
}

proptest! {
    #[test]
    fn every_workspace_keeps_the_rules((services, main) in workspace(), turns in proptest::collection::vec(turns(), 1..80), mut chances in any::<u32>()) {
        let jitter = Box::new(move || {
            chances = chances.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(chances) / f64::from(u32::MAX)
        });
        let plan = Plan::new(services.clone(), main, STOP, jitter);
        let mut world = World {
            plan,
            services,
            now: Instant::now(),
            running: HashMap::new(),
            done: Vec::new(),
            given_up: Vec::new(),
            died_at: HashMap::new(),
            starts: HashMap::new(),
            stopping: None,
            killed: false,
            exit: None,
        };
        world.tell(Event::Begin);
        for turn in turns {
            match turn {
                Turn::Ready(which) => {
                    if let Some(index) = world.any_running(which)
                        && world.services[index].kind == Kind::Daemon
                    {
                        world.tell(Event::Ready(index));
                    }
                }
                Turn::Die(which, code) => {
                    if let Some(index) = world.any_running(which) {
                        world.die(index, code);
                    }
                }
                Turn::Wait(millis) => world.pass(Duration::from_millis(millis)),
                Turn::Stop => world.tell(Event::Stop),
            }
        }
        // Every stop ends, also where no service heeds it.
        world.tell(Event::Stop);
        world.pass(STOP + Duration::from_secs(6));
        prop_assert!(world.exit.is_some());
        // Restarts in any ten seconds are bounded: by the delays, which double.
        for starts in world.starts.values() {
            for first in starts {
                let soon = |start: &&Instant| **start >= *first && start.duration_since(*first) < Duration::from_secs(10);
                prop_assert!(starts.iter().filter(soon).count() <= 1 + RESTART.deaths as usize + 20);
            }
        }
    }
}
