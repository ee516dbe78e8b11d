//! The loop: watches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it, one at a time for each template.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;
use std::time::Duration;

use baton_protocol::Timestamp;
use baton_schedule::RunState;
use kube::Client;

use super::calls::{Caller, Done, Op, Target};
use super::entry::Entry;
use super::object::{Run, Template, Thing};
use crate::child::{Kind, is_older, recorder};
use crate::clock::now;
use crate::control::{Control, Known, LOOK, Settings, Shell};
use crate::metrics::{Metrics, StartOutcome};
use crate::watching::{Lists, Scope};

/// Most calls of the API server at once.
const MAX_CALLS: usize = 16;

/// Everything that the loop owns.
pub(super) struct Controller<K> {
    shell: Shell<(), (String, Done)>,
    caller: Caller,
    metrics: Metrics,
    /// By UID.
    templates: HashMap<String, Entry>,
    /// By the UID of their template, and by name.
    runs: HashMap<String, BTreeMap<String, Run>>,
    /// The template and name of each run, by its UID.
    owners: HashMap<String, (String, String)>,
    /// When the clock was looked at last.
    looked: Timestamp,
    kind: PhantomData<K>,
}

impl<K: Kind> Controller<K> {
    pub(super) fn new(
        client: Client,
        settings: &Settings,
        metrics: Metrics,
        lists: Lists<()>,
    ) -> Controller<K> {
        let work = metrics.schedule_work.clone();
        let waiting = metrics.queue(format!("{}Schedule", K::KIND));
        let recorder = recorder(&client, &settings.replica);
        Controller {
            shell: Shell::new(lists, MAX_CALLS, work, waiting),
            caller: Caller { client, recorder },
            metrics,
            templates: HashMap::new(),
            runs: HashMap::new(),
            owners: HashMap::new(),
            looked: now(),
            kind: PhantomData,
        }
    }

    fn put_template(&mut self, template: Template) {
        let uid = template.uid.clone();
        match self.templates.get_mut(&uid) {
            Some(entry) => {
                if is_older(Some(template.version()), entry.template.version()) {
                    return;
                }
                entry.template = template;
            }
            None => {
                self.templates.insert(uid.clone(), Entry::new(template));
            }
        }
        self.shell.queue.push(&uid);
    }

    fn put_run(&mut self, run: Run) {
        let template = run.template.clone();
        let runs = self.runs.entry(template.clone()).or_default();
        let known = runs.get(&run.run.name).filter(|k| k.uid == run.uid);
        if known.is_some_and(|known| is_older(Some(&run.version), &known.version)) {
            return;
        }
        let was_active = known.is_some_and(|known| known.run.state == RunState::Active);
        if was_active
            && run.run.state != RunState::Active
            && let Some(entry) = self.templates.get_mut(&template)
        {
            entry.ended(&run);
        }
        let name = run.run.name.clone();
        self.owners
            .insert(run.uid.clone(), (template.clone(), name.clone()));
        runs.insert(name, run);
        self.shell.queue.push(&template);
    }

    /// Forgets what is gone, whatever it was.
    fn forget(&mut self, uid: &str) {
        if self.templates.remove(uid).is_some() {
            self.shell.queue.wake_at(uid, None);
        }
        let Some((template, name)) = self.owners.remove(uid) else {
            return;
        };
        if let Some(runs) = self.runs.get_mut(&template) {
            if runs.get(&name).is_some_and(|run| run.uid == uid) {
                runs.remove(&name);
            }
            if runs.is_empty() {
                self.runs.remove(&template);
            }
        }
        self.shell.queue.push(&template);
    }

    /// A run was told to go: the watch tells when it is gone.
    fn going(&mut self, template: &str, target: &Target) {
        let runs = self.runs.get_mut(template);
        let run = runs.and_then(|runs| runs.get_mut(&target.name));
        if let Some(run) = run.filter(|run| run.uid == target.uid) {
            run.run.is_going = true;
        }
    }
}

