//! `baton list`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use baton_protocol::{Timestamp, exit};
use futures::StreamExt;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::connect::Cluster;
use super::error::{ClusterError, cause, is_final};
use super::object::Task;
use super::say;
use super::table::{Row, Table};
use crate::args;
use crate::run::{complain, print_json};
use crate::show::terminal::{Terminal, To};

/// Most Tasks that are asked for at once.
const PAGE: u32 = 500;

/// Lists Tasks, and gives the exit code.
pub(super) async fn list(args: &args::List, terminal: &mut Terminal) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    let tasks: Api<Task> = match args.all_namespaces {
        true => Api::all(cluster.client.clone()),
        false => cluster.tasks(&cluster.namespace),
    };
    if args.watch && args.output == args::Output::Json {
        say("--watch has no JSON form");
        return Ok(exit::USAGE);
    }
    let mut found = all(&cluster, &tasks, args.selector.as_deref()).await?;
    if args.output == args::Output::Json {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": found});
        return Ok(match print_json(&list) {
            Ok(()) => 0,
            Err(e) => {
                complain(terminal, &format!("cannot write the JSON: {e}"));
                exit::FAILED
            }
        });
    }
    // As people look for them: the newest last, where the cursor is.
    found.sort_by_cached_key(key);
    let rows: Vec<Row> = found.iter().map(|t| Row::new(t, now())).collect();
    let mut table = Table::new(args.all_namespaces);
    table.fit(&rows);
    if rows.is_empty() && !args.watch {
        let whole = "there are no tasks in any namespace".to_owned();
        let one = format!(
            "there are no tasks in namespace {}; -A shows those of all",
            cluster.namespace
        );
        complain(terminal, if args.all_namespaces { &whole } else { &one });
        return Ok(0);
    }
    let mut text = table.header(terminal.steps);
    for row in &rows {
        text.push_str(&table.row(row, terminal.steps));
    }
    terminal.put(To::Steps, text.as_bytes());
    terminal.flush();
    if args.watch {
        let known = found.iter().map(id).zip(rows).collect();
        watch(&cluster, tasks, args, known, &mut table, terminal).await?;
    }
    Ok(0)
}

/// All Tasks, page by page.
async fn all(
    cluster: &Cluster,
    tasks: &Api<Task>,
    selector: Option<&str>,
) -> Result<Vec<Task>, ClusterError> {
    let mut params = ListParams::default().limit(PAGE);
    params.label_selector = selector.map(str::to_owned);
    let mut found = Vec::new();
    loop {
        let page = tasks.list(&params).await;
        let page = page.map_err(cluster.cannot("list tasks"))?;
        found.extend(page.items);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(found);
        }
    }
}

/// Shows a line for each change, without end.
async fn watch(
    cluster: &Cluster,
    tasks: Api<Task>,
    args: &args::List,
    mut known: BTreeMap<(String, String), Row>,
    table: &mut Table,
    terminal: &mut Terminal,
) -> Result<(), ClusterError> {
    let config = watcher::Config {
        label_selector: args.selector.clone(),
        ..watcher::Config::default()
    };
    let mut events = watcher(tasks, config).default_backoff().boxed();
    let mut lost = false;
    while let Some(event) = events.next().await {
        let task = match event {
            Ok(watcher::Event::Apply(task) | watcher::Event::InitApply(task)) => task,
            Ok(watcher::Event::Delete(task)) => {
                known.remove(&id(&task));
                continue;
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {
                lost = false;
                continue;
            }
            Err(watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e)) => {
                if is_final(&e) {
                    return Err(cluster.cannot("watch tasks")(e));
                }
                if !std::mem::replace(&mut lost, true) {
                    let place = &cluster.place;
                    complain(terminal, &format!("{place} does not answer: {}", cause(&e)));
                }
                continue;
            }
            Err(_) => continue,
        };
        let row = Row::new(&task, now());
        let before = known.insert(id(&task), row.clone());
        if before.is_none_or(|b| !b.same(&row)) {
            table.fit(std::slice::from_ref(&row));
            terminal.put(To::Steps, table.row(&row, terminal.steps).as_bytes());
            terminal.flush();
        }
    }
    Ok(())
}

fn id(task: &Task) -> (String, String) {
    (task.namespace().to_owned(), task.name().to_owned())
}

fn key(task: &Task) -> (String, Option<Duration>, String) {
    let created = task.metadata.creation_timestamp.as_ref();
    let since = created.and_then(|at| {
        let at = SystemTime::from(at.0);
        at.duration_since(SystemTime::UNIX_EPOCH).ok()
    });
    (task.namespace().to_owned(), since, task.name().to_owned())
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now())
}
