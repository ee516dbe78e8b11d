//! `baton logs`.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_api::status::TaskStatus;
use baton_steps::Plan;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::wait::await_condition;

use super::act::{Target, find};
use super::connect::Cluster;
use super::describe::status;
use super::error::ClusterError;
use super::follow::{Followed, follow};
use super::graph;
use super::kind::Kind;
use super::object::Object;
use super::once::runs_itself;
use super::shown::{Shown, Wanted};
use super::since::Since;
use super::standing::Standing;
use super::states;
use crate::args;
use crate::run::shown::look;
use crate::show::terminal::Terminal;
use crate::show::text::Look;

/// How long a pod's status may be behind its Task's.
const LAG: Duration = Duration::from_secs(5);

/// Prints logs, and gives the exit code.
pub(super) async fn logs(args: &args::Logs, terminal: &mut Terminal) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    let object = find(&cluster, &args.object).await?;
    runs_itself(&object)?;
    match object.kind() {
        Kind::Task => of_task(args, &cluster, &object, terminal).await,
        Kind::JobFlow | Kind::DaemonJob => of_graph(args, &cluster, &object, terminal).await,
    }
}

/// Of a JobFlow or DaemonJob.
async fn of_graph(
    args: &args::Logs,
    cluster: &Cluster,
    object: &Object,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    if args.run.is_some() {
        let kind = object.kind();
        let said = format!("--run is for Tasks: a {kind} keeps the logs of its last attempts");
        return Err(ClusterError::Other(said));
    }
    let look = Look {
        bare: args.no_prefix,
        ..look(terminal, true)
    };
    let standing = Standing::of(object).unwrap_or_default();
    if !args.follow || standing.is_over_for(object) {
        graph::print(cluster, object, &args.nodes, &args.steps, look, terminal).await?;
        return Ok(0);
    }
    if !args.steps.is_empty() {
        let said = "--step with --follow is for Tasks; --node chooses nodes".to_owned();
        return Err(ClusterError::Other(said));
    }
    let followed = graph::Followed {
        cluster,
        target: Target::of(object),
        since: graph::Since {
            run: standing.run.saturating_sub(1),
            ..graph::Since::default()
        },
        cancels: false,
        only: &args.nodes,
        look,
        keep: false,
    };
    graph::follow(&followed, terminal).await?;
    Ok(0)
}

async fn of_task(
    args: &args::Logs,
    cluster: &Cluster,
    task: &Object,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    if !args.nodes.is_empty() {
        let said = "--node is for JobFlows and DaemonJobs; --step chooses steps".to_owned();
        return Err(ClusterError::Other(said));
    }
    let name = task.name();
    let status: TaskStatus = status(task)?;
    let wanted = Wanted {
        look: Look {
            bare: args.no_prefix,
            ..look(terminal, true)
        },
        only: args.steps.clone(),
        keep: false,
        follow: args.follow,
    };
    if args.follow && !status.phase.is_over() {
        check(&args.steps, &states::plan(&task.spec, &status), name)?;
        let followed = Followed {
            cluster,
            namespace: task.namespace(),
            name,
            source: name,
            since: Since {
                run: status.run.saturating_sub(1),
                generation: 0,
            },
            cancels: false,
        };
        follow(&followed, &wanted, terminal).await?;
        return Ok(0);
    }
    print(args, cluster, task, &status, wanted, terminal).await?;
    Ok(0)
}

/// Prints what there is.
async fn print(
    args: &args::Logs,
    cluster: &Cluster,
    task: &Object,
    status: &TaskStatus,
    wanted: Wanted,
    terminal: &mut Terminal,
) -> Result<(), ClusterError> {
    let (run, name, earlier) = pod_of(args, task.name(), status)?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), task.namespace());
    let pod = pods.get_opt(&name).await;
    let Some(pod) = pod.map_err(cluster.cannot(format!("read pod {name}")))? else {
        return Err(ClusterError::Other(format!(
            "pod {name} of run {run} is gone, and its logs with it{}",
            also(status, run)
        )));
    };
    let pod = match earlier {
        None => caught_up(&pods, pod, status).await,
        Some(_) => pod,
    };
    let plan = match earlier {
        None => states::plan(&task.spec, status),
        Some(_) => Plan::of_steps(containers(&pod)),
    };
    check(&args.steps, &plan, task.name())?;
    let mut shown = Shown::new(task.name(), task.name(), run, plan, &wanted);
    shown.reading.pod(Some(&pod));
    shown.reading.skip_waiting();
    if earlier.is_none() {
        shown.status(status, terminal);
    }
    loop {
        shown.advance(&pods, &name);
        if shown.reading.to_come().is_empty() {
            break;
        }
        let Some((number, piece)) = shown.reading.next().await else {
            break;
        };
        shown.piece(number, piece, terminal);
        terminal.flush();
    }
    // A step that runs has not ended, and what it printed last may have no line end.
    let ended = earlier.unwrap_or_else(|| TaskStatus {
        phase: baton_api::status::TaskPhase::Succeeded,
        ..TaskStatus::default()
    });
    shown.finish(states::outcome(&ended), terminal);
    terminal.flush();
    Ok(())
}

