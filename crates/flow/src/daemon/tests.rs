//! Every order in which nodes come, go and change and Jobs end, lost writes and stale views.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::state::{FlowPhase, StopReason};

mod cases;

fn at(seconds: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn member(uid: u32) -> Member {
    Member {
        uid: uid.to_string(),
        place: Place::Eligible,
        hold: None,
        not_ready_since: None,
    }
}

fn rules() -> DaemonRules {
    DaemonRules {
        parallel: Parallel::All,
        fail_fast: false,
        completion: Completion::AllNodes,
        suspended: false,
        cancelled: false,
        deadline: None,
        not_ready: Duration::from_secs(300),
    }
}

/// A cluster: its nodes, and the Jobs of the DaemonJob.
#[derive(Default)]
struct World {
    members: Members,
    jobs: BTreeMap<(String, u32), JobSeen>,
    /// Jobs that are being deleted: they may run until they are gone.
    deleting: BTreeSet<(String, u32)>,
    /// Jobs that were told to stop.
    stopping: BTreeSet<(String, u32)>,
    /// Names that belong to something else.
    taken: BTreeSet<String>,
    /// The UIDs of the nodes that Jobs were made for.
    uid_of: BTreeMap<(String, u32), String>,
    /// Nodes by name and UID whose Job succeeded.
    done: BTreeSet<(String, String)>,
    uids: u32,
    /// Something failed, was deleted, or was not ready.
    harmed: bool,
}

impl World {
    fn see(&self, node: &str, attempt: u32) -> JobSeen {
        match self.jobs.get(&(node.to_owned(), attempt)) {
            Some(seen) => seen.clone(),
            None if self.taken.contains(node) => JobSeen::Taken,
            None => JobSeen::Absent,
        }
    }

    fn uid(&mut self) -> u32 {
        self.uids += 1;
        self.uids
    }

    fn live(&self) -> Vec<(String, u32)> {
        let live = self.jobs.iter().filter(|(_, seen)| **seen == JobSeen::Live);
        live.map(|(key, _)| key.clone()).collect()
    }

    fn start(&mut self, node: String, attempt: u32) {
        let has_live = self.live().iter().any(|(n, _)| *n == node);
        assert!(!has_live, "{node} has two live Jobs");
        if let Some(member) = self.members.get(&node) {
            let key = (node.clone(), member.uid.clone());
            assert!(!self.done.contains(&key), "{node} runs after its success");
        }
        // The API server refuses what there is, and who makes it looks whose it is.
        if !self.taken.contains(&node) {
            let uid = self.members.get(&node).map(|m| m.uid.clone());
            self.uid_of
                .insert((node.clone(), attempt), uid.unwrap_or_default());
            self.jobs.insert((node, attempt), JobSeen::Live);
        }
    }

    fn end(&mut self, which: usize, how: JobSeen) {
        let live = self.live();
        let Some(key) = live.get(which % live.len().max(1)) else {
            return;
        };
        if how == JobSeen::Succeeded {
            self.done.insert((key.0.clone(), self.uid_of[key].clone()));
        }
        self.harmed |= how != JobSeen::Succeeded;
        self.jobs.insert(key.clone(), how);
    }

    fn vanish(&mut self) {
        for key in std::mem::take(&mut self.deleting) {
            self.jobs.remove(&key);
        }
        for key in std::mem::take(&mut self.stopping) {
            if self.jobs.get(&key) == Some(&JobSeen::Live) {
                self.jobs.insert(key, JobSeen::Failed("Stopped".into()));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Move {
    /// Fold, persist, act.
    Control,
    /// Fold, and die before the result is persisted.
    LoseWrite,
    /// Fold and persist, and die before acting.
    LoseActions,
    /// Fold by a view in which nothing that ended has ended.
    Stale,
    End(usize, JobSeen),
    /// A live Job is deleted by hand.
    Delete(usize),
    /// Jobs whose end is recorded are cleaned up.
    CleanUp,
    /// What is being deleted is gone, what is told to stop has.
    Vanish,
    Wait(u64),
    Cancel,
    Suspend(bool),
    Rerun(bool),
    /// A node joins, or another one of its name.
    Join(u8),
    Remove(u8),
    Place(u8, Place),
    Hold(u8, bool),
    Ready(u8, bool),
    Take(u8, bool),
}

fn a_node() -> impl Strategy<Value = u8> {
    0u8..6
}

fn a_move() -> impl Strategy<Value = Move> {
    let place = prop_oneof![
        2 => Just(Place::Eligible),
        1 => Just(Place::Closed),
        1 => Just(Place::Out),
    ];
    prop_oneof![
        8 => Just(Move::Control),
        1 => Just(Move::LoseWrite),
        1 => Just(Move::LoseActions),
        1 => Just(Move::Stale),
        4 => any::<usize>().prop_map(|i| Move::End(i, JobSeen::Succeeded)),
        1 => any::<usize>().prop_map(|i| Move::End(i, JobSeen::Failed("Error".into()))),
        1 => any::<usize>().prop_map(Move::Delete),
        1 => Just(Move::CleanUp),
        1 => Just(Move::Vanish),
        1 => (0u64..400).prop_map(Move::Wait),
        1 => prop_oneof![9 => Just(Move::Control), 1 => Just(Move::Cancel)],
        1 => any::<bool>().prop_map(Move::Suspend),
        1 => prop_oneof![4 => Just(Move::Control), 1 => any::<bool>().prop_map(Move::Rerun)],
        4 => a_node().prop_map(Move::Join),
        1 => a_node().prop_map(Move::Remove),
        2 => (a_node(), place).prop_map(|(n, p)| Move::Place(n, p)),
        2 => (a_node(), any::<bool>()).prop_map(|(n, is)| Move::Hold(n, is)),
        2 => (a_node(), any::<bool>()).prop_map(|(n, is)| Move::Ready(n, is)),
        1 => (a_node(), any::<bool>()).prop_map(|(n, is)| Move::Take(n, is)),
    ]
}

fn some_rules() -> impl Strategy<Value = DaemonRules> {
    let parallel = prop_oneof![
        Just(Parallel::All),
        (1usize..4).prop_map(Parallel::Number),
        (1usize..=100).prop_map(Parallel::Share),
    ];
    let completion = prop_oneof![
        3 => Just(Completion::AllNodes),
        2 => Just(Completion::InitialNodes),
        1 => Just(Completion::Never),
    ];
    let deadline = proptest::option::weighted(0.3, 100u64..2000);
    (parallel, completion, any::<bool>(), deadline).prop_map(
        |(parallel, completion, fail_fast, deadline)| DaemonRules {
            parallel,
            completion,
            fail_fast,
            deadline: deadline.map(Duration::from_secs),
            ..rules()
        },
    )
}

/// A DaemonJob, and the cluster that it runs in.
struct Run {
    rules: DaemonRules,
    world: World,
    state: DaemonState,
    now: u64,
}

impl Run {
    fn fold(&self, stale: bool) -> DaemonState {
        let seen = |node: &str, attempt| match self.world.see(node, attempt) {
            JobSeen::Succeeded | JobSeen::Failed(_) if stale => JobSeen::Live,
            seen => seen,
        };
        let now = at(self.now);
        let members = &self.world.members;
        let next = daemon_fold(&self.rules, &self.state, members, now, &seen);
        self.check(&next);
        next
    }

    /// What was let go by this fold may have been.
    fn check(&self, next: &DaemonState) {
        let before = |name: &str| self.state.nodes.iter().find(|n| n.name == name);
        let mut new = 0;
        for node in &next.nodes {
            let was = before(&node.name).map_or(0, |n| n.attempts);
            if node.attempts <= was {
                continue;
            }
            new += 1;
            assert!(!self.rules.suspended && next.stopped.is_none());
            let member = &self.world.members[&node.name];
            assert_eq!(node.attempts, was + 1);
            assert_eq!(member.uid, node.uid);
            assert_eq!(member.place, Place::Eligible);
            assert_eq!((member.hold, member.not_ready_since), (None, None));
        }
        let counted = next.nodes.len() - next.count(DaemonPhase::Removed);
        let live = next.nodes.iter().filter(|n| n.state.is_let_go()).count();
        assert!(new == 0 || live <= self.rules.parallel.of(counted));
        let names: Vec<_> = next.nodes.iter().map(|n| &n.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        let ends = self.state.finished_at.is_none() && next.finished_at.is_some();
        if ends && next.stopped.is_none() && self.rules.completion == Completion::AllNodes {
            for (name, member) in &self.world.members {
                let is_over = next
                    .nodes
                    .iter()
                    .any(|n| n.name == *name && n.uid == member.uid);
                let counts = member.place == Place::Eligible;
                assert!(is_over || !counts, "{name} was left out");
            }
        }
    }

    fn act(&mut self) {
        let seen = |node: &str, attempt| self.world.see(node, attempt);
        let members = &self.world.members;
        let actions = daemon_actions(&self.rules, &self.state, members, at(self.now), &seen);
        for action in actions {
            match action {
                DaemonAction::Start { node, attempt } => self.world.start(node, attempt),
                DaemonAction::Stop { node, attempt } => {
                    self.world.stopping.insert((node, attempt));
                }
                DaemonAction::Delete { node, attempt } => {
                    self.world.deleting.insert((node, attempt));
                }
                DaemonAction::WakeAt(when) => assert!(when > at(self.now)),
            }
        }
    }

    fn control(&mut self) {
        self.state = self.fold(false);
        self.act();
    }

    fn job_ends(&mut self, which: usize, how: JobSeen) {
        let Some(key) = self
            .world
            .live()
            .get(which % self.world.live().len().max(1))
            .cloned()
        else {
            return;
        };
        self.world.end(which, how);
        // A Job whose node is over already is on its way out: it may be gone before anybody looks at it again, and the
        // node may be run again meanwhile.
        let mut nodes = self.state.nodes.iter();
        let is_recorded =
            nodes.any(|n| (&n.name, n.attempts) == (&key.0, key.1) && !n.state.is_let_go());
        if is_recorded {
            let uid = self.world.uid_of[&key].clone();
            self.world.done.remove(&(key.0, uid));
        }
    }

    fn go(&mut self, next: Move) {
        let name = |n: u8| format!("node{n}");
        let world = &mut self.world;
        match next {
            Move::Control => self.control(),
            Move::LoseWrite => {
                self.fold(false);
            }
            Move::LoseActions => self.state = self.fold(false),
            Move::Stale => self.state = self.fold(true),
            Move::End(which, how) => self.job_ends(which, how),
            Move::Delete(which) => {
                let live = world.live();
                if let Some(key) = live.get(which % live.len().max(1)) {
                    world.jobs.remove(key);
                    world.harmed = true;
                }
            }
            Move::CleanUp => {
                // How that of a node that went away ended may not be recorded yet.
                let is_recorded =
                    |n: &&DaemonNode| n.state.is_over() && n.state != DaemonPhase::Removed;
                for node in self.state.nodes.iter().filter(is_recorded) {
                    let key = (node.name.clone(), node.attempts);
                    if world.jobs.get(&key) != Some(&JobSeen::Live) {
                        world.jobs.remove(&key);
                    }
                }
            }
            Move::Vanish => world.vanish(),
            Move::Wait(seconds) => self.now += seconds,
            Move::Cancel => self.rules.cancelled = true,
            Move::Suspend(is) => self.rules.suspended = is,
            Move::Rerun(all) => {
                // The view is of now: what ended is known to have.
                self.control();
                // A Job that was told to stop ends as one that failed.
                self.world.harmed |= !self.world.stopping.is_empty();
                self.state.rerun(all);
                if all {
                    self.world.done.clear();
                }
            }
            Move::Join(n) => {
                let uid = world.uid();
                world.members.insert(name(n), member(uid));
            }
            Move::Remove(n) => {
                world.members.remove(&name(n));
            }
            Move::Place(n, place) => {
                if let Some(member) = world.members.get_mut(&name(n)) {
                    member.place = place;
                }
            }
            Move::Hold(n, is) => {
                if let Some(member) = world.members.get_mut(&name(n)) {
                    member.hold = is.then_some(Hold::Cordoned);
                }
            }
            Move::Ready(n, is) => {
                if let Some(member) = world.members.get_mut(&name(n)) {
                    member.not_ready_since = (!is).then_some(at(self.now));
                    world.harmed |= !is;
                }
            }
            Move::Take(n, is) => {
                match is {
                    true => world.taken.insert(name(n)),
                    false => world.taken.remove(&name(n)),
                };
            }
        }
    }

    /// Goes on without any harm until it is over.
    fn end(&mut self) {
        self.rules.suspended = false;
        self.world.taken.clear();
        for member in self.world.members.values_mut() {
            member.hold = None;
            member.not_ready_since = None;
        }
        if self.world.members.is_empty() {
            self.go(Move::Join(0));
        }
        if self.rules.completion == Completion::Never {
            self.rules.cancelled = true;
        }
        let mut rounds = 0;
        while self.state.finished_at.is_none() {
            if self
                .world
                .members
                .values()
                .all(|m| m.place != Place::Eligible)
            {
                self.go(Move::Join(1));
            }
            self.control();
            self.world.vanish();
            self.job_ends(0, JobSeen::Succeeded);
            self.now += 1;
            rounds += 1;
            assert!(rounds < 100, "it does not end: {:?}", self.state);
        }
    }
}

proptest! {
    #[test]
    fn each_node_has_one_live_job_and_it_ends(
        rules in some_rules(),
        nodes in 0u8..5,
        moves in proptest::collection::vec(a_move(), 0..80),
    ) {
        let mut run = Run { rules, world: World::default(), state: DaemonState::default(), now: 1000 };
        for n in 0..nodes {
            run.go(Move::Join(n));
        }
        for next in moves {
            run.go(next);
        }
        run.end();
        let phase = run.state.phase();
        let failed = run.state.count(DaemonPhase::Failed);
        prop_assert!(failed == 0 || run.world.harmed, "nothing failed, and yet: {:?}", run.state);
        match run.state.stopped {
            Some((StopReason::Cancelled, _)) => prop_assert_ne!(phase, FlowPhase::Succeeded),
            Some(_) => prop_assert_eq!(phase, FlowPhase::Failed),
            None => {
                prop_assert_eq!(run.state.count(DaemonPhase::Cancelled), 0);
                prop_assert!(failed == 0 || phase == FlowPhase::Failed);
            }
        }
        // What is over stays as it is, and in the end no Job of a node that is gone is left running.
        prop_assert_eq!(run.fold(false), run.state.clone());
        run.act();
        run.world.vanish();
        prop_assert_eq!(run.world.live(), []);
    }
}
