//! `baton cancel` and `baton rerun`.

use baton_protocol::exit;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::connect::Cluster;
use super::error::{ClusterError, is_missing};
use super::kind::{Kind, Named};
use super::object::{FIELD_MANAGER, Object, RERUN};
use super::once::runs_itself;
use super::run::{follow_again, follow_to_end};
use super::say;
use super::since::Since;
use super::standing::Standing;
use crate::args;
use crate::show::terminal::{Terminal, To};

/// What begins the value of the annotation where all of a JobFlow or DaemonJob is to run again.
const ALL: &str = "all-";

/// Changes an object.
async fn change(
    cluster: &Cluster,
    target: Target<'_>,
    doing: &str,
    patch: Value,
) -> Result<Object, ClusterError> {
    let Target {
        kind,
        namespace,
        name,
    } = target;
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = cluster
        .objects(kind, namespace)
        .patch(name, &params, &Patch::Merge(patch))
        .await;
    patched.map_err(|e| match is_missing(&e) {
        true => missing(cluster, target),
        false => cluster.cannot(format!("{doing} {kind} {name}"))(e),
    })
}

/// Which object is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Its kind.
    pub(super) kind: Kind,
    /// Its namespace.
    pub(super) namespace: &'a str,
    /// Its name.
    pub(super) name: &'a str,
}

impl<'a> Target<'a> {
    /// The object itself.
    pub(super) fn of(object: &'a Object) -> Target<'a> {
        Target {
            kind: object.kind(),
            namespace: object.namespace(),
            name: object.name(),
        }
    }
}

/// The object is not there.
pub(super) fn missing(cluster: &Cluster, target: Target<'_>) -> ClusterError {
    ClusterError::Missing {
        what: target.kind.to_string(),
        name: target.name.to_owned(),
        namespace: target.namespace.to_owned(),
        place: (*cluster.place).clone(),
    }
}

/// Reads the object that people name so: where they do not say its kind, the one that has the name.
pub(super) async fn find(cluster: &Cluster, named: &Named) -> Result<Object, ClusterError> {
    let kinds = match &named.kind {
        Some(kind) => std::slice::from_ref(kind),
        None => &Kind::ALL[..],
    };
    let name = &named.name;
    let read = kinds.iter().map(|kind| async move {
        let objects = cluster.objects(*kind, &cluster.namespace);
        let got = objects.get_opt(name).await;
        got.map_err(cluster.cannot(format!("read {kind} {name}")))
    });
    let mut found = Vec::new();
    let mut failed = None;
    for read in futures::future::join_all(read).await {
        match read {
            Ok(object) => found.extend(object),
            Err(e) => failed = failed.or(Some(e)),
        }
    }
    match (found.pop(), found.is_empty(), failed) {
        (Some(object), true, _) => Ok(object),
        (Some(last), false, _) => Err(ClusterError::Ambiguous {
            name: name.clone(),
            kinds: found.iter().chain([&last]).map(Object::kind).collect(),
        }),
        (None, _, Some(failed)) => Err(failed),
        (None, _, None) => Err(ClusterError::Missing {
            what: one_of(kinds),
            name: name.clone(),
            namespace: cluster.namespace.clone(),
            place: (*cluster.place).clone(),
        }),
    }
}

/// `task, jobflow or daemonjob`
fn one_of(kinds: &[Kind]) -> String {
    match kinds {
        [] => String::new(),
        [one] => one.to_string(),
        [all @ .., last] => {
            let all: Vec<_> = all.iter().map(ToString::to_string).collect();
            format!("{} or {last}", all.join(", "))
        }
    }
}

/// Asks for an object's end.
pub(super) async fn cancel(cluster: &Cluster, target: Target<'_>) -> Result<Object, ClusterError> {
    let patch = json!({"spec": {"cancel": true}});
    change(cluster, target, "cancel", patch).await
}

/// Asks for a new run of an object; of a JobFlow or DaemonJob `all` of it, or what did not succeed. One
/// that was cancelled is no longer to stop. Gives the object, and what asks for the run.
pub(super) async fn rerun(
    cluster: &Cluster,
    target: Target<'_>,
    all: bool,
) -> Result<(Object, String), ClusterError> {
    let asked = format!("{}{}", if all { ALL } else { "" }, Timestamp::now());
    let patch = json!({
        "metadata": {"annotations": {RERUN: asked}},
        "spec": {"cancel": null},
    });
    let object = change(cluster, target, "rerun", patch).await?;
    Ok((object, asked))
}

/// `baton cancel`
pub(super) async fn cancel_all(args: &args::Cancel) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    let mut code = 0;
    for named in &args.objects {
        match cancel_one(&cluster, named).await {
            Ok(said) => answer(&said),
            Err(e) => {
                say(&e.to_string());
                code = exit::FAILED;
            }
        }
    }
    Ok(code)
}