/// The run that is meant, its pod, and what is known of it where it is an earlier one.
fn pod_of(
    args: &args::Logs,
    task: &str,
    status: &TaskStatus,
) -> Result<(u32, String, Option<TaskStatus>), ClusterError> {
    let wanted = args.run.unwrap_or(status.run);
    if wanted == status.run {
        return match status.pod.as_ref().filter(|p| !p.name.is_empty()) {
            Some(pod) => Ok((wanted, pod.name.clone(), None)),
            None => {
                let why = match (status.phase.is_over(), status.message.as_str()) {
                    (true, "") => "it never had a pod".to_owned(),
                    (true, message) => format!("it never had a pod: {message}"),
                    (false, _) => format!("it has no pod yet; `baton logs -f {task}` waits for it"),
                };
                Err(ClusterError::Other(format!(
                    "task {task} has no logs: {why}"
                )))
            }
        };
    }
    let known = status.runs.iter().find(|r| r.run == wanted);
    let Some(run) = known else {
        let said = format!(
            "task {task} has no run {wanted} that is known{}",
            also(status, wanted)
        );
        return Err(ClusterError::Other(said));
    };
    let earlier = TaskStatus {
        phase: run.phase,
        ..TaskStatus::default()
    };
    Ok((wanted, run.pod.clone(), Some(earlier)))
}

/// The other runs, for a message.
fn also(status: &TaskStatus, than: u32) -> String {
    let mut runs: Vec<u32> = status.runs.iter().map(|r| r.run).collect();
    runs.insert(0, status.run);
    runs.retain(|run| *run != than && *run > 0);
    let runs: Vec<_> = runs.iter().map(u32::to_string).collect();
    match runs.is_empty() {
        true => String::new(),
        false => format!("\n  other runs (--run): {}", runs.join(", ")),
    }
}

/// The pod, once its status knows the containers that ran by the Task's: it comes a moment later.
async fn caught_up(pods: &Api<Pod>, pod: Pod, status: &TaskStatus) -> Pod {
    let ran = status.steps.iter().filter(|s| s.attempts > 0);
    let ran: BTreeSet<_> = ran.map(|s| s.name.clone()).collect();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let knows = move |pod: Option<&Pod>| pod.is_none_or(|pod| !waits(pod, &ran));
    if knows(Some(&pod)) {
        return pod;
    }
    match tokio::time::timeout(LAG, await_condition(pods.clone(), &name, knows)).await {
        Ok(Ok(Some(now))) => now,
        _ => pod,
    }
}

/// Whether one of these containers has not begun, by the pod's status.
fn waits(pod: &Pod, names: &BTreeSet<String>) -> bool {
    let statuses = pod.status.as_ref();
    let statuses = statuses.and_then(|s| s.container_statuses.as_deref());
    let begun = statuses.into_iter().flatten().filter(|s| {
        let state = s.state.as_ref();
        state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    });
    let begun: BTreeSet<_> = begun.map(|s| s.name.as_str()).collect();
    names.iter().any(|name| !begun.contains(name.as_str()))
}

/// The names of a pod's containers.
fn containers(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    containers.iter().map(|c| c.name.clone()).collect()
}

/// Sees that the steps that are asked for exist.
fn check(steps: &[String], plan: &Plan, task: &str) -> Result<(), ClusterError> {
    let names: Vec<&str> = plan.numbered().map(|(_, _, name)| name).collect();
    match steps.iter().find(|s| !names.contains(&s.as_str())) {
        None => Ok(()),
        Some(step) => Err(ClusterError::Other(format!(
            "task {task} has no step {step}; it has {}",
            names.join(", ")
        ))),
    }
}
