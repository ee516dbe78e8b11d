//! What is done about one template.

use baton_protocol::Timestamp;
use kube::Client;
use kube::api::Api;
use kube::runtime::events::Recorder;

use super::make::{run_name, run_of};
use super::object::{Run, Template, TemplateStatus, Thin};
use super::present::short;
use crate::child::{self, Create, Kind, Note, Object, Write, patiently};
use crate::text::cut;

/// Longest answer of the API server that is kept, in characters.
const MAX_WHY: usize = 500;

/// The next thing to do about a template. After each it is looked at again.
#[derive(Debug)]
pub(super) enum Op {
    /// Delete these runs to make room, and make the one that was due at this time.
    Start { stop: Vec<Target>, due: Timestamp },
    /// Make this its status.
    Write(Box<TemplateStatus>),
    /// Delete a run that is not to be kept.
    Forget(Target),
    /// Write a Kubernetes Event about it.
    Emit(Note),
}

/// A run by name and UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) uid: String,
}

/// What came of an [`Op`].
#[derive(Debug)]
pub(super) enum Done {
    /// The run is there; what made room for it is going.
    Started(Box<Run>, Vec<Target>),
    /// Something else of the run's name is there.
    Taken { name: String, due: Timestamp },
    /// The template as it is now.
    Template(Box<Template>),
    /// The run is going.
    Forgotten(Target),
    /// The template is gone, or is none any more.
    Gone,
    /// It is done.
    Nothing,
    /// It failed: what was attempted, and why it failed.
    Failed { of_start: bool, why: String },
}

/// Makes calls about templates of one kind.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
}

impl Caller {
    /// Makes a call, and waits for its outcome.
    pub(super) async fn call<K: Kind>(&self, template: &Template, op: Op) -> Done {
        let what = match &op {
            Op::Start { due, .. } => format!("starting the run of {}", short(*due)),
            Op::Write(_) => "writing the status".to_owned(),
            Op::Forget(run) => format!("deleting run {}", run.name),
            Op::Emit(_) => "writing an event".to_owned(),
        };
        let of_start = matches!(op, Op::Start { .. });
        let done = patiently(self.attempt::<K>(template, op)).await;
        done.unwrap_or_else(|failure| Done::Failed {
            of_start,
            why: cut(&format!("{what}: {}", failure.error), MAX_WHY),
        })
    }

    async fn attempt<K: Kind>(&self, template: &Template, op: Op) -> Result<Done, kube::Error> {
        let objects: Api<Object<K>> = Api::namespaced(self.client.clone(), &template.namespace);
        let thin: Api<Thin<K>> = Api::namespaced(self.client.clone(), &template.namespace);
        match op {
            Op::Start { stop, due } => start(&objects, template, stop, due).await,
            Op::Write(status) => {
                let durable = &template.status;
                let wrote = child::write_status(&thin, &template.reference, durable, &*status);
                Ok(match wrote.await? {
                    Write::Done(now) | Write::Conflict(now) => is_now(Template::answered(now)),
                    Write::Gone => Done::Gone,
                })
            }
            Op::Forget(run) => {
                child::delete(&objects, &run.name, &run.uid).await?;
                Ok(Done::Forgotten(run))
            }
            Op::Emit(note) => {
                child::emit(&self.recorder, &template.reference, note).await;
                Ok(Done::Nothing)
            }
        }
    }
}

/// The run is made of the template as it is now: its spec is not kept here.
async fn start<K: Kind>(
    objects: &Api<Object<K>>,
    template: &Template,
    stop: Vec<Target>,
    due: Timestamp,
) -> Result<Done, kube::Error> {
    let whole = match objects.get_opt(&template.name).await? {
        Some(whole) if whole.metadata.uid.as_deref() == Some(&template.uid) => whole,
        _ => return Ok(Done::Gone),
    };
    // It may be suspended by now, or another time may be due.
    if whole.metadata.generation != template.generation {
        return Ok(is_now(Template::answered(Thin::of(whole))));
    }
    for run in &stop {
        child::delete(objects, &run.name, &run.uid).await?;
    }
    Ok(match child::create(objects, &run_of(&whole, due)).await? {
        Create::Taken(name) => Done::Taken { name, due },
        Create::Done(run) => match Run::answered(&run.metadata) {
            Some(run) => Done::Started(Box::new(run), stop),
            // Somebody took its label or owner from it: it is not ours.
            None => Done::Taken {
                name: run_name(&template.name, due),
                due,
            },
        },
    })
}

fn is_now(template: Option<Template>) -> Done {
    template.map_or(Done::Gone, |t| Done::Template(Box::new(t)))
}