impl<K: Kind> Known for Controller<K> {
    /// There is one kind.
    type Kind = ();
    type Thing = Thing;

    fn put(&mut self, thing: Thing) -> Option<String> {
        let uid = thing.uid().to_owned();
        match thing {
            Thing::Template(template) => self.put_template(*template),
            Thing::Run(run) => self.put_run(run),
            Thing::Other(uid) => self.forget(&uid),
        }
        Some(uid)
    }

    fn gone(&mut self, thing: Thing) {
        if let Thing::Run(run) = &thing
            && let Some(entry) = self.templates.get_mut(&run.template)
        {
            entry.lost(&run.uid);
        }
        self.forget(thing.uid());
    }

    fn keep(&mut self, scope: &Scope<()>, list: &BTreeSet<String>) {
        let templates = self
            .templates
            .values()
            .map(|e| (&e.template.uid, &e.template.namespace));
        let runs = self
            .runs
            .values()
            .flat_map(BTreeMap::values)
            .map(|r| (&r.uid, &r.namespace));
        let gone: Vec<String> = templates
            .chain(runs)
            .filter(|(uid, namespace)| scope.covers(namespace) && !list.contains(*uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        gone.iter().for_each(|uid| self.forget(uid));
    }
}

impl<K: Kind> Control for Controller<K> {
    type Called = (String, Done);

    fn shell(&mut self) -> &mut Shell<(), (String, Done)> {
        &mut self.shell
    }

    fn uids(&self) -> Vec<String> {
        self.templates.keys().cloned().collect()
    }

    /// The clock is looked at where nothing is due, too.
    fn wait(&mut self) -> Option<Duration> {
        Some(self.shell.wait().unwrap_or(LOOK))
    }

    /// All of it where the clock was set back.
    fn tick(&mut self) {
        let now = now();
        if now < self.looked {
            tracing::warn!("the clock was set back; schedules are looked at again");
            self.look_at_all();
        }
        self.looked = now;
        self.shell.queue.tick(now);
    }

    fn reconcile(&mut self, uid: &str) {
        let Some(entry) = self.templates.get_mut(uid).filter(|e| !e.busy) else {
            return;
        };
        self.shell.queue.wake_at(uid, None);
        if entry.template.is_deleting {
            // The garbage collector takes the runs.
            return;
        }
        let now = now();
        let none = BTreeMap::new();
        let runs = self.runs.get(uid).unwrap_or(&none);
        let (op, wake) = entry.next::<K>(runs, &self.metrics, now);
        self.shell.queue.wake_at(uid, wake);
        let Some(op) = op else { return };
        if matches!(op, Op::Write(_)) {
            self.shell.work.writes();
        }
        entry.begin();
        let (uid, template) = (uid.to_owned(), entry.template.clone());
        let caller = self.caller.clone();
        self.shell.call(async move {
            let done = caller.call::<K>(&template, op).await;
            (uid, done)
        });
    }

    fn called(&mut self, (uid, done): (String, Done)) {
        self.shell.queue.push(&uid);
        let Some(entry) = self.templates.get_mut(&uid) else {
            // A run that was made meanwhile is the garbage collector's.
            return;
        };
        entry.finish(&done, K::KIND, now());
        match done {
            Done::Started(run, stopped) => {
                self.metrics.count_starts(K::KIND, StartOutcome::Started, 1);
                let is_there = !entry.has_lost(&run.uid);
                for target in stopped {
                    self.going(&uid, &target);
                }
                if is_there {
                    self.put_run(*run);
                }
            }
            Done::Taken { .. } => self.metrics.count_starts(K::KIND, StartOutcome::Missed, 1),
            Done::Template(template) => self.put_template(*template),
            Done::Forgotten(target) => self.going(&uid, &target),
            Done::Gone => self.forget(&uid),
            Done::Nothing | Done::Failed { .. } => {}
        }
    }
}