async fn cancel_one(cluster: &Cluster, named: &Named) -> Result<String, ClusterError> {
    let object = find(cluster, named).await?;
    runs_itself(&object)?;
    let (kind, name) = (object.kind(), object.name());
    let standing = Standing::of(&object).unwrap_or_default();
    // A changed spec has its run before it still.
    if standing.is_over_for(&object) {
        return Ok(format!("{kind} {name} is over already: {}", standing.phase));
    }
    if object.is_cancelled() {
        return Ok(format!("{kind} {name} is being cancelled already"));
    }
    cancel(cluster, Target::of(&object)).await?;
    Ok(format!(
        "{kind} {name} is being cancelled; `baton logs -f {kind}/{name}` follows it to its end"
    ))
}

/// `baton rerun`
pub(super) async fn rerun_all(
    args: &args::Rerun,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    let [first, ..] = args.objects.as_slice() else {
        return Ok(exit::USAGE);
    };
    if args.follow && args.objects.len() > 1 {
        say("--follow takes one object");
        return Ok(exit::USAGE);
    }
    let cluster = Cluster::connect(&args.target).await?;
    if args.follow {
        let before = find(&cluster, first).await?;
        runs_itself(&before)?;
        let target = Target::of(&before);
        let (_, asked) = rerun(&cluster, target, args.all).await?;
        return match target.kind {
            Kind::Task => follow_to_end(&cluster, target, past(&before), terminal).await,
            Kind::JobFlow | Kind::DaemonJob => {
                follow_again(&cluster, &before, asked, terminal).await
            }
        };
    }
    let mut code = 0;
    for named in &args.objects {
        match rerun_one(&cluster, named, args.all).await {
            Ok(said) => answer(&said),
            Err(e) => {
                say(&e.to_string());
                code = exit::FAILED;
            }
        }
    }
    Ok(code)
}

async fn rerun_one(cluster: &Cluster, named: &Named, all: bool) -> Result<String, ClusterError> {
    let before = find(cluster, named).await?;
    runs_itself(&before)?;
    let standing = Standing::of(&before).unwrap_or_default();
    if before.kind() != Kind::Task && standing.phase == "Succeeded" && !all {
        let (kind, name) = (before.kind(), before.name());
        let said = format!("{kind} {name} succeeded: --all runs everything of it again");
        return Err(ClusterError::Other(said));
    }
    let (object, _) = rerun(cluster, Target::of(&before), all).await?;
    let (kind, name) = (object.kind(), object.name());
    let next = past(&object).run + 1;
    Ok(format!(
        "{kind} {name} runs again (run {next}); `baton logs -f {kind}/{name}` follows it"
    ))
}

/// All runs that an object has had so far.
pub(super) fn past(object: &Object) -> Since {
    Since {
        run: Standing::of(object).map(|s| s.run).unwrap_or_default(),
        generation: object.generation(),
    }
}

fn answer(text: &str) {
    let mut terminal = Terminal::new(args::Color::Never, true);
    terminal.put(To::Steps, format!("{text}\n").as_bytes());
    terminal.flush();
}
