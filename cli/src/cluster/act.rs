//! `baton cancel` and `baton rerun`.

use baton_protocol::exit;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::connect::Cluster;
use super::error::{ClusterError, is_missing};
use super::follow::Since;
use super::object::{FIELD_MANAGER, RERUN, Task};
use super::run::follow_to_end;
use super::say;
use crate::args;
use crate::show::terminal::{Terminal, To};

/// Changes a Task.
async fn change(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    doing: &str,
    patch: Value,
) -> Result<Task, ClusterError> {
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = cluster
        .tasks(namespace)
        .patch(name, &params, &Patch::Merge(patch))
        .await;
    patched.map_err(|e| match is_missing(&e) {
        true => no_task(cluster, namespace, name),
        false => cluster.cannot(format!("{doing} task {name}"))(e),
    })
}

/// The Task is not there.
pub(super) fn no_task(cluster: &Cluster, namespace: &str, name: &str) -> ClusterError {
    ClusterError::NoTask {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        place: (*cluster.place).clone(),
    }
}

/// Reads a Task.
pub(super) async fn get(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Task, ClusterError> {
    let got = cluster.tasks(namespace).get_opt(name).await;
    got.map_err(cluster.cannot(format!("read task {name}")))?
        .ok_or_else(|| no_task(cluster, namespace, name))
}

/// Asks for a Task's end.
pub(super) async fn cancel(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Task, ClusterError> {
    let patch = json!({"spec": {"cancel": true}});
    change(cluster, namespace, name, "cancel", patch).await
}

/// Asks for a new run of a Task. One that was cancelled is no longer to stop.
pub(super) async fn rerun(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Task, ClusterError> {
    let patch = json!({
        "metadata": {"annotations": {RERUN: new_value()}},
        "spec": {"cancel": null},
    });
    change(cluster, namespace, name, "rerun", patch).await
}

/// A value that the annotation did not have before.
fn new_value() -> String {
    Timestamp::now().to_string()
}

/// `baton cancel`
pub(super) async fn cancel_all(args: &args::Cancel) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    let mut code = 0;
    for name in &args.tasks {
        match cancel_one(&cluster, name).await {
            Ok(said) => answer(&said),
            Err(e) => {
                say(&e.to_string());
                code = exit::FAILED;
            }
        }
    }
    Ok(code)
}

async fn cancel_one(cluster: &Cluster, name: &str) -> Result<String, ClusterError> {
    let namespace = &cluster.namespace;
    let task = get(cluster, namespace, name).await?;
    let status = task.status().unwrap_or_default();
    let phase = status.phase;
    // A changed spec has its run before it still.
    let is_newest = status.observed_generation >= Some(task.generation());
    if phase.is_over() && is_newest {
        return Ok(format!("task {name} is over already: {phase:?}"));
    }
    if task.is_cancelled() {
        return Ok(format!("task {name} is being cancelled already"));
    }
    cancel(cluster, namespace, name).await?;
    Ok(format!(
        "task {name} is being cancelled; `baton logs -f {name}` follows it to its end"
    ))
}

/// `baton rerun`
pub(super) async fn rerun_all(
    args: &args::Rerun,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    let [first, ..] = args.tasks.as_slice() else {
        return Ok(exit::USAGE);
    };
    if args.follow && args.tasks.len() > 1 {
        say("--follow takes one task");
        return Ok(exit::USAGE);
    }
    let cluster = Cluster::connect(&args.target).await?;
    let namespace = &cluster.namespace;
    if args.follow {
        let before = get(&cluster, namespace, first).await?;
        let since = past(&before);
        rerun(&cluster, namespace, first).await?;
        return follow_to_end(&cluster, namespace, first, since, terminal).await;
    }
    let mut code = 0;
    for name in &args.tasks {
        match rerun(&cluster, namespace, name).await {
            Ok(task) => {
                let next = past(&task).run + 1;
                answer(&format!(
                    "task {name} runs again (run {next}); `baton logs -f {name}` follows it"
                ));
            }
            Err(e) => {
                say(&e.to_string());
                code = exit::FAILED;
            }
        }
    }
    Ok(code)
}

/// All runs that a Task has had so far.
pub(super) fn past(task: &Task) -> Since {
    Since {
        run: task.status().map(|s| s.run).unwrap_or_default(),
        generation: task.generation(),
    }
}

fn answer(text: &str) {
    let mut terminal = Terminal::new(args::Color::Never, true);
    terminal.put(To::Steps, format!("{text}\n").as_bytes());
    terminal.flush();
}
